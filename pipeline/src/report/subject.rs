//! A run as read for reports: record, tables, texts and model cards.

use super::address;
use crate::error::Result;
use crate::outputs;
use crate::run::StageRecord;
use crate::runs::{self, StoredRun};
use crate::tables::{self, MetricRow, RunSummary, Tables};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::Kind;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::picture::{Colour, PackedSlice, PictureOf, Plane, Scale};
use voxflow_stages::model::ModelCard;
use voxflow_stages::stage::Yields;

pub struct RunSubject {
    pub past: StoredRun,
    pub tables: Tables,
    /// Workflow with defaults and overrides filled in; empty if missing.
    pub resolved: String,
    /// Name in legends instead of the short id.
    pub label: Option<String>,
    /// Swept values without folds and seeds: curves of one group share a colour.
    pub group: String,
    /// Folder of the report, beside whose `cases` links lead; `None`: no links.
    pub folder: Option<PathBuf>,
    /// Slices of tested cases, painted by the page; empty: the test's own pictures are shown.
    pub slices: Vec<CaseSlices>,
}

/// Slices of a tested case with its label maps.
pub struct CaseSlices {
    pub stage: String,
    pub case: String,
    /// Values are Hounsfield units.
    pub is_ct: bool,
    /// Values shown from black to white.
    pub window: [f32; 2],
    pub scale: Scale,
    /// Labels that occur: value, name, colour.
    pub labels: Vec<(u8, String, Colour)>,
    pub slices: Vec<NamedSlice>,
}

/// A slice, and why it is shown.
pub struct NamedSlice {
    pub plane: Plane,
    pub index: usize,
    /// "largest error", "most labelled", "slice".
    pub why: &'static str,
    pub size_mm: [f64; 2],
    pub slice: PackedSlice,
}

/// Folder beside a report with a page for each case of a stage.
pub const CASES: &str = "cases";

impl RunSubject {
    pub fn read(past: StoredRun) -> Result<RunSubject> {
        let tables = tables::read(past.folder.path())?;
        let resolved = fs::read_to_string(past.folder.file("resolved.yaml")).unwrap_or_default();
        let (label, group, folder, slices) = (None, String::new(), None, vec![]);
        Ok(RunSubject { past, tables, resolved, label, group, folder, slices })
    }

    /// With links to the pages of cases beside a report in this folder.
    pub fn beside(self, folder: &Path) -> RunSubject {
        RunSubject { folder: Some(folder.to_path_buf()), ..self }
    }

    /// Short name beside other runs.
    pub fn name(&self) -> &str {
        self.label.as_deref().unwrap_or(runs::short(&self.past.record.run))
    }

    pub fn summary(&self) -> RunSummary {
        RunSummary::of(&self.past.record, &self.tables.metrics)
    }

    /// Stages whose kinds yield these metrics.
    pub fn stages_with(&self, yields: Yields) -> impl Iterator<Item = &StageRecord> {
        let stages = self.past.record.stages.iter();
        stages.filter(move |stage| Kind::yields_of(&stage.kind) == yields)
    }

    /// Swept values without folds and seeds.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Address of a case's page beside the report, if it is there.
    pub fn case_page(&self, stage: &str, case: &str) -> Option<String> {
        let folder = self.folder.as_ref()?.join(CASES).join(stage);
        folder
            .join(address::file_name(case))
            .is_file()
            .then(|| format!("./{CASES}/{}/{}", address::encoded(stage), address::page_of(case)))
    }

    /// Per-case scores for a stage and grid.
    pub fn per_case<'a>(&'a self, place: &'a Scored) -> impl Iterator<Item = &'a MetricRow> {
        self.tables.metrics.iter().filter(move |row| {
            row.stage == place.stage
                && row.found.case.is_some()
                && row.found.grid == place.grid
                && !row.found.measured
        })
    }

    /// Stages and grids with per-case scores, tests first.
    pub fn scored(&self) -> Vec<Scored> {
        let mut places: Vec<Scored> = vec![];
        let is_score =
            |row: &&MetricRow| row.found.case.is_some() && Kind::yields_of(&row.kind).is_scores();
        for row in self.tables.metrics.iter().filter(is_score) {
            let split = row.found.split.clone().unwrap_or_default();
            let place = Scored {
                stage: row.stage.clone(),
                yields: Kind::yields_of(&row.kind),
                split,
                grid: row.found.grid.clone(),
            };
            if row.found.metric == "dice" && !places.contains(&place) {
                places.push(place);
            }
        }
        places.sort_by_key(|place| {
            Yields::HEADLINE
                .iter()
                .position(|yields| *yields == place.yields)
                .unwrap_or(Yields::HEADLINE.len())
        });
        places
    }

    /// Number of scored cases in a stage.
    pub fn cases(&self, stage: &str) -> usize {
        let cases = self.tables.metrics.iter().filter(|row| row.stage == stage);
        cases.filter_map(|row| row.found.case.as_deref()).collect::<BTreeSet<_>>().len()
    }

    /// A training's `model.json`, if still present.
    pub fn model(&self, stage: &StageRecord) -> Option<ModelCard> {
        serde_json::from_slice(&self.output(stage, "model.json")?).ok()
    }

    /// The dataset's listing, if still present.
    pub fn listing(&self) -> Option<Listing> {
        let stages = self.past.record.stages.iter();
        let bytes = stages.filter_map(|stage| self.output(stage, "dataset.json")).next()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// A test's pictures with data URLs, if still present.
    pub fn pictures(&self, stage: &StageRecord) -> Vec<(PictureOf, String)> {
        let list = self.output(stage, "pictures.json");
        let list: Vec<PictureOf> =
            list.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let address =
            |bytes: Vec<u8>| format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
        let read =
            |picture: PictureOf| Some((self.output(stage, &picture.file).map(address)?, picture));
        list.into_iter().filter_map(read).map(|(source, picture)| (picture, source)).collect()
    }

    /// An output's content, if still present.
    pub fn output(&self, stage: &StageRecord, name: &str) -> Option<Vec<u8>> {
        let blob = stage.artifact.as_ref()?.get(name)?;
        fs::read(outputs::locate(&self.past, &stage.stage, name, blob)).ok()
    }
}

/// A stage and grid with per-case scores.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    pub stage: String,
    /// Metrics its kind yields.
    pub yields: Yields,
    /// validation or testing.
    pub split: String,
    /// resampled, original or roundtrip.
    pub grid: Option<String>,
}
