//! Values as YAML.

use super::planned::PlannedSetting;
use serde_json::Value;

/// The longest line.
const WIDTH: usize = 120;

/// Settings below `with`. A mapping that is too long for a line gets a line a key.
pub(super) fn settings_lines(settings: &[PlannedSetting]) -> String {
    let mut out = String::new();
    for PlannedSetting { key, value, reason } in settings {
        let reason = if reason.is_empty() { String::new() } else { format!("  # {reason}") };
        let line = format!("      {key}: {}", yaml(value));
        match value {
            Value::Object(fields) if line.len() + reason.len() > WIDTH => {
                out += &format!("      {key}:{reason}\n");
                for (key, value) in in_order(fields) {
                    out += &format!("        {key}: {}\n", yaml(value));
                }
            }
            Value::Array(items) if line.len() > WIDTH && items.iter().all(Value::is_object) => {
                out += &format!("      {key}:{reason}\n");
                for item in items {
                    out += &format!("        - {}\n", yaml(item));
                }
            }
            _ if line.len() + reason.len() > WIDTH => {
                out += &format!("      #{}\n{line}\n", &reason[3..]);
            }
            _ => out += &format!("{line}{reason}\n"),
        }
    }
    out
}

/// The name first, then the shorter keys.
fn in_order(fields: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<(&String, &Value)> = fields.iter().collect();
    pairs.sort_by_key(|(key, _)| (*key != "name", key.len(), *key));
    pairs
}

/// A value on one line of YAML.
pub(super) fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(all) => {
            format!("[{}]", all.iter().map(yaml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(all) => {
            let pairs = in_order(all).into_iter();
            let pairs = pairs.map(|(key, value)| format!("{key}: {}", yaml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A string as YAML reads it whatever it holds.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_mappings_get_a_line_a_key_and_long_reasons_a_line_of_their_own() {
        let setting =
            |value: Value, reason: &str| PlannedSetting { key: "a", value, reason: reason.into() };
        let short = setting(json!({ "x": 1, "name": "n" }), "short");
        assert_eq!(settings_lines(&[short]), "      a: { name: \"n\", x: 1 }  # short\n");
        let long = setting(json!({ "x": vec![1; 60] }), "long");
        assert!(settings_lines(&[long]).starts_with("      a:  # long\n        x: [1, 1"));
        let list = setting(json!(vec![json!({ "x": 1 }); 30]), "list");
        assert!(settings_lines(&[list]).starts_with("      a:  # list\n        - { x: 1 }\n"));
        let wordy = setting(json!([1]), &"word ".repeat(30));
        assert!(settings_lines(&[wordy]).starts_with("      # word word"));
    }
}
