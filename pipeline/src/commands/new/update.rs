//! `voxflow new --update`: what a workflow's plan would be now.

use super::parsed::workflow;
use super::planned::{PlannedSetting, PlannedSettings};
use super::recipe::kept_in;
use super::statistics::{LookedAt, STAGE, StageIds};
use crate::commands::workflow_args::refusal;
use crate::error::{Error, Result};
use crate::globals::Globals;
use crate::workflow::{StageSpec, Workflow};
use serde_json::Value;
use std::path::Path;
use voxflow_stages::planner::Preset;

/// The differences between the settings of `file` and of its current plan, a line for each old and
/// each new value. The plan's recipe and memory are the given ones, else those kept by the file.
pub(super) fn differences(
    globals: &Globals,
    file: &Path,
    given: Option<Preset>,
    gpu_memory_gb: Option<f64>,
) -> Result<(String, LookedAt)> {
    let text = std::fs::read_to_string(file).map_err(Error::io("read", file))?;
    let (preset, gpu_memory_gb) = recipe(&text, file, given, gpu_memory_gb)?;
    let planned = workflow(&text, file).map_err(|mistakes| refusal(&mistakes))?;
    let split = of_kind(&planned, "split")?;
    let preprocess = of_kind(&planned, "preprocess")?;
    let train = of_kind(&planned, "train")?;
    let dataset = split.needed().first().copied().unwrap_or_default().to_string();
    if planned.stage(STAGE).is_some() {
        let words =
            "has a stage 'statistics' of its own, and 'new' adds one by this name; rename it";
        return Err(Error::usage(format!("'{}': {words}", file.display())));
    }
    let ids = StageIds { dataset: &dataset, split: &split.id };
    let looked = LookedAt::of(globals, &text, &ids)?;
    let settings = PlannedSettings::of(&looked.plan(preset, gpu_memory_gb)?, &looked)?;
    let lines = [changed(preprocess, &settings.preprocess)?, changed(train, &settings.train)?];
    Ok((lines.concat(), looked))
}

/// The planner, and the memory if it is not the planner's own.
fn recipe(
    text: &str,
    file: &Path,
    given: Option<Preset>,
    gpu_memory_gb: Option<f64>,
) -> Result<(Preset, Option<f64>)> {
    match (given, kept_in(text)) {
        (Some(preset), _) => Ok((preset, gpu_memory_gb)),
        (None, Some((preset, kept_gb))) => Ok((preset, gpu_memory_gb.or(Some(kept_gb)))),
        (None, None) => Err(Error::usage(format!(
            "'{}' does not say by which recipe it was planned: it has no comment '# Recipe: …', as \
             'voxflow new' writes; say which plan to compare with, as '--recipe nnunet'",
            file.display()
        ))),
    }
}

/// The first stage of a kind.
fn of_kind<'a>(planned: &'a Workflow, kind: &str) -> Result<&'a StageSpec> {
    planned.stages.iter().find(|stage| stage.kind.name == kind).ok_or_else(|| {
        Error::usage(format!(
            "'{}' has no stage of kind '{kind}', so it has no plan to update; 'voxflow new' writes \
             one",
            planned.file
        ))
    })
}

/// A stage's parameters against what a plan gives them, both as understood.
fn changed(stage: &StageSpec, settings: &[PlannedSetting]) -> Result<String> {
    let mut params = stage.written.clone();
    for setting in settings {
        params[setting.key] = setting.value.clone();
    }
    let understood = stage.kind.understand(&params).map_err(|mistakes| {
        Error::Failed(format!("the plan does not suit stage '{}': {mistakes:?}", stage.id))
    })?;
    let mut lines = String::new();
    for PlannedSetting { key, .. } in settings {
        leaves(&format!("{}.{key}", stage.id), &stage.params[*key], &understood[*key], &mut lines);
    }
    Ok(lines)
}

/// Both values of every parameter that differs.
fn leaves(path: &str, old: &Value, new: &Value, lines: &mut String) {
    if old == new {
        return;
    }
    if let (Value::Object(fields), Value::Object(others)) = (old, new)
        && fields.keys().eq(others.keys())
    {
        for (key, value) in fields {
            leaves(&format!("{path}.{key}"), value, &others[key], lines);
        }
        return;
    }
    *lines += &format!("{path}\n- {old}\n+ {new}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_told_with_both_values() {
        let mut lines = String::new();
        let old = json!({ "clip": [0, 1], "mean": 2 });
        leaves("a.ct", &old, &json!({ "clip": [0, 3], "mean": 2 }), &mut lines);
        assert_eq!(lines, "a.ct.clip\n- [0,1]\n+ [0,3]\n");
        lines.clear();
        leaves("a", &json!({ "window": [0, 1] }), &old, &mut lines);
        assert!(lines.starts_with("a\n- {\"window\""), "{lines}");
    }
}
