//! A screen: where lines for people go, and whether they may have colours and move.

use indicatif::{MultiProgress, ProgressDrawTarget};
use std::io::{IsTerminal, Write};

/// Target of console lines.
pub enum Screen {
    /// Lines one after another: a file, a pipe, a test.
    Plain(Box<dyn Write + Send>),
    /// A terminal on which bars move below the lines.
    Live(MultiProgress),
}

impl Screen {
    /// Stderr with the style that fits it. Bars only where `live` allows and it is a terminal.
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

    /// Writes a line (or several). A screen that went away must not end a run of hours.
    pub fn line(&mut self, line: &str) {
        let _gone = match self {
            Screen::Plain(out) => writeln!(out, "{line}"),
            // Not `suspend`, which panics where the terminal is gone.
            Screen::Live(bars) => bars.println(line),
        };
    }

    /// The columns there are; none where lines may be of any length.
    pub fn width(&self) -> Option<u16> {
        match self {
            Screen::Plain(_) => None,
            Screen::Live(_) => terminal_width(),
        }
    }
}

/// The width of the terminal behind stdout or stderr, if there is one.
pub fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width().filter(|width| *width >= 20)
}

/// Colours, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Without colours.
    pub fn plain() -> Style {
        Style { colour: false }
    }

    /// Colours on a terminal, unless `NO_COLOR` is set (no-color.org); anywhere with
    /// `CLICOLOR_FORCE`.
    pub fn chosen(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Style {
        let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
        let forced =
            variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
        Style { colour: !set("NO_COLOR") && (terminal || forced) }
    }

    fn paint(self, code: &str, words: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{words}\u{1b}[0m") } else { words.to_string() }
    }

    /// Something that went well.
    pub fn green(self, words: &str) -> String {
        self.paint("32", words)
    }

    /// Something that went wrong.
    pub fn red(self, words: &str) -> String {
        self.paint("31", words)
    }

    /// Something to look at.
    pub fn yellow(self, words: &str) -> String {
        self.paint("33", words)
    }

    /// Something of less weight.
    pub fn dim(self, words: &str) -> String {
        self.paint("2", words)
    }

    /// A name.
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
