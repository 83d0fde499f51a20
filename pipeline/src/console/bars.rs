//! Progress per running stage: bars on a terminal, occasional lines elsewhere.

use super::keys::Unshown;
use super::progress_line::{line, number};
use super::{Screen, terminal_width};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;
use voxflow_stages::Progress;

/// Shortest interval between a stage's progress lines without a terminal.
const SELDOM_MS: i64 = 60_000;
/// Columns of a bar, on a narrow terminal and on others.
const BAR_COLUMNS: (usize, usize) = (10, 24);
/// Terminals below this width are narrow.
const NARROW: u16 = 100;
/// Columns of spinner, elapsed time and gaps beside stage, bar and line.
const BESIDE: usize = 11;

pub(super) struct Bars {
    screen: Option<MultiProgress>,
    bars: BTreeMap<String, ProgressBar>,
    /// Stages finished of all, below the bars.
    total: Option<ProgressBar>,
    lines: BTreeMap<String, LastLine>,
    _keys: Option<Unshown>,
}

/// State of a stage's progress lines without a terminal.
struct LastLine {
    at_ms: i64,
    latest: Progress,
    /// An epoch has ended since the last line.
    epoch_ended: bool,
}

impl Bars {
    pub fn new(screen: &Screen) -> Bars {
        let screen = match screen {
            Screen::Live(screen) => Some(screen.clone()),
            Screen::Plain(_) => None,
        };
        let keys = screen.as_ref().and_then(|_| Unshown::begin());
        let (bars, lines) = (BTreeMap::new(), BTreeMap::new());
        Bars { screen, bars, total: None, lines, _keys: keys }
    }

    /// True if bars are shown.
    pub fn live(&self) -> bool {
        self.screen.is_some()
    }

    /// Shows a line with the number of finished stages below the bars, if there are several.
    pub fn expect(&mut self, stages: u64) {
        let Some(screen) = self.screen.as_ref().filter(|_| stages > 1) else { return };
        let bar = screen.add(ProgressBar::new(stages));
        bar.set_style(style("{spinner} total: {pos} of {len} stages, {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(1000));
        self.total = Some(bar);
    }

    /// Counts a finished stage.
    pub fn count_finished(&self) {
        self.total.iter().for_each(|total| total.inc(1));
    }

    /// Adds a bar for a stage started `since` ago.
    pub fn start(&mut self, stage: &str, width: usize, since: Duration) {
        let Some(screen) = &self.screen else { return };
        let bar =
            ProgressBar::new_spinner().with_prefix(format!("{stage:width$}")).with_elapsed(since);
        let bar = match &self.total {
            Some(total) => screen.insert_before(total, bar),
            None => screen.add(bar),
        };
        bar.set_style(style("{spinner} {prefix}  {elapsed:>4}  {wide_msg}"));
        bar.set_message("starting");
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bars.insert(stage.to_string(), bar);
    }

    /// Updates a stage's bar. Without bars, returns a line to print: one an epoch or a minute,
    /// whichever is longer.
    pub fn progress(&mut self, at_ms: i64, stage: &str, progress: &Progress) -> Option<String> {
        let Some(bar) = self.bars.get(stage) else { return self.seldom(at_ms, stage, progress) };
        let columns = terminal_width();
        let narrow = columns.is_some_and(|columns| columns < NARROW);
        let bar_columns = if narrow { BAR_COLUMNS.0 } else { BAR_COLUMNS.1 };
        match progress.total {
            Some(total) if bar.length() != Some(total) => {
                let template = format!(
                    "{{spinner}} {{prefix}}  {{elapsed:>4}}  {{bar:{bar_columns}}} {{wide_msg}}"
                );
                bar.set_style(style(&template).progress_chars("━╸ "));
                bar.set_length(total);
            }
            _ => {}
        }
        bar.set_position(progress.done);
        let beside = BESIDE + bar.prefix().chars().count() + bar_columns;
        let room = columns.map(|columns| usize::from(columns).saturating_sub(beside));
        bar.set_message(line(progress, left(bar, progress), room));
        None
    }

    /// Removes a stage's bar.
    pub fn finish(&mut self, stage: &str) {
        self.lines.remove(stage);
        if let Some(bar) = self.bars.remove(stage) {
            bar.finish_and_clear();
        }
    }

    /// Removes all bars.
    pub fn clear(&mut self) {
        self.bars.values().chain(&self.total).for_each(ProgressBar::finish_and_clear);
        self.bars.clear();
        self.total = None;
    }

    /// Of an ended epoch the loss is the whole epoch's; validation scores arrive with the next.
    fn seldom(&mut self, at_ms: i64, stage: &str, progress: &Progress) -> Option<String> {
        if self.live() {
            return None;
        }
        let last = self.lines.entry(stage.to_string()).or_insert_with(|| LastLine {
            at_ms,
            latest: progress.clone(),
            epoch_ended: false,
        });
        let before = std::mem::replace(&mut last.latest, progress.clone());
        let epoch = number(progress, "epoch");
        let has_ended = epoch.is_some() && epoch != number(&before, "epoch");
        last.epoch_ended |= has_ended;
        let is_due = at_ms - last.at_ms >= SELDOM_MS;
        if !is_due || (epoch.is_some() && !last.epoch_ended) {
            return None;
        }
        (last.at_ms, last.epoch_ended) = (at_ms, false);
        let shown = if has_ended { of_ended_epoch(progress, &before) } else { progress.clone() };
        Some(line(&shown, None, None))
    }
}

/// The progress with epoch and loss of the one before.
fn of_ended_epoch(progress: &Progress, before: &Progress) -> Progress {
    let mut shown = progress.clone();
    for (name, value) in &mut shown.numbers {
        if let ("epoch" | "loss", Some(ended)) = (name.as_str(), number(before, name)) {
            *value = ended.to_string();
        }
    }
    shown
}

/// Estimated seconds left; `None` until the estimate is reliable.
fn left(bar: &ProgressBar, progress: &Progress) -> Option<f64> {
    let (total, elapsed) = (progress.total?, bar.elapsed().as_secs_f64());
    let told = progress.numbers.iter().any(|(name, _)| name.contains("left"));
    let enough = progress.done > 0 && progress.done < total && elapsed > 3.0;
    (enough && !told).then(|| elapsed / progress.done as f64 * (total - progress.done) as f64)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(said: &[(i64, Progress)]) -> Vec<Option<String>> {
        let mut bars = Bars::new(&Screen::Plain(Box::new(std::io::sink())));
        said.iter()
            .map(|(seconds, progress)| bars.progress(seconds * 1000, "model", progress))
            .collect()
    }

    #[test]
    fn without_a_terminal_a_stage_says_each_minute_how_far_it_is() {
        let at = |done| Progress { done, total: Some(60), unit: "cases".into(), numbers: vec![] };
        let said = lines(&[(0, at(1)), (59, at(2)), (61, at(3)), (62, at(4)), (130, at(5))]);
        let line = |words: &str| Some(words.to_string());
        assert_eq!(said, [None, None, line("3 of 60 cases"), None, line("5 of 60 cases")]);
    }

    #[test]
    fn a_training_says_an_epoch_that_lasts_longer_than_a_minute_once_with_its_loss() {
        let at = |done, epoch: &str, loss: &str, dice: &str| {
            let numbers = [("epoch", epoch), ("loss", loss), ("dice", dice)];
            let numbers = numbers.map(|(name, value)| (name.to_string(), value.to_string()));
            Progress { done, total: Some(90), unit: "steps".into(), numbers: numbers.to_vec() }
        };
        let said = lines(&[
            (0, at(1, "1/3", "0.9", "-")),
            (70, at(20, "1/3", "0.8", "-")),
            (90, at(31, "2/3", "0.1", "0.5")),
            (155, at(50, "2/3", "0.6", "0.5")),
            (156, at(61, "3/3", "0.2", "0.7")),
            (170, at(70, "3/3", "0.3", "0.7")),
        ]);
        let line = |words: &str| Some(words.to_string());
        let first = line("31 of 90 steps  epoch 1/3  loss 0.8  dice 0.5");
        let second = line("61 of 90 steps  epoch 2/3  loss 0.6  dice 0.7");
        assert_eq!(said, [None, None, first, None, second, None]);
    }

    #[test]
    fn epochs_shorter_than_a_minute_share_a_line() {
        let at = |epoch: u32| {
            let numbers = vec![("epoch".to_string(), format!("{epoch}/99"))];
            Progress { done: epoch.into(), total: Some(99), unit: "steps".into(), numbers }
        };
        let said: Vec<(i64, Progress)> =
            (0..13).map(|at_10| (at_10 * 10, at(at_10 as u32 + 1))).collect();
        let shown: Vec<usize> = lines(&said)
            .iter()
            .enumerate()
            .filter_map(|(at, line)| line.as_ref().map(|_| at))
            .collect();
        assert_eq!(shown, [6, 12]);
    }
}
