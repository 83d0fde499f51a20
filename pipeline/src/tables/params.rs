//! Parameters table: one row per value.

use super::frame::{Columns, Frame};
use serde_json::Value;
use voxflow_stages::Result;

/// A parameter in a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamRow {
    pub run_id: String,
    pub stage: String,
    /// Dotted path: "optimizer.learning_rate".
    pub key: String,
    /// Strings unquoted, anything else as JSON.
    pub value: String,
}

impl ParamRow {
    /// Flattens a stage's parameters: mappings become dotted paths, lists stay whole.
    pub fn flatten(run_id: &str, stage: &str, params: &Value) -> Vec<ParamRow> {
        let mut rows = vec![];
        walk("", params, &mut |key, value| {
            rows.push(ParamRow {
                run_id: run_id.into(),
                stage: stage.into(),
                key: key.into(),
                value,
            });
        });
        rows
    }
}

fn walk(path: &str, value: &Value, tell: &mut impl FnMut(&str, String)) {
    match value {
        Value::Object(fields) if path.is_empty() || !fields.is_empty() => {
            for (key, field) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, field, tell);
            }
        }
        Value::String(words) => tell(path, words.clone()),
        other => tell(path, other.to_string()),
    }
}

pub(super) fn frame(rows: &[ParamRow]) -> Result<Frame> {
    Columns::default()
        .text("run_id", rows.iter().map(|row| Some(row.run_id.as_str())))
        .text("stage", rows.iter().map(|row| Some(row.stage.as_str())))
        .text("key", rows.iter().map(|row| Some(row.key.as_str())))
        .text("value", rows.iter().map(|row| Some(row.value.as_str())))
        .frame()
}

pub(super) fn rows(frame: &Frame) -> Result<Vec<ParamRow>> {
    let [mut run_id, mut stage, mut key, mut value] =
        [frame.text("run_id")?, frame.text("stage")?, frame.text("key")?, frame.text("value")?];
    Ok((0..frame.height())
        .map(|i| ParamRow {
            run_id: run_id[i].take().unwrap_or_default(),
            stage: stage[i].take().unwrap_or_default(),
            key: key[i].take().unwrap_or_default(),
            value: value[i].take().unwrap_or_default(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mappings_become_dotted_paths_and_lists_stay_whole() {
        let params = json!({"patch": [96, 96], "optimizer": {"kind": "adam", "lr": 0.002}, "start": null, "extra": {}});
        let rows = ParamRow::flatten("r", "model", &params);
        let shown: Vec<String> =
            rows.iter().map(|row| format!("{}={}", row.key, row.value)).collect();
        assert_eq!(
            shown,
            [
                "patch=[96,96]",
                "optimizer.kind=adam",
                "optimizer.lr=0.002",
                "start=null",
                "extra={}"
            ]
        );
    }
}
