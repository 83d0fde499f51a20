//! Reference for terminals: a list of kinds, and single kinds in full.

use super::{Parameter, count, makes, meaning, roles, runs_in};
use crate::text_table::{Cell, TextTable};
use voxflow_stages::kind::Kind;

/// All kinds, one per line.
pub fn list(kinds: &[&Kind]) -> TextTable {
    let mut sheet = TextTable::new("", ["kind", "makes", "reads", "what it does"]);
    for kind in kinds {
        sheet.push(vec![
            Cell::text(kind.name),
            Cell::text(makes(kind)),
            Cell::text(roles(kind)),
            Cell::text(meaning(kind)),
        ]);
    }
    sheet
}

/// A kind's inputs, output and parameters, wrapped to `width` columns.
pub fn text(kind: &Kind, width: usize) -> String {
    let mut out = format!("{} (version {}, runs in {})\n", kind.name, kind.version, runs_in(kind));
    out += &wrapped(&meaning(kind), 2, width);
    out += "\nreads\n";
    if kind.reads.is_empty() {
        out += if kind.runs_program { "  any\n" } else { "  nothing\n" };
    }
    for read in kind.reads {
        out += &format!(
            "  {} ({}, {}): {}\n",
            read.role,
            read.artifact.name(),
            count(read.count),
            read.doc
        );
    }
    out += &format!("\nmakes\n  {}\n\nparameters\n", makes(kind));
    let parameters = Parameter::all(kind);
    if parameters.is_empty() {
        out += "  none\n";
    }
    for parameter in &parameters {
        out += &one(kind, parameter, width);
    }
    out
}

fn one(kind: &Kind, parameter: &Parameter, width: usize) -> String {
    let mut words = vec![parameter.type_words.clone()];
    match &parameter.default {
        _ if parameter.required => words.push("required".to_string()),
        Some(_) => words.push(format!("default {}", parameter.default_words())),
        None => {}
    }
    if kind.locators.contains(&parameter.path.as_str()) {
        words.push("not part of the fingerprint".to_string());
    }
    let mut out = wrapped(&format!("{}: {}", parameter.path, words.join("; ")), 2, width);
    out += &wrapped(&parameter.doc, 6, width);
    for choice in &parameter.choices {
        out += &wrapped(&format!("{}: {}", choice.value, choice.doc), 8, width);
    }
    out
}

/// Wraps text to `width` with an indent; long words are not split.
fn wrapped(words: &str, indent: usize, width: usize) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for word in words.split_whitespace() {
        let fits = indent + line.chars().count() + 1 + word.chars().count() <= width;
        if !line.is_empty() && !fits {
            out += &format!("{:indent$}{line}\n", "");
            line.clear();
        }
        line += if line.is_empty() { "" } else { " " };
        line += word;
    }
    if line.is_empty() { out } else { out + &format!("{:indent$}{line}\n", "") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::KINDS;

    #[test]
    fn every_kind_has_a_line_with_its_meaning() {
        let kinds: Vec<&Kind> = KINDS.iter().collect();
        let sheet = list(&kinds);
        assert_eq!(sheet.rows.len(), KINDS.len());
        assert!(sheet.rows.iter().all(|row| row[3] != Cell::Empty), "a doc comment on every kind");
    }

    #[test]
    fn one_kind_tells_roles_parameters_and_choices_within_the_width() {
        let text = text(Kind::named("preprocess").expect("a kind"), 72);
        assert!(text.contains("\nreads\n  dataset (dataset, one): images and labels\n"), "{text}");
        assert!(text.contains("\n  spacing: [number, number, number]; default null\n"), "{text}");
        assert!(text.contains("{window: [number, number]}: "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
    }

    #[test]
    fn long_words_are_never_cut() {
        assert_eq!(wrapped("a verylongword b", 2, 6), "  a\n  verylongword\n  b\n");
    }
}
