//! Reports: a run's settings and results as one self-contained HTML page.
//!
//! Everything comes from the run's record, tables and outputs; only charts are computed. `subject`
//! reads a run, `charts` prepares its charts, `graph` draws its stages, `headline` words its
//! scores, `sections` renders the page's parts, `sweep` those of a sweep,
//! `page` assembles them; `card` is the model card.

mod card;
mod charts;
mod document;
mod graph;
mod headline;
mod jobs;
mod page;
mod sections;
mod subject;
mod sweep;

pub use card::card;
pub use document::document;
pub use page::{page, sweep_page};
pub use subject::RunSubject;

use crate::error::Result;
use crate::run::RunFolder;
use crate::runs::StoredRun;
use std::path::PathBuf;
use voxflow_cache::disk;

const REPORT: &str = "report.html";
const CARD: &str = "MODEL_CARD.md";

/// Folder for the model card's pictures.
const PICTURES: &str = "card";

/// Writes a run's report, and a model card if it trained, into its folder; returns the report's
/// path.
pub fn write(run: StoredRun) -> Result<PathBuf> {
    let subject = RunSubject::read(run)?;
    let folder = &subject.past.folder;
    save(folder, REPORT, &page(std::slice::from_ref(&subject)))?;
    if let Some((text, pictures)) = card(&subject) {
        save_card(folder, &text, &pictures)?;
    }
    Ok(folder.file(REPORT))
}

fn save_card(folder: &RunFolder, text: &str, pictures: &[(String, String)]) -> Result<()> {
    let beside = folder.file(PICTURES);
    disk::create_folders(&beside)?;
    pictures.iter().try_for_each(|(name, svg)| save(folder, &format!("{PICTURES}/{name}"), svg))?;
    save(folder, CARD, text)
}

fn save(folder: &RunFolder, name: &str, text: &str) -> Result<()> {
    Ok(disk::write(&folder.file(name), text.as_bytes())?)
}

#[cfg(test)]
mod tests;
