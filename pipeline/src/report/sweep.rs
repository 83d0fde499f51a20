//! Page of a sweep: variants with the best, the effect of each parameter, curves named by their
//! values, and the runs.

use super::charts::{Chart, figures};
use super::curves::curves;
use super::html_table::table;
use super::sections::training;
use super::subject::RunSubject;
use crate::humanize;
use crate::tables::{self, Variants};
use crate::text_table::{Cell, TextTable};
use crate::workflow::sweep::in_words;
use maud::{Markup, html};
use serde_json::Value;
use std::collections::BTreeMap;

/// Body and charts. Runs that test the chosen variant repeat its training: their curves are left
/// out.
pub fn body(variants: &Variants, subjects: Vec<RunSubject>) -> (Markup, Vec<Chart>) {
    let runs = runs(&subjects);
    let tried: Vec<RunSubject> = subjects.into_iter().filter_map(named).collect();
    let drawn = curves(&tried);
    let effects = tables::effects(variants);
    let body = html! {
        h1 { (variants.workflow) ": " (humanize::count(variants.rows.len() as u64, "variant")) }
        p.outcome { (tables::verdict(variants)) "." }
        p.soft { "Mean ± standard deviation over folds and seeds. A click on a heading sorts." }
        (table(&variants.sheet()))
        @if !effects.rows.is_empty() {
            h2 { "Effect of each parameter" }
            p.soft { "Mean ± standard deviation over the variants with a value." }
            (table(&effects))
        }
        @if !drawn.is_empty() { (training(&figures(&drawn))) }
        h2 { "Runs" }
        (table(&runs))
    };
    (body, drawn)
}

/// The run under the name of its swept values; `None` for a run that tests the chosen variant.
fn named(mut subject: RunSubject) -> Option<RunSubject> {
    let sweep = subject.past.record.sweep.as_ref().filter(|sweep| !sweep.chosen)?;
    let deciding = sweep.values.iter().filter(|(path, _)| !sweep.repeats.contains(path));
    (subject.label, subject.group) = (Some(short_words(&sweep.values)), in_words(deciding));
    Some(subject)
}

/// Swept values for a legend: the last key of each path, if unique.
fn short_words(values: &BTreeMap<String, Value>) -> String {
    let key = |path: &str| path.rsplit('.').next().unwrap_or(path).to_string();
    let is_only =
        |path: &String| values.keys().filter(|other| key(other) == key(path)).count() == 1;
    let named: BTreeMap<String, Value> = values
        .iter()
        .map(|(path, value)| (if is_only(path) { key(path) } else { path.clone() }, value.clone()))
        .collect();
    in_words(&named)
}

fn runs(subjects: &[RunSubject]) -> TextTable {
    let columns = ["run", "variant", "values", "outcome", "took", "val dice", "test dice"];
    let mut sheet = TextTable::new("", columns);
    for subject in subjects {
        let record = &subject.past.record;
        let Some(sweep) = &record.sweep else { continue };
        let scores = subject.summary().headlines();
        let [validation, test] =
            [scores.validation, scores.test].map(|of| of.map(|(_, dice)| dice).into());
        sheet.push(vec![
            Cell::text(crate::runs::short(&record.run)),
            Cell::Count(sweep.variant as u64),
            Cell::text(in_words(&sweep.values)),
            Cell::text(record.outcome.word()),
            record.seconds.map_or(Cell::Empty, |seconds| Cell::text(humanize::duration(seconds))),
            validation,
            test,
        ]);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_legend_names_keys_alone_where_no_other_path_ends_so() {
        let values = [
            ("model.learning_rate".to_string(), json!(0.01)),
            ("model.seed".to_string(), json!(1)),
            ("split.seed".to_string(), json!(2)),
        ];
        let words = short_words(&values.into_iter().collect());
        assert_eq!(words, "learning_rate=0.01 model.seed=1 split.seed=2");
    }
}
