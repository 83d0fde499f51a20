//! JSON schema for workflow files, for editors; each `uses` selects its kind's parameters.

use super::meaning;
use crate::workflow::stage_resources;
use serde_json::{Value, json};
use voxflow_stages::kind::Kind;
use voxflow_stages::stage::Count;

const FOLDS: &str = "Cross-validation: each variant is validated on every fold of the split.";
const FOLDS_IN_RUN: &str = "Cross-validation in one run: what depends on the split is made for \
                            each fold; a stage that takes several takes those of all folds.";
const EXTENSION: &str = "Anything, to be marked by an anchor and used by aliases and merge keys.";
const EXTENDS: &str = "Another workflow file, of which this one gives changes.";
const NEEDS: &str = "The stages whose artifacts it reads; RUN/STAGE is one of an earlier run.";
const SWEEP: &str = "Values to try, by dotted path: `model.learning_rate: [0.001, 0.002]`.";

fn stage(kinds: &[&Kind]) -> Value {
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "uses": {
                "description": "The kind of the stage.",
                "oneOf": kinds.iter().map(uses).collect::<Vec<_>>(),
            },
            "needs": {
                "description": NEEDS,
                "anyOf": [
                    one_or_more(),
                    {"type": "object", "additionalProperties": one_or_more()},
                ],
            },
            "with": {"type": ["object", "null"], "description": "The parameters of the kind."},
            "resources": resources(),
        },
        "allOf": kinds.iter().map(|kind| parameters(kind)).collect::<Vec<_>>(),
    })
}

/// A file that extends none: every stage names its kind.
fn whole() -> Value {
    let stage = json!({"type": "object", "required": ["uses"]});
    json!({
        "required": ["name", "stages"],
        "properties": {"stages": {"additionalProperties": stage}},
    })
}

pub fn schema(kinds: &[&Kind]) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "voxflow workflow",
        "type": "object",
        "anyOf": [whole(), {"required": ["extends"]}],
        "additionalProperties": false,
        "patternProperties": {"^x-": {"description": EXTENSION}},
        "properties": {
            "name": {
                "type": "string",
                "description": "The name of the workflow, part of the names of its runs.",
            },
            "extends": {"type": "string", "description": EXTENDS},
            "seed": {
                "type": "integer", "minimum": 0, "default": 0,
                "description": "The default of every stage's own `seed`, `split` excepted.",
            },
            "folds": {
                "type": "integer", "minimum": 2,
                "description": FOLDS_IN_RUN,
            },
            "stages": {"type": "object", "minProperties": 1, "additionalProperties": stage(kinds),
                "description": "The stages by id."},
            "sweep": sweep(),
        },
    })
}

fn sweep() -> Value {
    json!({
        "type": "object", "additionalProperties": {"type": "array", "minItems": 1},
        "properties": {
            "folds": {"type": "integer", "minimum": 2, "description": FOLDS},
            "seeds": {
                "type": "array", "minItems": 1,
                "items": {"type": "integer", "minimum": 0},
                "description": "Each variant is trained once with every seed.",
            },
        },
        "description": SWEEP,
    })
}

fn uses(kind: &&Kind) -> Value {
    json!({"const": kind.name, "description": meaning(kind)})
}

fn resources() -> Value {
    let mut schema = stage_resources::schema().clone();
    if let Value::Object(fields) = &mut schema {
        fields.remove("$schema");
        fields.remove("title");
        let words = "How much of a machine the stage is given; no part of its fingerprint.";
        fields.insert("description".into(), words.into());
    }
    schema
}

fn one_or_more() -> Value {
    json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
}

/// Conditional schema: if `uses` names the kind, `with` has its parameters and `needs` its roles.
fn parameters(kind: &Kind) -> Value {
    let mut with = kind.schema().as_value().clone();
    if let Value::Object(fields) = &mut with {
        fields.remove("$schema");
        fields.remove("title");
    }
    let mut then = json!({"properties": {"with": with}});
    let needs_with = with["required"].as_array().is_some_and(|required| !required.is_empty());
    let needs_stages = kind.reads.iter().any(|read| read.count != Count::Optional);
    let required: Vec<&str> = [("with", needs_with), ("needs", needs_stages)]
        .into_iter()
        .filter(|(_, yes)| *yes)
        .map(|(key, _)| key)
        .collect();
    if !required.is_empty() {
        then["required"] = json!(required);
    }
    json!({
        "if": {"properties": {"uses": {"const": kind.name}}, "required": ["uses"]},
        "then": then,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::KINDS;

    #[test]
    fn every_kind_brings_its_parameters() {
        let kinds: Vec<&Kind> = KINDS.iter().collect();
        let schema = schema(&kinds);
        let stage = &schema["properties"]["stages"]["additionalProperties"];
        assert_eq!(
            stage["properties"]["uses"]["oneOf"].as_array().map(Vec::len),
            Some(KINDS.len())
        );
        let rules = stage["allOf"].as_array().expect("rules");
        let train = rules
            .iter()
            .find(|rule| rule["if"]["properties"]["uses"]["const"] == "train")
            .expect("train");
        assert!(train["then"]["properties"]["with"]["properties"]["epochs"].is_object());
        assert_eq!(train["then"]["required"], json!(["with", "needs"]));
    }
}
