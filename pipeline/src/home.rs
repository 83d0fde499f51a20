//! The home: where run-time data lives (`store-v1/` and `runs/`), and how its runs are found.

use crate::error::{Error, Result};
use crate::run::RunFolder;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

/// The tag by which backup programs leave a folder out (bford.info/cachedir).
const CACHEDIR_TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# voxflow keeps here what it can make again.\n";

/// The home folder and the store's folder, which may lie elsewhere. Nothing is created by naming
/// it.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    store: PathBuf,
}

impl Home {
    /// The home at `root`, with its store inside unless `store` names another folder.
    pub fn new(root: &Path, store: Option<&Path>) -> Home {
        Home {
            root: root.to_path_buf(),
            store: store.map_or_else(|| root.join("store-v1"), Path::to_path_buf),
        }
    }

    /// Creates the folder with its `CACHEDIR.TAG` and `.gitignore` if it is not there.
    pub fn create(&self) -> Result<()> {
        disk::create_folders(&self.runs())?;
        for (name, text) in [("CACHEDIR.TAG", CACHEDIR_TAG), (".gitignore", "*\n")] {
            let path = self.root.join(name);
            if !path.exists() {
                disk::write(&path, text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The home's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The store's folder.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The folder of the runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// Every run there is, the newest last. A home without runs, or none at all, has none.
    pub fn all_runs(&self) -> Result<Vec<RunFolder>> {
        let folder = self.runs();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(Error::io("list", &folder)(error)),
        };
        let mut names = vec![];
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &folder))?;
            if entry.path().join("run.json").is_file() {
                names.push(entry.path());
            }
        }
        names.sort();
        Ok(names.into_iter().map(RunFolder::at).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_left_out_of_backups_and_of_git() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(&folder.path().join("home"), None);
        assert!(home.all_runs().unwrap().is_empty(), "naming a home does not make one");
        home.create().unwrap();
        assert!(
            fs::read_to_string(home.root().join("CACHEDIR.TAG"))
                .unwrap()
                .starts_with("Signature: 8a477f5")
        );
        assert_eq!(fs::read_to_string(home.root().join(".gitignore")).unwrap(), "*\n");
        home.create().unwrap();
    }
}
