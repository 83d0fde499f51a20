//! The record of a training's steps: losses, gradient norms, metric rows and times.
//!
//! Losses and norms stay on the device at first, since reading each of them would make every step
//! wait. They are read together when progress is shown, at the end of an epoch and before a
//! checkpoint; a loss that is not finite fails the training then, before anything is stored.

use super::epoch_stats::EpochStats;
use super::learning_rate::LearningRate;
use super::model_selection::ModelSelection;
use super::state::Position;
use super::training_length::TrainingLength;
use super::validation::LOSS;
use crate::progress::{ProgressSnapshot, Throughput, Total};
use std::time::Duration;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::{Context, Error, Message, Metric, Result};

/// The split of validation cases.
const VALIDATION: &str = "validation";

/// One optimizer step.
pub struct StepRecord {
    /// Its epoch, from 1.
    pub epoch: u32,
    /// Steps done before it.
    pub step: u64,
    /// Its learning rate.
    pub rate: f64,
    /// Each batch's share in the loss (fp32, without sides), and its cases.
    pub losses: Vec<(Tensor, Vec<String>)>,
    /// The norm of its gradients: fp64, without sides.
    pub norm: Tensor,
}

/// The part of the log that a checkpoint keeps.
#[derive(Clone, Debug, Default)]
pub struct LogState {
    /// Sums over the current epoch.
    pub epoch_stats: EpochStats,
    /// All metric rows of finished epochs.
    pub metrics: Vec<Metric>,
    /// Seconds of training in finished epochs.
    pub train_seconds: f64,
    /// Seconds of validation.
    pub validate_seconds: f64,
}

/// The log of a training.
pub struct StepLog {
    /// Steps whose values are still on the device.
    pending: Vec<StepRecord>,
    state: LogState,
    throughput: Throughput,
    /// Steps with gradients that are not finite are skipped, and no error.
    skips_overflows: bool,
}

impl StepLog {
    /// An empty log.
    pub fn new(skips_overflows: bool) -> StepLog {
        let (state, throughput) = (LogState::default(), Throughput::new());
        StepLog { pending: vec![], state, throughput, skips_overflows }
    }

    /// The part that a checkpoint keeps, once [`StepLog::fetch`] has read all steps.
    pub fn state(&self) -> &LogState {
        &self.state
    }

    /// Takes the log of a checkpoint, and tells its rows again: this process's listener has not
    /// seen them.
    pub fn restore(&mut self, cx: &Context, state: LogState) {
        self.state = state;
        self.state.metrics.iter().for_each(|row| cx.tell(Message::Metric(row.clone())));
    }

    /// Counts the patches of a batch.
    pub fn count_patches(&mut self, patches: usize) {
        self.throughput.add_patches(patches as u64);
    }

    /// Adds a step.
    pub fn push(&mut self, record: StepRecord) {
        self.pending.push(record);
        self.throughput.add_step();
    }

    /// Shows the progress, if enough time has passed since the last time.
    pub fn show_if_due(
        &mut self,
        cx: &Context,
        position: Position,
        (learning_rate, length): (&LearningRate, &TrainingLength),
        selection: &ModelSelection,
    ) -> Result<()> {
        if !self.throughput.is_due() {
            return Ok(());
        }
        self.fetch()?;
        let all = length.last_epoch().map_or(Total::AtMost(length.at_most()), Total::Known);
        let snapshot = ProgressSnapshot {
            steps: (position.step, learning_rate.steps(all.epochs())),
            epochs: (position.epoch + 1, all),
            loss: self.state.epoch_stats.mean_loss(),
            validation_loss: self.validation_loss(),
            dice: (selection.latest(), selection.best().map(|(_, dice)| dice)),
            learning_rate: learning_rate.of_last(position.step, length),
        };
        self.throughput.show(cx, &snapshot);
        Ok(())
    }

    /// The loss of the latest validation.
    fn validation_loss(&self) -> Option<f64> {
        let is_of_validation =
            |row: &&Metric| row.metric == LOSS && row.split.as_deref() == Some(VALIDATION);
        self.state.metrics.iter().rev().find(is_of_validation)?.value
    }

    /// Waits for all steps and adds them to the epoch's sums. Errors on a loss that is not finite,
    /// and on a gradient norm that is not finite unless overflows are skipped.
    pub fn fetch(&mut self) -> Result<()> {
        let records = std::mem::take(&mut self.pending);
        if records.is_empty() {
            return Ok(());
        }
        let (losses, norms) = values(&records);
        let mut losses = losses.into_iter();
        for (record, norm) in records.iter().zip(norms) {
            let mut sum = 0.0;
            for ((_, cases), loss) in record.losses.iter().zip(&mut losses) {
                if !loss.is_finite() {
                    return Err(not_finite("loss", loss, record, cases));
                }
                sum += loss;
            }
            if !norm.is_finite() && !self.skips_overflows {
                return Err(not_finite("gradient", norm, record, &[]));
            }
            self.state.epoch_stats.add(sum, norm);
        }
        Ok(())
    }

    /// The training rows for an epoch that took `seconds`; starts the next epoch's sums.
    pub fn end_epoch(&mut self, position: Position, rate: f64, seconds: f64) -> Vec<Metric> {
        let stats = std::mem::take(&mut self.state.epoch_stats);
        self.state.train_seconds += seconds;
        let rows = [
            Metric::new(LOSS, stats.mean_loss()),
            Metric::new("learning_rate", rate),
            Metric::new("gradient_norm", stats.mean_norm()),
            measured("epoch_seconds", seconds),
            measured("patches_per_second", self.throughput.patches_per_second()),
        ];
        rows.map(|row| row.split("training").epoch(position.epoch).step(position.step)).into()
    }

    /// The metric row for a validation's duration, which does not count as training time.
    pub fn end_validation(&mut self, position: Position, time: Duration) -> Metric {
        self.throughput.exclude(time);
        self.state.validate_seconds += time.as_secs_f64();
        let row = measured("validate_seconds", time.as_secs_f64());
        row.split(VALIDATION).epoch(position.epoch).step(position.step)
    }

    /// Keeps rows and tells them.
    pub fn add_rows(&mut self, cx: &Context, rows: Vec<Metric>) {
        rows.iter().for_each(|row| cx.tell(Message::Metric(row.clone())));
        self.state.metrics.extend(rows);
    }
}

/// A row that is another in every run, such as a time.
fn measured(name: &str, value: f64) -> Metric {
    Metric { measured: true, ..Metric::new(name, value) }
}

/// All losses and all norms, read in a single copy from the device.
fn values(records: &[StepRecord]) -> (Vec<f64>, Vec<f64>) {
    let losses: Vec<&Tensor> =
        records.iter().flat_map(|record| record.losses.iter().map(|(loss, _)| loss)).collect();
    let norms: Vec<&Tensor> = records.iter().map(|record| &record.norm).collect();
    let together = no_grad(|| {
        let losses = Tensor::stack(&losses, 0).to_kind(Kind::Double);
        let norms = Tensor::stack(&norms, 0).to_device(losses.device());
        Tensor::cat(&[losses, norms], 0).to_device(Device::Cpu)
    });
    let mut values = vec![0.0; together.numel()];
    together.copy_data(&mut values, together.numel());
    let norms = values.split_off(losses.len());
    (values, norms)
}

/// The error for a loss or gradient that is not finite, with step and way out.
fn not_finite(quantity: &str, value: f64, record: &StepRecord, cases: &[String]) -> Error {
    let StepRecord { epoch, step, rate, .. } = record;
    let step = step + 1;
    let cases = match cases {
        [] => String::new(),
        cases => format!(" (cases {})", cases.join(", ")),
    };
    Error::failed(format!(
        "training: the {quantity} is {value} in epoch {epoch}, step {step}{cases}; lower \
         'learning_rate' (it was {rate:.3e} there), set 'clip_gradients', or look at these images"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreach::cpu_scalar;

    fn record(step: u64, losses: &[f32], norm: f64) -> StepRecord {
        let losses = losses.iter().map(|loss| (Tensor::from(*loss), vec!["a".into()])).collect();
        StepRecord { epoch: 1, step, rate: 0.1, losses, norm: cpu_scalar(norm) }
    }

    #[test]
    fn values_come_back_in_the_order_of_steps_and_batches() {
        let records = [record(0, &[0.5, 0.25], 2.0), record(1, &[1.5], f64::INFINITY)];
        assert_eq!(values(&records), (vec![0.5, 0.25, 1.5], vec![2.0, f64::INFINITY]));
    }

    #[test]
    fn gradients_that_overflow_are_an_error_unless_their_steps_are_skipped() {
        let log = |skips_overflows| {
            let mut log = StepLog::new(skips_overflows);
            log.push(record(0, &[0.5], 2.0));
            log.push(record(1, &[1.5], f64::INFINITY));
            log.fetch()
                .map(|()| (log.state.epoch_stats.mean_loss(), log.state.epoch_stats.mean_norm()))
        };
        assert_eq!(log(true).unwrap(), (1.0, 2.0));
        let error = log(false).unwrap_err().to_string();
        assert!(
            error.starts_with("training: the gradient is inf in epoch 1, step 2; lower"),
            "{error}"
        );
    }

    #[test]
    fn a_loss_that_is_not_finite_is_an_error_that_names_its_cases() {
        let mut log = StepLog::new(true);
        log.push(record(4, &[0.5, f32::NAN], 2.0));
        let error = log.fetch().unwrap_err().to_string();
        assert!(error.contains("the loss is NaN in epoch 1, step 5 (cases a);"), "{error}");
        assert!(error.contains("(it was 1.000e-1 there)"), "{error}");
    }
}
