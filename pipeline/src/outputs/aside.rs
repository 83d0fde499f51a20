//! User files found in place of links: never deleted, but moved to `replaced/` in the home under
//! their former names, with a warning.

use super::link::leads_to;
use crate::error::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::{DamagedFile, disk};

const REPLACED: &str = "replaced";

/// Logs repairs.
pub fn said(bad: impl IntoIterator<Item = DamagedFile>) {
    for DamagedFile { path, trouble } in bad {
        tracing::warn!("{}: {trouble}", path.display());
    }
}

/// Points a link to its target; returns a description if a repair was needed.
pub fn mend_link(home: &Path, link: &Path, target: &Path) -> Result<Option<DamagedFile>> {
    if leads_to(link, target) {
        return Ok(None);
    }
    let trouble = match fs::symlink_metadata(link) {
        Err(_) => "the link to what was made was gone; it is there again".to_string(),
        Ok(metadata) if metadata.is_symlink() => {
            disk::remove(link)?;
            "was a link to something else; it leads to what was made again".to_string()
        }
        Ok(_) => format!("was no link to what was made; {}", moved(home, link)?),
    };
    match disk::symlink(target, link) {
        // Another process mended it meanwhile.
        Err(_) if leads_to(link, target) => {}
        made => made?,
    }
    Ok(Some(DamagedFile { path: link.to_path_buf(), trouble }))
}

/// Ensures a folder for links; returns a description if a repair was needed.
pub fn clear_folder(home: &Path, folder: &Path) -> Result<Option<DamagedFile>> {
    let trouble = match fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_dir() => return Ok(None),
        Err(_) => "the folder of links was gone; it is there again".to_string(),
        Ok(metadata) if metadata.is_symlink() => {
            disk::remove(folder)?;
            "was a link and no folder of links; it is a folder again".to_string()
        }
        Ok(_) => format!("was no folder of links; {}", moved(home, folder)?),
    };
    disk::create_folders(folder)?;
    Ok(Some(DamagedFile { path: folder.to_path_buf(), trouble }))
}

/// Removes a tree of links. Other files inside belong to the user and are moved aside.
pub fn remove_links(home: &Path, tree: &Path) -> Result<Vec<DamagedFile>> {
    let mut kept = vec![];
    let metadata = fs::symlink_metadata(tree).map_err(Error::io("look at", tree))?;
    if metadata.is_symlink() {
        disk::remove(tree)?;
    } else if !metadata.is_dir() {
        let trouble = format!("no run needs the links beside it; {}", moved(home, tree)?);
        kept.push(DamagedFile { path: tree.to_path_buf(), trouble });
    } else {
        for entry in fs::read_dir(tree).map_err(Error::io("list", tree))? {
            let entry = entry.map_err(Error::io("list", tree))?;
            kept.extend(remove_links(home, &entry.path())?);
        }
        disk::remove_empty(tree)?;
    }
    Ok(kept)
}

/// Moves a file or folder to `replaced/`; returns its new location as text.
fn moved(home: &Path, path: &Path) -> Result<String> {
    let name = path.strip_prefix(home).unwrap_or(path);
    let place = home.join(REPLACED).join(name);
    if let Some(folder) = place.parent() {
        disk::create_folders(folder)?;
    }
    for copy in 1.. {
        let place = numbered(&place, copy);
        if disk::rename_new(path, &place)? {
            return Ok(format!("moved to '{}'", place.display()));
        }
    }
    Ok(String::new())
}

/// "a.nii", then "a.nii.2", "a.nii.3", …
fn numbered(place: &Path, copy: u32) -> PathBuf {
    if copy == 1 {
        return place.to_path_buf();
    }
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!("{name}.{copy}"))
}
