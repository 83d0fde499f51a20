//! Verdict on a sweep in words, and the effect of each swept parameter.

use super::variants::{Spread, Variants};
use crate::humanize::{self, count};
use crate::text_table::{Cell, TextTable};
use crate::workflow::sweep::in_words;
use std::collections::BTreeMap;

/// "the best is variant 2 (model.learning_rate=0.002): validation dice 0.8478 ± 0.0123 over 3
/// runs".
pub fn sentence(variants: &Variants) -> String {
    let Variants { sweep, .. } = variants;
    let deciding = variants.deciding();
    let found = variants.winner().and_then(|row| Some((row, row.scores.get(&deciding)?)));
    let Some((row, spread)) = found else {
        return format!("{sweep}: no variant has '{deciding}', so none can be called the best");
    };
    let runs = count(spread.n as u64, "run");
    let values = in_words(&row.values);
    let values = if values.is_empty() { String::new() } else { format!(" ({values})") };
    let open = match variants.open() {
        0 => String::new(),
        open => {
            format!(
                "; so far, {} not done",
                if open == 1 { "1 run is".into() } else { format!("{open} runs are") }
            )
        }
    };
    let caution = caution(variants, spread.n);
    format!(
        "{sweep}: the best is variant {}{values}: {deciding} {} over {runs}{caution}{open}",
        row.number,
        spread.words()
    )
}

/// "variant 2" or "variants 2, 3".
fn named(numbers: &[usize]) -> String {
    let word = if numbers.len() == 1 { "variant" } else { "variants" };
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("{word} {}", numbers.join(", "))
}

/// "; tied with variant 2; the order to variant 3 is not established: mean ± sd overlap".
fn caution(variants: &Variants, runs: usize) -> String {
    let (tied, overlapping) = (variants.tied(), variants.overlapping());
    let mut words = String::new();
    if !tied.is_empty() {
        words += &format!("; tied with {}", named(&tied));
    }
    if !overlapping.is_empty() {
        let reason = match runs {
            1 => "one run each; '--folds 5' or '--seeds 0,1,2' repeat them",
            _ => "mean ± sd overlap",
        };
        let overlapping = named(&overlapping);
        words += &format!("; the order to {overlapping} is not established: {reason}");
    }
    words
}

/// Mean of the deciding score over all variants with a value, for every value of every swept
/// parameter; empty for a single parameter, where the variants' table says the same.
pub fn effects(variants: &Variants) -> TextTable {
    let (paths, deciding) = (variants.paths(), variants.deciding());
    let columns = ["parameter", "value", "variants", deciding.as_str()];
    let mut sheet = TextTable::new("", columns);
    for path in paths.iter().filter(|_| paths.len() > 1) {
        let mut by_value: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in &variants.rows {
            let value = row.values.get(*path).map(humanize::value).unwrap_or_default();
            by_value
                .entry(value)
                .or_default()
                .extend(row.scores.get(&deciding).map(|one| one.mean));
        }
        for (value, means) in by_value {
            let spread = Spread::of(&means);
            sheet.push(vec![
                Cell::text(*path),
                Cell::text(value),
                Cell::Count(means.len() as u64),
                spread.map_or(Cell::Empty, |one| Cell::Spread { mean: one.mean, sd: one.sd }),
            ]);
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::variants::VariantScores;
    use serde_json::json;

    fn variants(dice: &[(f64, f64, f64)]) -> Variants {
        let rows = dice.iter().enumerate().map(|(at, (rate, ema, dice))| VariantScores {
            number: at + 1,
            values: [("a.rate".to_string(), json!(rate)), ("b.ema".to_string(), json!(ema))].into(),
            runs: 1,
            done: 1,
            scores: Spread::of(&[*dice])
                .map(|spread| ("validation dice".to_string(), spread))
                .into_iter()
                .collect(),
        });
        Variants {
            sweep: "sweep-1".into(),
            workflow: "demo".into(),
            by: "dice".into(),
            rows: rows.collect(),
            best: Some(1),
        }
    }

    #[test]
    fn the_effect_of_a_parameter_is_the_mean_over_the_others() {
        let four = [(0.1, 0.9, 0.8), (0.1, 0.99, 0.6), (0.2, 0.9, 0.5), (0.2, 0.99, 0.5)];
        let sheet = effects(&variants(&four));
        let csv = sheet.csv();
        assert!(csv.contains("a.rate,0.1,2,0.7\n") && csv.contains("a.rate,0.2,2,0.5\n"), "{csv}");
        assert!(csv.contains("b.ema,0.9,2,0.65\n"), "{csv}");
    }

    #[test]
    fn the_verdict_tells_ties_and_that_one_run_each_establishes_no_order() {
        let words = sentence(&variants(&[(0.1, 0.9, 0.8), (0.1, 0.99, 0.8), (0.2, 0.9, 0.5)]));
        assert_eq!(
            words,
            "sweep-1: the best is variant 1 (a.rate=0.1 b.ema=0.9): validation dice 0.8000 over 1 \
             run; tied with variant 2; the order to variant 3 is not established: one run each; \
             '--folds 5' or '--seeds 0,1,2' repeat them"
        );
    }
}
