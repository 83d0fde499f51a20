//! Models read from their artifacts, ready to predict.

use crate::cases::{Classes, Part};
use crate::device::Place;
use crate::infer::Slider;
use crate::unet::Unet;
use crate::weights;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};
use voxflow_stages::dataset::Label;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::{Inference, ModelCard, Network, Weights};
use voxflow_stages::{Context, Error, Input, Result, Trouble};

/// One or several trained networks that agree on what they see and say.
pub struct Models {
    /// What the first says of itself.
    pub card: ModelCard,
    /// Its classes.
    pub classes: Classes,
    networks: Vec<Unet>,
    inference: Inference,
    place: Place,
}

impl Models {
    /// Reads the models of role `model`. `inference` overrides the first model's own settings.
    pub fn open(
        cx: &Context,
        which: Weights,
        inference: Option<&Inference>,
        flips: bool,
        place: Place,
    ) -> Result<Models> {
        let inputs = cx.many("model");
        let cards: Vec<ModelCard> =
            inputs.iter().map(|input| input.json("model.json")).collect::<Result<_>>()?;
        let Some(card) = cards.first().cloned() else {
            return Err(Error::failed("no model was given"));
        };
        for (other, input) in cards.iter().zip(inputs) {
            same(&card, other, &input.stage)?;
        }
        let networks =
            inputs.iter().zip(&cards).map(|(input, card)| network(input, card, which, &place));
        let networks = networks.collect::<Result<_>>()?;
        let mut inference = inference.unwrap_or(&card.inference).clone();
        inference.roi = inference.roi.or(card.inference.roi);
        inference.flips |= flips;
        if let Some((path, trouble)) = inference.check_roi(&card.network, "inference") {
            return Err(Error::failed(format!("{path}: {trouble}")));
        }
        Ok(Models { classes: Classes::new(&card.labels), card, networks, inference, place })
    }

    /// The sliding window of all models together.
    pub fn slider(&self) -> Result<Slider<'_>> {
        let roi = self
            .inference
            .roi
            .ok_or_else(|| Error::failed("inference.roi: is not set, nor does the model say"))?;
        Ok(Slider {
            networks: self.networks.iter().collect(),
            inference: self.inference.clone(),
            roi,
            device: self.place.device,
            compute: Kind::Float,
        })
    }

    /// An error if volumes were made for other labels, channels or another preparation.
    pub fn check(&self, labels: &[Label], modality: &[String]) -> Result<()> {
        let names = |labels: &[Label]| {
            labels.iter().map(|label| label.name.clone()).collect::<Vec<_>>().join(", ")
        };
        if labels != self.card.labels {
            let (found, known) = (names(labels), names(&self.card.labels));
            return Err(Error::failed(format!(
                "the volumes have labels ({found}), the model knows ({known})"
            )));
        }
        self.check_channels(modality)
    }

    /// An error if images have another number of channels.
    pub fn check_channels(&self, modality: &[String]) -> Result<()> {
        if modality.len() == self.card.modality.len() {
            return Ok(());
        }
        let (found, known) = (modality.join(", "), self.card.modality.join(", "));
        Err(Error::failed(format!("the images have channels ({found}), the model reads ({known})")))
    }
}

fn same(one: &ModelCard, other: &ModelCard, stage: &str) -> Result<()> {
    let differs = |what: &str| {
        Err(Error::failed(format!("model '{stage}': its {what} differ from the first model's")))
    };
    if one.labels != other.labels {
        return differs("labels");
    }
    if one.modality != other.modality {
        return differs("channels");
    }
    if one.preparation != other.preparation { differs("preparation parameters") } else { Ok(()) }
}

fn network(input: &Input, card: &ModelCard, which: Weights, place: &Place) -> Result<Unet> {
    let mistakes = card.network.check("network");
    if let Some((path, trouble)) = mistakes.first() {
        return Err(Error::failed(format!("model '{}': {path}: {trouble}", input.stage)));
    }
    let unet = Unet::new(
        &card.network,
        card.modality.len().max(1),
        card.labels.len() + 1,
        0,
        Kind::Float,
        place.device,
    );
    let file = which.file();
    let tensors = weights::read(input.path(file)?)?;
    weights::fill(&unet, &tensors).trouble(format!("'{file}' of stage '{}'", input.stage))?;
    Ok(unet)
}

/// The weights that a training starts from, by name: those of a model of the same network.
pub fn start(input: &Input, params: &Train, part: &Part) -> Result<BTreeMap<String, Tensor>> {
    let card: ModelCard = input.json("model.json")?;
    let stage = &input.stage;
    // Dropout has no weights: a refinement may drop more or less than the training did.
    if (Network { dropout: params.network.dropout, ..card.network }) != params.network {
        return Err(Error::failed(format!(
            "start '{stage}': its network is another one; give 'network' the same values"
        )));
    }
    if card.labels.len() != part.list.labels.len()
        || card.modality.len() != part.list.modality.len()
    {
        return Err(Error::failed(format!(
            "start '{stage}': it has another number of labels or channels"
        )));
    }
    weights::read(input.path(Weights::Best.file())?)
}
