//! Model selection: the weights with the best validation score, and early stopping.

use crate::weights::{NamedTensors, with_prefix, without_prefix};
use std::collections::BTreeMap;
use tch::Tensor;
use voxflow_stages::kinds::train::{BestBy, Train};

/// Prefix of the tensors in a checkpoint.
pub const BEST: &str = "best/";

/// The best weights so far.
pub struct ModelSelection {
    best_by: BestBy,
    patience: Option<u32>,
    validate_every: u32,
    latest: Option<f64>,
    best: Option<(u32, f64)>,
    best_weights: Option<NamedTensors>,
}

impl ModelSelection {
    /// Before the first validation.
    pub fn new(params: &Train) -> ModelSelection {
        ModelSelection {
            best_by: params.best_by,
            patience: params.stop_after,
            validate_every: params.validate_every,
            latest: None,
            best: None,
            best_weights: None,
        }
    }

    /// True if the training is validated after this many epochs; `last` is its last epoch, if
    /// known.
    pub fn is_due(&self, epoch: u32, last: Option<u32>) -> bool {
        epoch.is_multiple_of(self.validate_every) || Some(epoch) == last
    }

    /// Records a validation score (`None`: no label had a reference). If the score is the best so
    /// far, `snapshot` is called for the weights.
    pub fn consider(
        &mut self,
        epoch: u32,
        dice: Option<f64>,
        snapshot: impl FnOnce() -> NamedTensors,
    ) {
        self.latest = dice;
        if let Some(dice) = dice
            && self.best_by == BestBy::Dice
            && self.best.is_none_or(|(_, best)| dice > best)
        {
            self.best = Some((epoch, dice));
            self.best_weights = Some(snapshot());
        }
    }

    /// The latest validation score.
    pub fn latest(&self) -> Option<f64> {
        self.latest
    }

    /// The epoch with the best validation score, and the score.
    pub fn best(&self) -> Option<(u32, f64)> {
        self.best
    }

    /// The weights with the best score; `None` if nothing was selected.
    pub fn take_best_weights(&mut self) -> Option<NamedTensors> {
        self.best_weights.take()
    }

    /// True if the last validation came `stop_after` epochs or more after the best. Epochs without
    /// validation do not count, so a training ends with a validated epoch.
    pub fn patience_exceeded(&self, epoch: u32, last: Option<u32>) -> bool {
        let Some((patience, (best, _))) = self.patience.zip(self.best) else { return false };
        let validated =
            if self.is_due(epoch, last) { epoch } else { epoch - epoch % self.validate_every };
        validated.saturating_sub(best) >= patience
    }

    /// The best weights for a checkpoint. They are never changed, so they are shared.
    pub fn snapshot(&self) -> NamedTensors {
        let best = self.best_weights.iter().flatten();
        with_prefix(
            BEST,
            best.map(|(name, values)| (name.clone(), values.shallow_clone())).collect(),
        )
    }

    /// Takes the scores and tensors of a checkpoint.
    pub fn restore(
        &mut self,
        latest: Option<f64>,
        best: Option<(u32, f64)>,
        tensors: &BTreeMap<String, Tensor>,
    ) {
        (self.latest, self.best) = (latest, best);
        let weights = without_prefix(BEST, tensors);
        self.best_weights = (!weights.is_empty()).then(|| weights.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selection(more: serde_json::Value) -> ModelSelection {
        let mut params = json!({ "epochs": 23, "patch": [8, 8, 8], "validate_every": 5 });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ModelSelection::new(&serde_json::from_value(params).unwrap())
    }

    fn weights(value: f32) -> NamedTensors {
        vec![("w".into(), Tensor::from_slice(&[value]))]
    }

    #[test]
    fn the_first_of_equal_scores_is_the_best_and_a_missing_score_changes_nothing() {
        let mut selection = selection(json!({}));
        for (epoch, dice) in [(5, Some(0.5)), (10, Some(0.7)), (15, Some(0.7)), (20, None)] {
            selection.consider(epoch, dice, || weights(epoch as f32));
        }
        assert_eq!((selection.best(), selection.latest()), (Some((10, 0.7)), None));
        let best = selection.take_best_weights().unwrap();
        assert_eq!(best[0].1.double_value(&[0]), 10.0);
    }

    #[test]
    fn with_best_by_last_no_weights_are_selected() {
        let mut selection = selection(json!({ "best_by": "last" }));
        selection.consider(5, Some(0.5), || panic!("no copy is needed"));
        assert_eq!((selection.best(), selection.latest()), (None, Some(0.5)));
        assert!(selection.take_best_weights().is_none());
    }

    #[test]
    fn patience_is_judged_at_validations_alone() {
        let mut selection = selection(json!({ "stop_after": 6 }));
        selection.consider(5, Some(0.5), Vec::new);
        let exceeded: Vec<u32> =
            (5..=23).filter(|epoch| selection.patience_exceeded(*epoch, Some(23))).collect();
        assert_eq!(exceeded, (15..=23).collect::<Vec<u32>>());
    }

    #[test]
    fn what_was_selected_comes_back_from_a_checkpoint() {
        let mut before = selection(json!({}));
        before.consider(5, Some(0.5), || weights(3.0));
        let tensors: BTreeMap<String, Tensor> = before.snapshot().into_iter().collect();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["best/w"]);
        let mut after = selection(json!({}));
        after.restore(before.latest(), before.best(), &tensors);
        assert_eq!(after.best(), Some((5, 0.5)));
        assert_eq!(after.take_best_weights().unwrap()[0].1.double_value(&[0]), 3.0);
    }
}
