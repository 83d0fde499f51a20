//! Overrides: `--set PATH=VALUE`, sweep values, and sweep axes from the command line.

use super::diagnostic::{SourceSpan, nearest};
use super::parse;
use super::text_nodes::Path;
use super::{schema, stage_resources, validate};
use serde_json::{Map, Value};
use voxflow_stages::Kind;

/// A value for a dotted path: `model.learning_rate`, or the workflow's own `seed`, `folds` and
/// `name`.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    pub path: String,
    pub value: Setting,
    pub place: SourceSpan,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// Command-line text: YAML, typed by the parameter's schema.
    Text(String),
    /// Value from a sweep's list.
    Value(Value),
    /// Sweep axis: content for `sweep` in the file.
    Axis(Value),
}

impl Override {
    /// Parses `PATH=VALUE`.
    pub fn parse(words: &str) -> Result<Override, String> {
        let (path, value) = words
            .split_once('=')
            .ok_or_else(|| format!("'{words}' is not PATH=VALUE, as in model.epochs=10"))?;
        Ok(Override {
            path: path.trim().to_string(),
            value: Setting::Text(value.to_string()),
            place: SourceSpan::Set(format!("--set {words}")),
        })
    }

    /// Parses `--over PATH=V1,V2`; coupled paths are `PATH,PATH=[V,V],[V,V]`.
    pub fn over(words: &str) -> Result<Override, String> {
        let example = "as in model.learning_rate=0.001,0.002";
        let (path, values) = words
            .split_once('=')
            .ok_or_else(|| format!("'{words}' is not PATH=VALUES, {example}"))?;
        let values = parse::value(&format!("[{values}]"))
            .map_err(|trouble| format!("'{words}': {trouble}"))?;
        Ok(Override::axis(path.trim(), values, format!("--over {words}")))
    }

    /// Axis from a flag.
    pub fn axis(name: &str, values: Value, flag: String) -> Override {
        Override {
            path: name.to_string(),
            value: Setting::Axis(values),
            place: SourceSpan::Set(flag),
        }
    }

    /// Writes the value into a workflow. Returns the path written, or trouble with a suggestion.
    pub fn apply(
        &self,
        workflow: &mut Value,
        kinds: &[Kind],
    ) -> Result<Path, (String, Option<String>)> {
        if let Setting::Axis(values) = &self.value {
            return self.apply_axis(workflow, values);
        }
        let keys: Vec<&str> = self.path.split('.').collect();
        if keys.iter().any(|key| key.is_empty()) {
            return Err((format!("'{}' is no path; write one as 'model.epochs'", self.path), None));
        }
        match keys[..] {
            [key @ ("seed" | "name" | "folds")] => self.apply_to_top(workflow, key),
            _ => self.apply_to_stage(workflow, &keys, kinds),
        }
    }

    fn apply_axis(
        &self,
        workflow: &mut Value,
        values: &Value,
    ) -> Result<Path, (String, Option<String>)> {
        let sweep = workflow.as_object_mut().map(|top| top.entry("sweep").or_insert(Value::Null));
        let written = sweep.map(|sweep| put(sweep, &[&self.path], values.clone()));
        match written {
            Some(Err(trouble)) => Err((trouble, None)),
            _ => Ok(vec!["sweep".to_string(), self.path.clone()]),
        }
    }

    fn apply_to_top(
        &self,
        workflow: &mut Value,
        key: &str,
    ) -> Result<Path, (String, Option<String>)> {
        let text = Value::from(schema_of_top(key));
        let value = self.typed(&[&serde_json::json!({ "type": text })])?;
        let top = workflow
            .as_object_mut()
            .ok_or_else(|| ("the workflow is no mapping".to_string(), None))?;
        top.insert(key.to_string(), value);
        Ok(vec![key.to_string()])
    }

    fn apply_to_stage(
        &self,
        workflow: &mut Value,
        keys: &[&str],
        kinds: &[Kind],
    ) -> Result<Path, (String, Option<String>)> {
        let (stage, rest) = (keys[0], &keys[1..]);
        let stages = workflow.get_mut("stages").and_then(Value::as_object_mut);
        let stages = stages.ok_or_else(|| ("the workflow has no stages".to_string(), None))?;
        let near = meant(keys, stages, kinds)
            .or_else(|| nearest(stage, stages.keys().map(String::as_str)));
        if let ([_, "with", ..], Some(path)) = (keys, &near) {
            let trouble = "a path leads from the stage to its parameter, without 'with'";
            return Err((trouble.into(), Some(path.clone())));
        }
        let Some(found) = stages.get_mut(stage).and_then(Value::as_object_mut) else {
            return Err((format!("there is no stage '{stage}'"), near));
        };
        if rest.is_empty() {
            return Err((
                format!("'{stage}' is a stage; name one of its parameters, as '{stage}.seed'"),
                None,
            ));
        }
        let uses = found.get("uses").and_then(Value::as_str);
        let kind = kinds.iter().find(|kind| Some(kind.name) == uses);
        // An unknown kind is reported later; until then any value is acceptable.
        let anything = Value::Bool(true);
        let needs = needs_schema();
        let (section, below, schema) = match rest {
            ["resources", below @ ..] => ("resources", below, stage_resources::schema()),
            ["needs", below @ ..] => ("needs", below, &needs),
            below => ("with", below, kind.map_or(&anything, |kind| kind.schema().as_value())),
        };
        let path: Path = below.iter().map(|key| (*key).to_string()).collect();
        let value = self.typed(&schema::at(schema, &path))?;
        let target = found.entry(section).or_insert(Value::Null);
        if let ("needs", [role, ..], Value::Array(_)) = (section, below, &*target)
            && role.parse::<usize>().is_err()
        {
            let trouble = format!(
                "'needs' of '{stage}' is a list, without roles: replace all of it, as in \
                 {stage}.needs=[cache, model], or one by its place, as in {stage}.needs.0=cache"
            );
            return Err((trouble, None));
        }
        put(target, below, value).map_err(|trouble| (trouble, None))?;
        Ok(["stages", stage, section].iter().chain(below).map(|key| (*key).into()).collect())
    }

    fn typed(&self, schemas: &[&Value]) -> Result<Value, (String, Option<String>)> {
        match &self.value {
            Setting::Value(value) | Setting::Axis(value) => Ok(value.clone()),
            Setting::Text(text) => match parse::value(text) {
                Ok(read) => Ok(validate::typed(schemas, text, read)),
                Err(_)
                    if schemas.iter().any(|schema| {
                        validate::check(schema, &text.as_str().into()).is_empty()
                    }) =>
                {
                    Ok(Value::String(text.clone()))
                }
                Err(trouble) => Err((format!("'{text}' cannot be read: {trouble}"), None)),
            },
        }
    }
}

/// Corrects a path containing 'stages' or 'with', or lacking its stage.
fn meant(keys: &[&str], stages: &Map<String, Value>, kinds: &[Kind]) -> Option<String> {
    match keys {
        ["stages", stage, "with", rest @ ..] | ["stages", stage, rest @ ..]
            if stages.contains_key(*stage)
                && !stages.contains_key("stages")
                && !rest.is_empty() =>
        {
            Some(format!("{stage}.{}", rest.join(".")))
        }
        [stage, "with", rest @ ..] if stages.contains_key(*stage) && !rest.is_empty() => {
            Some(format!("{stage}.{}", rest.join(".")))
        }
        [key, ..] if !stages.contains_key(*key) => {
            let (stage, _) = stages.iter().find(|(_, stage)| has_parameter(stage, key, kinds))?;
            Some(format!("{stage}.{}", keys.join(".")))
        }
        _ => None,
    }
}

/// The value of `needs`: a list of stages, or stages by role.
fn needs_schema() -> Value {
    let one = serde_json::json!({ "type": "string" });
    let several = serde_json::json!({ "type": "array", "items": one });
    let of_role = serde_json::json!({ "anyOf": [one, several] });
    serde_json::json!({
        "anyOf": [several, { "type": "object", "additionalProperties": of_role }]
    })
}

fn schema_of_top(key: &str) -> &'static str {
    if key == "name" { "string" } else { "integer" }
}

fn has_parameter(stage: &Value, key: &str, kinds: &[Kind]) -> bool {
    let uses = stage.get("uses").and_then(Value::as_str);
    let kind = kinds.iter().find(|kind| Some(kind.name) == uses);
    kind.is_some_and(|kind| {
        kind.schema().as_value().pointer(&format!("/properties/{key}")).is_some()
    })
}

/// Puts a value at a path of keys and indices, creating mappings as needed.
fn put(target: &mut Value, path: &[&str], value: Value) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else {
        *target = value;
        return Ok(());
    };
    if target.is_null() {
        *target = Value::Object(Map::new());
    }
    match target {
        Value::Object(fields) => put(fields.entry(*key).or_insert(Value::Null), rest, value),
        Value::Array(items) => {
            let count = items.len();
            let item = key.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            put(
                item.ok_or_else(|| format!("a list of {count} values has no '{key}'"))?,
                rest,
                value,
            )
        }
        _ => Err(format!("'{key}' is below a plain value; set the value itself")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::toys;
    use serde_json::json;

    #[test]
    fn a_value_is_put_where_its_path_leads() {
        let mut value = json!({"a": [1, 2], "b": null});
        put(&mut value, &["a", "1"], json!(5)).unwrap();
        put(&mut value, &["b", "c"], json!("x")).unwrap();
        put(&mut value, &["d", "e"], json!(true)).unwrap();
        assert_eq!(value, json!({"a": [1, 5], "b": {"c": "x"}, "d": {"e": true}}));
        assert!(put(&mut value, &["a", "7"], json!(0)).unwrap_err().contains("has no '7'"));
        assert!(put(&mut value, &["a", "0", "x"], json!(0)).unwrap_err().contains("plain value"));
    }

    #[test]
    fn needs_are_replaced_whole_by_role_and_by_place() {
        let text = format!(
            "{}  other: {{ uses: train, needs: [data], with: {{ epochs: 4 }} }}
  pair: {{ uses: pair, needs: {{ teacher: model, pupil: other }} }}
  mix: {{ uses: mix, needs: [model] }}
",
            toys::GOOD
        );
        let needs = |stage: &str, set: &[&str]| {
            let workflow = toys::parse(&text, set).expect("a workflow");
            workflow.stage(stage).expect(stage).needs.clone()
        };
        let roles = |all: &[(&str, &[&str])]| {
            let one = |ids: &[&str]| ids.iter().map(|id| id.to_string()).collect();
            all.iter().map(|(role, ids)| (role.to_string(), one(ids))).collect()
        };
        assert_eq!(
            needs("mix", &["mix.needs=[model, other]"]),
            roles(&[("models", &["model", "other"])])
        );
        assert_eq!(needs("mix", &["mix.needs.0=other"]), roles(&[("models", &["other"])]));
        let swapped = ["pair.needs={teacher: other, pupil: model}"];
        assert_eq!(
            needs("pair", &swapped),
            roles(&[("teacher", &["other"]), ("pupil", &["model"])])
        );
        let same = roles(&[("teacher", &["model"]), ("pupil", &["model"])]);
        assert_eq!(needs("pair", &["pair.needs.pupil=model"]), same);
        let trouble = |set: &str| toys::parse(&text, &[set]).map(|_| ()).expect_err(set).join("\n");
        for (set, words) in [
            ("mix.needs=[modle]", "--set mix.needs=[modle]: stage 'mix': key 'needs.0': "),
            ("mix.needs.models=other", "as in mix.needs=[cache, model], or one by its place"),
            ("mix.needs.7=other", "a list of 1 values has no '7'"),
            ("mix.needs=other", "must be a list of stages, or a mapping from role to stage"),
            ("stages.mix.needs=[other]", "did you mean 'mix.needs'?"),
        ] {
            assert!(trouble(set).contains(words), "{set}: {}", trouble(set));
        }
    }
}
