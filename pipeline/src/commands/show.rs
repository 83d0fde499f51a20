//! `voxflow show`: a run or stage in full.

use super::follow::follow;
use super::{AnswerFormat, answer};
use crate::annotation::Annotation;
use crate::console::terminal_width;
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::run::{RunRecord, StageRecord};
use crate::runs::{self, StoredRun};
use crate::tables::{self, MetricRow, ParamRow};
use crate::text_table::{Cell, TextTable, pretty, short};
use crate::workflow::nearest;
use crate::{humanize, outputs, reference};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Run: latest, an id, an id prefix, a workflow's name, or a folder
    #[arg(default_value = "latest")]
    pub run: String,
    /// A stage's recipe, inputs, outputs and metrics
    #[arg(long, value_name = "ID")]
    pub stage: Option<String>,
    /// Follow a run from another shell until it ends
    #[arg(long, short, conflicts_with_all = ["stage", "format"])]
    pub follow: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
}

impl ShowArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let run = runs::find(&globals.home(), &self.run)?;
        if self.follow {
            return follow(&run, globals);
        }
        let metrics = tables::read_metrics(run.folder.path())?;
        let text = match (&self.stage, self.format) {
            (None, AnswerFormat::Text) => {
                let annotation = Annotation::read(&run.folder)?;
                whole(&run, &annotation, &metrics, terminal_width())
            }
            (None, AnswerFormat::Json) => {
                let Annotation { tags, note } = Annotation::read(&run.folder)?;
                pretty(&json!({
                    "record": run.record, "metrics": finals(&metrics, None),
                    "tags": tags, "note": note,
                }))
            }
            (Some(id), AnswerFormat::Text) => {
                stage_text(&run, stage(&run.record, id)?, &metrics, terminal_width())
            }
            (Some(id), AnswerFormat::Json) => {
                let record = stage(&run.record, id)?;
                pretty(&json!({"record": record, "metrics": finals(&metrics, Some(id))}))
            }
        };
        answer(&text)?;
        Ok(Exit::Done)
    }
}

/// Finds a stage; the error suggests the nearest id.
pub(super) fn stage<'a>(record: &'a RunRecord, id: &str) -> Result<&'a StageRecord> {
    record.stage(id).ok_or_else(|| {
        let ids: Vec<&str> = record.stages.iter().map(|stage| stage.stage.as_str()).collect();
        let hint = match nearest(id, ids.iter().copied()) {
            Some(word) => format!("did you mean '{word}'?"),
            None => format!("it has {}", ids.join(", ")),
        };
        Error::usage(format!("run '{}' has no stage '{id}': {hint}", record.run))
    })
}

fn finals(metrics: &[MetricRow], stage: Option<&str>) -> Value {
    metrics
        .iter()
        .filter(|row| row.is_final() && stage.is_none_or(|id| row.stage == id))
        .map(|row| {
            let mut value = json!(row.found);
            value["stage"] = json!(row.stage);
            value
        })
        .collect()
}

/// Run facts, stages and scores.
fn whole(
    run: &StoredRun,
    annotation: &Annotation,
    metrics: &[MetricRow],
    width: Option<u16>,
) -> String {
    let record = &run.record;
    let mut out = format!("run {}\n{}\n", record.run, listed(&facts(run, annotation)));
    out += &stages(record).text(width);
    for error in
        record.stages.iter().filter_map(|stage| Some((&stage.stage, stage.error.as_ref()?)))
    {
        out += &format!("\n{} failed: {}\n", error.0, error.1);
    }
    let warnings: String =
        record.warnings().map(|(stage, words)| format!("warning: {stage}: {words}\n")).collect();
    if !warnings.is_empty() {
        out += &format!("\n{warnings}");
    }
    let sheet = tables::scores(metrics);
    if !sheet.rows.is_empty() {
        out += "\n";
        out += &sheet.text(width);
    }
    out
}

fn facts(run: &StoredRun, annotation: &Annotation) -> Vec<(&'static str, String)> {
    let record = &run.record;
    let mut facts = vec![
        ("workflow", seeded(record)),
        ("outcome", outcome(record)),
        ("started", humanize::moment(record.started_at_ms)),
        (
            "device",
            format!(
                "{}, {} a stage",
                record.device,
                humanize::count(record.threads as u64, "thread")
            ),
        ),
    ];
    if !record.overrides.is_empty() {
        facts.push(("with", record.overrides.join(" ")));
    }
    if !annotation.tags.is_empty() {
        facts.push(("tags", annotation.tag_words()));
    }
    facts.extend(annotation.note.iter().map(|note| ("note", note.clone())));
    facts.extend(record.git_commit.iter().map(|commit| ("commit", commit.clone())));
    facts.push(("folder", run.folder.path().display().to_string()));
    facts
}

fn seeded(record: &RunRecord) -> String {
    record.seed.map_or_else(
        || record.workflow.clone(),
        |seed| format!("{} (seed {seed})", record.workflow),
    )
}

fn outcome(record: &RunRecord) -> String {
    let word = record.outcome_words();
    record.seconds.map_or_else(
        || word.clone(),
        |seconds| format!("{word} in {}", humanize::duration(seconds)),
    )
}

/// "  workflow  demo\n  outcome   done\n".
fn listed(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().map(|(name, words)| format!("  {name:width$}  {words}\n")).collect()
}

fn stages(record: &RunRecord) -> TextTable {
    let mut sheet =
        TextTable::new("", ["stage", "kind", "outcome", "took", "made in", "size", "why"]);
    for stage in &record.stages {
        let size = stage
            .artifact
            .as_ref()
            .map_or(Cell::Empty, |artifact| Cell::text(humanize::bytes(artifact.bytes())));
        let made_in = stage
            .made_in_seconds
            .map_or(Cell::Empty, |seconds| Cell::text(humanize::duration(seconds)));
        sheet.push(vec![
            Cell::text(&stage.stage),
            Cell::text(&stage.kind),
            stage.outcome.map(|outcome| outcome.word()).into(),
            Cell::text(humanize::duration(stage.seconds)),
            made_in,
            size,
            stage.reason.as_deref().into(),
        ]);
    }
    sheet
}

/// A stage's recipe, inputs, outputs and metrics.
fn stage_text(
    run: &StoredRun,
    stage: &StageRecord,
    metrics: &[MetricRow],
    width: Option<u16>,
) -> String {
    let mut facts = vec![("run", run.record.run.clone()), ("kind", stage.kind.clone())];
    facts.extend(stage.outcome.map(|outcome| ("outcome", outcome.word().to_string())));
    facts.extend(stage.reason.iter().map(|reason| ("because", reason.clone())));
    facts.extend(stage.error.iter().map(|error| ("error", error.clone())));
    facts.extend(stage.warnings.iter().map(|words| ("warning", words.clone())));
    facts.push(("took", humanize::duration(stage.seconds)));
    facts.extend(stage.made_in_seconds.map(|seconds| ("made in", humanize::duration(seconds))));
    facts.extend(
        stage
            .maker
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), plain(value))),
    );
    facts.extend(stage.recipe.iter().map(|recipe| ("version", recipe.version.to_string())));
    facts.extend(stage.fingerprint.iter().map(|fingerprint| ("fingerprint", fingerprint.to_hex())));
    facts.extend(stage.digest.iter().map(|digest| ("content", digest.to_hex())));
    let mut out = format!("stage {}\n{}", stage.stage, listed(&facts));
    let sheets = [params(stage), inputs(stage), outputs(run, stage), found(stage, metrics)];
    for sheet in sheets.iter().filter(|sheet| !sheet.rows.is_empty()) {
        out += "\n";
        out += &sheet.text(width);
    }
    out
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(words) => words.clone(),
        Value::Number(number) if number.is_f64() => short(number.as_f64().unwrap_or_default()),
        other => reference::flow(other),
    }
}

fn params(stage: &StageRecord) -> TextTable {
    let mut sheet = TextTable::new("parameters", ["parameter", "value"]);
    for row in ParamRow::flatten("", &stage.stage, &stage.params) {
        sheet.push(vec![Cell::text(row.key), Cell::text(row.value)]);
    }
    sheet
}

fn inputs(stage: &StageRecord) -> TextTable {
    let mut sheet = TextTable::new("inputs", ["input", "from", "content"]);
    for (name, digest) in stage.recipe.iter().flat_map(|recipe| &recipe.inputs) {
        sheet.push(vec![Cell::text(name), source(stage, name).into(), Cell::text(digest.to_hex())]);
    }
    sheet
}

/// The stage behind a recipe's input: "model" and "model.0" are the first stage of the role.
fn source<'a>(stage: &'a StageRecord, name: &str) -> Option<&'a str> {
    let (role, number) = name.split_once('.').unwrap_or((name, "0"));
    stage.needs.get(role)?.get(number.parse::<usize>().ok()?).map(String::as_str)
}

fn outputs(run: &StoredRun, stage: &StageRecord) -> TextTable {
    let mut sheet = TextTable::new("outputs", ["output", "size", "path"]);
    for (name, blob) in stage.artifact.iter().flat_map(|artifact| &artifact.0) {
        let path = outputs::locate(run, &stage.stage, name, blob);
        sheet.push(vec![
            Cell::text(name),
            Cell::text(humanize::bytes(blob.bytes)),
            Cell::text(path.display().to_string()),
        ]);
    }
    sheet
}

fn found(stage: &StageRecord, metrics: &[MetricRow]) -> TextTable {
    let mut sheet = TextTable::new("metrics", ["metric", "split", "label", "grid", "value"]);
    for row in metrics.iter().filter(|row| row.stage == stage.stage && row.is_final()) {
        let found = &row.found;
        let place =
            [found.split.as_deref(), found.label.as_deref(), found.grid.as_deref()].map(Cell::from);
        let cells =
            std::iter::once(Cell::text(&found.metric)).chain(place).chain([found.value.into()]);
        sheet.push(cells.collect());
    }
    sheet.without_empty_columns(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(folder: &std::path::Path) -> (StoredRun, Vec<MetricRow>) {
        let home = runs::tests::home(folder);
        let run = runs::find(&home, "latest").expect("a run");
        let metrics = tables::read_metrics(run.folder.path()).expect("metrics");
        (run, metrics)
    }

    #[test]
    fn a_run_is_shown_with_its_stages_and_scores() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, metrics) = latest(folder.path());
        let text = whole(&run, &Annotation::default(), &metrics, None);
        let expected = format!(
            "\
run 20260102-000000-spleen-77ffee
  workflow  spleen (seed 7)
  outcome   done in 3 min 12 s
  started   1970-01-01T00:00:03Z
  device    auto, 2 threads a stage
  with      model.epochs=2
  folder    {}

stage  kind   outcome  took  made in  size    why
────────────────────────────────────────────────────────────────────
model  train  made     13 s  13 s     1.2 kB  epochs differs: 3 → 2

scores
stage  cases    grid      label   metric   mean ± sd  n
────────────────────────────────────────────────────────
final  testing  original  spleen  dice        0.9000  6
final  testing  original  spleen  hd95 mm          –  –
",
            run.folder.path().display()
        );
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn a_stage_is_shown_with_recipe_inputs_outputs_and_metrics() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, metrics) = latest(folder.path());
        let text = stage_text(&run, stage(&run.record, "model").expect("a stage"), &metrics, None);
        for words in [
            "because      epochs differs: 3 → 2",
            "fingerprint  abab",
            "optimizer.learning_rate  0.9",
            "cache  cache  abab",
            "model.json  1.2 kB  /nowhere/store-v1/blobs/ab/abab",
            "train_seconds",
        ] {
            assert!(text.contains(words), "'{words}' in\n{text}");
        }
    }

    #[test]
    fn each_input_says_which_stage_it_is_from() {
        let mut record = runs::tests::record("r1", "demo", 0);
        let stage = &mut record.stages[0];
        stage.needs = [("model".to_string(), vec!["m1".to_string(), "m2".to_string()])].into();
        let of = |name: &str| source(stage, name);
        assert_eq!(
            [of("model.0"), of("model.1"), of("model")],
            [Some("m1"), Some("m2"), Some("m1")]
        );
        assert_eq!((of("model.2"), of("cache")), (None, None));
    }

    #[test]
    fn a_misspelt_stage_gets_the_nearest_one() {
        let record = runs::tests::record("r1", "demo", 0);
        let error = stage(&record, "modle").expect_err("no such stage").to_string();
        assert_eq!(error, "run 'r1' has no stage 'modle': did you mean 'model'?");
    }
}
