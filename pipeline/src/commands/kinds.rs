//! `voxflow kinds`: lists all kinds with their parameters.

use super::answer;
use crate::console::terminal_width;
use crate::error::{Error, Exit, Result};
use crate::reference;
use crate::text_table::pretty;
use crate::workflow::nearest;
use clap::{Args, ValueEnum};
use voxflow_stages::{KINDS, Kind};

#[derive(Debug, Args)]
pub struct KindsArgs {
    /// Kinds to show in full; without names, a list
    #[arg(value_name = "KIND")]
    pub kinds: Vec<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: KindsFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KindsFormat {
    /// Readable text
    #[default]
    Text,
    /// Workflow reference, docs/workflow.md
    Markdown,
    /// All facts as data
    Json,
    /// JSON schema for workflow files, for editors
    Schema,
}

/// Columns where the output is no terminal.
const OFF_A_TERMINAL: u16 = 100;

impl KindsArgs {
    pub fn run(&self) -> Result<Exit> {
        let named = self.kinds.iter().map(|name| kind(name)).collect::<Result<Vec<&Kind>>>()?;
        let kinds = if named.is_empty() { KINDS.iter().collect() } else { named };
        answer(&self.written(&kinds))?;
        Ok(Exit::Done)
    }

    fn written(&self, kinds: &[&Kind]) -> String {
        // Off a terminal too, lines are for people.
        let width = terminal_width().unwrap_or(OFF_A_TERMINAL);
        match self.format {
            KindsFormat::Text if self.kinds.is_empty() => reference::list(kinds).text(Some(width)),
            KindsFormat::Text => {
                let width = usize::from(width.min(OFF_A_TERMINAL));
                kinds.iter().map(|kind| reference::text(kind, width)).collect::<Vec<_>>().join("\n")
            }
            KindsFormat::Markdown => reference::markdown(kinds),
            KindsFormat::Json => pretty(&reference::json(kinds)),
            KindsFormat::Schema => pretty(&reference::schema(kinds)),
        }
    }
}

fn kind(name: &str) -> Result<&'static Kind> {
    Kind::named(name).ok_or_else(|| {
        let hint = match nearest(name, KINDS.iter().map(|kind| kind.name)) {
            Some(word) => format!("did you mean '{word}'?"),
            None => "'voxflow kinds' lists all".to_string(),
        };
        Error::usage(format!("kind '{name}' is not known: {hint}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_kind_gets_the_nearest_one() {
        let error = kind("trian").map(|kind| kind.name).expect_err("no such kind").to_string();
        assert_eq!(error, "kind 'trian' is not known: did you mean 'train'?");
    }

    #[test]
    fn every_form_names_every_kind() {
        let all: Vec<&Kind> = KINDS.iter().collect();
        for format in
            [KindsFormat::Text, KindsFormat::Markdown, KindsFormat::Json, KindsFormat::Schema]
        {
            let text = KindsArgs { kinds: vec![], format }.written(&all);
            assert!(KINDS.iter().all(|kind| text.contains(kind.name)), "{format:?}");
        }
    }
}
