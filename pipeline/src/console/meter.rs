//! Progress bar for commands reading many bytes; hidden unless stderr is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Bar on stderr; removed on drop.
pub struct Meter(ProgressBar);

const ALL_KNOWN: &str = "{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {eta} left";
const ALL_UNKNOWN: &str = "{spinner} reading what is reused: {decimal_bytes}";

impl Meter {
    /// Bar for a known total.
    pub fn stderr(quiet: bool) -> Meter {
        Meter::with(quiet, ALL_KNOWN)
    }

    /// Bar for an unknown total.
    pub fn open_ended(quiet: bool) -> Meter {
        Meter::with(quiet, ALL_UNKNOWN)
    }

    fn with(quiet: bool, template: &str) -> Meter {
        let hidden = quiet || !std::io::stderr().is_terminal();
        let target = if hidden {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(8)
        };
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::with_draw_target(None, target);
        Meter(style.map_or(bar.clone(), |style| bar.with_style(style)))
    }

    /// Adds bytes; callable from any thread.
    pub fn more(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Sets position and total; callable from any thread.
    pub fn at(&self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
