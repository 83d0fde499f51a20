//! Reports: a run's settings and results as one self-contained HTML page.
//!
//! Everything comes from the run's record, tables and outputs; only charts are computed. `subject`
//! reads a run, `curves` and `charts` prepare its charts, `graph` draws its stages, `headline`
//! words its scores, `sections`, `pictures`, `stages` and `html_table` render the page's parts,
//! `sweep` those of a sweep, `page` assembles them; `card` is the model card.

pub mod address;
mod card;
mod charts;
mod curves;
mod document;
mod graph;
mod headline;
mod html_table;
mod jobs;
mod page;
pub mod pictures;
mod sections;
mod stages;
mod subject;
mod sweep;

pub use card::card;
pub use document::document;
pub use page::{page, sweep_page};
pub use subject::{CASES, CaseSlices, NamedSlice, RunSubject};

use crate::error::Result;
use crate::run::RunFolder;
use std::path::PathBuf;
use voxflow_cache::disk;
use voxflow_stages::stage::Yields;

const REPORT: &str = "report.html";
/// Script that unpacks and paints voxels: `voxels` with unpacked, undo, greys, cut, paint, bar.
pub const VOXELS_SCRIPT: &str = include_str!("assets/voxels.js");

const CARD: &str = "MODEL_CARD.md";

/// Folder for the model card's pictures.
const PICTURES: &str = "card";

/// Writes a run's report, and a model card if it trained, into its folder; returns the report's
/// path.
pub fn write(subject: &RunSubject) -> Result<PathBuf> {
    let folder = &subject.past.folder;
    save(folder, REPORT, &page(std::slice::from_ref(subject)))?;
    if let Some((text, pictures)) = card(subject) {
        save_card(folder, &text, &pictures)?;
    }
    Ok(folder.file(REPORT))
}

/// (stage, case) of the worst, median and best case of each test.
pub fn ranked_cases(subject: &RunSubject) -> Vec<(String, String)> {
    let mut tests = subject.scored();
    tests.retain(|place| place.yields == Yields::TestScores);
    tests.dedup_by(|one, other| one.stage == other.stage);
    let cases = tests.iter().flat_map(|place| {
        let ranked = charts::ranked(subject, place).into_iter();
        ranked.map(|(_, case, _)| (place.stage.clone(), case))
    });
    cases.collect()
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
