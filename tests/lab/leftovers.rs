//! Processes and half-made files that a program of a person's own left behind.

use super::Lab;
use std::fs;
use std::path::PathBuf;

/// Ids of processes of this lab: their environment names its folder.
pub fn processes(lab: &Lab) -> Vec<i32> {
    let folder = lab.path("").display().to_string();
    let mut found = vec![];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(folder.trim_end_matches('/')) {
            found.push(pid);
        }
    }
    found
}

/// Nothing of a program is left: no process, no draft.
pub fn assert_clean(lab: &Lab) {
    lab.wait("processes to end", |lab| processes(lab).is_empty());
    let drafts = fs::read_dir(lab.path(".voxflow/store-v1/drafts")).unwrap().flatten();
    assert_eq!(drafts.map(|draft| draft.path()).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}
