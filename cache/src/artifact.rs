//! An artifact is a manifest: file names and blobs, without the bytes.

use crate::error::{Error, Result};
use crate::hash::Digest;
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, makedev, statx};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files made from one recipe: slash-separated names and their blobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Artifact(pub BTreeMap<String, Blob>);

/// Content descriptor. Two contents are equal if their digests are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blob {
    /// Blake3 digest.
    pub digest: Digest,
    /// Size in bytes.
    pub bytes: u64,
    /// Set if the bytes stay in a user's file outside the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// Path of a referenced blob, and the stat under which its digest was computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Absolute path.
    pub path: PathBuf,
    /// Stat at hashing time. If the file's current stat differs, the blob counts as missing.
    pub stat: FileStat,
    /// True if the file changed shortly before hashing: a later change could leave the same stat,
    /// hence its bytes are read again before reuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh: bool,
}

/// File identity and times; equal stats mean unchanged content.
///
/// Equality ignores the device: device numbers differ between hosts, mounts and boots (NFS, btrfs,
/// overlay, FUSE). They are compared only if both times are whole seconds, as on squashfs and ISO
/// images, where files from two images may agree in everything else.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FileStat {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last content change, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last inode change, nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl PartialEq for FileStat {
    fn eq(&self, other: &FileStat) -> bool {
        self.numbers() == other.numbers()
            && (self.device == other.device || !self.has_whole_seconds())
    }
}

impl Eq for FileStat {}

impl Hash for FileStat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.numbers().hash(state);
    }
}

impl FileStat {
    fn numbers(&self) -> (u64, u64, i64, i64) {
        (self.inode, self.size, self.mtime_ns, self.ctime_ns)
    }

    fn has_whole_seconds(&self) -> bool {
        self.mtime_ns % 1_000_000_000 == 0 && self.ctime_ns % 1_000_000_000 == 0
    }

    /// Stat of the regular file at `path`, following links; `None` if missing or another file type.
    pub fn of(path: &Path) -> Result<Option<FileStat>> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(FileStat::from(&metadata))),
            Ok(_) => Ok(None),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    /// Current stat as the file server reports it. A plain stat may come from a client cache up to
    /// a minute old. Some clients ask their server on open, others on a forced stat; both are done
    /// here. Files without read permission get a plain stat.
    pub fn of_opened(path: &Path) -> Result<Option<FileStat>> {
        // A pipe is not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()).map(File::from) {
            Ok(file) => {
                let is_file = file.metadata().map_err(Error::io("look at", path))?.is_file();
                let fresh = is_file.then(|| FileStat::fresh(&file)).transpose();
                fresh.map_err(Error::io("look at", path))
            }
            Err(_) => FileStat::of(path),
        }
    }

    /// Current stat of an open file, bypassing client caches.
    pub(crate) fn fresh(file: &File) -> io::Result<FileStat> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        match statx(file, "", flags, StatxFlags::BASIC_STATS) {
            Ok(stat) => Ok(FileStat {
                device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
                inode: stat.stx_ino,
                size: stat.stx_size,
                mtime_ns: nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
                ctime_ns: nanoseconds(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec.into()),
            }),
            // A kernel, or a container's filter, without this call.
            Err(Errno::NOSYS | Errno::PERM) => Ok(FileStat::from(&file.metadata()?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Later time of the two changes, nanoseconds since 1970.
    pub fn changed_ns(&self) -> i64 {
        self.mtime_ns.max(self.ctime_ns)
    }
}

impl From<&Metadata> for FileStat {
    fn from(metadata: &Metadata) -> FileStat {
        FileStat {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

impl Artifact {
    /// Adds a file. Errors on names that are not plain relative paths, and on a name already taken
    /// by different content.
    pub fn add(&mut self, name: &str, blob: &Blob) -> Result<()> {
        if !is_name(name) {
            return Err(Error::Other(format!("'{name}' is not a name for a file of an artifact")));
        }
        match self.0.insert(name.to_string(), blob.clone()) {
            Some(other) if other.digest != blob.digest => Err(Error::Other(format!(
                "the file '{name}' was made twice, with different contents"
            ))),
            _ => Ok(()),
        }
    }

    /// Adds all files from another artifact.
    pub(crate) fn add_all(&mut self, other: &Artifact) -> Result<()> {
        other.0.iter().try_for_each(|(name, blob)| self.add(name, blob))
    }

    /// Blob by name.
    pub fn get(&self, name: &str) -> Option<&Blob> {
        self.0.get(name)
    }

    /// Files below `prefix` ("training/"), or the single file with exactly this name. An empty
    /// prefix selects everything.
    pub fn part<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Blob)> {
        self.0
            .iter()
            .filter(move |(name, _)| within(name, prefix))
            .map(|(name, blob)| (name.as_str(), blob))
    }

    /// Digest over the selected names and content digests. Storage locations are left out.
    pub fn digest_of(&self, parts: &[&str]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"voxflow part 1\n");
        for (name, blob) in
            self.0.iter().filter(|(name, _)| parts.iter().any(|part| within(name, part)))
        {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(blob.digest.as_bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Digest over all files.
    pub fn digest(&self) -> Digest {
        self.digest_of(&[""])
    }

    /// Total blob size.
    pub fn bytes(&self) -> u64 {
        self.0.values().map(|blob| blob.bytes).sum()
    }
}

/// True if `name` lies in the part `prefix`.
fn within(name: &str, prefix: &str) -> bool {
    prefix.is_empty() || name == prefix || (prefix.ends_with('/') && name.starts_with(prefix))
}

fn is_name(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !name.contains('\0')
}
