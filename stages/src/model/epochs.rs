//! The length of a training: a number of epochs, or as many as validation still gains from.

use super::plateau::{Forecast, LEAST_VALIDATIONS, LEFT_OUT, Score};
use super::{Mistake, is_fraction, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// The length of a training.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Epochs {
    /// So many.
    Number(u32),
    /// `{at_least: 50, at_most: 1000, min_gain: 0.016, decay: 0.25}`.
    Auto(Auto),
    /// As many as validation gains from: the learning rate stays up until a plateau, then falls to
    /// 0 over a fixed share of the epochs so far.
    UntilPlateau(UntilPlateau),
}

/// The largest fraction of all epochs that a fall may take: as many as were before it.
pub const MOST_DECAY_LAST: f64 = 0.5;

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// `{at_least: 50, at_most: 1000, min_gain: 0.016, decay: 0.25}`.
    Auto,
}

/// A training that ends after its validation has reached a plateau.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UntilPlateau {
    /// Epochs before the learning rate may begin to fall.
    pub at_least: u32,
    /// Epochs of the longest training, the fall of the learning rate included.
    pub at_most: u32,
    /// The plateau begins at the validation after which mean Dice is expected to gain less than
    /// this until 'at_most', or less than 0.225 of its distance to 1.
    pub min_gain: f64,
    /// The share of the epochs so far over which the learning rate then falls to 0.
    pub decay: f64,
}

impl Default for UntilPlateau {
    fn default() -> Self {
        UntilPlateau { at_least: 50, at_most: 1000, min_gain: 0.016, decay: 0.25 }
    }
}

/// Written out, whatever the workflow's form was: equal meanings are equal recipes.
impl Serialize for Epochs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, self.until_plateau()) {
            (Epochs::Number(epochs), _) => epochs.serialize(serializer),
            (_, until) => until.serialize(serializer),
        }
    }
}

impl Epochs {
    /// The settings of an open end; `None` for a number of epochs.
    pub fn until_plateau(&self) -> Option<UntilPlateau> {
        match self {
            Epochs::Number(_) => None,
            Epochs::Auto(Auto::Auto) => Some(UntilPlateau::default()),
            Epochs::UntilPlateau(until) => Some(until.clone()),
        }
    }

    /// Epochs of the longest training.
    pub fn at_most(&self) -> u32 {
        match (self, self.until_plateau()) {
            (Epochs::Number(epochs), _) => *epochs,
            (_, until) => until.unwrap_or_default().at_most,
        }
    }

    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str, validate_every: u32) -> Vec<Mistake> {
        match self.until_plateau() {
            None => mistake(self.at_most() == 0, path, "must be at least 1").into_iter().collect(),
            Some(until) => until.check(path, validate_every),
        }
    }
}

/// The reason for the end of a training's first part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayReason {
    /// Validation gains no more.
    Plateau,
    /// The fall of the learning rate must end at the largest number of epochs.
    Limit,
}

/// The decision to end a training: its learning rate falls from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecayPhase {
    /// Epochs done when it began.
    pub from_epoch: u32,
    /// Epochs done when it ends, and with it the training.
    pub to_epoch: u32,
    /// The reason.
    pub reason: DecayReason,
}

impl UntilPlateau {
    /// The decision after `epoch` epochs with these validation scores, in the order of epochs;
    /// `None` for going on. A plateau is judged after a validation alone.
    pub fn decide(&self, epoch: u32, scores: &[Score]) -> Option<DecayPhase> {
        let is_new = scores.last().is_some_and(|score| score.epoch == epoch);
        let forecast = self.forecast(scores).filter(|_| is_new && epoch >= self.at_least);
        let reason = if forecast.is_some_and(|forecast| forecast.is_plateau(self.min_gain)) {
            DecayReason::Plateau
        } else if epoch >= self.latest_decay() {
            DecayReason::Limit
        } else {
            return None;
        };
        Some(DecayPhase { from_epoch: epoch, to_epoch: self.end(epoch), reason })
    }

    /// The gain expected from the longest training; `None` with too few scores.
    pub fn forecast(&self, scores: &[Score]) -> Option<Forecast> {
        Forecast::new(scores, self.at_most)
    }

    /// The same with a fall over this fraction of all epochs, a schedule's `decay_last`; unchanged
    /// by one that no fall has (0, or above [`MOST_DECAY_LAST`]).
    pub fn with_decay_last(self, fraction: f64) -> UntilPlateau {
        if !(fraction > 0.0 && fraction <= MOST_DECAY_LAST) {
            return self;
        }
        UntilPlateau { decay: fraction / (1.0 - fraction), ..self }
    }

    /// Epochs after which the learning rate must begin to fall.
    pub fn latest_decay(&self) -> u32 {
        (f64::from(self.at_most) / (1.0 + self.decay)).floor() as u32
    }

    /// Epochs of a training whose learning rate falls from this one on; at most `at_most`.
    fn end(&self, from_epoch: u32) -> u32 {
        let fall = (f64::from(from_epoch) * self.decay).ceil() as u32;
        from_epoch.saturating_add(fall).min(self.at_most)
    }

    fn check(&self, path: &str, validate_every: u32) -> Vec<Mistake> {
        let decay = is_fraction(self.decay) && self.decay > 0.0;
        let gain = is_fraction(self.min_gain) && self.min_gain > 0.0;
        let mistakes = [
            mistake(self.at_least == 0, format!("{path}.at_least"), "must be at least 1"),
            mistake(!gain, format!("{path}.min_gain"), "must lie above 0, up to 1"),
            mistake(!decay, format!("{path}.decay"), "must lie above 0, up to 1"),
        ];
        let mistakes: Vec<Mistake> = mistakes.into_iter().flatten().collect();
        if !mistakes.is_empty() || validate_every == 0 {
            return mistakes;
        }
        self.check_room(path, validate_every).into_iter().collect()
    }

    /// A mistake if no plateau could be seen before the learning rate must fall.
    fn check_room(&self, path: &str, validate_every: u32) -> Option<Mistake> {
        let latest = self.latest_decay();
        if self.at_least > latest {
            let trouble = format!(
                "must be at most {latest}: the learning rate falls over a share of {} of the \
                 epochs before, and 'at_most' is {}; lower it or raise 'at_most'",
                self.decay, self.at_most
            );
            return Some((format!("{path}.at_least"), trouble));
        }
        let before = (LEFT_OUT * f64::from(latest)) as u32 / validate_every;
        let seen = latest / validate_every - before;
        mistake(
            (seen as usize) < LEAST_VALIDATIONS,
            "validate_every",
            format!(
                "leaves {seen} validations to see a plateau by until epoch {latest}, and \
                 {LEAST_VALIDATIONS} are needed; lower it or raise '{path}.at_most'"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn until(value: Value) -> UntilPlateau {
        serde_json::from_value(value).unwrap()
    }

    fn scores(epochs: u32, dice: impl Fn(f64) -> f64) -> Vec<Score> {
        let score = |epoch| Score { epoch, dice: dice(f64::from(epoch)) };
        (1..=epochs).map(score).collect()
    }

    /// The decision of a training with this curve, validated after every epoch.
    fn decision(until: &UntilPlateau, dice: impl Fn(f64) -> f64) -> DecayPhase {
        let scores = scores(until.at_most, dice);
        let decided =
            (1..=until.at_most).find_map(|epoch| until.decide(epoch, &scores[..epoch as usize]));
        decided.unwrap()
    }

    #[test]
    fn auto_is_a_mapping_written_short_and_a_number_stays_a_number() {
        let read = |value| serde_json::from_value::<Epochs>(value).unwrap();
        let written = |value| serde_json::to_value(read(value)).unwrap();
        let full = json!({ "at_least": 50, "at_most": 1000, "min_gain": 0.016, "decay": 0.25 });
        assert_eq!(written(json!(300)), json!(300));
        assert_eq!(written(json!("auto")), full);
        assert_eq!(written(json!({})), full);
        assert_eq!(written(json!({ "at_most": 200 }))["at_most"], json!(200));
        assert_eq!([json!(7), json!("auto")].map(|value| read(value).at_most()), [7, 1000]);
        assert!(serde_json::from_value::<Epochs>(json!("automatic")).is_err());
    }

    #[test]
    fn a_level_curve_ends_at_the_floor_and_a_rising_one_at_the_limit() {
        let until = until(json!({ "at_least": 40, "at_most": 200 }));
        let level = DecayPhase { from_epoch: 40, to_epoch: 50, reason: DecayReason::Plateau };
        assert_eq!(decision(&until, |_| 0.8), level);
        let rising = DecayPhase { from_epoch: 160, to_epoch: 200, reason: DecayReason::Limit };
        assert_eq!(decision(&until, |epoch| 0.1 + 0.1 * epoch.ln()), rising);
    }

    #[test]
    fn a_curve_that_levels_off_late_ends_after_that() {
        let until = until(json!({ "at_least": 20, "at_most": 1000 }));
        let late = decision(&until, |epoch| 0.2 + 0.1 * epoch.min(120.0).ln());
        assert_eq!(late.reason, DecayReason::Plateau);
        assert!((150..600).contains(&late.from_epoch), "{late:?}");
    }

    #[test]
    fn between_validations_only_the_limit_decides_also_without_any_score() {
        let until = until(json!({ "at_least": 40, "at_most": 200 }));
        let known = scores(100, |_| 0.8);
        assert!(until.decide(100, &known).is_some() && until.decide(101, &known).is_none());
        assert!(until.decide(159, &[]).is_none());
        assert_eq!(until.decide(160, &[]).unwrap().reason, DecayReason::Limit);
    }

    #[test]
    fn a_fall_over_a_fraction_of_all_epochs_is_one_over_a_share_of_those_before() {
        let of = |fraction| UntilPlateau::default().with_decay_last(fraction);
        for (fraction, from, end) in [(0.2, 80, 100), (0.3, 70, 100), (0.5, 50, 100)] {
            assert!(of(fraction).end(from).abs_diff(end) <= 1, "{fraction}: {:?}", of(fraction));
        }
        for none in [0.0, 0.6, f64::NAN] {
            assert_eq!(of(none), UntilPlateau::default());
        }
    }

    #[test]
    fn no_training_is_longer_than_the_limit() {
        for at_most in 2..300 {
            for decay in [0.01, 0.1, 0.25, 1.0 / 3.0, 1.0] {
                let until = UntilPlateau { at_most, decay, ..UntilPlateau::default() };
                let from = until.latest_decay();
                let end = f64::from(from) + (f64::from(from) * decay).ceil();
                assert!(end <= f64::from(at_most), "{at_most}, {decay}");
            }
        }
    }

    #[test]
    fn settings_by_which_no_plateau_can_be_seen_are_mistakes() {
        let paths = |value: Value, every| -> Vec<String> {
            let epochs: Epochs = serde_json::from_value(value).unwrap();
            epochs.check("epochs", every).into_iter().map(|(path, _)| path).collect()
        };
        assert_eq!(paths(json!(0), 5), ["epochs"]);
        assert_eq!(paths(json!("auto"), 5), [""; 0]);
        assert_eq!(paths(json!({ "at_most": 30 }), 1), ["epochs.at_least"]);
        assert_eq!(paths(json!({ "at_most": 300 }), 50), ["validate_every"]);
        let wrong = json!({ "at_least": 0, "min_gain": 0.0, "decay": 1.5 });
        assert_eq!(paths(wrong, 1), ["epochs.at_least", "epochs.min_gain", "epochs.decay"]);
    }
}
