//! Where things lie on disk, and the few moves that must survive a crash: fanned folders, synced
//! folders, renaming without replacing, setting aside what is bad.

use crate::artifact::FileStat;
use crate::error::{Error, Result};
use crate::fault;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

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
        Ok(()) => sync_folder(folder.parent().unwrap_or(&folder))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("create", folder)(error)),
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

/// Renames unless `to` exists; true if it was renamed.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    fault::pass().map_err(Error::io("rename to", to))?;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => link_new(from, to),
        Err(error) => Err(Error::io("rename to", to)(error.into())),
    }
}

/// The same for file systems that cannot rename without replacing.
fn link_new(from: &Path, to: &Path) -> Result<bool> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from).map(|()| true).map_err(Error::io("remove", from)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("create", to)(error)),
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
    fs::create_dir_all(bad).map_err(Error::io("create", bad))?;
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
