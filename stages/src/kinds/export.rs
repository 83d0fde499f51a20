//! `export`: a model in the form of another program. The forms themselves are `model::export`'s.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::kind::Run;
use crate::model::ensemble::models_of;
use crate::model::export::nnunet::FoldName;
use crate::model::export::{bundle, nnunet, torchscript};
use crate::model::{ModelCard, Weights, weights};
use crate::stage::{ArtifactType, Count, Pool, Read, Stage};
use crate::task::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use voxflow_cache::disk;

/// Writes a model for another program: safetensors or TorchScript for PyTorch, a MONAI bundle, or a
/// folder of nnU-Net's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The format to write.
    pub format: Format,
    /// The weights of the model.
    #[serde(default)]
    pub weights: Weights,
}

/// Formats of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `model.safetensors`: the weights under the parameter names of MONAI's UNet, or of
    /// dynamic-network-architectures for nnU-Net's networks.
    Safetensors,
    /// `model.ts`: the network in evaluation mode, for `torch.jit.load`, from Python or C++.
    Torchscript,
    /// A folder that `python -m monai.bundle run` understands: weights, preprocessing, sliding
    /// window.
    Bundle,
    /// A folder that `nnUNetv2_predict_from_modelfolder` understands, and from which nnU-Net
    /// fine-tunes: `plans.json`, `dataset.json`, `fold_all/checkpoint_final.pth`, or `fold_0` and
    /// so on for an ensemble of folds. For nnU-Net's networks, prepared with 'resampling' and
    /// 'crop_nonzero'.
    Nnunet,
}

impl Stage for Export {
    const NAME: &'static str = "export";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[Read {
        role: "model",
        artifact: ArtifactType::Model,
        parts: &[""],
        count: Count::One,
        doc: "what to write",
    }];
    const MAKES: ArtifactType = ArtifactType::Export;
    const POOL: Pool = Pool::Io;
}

impl Run for Export {
    fn run(&self, cx: &Context) -> Result<()> {
        let model = cx.input("model")?;
        let card: ModelCard = model.json("model.json")?;
        if self.format != Format::Nnunet {
            card.check_single(&model.stage, "this format holds")?;
        }
        if !card.keep_largest.is_empty() {
            cx.warn(format!(
                "the model's post-processing is left out: keep the largest component of the labels \
                 {:?}, one list after the other",
                card.keep_largest
            ));
        }
        match self.format {
            Format::Safetensors => {
                cx.adopt("model.safetensors", &model.file(self.weights.file())?.blob);
                Ok(())
            }
            Format::Torchscript => {
                let named = self.named(model, &card)?;
                write(cx, "model.ts", &torchscript::archive(&card.graph(), &named)?)
            }
            Format::Bundle => {
                bundle::warnings(&card).into_iter().for_each(|words| cx.warn(words));
                let files = bundle::files(&card, &self.named(model, &card)?)?;
                files.iter().try_for_each(|(name, bytes)| write(cx, name, bytes))
            }
            Format::Nnunet => {
                nnunet::warnings(&card).into_iter().for_each(|words| cx.warn(words));
                self.write_nnunet(cx, model, &card)
            }
        }
    }
}

impl Export {
    /// Writes nnU-Net's folder: a model as `fold_all`, an ensemble with a fold for each.
    fn write_nnunet(&self, cx: &Context, model: &Input, card: &ModelCard) -> Result<()> {
        let count = card.configurations();
        if count > 1 {
            return Err(Error::failed(format!(
                "model '{}' averages {count} configurations, and nnU-Net's folder holds one; export \
                 a model that was selected with 'pairs: false'",
                model.stage
            )));
        }
        let models = models_of(model)?;
        for (number, one) in models.iter().enumerate() {
            let fold =
                if card.members.is_empty() { FoldName::All } else { FoldName::Number(number) };
            if number == 0 {
                let files = nnunet::descriptions(&one.card)?;
                files.iter().try_for_each(|(name, bytes)| write(cx, name, bytes))?;
            }
            let tensors = self.named(&one.input, &one.card)?;
            let (name, bytes) = nnunet::fold(&one.card, &tensors, fold)?;
            write(cx, &name, &bytes)?;
        }
        Ok(())
    }

    /// The weights by name, in the network's order.
    fn named(&self, model: &Input, card: &ModelCard) -> Result<weights::StateDict> {
        let path = model.path(self.weights.file())?;
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        weights::of_model(&bytes, card)
            .map_err(|error| Error::failed(format!("model '{}': {error}", model.stage)))
    }
}

fn write(cx: &Context, name: &str, bytes: &[u8]) -> Result<()> {
    Ok(disk::write(&cx.create(name)?, bytes)?)
}
