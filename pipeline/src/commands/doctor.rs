//! `voxflow doctor`: what this machine offers, and what to do about what is missing.

use super::{AnswerFormat, answer};
use crate::doctor::{Finding, examine};
use crate::error::{Exit, Result};
use crate::globals::Globals;
use crate::humanize;
use clap::Args;
use serde_json::json;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
}

impl DoctorArgs {
    /// Prints the findings; fails if one is a trouble.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let findings = examine(&globals.home());
        let has_trouble = findings.iter().any(|finding| finding.trouble.is_some());
        answer(&match self.format {
            AnswerFormat::Text => text(&findings),
            AnswerFormat::Json => json(&findings),
        })?;
        Ok(if has_trouble { Exit::Failed } else { Exit::Done })
    }
}

fn text(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut lines = vec![];
    for Finding { what, found, trouble } in findings {
        let mark = if trouble.is_some() { '✗' } else { '✓' };
        lines.push(format!("{mark} {what:width$}  {found}"));
        lines.extend(trouble.iter().map(|words| format!("  {:width$}  → {words}", "")));
    }
    let troubles = findings.iter().filter(|finding| finding.trouble.is_some()).count() as u64;
    lines.push(match troubles {
        0 => "\nno trouble found".to_string(),
        number => format!("\n{}", humanize::count(number, "trouble")),
    });
    lines.join("\n") + "\n"
}

fn json(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        json!({ "what": finding.what, "found": finding.found, "trouble": finding.trouble })
    });
    let rows: Vec<serde_json::Value> = rows.collect();
    format!("{:#}\n", serde_json::Value::from(rows))
}
