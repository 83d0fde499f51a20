//! A meter: one bar for a command that reads many bytes. Nothing where stderr is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar of bytes on stderr, gone when dropped.
pub struct Meter(ProgressBar);

const ALL_KNOWN: &str = "{wide_bar} {decimal_bytes} of {decimal_total_bytes}, {eta} left";
const ALL_UNKNOWN: &str = "{spinner} reading what is reused: {decimal_bytes}";

impl Meter {
    /// A bar, or nothing if that is not wanted or nobody could see it.
    pub fn stderr(quiet: bool) -> Meter {
        Meter::with(quiet, ALL_KNOWN)
    }

    /// The same where nobody knows yet how many bytes there will be.
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

    /// So many more bytes are done. Any thread may say it.
    pub fn more(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// So many bytes are done of all. Any thread may say it.
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
