//! The disk layer: every operation of all crates on files and folders, except plain reads.
//!
//! Each operation names its path in errors, passes fault injection ([`fault`]) and, for named file
//! groups ([`Disk`]), crash sites ([`crash`]). New files in shared folders get group permissions
//! (`folders`). `clippy.toml` forbids the standard library's equivalents elsewhere. Reads stay
//! free; only [`open`], used before hashing and parsing stored bytes, passes fault injection.
//!
//! Libraries writing by themselves: sled (the index, wrapped by [`Disk::by_library`]), tempfile
//! (scratch folders and logs of `predict` and standalone stages) and clap_mangen (`voxflow man
//! --out`). Parquet and PNG encoders write into memory or a [`FileWriter`].
#![allow(clippy::disallowed_methods)]

pub mod crash;
pub mod fault;
mod folders;
mod names;
mod renames;
mod steps;
mod writer;

pub(crate) use folders::share;
pub use names::unique;
pub use steps::{
    BLOB, BLOB_FOLDER, CHECKPOINT, CHECKPOINT_FOLDER, DRAFT, Disk, ENTRY, ENTRY_FOLDER, INDEX,
    UNFINISHED,
};
pub use writer::FileWriter;

use crate::error::Result;
use names::beside;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink as symbolic_link};
use std::path::Path;
use steps::PLAIN;

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    PLAIN.open(path)
}

/// Opens a lock file, creating it if missing. Omits `O_CREAT` for existing files: Linux may refuse
/// it for another user's file (`fs.protected_regular`).
pub fn open_lock(path: &Path) -> Result<File> {
    PLAIN.step("open", "open", path, || match open_to_write(path, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            open_to_write(path, true).inspect(|_| share(path))
        }
        opened => opened,
    })
}

fn open_to_write(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)
}

/// Opens an existing file for locking, writable if permitted: some network file systems require
/// this for exclusive locks.
pub fn open_to_lock(path: &Path) -> Result<File> {
    PLAIN.step("open", "open", path, || match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    })
}

/// Creates an empty file with mode 0666; errors if it exists.
pub fn create_public(path: &Path) -> Result<()> {
    PLAIN.step("create", "create", path, || {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.set_permissions(Permissions::from_mode(0o666))
    })
}

/// Creates a folder; false if the path exists.
pub fn create_folder(path: &Path) -> Result<bool> {
    PLAIN.step("create", "create", path, || match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            folders::await_seen(path);
            Ok(false)
        }
        made => made.map(|()| share(path)).map(|()| true),
    })
}

/// Creates a folder and missing parents.
pub fn create_folders(path: &Path) -> Result<()> {
    PLAIN.create_folders(path)
}

/// Creates the folders between `root`, which must exist, and `path`.
pub fn create_folders_below(root: &Path, path: &Path) -> Result<()> {
    PLAIN.step("create", "create", path, || folders::make_folders_below(root, path))
}

/// Writes a file in place, not atomically: for drafts and user files.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    FileWriter::create(path)?.write_bytes(bytes)
}

/// See [`Disk::write_whole`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    PLAIN.write_whole(path, bytes)
}

/// Replaces a file atomically without fsync: for files easily made again or replaced soon.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    PLAIN.write_by(&beside(path), path, bytes, false)
}

/// See [`Disk::write_by`].
pub fn write_by(part: &Path, path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    PLAIN.write_by(part, path, bytes, sync)
}

/// Renames a file or folder, replacing an existing file.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    PLAIN.rename(from, to)
}

/// Renames a file or folder unless `to` exists; true if it was renamed.
pub fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    PLAIN.rename_new(from, to)
}

/// Gives this user access to a folder and all below it, whatever modes a program left there.
pub fn open_up(folder: &Path) -> Result<()> {
    PLAIN.step("mode", "change the modes in", folder, || folders::open_up(folder))
}

/// Copies a file's bytes and mode.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    PLAIN.step("copy", "copy to", to, || fs::copy(from, to).map(drop))
}

/// Creates a symbolic link.
pub fn symlink(target: &Path, link: &Path) -> Result<()> {
    PLAIN.step("link", "link", link, || symbolic_link(target, link))
}

/// Fsyncs a folder, making its names durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    PLAIN.sync_folder(folder)
}

/// Fsyncs a finished file.
pub fn sync(path: &Path) -> Result<()> {
    PLAIN.step("sync", "sync", path, || File::open(path)?.sync_all())
}

/// Removes a file, or a folder and its content. A missing path is fine.
pub fn remove(path: &Path) -> Result<()> {
    PLAIN.remove(path)
}

/// Removes an empty folder.
pub fn remove_empty(folder: &Path) -> Result<()> {
    PLAIN.step("remove", "remove", folder, || fs::remove_dir(folder))
}

/// Sets a file's times to the file system's current time; permitted for any user with write
/// access. Best effort: failures are only logged.
pub fn touch(file: &File) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    if let Err(error) = futimens(file, &Timestamps { last_access: now, last_modification: now }) {
        tracing::debug!("a time of use cannot be set: {error}");
    }
}
