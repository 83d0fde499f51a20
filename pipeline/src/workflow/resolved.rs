//! Writes a workflow with defaults, overrides and roles filled in; itself runnable. `${NAME}` stays
//! as written.

use super::earlier::EarlierArtifact;
use super::environment::escape;
use super::{StageSpec, Workflow, parse, roles};
use serde_json::{Map, Value, json};

impl Workflow {
    /// YAML text for a single run, without its sweep.
    pub fn resolved(&self) -> String {
        let stages = self.stages.iter();
        let stages: Map<String, Value> =
            stages.map(|stage| (stage.id.clone(), self.resolved_stage(stage))).collect();
        let mut top = Map::new();
        top.insert("name".into(), escape(&self.name).into());
        if let Some(seed) = self.seed {
            top.insert("seed".into(), seed.into());
        }
        top.insert("stages".into(), Value::Object(stages));
        parse::write(&Value::Object(top))
    }

    fn resolved_stage(&self, stage: &StageSpec) -> Value {
        let mut out = Map::new();
        out.insert("uses".into(), stage.kind.name.into());
        if !stage.needs.is_empty() {
            let needs = stage.needs.iter().map(|(role, ids)| {
                let ids: Vec<String> = ids.iter().map(|id| self.pinned(id)).collect();
                let many = roles::takes_many(stage.kind, role);
                (role.clone(), if many { json!(ids) } else { json!(ids.first()) })
            });
            out.insert("needs".into(), Value::Object(needs.collect()));
        }
        out.insert("with".into(), as_written(&stage.params, Some(&stage.written)));
        if !stage.resources.written.is_null() {
            out.insert("resources".into(), as_written(&stage.resources.written, None));
        }
        Value::Object(out)
    }

    /// A need; of an earlier run with its digest.
    fn pinned(&self, need: &str) -> String {
        self.earlier.get(need).map_or_else(|| need.to_string(), EarlierArtifact::pinned)
    }
}

/// Parsed value, with strings containing variables kept as written.
fn as_written(understood: &Value, written: Option<&Value>) -> Value {
    match understood {
        Value::String(text) => match written {
            Some(Value::String(original)) if original.contains('$') => original.clone().into(),
            _ => escape(text).into(),
        },
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| as_written(item, written.and_then(|list| list.get(index))))
            .collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(key, field)| {
                    (key.clone(), as_written(field, written.and_then(|fields| fields.get(key))))
                })
                .collect(),
        ),
        other => other.clone(),
    }
}
