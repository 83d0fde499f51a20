//! Training: the loop over epochs, steps and batches. Each part with a state has an owner of its
//! own: weights in `model`, gradients and optimizer in `stepper`, the best weights in
//! `model_selection`, the number of epochs in `training_length`, losses and metric rows in
//! `step_log`, checkpoints in `checkpointer`.

mod checkpointer;
mod epoch_stats;
mod extension;
mod learning_rate;
pub mod model;
mod model_selection;
mod persistence;
mod result;
pub mod state;
mod step_log;
mod stepper;
mod training_length;
mod validation;

pub use model_selection::BEST;
pub use result::{KeptState, TrainingResult};

use crate::amp::compute_kind;
use crate::batch::Batch;
use crate::batch_sampler::BatchSampler;
use crate::batch_source::{BatchSource, CloseOnDrop};
use crate::checkpoint::Checkpoint;
use crate::classes::Classes;
use crate::device::DeviceInfo;
use crate::device_room::DeviceRoom;
use crate::distributed::Ranks;
use crate::inference_network::InferenceNetwork;
use crate::network::BatchPart;
use crate::sliding_window::SlidingWindow;
use crate::subset::Subset;
use crate::{loss, memory, weights};
use checkpointer::Checkpointer;
use learning_rate::LearningRate;
use model::Model;
use model_selection::ModelSelection;
use state::{Position, TrainingState};
use std::time::Instant;
use step_log::{StepLog, StepRecord};
use stepper::{Stepper, Update};
use tch::Tensor;
use training_length::TrainingLength;
use validation::{Validated, Validation};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::{DecayPhase, DecayReason};
use voxflow_stages::{Context, Error, Metric, Result};

/// The volumes of a training.
#[derive(Clone, Copy)]
pub struct TrainingData<'a> {
    /// Cases to learn from.
    pub training: &'a Subset,
    /// Cases to select weights by; may be empty.
    pub validation: &'a Subset,
    /// The classes of both.
    pub classes: &'a Classes,
}

/// A training, in one process or among ranks. All ranks have the same weights and take the same
/// decisions; rank 0 writes checkpoints.
pub struct Fit<'a> {
    cx: &'a Context<'a>,
    params: &'a Train,
    info: &'a DeviceInfo,
    data: TrainingData<'a>,
    ranks: Ranks,
    /// Batches per epoch.
    batches: u64,
    learning_rate: LearningRate<'a>,
    length: TrainingLength,
    position: Position,
    model: Model,
    stepper: Stepper,
    selection: ModelSelection,
    log: StepLog,
    checkpointer: Checkpointer,
    kept: Option<KeptState>,
    /// The device's room for volumes, the same in all sessions.
    room: Option<DeviceRoom>,
}

impl<'a> Fit<'a> {
    /// Starts a training, or resumes an unfinished one. `extended` is the state of a finished
    /// training to go on from.
    pub fn new(
        cx: &'a Context<'a>,
        params: &'a Train,
        data: TrainingData<'a>,
        (info, ranks): (&'a DeviceInfo, Ranks),
        (model, extended): (Model, Option<Checkpoint<TrainingState>>),
    ) -> Result<Fit<'a>> {
        let batches = BatchSampler::new(params, data.training, data.classes).batches();
        let stepper = Stepper::new(params, &model, info.device, ranks);
        let mut fit = Fit {
            cx,
            params,
            info,
            data,
            ranks,
            batches,
            learning_rate: LearningRate::new(params, stepper.steps_per_epoch(batches)),
            length: TrainingLength::new(params),
            position: Position::default(),
            model,
            selection: ModelSelection::new(params),
            log: StepLog::new(stepper.skips_overflows()),
            stepper,
            checkpointer: Checkpointer::new(cx.unfinished()?, params),
            kept: None,
            room: DeviceRoom::of(info.device),
        };
        fit.resume(extended)?;
        Ok(fit)
    }

    /// Trains to the end, or stops with a checkpoint when asked to.
    pub fn fit(mut self) -> Result<TrainingResult> {
        let TrainingData { training, classes, .. } = self.data;
        let sampler = BatchSampler::new(self.params, training, classes);
        let sampler = sampler.sharded(self.ranks.rank(), self.ranks.count());
        let all = u64::from(self.length.at_most()) * self.batches;
        let first = self.position.batch_number(self.batches);
        let compute = compute_kind(self.params.precision);
        let batches = (first, all);
        let threads = self.loader_threads();
        let source =
            BatchSource::new(self.cx, &sampler, (self.info, self.room), compute, batches, threads)?;
        std::thread::scope(|scope| {
            let _closing = CloseOnDrop(&source);
            source.loaders().for_each(|queue| drop(scope.spawn(|| queue.fill())));
            while !self.is_finished() {
                let began = Instant::now();
                while self.position.batch < self.batches {
                    self.checkpoint_if_due()?;
                    self.step(&source)?;
                }
                // A long validation may follow: nothing before it should be lost with it.
                self.checkpoint_if_due()?;
                self.finish_epoch(began)?;
            }
            Ok::<(), Error>(())
        })?;
        self.finish()
    }

    fn is_finished(&self) -> bool {
        let (epoch, last) = (self.position.epoch, self.length.last_epoch());
        last.is_some_and(|last| epoch >= last) || self.selection.patience_exceeded(epoch, last)
    }

    /// An optimizer step over the gradients from `accumulate` batches, or from the rest of the
    /// epoch. Never waits for the device.
    fn step(&mut self, source: &BatchSource) -> Result<()> {
        let group = self.stepper.batches_of_step(self.batches - self.position.batch);
        let (mut losses, mut cases) = (vec![], vec![]);
        self.stepper.zero_grad();
        for _ in 0..group {
            let batch = source.take(self.position.batch_number(self.batches))?;
            losses.push(self.backward(&batch, group));
            cases.push(batch.cases);
            self.position.batch += 1;
            self.log.count_patches(batch.share.total);
        }
        let Position { epoch, step, .. } = self.position;
        let losses = self.stepper.sum_over_ranks(losses)?.into_iter().zip(cases).collect();
        let rate = self.learning_rate.at(step, &self.length);
        let Update { norm, taken } = self.stepper.update(rate);
        self.model.update_ema(step, taken.as_ref());
        self.position.step += 1;
        self.log.push(StepRecord { epoch: epoch + 1, step, rate, losses, norm });
        let course = (&self.learning_rate, &self.length);
        self.log.show_if_due(self.cx, self.position, course, &self.selection)
    }

    /// Adds the gradients of a batch, or of this rank's share; returns its part in the loss of a
    /// step over `group` batches.
    fn backward(&self, batch: &Batch, group: u64) -> Tensor {
        let (images, labels) = batch.tensors(self.info.device);
        if self.params.network.dropout > 0.0 {
            // Dropout draws from libtorch's generator: seeded by batch, a resumed training drops
            // the same elements.
            let number = self.position.batch_number(self.batches);
            tch::manual_seed((self.params.seed ^ number.rotate_left(32)) as i64);
        }
        let sync_batch_norm = self.ranks.connection().filter(|_| self.params.sync_batch_norm);
        let part = BatchPart { share: batch.share, sync_batch_norm };
        let part = Some(part).filter(|_| self.ranks.count() > 1);
        let outputs = self.model.forward(&images, compute_kind(self.params.precision), part);
        let targets = self.data.classes.loss_targets();
        let loss = loss::of_outputs(&self.params.loss, &targets, &outputs, &labels);
        let loss = if group > 1 { loss / group as f64 } else { loss };
        let loss = if part.is_some() { loss * batch.share.weight() } else { loss };
        self.stepper.backward(&loss);
        loss.detach()
    }

    /// Ends an epoch: its metric rows, its validation and checkpoint if they are due.
    fn finish_epoch(&mut self, began: Instant) -> Result<()> {
        self.log.fetch()?;
        self.position.epoch += 1;
        self.position.batch = 0;
        let rate = self.learning_rate.of_last(self.position.step, &self.length);
        let mut rows = self.log.end_epoch(self.position, rate, began.elapsed().as_secs_f64());
        let epoch = self.position.epoch;
        self.keep_state_before_end();
        if self.selection.is_due(epoch, self.length.last_epoch()) {
            rows.extend(self.validate()?);
        }
        rows.extend(self.decide());
        let memory = memory::now(self.info.device).into_iter();
        rows.extend(memory.map(|row| row.epoch(epoch).step(self.position.step)));
        self.log.add_rows(self.cx, rows);
        if self.checkpointer.is_due_after(epoch, &self.length) { self.save() } else { Ok(()) }
    }

    /// Decides by the validation scores if the learning rate falls from now on, and says so. The
    /// state before the fall is the one to keep: a longer training goes on from there.
    fn decide(&mut self) -> Option<Metric> {
        let Position { epoch, step, .. } = self.position;
        let DecayPhase { from_epoch, to_epoch, reason } = self.length.decide(epoch)?;
        self.keep_state();
        let reason = match reason {
            DecayReason::Plateau => "validation is not expected to gain more",
            DecayReason::Limit => "'epochs.at_most' leaves no more",
        };
        self.cx.info(format!(
            "the learning rate falls from epoch {from_epoch} on, to the end after {to_epoch}: \
             {reason}"
        ));
        let row = Metric::new("last_epoch", f64::from(to_epoch));
        Some(row.split("training").epoch(epoch).step(step))
    }

    /// Scores the weights on the validation cases and keeps them if they are the best so far.
    fn validate(&mut self) -> Result<Vec<Metric>> {
        let TrainingData { validation, classes, .. } = self.data;
        if validation.cases.is_empty() {
            return Ok(vec![]);
        }
        let began = Instant::now();
        self.share_statistics()?;
        let (window, loss) = (self.sliding_window(), &self.params.loss);
        let found = Validation { cases: validation, classes, window, loss }.run(self.ranks)?;
        let (Validated { rows, dice: mean }, Position { epoch, step, .. }) = (found, self.position);
        let mut rows: Vec<Metric> =
            rows.into_iter().map(|row| row.epoch(epoch).step(step)).collect();
        let (first, model) = (self.ranks.is_first(), &self.model);
        self.selection.consider(epoch, mean, || match first {
            true => weights::snapshot(model.eval_model()),
            false => vec![],
        });
        let forecast = self.length.add_score(epoch, mean).map(|forecast| forecast.gain);
        let forecast = forecast.map(|gain| Metric::new("expected_gain", gain));
        rows.extend(forecast.map(|row| row.split(validation.name).epoch(epoch).step(step)));
        rows.push(self.log.end_validation(self.position, began.elapsed()));
        Ok(rows)
    }

    /// Gives all ranks the running statistics of rank 0, as PyTorch's `DistributedDataParallel`.
    fn share_statistics(&self) -> Result<()> {
        self.ranks.broadcast(&self.model.statistics())
    }

    fn sliding_window(&self) -> SlidingWindow<'_> {
        SlidingWindow {
            networks: vec![InferenceNetwork {
                network: self.model.eval_model(),
                precision: self.params.validation_precision(),
            }],
            inference: self.params.inference.clone(),
            roi: self.params.inference.roi.unwrap_or(self.params.patch),
            device: self.info.device,
            room: self.room,
            by_sigmoid: self.data.classes.has_regions(),
        }
    }

    fn finish(mut self) -> Result<TrainingResult> {
        self.checkpointer.wait()?;
        self.measure("train_seconds", self.log.state().train_seconds);
        memory::peaks(self.info.device).into_iter().for_each(|row| self.cx.measure(row));
        self.share_statistics()?;
        let last = weights::snapshot(self.model.eval_model());
        self.ranks.check_equal(self.position.step, &last)?;
        let kept = self.take_kept_state();
        let best = self.selection.take_best_weights();
        let best = best.unwrap_or_else(|| weights::snapshot(self.model.eval_model()));
        let Position { epoch, step, .. } = self.position;
        Ok(TrainingResult {
            best,
            last,
            best_score: self.selection.best(),
            epochs: epoch,
            steps: step,
            decay: self.length.decay(),
            kept,
        })
    }

    fn measure(&self, name: &str, value: f64) {
        self.cx.measure(Metric::new(name, value));
    }

    fn loader_threads(&self) -> usize {
        if self.info.device.is_cuda() { self.cx.threads().clamp(1, 8) } else { 1 }
    }
}
