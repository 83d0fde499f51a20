//! The text of a `dataset.json` or datalist as plain values. A duplicate key is an error: neither
//! meaning is likelier.

use crate::error::{Error, Result};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More bytes than any listing has: a million cases.
const MOST_BYTES: u64 = 64 << 20;

/// The bytes of a `dataset.json`; an absurdly large file is not read.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(Error::failed(format!(
            "{}: is larger than {} MiB; is it a listing?",
            path.display(),
            MOST_BYTES >> 20
        ))),
        false => Ok(bytes),
    }
}

/// Parses JSON text; forgives a byte order mark before it and bytes outside UTF-8.
pub fn value(text: &[u8]) -> Result<Value> {
    let text = String::from_utf8_lossy(text);
    match serde_json::from_str::<Once>(text.trim_start_matches('\u{feff}')) {
        Ok(Once(value)) => Ok(value),
        Err(error) if error.is_data() => Err(Error::failed(error.to_string())),
        Err(error) => Err(Error::failed(format!("is no JSON: {error}"))),
    }
}

/// The object of a JSON text.
pub fn object(text: &[u8]) -> Result<Map<String, Value>> {
    match value(text)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::failed("is JSON, but no object with 'labels' and 'training'")),
    }
}

/// A text field, unless empty.
pub fn text_of(json: &Map<String, Value>, key: &str) -> Option<String> {
    json.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_string)
}

/// A whole number, as such or as text.
pub fn count_of(json: &Map<String, Value>, key: &str) -> Option<u64> {
    match json.get(key)? {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    }
}

/// Channel names: {"0": "CT"}, ["CT"] or "CT".
pub fn channels(value: Option<&Value>, key: &str) -> Result<Vec<String>> {
    let names = match value {
        Some(Value::String(name)) => vec![Some(name.as_str())],
        Some(Value::Array(names)) => names.iter().map(Value::as_str).collect(),
        Some(Value::Object(fields)) => (0..fields.len())
            .map(|index| {
                let field = fields.iter().find(|(key, _)| key.trim().parse() == Ok(index));
                field.and_then(|(_, value)| value.as_str())
            })
            .collect(),
        _ => vec![],
    };
    let wrong =
        || Error::failed(format!("'{key}' must name the image channels, as {{\"0\": \"CT\"}}"));
    let names = names.into_iter().collect::<Option<Vec<&str>>>().ok_or_else(wrong)?;
    if names.is_empty() {
        return Err(wrong());
    }
    Ok(names.iter().map(|name| name.trim().to_string()).collect())
}

/// A JSON value without duplicate keys.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor).map(Once)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = vec![];
        while let Some(Once(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            let Once(value) = fields.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("'{key}' is given twice; leave one out")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_named_with_its_line() {
        let text = b"{\"labels\": {\"1\": \"a\",\n \"1\": \"b\"}}";
        let words = value(text).unwrap_err().to_string();
        assert!(words.contains("'1' is given twice") && words.contains("line 2"), "{words}");
    }

    #[test]
    fn channels_are_named_by_number_in_order_or_alone() {
        let names = |text: &str| channels(Some(&serde_json::from_str(text).unwrap()), "modality");
        assert_eq!(names(r#"{"1": "T2", "0": "T1 "}"#).unwrap(), ["T1", "T2"]);
        assert_eq!(names(r#"["a", "b"]"#).unwrap(), ["a", "b"]);
        assert_eq!(names("\"CT\"").unwrap(), ["CT"]);
        for wrong in ["{}", "[]", r#"{"1": "T2"}"#, "[1]", "7"] {
            assert!(names(wrong).unwrap_err().to_string().contains("'modality' must"), "{wrong}");
        }
    }
}
