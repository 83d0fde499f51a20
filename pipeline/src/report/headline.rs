//! Scores in words: mean Dice on testing and validation cases with spread, interval, worst case and
//! the best baseline.

use super::charts;
use super::subject::{RunSubject, Scored};
use crate::humanize;
use crate::tables::{self, Headlines};
use crate::text_table::short;
use std::collections::BTreeSet;
use voxflow_stages::Kind;
use voxflow_stages::stage::Yields;
use voxflow_stages::stage::fold_of_id;

/// A main score in large type.
pub struct Tile {
    /// "test Dice".
    pub name: String,
    /// "0.8768 ± 0.0501".
    pub value: String,
    pub notes: Vec<String>,
}

/// Test and validation Dice with their spread; none for runs without scores.
pub fn tiles(subject: &RunSubject) -> Vec<Tile> {
    let both = Headlines::of(&subject.tables.metrics);
    let named = [("test Dice", both.test), ("validation Dice", both.validation)];
    let found = named.into_iter().filter_map(|(name, found)| found.map(|found| (name, found)));
    found.map(|(name, (stage, dice))| tile(subject, name, &stage, dice)).collect()
}

fn tile(subject: &RunSubject, name: &str, stage: &str, dice: f64) -> Tile {
    let facts = facts(subject, stage);
    let sd = facts.sd.map(|sd| format!(" ± {}", short(sd))).unwrap_or_default();
    let mut notes: Vec<String> = facts.cases.into_iter().collect();
    notes.extend(facts.interval.map(|interval| format!("95 % CI {interval}")));
    notes.extend(facts.worst.map(|(case, dice)| format!("worst {case}, {}", short(dice))));
    notes.extend(facts.baseline.map(|(stage, dice)| format!("baseline {stage}, {}", short(dice))));
    Tile { name: name.into(), value: format!("{}{sd}", short(dice)), notes }
}

/// "test Dice 0.8768 ± 0.0501 (final, 6 cases; 95 % CI 0.8412–0.9103; worst case_07, 0.7805);
/// validation Dice …"; `None` for a run without scores.
pub fn words(subject: &RunSubject) -> Option<String> {
    let both = Headlines::of(&subject.tables.metrics);
    let named = [("test", both.test), ("validation", both.validation)];
    let mut words: Vec<String> = named
        .into_iter()
        .filter_map(|(part, found)| found.map(|(stage, dice)| score(subject, part, &stage, dice)))
        .collect();
    if words.is_empty() {
        let (stage, dice) = tables::headline(&subject.tables.metrics)?;
        words.push(score(subject, "mean", stage, dice));
    }
    Some(words.join("; "))
}

/// Spread of a stage's mean Dice.
#[derive(Default)]
struct Facts {
    sd: Option<f64>,
    /// "6 cases"; `None` during training.
    cases: Option<String>,
    /// 95 % interval of the mean.
    interval: Option<String>,
    /// The lowest of several cases.
    worst: Option<(String, f64)>,
    /// Of what scores the same cases without being a run's result, the best.
    baseline: Option<(String, f64)>,
}

fn baseline(subject: &RunSubject, place: &Scored) -> Option<(String, f64)> {
    let rows = subject.tables.metrics.iter().filter(|row| {
        let found = &row.found;
        Kind::yields_of(&row.kind) == Yields::OtherScores
            && row.is_final()
            && found.metric == "dice"
            && (found.label.as_ref(), found.case.as_ref()) == (None, None)
            && found.grid == place.grid
            && found.split.as_deref() == Some(place.split.as_str())
    });
    let scores = rows.filter_map(|row| Some((row.stage.clone(), row.found.value?)));
    scores.max_by(|one, other| one.1.total_cmp(&other.1))
}

fn facts(subject: &RunSubject, stage: &str) -> Facts {
    let Some(place) = subject.scored().into_iter().find(|place| place.stage == stage) else {
        return facts_of_folds(subject, stage);
    };
    let of = |metric: &str| {
        let mut rows = subject.tables.metrics.iter().filter(|row| row.stage == stage);
        let row = rows.find(|row| {
            let found = &row.found;
            row.is_final()
                && found.grid == place.grid
                && found.label.is_none()
                && found.metric == metric
        });
        row.and_then(|row| row.found.value)
    };
    let ends = of("dice_ci_low").zip(of("dice_ci_high"));
    let cases = charts::dice_of_cases(subject, &place);
    let worst = cases.iter().min_by(|a, b| a.1.total_cmp(b.1)).filter(|_| cases.len() > 1);
    Facts {
        sd: of("dice_sd"),
        cases: Some(humanize::count(subject.cases(stage) as u64, "case")),
        interval: ends.map(|(low, high)| format!("{}–{}", short(low), short(high))),
        worst: worst.map(|(case, dice)| (case.clone(), *dice)),
        baseline: baseline(subject, &place),
    }
}

/// Facts of a mean over folds; its spread over cases is that of no single stage.
fn facts_of_folds(subject: &RunSubject, written: &str) -> Facts {
    let is_fold = |place: &Scored| fold_of_id(&place.stage).is_some_and(|(of, _)| of == written);
    let folds: Vec<Scored> = subject.scored().into_iter().filter(is_fold).collect();
    if folds.is_empty() {
        return Facts::default();
    }
    let stages: BTreeSet<&str> = folds.iter().map(|place| place.stage.as_str()).collect();
    let cases: usize = stages.iter().map(|stage| subject.cases(stage)).sum();
    let each = folds.iter().flat_map(|place| charts::dice_of_cases(subject, place));
    let words = format!(
        "mean of {}, {}",
        humanize::count(stages.len() as u64, "fold"),
        humanize::count(cases as u64, "case")
    );
    let worst = each.min_by(|a, b| a.1.total_cmp(&b.1));
    Facts { cases: Some(words), worst, ..Facts::default() }
}

fn score(subject: &RunSubject, part: &str, stage: &str, dice: f64) -> String {
    let facts = facts(subject, stage);
    let Some(mut notes) = facts.cases else {
        return format!("{part} Dice {} ({stage}, during training)", short(dice));
    };
    let sd = facts.sd.map(|sd| format!(" ± {}", short(sd))).unwrap_or_default();
    if let Some(interval) = facts.interval {
        notes += &format!("; 95 % CI {interval}");
    }
    if let Some((case, dice)) = facts.worst {
        notes += &format!("; worst {case}, {}", short(dice));
    }
    if let Some((stage, dice)) = facts.baseline {
        notes += &format!("; baseline {stage}, {}", short(dice));
    }
    format!("{part} Dice {}{sd} ({stage}, {notes})", short(dice))
}
