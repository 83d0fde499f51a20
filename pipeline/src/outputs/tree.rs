//! Link trees: one artifact's files by name, as links to their bytes. A tree is built beside its
//! place and renamed; existing trees are checked link by link.

use super::aside::{clear_folder, mend_link};
use super::link::{OUTPUTS, leads_to};
use crate::error::Result;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use voxflow_cache::{Artifact, Blob, DamagedFile, Digest, blob_path, disk};

/// Marker link, created last and leading nowhere. Links not younger than the marker are unchanged
/// since creation, found by a stat; reading every link costs several times more.
const PLANTED: &str = ".planted";

/// Smaller trees have no marker.
const MANY: usize = 32;

/// A home's trees with links into a store; absolute paths.
pub struct Trees {
    home: PathBuf,
    store: PathBuf,
}

/// (name below the tree, target) pairs.
pub type Links = Vec<(PathBuf, PathBuf)>;

impl Trees {
    pub fn new(home: &Path, store: &Path) -> Trees {
        Trees { home: home.to_path_buf(), store: store.to_path_buf() }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Path to a tree.
    pub fn place(&self, name: &str) -> PathBuf {
        self.home.join(OUTPUTS).join(name)
    }

    /// Tree name: a digest over file names, blobs and user file paths.
    pub fn name_of(&self, artifact: &Artifact) -> String {
        let mut bytes = relative(&self.home, &self.store).as_os_str().as_bytes().to_vec();
        for (name, blob) in &artifact.0 {
            let reference = blob.reference.as_ref();
            let place = reference.map_or(&b""[..], |own| own.path.as_os_str().as_bytes());
            for part in [name.as_bytes(), b"\0", blob.digest.as_bytes(), place, b"\0"] {
                bytes.extend(part);
            }
        }
        short(&bytes)
    }

    /// Folder linking to all trees in a run.
    pub fn all_of(&self, stages: &[(&str, &Artifact)]) -> PathBuf {
        let lines =
            stages.iter().map(|(stage, artifact)| format!("{stage} {}\n", self.name_of(artifact)));
        self.place(&short(lines.collect::<String>().as_bytes()))
    }

    /// Links in an artifact's tree at `tree`.
    pub fn links(&self, tree: &Path, artifact: &Artifact) -> Links {
        let plain = artifact.0.iter().filter(|(name, _)| is_plain(name));
        plain
            .map(|(name, blob)| {
                let link = tree.join(name);
                let folder = link.parent().unwrap_or(tree);
                (PathBuf::from(name), self.target(folder, blob))
            })
            .collect()
    }

    /// Links in the folder for all stages.
    pub fn links_to_all(&self, stages: &[(&str, &Artifact)]) -> Links {
        stages
            .iter()
            .map(|(stage, artifact)| {
                (PathBuf::from(stage), Path::new("..").join(self.name_of(artifact)))
            })
            .collect()
    }

    /// Creates the tree, or checks and repairs an existing one; returns the repairs.
    pub fn settle(&self, tree: &Path, links: &Links) -> Result<Vec<DamagedFile>> {
        match fs::symlink_metadata(tree) {
            Ok(metadata) if metadata.is_dir() => self.mend(tree, links),
            Ok(_) => {
                let bad = clear_folder(&self.home, tree)?;
                plant(tree, links).map(|()| bad.into_iter().collect())
            }
            Err(_) => plant(tree, links).map(|()| vec![]),
        }
    }

    fn mend(&self, tree: &Path, links: &Links) -> Result<Vec<DamagedFile>> {
        let mut bad = vec![];
        let planted = changed_at(&tree.join(PLANTED));
        for (name, target) in links {
            let link = tree.join(name);
            if looks_planted(&link, target, planted) || leads_to(&link, target) {
                continue;
            }
            let above: Vec<&Path> = name.ancestors().skip(1).collect();
            for folder in above.into_iter().rev().filter(|name| !name.as_os_str().is_empty()) {
                bad.extend(clear_folder(&self.home, &tree.join(folder))?);
            }
            bad.extend(mend_link(&self.home, &link, target)?);
        }
        Ok(bad)
    }

    /// Blobs get relative targets, so home and store can move together; user files get absolute
    /// ones.
    fn target(&self, folder: &Path, blob: &Blob) -> PathBuf {
        match &blob.reference {
            Some(reference) => reference.path.clone(),
            None => relative(folder, &blob_path(&self.store, &blob.digest)),
        }
    }
}

/// Builds a tree beside its place and renames it; if another process was faster, its tree stays.
fn plant(tree: &Path, links: &Links) -> Result<()> {
    let trees = tree.parent().unwrap_or(tree);
    let draft = trees.join(format!(".draft-{}", disk::unique()));
    disk::create_folders(&draft)?;
    let planted = fill(&draft, links).and_then(|()| match disk::rename(&draft, tree) {
        Err(error) if error.io_kind().is_some_and(is_taken) => Ok(disk::remove(&draft)?),
        moved => Ok(moved?),
    });
    planted.inspect_err(|_| drop(disk::remove(&draft)))
}

fn is_taken(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists)
}

fn fill(draft: &Path, links: &Links) -> Result<()> {
    let mut made = BTreeSet::new();
    for (name, target) in links {
        let link = draft.join(name);
        let parent = link.parent().unwrap_or(draft).to_path_buf();
        if made.insert(parent.clone()) {
            disk::create_folders(&parent)?;
        }
        disk::symlink(target, &link)?;
    }
    if links.len() < MANY {
        return Ok(());
    }
    Ok(disk::symlink(Path::new("links-not-younger-are-unchanged"), &draft.join(PLANTED))?)
}

/// True if a link is unchanged since its tree's creation and its length fits the target.
fn looks_planted(link: &Path, target: &Path, planted: Option<(i64, i64)>) -> bool {
    let length = target.as_os_str().len() as u64;
    planted.is_some_and(|planted| {
        fs::symlink_metadata(link).is_ok_and(|metadata| {
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            metadata.is_symlink() && metadata.len() == length && changed <= planted
        })
    })
}

/// Time a link last changed.
fn changed_at(link: &Path) -> Option<(i64, i64)> {
    let metadata = fs::symlink_metadata(link).ok()?;
    Some((metadata.ctime(), metadata.ctime_nsec()))
}

/// True if a name stays below its folder.
fn is_plain(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Relative path from a folder to a file, both absolute.
pub fn relative(folder: &Path, file: &Path) -> PathBuf {
    let shared = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(file.components().skip(shared)).collect()
}

fn short(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()[..32].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn artifact(name: &str, bytes: &[u8]) -> Artifact {
        let bytes_of = bytes.len() as u64;
        let blob = Blob { digest: Digest::of(bytes), bytes: bytes_of, reference: None };
        Artifact([(name.to_string(), blob)].into())
    }

    #[test]
    fn links_lead_from_the_run_to_the_store() {
        let way = relative(Path::new("/h/runs/r/outputs/a"), Path::new("/h/store-v1/blobs/ab/abc"));
        assert_eq!(way, Path::new("../../../../store-v1/blobs/ab/abc"));
        assert!(is_plain("predictions/a.nii.gz") && !is_plain("../a") && !is_plain("/a"));
    }

    #[test]
    fn a_tree_is_named_by_its_names_and_by_what_they_lead_to() {
        let trees = Trees::new(Path::new("/h"), Path::new("/h/store-v1"));
        let name = trees.name_of(&artifact("a", b"1"));
        assert_eq!(name, trees.name_of(&artifact("a", b"1")));
        for other in [artifact("b", b"1"), artifact("a", b"2")] {
            assert_ne!(name, trees.name_of(&other));
        }
        let elsewhere = Trees::new(Path::new("/h"), Path::new("/other"));
        assert_ne!(name, elsewhere.name_of(&artifact("a", b"1")));
    }

    #[test]
    fn whatever_lies_in_a_links_place_the_tree_is_mended_and_a_persons_files_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path();
        let trees = Trees::new(home, &home.join("store-v1"));
        let mut both = artifact("a", b"1");
        both.0.extend(artifact("sub/b", b"2").0);
        let tree = trees.place("tree");
        let links = trees.links(&tree, &both);
        assert_eq!(trees.settle(&tree, &links).expect("plants"), []);
        assert_eq!(trees.settle(&tree, &links).expect("checks"), []);
        type Harm = fn(&Path);
        let harms: [(Harm, usize); 8] = [
            (|tree| fs::remove_file(tree.join("a")).expect("removes"), 1),
            (|tree| put_file(&tree.join("a")), 1),
            (|tree| put_file(&tree.join("sub/b")), 1),
            (|tree| put_file(&tree.join("a/notes")), 1),
            (|tree| put_file(&tree.join("sub")), 2),
            (|tree| put_link(&tree.join("sub")), 2),
            (|tree| put_link(&tree.join("sub/b")), 1),
            (put_file, 1),
        ];
        let mut kept = 0;
        for (number, (harm, told)) in harms.iter().enumerate() {
            harm(&tree);
            let bad = trees.settle(&tree, &links).expect("mends");
            assert_eq!(bad.len(), *told, "harm {number}: {bad:?}");
            kept += bad.iter().filter(|bad| bad.trouble.contains("moved to")).count();
            assert!(links.iter().all(|(name, target)| leads_to(&tree.join(name), target)));
            assert_eq!(trees.settle(&tree, &links).expect("checks"), [], "harm {number}");
        }
        let aside = count_files(&home.join("replaced"));
        assert_eq!((kept, aside), (5, 5), "every file of the person's is somewhere");
    }

    #[test]
    fn of_many_links_the_one_that_was_changed_since_is_read_and_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let trees = Trees::new(folder.path(), &folder.path().join("store-v1"));
        let names: Vec<String> = (0..MANY).map(|number| format!("case_{number}/image")).collect();
        let blobs = names.iter().flat_map(|name| artifact(name, name.as_bytes()).0);
        let many = Artifact(blobs.collect());
        let tree = trees.place("tree");
        let links = trees.links(&tree, &many);
        assert_eq!(trees.settle(&tree, &links).expect("plants"), []);
        assert!(changed_at(&tree.join(PLANTED)).is_some());
        assert_eq!(trees.settle(&tree, &links).expect("checks"), []);
        std::thread::sleep(std::time::Duration::from_millis(50));
        // Another blob, whose link is as long.
        let (first, second) = (tree.join(&names[0]), &links[1].1);
        fs::remove_file(&first).expect("removes");
        symlink(second, &first).expect("links");
        let bad = trees.settle(&tree, &links).expect("mends");
        assert!(bad.len() == 1 && bad[0].path == first, "{bad:?}");
        assert_eq!(trees.settle(&tree, &links).expect("checks"), []);
        fs::remove_file(tree.join(PLANTED)).expect("removes");
        assert_eq!(trees.settle(&tree, &links).expect("checks"), []);
    }

    /// Puts a person's file there, whatever was there before.
    fn put_file(path: &Path) {
        drop(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)));
        let parent = path.parent().expect("a parent");
        drop(fs::remove_file(parent));
        fs::create_dir_all(parent).expect("a folder");
        fs::write(path, "mine").expect("writes");
    }

    fn put_link(path: &Path) {
        drop(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)));
        symlink("/nowhere", path).expect("links");
    }

    fn count_files(folder: &Path) -> usize {
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        inside
            .map(|entry| match entry.path() {
                path if path.is_dir() => count_files(&path),
                path => usize::from(fs::read(path).is_ok_and(|text| text == b"mine")),
            })
            .sum()
    }
}
