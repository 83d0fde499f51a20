//! Parses YAML into values; the only file using `serde_yaml`. `source_map` finds positions.

use super::base::Base;
use super::diagnostic::{Diagnostic, SourceSpan};
use super::merge_keys;
use super::source_map;
use super::text_nodes::SourceMap;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Parsed YAML with positions.
#[derive(Clone, Debug)]
pub struct Document {
    /// File as named on the command line.
    pub file: String,
    pub text: String,
    pub value: Value,
    pub places: SourceMap,
    /// Files that it extends, the nearest first.
    pub bases: Vec<Base>,
}

impl Document {
    /// A plain scalar's text as written; `None` for quoted text and values outside the file.
    pub fn written(&self, path: &[String]) -> Option<&str> {
        let SourceSpan::File { line, column } = self.places.value(path) else { return None };
        let line = self.text.lines().nth(line.checked_sub(1)?)?;
        let (start, _) = line.char_indices().nth(column.checked_sub(1)?)?;
        let rest = &line[start..];
        let end = rest.find([',', ']', '}', '#']).unwrap_or(rest.len());
        let scalar = rest[..end].trim_end();
        let is_plain = !scalar.is_empty() && !scalar.starts_with(['"', '\'', '[', '{', '*', '&']);
        is_plain.then_some(scalar)
    }
}

/// Parses a text. Recoverable mistakes in its form are returned with the document.
pub fn parse(file: &str, bytes: &[u8]) -> Result<(Document, Vec<Diagnostic>), Vec<Diagnostic>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        vec![mistake(
            file,
            SourceSpan::File { line, column: 1 },
            "not UTF-8; save it as UTF-8".into(),
        )]
    })?;
    // YAML 1.2 allows a byte order mark (section 5.2), which editors of Windows write.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (places, troubles) = source_map::read(text);
    let fatal = troubles.iter().any(|trouble| trouble.fatal);
    let mistakes: Vec<Diagnostic> =
        troubles.into_iter().map(|trouble| located(file, trouble)).collect();
    if fatal {
        return Err(mistakes);
    }
    match serde_yaml::from_str::<Loose>(text) {
        Ok(Loose(value)) => {
            let (file, text, bases) = (file.to_string(), text.to_string(), vec![]);
            let document = Document { file, text, value, places, bases };
            Ok((document, mistakes))
        }
        Err(error) => Err(mistakes.into_iter().chain([syntax(file, &error)]).collect()),
    }
}

/// Parses a value for `--set`.
pub fn value(text: &str) -> Result<Value, String> {
    let (_, troubles) = source_map::read(text);
    if let Some(trouble) = troubles.first() {
        return Err(trouble.trouble.clone());
    }
    if text.trim().is_empty() {
        return Ok(Value::String(String::new()));
    }
    serde_yaml::from_str::<Loose>(text).map(|Loose(value)| value).map_err(|error| error.to_string())
}

pub fn write(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

fn located(file: &str, trouble: source_map::FormTrouble) -> Diagnostic {
    let stage =
        (trouble.path.len() > 2 && trouble.path[0] == "stages").then(|| trouble.path[1].clone());
    let skip = if stage.is_some() { 2 } else { 0 };
    let words = trouble.trouble.starts_with("is given");
    let key = words.then(|| trouble.path[skip..].join("."));
    Diagnostic {
        file: file.into(),
        place: trouble.place,
        stage,
        key,
        trouble: trouble.trouble,
        nearest: None,
    }
}

fn syntax(file: &str, error: &serde_yaml::Error) -> Diagnostic {
    let place = error.location().map_or(SourceSpan::Nowhere, |at| SourceSpan::File {
        line: at.line(),
        column: at.column(),
    });
    mistake(file, place, format!("not valid YAML: {error}"))
}

fn mistake(file: &str, place: SourceSpan, trouble: String) -> Diagnostic {
    Diagnostic { file: file.into(), place, stage: None, key: None, trouble, nearest: None }
}

/// Lenient JSON value: the first of two equal keys counts (`source_map` reports both).
struct Loose(Value);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor).map(Loose)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("plain data")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(Loose(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(Loose(key)) = fields.next_key()? {
            let Loose(value) = fields.next_value()?;
            let key = if let Value::String(text) = key { text } else { key.to_string() };
            map.entry(key).or_insert(value);
        }
        merge_keys::apply(&mut map);
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_becomes_plain_values() {
        let (document, mistakes) =
            parse("a.yaml", b"a: [1, -2, 2.5, yes, true, null, '7', 1e-3]\n7: x\n").unwrap();
        assert_eq!(mistakes, []);
        assert_eq!(
            document.value,
            json!({"a": [1, -2, 2.5, "yes", true, null, "7", 0.001], "7": "x"})
        );
    }

    #[test]
    fn what_is_not_utf_8_or_not_yaml_is_said_with_its_line() {
        assert!(
            parse("a.yaml", b"a: 1\nb: \xff\n").unwrap_err()[0]
                .to_string()
                .starts_with("a.yaml:2:1: not UTF-8")
        );
        let error = parse("a.yaml", b"a: 1\nb: [1, 2\nc: 3\n").unwrap_err()[0].to_string();
        assert!(error.starts_with("a.yaml:") && error.contains("not valid YAML"), "{error}");
    }

    #[test]
    fn a_value_of_the_command_line_is_yaml() {
        assert_eq!(value("[1, 2]").unwrap(), json!([1, 2]));
        assert_eq!(value("0.5").unwrap(), json!(0.5));
        assert_eq!(value("").unwrap(), json!(""));
        assert!(value("[1").is_err());
        assert!(value(".nan").is_err());
    }
}
