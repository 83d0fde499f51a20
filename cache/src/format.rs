//! The store's format number: a small file, written first and read before anything else.

use crate::disk;
use crate::error::{Error, Result};
use crate::layout;
use std::fs;
use std::path::Path;

/// Format number read and written by this program.
pub const FORMAT: u32 = 1;

const FILE: &str = "format";
const WORDS: &str = "voxflow store ";

/// Checks the format, writing it into a new store.
pub(crate) fn settle(root: &Path) -> Result<()> {
    let file = root.join(FILE);
    match fs::read_to_string(&file) {
        Ok(text) => check(root, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write(root, &file),
        Err(error) => Err(Error::io("read", file)(error).in_store()),
    }
}

/// Read-only check; missing and empty folders pass as new stores.
pub(crate) fn look(root: &Path) -> Result<()> {
    let file = root.join(FILE);
    match fs::read_to_string(&file) {
        Ok(text) => check(root, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => check_new(root, &file),
        Err(error) => Err(Error::io("read", file)(error).in_store()),
    }
}

fn check(root: &Path, text: &str) -> Result<()> {
    let found = text.trim_end().strip_prefix(WORDS).unwrap_or(text.trim_end());
    match found.parse::<u32>() {
        Ok(FORMAT) => Ok(()),
        Ok(number) if number > FORMAT => {
            Err(Error::Newer { path: root.to_path_buf(), found: found.to_string(), known: FORMAT })
        }
        _ => {
            let trouble =
                format!("says '{}' and not '{WORDS}{FORMAT}'; is this a store?", text.trim_end());
            Err(Error::Damaged { path: root.join(FILE), trouble })
        }
    }
}

/// Writes the format before anything else enters the store.
fn write(root: &Path, file: &Path) -> Result<()> {
    disk::create_folders(root).map_err(Error::in_store)?;
    check_new(root, file)?;
    let draft = root.join(format!("{FILE}.{}", disk::unique()));
    let text = format!("{WORDS}{FORMAT}\n");
    disk::write_by(&draft, file, text.as_bytes(), true).map_err(Error::in_store)?;
    disk::sync_folder(root)
}

/// Errors if a folder without format file holds other files.
fn check_new(root: &Path, file: &Path) -> Result<()> {
    if layout::list(root)?.iter().all(|path| is_format(path)) || file.exists() {
        return Ok(());
    }
    let trouble = "holds other files and is not a store; give an empty or a new folder".to_string();
    Err(Error::Damaged { path: root.to_path_buf(), trouble })
}

/// True for the format file and its temporary names.
fn is_format(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(FILE))
}
