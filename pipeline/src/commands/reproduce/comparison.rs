//! Compares two runs with the same workflow, by stage and score.

use crate::error::Result;
use crate::explain;
use crate::humanize;
use crate::outcome::Outcome;
use crate::run::{RunRecord, StageRecord};
use crate::runs::StoredRun;
use crate::tables::RunSummary;
use crate::text_table::{Cell, TextTable};
use std::collections::BTreeMap;
use std::path::Path;
use voxflow_cache::{Artifact, Digest};
use voxflow_stages::Metric;

/// Files named per row.
const MOST_NAMES: usize = 3;

pub struct Reproduction {
    run: String,
    rows: Vec<ComparedStage>,
    /// Scores in both runs: name, there, here.
    scores: Vec<(String, f64, f64)>,
    /// Differences in program and machine.
    surroundings: Vec<String>,
}

struct ComparedStage {
    stage: String,
    kind: String,
    /// "made", "taken over", "reused", …
    here: &'static str,
    bytes: ByteComparison,
}

#[derive(Debug, PartialEq)]
enum ByteComparison {
    Same,
    Differ(String),
    /// A result is missing.
    Unknown(String),
}

impl Reproduction {
    /// Compares a run with ours; results were taken over from the store `lower`.
    pub fn of(theirs: &StoredRun, ours: &StoredRun, lower: Option<&Path>) -> Result<Reproduction> {
        let rows = theirs.record.stages.iter().map(|there| {
            let here = ours.record.stage(&there.stage);
            ComparedStage {
                stage: there.stage.clone(),
                kind: there.kind.clone(),
                here: here.map_or("not there", |here| outcome(here, lower)),
                bytes: bytes(there, here),
            }
        });
        let rows = rows.collect();
        let [there, here] = [theirs, ours].map(|run| scores(&run.folder));
        let (there, here) = (there?, here?);
        let both = there
            .into_iter()
            .filter_map(|(name, there)| here.get(&name).map(|here| (name, there, *here)));
        Ok(Reproduction {
            run: theirs.record.run.clone(),
            rows,
            scores: both.collect(),
            surroundings: surroundings(&theirs.record, &ours.record),
        })
    }

    /// True if all results in both runs are the same.
    pub fn is_same(&self) -> bool {
        !self.rows.iter().any(|row| matches!(row.bytes, ByteComparison::Differ(_)))
    }

    pub fn table(&self) -> TextTable {
        let mut sheet = TextTable::new("", ["stage", "kind", "here", "compared"]);
        for row in &self.rows {
            let words = match &row.bytes {
                ByteComparison::Same => "same bytes",
                ByteComparison::Differ(words) | ByteComparison::Unknown(words) => words.as_str(),
            };
            let cells = [row.stage.as_str(), row.kind.as_str(), row.here, words];
            sheet.push(cells.into_iter().map(Cell::text).collect());
        }
        sheet
    }

    /// The outcome in lines.
    pub fn verdict(&self) -> Vec<String> {
        let same = self.rows.iter().filter(|row| row.bytes == ByteComparison::Same).count() as u64;
        let differ = self.rows.iter().filter(|row| matches!(row.bytes, ByteComparison::Differ(_)));
        let differ = differ.count() as u64;
        let all = humanize::count(same + differ, "result");
        let mut lines = vec![match differ {
            0 if same == 0 => format!("nothing to compare: no result of run {} is here", self.run),
            0 => format!("same bytes: {all} of run {}", self.run),
            _ => format!("other bytes: {differ} of {all} of run {}", self.run),
        }];
        lines.extend(self.score_words());
        if differ > 0 {
            lines.extend(self.surroundings.iter().cloned());
        }
        if !self.rows.iter().any(|row| row.here == Outcome::Made.word()) {
            lines.push("nothing was made here: '--anew' makes everything again".into());
        }
        lines
    }

    fn score_words(&self) -> Option<String> {
        let scores = self.scores.iter();
        let differ: Vec<_> =
            scores.filter(|(_, there, here)| there.to_bits() != here.to_bits()).collect();
        let all = humanize::count(self.scores.len() as u64, "score");
        let most = differ.iter().max_by(|one, other| {
            let [one, other] = [one, other].map(|(_, there, here)| (there - here).abs());
            one.total_cmp(&other)
        });
        match most {
            None if self.scores.is_empty() => None,
            None => Some(format!("same scores: {all}")),
            Some((name, there, here)) => Some(format!(
                "other scores: {} of {all}, most of all {name}: {there:.4} there, {here:.4} here",
                differ.len()
            )),
        }
    }
}

fn outcome(here: &StageRecord, lower: Option<&Path>) -> &'static str {
    let blobs = here.artifact.iter().flat_map(|artifact| artifact.0.values());
    let mut references = blobs.filter_map(|blob| blob.reference.as_ref());
    let is_below =
        lower.is_some_and(|lower| references.any(|reference| reference.path.starts_with(lower)));
    match here.outcome {
        Some(Outcome::Reused) if is_below => "taken over",
        Some(outcome) => outcome.word(),
        None => "not done",
    }
}

fn bytes(there: &StageRecord, here: Option<&StageRecord>) -> ByteComparison {
    let (theirs, ours) = (made(there), here.and_then(made));
    match (theirs, ours) {
        (Some((_, there)), Some((_, here))) if there == here => ByteComparison::Same,
        (Some((theirs, _)), Some((ours, _))) => {
            let files = files(&theirs, &ours);
            let recipe = there.recipe.as_ref().zip(here.and_then(|here| here.recipe.as_ref()));
            let recipe = recipe.map(|(there, here)| explain::changes(there, here));
            match recipe.filter(|words| !words.is_empty()) {
                Some(words) => ByteComparison::Differ(format!("{files}; {words}")),
                None => ByteComparison::Differ(files),
            }
        }
        (None, _) => ByteComparison::Unknown("no result there".into()),
        (_, None) => ByteComparison::Unknown("no result here".into()),
    }
}

fn made(row: &StageRecord) -> Option<(Artifact, Digest)> {
    row.artifact.clone().zip(row.digest)
}

/// "2 of 3 files differ: a, b".
fn files(theirs: &Artifact, ours: &Artifact) -> String {
    let mut names: Vec<&String> = theirs.0.keys().chain(ours.0.keys()).collect();
    names.sort();
    names.dedup();
    let differ = names.iter().filter(|name| digest_of(theirs, name) != digest_of(ours, name));
    let differ: Vec<&str> = differ.map(|name| name.as_str()).collect();
    let shown = differ.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    let more = differ.len().saturating_sub(MOST_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} of {} files differ: {shown}{more}", differ.len(), names.len())
}

fn digest_of(artifact: &Artifact, name: &str) -> Option<Digest> {
    artifact.get(name).map(|blob| blob.digest)
}

/// Summary scores by name.
fn scores(folder: &crate::run::RunFolder) -> Result<BTreeMap<String, f64>> {
    let summary = RunSummary::read(folder)?;
    let finals = summary.finals_of(false);
    Ok(finals.filter_map(|one| Some((name_of(&one.stage, &one.found), one.found.value?))).collect())
}

/// "final dice spleen testing".
fn name_of(stage: &str, found: &Metric) -> String {
    let parts =
        [Some(&found.metric), found.label.as_ref(), found.split.as_ref(), found.grid.as_ref()];
    parts.into_iter().flatten().fold(stage.to_string(), |name, part| format!("{name} {part}"))
}

/// Differing versions and settings: "libtorch: 2.10 there, 2.11 here".
fn surroundings(theirs: &RunRecord, ours: &RunRecord) -> Vec<String> {
    let (there, here) = (facts(theirs), facts(ours));
    let both = there.iter().filter_map(|(name, there)| Some((name, there, here.get(name)?)));
    let apart = both.filter(|(_, there, here)| there != here);
    apart.map(|(name, there, here)| format!("{name}: {there} there, {here} here")).collect()
}

fn facts(record: &RunRecord) -> BTreeMap<String, String> {
    let mut facts = record.versions.clone();
    facts.insert("threads".into(), record.threads.to_string());
    let processor = record.machine.get("processor");
    facts.extend(processor.map(|name| ("processor".to_string(), name.clone())));
    for row in &record.stages {
        let device = row.maker["device"].as_str().map(str::to_string);
        facts.extend(device.map(|device| (format!("device of '{}'", row.stage), device)));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_cache::Blob;

    fn artifact(files: &[(&str, &str)]) -> Artifact {
        let blob = |text: &str| Blob {
            digest: Digest::of(text.as_bytes()),
            bytes: text.len() as u64,
            reference: None,
        };
        Artifact(files.iter().map(|(name, text)| (name.to_string(), blob(text))).collect())
    }

    #[test]
    fn files_that_differ_are_counted_and_named() {
        let theirs = artifact(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"), ("e", "1")]);
        let ours = artifact(&[("a", "1"), ("b", "2"), ("c", "2"), ("d", "2"), ("f", "1")]);
        assert_eq!(files(&theirs, &ours), "5 of 6 files differ: b, c, d and 2 more");
    }

    #[test]
    fn a_stage_is_the_same_by_its_bytes_and_otherwise_says_what_differs() {
        let record = crate::runs::tests::record("20260101-000000-demo-abc123", "demo", 0);
        let there = &record.stages[0];
        assert_eq!(bytes(there, Some(there)), ByteComparison::Same);
        assert_eq!(bytes(there, None), ByteComparison::Unknown("no result here".into()));
        let mut here = there.clone();
        let other = artifact(&[("model.json", "other")]);
        here.digest = Some(other.digest());
        here.artifact = Some(other);
        let words = "1 of 1 files differ: model.json";
        assert_eq!(bytes(there, Some(&here)), ByteComparison::Differ(words.into()));
        if let Some(recipe) = &mut here.recipe {
            recipe.params["epochs"] = 3.into();
        }
        let words = format!("{words}; epochs 2 → 3");
        assert_eq!(bytes(there, Some(&here)), ByteComparison::Differ(words));
    }
}
