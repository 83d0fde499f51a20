//! Interprets JSON schemas derived by `schemars` from parameter types, and describes them as text.
//! `validate` checks values.

use super::diagnostic::either;
use serde_json::Value;

/// Schemas applicable at a path.
pub fn at<'a>(schema: &'a Value, path: &[String]) -> Vec<&'a Value> {
    let Some((key, rest)) = path.split_first() else { return vec![schema] };
    let mut found = vec![];
    if let Some(field) = schema["properties"].get(key) {
        found.extend(at(field, rest));
    } else if schema["additionalProperties"].is_object() {
        found.extend(at(&schema["additionalProperties"], rest));
    }
    for choice in alternatives(schema) {
        found.extend(at(choice, path));
    }
    found
}

pub(super) fn alternatives(schema: &Value) -> &[Value] {
    let any = list(schema, "anyOf");
    if any.is_empty() { list(schema, "oneOf") } else { any }
}

pub(super) fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Words allowed by a schema, including its choices.
pub(super) fn words(schema: &Value) -> Vec<&str> {
    let own = schema["const"]
        .as_str()
        .into_iter()
        .chain(list(schema, "enum").iter().filter_map(Value::as_str));
    let mut words: Vec<&str> = vec![];
    for word in own.chain(alternatives(schema).iter().flat_map(self::words)) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(name) => vec![name.as_str()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

pub(super) fn has_type(schema: &Value, value: &Value) -> bool {
    let types = types(schema);
    types.is_empty()
        || types.iter().any(|name| match *name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        })
}

/// Range of a Rust integer type named in the schema.
pub(super) fn format_range(format: &str) -> (f64, f64) {
    match format {
        "uint8" => (0.0, f64::from(u8::MAX)),
        "uint16" => (0.0, f64::from(u16::MAX)),
        "uint32" => (0.0, f64::from(u32::MAX)),
        "uint64" | "uint" => (0.0, u64::MAX as f64),
        "int8" => (f64::from(i8::MIN), f64::from(i8::MAX)),
        "int16" => (f64::from(i16::MIN), f64::from(i16::MAX)),
        "int32" => (f64::from(i32::MIN), f64::from(i32::MAX)),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    }
}

/// A schema's requirement as text.
pub fn describe(schema: &Value) -> String {
    let choices =
        alternatives(schema).iter().filter(|choice| types(choice) != ["null"]).collect::<Vec<_>>();
    if let [only] = choices[..] {
        return describe(only);
    }
    let words = words(schema);
    let others: Vec<String> =
        choices.into_iter().filter(|choice| self::words(choice).is_empty()).map(describe).collect();
    let mut parts: Vec<String> = if words.is_empty() { vec![] } else { vec![either(&words)] };
    parts.extend(others);
    if parts.is_empty() {
        parts.extend(
            types(schema)
                .iter()
                .filter(|name| **name != "null")
                .map(|name| describe_type(schema, name)),
        );
    }
    parts.dedup();
    if parts.is_empty() { "a value".into() } else { parts.join(" or ") }
}

fn describe_type(schema: &Value, name: &str) -> String {
    match name {
        "boolean" => "true or false".into(),
        "integer" => "a whole number".into(),
        "number" => "a number".into(),
        "string" => "text".into(),
        "object" => match schema["properties"].as_object().filter(|known| !known.is_empty()) {
            Some(known) => format!("a mapping with {}", either(&known.keys().collect::<Vec<_>>())),
            None => "a mapping".into(),
        },
        "array" => match (schema["minItems"].as_u64(), schema["maxItems"].as_u64()) {
            (Some(least), Some(most)) if least == most => format!("a list of {least} values"),
            (Some(least), _) => format!("a list of at least {least} values"),
            _ => "a list".into(),
        },
        other => other.into(),
    }
}
