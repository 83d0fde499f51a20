//! Small files exchanged between machines: written atomically, some with their own digest to detect
//! partially visible content.

use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::Path;
use voxflow_cache::Digest;
use voxflow_cache::disk::{self, unique};
use voxflow_stages::{Result, Trouble};

/// JSON files with the value's digest on a second line.
pub struct Closed;

impl Closed {
    /// Writes a value atomically.
    pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        let mut text = serde_json::to_vec(value).trouble_at(path)?;
        let digest = Digest::of(&text);
        text.extend(format!("\n{}\n", digest.to_hex()).bytes());
        Ok(disk::write_whole(path, &text)?)
    }

    /// Reads a value; `None` if missing or incomplete.
    pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
        let text = fs::read_to_string(path).ok()?;
        let (json, digest) = text.trim_end().rsplit_once('\n')?;
        (Digest::of(json.as_bytes()).to_hex() == digest).then(|| serde_json::from_str(json).ok())?
    }
}

/// Unique batch name: `vf-` and eight hex digits.
pub fn name(about: &str) -> String {
    let text = format!("{about} {}", chance());
    format!("vf-{}", &Digest::of(text.as_bytes()).to_hex()[..8])
}

/// Eight random hex digits.
pub(super) fn chance() -> String {
    unique()[..8].to_string()
}

/// Writes JSON atomically and durably.
pub fn write_whole<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    Ok(disk::write_whole(path, &serde_json::to_vec(value).trouble_at(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{End, StopReason, Verdict};
    use super::*;
    use crate::machine::Usage;

    #[test]
    fn a_verdict_that_is_not_whole_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdict.json");
        let end = End::Stopped { why: StopReason::Walltime, has_moved: true };
        let usage = Usage { cpu_seconds: 1.5, peak_rss_bytes: 7, ..Usage::default() };
        let verdict =
            Verdict { end, said_bytes: 3, seconds: 2.0, usage, host: "n1".into(), read: vec![] };
        Closed::write(&path, &verdict).unwrap();
        assert_eq!(Closed::read::<Verdict>(&path), Some(verdict));
        let text = fs::read_to_string(&path).unwrap();
        for cut in 0..text.len() - 1 {
            fs::write(&path, &text[..cut]).unwrap();
            assert_eq!(Closed::read::<Verdict>(&path), None, "{cut} bytes");
        }
        fs::write(&path, text.replace("1.5", "1.6")).unwrap();
        assert_eq!(Closed::read::<Verdict>(&path), None);
    }
}
