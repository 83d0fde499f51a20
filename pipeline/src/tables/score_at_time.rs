//! Score at a time of training: the best validation Dice reached within it.
//!
//! From a training's rows by epoch: `dice`, `epoch_seconds` and `validate_seconds`. Wall time of
//! the training alone counts, resumed parts included; a training that ended earlier keeps its best.

use super::metrics::MetricRow;
use std::collections::BTreeMap;
use voxflow_stages::stage::Yields;
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

/// A training's score: stage, kind, metric.
type ScoreLine = (String, String, Metric);

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
    fn a_later_worse_validation_takes_nothing_away_and_no_times_are_no_score() {
        let mut rows = training();
        let worse = rows.iter().position(|row| row.found.value == Some(0.75)).expect("epoch 2");
        rows[worse].found.value = Some(0.1);
        let found = at(&rows, "dice", 3600.0);
        assert_eq!(found[0].2.value, Some(0.5));
        assert!(at(&example("r1", 0.9).metrics, "dice", 3600.0).is_empty());
    }
}
