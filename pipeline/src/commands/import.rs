//! `voxflow import`: converts another program's weights into a model without a workflow, using the
//! kind `import`; its parameters come from another model, from nnU-Net's plans, and `--set`.

use super::workflow_args::refusal;
use super::{model, standalone, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::workflow::{Diagnostic, Override, SourceSpan, Workflow, environment};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_stages::KINDS;
use voxflow_stages::context::write_json;
use voxflow_stages::kinds::import;
use voxflow_stages::model::description::EnsembleMember;
use voxflow_stages::model::ensemble::CARD;
use voxflow_stages::model::foreign::nnunet::{NnunetModel, ResultsFolder};
use voxflow_stages::model::{ModelCard, Weights};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow import finetuned.pt --like latest --out model
  voxflow import nnUNet_results/Dataset009_Spleen/nnUNetTrainer__nnUNetPlans__3d_fullres --out spleen
  voxflow import model.pt --out model --set modality=[CT] --set labels=[spleen] \\
      --set 'preprocess={spacing: [1.5, 1.5, 2.0], intensity: {window: [-57, 164]}}' \\
      --set inference.roi=[96,96,96]

The parameters are those of the kind: 'voxflow kinds import' lists them. The folder is a model
like any other: 'voxflow predict --model DIR' uses it. Of nnU-Net's folder each fold becomes a
model; with more than one they are 'DIR/fold_0' and so on, and DIR is the ensemble of all.")]
pub struct ImportArgs {
    /// PyTorch's .pt or .pth (a state_dict), TorchScript, or safetensors; or the folder of a
    /// training by nnU-Net v2, with plans.json; no code inside is executed
    #[arg(value_name = "FILE_OR_FOLDER")]
    pub file: PathBuf,
    /// Output folder; existing files are replaced
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// A model whose network, channels, labels, preprocessing and sliding window apply to the
    /// weights: a run, RUN/STAGE, or a folder with model.json
    #[arg(long, value_name = "RUN_OR_FOLDER")]
    pub like: Option<String>,
    /// A fold of nnU-Net's training (0 to 4, or all); may be repeated. Default: each that is there
    #[arg(long, value_name = "FOLD")]
    pub fold: Vec<String>,
    /// The checkpoint of nnU-Net's training
    #[arg(long, value_enum, default_value_t = CheckpointName::Final)]
    pub checkpoint: CheckpointName,
    /// A parameter for the import, as modality=[CT]; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

/// nnU-Net's two checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckpointName {
    /// Of the last epoch: what nnUNetv2_predict takes
    Final,
    /// Of the best moving pseudo Dice
    Best,
}

impl CheckpointName {
    fn word(self) -> &'static str {
        match self {
            CheckpointName::Final => "final",
            CheckpointName::Best => "best",
        }
    }
}

impl ImportArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        if ResultsFolder::is_at(&self.file) {
            return self.run_folds(globals);
        }
        if !self.fold.is_empty() {
            let words = format!("--fold: '{}' is no folder with plans.json", self.file.display());
            return Err(Error::usage(words));
        }
        let mut params = match &self.like {
            Some(name) => alike(name, &model::find(&globals.home(), name)?.json("model.json")?)?,
            None => json!({}),
        };
        params["file"] = json!(self.file);
        self.make(globals, &params, &self.out)?;
        Ok(Exit::Done)
    }

    /// Converts folds of nnU-Net's training.
    fn run_folds(&self, globals: &Globals) -> Result<Exit> {
        if self.like.is_some() {
            return Err(Error::usage("--like: plans.json says what the model is; leave it out"));
        }
        let folder = ResultsFolder::open(&self.file)?;
        let checkpoint = self.checkpoint.word();
        let found = folder.folds(checkpoint)?;
        if let Some(fold) = self.fold.iter().find(|fold| !found.contains(fold)) {
            let words = format!("--fold {fold}: there is {}", found.join(", "));
            return Err(Error::usage(words));
        }
        let folds = if self.fold.is_empty() { &found } else { &self.fold };
        for fold in folds {
            let out = match folds.len() {
                1 => self.out.clone(),
                _ => self.out.join(format!("fold_{fold}")),
            };
            let model = folder.model(fold, checkpoint)?;
            if !is_plain(&model.trainer) && !globals.quiet {
                tell(&format!(
                    "fold {fold}: trained by '{}'; if that changes the network's layers, \
                     predictions differ",
                    model.trainer
                ));
            }
            self.make(globals, &planned(&model), &out)?;
        }
        if folds.len() > 1 {
            self.join(globals, folds)?;
        }
        Ok(Exit::Done)
    }

    /// Makes one model of several folds: a card beside their folders.
    fn join(&self, globals: &Globals, folds: &[String]) -> Result<()> {
        let mut cards = vec![];
        for fold in folds {
            let folder = format!("fold_{fold}");
            let path = self.out.join(&folder).join(CARD);
            let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
            let card = serde_json::from_slice(&text)
                .map_err(|error| Error::Failed(format!("{}: {error}", path.display())))?;
            cards.push((card, EnsembleMember { folder, configuration: 0 }));
        }
        if let Some(card) = ModelCard::of_ensemble(&cards, None) {
            write_json(&self.out.join(CARD), &card)?;
        }
        if !globals.quiet {
            let (count, out) = (folds.len(), self.out.display());
            tell(&format!("{CARD} of the ensemble of {count} folds in '{out}'"));
        }
        Ok(())
    }

    fn make(&self, globals: &Globals, params: &Value, out: &Path) -> Result<()> {
        let stage = self.understood(params)?;
        spare(out, stage.file.as_deref().unwrap_or(&self.file))?;
        let names = standalone::make(&stage, BTreeMap::new(), out)?;
        if !globals.quiet {
            tell(&format!("{} in '{}'", names.join(", "), out.display()));
        }
        Ok(())
    }

    /// Parameters with overrides applied, validated as in a workflow with only this stage.
    fn understood(&self, params: &Value) -> Result<import::Import> {
        let workflow = json!({ "stages": { "import": { "uses": "import", "with": params } } });
        // A dollar sign of a person's own is no variable here.
        let text = workflow.to_string().replace('$', "$$");
        let overrides =
            self.set.iter().map(|words| below_import(words)).collect::<Result<Vec<Override>>>()?;
        let workflow =
            Workflow::parse("import", text.as_bytes(), &overrides, KINDS, &environment::process);
        let workflow = workflow
            .map_err(|mistakes| refusal(&mistakes.into_iter().map(by_flag).collect::<Vec<_>>()))?;
        let params = workflow.stage("import").map(|stage| stage.params.clone()).unwrap_or_default();
        serde_json::from_value(params).map_err(|error| Error::usage(format!("import: {error}")))
    }
}

/// Errors if the output would overwrite the input file.
fn spare(out: &Path, file: &Path) -> Result<()> {
    if [Weights::Best, Weights::Last].into_iter().any(|which| {
        let place = out.join(which.file());
        place.canonicalize().is_ok_and(|place| file.canonicalize().is_ok_and(|file| file == place))
    }) {
        let words = format!(
            "--out: the model would take the place of '{}'; name another folder",
            file.display()
        );
        return Err(Error::Usage(words));
    }
    Ok(())
}

/// True for trainers that are known to leave the network as the plans have it.
fn is_plain(trainer: &str) -> bool {
    let Some(rest) = trainer.strip_prefix("nnUNetTrainer") else { return false };
    let rest = rest.trim_start_matches('_');
    let digits = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    ["", "epoch", "epochs", "NoMirroring", "DA5", "DAOrd0"].contains(&digits)
}

/// Import parameters by nnU-Net's plans.
fn planned(model: &NnunetModel) -> Value {
    json!({
        "file": model.file,
        "kernel_axes": model.kernel_axes,
        "network": model.network,
        "modality": model.modality,
        "labels": model.labels,
        "regions": model.regions,
        "preprocess": model.preprocess,
        "inference": model.inference,
        "dataset": model.dataset,
    })
}

/// Import parameters taken from a similar model.
fn alike(name: &str, card: &ModelCard) -> Result<Value> {
    if !card.labels.iter().map(|label| label.value).eq(1..=card.labels.len() as u8) {
        let values: Vec<u8> = card.labels.iter().map(|label| label.value).collect();
        return Err(Error::usage(format!(
            "--like {name}: its labels have the values {values:?}, and an imported model's are 1, \
             2 and so on"
        )));
    }
    Ok(json!({
        "network": card.network,
        "modality": card.modality,
        "labels": card.labels.iter().map(|label| &label.name).collect::<Vec<_>>(),
        "regions": card.regions,
        "preprocess": card.preparation,
        "inference": card.inference,
        "dataset": card.dataset,
    }))
}

/// Prefixes an override with the stage's id.
fn below_import(words: &str) -> Result<Override> {
    let setting = Override::parse(words).map_err(Error::Usage)?;
    Ok(Override { path: format!("import.{}", setting.path), ..setting })
}

/// Hides positions in the generated workflow from a diagnostic.
fn by_flag(mistake: Diagnostic) -> Diagnostic {
    let place = match mistake.place {
        SourceSpan::File { .. } => SourceSpan::Nowhere,
        place => place,
    };
    Diagnostic { place, stage: None, ..mistake }
}
