//! The disk: every operation of all crates that changes a file or folder.
//!
//! Each operation names its path in its error, can fail where a test asks for it ([`fault`]), and
//! is a place to die at ([`crash`]) where its file has a name for such places ([`Disk`]). Files and
//! folders made in a shared folder are its group's (`folders`). `clippy.toml` forbids the standard
//! library's own functions everywhere else; reading is free, and only [`open`], through which
//! stored bytes are checked, can be made to fail.
//!
//! These libraries write by themselves: sled (the index, by [`Disk::by_library`]), tempfile
//! (folders and logs of `predict` and of stages outside a workflow, gone at the end) and
//! clap_mangen (`voxflow man --out`). Parquet files and pictures are encoded by libraries into a
//! [`FileWriter`] or into memory.
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
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink as symbolic_link};
use std::path::Path;
use steps::PLAIN;

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    PLAIN.open(path)
}

/// Opens a file to lock it, and makes it if it is not there. Creating is asked for only where it
/// is needed: Linux may refuse it for a file of another user (`fs.protected_regular`).
pub fn open_lock(path: &Path) -> Result<File> {
    let open = |create| {
        OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)
    };
    PLAIN.step("open", "open", path, || match open(false) {
        Err(error) if error.kind() == ErrorKind::NotFound => open(true).inspect(|_| share(path)),
        opened => opened,
    })
}

/// Opens a file that is there to lock it: for writing where that is allowed, since some network
/// file systems lock exclusively through such files only.
pub fn open_to_lock(path: &Path) -> Result<File> {
    PLAIN.step("open", "open", path, || match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    })
}

/// Makes an empty file that everybody may read and write; one that is there is an error.
pub fn create_public(path: &Path) -> Result<()> {
    PLAIN.step("create", "create", path, || {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.set_permissions(Permissions::from_mode(0o666))
    })
}

/// Makes a folder; false if something is there already.
pub fn create_folder(path: &Path) -> Result<bool> {
    PLAIN.step("create", "create", path, || match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        made => made.map(|()| share(path)).map(|()| true),
    })
}

/// Makes a folder, and those above it that are missing.
pub fn create_folders(path: &Path) -> Result<()> {
    PLAIN.create_folders(path)
}

/// Makes the folders between `root`, which must be there, and `path` below it.
pub fn create_folders_below(root: &Path, path: &Path) -> Result<()> {
    PLAIN.step("create", "create", path, || folders::make_folders_below(root, path))
}

/// Writes a file where it lies: for drafts, and for a person's files.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    FileWriter::create(path)?.write_bytes(bytes)
}

/// See [`Disk::write_whole`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    PLAIN.write_whole(path, bytes)
}

/// Replaces a file as a whole without syncing it: for what can be made again, or is replaced soon.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    PLAIN.write_by(&beside(path), path, bytes, false)
}

/// See [`Disk::write_by`].
pub fn write_by(part: &Path, path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
    PLAIN.write_by(part, path, bytes, sync)
}

/// Renames a file or folder. A file that is there is replaced.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    PLAIN.rename(from, to)
}

/// Renames a file or folder unless `to` exists; true if it was renamed.
pub fn rename_new(from: &Path, to: &Path) -> Result<bool> {
    PLAIN.rename_new(from, to)
}

/// Copies a file's bytes and mode.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    PLAIN.step("copy", "copy to", to, || fs::copy(from, to).map(drop))
}

/// Makes a symbolic link.
pub fn symlink(target: &Path, link: &Path) -> Result<()> {
    PLAIN.step("link", "link", link, || symbolic_link(target, link))
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    PLAIN.sync_folder(folder)
}

/// Makes the bytes of a finished file durable.
pub fn sync(path: &Path) -> Result<()> {
    PLAIN.step("sync", "sync", path, || File::open(path)?.sync_all())
}

/// Removes a file, or a folder with all it holds, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    PLAIN.remove(path)
}

/// Removes an empty folder.
pub fn remove_empty(folder: &Path) -> Result<()> {
    PLAIN.step("remove", "remove", folder, || fs::remove_dir(folder))
}

/// Sets a file's times to now, by the clock of the file system: whoever may write the file of
/// another user may do this and set no other time. Best effort: only an order or an age is lost.
pub fn touch(file: &File) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    if let Err(error) = futimens(file, &Timestamps { last_access: now, last_modification: now }) {
        tracing::debug!("a time of use cannot be set: {error}");
    }
}
