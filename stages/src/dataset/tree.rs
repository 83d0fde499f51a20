//! The files under a folder as a dataset's listing sees them: hidden files are left out, a pair
//! (.hdr, .img) is a single file.

use crate::dataset::name;
use crate::dataset::notes::Notes;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files under a folder, by their names relative to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    root: PathBuf,
    images: BTreeSet<String>,
    others: BTreeSet<String>,
    /// Names that are no text, as far as they can be shown.
    strange: Vec<String>,
}

impl Tree {
    /// All files under `folder`, at any depth.
    pub fn of(folder: &Path) -> Result<Tree> {
        let mut tree = Tree { root: folder.to_path_buf(), ..Tree::default() };
        tree.add(folder, "", &mut vec![], usize::MAX)?;
        Ok(tree.paired())
    }

    /// The files directly in some folders below `root`; a missing folder has none.
    pub fn of_folders<'a>(root: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Tree> {
        let mut tree = Tree { root: root.to_path_buf(), ..Tree::default() };
        for name in names {
            let folder = root.join(name);
            let prefix = if name.is_empty() { String::new() } else { format!("{name}/") };
            if folder.is_dir() {
                tree.add(&folder, &prefix, &mut vec![], 1)?;
            }
        }
        Ok(tree.paired())
    }

    /// The image files.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(String::as_str)
    }

    /// Every other file.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str)
    }

    /// Existing names, for a message about a missing one.
    pub fn holds(&self) -> String {
        let folder = self.root.display();
        let (images, others): (Vec<&str>, Vec<&str>) =
            (self.images().collect(), self.others().collect());
        match (images.is_empty(), others.is_empty()) {
            (false, _) => format!("in '{folder}' there are {}", few(&images)),
            (true, false) => format!("in '{folder}' there are no images, but {}", few(&others)),
            (true, true) => format!("'{folder}' is empty"),
        }
    }

    /// Says what was passed over.
    pub fn tell(&self, notes: &mut Notes) {
        if !self.strange.is_empty() {
            let names = name::shown(&self.strange);
            notes.warn(format!("files whose names are no UTF-8 are left out: {names}"));
        }
    }

    /// Adds the content of `folder`, hidden files left out. A link to a folder `above` is not
    /// followed: its content is listed already, and would repeat without end.
    fn add(
        &mut self,
        folder: &Path,
        prefix: &str,
        above: &mut Vec<PathBuf>,
        depth: usize,
    ) -> Result<()> {
        let place = folder.canonicalize().map_err(Error::io("list", folder))?;
        if above.contains(&place) {
            return Ok(());
        }
        above.push(place);
        for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
            let entry = entry.map_err(Error::io("list", folder))?;
            let file = entry.file_name();
            let name = format!("{prefix}{}", file.to_string_lossy());
            match entry.path().is_dir() {
                _ if name::is_hidden(&file.to_string_lossy()) => {}
                _ if file.to_str().is_none() => self.strange.push(name),
                true if depth > 1 => {
                    self.add(&entry.path(), &format!("{name}/"), above, depth - 1)?;
                }
                true => {}
                false => drop(self.others.insert(name)),
            }
        }
        above.pop();
        Ok(())
    }

    /// Separates images from other files; a pair leaves its header's name.
    fn paired(mut self) -> Tree {
        let voxels: BTreeSet<String> =
            self.others.iter().filter_map(|name| name::data_of(name)).collect();
        self.others.retain(|name| !voxels.contains(name));
        (self.images, self.others) =
            self.others.into_iter().partition(|name| name::split_suffix(name).is_some());
        self
    }
}

/// The first three names in quotes, and how many more.
fn few(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    name::few(&shown, 3)
}
