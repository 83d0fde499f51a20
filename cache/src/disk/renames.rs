//! Renaming without replacing, also on file systems without `RENAME_NOREPLACE`.

use super::names::beside;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Renames a file or folder unless `to` exists; true if it was renamed.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    let before = inode(from);
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // FUSE, NFS and others know no such flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(from, to, link),
        // A server that lost its answer is asked again, and finds nothing left to rename.
        Err(Errno::NOENT) if is_file_of(to, before) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Fallback without `RENAME_NOREPLACE`: a hard link, made within the target's folder if links
/// between folders fail. Without hard links, checks for the target first.
fn link_new(from: &Path, to: &Path, link: Link) -> io::Result<bool> {
    let before = inode(from);
    match link(from, to) {
        Ok(()) => return fs::remove_file(from).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return taken(from, to, before),
        Err(error) if before.is_none() && !from.is_dir() => {
            return Err(error);
        }
        Err(error) => tracing::debug!("{}: {error}; moved beside its place first", to.display()),
    }
    if fs::symlink_metadata(to).is_ok() {
        return Ok(false);
    }
    if before.is_none() {
        return fs::rename(from, to).map(|()| true);
    }
    // Some file systems link only within a folder.
    let beside = beside(to);
    fs::rename(from, &beside)?;
    match link(&beside, to) {
        Ok(()) => fs::remove_file(&beside).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::rename(&beside, from).map(|()| false)
        }
        Err(_) => fs::rename(&beside, to).map(|()| true),
    }
}

type Link = fn(&Path, &Path) -> io::Result<()>;

fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}

/// Result if `to` exists: possibly our own link, if the server's first answer was lost.
fn taken(from: &Path, to: &Path, before: Option<u64>) -> io::Result<bool> {
    if !is_file_of(to, before) {
        return Ok(false);
    }
    fs::remove_file(from).map(|()| true)
}

/// True if `path` has this inode, taken before the move or link.
fn is_file_of(path: &Path, before: Option<u64>) -> bool {
    before.is_some() && inode(path) == before
}

/// Inode of a regular file.
fn inode(path: &Path) -> Option<u64> {
    let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_file());
    metadata.map(|metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never(_: &Path, _: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    /// Links within one folder only, as some file systems do.
    fn within_a_folder(from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() == to.parent() {
            return link(from, to);
        }
        Err(io::Error::from_raw_os_error(libc::EXDEV))
    }

    /// Links, and loses the answer, so that the request is repeated.
    fn twice(from: &Path, to: &Path) -> io::Result<()> {
        link(from, to)?;
        link(from, to)
    }

    #[test]
    fn a_file_is_renamed_once_and_never_over_another_whatever_the_file_system_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        for (number, link) in [link as Link, within_a_folder, twice, never].into_iter().enumerate()
        {
            let (from, to) = (path("from"), path(&format!("sub/to{number}")));
            fs::write(&from, "first").unwrap();
            assert!(link_new(&from, &to, link).unwrap(), "{number}");
            assert!(!from.exists());
            fs::write(&from, "second").unwrap();
            assert!(!link_new(&from, &to, link).unwrap(), "{number}");
            assert_eq!(fs::read_to_string(&to).unwrap(), "first");
            assert_eq!(fs::read_to_string(&from).unwrap(), "second", "{number}");
        }
        assert_eq!(fs::read_dir(path("sub")).unwrap().count(), 4, "nothing is left beside");
        fs::remove_file(path("from")).unwrap();
        assert!(link_new(&path("from"), &path("sub/none"), never).is_err());
        assert!(rename(&path("from"), &path("sub/none")).is_err());
        fs::create_dir(path("folder")).unwrap();
        assert!(link_new(&path("folder"), &path("sub/folder"), never).unwrap());
        assert!(rename(&path("sub/folder"), &path("folder")).unwrap());
    }

    #[test]
    fn a_rename_that_was_done_and_is_repeated_counts_as_done() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "1").unwrap();
        let before = inode(&from);
        fs::rename(&from, &to).unwrap();
        assert!(is_file_of(&to, before));
        fs::write(folder.path().join("other"), "2").unwrap();
        assert!(!is_file_of(&folder.path().join("other"), before));
    }
}
