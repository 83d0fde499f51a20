//! `voxflow runs`: lists runs, newest first.

use super::answer;
use crate::annotation::Annotation;
use crate::console::terminal_width;
use crate::error::{Exit, Result};
use crate::event::now_ms;
use crate::globals::Globals;
use crate::humanize;
use crate::outcome::Outcome;
use crate::runs::{self, StoredRun};
use crate::tables::RunSummary;
use crate::text_table::{Cell, TableFormat, TextTable};
use clap::Args;

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Only this workflow's runs
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
    /// Only runs with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Show at most this many; 0 shows all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

impl RunsArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let (runs, troubles) = runs::all(&globals.home())?;
        troubles.iter().for_each(super::complain);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let people = matches!(self.format, TableFormat::Text | TableFormat::Markdown);
        let sheet = sheet(
            runs.iter()
                .rev()
                .filter(|run| {
                    self.workflow.as_ref().is_none_or(|name| *name == run.record.workflow)
                        && self.tag.as_ref().is_none_or(|tag| annotation(run).tags.contains(tag))
                })
                .take(limit),
            people.then(now_ms),
        );
        if sheet.rows.is_empty() && self.format == TableFormat::Text {
            super::tell("no runs yet: 'voxflow run WORKFLOW' makes one");
            return Ok(Exit::Done);
        }
        answer(&sheet.write(self.format, terminal_width()))?;
        Ok(Exit::Done)
    }
}

/// For people at the time `now_ms`: short ids, time since the start, outcomes as sentences. For
/// programs full ids, times and single words, also the headline score as `dice` with its stage as
/// `of`.
fn sheet<'a>(runs: impl Iterator<Item = &'a StoredRun>, now_ms: Option<i64>) -> TextTable {
    let people = now_ms.is_some();
    let columns = ["run", "workflow", "started", "outcome", "made", "reused", "failed", "took"];
    let of_programs: &[&str] = if people { &[] } else { &["dice", "of"] };
    let columns = columns.iter().chain(of_programs).chain(&["val dice", "test dice"]);
    let always = columns.clone().count();
    let columns = columns.chain(&["tags", "note"]);
    let mut sheet = TextTable::new("", columns.copied());
    for run in runs {
        // A run whose tables are gone or torn is still a run.
        let summary = RunSummary::read(&run.folder).ok();
        let mut row = facts(run, now_ms);
        if !people {
            let headline = summary.as_ref().and_then(RunSummary::headline);
            row.push(headline.map(|(_, dice)| dice).into());
            row.push(headline.map(|(stage, _)| stage).into());
        }
        let scores = summary.map(|summary| summary.headlines()).unwrap_or_default();
        row.extend([scores.validation, scores.test].map(|of| of.map(|(_, dice)| dice).into()));
        let annotation = annotation(run);
        row.extend([Cell::text(annotation.tag_words()), annotation.note.as_deref().into()]);
        sheet.push(row);
    }
    // Few runs have tags: people see the columns where one has.
    if people { sheet.without_empty_columns(always) } else { sheet }
}

/// A run's name, times, outcome and counts.
fn facts(run: &StoredRun, now_ms: Option<i64>) -> Vec<Cell> {
    let record = &run.record;
    let (id, started, outcome) = match now_ms {
        Some(now_ms) => {
            let seconds = (now_ms - record.started_at_ms) as f64 / 1000.0;
            (runs::short(&record.run), humanize::ago(seconds), Cell::text(record.outcome_words()))
        }
        None => {
            let started = humanize::moment(record.started_at_ms);
            (record.run.as_str(), started, Cell::text(record.outcome.word()))
        }
    };
    vec![
        Cell::text(id),
        Cell::text(&record.workflow),
        Cell::text(started),
        outcome,
        Cell::Count(record.count(Outcome::Made)),
        Cell::Count(record.count(Outcome::Reused)),
        Cell::Count(record.count(Outcome::Failed)),
        record.seconds.map_or(Cell::Empty, |seconds| Cell::text(humanize::duration(seconds))),
    ]
}

/// The run's tags and note; an unreadable one is told, and the run is listed without.
fn annotation(run: &StoredRun) -> Annotation {
    Annotation::read(&run.folder).unwrap_or_else(|error| {
        super::complain(&error);
        Annotation::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_line_with_its_headline() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(folder.path());
        let (runs, _) = runs::all(&home).expect("runs");
        let text = sheet(runs.iter().rev().take(1), Some(7_203_000)).text(None);
        let expected = "\
run     workflow  started  outcome  made  reused  failed  took        val dice  test dice
──────────────────────────────────────────────────────────────────────────────────────────
77ffee  spleen    2 h ago  done        1       0       0  3 min 12 s    0.7500     0.9000
";
        assert_eq!(text, expected, "\n{text}");
        let json = sheet(runs.iter().rev().take(1), None).json();
        let of_programs = ["dice", "of", "val dice", "test dice"].map(|name| &json[0][name]);
        assert_eq!(of_programs.map(ToString::to_string), ["0.9", "\"final\"", "0.75", "0.9"]);
    }
}
