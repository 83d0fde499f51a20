//! Progress per running stage: bars on a terminal, occasional lines elsewhere.

use super::Screen;
use super::keys::Unshown;
use crate::humanize;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::time::Duration;
use voxflow_stages::Progress;

/// Shortest interval between a stage's progress lines without a terminal.
const SELDOM_MS: i64 = 30_000;

pub(super) struct Bars {
    screen: Option<MultiProgress>,
    bars: BTreeMap<String, ProgressBar>,
    said_at_ms: BTreeMap<String, i64>,
    _keys: Option<Unshown>,
}

impl Bars {
    pub fn new(screen: &Screen) -> Bars {
        let screen = match screen {
            Screen::Live(screen) => Some(screen.clone()),
            Screen::Plain(_) => None,
        };
        let keys = screen.as_ref().and_then(|_| Unshown::begin());
        Bars { screen, bars: BTreeMap::new(), said_at_ms: BTreeMap::new(), _keys: keys }
    }

    /// True if bars are shown.
    pub fn live(&self) -> bool {
        self.screen.is_some()
    }

    /// Adds a bar for a stage started `since` ago, showing the reason until its first progress
    /// message.
    pub fn start(&mut self, stage: &str, width: usize, reason: &str, since: Duration) {
        let Some(screen) = &self.screen else { return };
        let bar = screen.add(
            ProgressBar::new_spinner().with_prefix(format!("{stage:width$}")).with_elapsed(since),
        );
        bar.set_style(style("{spinner} {prefix}  {elapsed:>4}  {wide_msg}"));
        bar.set_message(reason.to_string());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bars.insert(stage.to_string(), bar);
    }

    /// Updates a stage's bar. Without bars, returns a line to print if the last one is old enough.
    pub fn progress(&mut self, at_ms: i64, stage: &str, progress: &Progress) -> Option<String> {
        let Some(bar) = self.bars.get(stage) else { return self.seldom(at_ms, stage, progress) };
        match progress.total {
            Some(total) if bar.length() != Some(total) => {
                bar.set_style(
                    style("{spinner} {prefix}  {elapsed:>4}  {bar:24} {wide_msg}")
                        .progress_chars("━╸ "),
                );
                bar.set_length(total);
            }
            _ => {}
        }
        bar.set_position(progress.done);
        bar.set_message(line(progress, left(bar, progress)));
        None
    }

    /// Removes a stage's bar.
    pub fn finish(&mut self, stage: &str) {
        self.said_at_ms.remove(stage);
        if let Some(bar) = self.bars.remove(stage) {
            bar.finish_and_clear();
        }
    }

    /// Removes all bars.
    pub fn clear(&mut self) {
        self.bars.values().for_each(ProgressBar::finish_and_clear);
        self.bars.clear();
    }

    fn seldom(&mut self, at_ms: i64, stage: &str, progress: &Progress) -> Option<String> {
        if self.live() {
            return None;
        }
        let last = self.said_at_ms.entry(stage.to_string()).or_insert(at_ms);
        if at_ms - *last < SELDOM_MS {
            return None;
        }
        *last = at_ms;
        Some(line(progress, None))
    }
}

/// Estimated seconds left; `None` until the estimate is reliable.
fn left(bar: &ProgressBar, progress: &Progress) -> Option<f64> {
    let (total, elapsed) = (progress.total?, bar.elapsed().as_secs_f64());
    let told = progress.numbers.iter().any(|(name, _)| name.contains("left"));
    let enough = progress.done > 0 && progress.done < total && elapsed > 3.0;
    (enough && !told).then(|| elapsed / progress.done as f64 * (total - progress.done) as f64)
}

/// "12 of 60 epochs  loss 0.231  dice 0.874  2 min 10 s left".
fn line(progress: &Progress, left: Option<f64>) -> String {
    let (done, total, unit) = match progress.unit.as_str() {
        "bytes" => {
            (humanize::bytes(progress.done), progress.total.map(humanize::bytes), String::new())
        }
        unit => {
            let total = progress.total.map(|total| total.to_string());
            (progress.done.to_string(), total, format!(" {unit}"))
        }
    };
    let mut parts = vec![match total {
        Some(total) => format!("{done} of {total}{unit}"),
        None => format!("{done}{unit}"),
    }];
    parts.extend(progress.numbers.iter().map(|(name, value)| format!("{name} {value}")));
    parts.extend(left.map(|seconds| format!("{} left", humanize::duration(seconds))));
    parts.join("  ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64) -> Progress {
        let numbers = vec![("loss".to_string(), "0.231".to_string())];
        Progress { done, total: Some(60), unit: "epochs".into(), numbers }
    }

    #[test]
    fn the_line_says_what_is_done_and_the_numbers_that_matter() {
        assert_eq!(line(&at(12), Some(130.0)), "12 of 60 epochs  loss 0.231  2 min 10 s left");
        let bytes =
            Progress { done: 1_500_000, total: None, unit: "bytes".into(), numbers: vec![] };
        assert_eq!(line(&bytes, None), "1.5 MB");
    }

    #[test]
    fn without_a_terminal_a_stage_says_seldom_how_far_it_is() {
        let mut bars = Bars::new(&Screen::Plain(Box::new(std::io::sink())));
        let said: Vec<bool> = [0, 1_000, 29_000, 31_000, 32_000, 70_000]
            .iter()
            .map(|at_ms| bars.progress(*at_ms, "model", &at(1)).is_some())
            .collect();
        assert_eq!(said, [false, false, false, true, false, true]);
    }
}
