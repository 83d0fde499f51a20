//! Folders and files that a container sees: those of its inputs, its scripts and its workplace.

use super::workplace::Workplace;
use crate::container::Mount;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Folders of inputs at most. Where files lie in more of them, the folders around are shown.
const MOST_FOLDERS: usize = 16;
/// Components of a path like "/data", which is not given up for "/".
const TOP: usize = 2;

/// The mounts of a program's container: its workplace and `unfinished` to write, the files behind
/// its inputs and `scripts` to read.
pub(super) fn of_program(
    place: &Workplace,
    scripts: impl IntoIterator<Item = PathBuf>,
    unfinished: Option<PathBuf>,
) -> Vec<Mount> {
    let files = place.linked();
    let folders = files.iter().filter_map(|file| file.parent());
    // A file directly in "/" is shown by itself.
    let (at_top, folders): (Vec<&Path>, Vec<&Path>) =
        folders.partition(|folder| folder.parent().is_none());
    let alone = files.iter().filter(|file| file.parent().is_some_and(|top| at_top.contains(&top)));
    let folders = around(folders.into_iter().map(Path::to_path_buf).collect());
    // Sorted by path: a folder comes before those below it, whose rights then count.
    let mut mounts: BTreeMap<PathBuf, bool> = BTreeMap::new();
    mounts.extend(folders.into_iter().chain(alone.cloned()).map(|path| (path, false)));
    mounts.extend(scripts.into_iter().map(|path| (path, false)));
    mounts.extend(unfinished.map(|path| (path, true)));
    mounts.insert(place.root().to_path_buf(), true);
    mounts.insert(place.inputs(), false);
    mounts.into_iter().map(|(path, is_writable)| Mount { path, is_writable }).collect()
}

/// A few folders around all of these: while there are more, the deepest give way to those that hold
/// them.
fn around(mut folders: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    while folders.len() > MOST_FOLDERS {
        let deepest = folders.iter().map(|folder| depth(folder)).max().unwrap_or(0);
        if deepest <= TOP {
            break;
        }
        let outer = folders.into_iter().map(|folder| match folder.parent() {
            Some(parent) if depth(&folder) == deepest => parent.to_path_buf(),
            _ => folder,
        });
        folders = outer.collect();
    }
    folders.iter().filter(|folder| !is_inside_any(folder, &folders)).cloned().collect()
}

fn is_inside_any(folder: &Path, folders: &BTreeSet<PathBuf>) -> bool {
    folders.iter().any(|other| other != folder && folder.starts_with(other))
}

fn depth(folder: &Path) -> usize {
    folder.components().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(paths: impl IntoIterator<Item = String>) -> Vec<String> {
        let found = around(paths.into_iter().map(PathBuf::from).collect());
        found.into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_few_folders_are_shown_themselves_and_many_by_those_around_them() {
        let few = ["/data/imagesTr", "/data/labelsTr", "/store/blobs/ab"].map(String::from);
        assert_eq!(folders(few.clone()), few);
        let blobs = (0..99).map(|number| format!("/store/blobs/{number:02}"));
        assert_eq!(folders(blobs.chain(few)), ["/data/imagesTr", "/data/labelsTr", "/store/blobs"]);
        let apart = (0..99).map(|number| format!("/{number:02}/data"));
        assert_eq!(folders(apart).len(), 99, "never all of the machine");
        assert_eq!(folders(["/a", "/a/b"].map(String::from)), ["/a"]);
    }

    #[test]
    fn inputs_are_read_only_in_a_workplace_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let place = Workplace::new(folder.path()).unwrap();
        let script = folder.path().join("tool.py");
        let mounts = of_program(&place, [script.clone()], Some(folder.path().join("kept")));
        let mounts: Vec<(PathBuf, bool)> =
            mounts.into_iter().map(|mount| (mount.path, mount.is_writable)).collect();
        let wanted = [
            (place.root().to_path_buf(), true),
            (place.inputs(), false),
            (folder.path().join("kept"), true),
            (script, false),
        ];
        assert_eq!(mounts, wanted);
    }
}
