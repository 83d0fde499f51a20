//! `voxflow params`: lists a workflow's parameters by the paths that `--set` takes, with value,
//! default and meaning.

use super::workflow_args::WorkflowArgs;
use super::{answer_data, tell};
use crate::console::terminal_width;
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::reference::{Parameter, flow};
use crate::secret;
use crate::text_table::{Cell, TableFormat, TextTable};
use crate::workflow::{StageSpec, Workflow, nearest, stage_resources};
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct ParamsArgs {
    #[command(flatten)]
    pub source: WorkflowArgs,
    /// Only these stages
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// Only parameters that the workflow or --set gives
    #[arg(long)]
    pub given: bool,
    /// Also the keys of mappings that are not given
    #[arg(long, conflicts_with = "given")]
    pub all: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

impl ParamsArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let workflows = self.source.workflows(&globals.home(), &[])?;
        let count = workflows.len();
        let Some((workflow, _)) = workflows.into_iter().next() else { return Ok(Exit::Done) };
        if count > 1 && !globals.quiet {
            tell(&format!("values of the first of {count} runs in the sweep"));
        }
        let sheet = self.sheet(&workflow)?;
        answer_data(&secret::strip(&sheet.write(self.format, terminal_width())))?;
        Ok(Exit::Done)
    }

    fn sheet(&self, workflow: &Workflow) -> Result<TextTable> {
        let columns = ["parameter", "value", "from", "default", "type", "meaning"];
        let mut sheet = TextTable::new("", columns);
        let stages =
            self.stages.iter().map(|id| stage(workflow, id)).collect::<Result<Vec<_>>>()?;
        if stages.is_empty() {
            sheet.push(seed(workflow));
            sheet.rows.extend(workflow.folds.map(folds));
        }
        let all = workflow.written_stages().collect();
        for stage in if stages.is_empty() { all } else { stages } {
            rows(stage, self.all).into_iter().for_each(|row| sheet.push(row));
        }
        if self.given {
            sheet.rows.retain(|row| row[2] == Cell::text(GIVEN));
        }
        if self.format == TableFormat::Text {
            // On a terminal the meaning needs the room; 'voxflow kinds KIND' tells the type.
            sheet.columns.remove(4);
            sheet.rows.iter_mut().for_each(|row| drop(row.remove(4)));
        }
        Ok(sheet)
    }
}

const GIVEN: &str = "workflow";
const DEFAULT: &str = "default";

fn stage<'a>(workflow: &'a Workflow, id: &str) -> Result<&'a StageSpec> {
    workflow.written_stages().find(|stage| stage.is_named(id)).ok_or_else(|| {
        let ids: Vec<&str> = workflow.written_stages().map(StageSpec::written_id).collect();
        let hint = match nearest(id, ids.iter().copied()) {
            Some(word) => format!("did you mean '{word}'?"),
            None => format!("it has {}", ids.join(", ")),
        };
        Error::usage(format!("'{}' has no stage '{id}': {hint}", workflow.file))
    })
}

fn seed(workflow: &Workflow) -> Vec<Cell> {
    let (value, from) = match workflow.seed {
        Some(seed) => (Cell::Count(seed), GIVEN),
        None => (Cell::Empty, DEFAULT),
    };
    let meaning = "The default of every stage's own seed, except the split's.";
    let words = ["seed", from, "", "whole number", meaning].map(Cell::text);
    let [name, from, default, kind, meaning] = words;
    vec![name, value, from, default, kind, meaning]
}

fn folds(count: u32) -> Vec<Cell> {
    let meaning = "Folds in one run: what depends on the split is made for each.";
    let words = ["folds", GIVEN, "", "whole number", meaning].map(Cell::text);
    let [name, from, default, kind, meaning] = words;
    vec![name, Cell::Count(count.into()), from, default, kind, meaning]
}

/// A row per parameter, then per resource.
fn rows(stage: &StageSpec, all: bool) -> Vec<Vec<Cell>> {
    let params = Parameter::all(stage.kind);
    let resources = Parameter::of(stage_resources::schema());
    let places = [
        (stage.written_id().to_string(), params, &stage.params, &stage.written),
        (
            format!("{}.resources", stage.written_id()),
            resources,
            &stage.resources.written,
            &stage.resources.written,
        ),
    ];
    let mut rows = vec![];
    for (prefix, parameters, values, written) in places {
        for parameter in parameters.iter().filter(|one| is_shown(one, &parameters, values, all)) {
            rows.push(row(&prefix, parameter, values, written));
        }
    }
    rows
}

/// False for a mapping whose keys have rows of their own, and for keys below another value; below
/// nothing they are shown if `absent`.
fn is_shown(parameter: &Parameter, all: &[Parameter], values: &Value, absent: bool) -> bool {
    let own = format!("{}.", parameter.path);
    let has_rows = all.iter().any(|other| other.path.starts_with(&own));
    if has_rows && matches!(at(values, &parameter.path), Some(Value::Object(_))) {
        return false;
    }
    let mut is_below_nothing = false;
    let mut above = parameter.path.as_str();
    while let Some((shorter, _)) = above.rsplit_once('.') {
        above = shorter;
        match at(values, above) {
            Some(Value::Object(_)) => break,
            None | Some(Value::Null) => is_below_nothing = true,
            Some(_) => return false,
        }
    }
    !is_below_nothing || absent
}

fn row(prefix: &str, parameter: &Parameter, values: &Value, written: &Value) -> Vec<Cell> {
    let given = at(written, &parameter.path);
    let value = match (at(values, &parameter.path), given) {
        // A variable is shown, not what the environment has for it.
        (_, Some(Value::String(text))) if text.contains('$') => text.clone(),
        (Some(value), _) => flow(value),
        // Left out at its default, as some are; but no value of a mapping that is not given.
        (None, _) if parameter.required || is_below_nothing(parameter, values) => String::new(),
        (None, _) => parameter.default_words(),
    };
    vec![
        Cell::text(format!("{prefix}.{}", parameter.path)),
        Cell::text(value),
        Cell::text(if given.is_some() { GIVEN } else { DEFAULT }),
        Cell::text(parameter.default_words()),
        Cell::text(&parameter.type_words),
        Cell::text(&parameter.doc),
    ]
}

/// True for a key of a mapping that is not given.
fn is_below_nothing(parameter: &Parameter, values: &Value) -> bool {
    let above = parameter.path.rsplit_once('.').map(|(above, _)| at(values, above));
    above.is_some_and(|above| !above.is_some_and(Value::is_object))
}

/// Value at a dotted path.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::Override;
    use voxflow_stages::KINDS;

    const TEXT: &str = "name: x
seed: 3
stages:
  archive: { uses: download, with: { file: \"${ROOT:-here}/a.tar\" } }
  dataset: { uses: unpack, needs: [archive] }
  split: { uses: split, needs: [dataset], with: { training: rest, validation: 1, testing: 1 } }
  volumes:
    { uses: preprocess, needs: [dataset], with: { intensity: { zscore: all } }, resources: { cpus: 2 } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model:
    uses: train
    needs: [cache]
    with: { epochs: 5, patch: [16, 16, 16], learning_rate: 0.1, augmentation: [{ name: noise, probability: 0.5, std: 0.1 }, { name: flip, probability: 0.5 }] }
";

    fn rows_of(stages: &[&str], set: &[&str], given: bool) -> Result<Vec<Vec<String>>> {
        let overrides: Vec<Override> =
            set.iter().map(|words| Override::parse(words).expect("a setting")).collect();
        let workflow = Workflow::parse("x.yaml", TEXT.as_bytes(), &overrides, KINDS, &|_| None)
            .expect("right");
        let source = WorkflowArgs { file: "x.yaml".into(), set: vec![] };
        let stages = stages.iter().map(|id| id.to_string()).collect();
        let args = ParamsArgs { source, stages, given, all: !given, format: TableFormat::Csv };
        let sheet = args.sheet(&workflow)?;
        Ok(sheet.rows.iter().map(|row| row.iter().map(Cell::in_full).collect()).collect())
    }

    fn find<'a>(rows: &'a [Vec<String>], name: &str) -> &'a [String] {
        rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name} in {rows:#?}"))
    }

    #[test]
    fn every_parameter_has_its_value_and_where_it_comes_from() {
        let rows = rows_of(&[], &["model.epochs=7"], false).expect("rows");
        assert_eq!(find(&rows, "seed")[1..3], ["3", "workflow"]);
        assert_eq!(find(&rows, "model.epochs")[1..4], ["7", "workflow", "required"]);
        assert_eq!(find(&rows, "model.patches_per_volume")[2], "default");
        assert_eq!(find(&rows, "archive.file")[1], "${ROOT:-here}/a.tar");
        assert_eq!(find(&rows, "volumes.crop_nonzero")[1..3], ["false", "default"]);
        assert_eq!(find(&rows, "model.inference.roi")[1], "null");
        assert_eq!(find(&rows, "volumes.resources.cpus")[1..3], ["2", "workflow"]);
        assert!(find(&rows, "model.augmentation")[1].contains("name: flip"));
        assert!(!rows.iter().any(|row| row[0].starts_with("model.augmentation.")), "it is a list");
        assert!(rows.iter().all(|row| !row[4].is_empty() && !row[5].is_empty()));
    }

    #[test]
    fn stages_may_be_named_and_what_is_given_alone_be_shown() {
        let rows = rows_of(&["split"], &[], true).expect("rows");
        let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["split.training", "split.validation", "split.testing"]);
        let error = rows_of(&["modle"], &[], false).expect_err("no such stage").to_string();
        assert_eq!(error, "'x.yaml' has no stage 'modle': did you mean 'model'?");
    }
}
