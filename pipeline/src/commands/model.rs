//! Finding a trained model by name: a run, a run's stage, or a folder; or the models of a sweep.

use crate::commands::{path, show};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::humanize;
use crate::run::StageRecord;
use crate::run_set::{Member, RunSet};
use crate::runs::{self, StoredRun};
use crate::tables::Variants;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use voxflow_cache::{Blob, Digest};
use voxflow_stages::image::Geometry;
use voxflow_stages::model::ModelCard;
use voxflow_stages::{Input, InputFile};

/// Model description.
const CARD: &str = "model.json";

/// The validation score that chooses a sweep's variant.
const DECIDING: &str = "dice";

/// Weight files, at least one present.
const WEIGHTS: [&str; 2] = ["best.safetensors", "last.safetensors"];

/// Collects the model's files.
pub fn find(home: &Home, name: &str) -> Result<Input> {
    let here = Path::new(name);
    let folder =
        if here.file_name().is_some_and(|file| file == CARD) { here.parent() } else { Some(here) };
    match folder.filter(|folder| folder.join(CARD).is_file()) {
        Some(folder) => {
            input(name, |file| Ok(folder.join(file)), |file| folder.join(file).is_file())
        }
        None if here.is_dir() && !here.join("run.json").is_file() => Err(Error::usage(format!(
            "model '{name}': the folder has no {CARD}; name a run, or the folder of a model"
        ))),
        None => of_run(home, name),
    }
}

/// Models to be averaged.
pub struct Ensemble {
    pub models: Vec<Input>,
    /// The choice, in words, where a name stands for several models.
    pub note: Option<String>,
}

/// The models of a name: as [`find`], or all folds and seeds of a sweep's best variant.
pub fn ensemble(home: &Home, name: &str) -> Result<Ensemble> {
    match RunSet::new(home).sweep(name)? {
        Some(members) => of_sweep(home, name, &members),
        None => Ok(Ensemble { models: vec![find(home, name)?], note: None }),
    }
}

fn of_sweep(home: &Home, name: &str, members: &[Member]) -> Result<Ensemble> {
    let summaries: Vec<_> = members.iter().map(|member| member.summary.clone()).collect();
    let variants = Variants::of(name, &summaries, DECIDING);
    let only = match &variants.rows[..] {
        [row] => Some(row.number),
        _ => None,
    };
    let best = variants.best.or(only).ok_or_else(|| {
        Error::usage(format!(
            "sweep '{name}': no variant has a validation {DECIDING}; name the runs instead"
        ))
    })?;
    // The run that tests the chosen variant repeats models of the others.
    let of_best = |member: &&Member| {
        let sweep = member.summary.sweep.as_ref();
        sweep.is_some_and(|sweep| sweep.variant == best && !sweep.chosen)
    };
    let models = members
        .iter()
        .filter(of_best)
        .map(|member| of_run(home, &member.summary.run))
        .collect::<Result<Vec<Input>>>()?;
    let note = format!(
        "sweep '{name}': the {} of variant {best}, the best of {} by validation {DECIDING}",
        humanize::count(models.len() as u64, "model"),
        humanize::count(variants.rows.len() as u64, "variant"),
    );
    Ok(Ensemble { models, note: Some(note) })
}

/// Grids of a run's training cases, from the volumes read by its training; empty for a model from
/// elsewhere, or without those files.
pub fn trained_on(home: &Home, name: &str) -> Vec<Geometry> {
    if Path::new(name).join(CARD).is_file() || Path::new(name).ends_with(CARD) {
        return vec![];
    }
    let Ok((run, id)) = run_and_stage(home, name) else { return vec![] };
    // A case that several folds train on counts once.
    let mut grids: BTreeMap<&str, &str> = BTreeMap::new();
    for stage in sources(&run, &id) {
        let files = stage.artifact.iter().flat_map(|artifact| artifact.0.keys());
        let files = files.filter(|name| is_training_grid(name));
        grids.extend(files.map(|name| (name.as_str(), stage.stage.as_str())));
    }
    let geometries = grids.into_iter().filter_map(|(name, stage)| {
        let path = path::file(&run, stage, name).ok()?;
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    });
    geometries.collect()
}

/// The stages with a model's training cases: its inputs, or for a model made of models, their
/// inputs.
fn sources<'a>(run: &'a StoredRun, id: &str) -> Vec<&'a StageRecord> {
    let needs = run.record.stage(id).into_iter().flat_map(|stage| stage.needs.values().flatten());
    let stages: Vec<&StageRecord> = needs.filter_map(|need| run.record.stage(need)).collect();
    let has_cases = |stage: &&StageRecord| {
        stage.artifact.iter().flat_map(|one| one.0.keys()).any(|name| is_training_grid(name))
    };
    if stages.iter().any(has_cases) {
        return stages;
    }
    let models = stages.into_iter().filter(|stage| has_model(stage));
    models.flat_map(|model| sources(run, &model.stage)).collect()
}

fn has_model(stage: &StageRecord) -> bool {
    stage.artifact.as_ref().is_some_and(|artifact| artifact.get(CARD).is_some())
}

/// True for "training/case_01/geometry.json".
fn is_training_grid(name: &str) -> bool {
    name.starts_with("training/") && name.ends_with("/geometry.json")
}

fn of_run(home: &Home, name: &str) -> Result<Input> {
    let (run, id) = run_and_stage(home, name)?;
    let stage = show::stage(&run.record, &id)?;
    let has =
        |file: &str| stage.artifact.as_ref().is_some_and(|artifact| artifact.get(file).is_some());
    if !has(CARD) {
        return Err(Error::usage(format!(
            "stage '{}' of run '{}' made no model",
            stage.stage, run.record.run
        )));
    }
    input(name, |file| path::file(&run, &stage.stage, file), has)
}

/// The run, and the id of its stage with the model.
fn run_and_stage(home: &Home, name: &str) -> Result<(StoredRun, String)> {
    let split = if runs::is_path(name) { None } else { name.rsplit_once('/') };
    let (run, stage) = split.map_or((name, None), |(run, stage)| (run, Some(stage)));
    let run = runs::find(home, run)?;
    let id = match stage {
        Some(id) => show::stage(&run.record, id)?.stage.clone(),
        None => only(&run)?.stage.clone(),
    };
    Ok((run, id))
}

/// The only stage with a model of which no other model is made; errors if several.
fn only(run: &StoredRun) -> Result<&StageRecord> {
    let all = run.record.stages.iter().filter(|stage| has_model(stage));
    let needed: BTreeSet<&String> =
        all.clone().flat_map(|stage| stage.needs.values().flatten()).collect();
    let stages: Vec<&StageRecord> = all.filter(|stage| !needed.contains(&stage.stage)).collect();
    let id = &run.record.run;
    match stages[..] {
        [one] => Ok(one),
        [] => {
            Err(Error::usage(format!("run '{id}' made no model; 'voxflow runs' lists other runs")))
        }
        _ => {
            let names: Vec<String> =
                stages.iter().map(|stage| format!("'{id}/{}'", stage.stage)).collect();
            Err(Error::usage(format!(
                "run '{id}' made several models: name {}",
                names.join(" or ")
            )))
        }
    }
}

fn input(
    name: &str,
    path: impl Fn(&str) -> Result<PathBuf>,
    has: impl Fn(&str) -> bool,
) -> Result<Input> {
    let mut input = Input { stage: name.to_string(), ..Input::default() };
    let mut add = |file: String| -> Result<()> {
        if has(&file) {
            input.files.insert(file.clone(), input_file(path(&file)?)?);
        }
        Ok(())
    };
    [CARD].into_iter().chain(WEIGHTS).try_for_each(|file| add(file.to_string()))?;
    for folder in members(&path(CARD)?) {
        let files = [CARD].into_iter().chain(WEIGHTS);
        files.map(|file| format!("{folder}/{file}")).try_for_each(&mut add)?;
    }
    Ok(input)
}

/// The folders of an ensemble's models; empty for a single model. A card that cannot be read is
/// left to its readers.
fn members(card: &Path) -> Vec<String> {
    let text = std::fs::read(card).unwrap_or_default();
    let card: Option<ModelCard> = serde_json::from_slice(&text).ok();
    let sound = card.filter(|card| card.check_members().is_ok());
    let members = sound.map(|card| card.members).unwrap_or_default();
    members.into_iter().map(|member| member.folder).collect()
}

/// A user's file as stage input.
pub fn input_file(path: PathBuf) -> Result<InputFile> {
    let path = std::path::absolute(&path).map_err(Error::io("find", &path))?;
    let bytes = std::fs::metadata(&path).map_err(Error::io("read", &path))?.len();
    Ok(InputFile { blob: Blob { digest: Digest::of_file(&path)?, bytes, reference: None }, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::home;

    #[test]
    fn a_model_is_a_folder_or_its_card_and_an_empty_folder_is_none() {
        let base = tempfile::tempdir().expect("a folder");
        let home = home(&base.path().join("home"));
        let folder = base.path().join("kept");
        std::fs::create_dir(&folder).expect("a folder");
        let name = folder.display().to_string();
        assert!(
            find(&home, &name).expect_err("is empty").to_string().contains("has no model.json")
        );
        for file in [CARD, WEIGHTS[0]] {
            std::fs::write(folder.join(file), "{}").expect("writes");
        }
        for name in [name.clone(), format!("{name}/{CARD}")] {
            let files: Vec<String> =
                find(&home, &name).expect("a model").files.into_keys().collect();
            assert_eq!(files, [WEIGHTS[0], CARD], "{name}");
        }
    }

    #[test]
    fn a_run_whose_model_is_gone_says_so() {
        let base = tempfile::tempdir().expect("a folder");
        let home = home(base.path());
        for name in ["latest", "latest/model"] {
            let error = find(&home, name).expect_err("gone").to_string();
            assert!(
                error.contains("is no longer at") && error.contains("run the workflow again"),
                "{error}"
            );
        }
        assert!(
            find(&home, "latest/modle")
                .expect_err("no such stage")
                .to_string()
                .contains("did you mean 'model'?")
        );
    }
}
