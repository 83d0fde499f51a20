//! Where things lie on disk, and the few moves that must survive a crash: fanned folders, synced
//! folders, renaming without replacing, setting aside what is bad.

use crate::artifact::FileStat;
use crate::error::{Error, Result};
use crate::fault;
use crate::hash::Digest;
use crate::sharing;
use rustix::fs::{CWD, RenameFlags, Timespec, Timestamps, UTIME_NOW, futimens, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of blobs in a store.
pub(crate) const BLOBS: &str = "blobs";

/// `folder/ab/abcd…`: at most 256 folders, each of a size that every file system likes.
pub(crate) fn fan(folder: &Path, hex: &str) -> PathBuf {
    folder.join(&hex[..2]).join(hex)
}

/// The files two levels below `folder`, sorted. None if the folder is missing.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for fan in list(folder)? {
        if fan.is_dir() {
            found.extend(list(&fan)?);
        }
    }
    Ok(found)
}

/// Entries of `folder`, sorted; empty if it is missing.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        read => read.map_err(Error::io("list", folder))?,
    };
    let paths: std::io::Result<Vec<PathBuf>> =
        read.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(Error::io("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// Makes the folder that `file` will lie in, and syncs the one above if it is new.
pub(crate) fn make_parent(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(file).to_path_buf();
    match fault::pass().and_then(|()| fs::create_dir(&folder)) {
        Ok(()) => {
            sharing::share(&folder);
            sync_folder(folder.parent().unwrap_or(&folder))?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::in_store("create", folder)(error)),
    }
    Ok(folder)
}

/// Makes the names in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    fault::pass()
        .and_then(|()| File::open(folder))
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", folder))
}

/// Path in a store of the content with this digest.
pub fn blob_path(store: &Path, digest: &Digest) -> PathBuf {
    fan(&store.join(BLOBS), &digest.to_hex())
}

/// Renames a file or folder unless `to` exists; true if it was renamed.
pub fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    fault::pass().map_err(Error::io("rename to", to))?;
    let before = FileStat::of(from)?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // FUSE, NFS and others know no such flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(from, to, link),
        // A server that lost its answer is asked again, and finds nothing left to rename.
        Err(Errno::NOENT) if is_file_of(to, before) => Ok(true),
        Err(error) => Err(Error::io("rename to", to)(error.into())),
    }
}

/// The same where renaming always replaces: by a link, within the folder of `to`, since some file
/// systems link in no other; or, where there are no links, by looking first.
fn link_new(from: &Path, to: &Path, link: Link) -> Result<bool> {
    let before = FileStat::of(from)?;
    match link(from, to) {
        Ok(()) => return fs::remove_file(from).map(|()| true).map_err(Error::io("remove", from)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return taken(from, to, before),
        Err(error) if before.is_none() && !from.is_dir() => {
            return Err(Error::io("create", to)(error));
        }
        Err(error) => tracing::debug!("{}: {error}; moved beside its place first", to.display()),
    }
    if fs::symlink_metadata(to).is_ok() {
        return Ok(false);
    }
    if before.is_none() {
        return fs::rename(from, to).map(|()| true).map_err(Error::io("rename to", to));
    }
    let beside = beside(to);
    fs::rename(from, &beside).map_err(Error::io("rename to", &beside))?;
    match link(&beside, to) {
        Ok(()) => fs::remove_file(&beside).map(|()| true).map_err(Error::io("remove", &beside)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::rename(&beside, from).map(|()| false).map_err(Error::io("rename to", from))
        }
        Err(_) => fs::rename(&beside, to).map(|()| true).map_err(Error::io("rename to", to)),
    }
}

type Link = fn(&Path, &Path) -> std::io::Result<()>;

fn link(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::hard_link(from, to)
}

/// The answer where `to` exists: it may be our own link, made by a request whose answer was lost.
fn taken(from: &Path, to: &Path, before: Option<FileStat>) -> Result<bool> {
    if !is_file_of(to, before) {
        return Ok(false);
    }
    fs::remove_file(from).map(|()| true).map_err(Error::io("remove", from))
}

/// True if the file at `path` is the one that had this stat before it was moved or linked.
fn is_file_of(path: &Path, before: Option<FileStat>) -> bool {
    let same = |now: FileStat| before.is_some_and(|before| now.inode == before.inode);
    FileStat::of(path).is_ok_and(|now| now.is_some_and(same))
}

/// A name of chance in the folder of `path`.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", chance()))
}

/// A part of a name that no other process chooses: in another container one may have the same id.
pub(crate) fn chance() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Sets a file's times to now, by the clock of the file system: whoever may write the file of
/// another user may do this and set no other time.
pub(crate) fn touch(file: &File) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    if let Err(error) = futimens(file, &Timestamps { last_access: now, last_modification: now }) {
        tracing::debug!("a time of use cannot be set: {error}");
    }
}

/// Removes a file or a whole folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Moves a bad file into the folder `bad`, where nobody looks things up but a person can. Not if it
/// has been replaced since its stat was taken.
pub(crate) fn set_aside(path: &Path, stat: &FileStat, bad: &Path) -> Result<()> {
    let same = |now: FileStat| (now.device, now.inode) == (stat.device, stat.inode);
    if !FileStat::of(path)?.is_some_and(same) {
        return Ok(());
    }
    sharing::make_folders(bad).map_err(Error::in_store("create", bad))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for copy in 0.. {
        match rename_new(path, &bad.join(format!("{name}.{copy}"))) {
            Ok(true) => break,
            Ok(false) => continue,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never(_: &Path, _: &Path) -> std::io::Result<()> {
        Err(std::io::Error::from_raw_os_error(libc::EPERM))
    }

    /// Links within one folder only, as some file systems do.
    fn within_a_folder(from: &Path, to: &Path) -> std::io::Result<()> {
        if from.parent() == to.parent() {
            return link(from, to);
        }
        Err(std::io::Error::from_raw_os_error(libc::EXDEV))
    }

    /// Links, and loses the answer, so that the request is repeated.
    fn twice(from: &Path, to: &Path) -> std::io::Result<()> {
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
        assert!(rename_new(&path("from"), &path("sub/none")).is_err());
        fs::create_dir(path("folder")).unwrap();
        assert!(link_new(&path("folder"), &path("sub/folder"), never).unwrap());
        assert!(rename_new(&path("sub/folder"), &path("folder")).unwrap());
    }

    #[test]
    fn a_rename_that_was_done_and_is_repeated_counts_as_done() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "1").unwrap();
        let before = FileStat::of(&from).unwrap();
        fs::rename(&from, &to).unwrap();
        assert!(is_file_of(&to, before));
        fs::write(folder.path().join("other"), "2").unwrap();
        assert!(!is_file_of(&folder.path().join("other"), before));
    }
}
