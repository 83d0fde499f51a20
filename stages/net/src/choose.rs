//! Choosing weights: their moving average, its validation, the best so far, and when to give up.

use crate::amp::compute_kind;
use crate::fit::Fit;
use crate::foreach;
use crate::infer::Slider;
use crate::network::GraphNetwork;
use crate::{score, weights};
use std::time::Instant;
use tch::{Kind, Tensor};
use voxflow_stages::kinds::train::BestBy;
use voxflow_stages::{Metric, Result};

impl Fit<'_> {
    /// Moves the average towards the weights, faster in the first steps: min(decay, (1+t)/(10+t)).
    /// A step that was not `taken` (a Bool on the device) moves nothing.
    pub(crate) fn follow(&mut self, taken: Option<&Tensor>) {
        let (Some(average), Some(decay)) = (&self.average, self.params.ema) else { return };
        let time = self.state.step as f64;
        let share = 1.0 - decay.min((1.0 + time) / (10.0 + time));
        let pairs = average.parameters().iter().zip(self.network.parameters());
        let pairs = pairs.map(|(kept, new)| (kept.tensor.shallow_clone(), new.tensor.detach()));
        let (counts, values): (Vec<_>, Vec<_>) =
            pairs.partition(|(kept, _)| kept.kind() == Kind::Int64);
        let ((kept_counts, new_counts), (kept, new)): ((Vec<_>, Vec<_>), (Vec<_>, Vec<_>)) =
            (counts.into_iter().unzip(), values.into_iter().unzip());
        match taken {
            None => {
                foreach::copy(&kept_counts, &new_counts);
                foreach::lerp(&kept, &new, share);
            }
            Some(taken) => {
                let or_kept = |(new, kept): (&Tensor, &Tensor)| new.where_self(taken, kept);
                let counts: Vec<Tensor> =
                    new_counts.iter().zip(&kept_counts).map(or_kept).collect();
                foreach::copy(&kept_counts, &counts);
                foreach::lerp_by(&kept, &new, &Tensor::where_scalar(taken, share, 0.0));
            }
        }
    }

    /// Scores the weights that would be kept, and keeps them if they are the best.
    pub(crate) fn validate(&mut self) -> Result<Vec<Metric>> {
        if self.validation.cases.is_empty() {
            return Ok(vec![]);
        }
        let began = Instant::now();
        let rows = score::dice_rows(self.validation, self.classes, &self.slider())?;
        let (epoch, step) = (self.state.epoch, self.state.step);
        let mut rows: Vec<Metric> =
            rows.into_iter().map(|row| row.epoch(epoch).step(step)).collect();
        self.state.dice = rows.last().and_then(|mean| mean.value);
        if let Some(dice) = self.state.dice
            && self.params.best_by == BestBy::Dice
            && self.state.best.is_none_or(|(_, best)| dice > best)
        {
            self.state.best = Some((epoch, dice));
            self.best = Some(weights::snapshot(self.kept()));
        }
        let seconds = began.elapsed();
        self.pace.aside(seconds);
        self.state.validate_seconds += seconds.as_secs_f64();
        let measured =
            Metric { measured: true, ..Metric::new("validate_seconds", seconds.as_secs_f64()) };
        rows.push(measured.split("validation").epoch(epoch).step(step));
        Ok(rows)
    }

    fn slider(&self) -> Slider<'_> {
        Slider {
            networks: vec![self.kept()],
            inference: self.params.inference.clone(),
            roi: self.params.inference.roi.unwrap_or(self.params.patch),
            device: self.place.device,
            compute: compute_kind(self.params.precision),
        }
    }

    /// The network that is validated and kept: the average, where there is one.
    pub(crate) fn kept(&self) -> &GraphNetwork {
        self.average.as_ref().unwrap_or(&self.network)
    }

    /// True if the last validation came `stop_after` epochs or more after the best one. Epochs
    /// that were not validated say nothing, so training ends with a validated epoch.
    pub(crate) fn is_stale(&self) -> bool {
        let (epoch, every) = (self.state.epoch, self.params.validate_every);
        let validated = if epoch == self.params.epochs { epoch } else { epoch / every * every };
        let since = |best: u32| validated.saturating_sub(best);
        let patience = self.params.stop_after.zip(self.state.best);
        patience.is_some_and(|(patience, (best, _))| since(best) >= patience)
    }
}
