//! Console output for a run, on stderr: a line per stage, live bars on a terminal, and a final
//! summary with scores and locations. Data never goes here.

mod bars;
mod keys;
mod meter;
mod progress_line;
mod screen;
mod variants;

pub use meter::Meter;
pub use screen::{Screen, Style, terminal_width};
pub use variants::VariantLines;

use crate::error::Result;
use crate::event::{Decision, Event, Fact, Finished, Observer, Planned, now_ms};
use crate::globals::Globals;
use crate::outcome::{Outcome, RunOutcome};
use crate::tables::{self, Gathering};
use crate::{humanize, printable, warnings};
use bars::Bars;
use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;
use voxflow_cache::disk::FileWriter;
use voxflow_stages::Message;

/// Answer to the first Ctrl-C.
const STOPPING: &str = "finishing the current step; press Ctrl-C again to abort";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors, and warnings from stages being made, merged per stage.
    Quiet,
    /// Also a line per stage, all warnings, and the summary.
    Normal,
    /// Also stage messages, item by item.
    Verbose,
}

impl Verbosity {
    pub fn of(globals: &Globals) -> Verbosity {
        match (globals.quiet, globals.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// Renders a run's events.
pub struct Console {
    screen: Screen,
    style: Style,
    verbosity: Verbosity,
    bars: Bars,
    gathering: Gathering,
    outcomes: BTreeMap<&'static str, u64>,
    /// Pending warnings per running stage, printed at its end.
    warned: BTreeMap<String, Vec<String>>,
    folder: PathBuf,
    columns: (usize, usize),
}

impl Console {
    /// Console that appends to a run's log file: the lines of a run without a terminal.
    pub fn log_file(path: &Path) -> voxflow_cache::Result<Console> {
        let file = FileWriter::append(path)?.into_file();
        let screen = Screen::Plain(Box::new(BufWriter::new(file)));
        Ok(Console::new(screen, Style::plain(), Verbosity::Normal))
    }

    /// Console on stderr, adapting to terminal and colour support.
    pub fn stderr(verbosity: Verbosity) -> Console {
        let (screen, style) = Screen::stderr(verbosity > Verbosity::Quiet);
        Console::new(screen, style, verbosity)
    }

    pub fn new(screen: Screen, style: Style, verbosity: Verbosity) -> Console {
        Console {
            bars: Bars::new(&screen),
            screen,
            style,
            verbosity,
            gathering: Gathering::default(),
            outcomes: BTreeMap::new(),
            warned: BTreeMap::new(),
            folder: PathBuf::new(),
            columns: (0, 0),
        }
    }

    fn say(&mut self, least: Verbosity, line: &str) {
        if self.verbosity >= least {
            self.screen.line(line);
        }
    }

    fn run_started(&mut self, run: &str, folder: PathBuf, stages: &[Planned]) {
        self.folder = folder;
        let width = |of: fn(&Planned) -> &String| {
            stages.iter().map(|stage| of(stage).chars().count()).max().unwrap_or(0)
        };
        self.columns = (width(|stage| &stage.stage), width(|stage| &stage.kind));
        let number = |fits: fn(&Decision) -> bool| {
            stages.iter().filter(|stage| fits(&stage.decision)).count() as u64
        };
        let parts = [
            (number(|decision| matches!(decision, Decision::Run { .. })), "to run"),
            (number(|decision| matches!(decision, Decision::Follows { .. })), "pending"),
            (number(|decision| matches!(decision, Decision::Reuse { .. })), "to reuse"),
            (number(|decision| matches!(decision, Decision::Excluded)), "left out"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if self.verbosity > Verbosity::Quiet {
            self.bars.expect(stages.len() as u64);
        }
        let stages = humanize::count(stages.len() as u64, "stage");
        self.say(
            Verbosity::Normal,
            &format!("run {}: {stages}, {}", self.style.bold(run), parts.join(", ")),
        );
    }

    fn stage_started(&mut self, at_ms: i64, stage: &str, reason: &str) {
        let line =
            format!("{} {stage:width$}  {reason}", self.style.dim("…"), width = self.columns.0);
        self.say(Verbosity::Normal, &line);
        if self.verbosity > Verbosity::Quiet {
            let since = Duration::from_millis(u64::try_from(now_ms() - at_ms).unwrap_or(0));
            self.bars.start(stage, self.columns.0, since);
        }
    }

    fn said(&mut self, at_ms: i64, stage: &str, message: &Message) {
        match message {
            Message::Progress(progress) => {
                if let Some(line) = self.bars.progress(at_ms, stage, progress) {
                    let line = format!("  {stage:width$}  {line}", width = self.columns.0);
                    self.say(Verbosity::Normal, &line);
                }
            }
            Message::Warning { words } if self.verbosity == Verbosity::Quiet => {
                self.warned.entry(stage.to_string()).or_default().push(words.clone());
            }
            Message::Warning { words } => {
                let line = format!("{} {stage}: {words}", self.style.yellow("warning:"));
                self.say(Verbosity::Normal, &line);
            }
            Message::Info { words } => self.say(Verbosity::Verbose, &format!("  {stage}: {words}")),
            Message::Waiting { words } => {
                self.say(Verbosity::Normal, &format!("  {stage}: {words}"));
            }
            Message::Item { name, made, .. } => {
                let done = if *made { "made" } else { "reused" };
                self.say(Verbosity::Verbose, &format!("  {stage}: {name} {done}"));
            }
            Message::Device { name, threads, libtorch } => {
                let threads = humanize::count(*threads as u64, "thread");
                let line = format!("  {stage}: on {name}, {threads}, libtorch {libtorch}");
                self.say(Verbosity::Verbose, &line);
            }
            Message::Precision { name } => {
                self.say(Verbosity::Verbose, &format!("  {stage}: in {name}"));
            }
            Message::Resumed { epoch, step } => {
                self.say(
                    Verbosity::Normal,
                    &format!("  {stage}: resuming from epoch {epoch}, step {step}"),
                );
            }
            Message::Metric(_) => {}
        }
    }

    fn stage_finished(&mut self, finished: &Finished) {
        self.bars.finish(&finished.stage);
        self.bars.count_finished();
        let warned = self.warned.remove(&finished.stage).unwrap_or_default();
        for words in warnings::grouped(&warned) {
            let (stage, warning) = (&finished.stage, self.style.yellow("warning:"));
            self.say(Verbosity::Quiet, &format!("{warning} {stage}: {words}"));
        }
        *self.outcomes.entry(finished.outcome.word()).or_default() += 1;
        let least =
            if finished.outcome == Outcome::Failed { Verbosity::Quiet } else { Verbosity::Normal };
        let line = self.stage_line(finished);
        self.say(least, &line);
    }

    /// "✓ model   train  made in 3 min 12 s  20 items made, 3 reused".
    fn stage_line(&self, finished: &Finished) -> String {
        let (mark, state) = match finished.outcome {
            Outcome::Made => {
                (self.style.green("✓"), format!("made in {}", humanize::duration(finished.seconds)))
            }
            Outcome::Reused => (self.style.dim("="), "reused".to_string()),
            Outcome::Failed => (self.style.red("✗"), self.style.red("failed")),
            Outcome::Interrupted => {
                (self.style.yellow("!"), self.style.yellow(finished.outcome.word()))
            }
            Outcome::Skipped => (self.style.dim("-"), "skipped".to_string()),
        };
        let mut line = format!(
            "{mark} {:id$}  {:kind$}  {state}",
            finished.stage,
            finished.kind,
            id = self.columns.0,
            kind = self.columns.1
        );
        line += &match finished.outcome {
            Outcome::Made => items(finished),
            Outcome::Reused => finished
                .made_in_seconds
                .map(|cost| format!(", made in {} before", humanize::duration(cost)))
                .unwrap_or_default(),
            Outcome::Failed => {
                finished.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default()
            }
            Outcome::Interrupted => {
                finished.reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default()
            }
            Outcome::Skipped => {
                finished.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default()
            }
        };
        line
    }

    fn run_finished(&mut self, outcome: RunOutcome, seconds: f64) {
        self.bars.clear();
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let sheet = tables::scores(&self.gathering.tables.metrics);
        if !sheet.rows.is_empty() {
            self.screen.line("");
            self.screen.line(sheet.text(self.screen.width()).trim_end());
        }
        let parts = counted(&self.outcomes);
        let word = match outcome {
            RunOutcome::Done => self.style.green(outcome.word()),
            RunOutcome::Running | RunOutcome::Interrupted => self.style.yellow(outcome.word()),
            RunOutcome::Failed => self.style.red(outcome.word()),
        };
        self.screen.line("");
        self.screen.line(&format!("{word} in {}: {}", humanize::duration(seconds), parts));
        self.screen.line(&format!("run folder: {}", self.folder.display()));
        if outcome == RunOutcome::Interrupted {
            self.screen.line("what was finished is kept: the same command resumes from there");
        }
    }
}

impl Observer for Console {
    fn observe(&mut self, event: &Event) -> Result<()> {
        let event = &*printable::event(event);
        self.gathering.take(event);
        match &event.fact {
            Fact::RunStarted { run, folder, stages, .. } => {
                self.run_started(run, folder.clone(), stages)
            }
            Fact::StageStarted { stage, reason, .. } => {
                self.stage_started(event.at_ms, stage, reason)
            }
            Fact::StageWaiting { stage } => {
                self.say(
                    Verbosity::Normal,
                    &format!("  {stage}: waiting for another process that makes the same"),
                );
            }
            Fact::StageSaid { replayed: true, message, .. }
                if self.verbosity == Verbosity::Quiet
                    || !matches!(message, Message::Warning { .. }) => {}
            Fact::StageSaid { stage, message, .. } => self.said(event.at_ms, stage, message),
            Fact::StageFinished(finished) => self.stage_finished(finished),
            Fact::Stopping => {
                self.say(Verbosity::Normal, STOPPING);
            }
            Fact::RunFinished { outcome, seconds } => self.run_finished(*outcome, *seconds),
        }
        // Reused stages follow each other quickly; anything else may be the last for long.
        if !matches!(&event.fact, Fact::StageFinished(finished) if finished.outcome == Outcome::Reused)
        {
            self.screen.flush();
        }
        Ok(())
    }
}

/// "3 made, 5 reused".
fn counted(outcomes: &BTreeMap<&'static str, u64>) -> String {
    let words = Outcome::ALL.iter().map(|outcome| outcome.word());
    let parts: Vec<String> = words
        .filter_map(|word| outcomes.get(word).map(|count| format!("{count} {word}")))
        .collect();
    parts.join(", ")
}

fn items(finished: &Finished) -> String {
    match (finished.items_made, finished.items_reused) {
        (0, 0) => String::new(),
        (made, 0) => format!(", {}", humanize::count(made, "case")),
        (0, reused) => format!(", {} reused", humanize::count(reused, "case")),
        (made, reused) => format!(", {} made, {reused} reused", humanize::count(made, "case")),
    }
}

#[cfg(test)]
mod tests;
