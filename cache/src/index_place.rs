//! Location for the index database: inside the store, or in the user's cache folder if the store is
//! on a network file system. Hosts may not see each other's locks there, and concurrent opening
//! corrupts sled.

use crate::hash::Digest;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Linux magic numbers for shared file systems: NFS, SMB and CIFS, AFS, Lustre, BeeGFS, GPFS, Ceph,
/// PanFS, plus FUSE and 9P, whose backing is unknown.
const SHARED: [u32; 11] = [
    0x6969,
    0xfe53_4d42,
    0xff53_4d42,
    0x5346_414f,
    0x0bd0_0bd0,
    0x1983_0326,
    0x4750_4653,
    0x00c3_6400,
    0xaad7_aaea,
    0x6573_5546,
    0x0102_1997,
];

/// Database folder for the store at `root`.
pub(crate) fn of(root: &Path) -> PathBuf {
    let is_shared = is_shared(root);
    let cache = cache_folder(std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME"));
    match cache.filter(|_| is_shared) {
        Some(cache) => elsewhere(&cache, root, &host_of(&cache)),
        None => root.join("index"),
    }
}

/// True if other hosts may access the folder's file system. For a missing folder, its nearest
/// existing parent counts.
pub fn is_shared(folder: &Path) -> bool {
    let found = folder.ancestors().find_map(|folder| rustix::fs::statfs(folder).ok());
    found.is_some_and(|found| is_of_several(found.f_type as u32))
}

fn is_of_several(number: u32) -> bool {
    SHARED.contains(&number)
}

/// Host name if the cache folder itself is shared between hosts; else empty.
fn host_of(cache: &Path) -> Vec<u8> {
    if !is_shared(cache) {
        return vec![];
    }
    std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default()
}

/// Database path below a cache folder, keyed by store path and host.
fn elsewhere(cache: &Path, root: &Path, host: &[u8]) -> PathBuf {
    let name = Digest::of(&[root.as_os_str().as_encoded_bytes(), host].concat()).to_hex();
    cache.join("voxflow/indices").join(&name[..16])
}

fn cache_folder(xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let xdg = xdg.map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = home.map(PathBuf::from).filter(|folder| folder.is_absolute());
    xdg.or_else(|| home.map(|home| home.join(".cache")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_several_hosts_may_open_has_its_database_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let kind = rustix::fs::statfs(folder.path()).unwrap().f_type as u32;
        let beside = of(folder.path()) == folder.path().join("index");
        assert_eq!(beside, !is_of_several(kind));
        assert!(is_of_several(0x6969) && !is_of_several(0xef53), "NFS, ext4");
        let cache = |xdg: Option<&str>, home: Option<&str>| {
            cache_folder(xdg.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(cache(Some("/x"), Some("/h")), Some("/x".into()));
        assert_eq!(cache(Some("relative"), Some("/h")), Some("/h/.cache".into()));
        assert_eq!(cache(None, None), None);
        let of = |root: &str| elsewhere(Path::new("/x"), Path::new(root), b"");
        assert_ne!(of("/a"), elsewhere(Path::new("/x"), Path::new("/a"), b"node-1"));
        assert!(of("/a") != of("/b") && of("/a").starts_with("/x/voxflow/indices"));
    }
}
