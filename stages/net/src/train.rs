//! The stage `train`: opens its volumes, runs [`Fit`], and writes the model.

use crate::batch_share::BatchShare;
use crate::classes::Classes;
use crate::device::{DeviceInfo, check_precision, choose, tell_device};
use crate::distributed::Ranks;
use crate::distributed::process_group::ProcessGroup;
use crate::failure::inject_fault;
use crate::fit::model::Model;
use crate::fit::{Fit, KeptState, TrainingData, TrainingResult};
use crate::subset::Subset;
use crate::{checkpoint, pretrained, torch_flags, weights};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::description::{ExtendedTraining, TRAINING_STATE, TrainingSummary};
use voxflow_stages::model::{ModelCard, Precision, Provenance, Weights};
use voxflow_stages::{Context, Error, Message, Result};

/// Makes the model artifact, alone or with the ranks of a group; rank 0 writes it.
pub fn run(cx: &Context, group: Option<&'static ProcessGroup>) -> Result<()> {
    let params: Train = cx.params()?;
    let info = choose_device(cx, &params)?;
    let ranks = Ranks::connect(group, info.device)?;
    tell_device(cx, &info, ranks);
    cx.tell(Message::Precision { name: params.precision.word().into() });
    warn_of_shares(cx, &params, ranks);
    let input = cx.input("cache")?;
    let (mut training, validation) =
        (Subset::open(input, "training")?, Subset::open(input, "validation")?);
    check(&params, &training, ranks)?;
    check_validated(&params, &validation)?;
    training.force_classes(&params.regions);
    let (labels, ignore) = (&training.list.labels, training.list.ignore);
    let classes = Classes::of(labels, &params.regions, ignore)?;
    let start = cx.optional("start");
    let start = start.map(|input| pretrained::open(cx, input, &params, &training, &validation));
    let start = start.transpose()?;
    if params.extend && start.is_none() {
        return Err(Error::failed(
            "training: 'extend' goes on with another one; name its stage in 'needs'",
        ));
    }
    let ancestor = start.as_ref().map(|start| start.provenance.as_ref());
    let provenance = Provenance::of(&training.list, &validation.list, ancestor);
    let (start, extended) = start.map(|start| (start.weights, start.extended)).unzip();
    let (extended, note) = extended.flatten().unzip();
    inject_fault();
    let graph = params.network.graph(training.channels(), classes.outputs());
    let model = Model::new(&graph, &params, info.device, start.as_ref())?;
    let data = TrainingData { training: &training, validation: &validation, classes: &classes };
    let outcome = Fit::new(cx, &params, data, (&info, ranks), (model, extended))?.fit()?;
    if !ranks.is_first() {
        return Ok(());
    }
    write(cx, &params, data, &outcome, (provenance, note))
}

/// Chooses the device, and sets libtorch's flags for the training. Errors if the device has not the
/// training's numbers, or those of its validations.
fn choose_device(cx: &Context, params: &Train) -> Result<DeviceInfo> {
    torch_flags::set_deterministic(params.deterministic)?;
    torch_flags::set_search(!params.deterministic)?;
    let info = choose(cx.device(), cx.threads())?;
    torch_flags::set_tf32(params.precision == Precision::Tf32)?;
    check_precision(&info, params.precision)?;
    check_precision(&info, params.validation_precision())?;
    Ok(info)
}

/// Warns that the number of ranks, no part of the recipe, changes the model.
fn warn_of_shares(cx: &Context, params: &Train, ranks: Ranks) {
    let parts = params.whole_batch_parts();
    if ranks.count() == 1 || parts.is_empty() {
        return;
    }
    let (parts, ways): (Vec<&str>, Vec<&str>) = parts.into_iter().unzip();
    cx.warn(format!(
        "{} ranks: {} looks at each rank's share of a batch, as with PyTorch's \
         DistributedDataParallel, so the model is not that of another number of ranks; {} makes \
         them equal",
        ranks.count(),
        parts.join(" and "),
        ways.join(" with ")
    ));
}

/// Errors on parameters that do not fit the training cases.
fn check(params: &Train, training: &Subset, ranks: Ranks) -> Result<()> {
    if training.cases.is_empty() {
        return Err(Error::failed(
            "training: there are no cases; give 'split' a number of training cases",
        ));
    }
    let passes = params.steps_per_epoch.is_none();
    if passes && !params.keep_last_batch && training.cases.len() < params.volumes_per_step {
        return Err(Error::failed(format!(
            "training: {} cases do not fill a batch of {}; lower 'volumes_per_step' or set \
             'keep_last_batch: true'",
            training.cases.len(),
            params.volumes_per_step
        )));
    }
    check_zeroed(params, training)?;
    let smallest = params.smallest_batch(training.cases.len());
    if let Some((path, trouble)) = params.check_batch_norm(smallest) {
        return Err(Error::failed(format!("{path}: {trouble}")));
    }
    check_ranks(params, training.cases.len(), ranks.count())?;
    params.sampling.check_labels(training.list.labels.len())
}

/// Errors if an end by validation has nothing to be decided by.
fn check_validated(params: &Train, validation: &Subset) -> Result<()> {
    if params.epochs.until_plateau().is_some() && validation.cases.is_empty() {
        return Err(Error::failed(
            "training: 'epochs: auto' ends by validation, and there are no validation cases; give \
             'split' some, or 'epochs' a number",
        ));
    }
    Ok(())
}

/// Errors if channels to zero outside the non-zero region, or that region, are missing.
fn check_zeroed(params: &Train, training: &Subset) -> Result<()> {
    let Some(named) = params.augmentation.zeroed_channels() else { return Ok(()) };
    let channels = training.channels();
    if let Some(channel) = named.into_iter().find(|channel| *channel >= channels) {
        return Err(Error::failed(format!(
            "augmentation.zero_outside: there is no channel {channel}; there are {channels}, \
             counted from 0"
        )));
    }
    training.cases.iter().try_for_each(|case| case.marked_values().map(drop))
}

/// Errors if batches are too small for this many ranks. An epoch's last batch may leave ranks idle.
fn check_ranks(params: &Train, cases: usize, ranks: usize) -> Result<()> {
    let all = if params.steps_per_epoch.is_some() { usize::MAX } else { cases };
    let volumes = [params.volumes_per_step.min(all), params.smallest_batch(cases)];
    let [patches, smallest] = volumes.map(|volumes| volumes * params.patches_per_volume);
    if patches < ranks {
        return Err(Error::failed(format!(
            "training: a batch of {patches} patches cannot be shared by {ranks} ranks; raise \
             'volumes_per_step' or 'patches_per_volume', or give the stage fewer GPUs"
        )));
    }
    if params.sync_batch_norm {
        return Ok(());
    }
    let shares = [patches, smallest]
        .into_iter()
        .flat_map(|total| (0..ranks).map(move |rank| BatchShare::new(total, rank, ranks)));
    let least = shares.filter(|share| !share.is_idle).map(|share| share.patches).min();
    match least.and_then(|patches| params.check_batch_norm_of(patches)) {
        Some((path, trouble)) if ranks > 1 => Err(Error::failed(format!(
            "{path}: {trouble}; or set 'sync_batch_norm: true', since {ranks} ranks share a batch"
        ))),
        _ => Ok(()),
    }
}

fn write(
    cx: &Context,
    params: &Train,
    TrainingData { training, validation, .. }: TrainingData,
    outcome: &TrainingResult,
    (provenance, extends): (Provenance, Option<ExtendedTraining>),
) -> Result<()> {
    if let Some(KeptState { state, tensors }) = &outcome.kept {
        checkpoint::write(&cx.create(TRAINING_STATE)?, state, tensors)?;
    }
    weights::write(&cx.create(Weights::Best.file())?, &outcome.best)?;
    weights::write(&cx.create(Weights::Last.file())?, &outcome.last)?;
    let card = ModelCard {
        format: 1,
        dataset: training.list.dataset.clone(),
        modality: training.list.modality.clone(),
        labels: training.list.labels.clone(),
        regions: params.regions.clone(),
        preparation: training.list.preparation.clone(),
        network: params.network.clone(),
        inference: params.inference_of_model(),
        keep_largest: vec![],
        members: vec![],
        training: TrainingSummary {
            epochs: outcome.epochs,
            steps: outcome.steps,
            training_cases: training.cases.len(),
            validation_cases: validation.cases.len(),
            best_epoch: outcome.best_score.map(|(epoch, _)| epoch),
            best_dice: outcome.best_score.map(|(_, dice)| dice),
            decay: outcome.decay,
            extends,
        },
        provenance: Some(provenance),
    };
    cx.create_json("model.json", &card)
}
