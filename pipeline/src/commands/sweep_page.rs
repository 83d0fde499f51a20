//! Writes a sweep's page, for `sweep`, `compare` and `report` alike.

use super::answer_data;
use crate::error::Result;
use crate::report::{self, RunSubject};
use crate::run::RunFolder;
use crate::runs::StoredRun;
use crate::tables::Variants;
use std::path::Path;
use voxflow_cache::disk;

/// Writes the page of the variants and their runs, by default into sweep.html here, and prints its
/// path.
pub fn write(variants: &Variants, folders: &[RunFolder], out: Option<&Path>) -> Result<()> {
    let subjects = folders
        .iter()
        .map(|folder| {
            let record = folder.record()?;
            RunSubject::read(StoredRun { record, folder: folder.clone() })
        })
        .collect::<Result<Vec<_>>>()?;
    let path = out.unwrap_or(Path::new("sweep.html"));
    disk::write(path, report::sweep_page(variants, subjects).as_bytes())?;
    answer_data(&format!("{}\n", path.display()))
}
