//! Troubles with containers foreseen before any work: images without a digest, engines that are not
//! there.

use super::engine::ContainerEngine;
use super::images;
use crate::plan::Plan;
use crate::workflow::{StageSpec, Workflow};
use voxflow_stages::Stage;
use voxflow_stages::container::Image;
use voxflow_stages::kinds::command::Command;

/// Images that no engine of this machine runs, among the stages to be made.
pub fn of_plan(plan: &Plan) -> Vec<String> {
    let stages = plan.workflow.stages.iter().enumerate();
    let open = stages.filter(|(index, _)| plan.is_open(*index)).map(|(_, stage)| stage);
    let troubles = open.filter_map(|stage| {
        let trouble = ContainerEngine::of(&image(stage)?).err()?;
        Some(format!("stage '{}': {trouble}", stage.id))
    });
    troubles.collect()
}

/// Images by a tag, with the digest that it means now if an engine here can tell.
pub fn tagged(workflow: &Workflow) -> Vec<String> {
    let named = workflow.stages.iter().filter_map(|stage| match image(stage)? {
        Image::Tagged(name) => Some((stage, name)),
        _ => None,
    });
    let troubles = named.map(|(stage, name)| {
        let way_out = match images::digest_now(&name) {
            Some(now) => format!("today it is {now}: write that"),
            None => format!(
                "write docker://NAME@sha256:DIGEST; it is not on this machine: 'docker pull \
                 {name}' fetches it and names its digest"
            ),
        };
        let (file, id) = (&workflow.file, &stage.id);
        format!(
            "{file}: stage '{id}': container 'docker://{name}' may be another image tomorrow; \
             {way_out}"
        )
    });
    troubles.collect()
}

/// The image of a stage's container, if it has one.
fn image(stage: &StageSpec) -> Option<Image> {
    if stage.kind.name != Command::NAME {
        return None;
    }
    serde_json::from_value::<Command>(stage.params.clone()).ok()?.image()
}
