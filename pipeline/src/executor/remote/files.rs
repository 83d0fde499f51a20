//! Small files that one machine writes and another reads: whole or not at all, and some closed by
//! their own digest, so that a file that is not yet seen whole is not believed.

use serde::{Serialize, de::DeserializeOwned};
use std::fs;
use std::path::Path;
use std::time::SystemTime;
use voxflow_cache::{Digest, sharing};
use voxflow_stages::{Error, Result, Trouble};

/// Files of one value in JSON, with its digest as the second line.
pub struct Closed;

impl Closed {
    /// Writes a value, whole or not at all.
    pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        let mut text = serde_json::to_vec(value).trouble_at(path)?;
        let digest = Digest::of(&text);
        text.extend(format!("\n{}\n", digest.to_hex()).bytes());
        write_text(path, &text)
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
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{} {now:?} {} {count}", crate::machine::host(), std::process::id());
    Digest::of(text.as_bytes()).to_hex()[..8].to_string()
}

/// Writes JSON beside its place and renames it there, safe on the disk first.
pub fn write_whole<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_text(path, &serde_json::to_vec(value).trouble_at(path)?)
}

pub(super) fn write_text(path: &Path, text: &[u8]) -> Result<()> {
    use std::io::Write;
    let beside = path.with_extension(format!("{}.part", chance()));
    let mut file = fs::File::create(&beside).map_err(Error::io("create", &beside))?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(Error::io("write", &beside))?;
    sharing::share(&beside);
    fs::rename(&beside, path).map_err(Error::io("rename to", path))
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
        let verdict = Verdict { end, said_bytes: 3, seconds: 2.0, usage, host: "n1".into() };
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
