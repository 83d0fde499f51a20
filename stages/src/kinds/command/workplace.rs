//! The folders in which a program runs: its inputs as links, an output folder, a working folder.

use crate::error::{Error, Result};
use crate::task::Input;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

/// A folder below the draft, away from files of the artifact.
const NAME: &str = ".voxflow-command";

/// Folders of one run of a program. They are removed with this.
pub(super) struct Workplace {
    root: PathBuf,
    /// Files behind the links.
    linked: RefCell<BTreeSet<PathBuf>>,
}

impl Drop for Workplace {
    fn drop(&mut self) {
        disk::remove(&self.root).ok();
    }
}

impl Workplace {
    /// Makes the folders below `folder`.
    pub(super) fn new(folder: &Path) -> Result<Workplace> {
        let folder = std::path::absolute(folder).map_err(Error::io("find", folder))?;
        let place = Workplace { root: folder.join(NAME), linked: RefCell::default() };
        for folder in [place.output(), place.work(), place.inputs()] {
            disk::create_folders(&folder)?;
        }
        Ok(place)
    }

    /// The folder around all others.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder around the inputs' folders.
    pub(super) fn inputs(&self) -> PathBuf {
        self.root.join("inputs")
    }

    /// Files behind the links, with no link on the way to them.
    pub(super) fn linked(&self) -> BTreeSet<PathBuf> {
        self.linked.borrow().clone()
    }

    /// The folder for the artifact's files.
    pub(super) fn output(&self) -> PathBuf {
        self.root.join("output")
    }

    /// The working folder, also for temporary files.
    pub(super) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// The file for metrics.
    pub(super) fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The file with all values.
    pub(super) fn variables(&self) -> PathBuf {
        self.root.join("variables.json")
    }

    /// The folder of an input's files.
    pub(super) fn link_folder(&self, role: &str) -> PathBuf {
        self.inputs().join(role)
    }

    /// Lays out an input's files by their names, as links; `names` of them, or all.
    pub(super) fn link(
        &self,
        role: &str,
        input: &Input,
        names: Option<&BTreeSet<String>>,
    ) -> Result<PathBuf> {
        let folder = self.link_folder(role);
        disk::create_folders(&folder)?;
        for (name, file) in &input.files {
            if names.is_some_and(|names| !names.contains(name)) {
                continue;
            }
            let link = folder.join(name);
            if let Some(parent) = link.parent() {
                disk::create_folders_below(&folder, parent)?;
            }
            // A container sees the file itself, and none of the links that lead to it.
            let file = fs::canonicalize(&file.path).map_err(Error::io("find", &file.path))?;
            disk::symlink(&file, &link)?;
            self.linked.borrow_mut().insert(file);
        }
        Ok(folder)
    }

    /// The names of the files in the output folder.
    ///
    /// # Errors
    /// Links, pipes and the like, which an artifact cannot hold; a folder that is gone.
    pub(super) fn files(&self) -> Result<BTreeSet<String>> {
        let (output, mut files) = (self.output(), BTreeSet::new());
        if !output.is_dir() {
            return Err(Error::failed(
                "the program removed the folder ${output}; have it write files below it",
            ));
        }
        disk::open_up(&output)?;
        if output.join(NAME).symlink_metadata().is_ok() {
            return Err(Error::failed(format!(
                "the program wrote '{NAME}', a name that voxflow uses; have it take another"
            )));
        }
        collect(&output, "", &mut files)?;
        Ok(files)
    }

    /// Moves the content of the output folder to `folder`.
    pub(super) fn hand_over(self, folder: &Path) -> Result<()> {
        let output = self.output();
        for entry in entries(&output)? {
            disk::rename(&entry.path(), &folder.join(entry.file_name()))?;
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    entries.map(|entry| entry.map_err(Error::io("list", folder))).collect()
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeSet<String>) -> Result<()> {
    for entry in entries(folder)? {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(Error::io("look at", entry.path()))?;
        let refused = |nature: &str| {
            Error::failed(format!("the program wrote '{name}' as {nature}; write a plain file"))
        };
        match kind {
            kind if kind.is_dir() => collect(&entry.path(), &format!("{name}/"), files)?,
            kind if kind.is_symlink() => return Err(refused("a symbolic link")),
            kind if !kind.is_file() => return Err(refused("a device, pipe or socket")),
            _ if entry.file_name().to_str().is_none() => {
                return Err(refused("a file whose name is no UTF-8"));
            }
            _ => drop(files.insert(name)),
        }
    }
    Ok(())
}
