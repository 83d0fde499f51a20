//! Folder creation, and group permissions in shared folders regardless of the umask.
//!
//! A shared folder is group-writable with the set-group-id bit (`chmod g+ws`). New folders inherit
//! both bits, so the mode of a store's folder applies to everything below. Blobs stay read-only.
//! File systems without such modes are left unchanged.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Set-group-id and writable by the group.
const SHARED: u32 = 0o2020;

/// Clients cache missing names for 30 to 60 s by default.
const PATIENCE: Duration = Duration::from_secs(90);

/// Group permissions in a shared folder: of folders, of files.
const OF_FOLDERS: u32 = 0o2070;
const OF_FILES: u32 = 0o0060;

/// Adds group permissions to a new file or folder inside a shared folder.
pub(crate) fn share(path: &Path) {
    if !path.parent().is_some_and(is_shared) {
        return;
    }
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let wanted = if metadata.is_dir() { OF_FOLDERS } else { OF_FILES };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & wanted != wanted
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode | wanted))
    {
        tracing::debug!("{}: cannot be given to its group: {error}", path.display());
    }
}

fn is_shared(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & SHARED == SHARED)
}

/// Owner's rights to list, read and remove: of folders, of files.
const OWN_FOLDERS: u32 = 0o700;
const OWN_FILES: u32 = 0o400;

/// Gives this user's programs access to a file or folder and all below it, whatever modes another
/// program left there. Links are not followed.
pub(super) fn open_up(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() && !metadata.is_file() {
        return Ok(());
    }
    let wanted = if metadata.is_dir() { OWN_FOLDERS } else { OWN_FILES };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & wanted != wanted {
        fs::set_permissions(path, Permissions::from_mode(mode | wanted))?;
    }
    if metadata.is_dir() {
        fs::read_dir(path)?.try_for_each(|entry| open_up(&entry?.path()))?;
    }
    Ok(())
}

/// Creates a folder and missing parents, each shared like its parent.
pub(super) fn make_folders(path: &Path) -> io::Result<()> {
    match make_folder(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let above = path.parent().filter(|above| !above.as_os_str().is_empty());
            above.map_or(Err(error), make_folders)?;
            make_folder(path)
        }
        made => made,
    }
}

/// Creates the folders between `root` and `path`. Errors if `root` is missing: it was removed
/// together with files written earlier.
pub(super) fn make_folders_below(root: &Path, path: &Path) -> io::Result<()> {
    if path == root {
        return if root.is_dir() { Ok(()) } else { Err(ErrorKind::NotFound.into()) };
    }
    match make_folder(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            match path.parent().filter(|above| above.starts_with(root)) {
                None => return Err(error),
                Some(above) => make_folders_below(root, above)?,
            }
            make_folder(path)
        }
        made => made,
    }
}

/// Creates a folder; an existing folder is fine.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => {
            share(path);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            await_seen(path);
            if path.is_dir() { Ok(()) } else { Err(error) }
        }
        // Some file systems refuse before they look whether it is there.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until a name created by another host becomes visible: creating it failed with "exists",
/// but this client still caches it as missing.
pub(super) fn await_seen(path: &Path) {
    let until = Instant::now() + PATIENCE;
    let is_missing =
        || fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound);
    while is_missing() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_made_in_a_shared_folder_is_shared_and_elsewhere_the_umask_rules() {
        let folder = tempfile::tempdir().unwrap();
        for (root, bits) in [("shared", 0o2770), ("own", 0o700), ("writable", 0o770)] {
            let root = folder.path().join(root);
            fs::create_dir(&root).unwrap();
            fs::set_permissions(&root, Permissions::from_mode(bits)).unwrap();
            let below = root.join("a/b");
            make_folders(&below).unwrap();
            let file = below.join("file");
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
            share(&file);
            let is_shared = [root.join("a"), below].map(|path| mode(&path) & 0o2070 == 0o2070);
            assert_eq!(is_shared, [bits & 0o2000 != 0; 2], "{bits:o}");
            assert_eq!(mode(&file), if bits & 0o2000 != 0 { 0o660 } else { 0o600 }, "{bits:o}");
        }
    }

    #[test]
    fn folders_are_made_below_a_root_and_never_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for path in ["root", "root/a", "root/a/b"] {
            let error = make_folders_below(&root, &folder.path().join(path)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{path}");
        }
        assert!(!root.exists());
        fs::create_dir(&root).unwrap();
        make_folders_below(&root, &root).unwrap();
        make_folders_below(&root, &root.join("a/b")).unwrap();
        make_folders_below(&root, &root.join("a/b")).unwrap();
        assert!(root.join("a/b").is_dir());
        make_folders(&folder.path().join("x/y")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(make_folders(&folder.path().join("file")).is_err());
        assert!(make_folders(Path::new("")).is_err());
    }

    #[test]
    fn what_nobody_may_read_is_opened_up_and_links_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let [below, file, outside] =
            ["a/b", "a/b/file", "outside"].map(|name| folder.path().join(name));
        fs::create_dir_all(&below).unwrap();
        fs::write(&file, "x").unwrap();
        fs::write(&outside, "x").unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join("a/link")).unwrap();
        for path in [&outside, &file, &below] {
            fs::set_permissions(path, Permissions::from_mode(0o0)).unwrap();
        }
        open_up(&folder.path().join("a")).unwrap();
        assert_eq!([&below, &file, &outside].map(|path| mode(path)), [0o700, 0o400, 0]);
    }
}
