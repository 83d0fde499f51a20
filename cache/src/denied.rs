//! Permission errors on stores owned by another user: names the owner and explains sharing.

use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Adds owner and remedy to a permission error if the nearest existing path belongs to another
/// user.
pub(crate) fn explained(error: Error, path: &Path) -> Error {
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    let seen = path.ancestors().find_map(|above| fs::metadata(above).ok());
    match seen.map(|metadata| metadata.uid()) {
        Some(owner) if owner != rustix::process::geteuid().as_raw() => {
            let owner = name_of(owner);
            let words = format!(
                "{error}; it belongs to {owner} and is not shared with you: share the store by a \
                 group as docs/shared-stores.md says, or give a \
                 store of your own by '--store', with this one below it by '--lower-store'"
            );
            Error::new(ErrorKind::PermissionDenied, words)
        }
        _ => error,
    }
}

/// "user 'anna'", or the uid if /etc/passwd lacks a name.
fn name_of(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| format!("user '{name}'"))
    });
    named.unwrap_or_else(|| format!("user {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_right_to_something_of_others_is_explained() {
        let own = tempfile::tempdir().unwrap();
        let denied = || Error::from_raw_os_error(libc::EACCES);
        assert_eq!(explained(denied(), own.path()).raw_os_error(), Some(libc::EACCES));
        let full = Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(explained(full, Path::new("/proc/1")).raw_os_error(), Some(libc::ENOSPC));
        assert_eq!(name_of(0), "user 'root'");
        assert_eq!(name_of(4_000_000_000), "user 4000000000");
    }
}
