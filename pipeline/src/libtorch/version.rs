//! Versions of libtorch.

use std::fs;
use std::path::Path;

/// The version of libtorch in a folder, as its package tells it: PyTorch in a line of Python, the
/// C++ package in a file of its own.
pub fn of(folder: &Path) -> Option<String> {
    let package = folder.parent()?;
    let python = fs::read_to_string(package.join("version.py")).unwrap_or_default();
    let line = python.lines().find_map(|line| line.strip_prefix("__version__ = "));
    let line = line.map(|version| version.trim_matches(['\'', '"']).to_string());
    line.or_else(|| {
        let version = fs::read_to_string(package.join("build-version")).ok()?;
        Some(version.trim().to_string())
    })
}

/// "2.11" of "2.11.0+cu130": libtorch's interface for C++ changes with each.
pub fn minor(version: &str) -> &str {
    let second_dot = version.match_indices('.').nth(1);
    &version[..second_dot.map_or(version.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_the_first_two_numbers() {
        let versions = ["2.11.0+cu130", "2.11.0a0", "2.11", "3"];
        assert_eq!(versions.map(minor), ["2.11", "2.11", "2.11", "3"]);
    }
}
