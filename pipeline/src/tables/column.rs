//! Columns over runs: facts, parameters and final metrics, addressed by name.

use super::summary::{Final, RunSummary};
use crate::workflow::nearest;
use std::collections::BTreeSet;
use voxflow_stages::Metric;

/// Grid whose scores are shown next to the others, marked by its name.
const BESIDE: &str = "roundtrip";
/// A training's metric of two splits; the second is marked by the split's name.
const LOSS: &str = "loss";
const VALIDATION: &str = "validation";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Run property: run, workflow, outcome, seconds.
    Fact(&'static str),
    /// Parameter: "model.learning_rate".
    Param(String),
    /// Final metric: "score.dice", "final.spleen.dice", "final.dice@roundtrip".
    Metric(String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Number(f64),
    Words(String),
}

/// Prefix for metrics sharing a parameter's name.
const METRIC: &str = "metric.";

const FACTS: [&str; 4] = ["run", "workflow", "outcome", "seconds"];

impl Column {
    /// Resolves a name: a full name, or a unique suffix such as `learning_rate` for
    /// `model.learning_rate`. Parameters take precedence over metrics.
    pub fn named(word: &str, runs: &[RunSummary]) -> Result<Column, String> {
        if let Some(fact) = FACTS.into_iter().find(|fact| *fact == word) {
            return Ok(Column::Fact(fact));
        }
        let (params, metrics) = (params(runs), metrics(runs));
        let bare = word.strip_prefix(METRIC).unwrap_or(word);
        if let Some(found) = metrics.iter().find(|column| bare != word && column.name() == bare) {
            return Ok(found.clone());
        }
        for names in [&params, &metrics] {
            if let Some(found) = names.iter().find(|column| column.name() == word) {
                return Ok(found.clone());
            }
        }
        let end = format!(".{word}");
        for names in [&params, &metrics] {
            let fitting: Vec<&Column> =
                names.iter().filter(|column| column.name().ends_with(&end)).collect();
            match fitting[..] {
                [] => {}
                [one] => return Ok(one.clone()),
                _ => return Err(ambiguous(word, &fitting)),
            }
        }
        let names: Vec<&str> =
            FACTS.into_iter().chain(params.iter().chain(&metrics).map(Column::name)).collect();
        let ends = names.iter().map(|name| name.rsplit('.').next().unwrap_or(name));
        Err(match nearest(word, names.iter().copied().chain(ends)) {
            Some(near) => {
                format!("'{word}' is no parameter or metric of these runs; did you mean '{near}'?")
            }
            None => format!(
                "'{word}' is no parameter or metric of these runs; '--format csv' shows all names"
            ),
        })
    }

    /// Unique heading; a metric sharing a parameter's name (a training's final learning rate)
    /// becomes "metric.model.learning_rate".
    pub fn heading(&self, params: &BTreeSet<String>) -> String {
        match self {
            Column::Metric(name) if params.contains(name) => format!("{METRIC}{name}"),
            other => other.name().to_string(),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Column::Fact(name) => name,
            Column::Param(name) | Column::Metric(name) => name,
        }
    }

    /// Value in a run, if any.
    pub fn of(&self, run: &RunSummary) -> Option<Datum> {
        match self {
            Column::Fact("seconds") => run.seconds.map(Datum::Number),
            Column::Fact("run") => Some(Datum::Words(run.run.clone())),
            Column::Fact("workflow") => Some(Datum::Words(run.workflow.clone())),
            Column::Fact(_) => Some(Datum::Words(run.outcome.word().to_string())),
            Column::Param(_) => self.written(run).map(Datum::of),
            Column::Metric(_) => {
                self.metric(run).and_then(|one| one.found.value).map(Datum::Number)
            }
        }
    }

    /// A parameter's text.
    pub fn written<'a>(&self, run: &'a RunSummary) -> Option<&'a str> {
        let Column::Param(name) = self else { return None };
        run.params
            .iter()
            .find(|param| is_named(name, &param.stage, &param.key))
            .map(|param| &*param.value)
    }

    /// A metric's row in a run.
    pub fn metric<'a>(&self, run: &'a RunSummary) -> Option<&'a Final> {
        let Column::Metric(name) = self else { return None };
        run.finals.iter().find(|one| {
            one.stage.len() < name.len()
                && name.starts_with(&*one.stage)
                && metric_name(&one.stage, &one.found) == *name
        })
    }

    /// True for scores on testing cases, unsuitable for choosing.
    pub fn is_testing(&self, runs: &[RunSummary]) -> bool {
        runs.iter().any(|run| {
            self.metric(run).is_some_and(|one| one.found.split.as_deref() == Some("testing"))
        })
    }

    /// True if lower is better: distances, losses, errors, times, memory.
    pub fn is_better_low(&self) -> bool {
        matches!(self, Column::Metric(name) if less_is_better(name))
            || *self == Column::Fact("seconds")
    }
}

/// True if lower is better for a metric.
pub fn less_is_better(metric: &str) -> bool {
    let last = metric.rsplit('.').next().unwrap_or(metric);
    let last = last.split('@').next().unwrap_or(last);
    let words = ["loss", "hd95", "missed", "false_positive", "seconds", "bytes", "norm"];
    words.iter().any(|word| last.contains(word)) && !last.starts_with("n_")
}

impl Datum {
    /// Parses a number, else keeps the text.
    pub fn of(text: &str) -> Datum {
        text.parse().map_or_else(|_| Datum::Words(text.to_string()), Datum::Number)
    }
}

/// All parameters, in order of appearance.
pub fn params(runs: &[RunSummary]) -> Vec<Column> {
    let places = runs.iter().flat_map(|run| &run.params).map(|param| (&*param.stage, &*param.key));
    in_order(places)
        .into_iter()
        .map(|(stage, key)| Column::Param(format!("{stage}.{key}")))
        .collect()
}

/// All final metrics, in order of appearance.
pub fn metrics(runs: &[RunSummary]) -> Vec<Column> {
    let places = runs.iter().flat_map(|run| &run.finals).map(|one| {
        let found = &one.found;
        (&*one.stage, found.label.as_deref(), &*found.metric, mark(found))
    });
    let name = |(stage, label, metric, mark)| Column::Metric(joined(stage, label, metric, mark));
    in_order(places).into_iter().map(name).collect()
}

/// Column name for a final metric: stage, label if any, metric.
pub fn metric_name(stage: &str, found: &Metric) -> String {
    joined(stage, found.label.as_deref(), &found.metric, mark(found))
}

/// The key of a metric among those of the same stage, label and name.
fn mark(found: &Metric) -> Option<&'static str> {
    let is_loss = found.metric == LOSS && found.split.as_deref() == Some(VALIDATION);
    let is_beside = found.grid.as_deref() == Some(BESIDE);
    is_beside.then_some(BESIDE).or(is_loss.then_some(VALIDATION))
}

fn joined(stage: &str, label: Option<&str>, metric: &str, mark: Option<&str>) -> String {
    let label = label.map(|label| format!("{label}.")).unwrap_or_default();
    let mark = mark.map(|mark| format!("@{mark}")).unwrap_or_default();
    format!("{stage}.{label}{metric}{mark}")
}

fn is_named(name: &str, stage: &str, key: &str) -> bool {
    name.strip_prefix(stage).and_then(|rest| rest.strip_prefix('.')) == Some(key)
}

fn ambiguous(word: &str, fitting: &[&Column]) -> String {
    let names: Vec<String> =
        fitting.iter().take(6).map(|column| format!("'{}'", column.name())).collect();
    format!("'{word}' could be {}: write one of them", names.join(", "))
}

/// Distinct items in order of appearance.
fn in_order<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunFolder;
    use crate::runs;

    fn runs() -> Vec<RunSummary> {
        let base = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(base.path());
        let all = home.all_runs().expect("runs");
        all.iter().map(|folder: &RunFolder| RunSummary::read(folder).expect("a summary")).collect()
    }

    #[test]
    fn the_end_of_a_name_is_enough_where_it_is_the_only_one() {
        let runs = runs();
        let named = |word: &str| Column::named(word, &runs);
        assert_eq!(
            named("learning_rate"),
            Ok(Column::Param("model.optimizer.learning_rate".into()))
        );
        assert_eq!(named("final.spleen.dice"), Ok(Column::Metric("final.spleen.dice".into())));
        assert_eq!(
            named("dice"),
            Err("'dice' could be 'model.dice', 'final.spleen.dice', 'final.dice': write one of them".into())
        );
        assert_eq!(
            named("lerning_rate"),
            Err("'lerning_rate' is no parameter or metric of these runs; did you mean 'learning_rate'?".into())
        );
    }

    #[test]
    fn the_losses_of_a_training_are_columns_of_their_own_and_less_of_both_is_better() {
        let mut runs = runs();
        runs.truncate(1);
        for (split, value) in [("training", 0.25), (VALIDATION, 0.5)] {
            let found = Metric::new(LOSS, value).split(split);
            runs[0].finals.push(Final { stage: "model".into(), kind: "train".into(), found });
        }
        for (name, value) in [("model.loss", 0.25), ("model.loss@validation", 0.5)] {
            let column = Column::named(name, &runs).expect(name);
            assert_eq!(column.of(&runs[0]), Some(Datum::Number(value)));
            assert!(column.is_better_low());
        }
    }

    #[test]
    fn a_column_has_a_value_in_each_run_and_knows_what_is_better() {
        let runs = runs();
        let dice = Column::named("final.dice", &runs).expect("a column");
        assert_eq!(dice.of(&runs[0]), Some(Datum::Number(0.5)));
        assert!(dice.is_testing(&runs) && !dice.is_better_low());
        assert!(less_is_better("final.hd95_mm") && !less_is_better("final.n_hd95_mm"));
        assert_eq!(Column::Fact("outcome").of(&runs[0]), Some(Datum::Words("done".into())));
    }
}
