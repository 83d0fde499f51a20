//! Trained networks read from their model artifacts, ready to predict; several are averaged.

use crate::classes::Classes;
use crate::device::DeviceInfo;
use crate::device_room::DeviceRoom;
use crate::leakage::refuse_leaks;
use crate::network::GraphNetwork;
use crate::sliding_window::SlidingWindow;
use crate::subset::Subset;
use crate::weights;
use std::collections::BTreeSet;
use tch::Kind;
use voxflow_stages::metric::post_processing::Steps;
use voxflow_stages::model::compatibility::{check_channels, differences};
use voxflow_stages::model::{Flips, Inference, ModelCard, Weights};
use voxflow_stages::{Context, Error, Input, Metric, Result, Trouble};

/// One or several trained networks with the same channels, labels and preparation.
pub struct Ensemble {
    /// The card of the first model.
    pub card: ModelCard,
    /// The classes of all models.
    pub classes: Classes,
    /// Labels of which predictions keep the largest component, if all models agree in it.
    pub keep_largest: Steps,
    /// The stage and card of each model.
    cards: Vec<(String, ModelCard)>,
    networks: Vec<GraphNetwork>,
    inference: Inference,
    info: DeviceInfo,
    room: Option<DeviceRoom>,
}

impl Ensemble {
    /// Reads the models of role `model`. `inference` replaces the models' own settings. Errors if
    /// the models do not agree.
    pub fn open(
        cx: &Context,
        weights: Weights,
        inference: Option<&Inference>,
        flips: bool,
        info: DeviceInfo,
    ) -> Result<Ensemble> {
        let inputs = cx.many("model");
        let cards: Vec<ModelCard> =
            inputs.iter().map(|input| input.json("model.json")).collect::<Result<_>>()?;
        let Some(card) = cards.first().cloned() else {
            return Err(Error::failed("no model was given"));
        };
        for (other, input) in cards.iter().zip(inputs) {
            check_agreement(&card, other, &input.stage)?;
        }
        let keep_largest = match cards.iter().all(|other| other.keep_largest == card.keep_largest) {
            true => card.keep_largest.clone(),
            false => {
                cx.warn(
                    "the models have different post-processing ('keep_largest'): none is applied",
                );
                vec![]
            }
        };
        let inference = common_inference(inputs, &cards, inference, flips)?;
        let pairs = inputs.iter().zip(&cards);
        let networks = pairs
            .map(|(input, card)| open_network(input, card, weights, &info))
            .collect::<Result<_>>()?;
        let room = DeviceRoom::of(info.device);
        let cards = inputs.iter().map(|input| input.stage.clone()).zip(cards).collect();
        let classes = Classes::of(&card.labels, &card.regions, None)?;
        Ok(Ensemble { classes, card, keep_largest, cards, networks, inference, info, room })
    }

    /// Sliding-window inference with all networks.
    pub fn sliding_window(&self) -> Result<SlidingWindow<'_>> {
        let Some(roi) = self.inference.roi else {
            return Err(Error::failed("inference.roi: is not set, nor does the model say"));
        };
        Ok(SlidingWindow {
            networks: self.networks.iter().collect(),
            inference: self.inference.clone(),
            roi,
            device: self.info.device,
            room: self.room,
            compute: Kind::Float,
            by_sigmoid: self.classes.has_regions(),
        })
    }

    /// Errors if a subset's volumes do not suit the models (labels, channels, preparation), or if a
    /// model was trained on its cases; with `selected`, also if its weights were selected by them.
    /// `allow_leakage` makes such cases a warning and a metric.
    pub fn check(
        &self,
        cx: &Context,
        subset: &Subset,
        selected: bool,
        allow_leakage: bool,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        for (stage, card) in &self.cards {
            let words = card.check_volumes(&subset.list).trouble(format!("model '{stage}'"))?;
            words.iter().for_each(|words| cx.warn(format!("model '{stage}': {words}")));
            let provenance = card.provenance.as_ref();
            if provenance.is_none_or(|known| known.incomplete) {
                cx.warn(format!(
                    "model '{stage}' does not say all cases that it was trained on: whether it has \
                     seen {} cases is not known",
                    subset.name
                ));
            }
            let leaks = provenance.map(|known| known.leaks(&subset.list.cases, selected));
            let leaks = leaks.unwrap_or_default();
            refuse_leaks(cx, stage, subset.name, &leaks, allow_leakage)?;
            seen.extend(leaks.into_iter().map(|leak| leak.case));
        }
        if !seen.is_empty() {
            cx.metric(Metric::new("leaked_cases", seen.len() as f64).split(subset.name));
        }
        Ok(())
    }

    /// Errors if images have another number of channels or the model's in another order; warns if
    /// the channels have other names.
    pub fn check_channels(&self, cx: &Context, modality: &[String]) -> Result<()> {
        check_channels(&self.card.modality, modality)?.iter().for_each(|words| cx.warn(words));
        Ok(())
    }
}

/// Errors unless two models of an ensemble have the same labels, channels and preparation.
fn check_agreement(one: &ModelCard, other: &ModelCard, stage: &str) -> Result<()> {
    let subject = format!("model '{stage}' beside the first");
    if one.labels != other.labels {
        return Err(Error::failed(format!("{subject}: its labels differ")));
    }
    if one.regions != other.regions {
        return Err(Error::failed(format!("{subject}: its regions differ")));
    }
    if one.modality != other.modality {
        check_channels(&one.modality, &other.modality).trouble(&subject)?;
    }
    let differs = differences(&one.preparation, &other.preparation, one.modality.len());
    if differs.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("{subject}: its volumes were prepared otherwise: {differs}")))
}

/// The inference settings for all models: `given`, or the models' common settings. The window is
/// checked against every network.
fn common_inference(
    inputs: &[Input],
    cards: &[ModelCard],
    given: Option<&Inference>,
    flips: bool,
) -> Result<Inference> {
    // Given settings without a window take the window of each model.
    let mut all = cards.iter().map(|card| {
        let settings = given.unwrap_or(&card.inference).clone();
        Inference { roi: settings.roi.or(card.inference.roi), ..settings }
    });
    let Some(first) = all.next() else { return Err(Error::failed("no model was given")) };
    if let Some((other, input)) = all.zip(&inputs[1..]).find(|(other, _)| *other != first) {
        return Err(Error::failed(format!(
            "models '{}' and '{}' are slid over volumes in different ways, {} and {}; give \
             'inference' with a 'roi' for all of them",
            inputs[0].stage,
            input.stage,
            as_json(&first),
            as_json(&other)
        )));
    }
    for (input, card) in inputs.iter().zip(cards) {
        if let Some((path, trouble)) = first.check_roi(&card.network, "inference") {
            return Err(Error::failed(format!("model '{}': {path}: {trouble}", input.stage)));
        }
    }
    let flips = if flips { Flips::All(true) } else { first.flips.clone() };
    Ok(Inference { flips, ..first })
}

fn as_json(inference: &Inference) -> String {
    serde_json::to_string(inference).unwrap_or_default()
}

fn open_network(
    input: &Input,
    card: &ModelCard,
    weights: Weights,
    info: &DeviceInfo,
) -> Result<GraphNetwork> {
    let mistakes = card.network.check("network");
    if let Some((path, trouble)) = mistakes.first() {
        return Err(Error::failed(format!("model '{}': {path}: {trouble}", input.stage)));
    }
    let network = GraphNetwork::new(&card.graph(), 0, Kind::Float, info.device);
    let file = weights.file();
    let tensors = weights::read(input.path(file)?)?;
    weights::fill(&network, &tensors).trouble(format!("'{file}' of stage '{}'", input.stage))?;
    Ok(network)
}
