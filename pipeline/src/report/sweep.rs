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
    (subject.label, subject.group) = (Some(in_words(&sweep.values)), in_words(deciding));
    Some(subject)
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
