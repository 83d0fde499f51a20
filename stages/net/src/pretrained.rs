//! Fine-tuning and extending: the model that a training starts from.

use crate::checkpoint::{self, Checkpoint};
use crate::fit::BEST;
use crate::fit::state::TrainingState;
use crate::leakage::refuse_leaks;
use crate::subset::Subset;
use crate::weights;
use std::collections::BTreeMap;
use tch::Tensor;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::compatibility::{check_channels, differences, network_differences};
use voxflow_stages::model::description::{ExtendedTraining, TRAINING_STATE};
use voxflow_stages::model::{ModelCard, Provenance, Weights};
use voxflow_stages::{Context, Error, Input, Result, Trouble};

/// A model that a training starts from.
pub struct Pretrained {
    /// The weights by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The training to go on with, and a note of it for the model card.
    pub extended: Option<(Checkpoint<TrainingState>, ExtendedTraining)>,
    /// The cases that decided them; `None` if unknown.
    pub provenance: Option<Provenance>,
}

/// Opens the start model. Errors if its network or its number of labels differs. Different
/// preparation and different label names are warnings, since a training may move to other data.
pub fn open(
    cx: &Context,
    input: &Input,
    params: &Train,
    training: &Subset,
    validation: &Subset,
) -> Result<Pretrained> {
    let card: ModelCard = input.json("model.json")?;
    let stage = &input.stage;
    card.check_single(stage, "a training starts from")?;
    let subject = format!("start '{stage}'");
    let differs = network_differences(&card.network, &params.network);
    if !differs.is_empty() {
        return Err(Error::failed(format!(
            "{subject}: its network is another one ({differs}); give 'network' the same values"
        )));
    }
    let list = &training.list;
    check_counts(&card, list.labels.len(), params.regions.len()).trouble(&subject)?;
    let channels = check_channels(&card.modality, &list.modality).trouble(&subject)?;
    channels.iter().for_each(|words| cx.warn(format!("{subject}: {words}")));
    let differs = differences(&card.preparation, &list.preparation, list.modality.len());
    if !differs.is_empty() {
        cx.warn(format!("{subject}: its volumes were prepared otherwise: {differs}"));
    }
    if card.labels != list.labels {
        cx.warn(format!("{subject}: its labels have other names or values; their order counts"));
    }
    if let Some(known) = &card.provenance {
        let leaks = known.leaks(&validation.list.cases, false);
        refuse_leaks(cx, stage, validation.name, &leaks, params.allow_leakage)?;
    }
    let weights = weights::read(input.path(Weights::Best.file())?)?;
    let own = Provenance::of(&training.list, &validation.list, None);
    let known = card.provenance.as_ref();
    let same_choice = known.is_some_and(|known| known.validation == own.validation);
    let extended = params.extend.then(|| extended(cx, input, same_choice)).transpose()?;
    Ok(Pretrained { weights, extended, provenance: card.provenance })
}

/// The kept state of the start model's training. Its best weights and scores are forgotten unless
/// the same cases choose now.
fn extended(
    cx: &Context,
    input: &Input,
    same_choice: bool,
) -> Result<(Checkpoint<TrainingState>, ExtendedTraining)> {
    let stage = &input.stage;
    if !input.has(TRAINING_STATE) {
        return Err(Error::failed(format!(
            "start '{stage}': it kept no state of its training to extend; give that training \
             'keep_state: true'"
        )));
    }
    let mut kept: Checkpoint<TrainingState> = checkpoint::read(input.path(TRAINING_STATE)?)?;
    if !same_choice {
        kept.state.length = None;
        if kept.state.best.take().is_some() {
            kept.tensors.retain(|name, _| !name.starts_with(BEST));
            cx.warn(format!(
                "start '{stage}': other validation cases chose its best weights; the best are \
                 those of the epochs from here on"
            ));
        }
    }
    let last_weights = input.file(Weights::Last.file())?.blob.digest;
    let note = ExtendedTraining { epochs: kept.state.epoch, last_weights };
    Ok((kept, note))
}

fn check_counts(card: &ModelCard, labels: usize, regions: usize) -> Result<(), &'static str> {
    if card.labels.len() != labels {
        return Err("it has another number of labels");
    }
    match card.regions.len() == regions {
        true => Ok(()),
        false => Err("it has another number of regions; give 'regions' the same"),
    }
}
