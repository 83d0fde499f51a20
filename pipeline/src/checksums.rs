//! Checksums for a run's files (`seal.json`), written at its end; later damage is noticed before
//! the files are believed. Runs without checksums (killed or older) are read unchecked.
//!
//! Rebuilding damaged tables from the journal is left to `tables`.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use voxflow_cache::{DamagedFile, Digest, disk};

pub const SEAL: &str = "seal.json";

/// Files covered, if present. Reports are excluded: users may regenerate them.
pub const SEALED: [&str; 8] = [
    "run.json",
    "events.jsonl",
    "metrics.parquet",
    "stages.parquet",
    "params.parquet",
    "sweep.parquet",
    "workflow.yaml",
    "resolved.yaml",
];

/// Digests by file name, plus a digest over all lines.
#[derive(Debug, Serialize, Deserialize)]
struct Checksums {
    digest: Digest,
    files: BTreeMap<String, Digest>,
}

/// Writes the checksums for a finished run.
pub fn write(run: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    for name in SEALED {
        if let Some(bytes) = bytes(&run.join(name))? {
            files.insert(name.to_string(), Digest::of(&bytes));
        }
    }
    let text = text(files)?;
    Ok(disk::replace(&run.join(SEAL), &text)?)
}

/// True if `bytes` match the recorded digest, or no digest is recorded.
pub fn holds(run: &Path, name: &str, bytes: &[u8]) -> bool {
    let sealed = read(run).ok().flatten().and_then(|seal| seal.files.get(name).copied());
    sealed.is_none_or(|digest| digest == Digest::of(bytes))
}

/// Like [`holds`] for the file on disk. A missing file does not match.
pub fn is_whole(run: &Path, name: &str) -> Result<bool> {
    let Some(seal) = read(run).ok().flatten() else { return Ok(true) };
    let Some(digest) = seal.files.get(name) else { return Ok(true) };
    Ok(bytes(&run.join(name))?.is_some_and(|bytes| Digest::of(&bytes) == *digest))
}

/// Message for a file with a wrong digest.
pub fn damaged(run: &Path, name: &str) -> String {
    format!("{}: is damaged, since the run ended with another content", run.join(name).display())
}

/// Bytes read by [`verify`].
pub fn bytes_of(run: &Path) -> u64 {
    SEALED.iter().filter_map(|name| Some(fs::metadata(run.join(name)).ok()?.len())).sum()
}

/// Checks all files. Damaged tables are rebuilt by `rebuild`, which returns success; other damaged
/// files are renamed aside. The remaining files get new checksums: damage is reported once.
pub fn verify(run: &Path, rebuild: impl Fn(&Path) -> bool) -> Result<Vec<DamagedFile>> {
    let seal = match read(run) {
        Ok(None) => return Ok(vec![]),
        Ok(Some(seal)) => seal,
        Err(()) => return set_aside(run, SEAL).map(|bad| vec![bad]),
    };
    let mut bad = vec![];
    for name in seal.files.keys() {
        if is_whole(run, name)? {
            continue;
        }
        let rebuilt = name.ends_with(".parquet") && rebuild(run);
        bad.push(if rebuilt {
            DamagedFile {
                path: run.join(name),
                trouble: "is damaged; made again of the journal".into(),
            }
        } else {
            set_aside(run, name)?
        });
    }
    if !bad.is_empty() {
        write(run)?;
    }
    Ok(bad)
}

fn set_aside(run: &Path, name: &str) -> Result<DamagedFile> {
    let (path, aside) = (run.join(name), run.join(format!("{name}.bad")));
    match disk::rename(&path, &aside) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => {
            Ok(DamagedFile { path, trouble: "is gone".into() })
        }
        moved => {
            moved?;
            Ok(DamagedFile { path, trouble: format!("is damaged; kept as '{name}.bad'") })
        }
    }
}

/// Checksums for a run, if any; errors if damaged.
fn read(run: &Path) -> Result<Option<Checksums>, ()> {
    let path: PathBuf = run.join(SEAL);
    let Some(found) = bytes(&path).map_err(|_| ())? else { return Ok(None) };
    let seal: Checksums = serde_json::from_slice(&found).map_err(|_| ())?;
    // To the letter: hex digits would mean the same in upper case.
    if text(seal.files.clone()).is_ok_and(|text| text == found) { Ok(Some(seal)) } else { Err(()) }
}

/// Serialises the checksums.
fn text(files: BTreeMap<String, Digest>) -> Result<Vec<u8>> {
    let lines: Vec<String> =
        files.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
    let seal = Checksums { digest: Digest::of(lines.concat().as_bytes()), files };
    let mut text =
        serde_json::to_vec(&seal).map_err(|error| Error::Failed(format!("{SEAL}: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(Error::io("read", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_after_the_run_is_noticed_set_aside_and_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        fs::write(run.join("run.json"), "{}").unwrap();
        assert!(is_whole(run, "run.json").unwrap(), "a run without a seal is read as it is");
        write(run).unwrap();
        assert!(is_whole(run, "run.json").unwrap() && verify(run, |_| false).unwrap().is_empty());
        fs::write(run.join("run.json"), "{ }").unwrap();
        assert!(!is_whole(run, "run.json").unwrap() && !holds(run, "run.json", b"{ }"));
        assert_eq!(
            verify(run, |_| false).unwrap()[0].trouble,
            "is damaged; kept as 'run.json.bad'"
        );
        assert!(verify(run, |_| false).unwrap().is_empty());
    }

    #[test]
    fn a_damaged_seal_proves_nothing_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        fs::write(run.join("run.json"), "{}").unwrap();
        write(run).unwrap();
        let seal = fs::read_to_string(run.join(SEAL)).unwrap();
        for damaged in
            [seal.replace("run.json", "ran.json"), seal.to_uppercase(), seal.replace('a', "A")]
        {
            fs::write(run.join(SEAL), damaged).unwrap();
            assert!(holds(run, "run.json", b"{}"));
            assert_eq!(verify(run, |_| false).unwrap()[0].path, run.join(SEAL));
        }
    }
}
