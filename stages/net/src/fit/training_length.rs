//! The length of a training: known from the start, or decided by its validation scores.

use serde::{Deserialize, Serialize};
use std::ops::Range;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::plateau::{Forecast, Score};
use voxflow_stages::model::{DecayPhase, Epochs, UntilPlateau};

/// The part of a length that a checkpoint keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LengthState {
    /// The validation scores so far.
    pub scores: Vec<Score>,
    /// The decision to end, once it is taken.
    pub decay: Option<DecayPhase>,
}

/// The length of a training.
pub struct TrainingLength {
    /// Epochs at most.
    at_most: u32,
    /// The rule for the end; `None` if it is known.
    rule: Option<UntilPlateau>,
    state: LengthState,
}

impl TrainingLength {
    /// Before the first epoch.
    pub fn new(params: &Train) -> TrainingLength {
        TrainingLength::of(&params.length())
    }

    fn of(epochs: &Epochs) -> TrainingLength {
        let (at_most, rule) = (epochs.at_most(), epochs.until_plateau());
        TrainingLength { at_most, rule, state: LengthState::default() }
    }

    /// Epochs at most.
    pub fn at_most(&self) -> u32 {
        self.at_most
    }

    /// The last epoch, counted from 1; `None` until it is decided.
    pub fn last_epoch(&self) -> Option<u32> {
        match &self.rule {
            None => Some(self.at_most),
            Some(_) => self.state.decay.map(|decay| decay.to_epoch),
        }
    }

    /// True if the end is decided by validation.
    pub fn is_open(&self) -> bool {
        self.rule.is_some()
    }

    /// The decision to end, if validation took it.
    pub fn decay(&self) -> Option<DecayPhase> {
        self.state.decay
    }

    /// The epochs over which the learning rate falls; `None` before the decision.
    pub fn decay_epochs(&self) -> Option<Range<u32>> {
        self.state.decay.map(|decay| decay.from_epoch..decay.to_epoch)
    }

    /// Adds a validation score (`None`: no label had a reference) and gives the new forecast. Does
    /// nothing once the end is known.
    pub fn add_score(&mut self, epoch: u32, dice: Option<f64>) -> Option<Forecast> {
        let rule = self.rule.as_ref().filter(|_| self.state.decay.is_none())?;
        self.state.scores.extend(dice.map(|dice| Score { epoch, dice }));
        rule.forecast(&self.state.scores)
    }

    /// Decides after an epoch and its validation; gives the decision when it is taken.
    pub fn decide(&mut self, epoch: u32) -> Option<DecayPhase> {
        if self.state.decay.is_some() {
            return None;
        }
        let rule = self.rule.as_ref()?;
        self.state.decay = rule.decide(epoch, &self.state.scores);
        self.state.decay
    }

    /// The part for a checkpoint; `None` if the length is known.
    pub fn snapshot(&self) -> Option<LengthState> {
        self.is_open().then(|| self.state.clone())
    }

    /// The same before the decision, as a longer training has it after the same epoch.
    pub fn undecided(&self) -> Option<LengthState> {
        self.snapshot().map(|state| LengthState { decay: None, ..state })
    }

    /// Takes the scores of a finished training, if validation decides the end of this one.
    pub fn extend(&mut self, state: Option<LengthState>) {
        let scores = state.map(|state| state.scores).filter(|_| self.is_open());
        self.state = LengthState { scores: scores.unwrap_or_default(), decay: None };
    }

    /// Takes the part of a checkpoint.
    pub fn restore(&mut self, state: Option<LengthState>) {
        self.state = state.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn length(epochs: serde_json::Value) -> TrainingLength {
        TrainingLength::of(&serde_json::from_value(epochs).unwrap())
    }

    /// Epochs from `first` on with a level score; the epoch of the decision.
    fn go_on(length: &mut TrainingLength, first: u32) -> Option<u32> {
        (first..=100).find(|epoch| {
            length.add_score(*epoch, Some(0.7));
            length.decide(*epoch).is_some()
        })
    }

    #[test]
    fn a_number_of_epochs_is_known_from_the_start_and_keeps_nothing() {
        let mut fixed = length(json!(3));
        assert_eq!((fixed.last_epoch(), fixed.at_most()), (Some(3), 3));
        assert!(fixed.add_score(1, Some(0.5)).is_none() && fixed.decide(3).is_none());
        assert_eq!((fixed.snapshot(), fixed.decay_epochs()), (None, None));
    }

    #[test]
    fn a_decision_is_taken_once_and_comes_back_from_a_checkpoint() {
        let epochs = json!({ "at_least": 12, "at_most": 100 });
        let mut whole = length(epochs.clone());
        assert_eq!(whole.last_epoch(), None);
        assert_eq!(go_on(&mut whole, 1), Some(12));
        assert_eq!((whole.last_epoch(), whole.decay_epochs()), (Some(15), Some(12..15)));
        assert_eq!(whole.decide(13), None);

        let mut broken = length(epochs.clone());
        for epoch in 1..=11 {
            broken.add_score(epoch, Some(0.7));
        }
        let kept = serde_json::to_string(&broken.snapshot()).unwrap();
        let mut resumed = length(epochs);
        resumed.restore(serde_json::from_str(&kept).unwrap());
        assert_eq!(go_on(&mut resumed, 12), Some(12));
        assert_eq!(resumed.snapshot(), whole.snapshot());
    }

    #[test]
    fn a_longer_training_decides_anew_by_the_scores_before_the_decision() {
        let mut short = length(json!({ "at_least": 12, "at_most": 100 }));
        go_on(&mut short, 1);
        let known = short.undecided();
        assert_eq!(known.as_ref().map(|state| (state.scores.len(), state.decay)), Some((12, None)));
        let mut longer = length(json!({ "at_least": 20, "at_most": 100 }));
        longer.extend(known.clone());
        assert_eq!((longer.last_epoch(), longer.decide(12)), (None, None));
        assert_eq!(go_on(&mut longer, 13), Some(20));
        let mut again = length(json!({ "at_least": 12, "at_most": 100 }));
        again.extend(known.clone());
        assert_eq!(again.decide(12), short.decay(), "the same rule decides the same at once");
        let mut fixed = length(json!(30));
        fixed.extend(known);
        assert_eq!((fixed.last_epoch(), fixed.snapshot()), (Some(30), None));
    }

    #[test]
    fn a_missing_score_is_left_out() {
        let mut open = length(json!({ "at_least": 1, "at_most": 100 }));
        for epoch in 1..=30 {
            open.add_score(epoch, None);
        }
        assert!(open.snapshot().unwrap().scores.is_empty() && open.decide(30).is_none());
    }
}
