//! A parameter's path, type, default and meaning, read from the kind's JSON schema.

use serde_json::{Map, Value};
use voxflow_stages::kind::Kind;

/// A parameter; nested parameters follow their mapping with dotted paths.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Dotted path: "optimizer.learning_rate".
    pub path: String,
    /// Type as text: "whole number, at least 0".
    pub type_words: String,
    pub required: bool,
    /// Value if omitted; `None` if required.
    pub default: Option<Value>,
    /// Meaning, in one paragraph.
    pub doc: String,
    /// Allowed values with their meaning, if documented.
    pub choices: Vec<AllowedValue>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AllowedValue {
    pub value: String,
    pub doc: String,
}

impl Parameter {
    /// A kind's parameters in declaration order.
    pub fn all(kind: &Kind) -> Vec<Parameter> {
        Parameter::of(kind.schema().as_value())
    }

    /// Parameters in a mapping's schema.
    pub fn of(schema: &Value) -> Vec<Parameter> {
        let mut found = vec![];
        gather("", schema, &mut found);
        found
    }

    /// Default in YAML's flow style; empty without a default.
    pub fn default_words(&self) -> String {
        match &self.default {
            None if self.required => "required".to_string(),
            None => String::new(),
            Some(value) => flow(value),
        }
    }
}

fn gather(path: &str, schema: &Value, found: &mut Vec<Parameter>) {
    let required = list(schema, "required");
    for (name, field) in properties(schema) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let required = required.iter().any(|key| key.as_str() == Some(name));
        found.push(Parameter {
            type_words: type_words(field),
            required,
            default: field.get("default").cloned().or_else(|| (!required).then_some(Value::Null)),
            doc: doc(field),
            choices: choices(field),
            path: path.clone(),
        });
        if let Some(mapping) = mapping(field) {
            gather(&path, mapping, found);
        }
    }
}

/// The schema itself if a mapping with named keys, or its only mapping beside other types.
fn mapping(schema: &Value) -> Option<&Value> {
    if !properties(schema).is_empty() {
        return Some(schema);
    }
    let mut mappings = alternatives(schema).into_iter().filter(|one| !properties(one).is_empty());
    mappings.next().filter(|_| mappings.next().is_none())
}

/// A schema's type in YAML terms.
pub fn type_words(schema: &Value) -> String {
    if let Some(value) = schema.get("const") {
        return flow(value);
    }
    let values = list(schema, "enum");
    if !values.is_empty() {
        return values
            .iter()
            .filter(|value| !value.is_null())
            .map(flow)
            .collect::<Vec<_>>()
            .join(" | ");
    }
    let alternatives = alternatives(schema);
    if let Some(words) = tagged_words(&alternatives) {
        return words;
    }
    if !alternatives.is_empty() {
        let mut words: Vec<String> =
            alternatives.iter().filter(|one| !is_null(one)).map(|one| type_words(one)).collect();
        words.dedup();
        return words.join(" | ");
    }
    match type_name(schema) {
        "integer" => number_words("whole number", schema),
        "number" => number_words("number", schema),
        "string" => "text".to_string(),
        "boolean" => "true | false".to_string(),
        "array" => array_words(schema),
        "object" => object_words(schema),
        _ => "anything".to_string(),
    }
}

/// Type name other than null.
fn type_name(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("")
        }
        _ => "",
    }
}

fn number_words(noun: &str, schema: &Value) -> String {
    let [least, above, most] = ["minimum", "exclusiveMinimum", "maximum"].map(|key| {
        schema.get(key).and_then(Value::as_f64).filter(|bound| *bound != 0.0 || key == "minimum")
    });
    match (least.or(above), most) {
        // The bounds of the machine's own types say nothing to people.
        (Some(least), Some(most)) if most < 2e9 && most != 65535.0 && most != 255.0 => {
            format!("{noun}, {least} to {most}")
        }
        (Some(least), _) if least > 0.0 => format!("{noun}, at least {least}"),
        _ => noun.to_string(),
    }
}

fn array_words(schema: &Value) -> String {
    let each = list(schema, "prefixItems");
    if !each.is_empty() {
        return format!("[{}]", each.iter().map(type_words).collect::<Vec<_>>().join(", "));
    }
    let item = schema.get("items").map_or_else(|| "anything".to_string(), type_words);
    let bounds = ["minItems", "maxItems"].map(|key| schema.get(key).and_then(Value::as_u64));
    match (bounds[0], bounds[1]) {
        (Some(least), Some(most)) if least == most && most <= 4 => {
            format!("[{}]", vec![item; most as usize].join(", "))
        }
        _ if item.contains(" | ") => format!("list of ({item})"),
        _ => format!("list of {}", plural(&item)),
    }
}

fn plural(noun: &str) -> String {
    match noun {
        "whole number" | "number" => format!("{noun}s"),
        "text" => "texts".to_string(),
        _ => noun.to_string(),
    }
}

/// Mappings with a single key show it, as in `{window: [number, number]}`.
fn object_words(schema: &Value) -> String {
    let fields = properties(schema);
    let required = list(schema, "required").len();
    match (fields.len(), schema.get("additionalProperties")) {
        (0, Some(values @ Value::Object(_))) => {
            format!("mapping of name to {}", type_words(values))
        }
        (1, _) if required == 1 => {
            let one: Vec<String> = fields
                .iter()
                .map(|(name, field)| format!("{{{name}: {}}}", type_words(field)))
                .collect();
            one.concat()
        }
        (0, _) => "mapping".to_string(),
        _ => format!(
            "{{{}}}",
            fields.iter().map(|(name, field)| tagged(name, field)).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Mappings distinguished by a tag: `{name: flip | noise | gamma, …}`.
fn tagged_words(alternatives: &[&Value]) -> Option<String> {
    const MANY: usize = 4;
    let keys = alternatives.first().filter(|_| alternatives.len() >= MANY)?;
    let keys: Vec<&String> = properties(keys).into_iter().map(|(key, _)| key).collect();
    let key =
        keys.iter().find(|key| alternatives.iter().all(|one| constant(one, key).is_some()))?;
    let values: Vec<String> = alternatives.iter().filter_map(|one| constant(one, key)).collect();
    Some(format!("{{{key}: {}, …}}", values.join(" | ")))
}

/// The only value of a field.
fn constant(schema: &Value, key: &str) -> Option<String> {
    schema["properties"][key].get("const").map(flow)
}

/// A mapping's key as text; constants (variant tags) include their value.
fn tagged(name: &str, field: &Value) -> String {
    field.get("const").map_or_else(|| name.to_string(), |value| format!("{name}: {}", flow(value)))
}

/// Allowed values with their meanings; empty if undocumented.
fn choices(schema: &Value) -> Vec<AllowedValue> {
    let of =
        if type_name(schema) == "array" { schema.get("items").unwrap_or(schema) } else { schema };
    let mut found = vec![];
    gather_choices(of, &mut found);
    if found.len() < 2 { vec![] } else { found }
}

fn gather_choices(schema: &Value, found: &mut Vec<AllowedValue>) {
    for one in alternatives(schema).into_iter().filter(|one| !is_null(one)) {
        if alternatives(one).is_empty() {
            let choice = AllowedValue { value: type_words(one), doc: doc(one) };
            if !choice.doc.is_empty() && !found.contains(&choice) {
                found.push(choice);
            }
        } else {
            gather_choices(one, found);
        }
    }
}

fn alternatives(schema: &Value) -> Vec<&Value> {
    ["anyOf", "oneOf"].into_iter().flat_map(|key| list(schema, key)).collect()
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

fn properties(schema: &Value) -> Vec<(&String, &Value)> {
    let fields: Option<&Map<String, Value>> = schema.get("properties").and_then(Value::as_object);
    fields.into_iter().flatten().collect()
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Doc comment as one paragraph.
fn doc(schema: &Value) -> String {
    let words = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// YAML flow style: `[96, 96, 96]`, `{kind: adam}`, `null`.
pub fn flow(value: &Value) -> String {
    match value {
        Value::String(words) if words.is_empty() => "\"\"".to_string(),
        Value::String(words) => words.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, field)| format!("{key}: {}", flow(field))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, path: &str) -> Parameter {
        let kind = Kind::named(kind).expect("a kind");
        let all = Parameter::all(kind);
        all.iter()
            .find(|parameter| parameter.path == path)
            .unwrap_or_else(|| panic!("{path} in {all:#?}"))
            .clone()
    }

    #[test]
    fn a_list_of_fixed_length_shows_each_item() {
        let spacing = of("preprocess", "spacing");
        assert_eq!(spacing.type_words, "[number, number, number]");
        assert_eq!(spacing.default_words(), "null");
        assert!(!spacing.required);
    }

    #[test]
    fn the_variants_of_a_choice_are_listed_with_their_meaning() {
        let intensity = of("preprocess", "intensity");
        assert!(intensity.required);
        assert_eq!(intensity.default_words(), "required");
        let values: Vec<&str> =
            intensity.choices.iter().map(|choice| choice.value.as_str()).collect();
        assert!(values.contains(&"{window: [number, number]}"), "{values:?}");
        assert!(values.contains(&"{zscore: all | nonzero | nonzero_mask}"), "{values:?}");
        assert!(intensity.choices.iter().all(|choice| !choice.doc.is_empty()));
    }

    #[test]
    fn a_required_parameter_says_so() {
        let epochs = of("train", "epochs");
        assert!(epochs.required);
        let words = "whole number | auto | {at_least, at_most, min_gain, decay}";
        assert_eq!(epochs.type_words, words);
        assert_eq!(of("train", "epochs.at_most").default_words(), "1000");
    }

    #[test]
    fn many_mappings_are_told_apart_by_their_names_and_one_beside_a_list_has_its_keys() {
        let words = of("train", "augmentation").type_words;
        assert!(words.starts_with("{spatial, flip, rotate90, affine"), "{words}");
        assert!(
            words.contains("| list of ({name: spatial | flip | rotate90 | affine | noise"),
            "{words}"
        );
        assert_eq!(of("train", "augmentation.noise.std").type_words, "number");
    }

    #[test]
    fn one_or_many_urls_are_two_types() {
        assert_eq!(of("download", "url").type_words, "text | list of texts");
    }
}
