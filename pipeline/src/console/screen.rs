//! Output for console lines, with or without colours and moving bars.

use indicatif::{MultiProgress, ProgressDrawTarget};
use std::io::{IsTerminal, Write};

pub enum Screen {
    /// Plain lines: a file, pipe or test.
    Plain(Box<dyn Write + Send>),
    /// A terminal with bars below the lines.
    Live(MultiProgress),
}

impl Screen {
    /// Stderr with a suitable style; bars require `live` and a terminal.
    pub fn stderr(live: bool) -> (Screen, Style) {
        let terminal = std::io::stderr().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let style = Style::chosen(terminal && !dumb, |name| std::env::var(name).ok());
        let screen = if terminal && live && !dumb {
            Screen::Live(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)))
        } else {
            Screen::Plain(Box::new(std::io::stderr()))
        };
        (screen, style)
    }

    /// Writes lines. A vanished terminal is ignored: it must not end a long run.
    pub fn line(&mut self, line: &str) {
        let _gone = match self {
            Screen::Plain(out) => writeln!(out, "{line}"),
            // Not `suspend`, which panics where the terminal is gone.
            Screen::Live(bars) => bars.println(line),
        };
    }

    /// Writes buffered lines out; failures are ignored as in [`Screen::line`].
    pub fn flush(&mut self) {
        if let Screen::Plain(out) = self {
            let _gone = out.flush();
        }
    }

    /// Terminal width; `None` if lines may have any length.
    pub fn width(&self) -> Option<u16> {
        match self {
            Screen::Plain(_) => None,
            Screen::Live(_) => terminal_width(),
        }
    }
}

/// Width of the terminal behind stdout or stderr, if any.
pub fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width().filter(|width| *width >= 20)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    pub fn plain() -> Style {
        Style { colour: false }
    }

    /// Colours on terminals unless `NO_COLOR` is set (no-color.org), or anywhere with
    /// `CLICOLOR_FORCE`.
    pub fn chosen(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Style {
        let forbidden = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let forced =
            variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        Style { colour: !forbidden && (terminal || forced) }
    }

    fn paint(self, code: &str, words: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{words}\u{1b}[0m") } else { words.to_string() }
    }

    /// Success.
    pub fn green(self, words: &str) -> String {
        self.paint("32", words)
    }

    /// Failure.
    pub fn red(self, words: &str) -> String {
        self.paint("31", words)
    }

    /// Warning.
    pub fn yellow(self, words: &str) -> String {
        self.paint("33", words)
    }

    /// Secondary text.
    pub fn dim(self, words: &str) -> String {
        self.paint("2", words)
    }

    pub fn bold(self, words: &str) -> String {
        self.paint("1", words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], terminal: bool) -> Style {
        Style::chosen(terminal, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn colours_follow_the_terminal_and_no_color() {
        assert!(with(&[], true).colour);
        assert!(!with(&[], false).colour);
        assert!(!with(&[("NO_COLOR", "1")], true).colour);
        assert!(with(&[("NO_COLOR", "")], true).colour, "an empty NO_COLOR counts as unset");
        assert!(with(&[("CLICOLOR_FORCE", "1")], false).colour);
        assert!(!with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false).colour);
        assert_eq!(Style::plain().red("x"), "x");
    }
}
