//! The values that a program gets, under one set of names: in its words, in its environment
//! (`VOXFLOW_INPUTS_DATA` for `inputs.data`), and in a JSON file.

use super::template::{Piece, pieces};
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Names without a dot. In a shell line, these and all with a dot are filled in.
pub(super) const PLAIN: [&str; 12] = [
    "output",
    "threads",
    "device",
    "seed",
    "stage",
    "params",
    "metrics",
    "variables",
    "unfinished",
    "case",
    "image",
    "label",
];

/// True for a name in a shell line that is not the shell's.
pub(super) fn is_own(name: &str) -> bool {
    name.contains('.') || PLAIN.contains(&name)
}

/// Values by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(BTreeMap<String, Value>);

impl Variables {
    pub(super) fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// Sets a path.
    pub(super) fn set_path(&mut self, name: impl Into<String>, path: &Path) -> Result<()> {
        let text = path.to_str().ok_or_else(|| {
            Error::failed(format!("{}: this path is no UTF-8; rename its folder", path.display()))
        })?;
        self.set(name, text);
        Ok(())
    }

    /// All values, for the JSON file.
    pub(super) fn all(&self) -> &BTreeMap<String, Value> {
        &self.0
    }

    /// A word with its names filled in.
    pub(super) fn word(&self, template: &str) -> Result<String> {
        self.filled(template, |name| Ok(text(self.value(name)?)))
    }

    /// A shell line with its names filled in, each as one word of the shell.
    pub(super) fn line(&self, template: &str) -> Result<String> {
        self.filled(template, |name| match is_own(name) {
            true => Ok(quoted(&text(self.value(name)?))),
            false => Ok(format!("${{{name}}}")),
        })
    }

    /// The same as variables of an environment.
    pub(super) fn environment(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().map(|(name, value)| (environment_name(name), text(value)))
    }

    fn filled(&self, template: &str, fill: impl Fn(&str) -> Result<String>) -> Result<String> {
        let texts = pieces(template).into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(text.to_string()),
            Piece::Name(name) => fill(name),
        });
        texts.collect()
    }

    fn value(&self, name: &str) -> Result<&Value> {
        self.0.get(name).ok_or_else(|| {
            let hint = match name {
                "image" | "output.image" => {
                    "; the case has several images: write image.0, image.1 and so on"
                }
                _ => "",
            };
            Error::failed(format!("'${{{name}}}' has no value here{hint}"))
        })
    }
}

fn environment_name(name: &str) -> String {
    format!("VOXFLOW_{}", name.chars().map(capital).collect::<String>())
}

fn capital(letter: char) -> char {
    if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }
}

/// Text as it is, null as nothing, anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("inputs.my-data", "/a b/it's");
        variables.set("params.sigma", 1.5);
        variables.set("params.sizes", json!([1, 2]));
        variables.set("label", Value::Null);
        variables
    }

    #[test]
    fn words_are_filled_in_as_they_are_and_lines_in_quotes() {
        let variables = variables();
        assert_eq!(variables.word("--in=${inputs.my-data}").unwrap(), "--in=/a b/it's");
        assert_eq!(variables.word("${params.sigma}${label}").unwrap(), "1.5");
        let line = variables.line("cat ${inputs.my-data} | tr ${params.sizes} ${HOME} $1").unwrap();
        assert_eq!(line, r"cat '/a b/it'\''s' | tr '[1,2]' ${HOME} $1");
        let error = variables.word("${image}").unwrap_err().to_string();
        assert!(error.contains("'${image}'") && error.contains("image.0"), "{error}");
    }

    #[test]
    fn the_environment_has_the_same_names_in_capitals() {
        let environment: BTreeMap<String, String> = variables().environment().collect();
        assert_eq!(environment["VOXFLOW_INPUTS_MY_DATA"], "/a b/it's");
        assert_eq!(environment["VOXFLOW_PARAMS_SIZES"], "[1,2]");
        assert_eq!(environment["VOXFLOW_LABEL"], "");
    }
}
