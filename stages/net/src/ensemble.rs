//! Trained networks read from their model artifacts, ready to predict; several are averaged.

use crate::classes::Classes;
use crate::device::{DeviceInfo, tell_precision};
use crate::device_room::DeviceRoom;
use crate::inference_network::InferenceNetwork;
use crate::leakage::refuse_leaks;
use crate::network::GraphNetwork;
use crate::sliding_window::SlidingWindow;
use crate::subset::Subset;
use crate::{torch_flags, weights};
use std::collections::BTreeSet;
use tch::{Device, Kind};
use voxflow_stages::image::Preparation;
use voxflow_stages::metric::post_processing::Steps;
use voxflow_stages::model::compatibility::{check_channels, differences};
use voxflow_stages::model::ensemble::{CARD, SingleModel, models_of};
use voxflow_stages::model::{Flips, Inference, InferenceOptions, ModelCard, Precision, Weights};
use voxflow_stages::{Context, Error, Metric, Result, Trouble};

/// One or several trained networks with the same channels and labels.
pub struct Ensemble {
    /// The card of the first model.
    pub card: ModelCard,
    /// The classes of all models.
    pub classes: Classes,
    /// Labels of which predictions keep the largest component, if all models agree in it.
    pub keep_largest: Steps,
    /// One, unless a model is an ensemble of several.
    pub configurations: Vec<ConfigurationNetworks>,
    /// True if images are prepared anew where their volumes were prepared otherwise: one model
    /// stands for several that were not known when its volumes were named.
    pub prepares_images: bool,
    /// The stage and card of each model.
    cards: Vec<(String, ModelCard)>,
}

/// Networks with the same preparation and sliding window.
pub struct ConfigurationNetworks {
    /// The preparation of their images.
    pub preparation: Preparation,
    networks: Vec<(GraphNetwork, Precision)>,
    inference: Inference,
    device: Device,
    room: Option<DeviceRoom>,
    by_sigmoid: bool,
}

impl ConfigurationNetworks {
    /// Sliding-window inference with all networks.
    pub fn sliding_window(&self) -> Result<SlidingWindow<'_>> {
        let Some(roi) = self.inference.roi else {
            return Err(Error::failed("inference.roi: is not set, nor does the model say"));
        };
        Ok(SlidingWindow {
            networks: self.networks.iter().map(of_pair).collect(),
            inference: self.inference.clone(),
            roi,
            device: self.device,
            room: self.room,
            by_sigmoid: self.by_sigmoid,
        })
    }
}

fn of_pair((network, precision): &(GraphNetwork, Precision)) -> InferenceNetwork<'_> {
    InferenceNetwork { network, precision: *precision }
}

impl Ensemble {
    /// Reads the models of role `model`, to be used as `options` say. Errors if the models do not
    /// agree, or the device has not their precision.
    pub fn open(cx: &Context, options: &InferenceOptions, info: DeviceInfo) -> Result<Ensemble> {
        let inputs = cx.many("model");
        let outer: Vec<ModelCard> =
            inputs.iter().map(|input| input.json(CARD)).collect::<Result<_>>()?;
        let keep_largest = common_post_processing(cx, &outer);
        let prepares_images = outer.iter().any(|card| !card.members.is_empty());
        let singles: Vec<SingleModel> =
            inputs.iter().map(models_of).collect::<Result<Vec<_>>>()?.concat();
        let Some(card) = singles.first().map(|model| model.card.clone()) else {
            return Err(Error::failed("no model was given"));
        };
        for other in &singles {
            check_labels(&card, &other.card, &other.input.stage)?;
        }
        let count = singles.iter().map(|model| model.configuration + 1).max().unwrap_or(1);
        if count > 1 && inputs.len() > 1 {
            return Err(Error::failed(format!(
                "model '{}' has several configurations and cannot be averaged with others; give \
                 it alone",
                inputs[0].stage
            )));
        }
        let precisions = singles.iter().map(|model| options.precision_of(&model.card.inference));
        let precisions: Vec<Precision> = precisions.collect();
        tell_precision(cx, &info, &precisions)?;
        search_algorithms(&info, options, &precisions)?;
        let classes = Classes::of(&card.labels, &card.regions, None)?;
        let mut configurations = vec![];
        for number in 0..count {
            let models: Vec<&SingleModel> =
                singles.iter().filter(|model| model.configuration == number).collect();
            configurations.push(configuration(&models, options, &info)?);
        }
        // All networks are on the device now.
        let room = DeviceRoom::of(info.device);
        for one in &mut configurations {
            (one.room, one.by_sigmoid) = (room, classes.has_regions());
        }
        let cards = singles.into_iter().map(|model| (model.input.stage, model.card)).collect();
        Ok(Ensemble { classes, card, keep_largest, configurations, prepares_images, cards })
    }

    /// The preparation of each configuration's images.
    pub fn preparations(&self) -> Vec<Preparation> {
        self.configurations.iter().map(|one| one.preparation.clone()).collect()
    }

    /// Sliding-window inference on prepared volumes. Errors if there are several configurations.
    pub fn sliding_window(&self) -> Result<SlidingWindow<'_>> {
        match &self.configurations[..] {
            [one] => one.sliding_window(),
            _ => Err(Error::failed(
                "the model's configurations prepare images in different ways, and are averaged on \
                 the image's own grid: use 'test' instead",
            )),
        }
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
            let words = match self.prepares_images {
                false => card.check_volumes(&subset.list),
                true => card.check_dataset(&subset.list).map(|words| words.into_iter().collect()),
            };
            let words = words.trouble(format!("model '{stage}'"))?;
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

/// Lets cuDNN search for its fastest algorithms, if speed was asked for. In fp32 it takes its known
/// good ones, the same in each run.
fn search_algorithms(
    info: &DeviceInfo,
    options: &InferenceOptions,
    precisions: &[Precision],
) -> Result<()> {
    let is_exact = precisions.iter().all(|precision| *precision == Precision::Fp32);
    torch_flags::set_search(info.device.is_cuda() && !is_exact && !options.deterministic)
}

/// The post-processing of all models, or none if they differ in it.
fn common_post_processing(cx: &Context, cards: &[ModelCard]) -> Steps {
    let first = cards.first().map(|card| card.keep_largest.clone()).unwrap_or_default();
    if cards.iter().all(|other| other.keep_largest == first) {
        return first;
    }
    cx.warn("the models have different post-processing ('keep_largest'): none is applied");
    vec![]
}

/// Opens the networks of a configuration. Errors unless their preparation is the same.
fn configuration(
    models: &[&SingleModel],
    options: &InferenceOptions,
    info: &DeviceInfo,
) -> Result<ConfigurationNetworks> {
    let Some(first) = models.first() else {
        return Err(Error::failed("model.json: a configuration has no members"));
    };
    for other in models {
        check_preparation(&first.card, &other.card, &other.input.stage)?;
    }
    let inference = common_inference(models, options)?;
    let networks = models.iter().map(|model| {
        let network = open_network(model, options.weights, info)?;
        Ok((network, options.precision_of(&model.card.inference)))
    });
    Ok(ConfigurationNetworks {
        preparation: first.card.preparation.clone(),
        networks: networks.collect::<Result<_>>()?,
        inference,
        device: info.device,
        room: None,
        by_sigmoid: false,
    })
}

/// Errors unless two models of an ensemble have the same labels and channels.
fn check_labels(one: &ModelCard, other: &ModelCard, stage: &str) -> Result<()> {
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
    Ok(())
}

/// Errors unless two models have the same preparation.
fn check_preparation(one: &ModelCard, other: &ModelCard, stage: &str) -> Result<()> {
    let differs = differences(&one.preparation, &other.preparation, one.modality.len());
    if differs.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "model '{stage}' beside the first: its volumes were prepared otherwise: {differs}"
    )))
}

/// The inference settings for all models: those given, or the models' common settings, but for
/// their precision. The window is checked against every network.
fn common_inference(models: &[&SingleModel], options: &InferenceOptions) -> Result<Inference> {
    // Given settings without a window take the window of each model.
    let mut all = models.iter().map(|model| {
        let settings = options.inference.as_ref().unwrap_or(&model.card.inference).clone();
        Inference { roi: settings.roi.or(model.card.inference.roi), precision: None, ..settings }
    });
    let Some(first) = all.next() else { return Err(Error::failed("no model was given")) };
    if let Some((other, model)) = all.zip(&models[1..]).find(|(other, _)| *other != first) {
        return Err(Error::failed(format!(
            "models '{}' and '{}' are slid over volumes in different ways, {} and {}; give \
             'inference' with a 'roi' for all of them",
            models[0].input.stage,
            model.input.stage,
            as_json(&first),
            as_json(&other)
        )));
    }
    for SingleModel { input, card, .. } in models {
        if let Some((path, trouble)) = first.check_roi(&card.network, "inference") {
            return Err(Error::failed(format!("model '{}': {path}: {trouble}", input.stage)));
        }
    }
    let flips = if options.flips { Flips::All(true) } else { first.flips.clone() };
    Ok(Inference { flips, ..first })
}

fn as_json(inference: &Inference) -> String {
    serde_json::to_string(inference).unwrap_or_default()
}

fn open_network(
    SingleModel { input, card, .. }: &SingleModel,
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
