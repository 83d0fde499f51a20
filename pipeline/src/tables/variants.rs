//! A sweep's variants: mean and standard deviation over folds and seeds, and the best by validation
//! score.

use super::column::{Datum, less_is_better};
use super::scores::over_folds;
use super::summary::RunSummary;
use crate::humanize;
use crate::outcome::RunOutcome;
use crate::run::Sweep;
use crate::statistics;
use crate::text_table::{Cell, TextTable, short};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::Kind;
use voxflow_stages::stage::{Yields, fold_of_id};

/// Scores shown beside the deciding one.
const BESIDE: [&str; 3] = ["dice", "hd95_mm", "surface_dice"];
/// Split used for choosing.
const VALIDATION: &str = "validation";
/// Split scored only for the chosen variant.
const TESTING: &str = "testing";

#[derive(Clone, Debug, PartialEq)]
pub struct Variants {
    pub sweep: String,
    pub workflow: String,
    /// Deciding metric.
    pub by: String,
    /// Variants by number until sorted.
    pub rows: Vec<VariantScores>,
    /// Best variant's number, if determinable.
    pub best: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VariantScores {
    /// Numbered from 1.
    pub number: usize,
    /// Values by dotted path.
    pub values: BTreeMap<String, Value>,
    pub runs: usize,
    pub done: usize,
    /// Scores by column: "validation dice", "testing dice".
    pub scores: BTreeMap<String, Spread>,
}

/// Mean and spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    /// Sample standard deviation (n − 1); `None` for a single value.
    pub sd: Option<f64>,
    pub n: usize,
}

impl Spread {
    /// `None` without values.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mean = statistics::mean(values)?;
        Some(Spread { mean, sd: statistics::standard_deviation(values), n: values.len() })
    }

    /// "0.8478 ± 0.0123".
    pub fn words(&self) -> String {
        let sd = self.sd.map(|sd| format!(" ± {}", short(sd))).unwrap_or_default();
        format!("{}{sd}", short(self.mean))
    }
}

impl VariantScores {
    /// A swept value, comparable; empty text if the path is not swept.
    fn value(&self, path: &str) -> Datum {
        let value = self.values.get(path).map(humanize::value).unwrap_or_default();
        Datum::of(&value)
    }
}

impl Variants {
    /// Groups a sweep's runs into variants, judged by a validation metric.
    pub fn of(sweep: &str, runs: &[RunSummary], by: &str) -> Variants {
        let mut numbers: Vec<usize> = members(runs).map(|(sweep, _)| sweep.variant).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let rows: Vec<VariantScores> =
            numbers.into_iter().map(|number| variant(number, runs, by)).collect();
        let workflow = runs.first().map(|run| run.workflow.clone()).unwrap_or_default();
        let mut variants =
            Variants { sweep: sweep.to_string(), workflow, by: by.to_string(), rows, best: None };
        variants.best = variants.choose();
        variants
    }

    /// Best mean among variants with the most scored runs: a variant lacking folds is not
    /// comparable. Ties go to the first.
    fn choose(&self) -> Option<usize> {
        let deciding = self.deciding();
        let scored: Vec<(usize, Spread)> = self
            .rows
            .iter()
            .filter_map(|row| Some((row.number, *row.scores.get(&deciding)?)))
            .collect();
        let most = scored.iter().map(|(_, spread)| spread.n).max()?;
        let sign = if less_is_better(&self.by) { -1.0 } else { 1.0 };
        let whole = scored.into_iter().filter(|(_, spread)| spread.n == most);
        // `max_by` keeps the last of equals: reversed, the first variant wins.
        whole
            .rev()
            .max_by(|(_, one), (_, two)| (sign * one.mean).total_cmp(&(sign * two.mean)))
            .map(|(number, _)| number)
    }

    /// Deciding column.
    pub fn deciding(&self) -> String {
        format!("{VALIDATION} {}", self.by)
    }

    /// Variants with as many scored runs as the best and the same mean.
    pub fn tied(&self) -> Vec<usize> {
        self.rivals(|best, other| other.mean == best.mean)
    }

    /// Variants with another mean, but overlapping mean ± deviation, or one scored run only: their
    /// order to the best is not established.
    pub fn overlapping(&self) -> Vec<usize> {
        self.rivals(|best, other| {
            let reach = best.sd.zip(other.sd).map(|(one, two)| one + two);
            let distance = (best.mean - other.mean).abs();
            distance > 0.0 && reach.is_none_or(|reach| distance <= reach)
        })
    }

    fn rivals(&self, fits: impl Fn(&Spread, &Spread) -> bool) -> Vec<usize> {
        let deciding = self.deciding();
        let best = self.winner().and_then(|row| row.scores.get(&deciding));
        let Some(best) = best else { return vec![] };
        let rows = self.rows.iter().filter(|row| {
            let other = row.scores.get(&deciding).filter(|other| other.n == best.n);
            Some(row.number) != self.best && other.is_some_and(|other| fits(best, other))
        });
        rows.map(|row| row.number).collect()
    }

    pub fn winner(&self) -> Option<&VariantScores> {
        self.rows.iter().find(|row| Some(row.number) == self.best)
    }

    /// Number of unfinished runs.
    pub fn open(&self) -> usize {
        self.rows.iter().map(|row| row.runs - row.done).sum()
    }

    /// Sorts by a column: scores best first, values ascending. False if unknown.
    pub fn sort(&mut self, column: &str) -> bool {
        if self.paths().contains(&column) {
            self.rows.sort_by(|one, two| one.value(column).order(&two.value(column)));
            return true;
        }
        let known = self.columns().contains(&column.to_string());
        let sign = if less_is_better(column) { 1.0 } else { -1.0 };
        self.rows.sort_by(|one, two| match (one.scores.get(column), two.scores.get(column)) {
            (Some(a), Some(b)) if known => (sign * a.mean).total_cmp(&(sign * b.mean)),
            (one, two) => one.is_none().cmp(&two.is_none()),
        });
        known
    }

    pub fn paths(&self) -> Vec<&str> {
        self.rows
            .first()
            .map(|row| row.values.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// Score columns: the deciding one, other validation scores, testing scores.
    pub fn columns(&self) -> Vec<String> {
        let parts = [VALIDATION, TESTING].into_iter();
        let all = parts.flat_map(|part| {
            let metrics = std::iter::once(self.by.as_str())
                .chain(BESIDE.into_iter().filter(|name| *name != self.by));
            metrics.map(move |metric| format!("{part} {metric}")).collect::<Vec<_>>()
        });
        all.filter(|column| self.rows.iter().any(|row| row.scores.contains_key(column))).collect()
    }

    /// Table for reading, one row per variant.
    pub fn sheet(&self) -> TextTable {
        let (columns, tied) = (self.columns(), self.tied());
        let heads = std::iter::once("variant".to_string())
            .chain(self.paths().into_iter().map(String::from));
        let heads = heads
            .chain(["runs".to_string()])
            .chain(columns.iter().cloned())
            .chain(["best".to_string()]);
        let mut sheet = TextTable::new("", heads);
        for row in &self.rows {
            let mut cells = vec![Cell::Count(row.number as u64)];
            cells.extend(row.values.values().map(|value| Cell::text(humanize::value(value))));
            let runs = if row.done == row.runs {
                row.runs.to_string()
            } else {
                format!("{} of {}", row.done, row.runs)
            };
            cells.push(Cell::text(runs));
            cells.extend(columns.iter().map(|column| {
                row.scores.get(column).map_or(Cell::Empty, |spread| Cell::text(spread.words()))
            }));
            cells.push(match (Some(row.number) == self.best, tied.contains(&row.number)) {
                (true, _) if !tied.is_empty() => Cell::text("tied"),
                (true, _) => Cell::text("best"),
                (false, true) => Cell::text("tied"),
                (false, false) => Cell::text(" "),
            });
            sheet.push(cells);
        }
        sheet
    }

    /// Table for programs: separate columns for mean and deviation, full precision.
    pub fn full_sheet(&self) -> TextTable {
        let columns = self.columns();
        let mut heads = vec!["sweep_id".to_string(), "variant".to_string()];
        heads.extend(self.paths().into_iter().map(String::from));
        heads.extend(["runs", "done", "best"].map(String::from));
        for column in columns.iter().map(|column| column.replace(' ', "_")) {
            heads.extend([format!("{column}_mean"), format!("{column}_sd"), format!("{column}_n")]);
        }
        let mut sheet = TextTable::new("", heads);
        for row in &self.rows {
            let mut cells = vec![Cell::text(&self.sweep), Cell::Count(row.number as u64)];
            cells
                .extend(row.values.values().map(|value| Datum::of(&humanize::value(value)).cell()));
            let best = u64::from(Some(row.number) == self.best);
            cells.extend([row.runs as u64, row.done as u64, best].map(Cell::Count));
            for spread in columns.iter().map(|column| row.scores.get(column)) {
                cells.push(spread.map(|spread| spread.mean).into());
                cells.push(spread.and_then(|spread| spread.sd).into());
                cells.push(Cell::Count(spread.map_or(0, |spread| spread.n as u64)));
            }
            sheet.push(cells);
        }
        sheet
    }
}

/// A sweep's runs, including final tests of the chosen variant.
fn members(runs: &[RunSummary]) -> impl Iterator<Item = (&Sweep, &RunSummary)> {
    runs.iter().filter_map(|run| Some((run.sweep.as_ref()?, run)))
}

fn variant(number: usize, runs: &[RunSummary], by: &str) -> VariantScores {
    let of_it: Vec<(&Sweep, &RunSummary)> =
        members(runs).filter(|(sweep, _)| sweep.variant == number).collect();
    let tried: Vec<&RunSummary> =
        of_it.iter().filter(|(sweep, _)| !sweep.chosen).map(|(_, run)| *run).collect();
    let tested: Vec<&RunSummary> =
        of_it.iter().filter(|(sweep, _)| sweep.chosen).map(|(_, run)| *run).collect();
    let mut values = of_it.first().map(|(sweep, _)| sweep.values.clone()).unwrap_or_default();
    values.retain(|path, _| of_it.iter().all(|(sweep, _)| !sweep.repeats.contains(path)));
    let mut scores = BTreeMap::new();
    for metric in std::iter::once(by).chain(BESIDE) {
        for (part, runs) in [(VALIDATION, &tried), (TESTING, &tested)] {
            let found: Vec<f64> = runs.iter().filter_map(|run| score(run, part, metric)).collect();
            scores.extend(Spread::of(&found).map(|spread| (format!("{part} {metric}"), spread)));
        }
    }
    let done = tried.iter().filter(|run| run.outcome == RunOutcome::Done).count();
    VariantScores { number, values, runs: tried.len(), done, scores }
}

/// Mean over labels on one split: from the last scoring stage, else the training's last validation;
/// of a stage for each fold the mean over folds, if all have a score.
fn score(run: &RunSummary, part: &str, metric: &str) -> Option<f64> {
    let means = run.finals.iter().filter(|one| {
        let found = &one.found;
        found.split.as_deref() == Some(part) && found.label.is_none() && found.metric == metric
    });
    let order = [Yields::ValidationScores, Yields::TestScores, Yields::Curves];
    order.into_iter().find_map(|yields| {
        let of_kind = means.clone().filter(|one| Kind::yields_of(&one.kind) == yields);
        let last = of_kind.clone().next_back()?;
        last.found.value?;
        let scored = of_kind.filter_map(|one| Some((one.stage.as_str(), one.found.value?)));
        let score = over_folds(scored)?;
        let is_whole = score.folds.is_none_or(|folds| folds == folds_of(run, score.stage));
        is_whole.then_some(score.mean)
    })
}

/// A run's number of stages for the folds of a stage in the file.
fn folds_of(run: &RunSummary, written: &str) -> usize {
    let ids: BTreeSet<&str> = run.params.iter().map(|param| param.stage.as_str()).collect();
    ids.into_iter().filter(|id| fold_of_id(id).is_some_and(|(of, _)| of == written)).count()
}

#[cfg(test)]
mod tests {
    use super::super::summary::{Final, Param};
    use super::*;
    use crate::runs;
    use serde_json::json;
    use voxflow_stages::Metric;

    /// A run of a sweep over a learning rate and two folds.
    fn run(variant: usize, fold: u64, dice: f64) -> RunSummary {
        let rate = if variant == 1 { 0.001 } else { 0.002 };
        let values = [
            ("model.learning_rate".to_string(), json!(rate)),
            ("split.fold".to_string(), json!(fold)),
        ];
        let mut record = runs::tests::record("r", "demo", 0);
        record.sweep = Some(Sweep {
            id: "sweep-1".into(),
            variant,
            values: values.into(),
            repeats: vec!["split.fold".into()],
            chosen: false,
        });
        let found = Metric::new("dice", dice).split(VALIDATION).grid("resampled");
        let finals = vec![Final { stage: "score".into(), kind: "validate".into(), found }];
        RunSummary { finals, ..RunSummary::of(&record, &[]) }
    }

    fn tested(mut run: RunSummary, dice: f64) -> RunSummary {
        run.sweep.iter_mut().for_each(|sweep| sweep.chosen = true);
        let found = Metric::new("dice", dice).split(TESTING).grid("original");
        run.finals.push(Final { stage: "final".into(), kind: "test".into(), found });
        run
    }

    #[test]
    fn folds_are_averaged_and_the_best_mean_is_marked() {
        let runs = [run(1, 0, 0.8), run(1, 1, 0.9), run(2, 0, 0.7), run(2, 1, 0.95)];
        let variants = Variants::of("sweep-1", &runs, "dice");
        let expected = "\
variant  model.learning_rate  runs  validation dice  best
──────────────────────────────────────────────────────────
      1  0.001                2     0.8500 ± 0.0707  best
      2  0.002                2     0.8250 ± 0.1768
";
        assert_eq!(variants.sheet().text(None), expected, "\n{}", variants.sheet().text(None));
    }

    /// A run of a workflow with two folds inside, of which some are scored.
    fn with_folds(variant: usize, dice: &[f64]) -> RunSummary {
        let mut run = run(variant, 0, 0.0);
        let stage = |fold: usize| format!("score-fold{fold}");
        let (key, value) = ("tolerance_mm".to_string(), "1".to_string());
        run.params.extend((0..2).map(|fold| Param {
            stage: stage(fold),
            key: key.clone(),
            value: value.clone(),
        }));
        let found = dice.iter().enumerate().map(|(fold, dice)| Final {
            stage: stage(fold),
            kind: "validate".into(),
            found: Metric::new("dice", *dice).split(VALIDATION).grid("resampled"),
        });
        run.finals = found.collect();
        run
    }

    #[test]
    fn the_folds_inside_a_run_are_averaged_and_a_run_that_misses_one_has_no_score() {
        let runs = [with_folds(1, &[0.9, 0.6]), with_folds(2, &[0.5, 0.8])];
        let variants = Variants::of("sweep-1", &runs, "dice");
        let means = variants.rows.iter().map(|row| row.scores["validation dice"].mean);
        assert_eq!(means.collect::<Vec<_>>(), [0.75, 0.65]);
        assert_eq!(variants.best, Some(1), "the last fold alone would choose the second");
        let runs = [with_folds(1, &[0.9]), with_folds(2, &[0.5, 0.8])];
        assert_eq!(Variants::of("sweep-1", &runs, "dice").best, Some(2));
    }

    #[test]
    fn equal_means_are_ties_and_overlapping_ones_have_no_established_order() {
        let runs = [run(1, 0, 0.8), run(1, 1, 0.9), run(2, 0, 0.9), run(2, 1, 0.8)];
        let variants = Variants::of("sweep-1", &runs, "dice");
        assert_eq!((variants.best, variants.tied()), (Some(1), vec![2]));
        assert_eq!(variants.sheet().csv().matches(",tied").count(), 2);
        let close = [run(1, 0, 0.8), run(1, 1, 0.9), run(2, 0, 0.81), run(2, 1, 0.85)];
        let variants = Variants::of("sweep-1", &close, "dice");
        assert_eq!((variants.tied(), variants.overlapping()), (vec![], vec![2]));
        let apart = [run(1, 0, 0.8), run(1, 1, 0.81), run(2, 0, 0.5), run(2, 1, 0.51)];
        assert!(Variants::of("sweep-1", &apart, "dice").overlapping().is_empty());
        let single = [run(1, 0, 0.8), run(2, 0, 0.5)];
        assert_eq!(Variants::of("sweep-1", &single, "dice").overlapping(), [2]);
    }

    #[test]
    fn a_variant_that_misses_a_fold_cannot_be_the_best() {
        let mut open = run(2, 1, 0.0);
        (open.outcome, open.finals) = (RunOutcome::Running, vec![]);
        let variants = Variants::of(
            "sweep-1",
            &[run(1, 0, 0.8), run(1, 1, 0.8), run(2, 0, 0.99), open],
            "dice",
        );
        assert_eq!((variants.best, variants.open()), (Some(1), 1));
    }

    #[test]
    fn testing_never_chooses() {
        let runs = [run(1, 0, 0.8), run(2, 0, 0.9), tested(run(2, 0, 0.9), 0.1)];
        let mut variants = Variants::of("sweep-1", &runs, "dice");
        assert_eq!(variants.best, Some(2));
        assert_eq!(variants.rows[1].runs, 1, "what tests it is no repetition");
        assert_eq!(variants.columns(), ["validation dice", "testing dice"]);
        let csv = variants.full_sheet().csv();
        assert!(csv.ends_with("sweep-1,2,0.002,1,1,1,0.9,,1,0.1,,1\n"), "{csv}");
        assert!(variants.sort("validation dice") && variants.rows[0].number == 2);
        assert!(!variants.sort("dize"));
    }

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let spread = Spread::of(&[1.0, 2.0, 3.0]).expect("values");
        assert_eq!((spread.mean, spread.sd, spread.n), (2.0, Some(1.0), 3));
        assert_eq!(Spread::of(&[4.0]).expect("a value").sd, None);
        assert_eq!(Spread::of(&[]), None);
    }
}
