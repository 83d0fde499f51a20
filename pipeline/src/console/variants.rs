//! Console lines for a run in a sweep, prefixed with its number and values. Several runs share the
//! terminal: no bars, and reused stages are omitted.

use super::bars::Bars;
use super::{STOPPING, Screen, Style, Verbosity, counted};
use crate::error::Result;
use crate::event::{Event, Fact, Finished, Observer};
use crate::outcome::{Outcome, RunOutcome};
use crate::run::Sweep;
use crate::tables::{self, Gathering};
use crate::workflow::sweep::in_words;
use crate::{humanize, printable, warnings};
use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::Message;

/// Renders events from a run in a sweep.
pub struct VariantLines {
    label: String,
    screen: Screen,
    style: Style,
    verbosity: Verbosity,
    bars: Bars,
    gathering: Gathering,
    outcomes: BTreeMap<&'static str, u64>,
    /// Pending warnings per running stage, printed at its end.
    warned: BTreeMap<String, Vec<String>>,
    /// Stages being made.
    in_hand: BTreeSet<String>,
}

impl VariantLines {
    /// On stderr; `place` is (number, count).
    pub fn stderr(place: (usize, usize), sweep: &Sweep, verbosity: Verbosity) -> VariantLines {
        let (screen, style) = Screen::stderr(false);
        VariantLines::new(screen, style, place, sweep, verbosity)
    }

    pub fn new(
        screen: Screen,
        style: Style,
        (number, all): (usize, usize),
        sweep: &Sweep,
        verbosity: Verbosity,
    ) -> VariantLines {
        let label = style.dim(&format!("[{number}/{all} {}]", in_words(&sweep.values)));
        let (bars, gathering) = (Bars::new(&screen), Gathering::default());
        let (outcomes, warned, in_hand) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        VariantLines { label, bars, screen, style, verbosity, gathering, outcomes, warned, in_hand }
    }

    fn say(&mut self, least: Verbosity, words: &str) {
        if self.verbosity >= least {
            self.screen.line(&format!("{} {words}", self.label));
        }
    }

    fn said(&mut self, at_ms: i64, stage: &str, message: &Message) {
        match message {
            Message::Progress(progress) => {
                if let Some(line) = self.bars.progress(at_ms, stage, progress) {
                    self.say(Verbosity::Normal, &format!("  {stage}: {line}"));
                }
            }
            Message::Warning { words } if self.verbosity == Verbosity::Quiet => {
                self.warned.entry(stage.to_string()).or_default().push(words.clone());
            }
            Message::Warning { words } => {
                let line = format!("{} {stage}: {words}", self.style.yellow("warning:"));
                self.say(Verbosity::Normal, &line);
            }
            Message::Resumed { epoch, step } => {
                self.say(
                    Verbosity::Normal,
                    &format!("  {stage}: resuming from epoch {epoch}, step {step}"),
                );
            }
            Message::Info { words } => self.say(Verbosity::Verbose, &format!("  {stage}: {words}")),
            Message::Waiting { words } => {
                self.say(Verbosity::Normal, &format!("  {stage}: {words}"));
            }
            Message::Metric(_)
            | Message::Item { .. }
            | Message::Device { .. }
            | Message::Precision { .. } => {}
        }
    }

    fn stage_finished(&mut self, finished: &Finished) {
        self.bars.finish(&finished.stage);
        self.in_hand.remove(&finished.stage);
        let warned = self.warned.remove(&finished.stage).unwrap_or_default();
        for words in warnings::grouped(&warned) {
            let (stage, warning) = (&finished.stage, self.style.yellow("warning:"));
            self.say(Verbosity::Quiet, &format!("{warning} {stage}: {words}"));
        }
        *self.outcomes.entry(finished.outcome.word()).or_default() += 1;
        let stage = &finished.stage;
        let reason =
            || finished.error.as_deref().or(finished.reason.as_deref()).unwrap_or_default();
        let (least, line) = match finished.outcome {
            Outcome::Made => {
                let took = humanize::duration(finished.seconds);
                (Verbosity::Normal, format!("{} {stage} made in {took}", self.style.green("✓")))
            }
            Outcome::Reused => (Verbosity::Verbose, format!("= {stage} reused")),
            Outcome::Failed => {
                (Verbosity::Quiet, format!("{} {stage} failed: {}", self.style.red("✗"), reason()))
            }
            Outcome::Interrupted => {
                (Verbosity::Normal, format!("! {stage} interrupted {}", reason()))
            }
            Outcome::Skipped => (Verbosity::Verbose, format!("- {stage} skipped: {}", reason())),
        };
        self.say(least, &line);
    }

    /// "done in 3 min 12 s: 3 made, 5 reused; dice 0.8478 (score)".
    fn run_finished(&mut self, outcome: RunOutcome, seconds: f64) {
        let counts = counted(&self.outcomes);
        let headline = tables::headline(&self.gathering.tables.metrics);
        let dice =
            headline.map(|(stage, dice)| format!("; dice {dice:.4} ({stage})")).unwrap_or_default();
        let word = match outcome {
            RunOutcome::Done => self.style.green(outcome.word()),
            RunOutcome::Running | RunOutcome::Interrupted => self.style.yellow(outcome.word()),
            RunOutcome::Failed => self.style.red(outcome.word()),
        };
        let line = format!("{word} in {}: {counts}{dice}", humanize::duration(seconds));
        self.say(Verbosity::Normal, &line);
    }
}

impl Observer for VariantLines {
    fn observe(&mut self, event: &Event) -> Result<()> {
        let event = &*printable::event(event);
        self.gathering.take(event);
        match &event.fact {
            Fact::StageStarted { stage, reason, .. } => {
                self.in_hand.insert(stage.clone());
                self.say(Verbosity::Verbose, &format!("… {stage}: {reason}"));
            }
            Fact::StageSaid { replayed: false, stage, message } => {
                self.said(event.at_ms, stage, message)
            }
            Fact::StageFinished(finished) => self.stage_finished(finished),
            Fact::RunFinished { outcome, seconds } => self.run_finished(*outcome, *seconds),
            // All runs are told to stop; those that work answer.
            Fact::Stopping if !self.in_hand.is_empty() => {
                self.say(Verbosity::Normal, STOPPING);
            }
            Fact::RunStarted { .. }
            | Fact::StageWaiting { .. }
            | Fact::StageSaid { .. }
            | Fact::Stopping => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::recorded;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("paper").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_says_whose_it_is_and_what_is_reused_is_not_told() {
        let paper = Paper::default();
        let sweep = Sweep {
            id: "sweep-1".into(),
            variant: 1,
            values: [("model.learning_rate".to_string(), 0.001.into())].into(),
            repeats: vec![],
            chosen: false,
        };
        let screen = Screen::Plain(Box::new(paper.clone()));
        let mut lines =
            VariantLines::new(screen, Style::plain(), (2, 6), &sweep, Verbosity::Normal);
        for fact in recorded::facts(Path::new("r1")) {
            lines.observe(&Event { at_ms: 0, fact }).expect("observes");
        }
        let text = String::from_utf8(paper.0.lock().expect("paper").clone()).expect("text");
        let expected = "\
[2/6 model.learning_rate=0.001] ✓ final made in 1.2 s
[2/6 model.learning_rate=0.001] done in 2.5 s: 1 made, 1 reused; dice 0.7500 (final)
";
        assert_eq!(text, expected, "\n{text}");
    }
}
