//! The recipes of the shipped workflows are pinned: whoever adds a parameter, or changes a default,
//! sees here which trainings he would remake.
//!
//! A pin is the fingerprint of a stage's hashed parameters, without version and inputs. A parameter
//! that is new names its neutral value (`stages/src/kinds/neutral.rs`) and moves no pin.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use voxflow::workflow::Workflow;
use voxflow_cache::Recipe;
use voxflow_stages::kinds::KINDS;

const PINNED: &str = include_str!("recipes.txt");

#[test]
fn the_recipes_of_the_shipped_workflows_stay_as_they_are() {
    let mut found = String::new();
    for (name, text) in shipped() {
        let workflow = Workflow::parse(&name, &text, &[], KINDS, &|_| None).ok().unwrap();
        for stage in &workflow.stages {
            let (kind, params) = (stage.kind.name.to_string(), stage.kind.hashed(&stage.params));
            let recipe = Recipe { kind, version: 0, params, inputs: BTreeMap::new() };
            found += &format!("{name} {} {}\n", stage.id, recipe.fingerprint());
        }
    }
    assert_eq!(found, PINNED, "recipes moved; the lines found stand on the left");
}

fn shipped() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workflows");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.file_name().unwrap().display().to_string(), fs::read(&path).unwrap()))
        .collect()
}
