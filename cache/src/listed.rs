//! File names seen in directory listings.
//!
//! Clients of network file systems cache failed lookups for up to a minute, even after another host
//! creates the file. Listing a folder before any lookup avoids such negative cache entries.

use crate::error::Result;
use crate::layout;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Files seen in listings.
#[derive(Debug, Default)]
pub(crate) struct Listed(Mutex<HashSet<PathBuf>>);

impl Listed {
    /// True if a listing shows the file. Lists its folder again unless already seen.
    pub(crate) fn shows(&self, path: &Path) -> Result<bool> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(path) {
            return Ok(true);
        }
        let folder = path.parent().unwrap_or(path);
        // Makes the client ask its server whether the listing it holds is still true.
        let _ = statx(CWD, folder, AtFlags::STATX_FORCE_SYNC, StatxFlags::MTIME);
        seen.extend(layout::list(folder)?);
        Ok(seen.contains(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_shown_as_soon_as_its_folder_lists_it() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("ab/file"), folder.path().join("ab/other"));
        let listed = Listed::default();
        assert!(!listed.shows(&file).unwrap(), "no folder");
        std::fs::create_dir(folder.path().join("ab")).unwrap();
        assert!(!listed.shows(&file).unwrap());
        std::fs::write(&file, "").unwrap();
        assert!(listed.shows(&file).unwrap() && !listed.shows(&other).unwrap());
    }
}
