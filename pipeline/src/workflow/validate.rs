//! Validates values against a kind's JSON schema, with readable messages.
//!
//! Constraints known only to serde are left to `Kind::understand`; `schema` interprets schemas.

use super::diagnostic::{either, nearest};
use super::schema::{alternatives, describe, format_range, has_type, list, words};
use serde_json::{Map, Value};

#[derive(Clone, Debug, PartialEq)]
pub struct SchemaFinding {
    /// Path below the parameters.
    pub path: Vec<String>,
    /// True if the key is wrong, not its value.
    pub on_key: bool,
    /// True if text was expected but YAML read another type.
    pub wants_quotes: bool,
    pub trouble: String,
    /// Suggested word.
    pub nearest: Option<String>,
}

/// All findings on `value`.
pub fn check(schema: &Value, value: &Value) -> Vec<SchemaFinding> {
    let mut checker = SchemaChecker { path: vec![], findings: vec![] };
    checker.value(schema, value);
    checker.findings
}

/// Typed value for `text`: YAML's reading, or plain text if only this fits the schemas.
pub fn typed(schemas: &[&Value], text: &str, read: Value) -> Value {
    let as_text = Value::String(text.to_string());
    let is_text = !schemas.is_empty() && !fits_any(schemas, &read) && fits_any(schemas, &as_text);
    if is_text { as_text } else { read }
}

fn fits_any(schemas: &[&Value], value: &Value) -> bool {
    schemas.iter().any(|schema| check(schema, value).is_empty())
}

struct SchemaChecker {
    path: Vec<String>,
    findings: Vec<SchemaFinding>,
}

impl SchemaChecker {
    fn say(&mut self, trouble: String, nearest: Option<String>) {
        let path = self.path.clone();
        let finding = SchemaFinding { path, on_key: false, wants_quotes: false, trouble, nearest };
        self.findings.push(finding);
    }

    fn below(&mut self, key: &str, work: impl FnOnce(&mut SchemaChecker)) {
        self.path.push(key.to_string());
        work(self);
        self.path.pop();
    }

    fn value(&mut self, schema: &Value, value: &Value) {
        for part in list(schema, "allOf") {
            self.value(part, value);
        }
        let choices = alternatives(schema);
        if !choices.is_empty() {
            return self.choice(schema, choices, value);
        }
        let words = words(schema);
        if !words.is_empty() {
            return self.word(&either(&words), &words, value);
        }
        if !has_type(schema, value) {
            self.say(format!("must be {}, but is {}", describe(schema), shown(value)), None);
            let is_scalar = value.is_number() || value.is_boolean();
            if let Some(finding) = self.findings.last_mut().filter(|_| describe(schema) == "text") {
                finding.wants_quotes = is_scalar;
            }
            return;
        }
        match value {
            Value::Object(fields) => self.object(schema, fields),
            Value::Array(items) => self.array(schema, items),
            Value::Number(_) => self.range(schema, value),
            _ => {}
        }
    }

    /// A value that should be one of `words`, or whatever else `wanted` tells.
    fn word(&mut self, wanted: &str, words: &[&str], value: &Value) {
        let text = value.as_str().unwrap_or_default();
        if !words.contains(&text) {
            let nearest = nearest(text, words.iter().copied());
            self.say(format!("must be {wanted}, but is {}", shown(value)), nearest);
        }
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>) {
        let empty = Map::new();
        let known = schema["properties"].as_object().unwrap_or(&empty);
        for (key, field) in fields {
            match known.get(key) {
                Some(schema) => self.below(key, |checker| checker.value(schema, field)),
                None => self.other_key(schema, known, key, field),
            }
        }
        for required in list(schema, "required").iter().filter_map(Value::as_str) {
            if !fields.contains_key(required) {
                let what = known.get(required).map(describe).unwrap_or_default();
                self.say(format!("needs the key '{required}': {what}"), None);
            }
        }
    }

    fn other_key(&mut self, schema: &Value, known: &Map<String, Value>, key: &str, field: &Value) {
        match &schema["additionalProperties"] {
            Value::Bool(false) => {
                let nearest = nearest(key, known.keys().map(String::as_str));
                let known: Vec<&String> = known.keys().collect();
                let trouble = match (&nearest, known.is_empty()) {
                    (Some(_), _) => "there is no such key".to_string(),
                    (None, true) => "there is no such key; none is known here".to_string(),
                    (None, false) => format!("there is no such key; known are {}", either(&known)),
                };
                self.below(key, |checker| checker.say(trouble, nearest));
                if let Some(finding) = self.findings.last_mut() {
                    finding.on_key = true;
                }
            }
            other if other.is_object() => self.below(key, |checker| checker.value(other, field)),
            _ => {}
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value]) {
        let least = schema["minItems"].as_u64().unwrap_or(0);
        let most = schema["maxItems"].as_u64().unwrap_or(u64::MAX);
        if !(least..=most).contains(&(items.len() as u64)) {
            return self.say(
                format!("must be {}, but has {} values", describe(schema), items.len()),
                None,
            );
        }
        let first = list(schema, "prefixItems");
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(index).or_else(|| schema.get("items")) {
                self.below(&index.to_string(), |checker| checker.value(schema, item));
            }
        }
    }

    fn range(&mut self, schema: &Value, value: &Value) {
        let number = value.as_f64().unwrap_or(0.0);
        let [minimum, maximum, above, below] =
            ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
                .map(|key| schema[key].as_f64());
        let (least, most) = format_range(schema["format"].as_str().unwrap_or_default());
        let (least, most) = (minimum.unwrap_or(least), maximum.unwrap_or(most));
        let trouble = if number < least {
            Some(format!("must be at least {least}"))
        } else if number > most {
            Some(format!("must be at most {most}"))
        } else if let Some(bound) = above.filter(|bound| number <= *bound) {
            Some(format!("must be more than {bound}"))
        } else {
            below.filter(|bound| number >= *bound).map(|bound| format!("must be less than {bound}"))
        };
        if let Some(trouble) = trouble {
            self.say(format!("{trouble}, but is {value}"), None);
        }
    }

    /// Validates against alternatives: valid if any fits, else reports the most similar one's
    /// findings.
    fn choice(&mut self, schema: &Value, choices: &[Value], value: &Value) {
        let mut tries = vec![];
        for choice in choices {
            let mut checker = SchemaChecker { path: self.path.clone(), findings: vec![] };
            checker.value(choice, value);
            if checker.findings.is_empty() {
                return;
            }
            tries.push((likeness(choice, value), checker.findings));
        }
        let words = words(schema);
        if value.is_string() && !words.is_empty() {
            return self.word(&describe(schema), &words, value);
        }
        if let Some((tag, words)) = tag(choices).filter(|_| value.is_object()) {
            return self.tagged(&tag, &words, value, tries);
        }
        match best(tries) {
            Some(findings) => self.findings.extend(findings),
            None if choices.iter().all(|choice| choice["properties"].is_object()) => {
                let wanted = tag(choices).map(|(tag, words)| (tag, either(&words)));
                let wanted = wanted.map(|(tag, words)| format!("a mapping with '{tag}': {words}"));
                let wanted = wanted.unwrap_or_else(|| describe(schema));
                self.say(format!("must be {wanted}, but is {}", shown(value)), None)
            }
            None => {
                self.say(format!("must be {}, but is {}", describe(schema), shown(value)), None)
            }
        }
    }

    fn tagged(
        &mut self,
        tag: &str,
        words: &[&str],
        value: &Value,
        tries: Vec<(i32, Vec<SchemaFinding>)>,
    ) {
        match value.get(tag) {
            None => self.say(format!("needs the key '{tag}': {}", either(words)), None),
            Some(found) if !found.as_str().is_some_and(|word| words.contains(&word)) => {
                self.below(tag, |checker| checker.word(&either(words), words, found));
            }
            Some(_) => self.findings.extend(best(tries).unwrap_or_default()),
        }
    }
}

/// Findings from the most similar choice with a matching type.
fn best(tries: Vec<(i32, Vec<SchemaFinding>)>) -> Option<Vec<SchemaFinding>> {
    let most =
        tries.iter().map(|(likeness, _)| *likeness).max().filter(|likeness| *likeness >= 0)?;
    tries.into_iter().find(|(likeness, _)| *likeness == most).map(|(_, findings)| findings)
}

/// Similarity to a schema; negative for another type.
fn likeness(schema: &Value, value: &Value) -> i32 {
    if let Some(most) = alternatives(schema).iter().map(|choice| likeness(choice, value)).max() {
        return most;
    }
    if !has_type(schema, value) || !words(schema).is_empty() {
        return -1;
    }
    let (Some(known), Some(fields)) = (schema["properties"].as_object(), value.as_object()) else {
        return 0;
    };
    fields
        .iter()
        .map(|(key, field)| match known.get(key) {
            Some(schema) if words(schema).iter().any(|word| field.as_str() == Some(word)) => 100,
            Some(_) => 1,
            None => 0,
        })
        .sum()
}

/// Tag key with its words, if all mapping choices share one.
fn tag(choices: &[Value]) -> Option<(String, Vec<&str>)> {
    let mappings: Vec<&Value> =
        choices.iter().filter(|choice| choice["properties"].is_object()).collect();
    let first = mappings.first()?["properties"].as_object()?;
    let tag = first.iter().find(|(key, _)| {
        mappings.len() > 1
            && mappings.iter().all(|choice| choice["properties"][key.as_str()]["const"].is_string())
    })?;
    let words = mappings
        .iter()
        .filter_map(|choice| choice["properties"][tag.0]["const"].as_str())
        .collect();
    Some((tag.0.clone(), words))
}

/// Message for a scalar that needs quotes.
pub fn unquoted(written: &str, value: &Value) -> String {
    let meaning = if value.is_boolean() { "a truth value" } else { "a number" };
    format!("must be text, but {written} is {meaning} to YAML; put it in quotes: '{written}'")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("{number}"),
        Value::String(text) => format!("the text '{text}'"),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::JsonSchema;
    use serde_json::json;

    #[derive(JsonSchema)]
    #[schemars(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Params {
        epochs: u32,
        patch: Option<[u16; 3]>,
        norm: Option<Norm>,
        optimizer: Option<Optimizer>,
        intensity: Option<Intensity>,
        #[schemars(range(min = 0.0, max = 1.0))]
        overlap: Option<f64>,
    }

    #[derive(JsonSchema)]
    #[schemars(rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Norm {
        /// Of a batch.
        Batch,
        /// Of one.
        Instance,
    }

    #[derive(JsonSchema)]
    #[schemars(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
    #[allow(dead_code)]
    enum Optimizer {
        Adam { betas: Option<[f64; 2]> },
        Sgd { momentum: Option<f64> },
    }

    #[derive(JsonSchema)]
    #[schemars(rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Intensity {
        Window([f64; 2]),
        Zscore,
    }

    fn findings(value: Value) -> Vec<String> {
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<Params>();
        check(schema.as_value(), &value)
            .into_iter()
            .map(|finding| {
                let hint = finding.nearest.map(|word| format!(" ({word}?)")).unwrap_or_default();
                format!("{}: {}{hint}", finding.path.join("."), finding.trouble)
            })
            .collect()
    }

    #[test]
    fn what_fits_has_no_findings() {
        let nothing: [&str; 0] = [];
        assert_eq!(findings(json!({"epochs": 3})), nothing);
        let all = json!({
            "epochs": 3, "patch": [1, 2, 3], "norm": "batch", "optimizer": {"name": "sgd", "momentum": 0.9},
            "intensity": {"window": [-57, 164]}, "overlap": 0.5
        });
        assert_eq!(findings(all), nothing);
        assert_eq!(findings(json!({"epochs": 3, "intensity": "zscore", "patch": null})), nothing);
    }

    #[test]
    fn each_wrong_type_says_what_was_wanted() {
        assert_eq!(
            findings(json!({"epochs": "3"})),
            ["epochs: must be a whole number, but is the text '3'"]
        );
        assert_eq!(
            findings(json!({"epochs": 3.5})),
            ["epochs: must be a whole number, but is 3.5"]
        );
        assert_eq!(findings(json!({})), [": needs the key 'epochs': a whole number"]);
        assert_eq!(
            findings(json!({"epochs": 1, "patch": [1, 2]})),
            ["patch: must be a list of 3 values, but has 2 values"]
        );
        assert_eq!(
            findings(json!({"epochs": 1, "patch": [1, 2, "x"]})),
            ["patch.2: must be a whole number, but is the text 'x'"]
        );
    }

    #[test]
    fn ranges_are_those_of_the_type_and_of_the_attribute() {
        assert_eq!(findings(json!({"epochs": -1})), ["epochs: must be at least 0, but is -1"]);
        assert_eq!(
            findings(json!({"epochs": 4294967296u64})),
            ["epochs: must be at most 4294967295, but is 4294967296"]
        );
        assert_eq!(
            findings(json!({"epochs": 1, "overlap": 1.5})),
            ["overlap: must be at most 1, but is 1.5"]
        );
    }

    #[test]
    fn misspelt_words_are_set_right_at_every_depth() {
        assert_eq!(
            findings(json!({"epochs": 1, "norm": "bach"})),
            ["norm: must be 'batch' or 'instance', but is the text 'bach' (batch?)"]
        );
        assert_eq!(
            findings(json!({"epochs": 1, "epoch": 1})),
            ["epoch: there is no such key (epochs?)"]
        );
        assert_eq!(
            findings(json!({"epochs": 1, "optimizer": {"name": "sdg"}})),
            ["optimizer.name: must be 'adam' or 'sgd', but is the text 'sdg' (sgd?)"]
        );
        assert_eq!(
            findings(json!({"epochs": 1, "optimizer": {"name": "sgd", "momentun": 0.9}})),
            ["optimizer.momentun: there is no such key (momentum?)"]
        );
        assert_eq!(
            findings(json!({"epochs": 1, "intensity": {"windw": [0, 1]}}))
                .first()
                .map(String::as_str),
            Some("intensity.windw: there is no such key (window?)")
        );
        assert_eq!(
            findings(json!({"epochs": 1, "optimizer": {}})),
            ["optimizer: needs the key 'name': 'adam' or 'sgd'"]
        );
    }

    #[test]
    fn a_wrong_word_beside_other_types_is_told_with_all_of_them() {
        #[derive(JsonSchema)]
        #[schemars(untagged)]
        #[allow(dead_code)]
        enum Count {
            Number(u32),
            Word(Norm),
            Most { at_most: u32 },
        }
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        let generator = settings.with(|settings| settings.inline_subschemas = true);
        let schema = generator.into_generator().into_root_schema_for::<Count>();
        let trouble = |value: Value| check(schema.as_value(), &value)[0].trouble.clone();
        let wanted = "must be 'batch' or 'instance' or a whole number or a mapping with 'at_most'";
        assert_eq!(trouble(json!("bath")), format!("{wanted}, but is the text 'bath'"));
        assert_eq!(trouble(json!(1.5)), format!("{wanted}, but is 1.5"));
        assert_eq!(trouble(json!(-1)), "must be at least 0, but is -1");
    }

    #[test]
    fn text_stays_text_where_only_that_fits() {
        let text = json!({"type": "string"});
        let number = json!({"type": ["integer", "null"]});
        assert_eq!(typed(&[&text], "007", json!(7)), json!("007"));
        assert_eq!(typed(&[&number], "7", json!(7)), json!(7));
        assert_eq!(typed(&[], "7", json!(7)), json!(7));
    }
}
