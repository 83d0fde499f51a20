//! Models read from their artifacts, ready to predict.

use crate::cases::{Classes, Part};
use crate::device::Place;
use crate::infer::Slider;
use crate::network::GraphNetwork;
use crate::weights;
use std::collections::{BTreeMap, BTreeSet};
use tch::{Kind, Tensor};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::provenance::{Leak, leak_words};
use voxflow_stages::model::suits::{check_channels, differences};
use voxflow_stages::model::{Inference, ModelCard, Network, Provenance, Weights};
use voxflow_stages::{Context, Error, Input, Metric, Result, Trouble};

/// One or several trained networks that agree on what they see and say.
pub struct Models {
    /// What the first says of itself.
    pub card: ModelCard,
    /// Its classes.
    pub classes: Classes,
    /// Each model's stage, and what it says of itself.
    known: Vec<(String, ModelCard)>,
    networks: Vec<GraphNetwork>,
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
        let inference = settings(inputs, &cards, inference, flips)?;
        let networks =
            inputs.iter().zip(&cards).map(|(input, card)| network(input, card, which, &place));
        let networks = networks.collect::<Result<_>>()?;
        let known = inputs.iter().map(|input| input.stage.clone()).zip(cards).collect();
        Ok(Models { classes: Classes::new(&card.labels), card, known, networks, inference, place })
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

    /// An error if a part's volumes do not suit the models (labels, channels, preparation), or if a
    /// model has seen its cases. `chosen`: cases by which weights were chosen count as seen, too.
    /// `allow_leakage` makes a warning and a metric of seen cases.
    pub fn check(
        &self,
        cx: &Context,
        part: &Part,
        chosen: bool,
        allow_leakage: bool,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (stage, card) in &self.known {
            let words = card.check_volumes(&part.list).trouble(format!("model '{stage}'"))?;
            words.iter().for_each(|words| cx.warn(format!("model '{stage}': {words}")));
            let provenance = card.provenance.as_ref();
            if provenance.is_none_or(|known| known.incomplete) {
                cx.warn(format!(
                    "model '{stage}' does not say all cases that it was trained on: whether it has \
                     seen {} cases is not known",
                    part.name
                ));
            }
            let leaks = provenance.map(|known| known.leaks(&part.list.cases, chosen));
            let leaks = leaks.unwrap_or_default();
            refuse_leaks(cx, stage, part.name, &leaks, allow_leakage)?;
            seen.extend(leaks.into_iter().map(|leak| leak.case));
        }
        if !seen.is_empty() {
            cx.metric(Metric::new("leaked_cases", seen.len() as f64).split(part.name));
        }
        Ok(())
    }

    /// An error if images have another number of channels, or the model's in another order; a
    /// warning if they have other names.
    pub fn check_channels(&self, cx: &Context, modality: &[String]) -> Result<()> {
        check_channels(&self.card.modality, modality)?.iter().for_each(|words| cx.warn(words));
        Ok(())
    }
}

/// An error that lists the cases that a model has seen, or a warning where that is allowed.
fn refuse_leaks(
    cx: &Context,
    stage: &str,
    part: &str,
    leaks: &[Leak],
    allow_leakage: bool,
) -> Result<()> {
    if leaks.is_empty() {
        return Ok(());
    }
    let words =
        format!("data leakage: model '{stage}' has seen {part} cases: {}", leak_words(leaks));
    if allow_leakage {
        cx.warn(words);
        return Ok(());
    }
    Err(Error::failed(format!(
        "{words}; take these cases out of the {part} part, or set 'allow_leakage: true' to score \
         them all the same"
    )))
}

fn same(one: &ModelCard, other: &ModelCard, stage: &str) -> Result<()> {
    let of = || format!("model '{stage}' beside the first");
    if one.labels != other.labels {
        return Err(Error::failed(format!("{}: its labels differ", of())));
    }
    if one.modality != other.modality {
        check_channels(&one.modality, &other.modality).trouble(of())?;
    }
    let differs = differences(&one.preparation, &other.preparation, one.modality.len());
    match differs.is_empty() {
        true => Ok(()),
        false => {
            Err(Error::failed(format!("{}: its volumes were prepared otherwise: {differs}", of())))
        }
    }
}

/// The sliding window of all models: `given`, or what the models agree on. It suits every network.
fn settings(
    inputs: &[Input],
    cards: &[ModelCard],
    given: Option<&Inference>,
    flips: bool,
) -> Result<Inference> {
    let of = |card: &ModelCard| {
        let own = given.unwrap_or(&card.inference).clone();
        Inference { roi: own.roi.or(card.inference.roi), ..own }
    };
    let mut all = cards.iter().map(of);
    let Some(first) = all.next() else { return Err(Error::failed("no model was given")) };
    if let Some((other, input)) = all.zip(&inputs[1..]).find(|(other, _)| *other != first) {
        let words = |inference: &Inference| serde_json::to_string(inference).unwrap_or_default();
        return Err(Error::failed(format!(
            "models '{}' and '{}' are slid over volumes in different ways, {} and {}; give \
             'inference' with a 'roi' for all of them",
            inputs[0].stage,
            input.stage,
            words(&first),
            words(&other)
        )));
    }
    for (input, card) in inputs.iter().zip(cards) {
        if let Some((path, trouble)) = first.check_roi(&card.network, "inference") {
            return Err(Error::failed(format!("model '{}': {path}: {trouble}", input.stage)));
        }
    }
    Ok(Inference { flips: first.flips || flips, ..first })
}

fn network(input: &Input, card: &ModelCard, which: Weights, place: &Place) -> Result<GraphNetwork> {
    let mistakes = card.network.check("network");
    if let Some((path, trouble)) = mistakes.first() {
        return Err(Error::failed(format!("model '{}': {path}: {trouble}", input.stage)));
    }
    let network = GraphNetwork::new(&card.graph(), 0, Kind::Float, place.device);
    let file = which.file();
    let tensors = weights::read(input.path(file)?)?;
    weights::fill(&network, &tensors).trouble(format!("'{file}' of stage '{}'", input.stage))?;
    Ok(network)
}

/// What a training starts from.
pub struct Start {
    /// The weights by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The cases that decided them, where the model says so.
    pub provenance: Option<Provenance>,
}

/// The start of a training: a model of the same network. Volumes that were prepared otherwise, and
/// other names of labels, are a warning: a training may move to other data.
pub fn start(
    cx: &Context,
    input: &Input,
    params: &Train,
    training: &Part,
    validation: &Part,
) -> Result<Start> {
    let card: ModelCard = input.json("model.json")?;
    let stage = &input.stage;
    let of = || format!("start '{stage}'");
    // Dropout has no weights: a refinement may drop more or less than the training did.
    if (Network { dropout: params.network.dropout, ..card.network.clone() }) != params.network {
        return Err(Error::failed(format!(
            "{}: its network is another one; give 'network' the same values",
            of()
        )));
    }
    let list = &training.list;
    if card.labels.len() != list.labels.len() {
        return Err(Error::failed(format!("{}: it has another number of labels", of())));
    }
    let channels = check_channels(&card.modality, &list.modality).trouble(of())?;
    channels.iter().for_each(|words| cx.warn(format!("{}: {words}", of())));
    let differs = differences(&card.preparation, &list.preparation, list.modality.len());
    if !differs.is_empty() {
        cx.warn(format!("{}: its volumes were prepared otherwise: {differs}", of()));
    }
    if card.labels != list.labels {
        cx.warn(format!("{}: its labels have other names or values; their order counts", of()));
    }
    if let Some(known) = &card.provenance {
        let leaks = known.leaks(&validation.list.cases, false);
        refuse_leaks(cx, stage, validation.name, &leaks, params.allow_leakage)?;
    }
    let weights = weights::read(input.path(Weights::Best.file())?)?;
    Ok(Start { weights, provenance: card.provenance })
}
