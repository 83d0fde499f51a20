//! Tags and a note on a run, in its own file `annotation.json`: the record of a finished run never
//! changes.

use crate::error::{Error, Result};
use crate::run::RunFolder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use voxflow_cache::disk;

const FILE: &str = "annotation.json";

/// Content of `annotation.json`; empty without the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Annotation {
    pub fn read(run: &RunFolder) -> Result<Annotation> {
        let path = run.file(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Annotation::default()),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            let way_out = "correct the file, or remove it to begin anew";
            Error::Failed(format!("{}: {error}; {way_out}", path.display()))
        })
    }

    /// Replaces the file atomically; an empty annotation leaves none.
    pub fn write(&self, run: &RunFolder) -> Result<()> {
        let path = run.file(FILE);
        if *self == Annotation::default() {
            return Ok(disk::remove(&path)?);
        }
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::Failed(format!("{FILE}: {error}")))?;
        text.push(b'\n');
        Ok(disk::replace(&path, &text)?)
    }

    /// "baseline, paper"
    pub fn tag_words(&self) -> String {
        self.tags.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_left_is_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunFolder::at(folder.path().to_path_buf());
        assert_eq!(Annotation::read(&run).expect("reads"), Annotation::default());
        let tags = ["paper", "baseline"].map(String::from).into();
        let annotation = Annotation { tags, note: Some("the one in table 2".into()) };
        annotation.write(&run).expect("writes");
        assert_eq!(Annotation::read(&run).expect("reads"), annotation);
        assert_eq!(annotation.tag_words(), "baseline, paper");
        Annotation::default().write(&run).expect("writes");
        assert!(!run.file(FILE).exists());
        fs::write(run.file(FILE), "{").expect("writes");
        let error = Annotation::read(&run).expect_err("torn").to_string();
        assert!(error.contains("remove it to begin anew"), "{error}");
    }
}
