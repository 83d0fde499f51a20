//! Score at a time of training: the best validation Dice reached within it.
//!
//! From a training's rows by epoch: `dice`, `epoch_seconds` and `validate_seconds`. Wall time of
//! the training alone counts, resumed parts included; a training that ended earlier keeps its best.
//! In a cross-validation each fold's training has a score, and all of them a mean.

use super::metrics::MetricRow;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::stage::{Yields, fold_of_id};
use voxflow_stages::{Kind, Metric};

/// Times with a metric in every run's tables: name and seconds.
const TIMES: [(&str, f64); 3] = [("5m", 300.0), ("15m", 900.0), ("60m", 3600.0)];
const VALIDATION: &str = "validation";

/// A training's wall time and mean validation Dice by epoch.
#[derive(Default)]
struct Curve<'a> {
    kind: &'a str,
    seconds: BTreeMap<u32, [f64; 2]>,
    dice: BTreeMap<u32, f64>,
}

/// Name of the metric at a time, as "dice_at_15m".
pub(super) fn name(time: &str) -> String {
    format!("dice_at_{time}")
}

/// Name of the mean over folds of a metric at a time, as "dice_at_15m_mean_of_folds".
pub(super) fn mean_name(name: &str) -> String {
    format!("{name}_mean_of_folds")
}

/// A training's score: stage, kind, metric.
pub(super) type ScoreLine = (String, String, Metric);

/// Adds `dice_at_5m`, `dice_at_15m` and `dice_at_60m` of the trainings among a stage, or all
/// stages, unless present.
pub(super) fn add(rows: &mut Vec<MetricRow>, stage: Option<&str>) {
    let mut added = vec![];
    for (time, seconds) in TIMES {
        let name = name(time);
        for (of, _, found) in at(rows, &name, seconds) {
            let mut own = rows.iter().filter(|row| row.stage == of);
            let is_known = own.clone().any(|row| row.found.metric == name);
            let is_asked = stage.is_none_or(|stage| stage == of);
            let last = own.next_back().filter(|_| is_asked && !is_known);
            added.extend(last.map(|row| MetricRow { found, ..row.clone() }));
        }
    }
    rows.extend(added);
}

/// Best mean validation Dice of each training within `seconds`, under this name; trainings without
/// one by then, or without times, have none.
pub(super) fn at(rows: &[MetricRow], name: &str, seconds: f64) -> Vec<ScoreLine> {
    let curves = curves(rows).into_iter();
    curves
        .filter_map(|(stage, curve)| {
            let dice = Metric { measured: true, ..Metric::new(name, curve.best_within(seconds)?) };
            let found = dice.split(VALIDATION);
            Some((stage.into(), curve.kind.into(), found))
        })
        .collect()
}

/// The mean of these scores over folds, for each training of a cross-validation among `stages`, all
/// stages of a run, under the training's name in the workflow. `None` if a fold has no score: a
/// mean of the others would be of other cases.
pub(super) fn means_of_folds(scores: &[ScoreLine], stages: &BTreeSet<&str>) -> Vec<ScoreLine> {
    let mut folds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for stage in stages {
        if let Some((written, _)) = fold_of_id(stage) {
            folds.entry(written).or_default().push(stage);
        }
    }
    let several = folds.into_iter().filter(|(_, folds)| folds.len() > 1);
    several.filter_map(|(written, folds)| mean_of(scores, written, &folds)).collect()
}

fn mean_of(scores: &[ScoreLine], written: &str, folds: &[&str]) -> Option<ScoreLine> {
    let of = |fold: &str| scores.iter().find(|(stage, ..)| stage == fold);
    let found = folds.iter().map(|fold| of(fold)).collect::<Option<Vec<_>>>()?;
    let (_, kind, like) = found.first()?;
    let values = found.iter().map(|(.., score)| score.value).collect::<Option<Vec<f64>>>()?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let score = Metric { metric: mean_name(&like.metric), value: Some(mean), ..like.clone() };
    Some((written.into(), kind.clone(), score))
}

fn curves(rows: &[MetricRow]) -> BTreeMap<&str, Curve<'_>> {
    let mut curves: BTreeMap<&str, Curve> = BTreeMap::new();
    for row in rows.iter().filter(|row| Kind::yields_of(&row.kind) == Yields::Curves) {
        let found = &row.found;
        let (Some(epoch), Some(value), None) = (found.epoch, found.value, &found.label) else {
            continue;
        };
        let curve = curves.entry(&row.stage).or_default();
        curve.kind = &row.kind;
        match (found.metric.as_str(), found.split.as_deref()) {
            ("dice", Some(VALIDATION)) => drop(curve.dice.insert(epoch, value)),
            ("epoch_seconds", _) => curve.seconds.entry(epoch).or_default()[0] = value,
            ("validate_seconds", _) => curve.seconds.entry(epoch).or_default()[1] = value,
            _ => {}
        }
    }
    curves
}

impl Curve<'_> {
    fn best_within(&self, limit: f64) -> Option<f64> {
        let (mut seconds, mut best) = (0.0, None);
        for (epoch, [training, validation]) in &self.seconds {
            seconds += training + validation;
            if seconds > limit {
                break;
            }
            let dice = self.dice.get(epoch).copied();
            best = dice.into_iter().chain(best).max_by(f64::total_cmp);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::example;

    /// Two epochs of ten minutes, each with a validation of one minute; Dice 0.5, then 0.75.
    fn training() -> Vec<MetricRow> {
        let mut rows = example("r1", 0.9).metrics;
        let like = rows[1].clone();
        for epoch in [1, 2] {
            for (metric, seconds) in [("epoch_seconds", 600.0), ("validate_seconds", 60.0)] {
                let found = Metric { measured: true, ..Metric::new(metric, seconds) };
                rows.push(MetricRow { found: found.epoch(epoch), ..like.clone() });
            }
        }
        rows
    }

    fn value(rows: &[MetricRow], metric: &str) -> Option<f64> {
        let mut found = rows.iter().filter(|row| row.found.metric == metric);
        let value = found.next()?.found.value;
        assert!(found.next().is_none(), "{metric} is there twice");
        value
    }

    #[test]
    fn the_score_at_a_time_is_the_best_validation_by_then() {
        let mut rows = training();
        let of = |seconds| at(&rows, "dice", seconds).pop().and_then(|(_, _, found)| found.value);
        assert_eq!(of(659.0), None, "the first validation ends after 660 s");
        assert_eq!((of(660.0), of(1319.0), of(1320.0)), (Some(0.5), Some(0.5), Some(0.75)));
        add(&mut rows, None);
        add(&mut rows, Some("model"));
        let found = ["dice_at_5m", "dice_at_15m", "dice_at_60m"].map(|name| value(&rows, name));
        assert_eq!(found, [None, Some(0.5), Some(0.75)]);
    }

    #[test]
    fn folds_have_a_score_each_and_a_mean_if_none_lacks_one() {
        let mut rows = training();
        for row in training() {
            let found = match row.found.value {
                Some(0.75) => Metric { value: Some(0.95), ..row.found.clone() },
                _ => row.found.clone(),
            };
            rows.push(MetricRow { stage: "model-fold1".into(), found, ..row });
        }
        rows.iter_mut().filter(|row| row.stage == "model").for_each(|row| {
            row.stage = "model-fold0".into();
        });
        let scores = at(&rows, "dice_at_1h", 3600.0);
        let each: Vec<(&str, Option<f64>)> =
            scores.iter().map(|(stage, _, score)| (stage.as_str(), score.value)).collect();
        assert_eq!(each, [("model-fold0", Some(0.75)), ("model-fold1", Some(0.95))]);
        let of = |stages: &[&str]| means_of_folds(&scores, &stages.iter().copied().collect());
        let [(stage, _, mean)] = &of(&["data", "model-fold0", "model-fold1"])[..] else {
            panic!("one mean")
        };
        assert_eq!((stage.as_str(), &*mean.metric), ("model", "dice_at_1h_mean_of_folds"));
        assert!((mean.value.expect("a mean") - 0.85).abs() < 1e-12);
        assert!(of(&["model-fold0", "model-fold1", "model-fold2"]).is_empty(), "one lacks it");
        assert!(of(&["model-fold0"]).is_empty(), "a fold alone");
    }

    #[test]
    fn a_later_worse_validation_takes_nothing_away_and_no_times_are_no_score() {
        let mut rows = training();
        let worse = rows.iter().position(|row| row.found.value == Some(0.75)).expect("epoch 2");
        rows[worse].found.value = Some(0.1);
        let found = at(&rows, "dice", 3600.0);
        assert_eq!(found[0].2.value, Some(0.5));
        assert!(at(&example("r1", 0.9).metrics, "dice", 3600.0).is_empty());
    }
}
