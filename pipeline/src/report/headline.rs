//! Scores in words: mean Dice on testing and validation cases with spread, interval and worst case.

use super::charts;
use super::subject::RunSubject;
use crate::humanize;
use crate::tables::{self, Headlines};
use crate::text_table::short;

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

fn score(subject: &RunSubject, part: &str, stage: &str, dice: f64) -> String {
    let Some(place) = subject.scored().into_iter().find(|place| place.stage == stage) else {
        return format!("{part} Dice {} ({stage}, during training)", short(dice));
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
    let sd = of("dice_sd").map(|sd| format!(" ± {}", short(sd))).unwrap_or_default();
    let mut notes = humanize::count(subject.cases(stage) as u64, "case");
    if let (Some(low), Some(high)) = (of("dice_ci_low"), of("dice_ci_high")) {
        notes += &format!("; 95 % CI {}–{}", short(low), short(high));
    }
    let cases = charts::dice_of_cases(subject, &place);
    let worst = cases.iter().min_by(|a, b| a.1.total_cmp(b.1)).filter(|_| cases.len() > 1);
    if let Some((case, dice)) = worst {
        notes += &format!("; worst {case}, {}", short(*dice));
    }
    format!("{part} Dice {}{sd} ({stage}, {notes})", short(dice))
}
