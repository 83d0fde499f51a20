//! The home folder (`store-v1/` and `runs/`) and its runs.

use crate::error::{Error, Result};
use crate::run::RunFolder;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::{Store, disk};

/// Tells backup programs to skip the folder (bford.info/cachedir).
const CACHEDIR_TAG: &str =
    "Signature: 8a477f597d28d172789f06886806bc55\n# voxflow keeps here what it can make again.\n";

/// Paths to the home and its store, possibly elsewhere. Constructing it creates nothing.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    store: PathBuf,
    /// Read-only stores below the store.
    lower: Vec<PathBuf>,
}

/// The store's folder in a home.
pub const STORE: &str = "store-v1";

impl Home {
    /// Home at `root`; the store lies inside unless given.
    pub fn new(root: &Path, store: Option<&Path>) -> Home {
        Home {
            root: root.to_path_buf(),
            store: store.map_or_else(|| root.join(STORE), Path::to_path_buf),
            lower: vec![],
        }
    }

    /// The home with lower stores after those it has; a home among them stands for its store.
    pub fn over(mut self, lower: impl IntoIterator<Item = PathBuf>) -> Home {
        self.lower.extend(lower.into_iter().map(|folder| match folder.join(STORE) {
            store if store.is_dir() => store,
            _ => folder,
        }));
        self
    }

    /// Opens or creates the store, over the lower ones.
    pub fn open_store(&self) -> Result<Store> {
        let store = Store::open(&self.store)?;
        self.look_below(&store).map(|()| store)
    }

    /// Opens the store for reading, over the lower ones.
    pub fn read_store(&self) -> Result<Store> {
        let store = Store::read_only(&self.store)?;
        self.look_below(&store).map(|()| store)
    }

    fn look_below(&self, store: &Store) -> Result<()> {
        store.look_below(&self.lower).map_err(|error| match error {
            voxflow_cache::Error::Other(words) => Error::usage(format!("--lower-store: {words}")),
            error => error.into(),
        })
    }

    /// Creates the folder with `CACHEDIR.TAG` and `.gitignore`.
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

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// All runs, oldest first; empty if the home is missing.
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
