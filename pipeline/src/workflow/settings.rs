//! Reads other YAML files with the same diagnostics as workflows: all mistakes at once, with line
//! and suggestion.

use super::diagnostic::Diagnostic;
use super::parse;
use super::validate;
use serde_json::{Map, Value};

/// Messages by key path.
pub type Troubles = Vec<(Vec<String>, String)>;

/// Reads a file against a schema; `understand` checks further constraints.
pub fn read<T>(
    file: &str,
    text: &[u8],
    schema: &Value,
    understand: impl FnOnce(Value) -> Result<T, Troubles>,
) -> Result<T, Vec<Diagnostic>> {
    let (document, mut mistakes) = parse::parse(file, text)?;
    let value = match document.value.clone() {
        Value::Null => Value::Object(Map::new()),
        value => value,
    };
    let at = |path: Vec<String>, on_key: bool, trouble: String, nearest: Option<String>| {
        let places = &document.places;
        let place = if on_key { places.key(&path) } else { places.value(&path) };
        let key = (!path.is_empty()).then(|| path.join("."));
        Diagnostic { file: file.to_string(), place, stage: None, key, trouble, nearest }
    };
    for finding in validate::check(schema, &value) {
        mistakes.push(at(finding.path, finding.on_key, finding.trouble, finding.nearest));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    understand(value).map_err(|troubles| {
        troubles.into_iter().map(|(path, trouble)| at(path, false, trouble, None)).collect()
    })
}
