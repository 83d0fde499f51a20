//! Small files that one machine writes and another reads: whole or not at all, and some closed by
//! their own digest, so that a file that is not yet seen whole is not believed.

use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::Path;
use voxflow_cache::Digest;
use voxflow_cache::disk::{self, unique};
use voxflow_stages::{Result, Trouble};

/// Files of one value in JSON, with its digest as the second line.
pub struct Closed;

impl Closed {
    /// Writes a value, whole or not at all.
    pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        let mut text = serde_json::to_vec(value).trouble_at(path)?;
        let digest = Digest::of(&text);
        text.extend(format!("\n{}\n", digest.to_hex()).bytes());
        Ok(disk::write_whole(path, &text)?)
    }

    /// Reads a value; `None` where the file is not there or not whole.
    pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
        let text = fs::read_to_string(path).ok()?;
        let (json, digest) = text.trim_end().rsplit_once('\n')?;
        (Digest::of(json.as_bytes()).to_hex() == digest).then(|| serde_json::from_str(json).ok())?
    }
}

/// A batch's name that only this submission has: `vf-` and eight digits.
pub fn name(about: &str) -> String {
    let text = format!("{about} {}", chance());
    format!("vf-{}", &Digest::of(text.as_bytes()).to_hex()[..8])
}

/// Eight digits that nobody else draws.
pub(super) fn chance() -> String {
    unique()[..8].to_string()
}

/// Writes JSON beside its place and renames it there, safe on the disk first.
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
        let usage = Usage { cpu_seconds: 1.5, peak_rss_bytes: 7 };
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
