//! Reports: what runs did and found, as one HTML page that needs nothing else.
//!
//! Everything comes from a run's record, tables and outputs; nothing is computed anew here but what
//! is drawn. `subject` is a run as read, `charts` what is drawn of it, `graph` its stages as a
//! picture, `sections` the parts of the page, `page` puts them together; `card` is the model card.

mod card;
mod charts;
mod document;
mod graph;
mod jobs;
mod page;
mod sections;
mod subject;

pub use card::card;
pub use document::document;
pub use page::page;
pub use subject::RunSubject;

use crate::error::Result;
use crate::run::RunFolder;
use crate::runs::StoredRun;
use std::path::PathBuf;
use voxflow_cache::disk;

/// The file of a run's own report.
const REPORT: &str = "report.html";
/// The file of a run's model card.
const CARD: &str = "MODEL_CARD.md";

/// The folder of the card's pictures.
const PICTURES: &str = "card";

/// Writes the report of one run, and its model card where it has a training, into the run's folder.
/// Gives the report's path.
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
