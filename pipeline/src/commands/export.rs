//! `voxflow export`: writes a model for another program without a workflow, using the kind
//! `export`.

use super::{model, standalone, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use clap::Args;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use voxflow_stages::kinds::export;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow export latest --out bundle
  voxflow export demo/model --out weights --format safetensors

  voxflow export latest --out spleen --format nnunet

A bundle is run by MONAI: python -m monai.bundle run --config_file configs/inference.json
--bundle_root . --dataset_dir IMAGES
nnU-Net's folder by nnU-Net: nnUNetv2_predict_from_modelfolder -m DIR -f all -i IMAGES -o LABELS")]
pub struct ExportArgs {
    /// A run (id, prefix, latest), a stage (RUN/STAGE), or a folder with model.json
    #[arg(value_name = "RUN_OR_FOLDER")]
    pub model: String,
    /// Output folder; existing files are replaced
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Output format: MONAI bundle, TorchScript (model.ts), weights only (model.safetensors), or a
    /// results folder of nnU-Net
    #[arg(
        long,
        default_value = "bundle",
        value_parser = ["bundle", "torchscript", "safetensors", "nnunet"]
    )]
    pub format: String,
    /// Weights to export
    #[arg(long, default_value = "best", value_parser = ["best", "last"])]
    pub weights: String,
}

impl ExportArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let model = model::find(&globals.home(), &self.model)?;
        let params = json!({ "format": self.format, "weights": self.weights });
        let stage: export::Export =
            serde_json::from_value(params).map_err(|error| Error::usage(error.to_string()))?;
        let names =
            standalone::make(&stage, BTreeMap::from([("model".into(), vec![model])]), &self.out)?;
        if !globals.quiet {
            tell(&format!("{} in '{}'", names.join(", "), self.out.display()));
        }
        Ok(Exit::Done)
    }
}
