//! Single operations with crash sites, fault injection and paths in errors.

use super::folders::{self, share};
use super::names::beside;
use super::{crash, fault, renames};
use crate::error::{Error, Result};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A group of files, named by its crash sites.
#[derive(Clone, Copy, Debug)]
pub struct Disk(&'static str);

/// All files without crash sites.
pub(super) const PLAIN: Disk = Disk("");
/// Files on their way to the blobs.
pub const BLOB: Disk = Disk("blob");
/// Folders of blobs.
pub const BLOB_FOLDER: Disk = Disk("blob-folder");
/// Entries.
pub const ENTRY: Disk = Disk("entry");
/// Folders of entries.
pub const ENTRY_FOLDER: Disk = Disk("entry-folder");
/// Drafts.
pub const DRAFT: Disk = Disk("draft");
/// Unfinished state.
pub const UNFINISHED: Disk = Disk("unfinished");
/// Checkpoints of trainings.
pub const CHECKPOINT: Disk = Disk("checkpoint");
/// Folders of checkpoints.
pub const CHECKPOINT_FOLDER: Disk = Disk("checkpoint-folder");
/// The index database.
pub const INDEX: Disk = Disk("index");

impl Disk {
    pub(super) fn step<T>(
        self,
        step: &'static str,
        action: &'static str,
        path: &Path,
        work: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        crash::at(self.0, "before", step);
        let done = fault::pass().and_then(|()| work()).map_err(Error::io(action, path))?;
        crash::at(self.0, "after", step);
        Ok(done)
    }

    /// Opens a file for reading.
    pub fn open(self, path: &Path) -> Result<File> {
        self.step("open", "open", path, || File::open(path))
    }

    /// Creates a folder and missing parents.
    pub fn create_folders(self, path: &Path) -> Result<()> {
        self.step("create", "create", path, || folders::make_folders(path))
    }

    /// Writes and fsyncs a new file. Errors if it exists.
    pub fn write_new(self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.fill(path, path, bytes, true)
    }

    /// Replaces a file atomically: written beside it, synced, renamed. Readers see old or new
    /// content, even after a power cut; the last writer wins.
    pub fn write_whole(self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.write_by(&beside(path), path, bytes, true)
    }

    /// Replaces `path` by way of `part` in the same folder. Without `sync` a power cut may leave an
    /// empty file.
    pub fn write_by(self, part: &Path, path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
        let written = self
            .fill(part, path, bytes, sync)
            .and_then(|()| self.step("rename", "rename to", path, || fs::rename(part, path)));
        // The disk may be full: the space of a half-written file is freed.
        written.inspect_err(|_| drop(fs::remove_file(part)))
    }

    /// Writes `file`; errors name `path`.
    fn fill(self, file: &Path, path: &Path, bytes: &[u8], sync: bool) -> Result<()> {
        let mut out = self.step("create", "create", path, || File::create_new(file))?;
        share(file);
        // A process may die in the middle of what has a name.
        let half = if self.0.is_empty() { 0 } else { bytes.len() / 2 };
        let (first, second) = bytes.split_at(half);
        if half > 0 {
            self.step("first-half", "write", path, || out.write_all(first))?;
        }
        self.step("write", "write", path, || out.write_all(second))?;
        if sync {
            self.step("sync", "sync", path, || out.sync_all())?;
        }
        Ok(())
    }

    /// Renames a file or folder, replacing an existing file.
    pub fn rename(self, from: &Path, to: &Path) -> Result<()> {
        self.step("rename", "rename to", to, || fs::rename(from, to))
    }

    /// Renames a file or folder unless `to` exists; true if it was renamed.
    pub fn rename_new(self, from: &Path, to: &Path) -> Result<bool> {
        self.step("rename", "rename to", to, || renames::rename(from, to))
    }

    /// Makes a file read-only and durable. Another user's file is first replaced by a copy.
    pub fn finish(self, path: &Path) -> Result<File> {
        let mut file = self.open(path)?;
        match self.step("protect", "make read-only", path, || file.set_permissions(read_only())) {
            Err(error) if error.io_kind() == Some(ErrorKind::PermissionDenied) => {
                self.step("copy", "take over", path, || copy_in_place(path))?;
                file = self.open(path)?;
                self.step("protect", "make read-only", path, || file.set_permissions(read_only()))
            }
            protected => protected,
        }?;
        self.step("sync", "sync", path, || file.sync_all())?;
        Ok(file)
    }

    /// Fsyncs a folder, making its names durable.
    pub fn sync_folder(self, folder: &Path) -> Result<()> {
        self.step("sync", "sync", folder, || File::open(folder)?.sync_all())
    }

    /// Removes a file, or a folder and its content. A missing path is fine.
    pub fn remove(self, path: &Path) -> Result<()> {
        self.step("remove", "remove", path, || remove_any(path))
    }

    /// Runs a library's own writes between crash sites, without fault injection.
    pub fn by_library<T>(self, step: &'static str, work: impl FnOnce() -> T) -> T {
        crash::at(self.0, "before", step);
        let done = work();
        crash::at(self.0, "after", step);
        done
    }
}

fn read_only() -> Permissions {
    Permissions::from_mode(0o444)
}

fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match fs::remove_dir_all(path) {
            // A program may have left folders to which nobody may write.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                folders::open_up(path).map_err(|_| error)?;
                fs::remove_dir_all(path)
            }
            removed => removed,
        },
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Replaces a file by a copy owned by this user.
fn copy_in_place(path: &Path) -> io::Result<()> {
    let copy = beside(path);
    io::copy(&mut File::open(path)?, &mut File::create_new(&copy)?)?;
    fs::rename(&copy, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_that_is_taken_over_has_the_same_bytes_and_another_inode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        fs::write(&path, "bytes").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        copy_in_place(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "bytes");
        assert_ne!(fs::metadata(&path).unwrap().ino(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (number, sync) in [(1, true), (2, false)] {
            let part = folder.path().join("part");
            ENTRY.write_by(&part, &path, format!("content {number}").as_bytes(), sync).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("content {number}"));
        }
        ENTRY.write_whole(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        fs::create_dir(folder.path().join("sub")).unwrap();
        let error = PLAIN.write_whole(&folder.path().join("sub"), b"x").unwrap_err().to_string();
        assert!(error.contains("/sub: cannot rename to"), "{error}");
        assert!(ENTRY.write_new(&path, b"y").is_err(), "it is there");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
