//! A training whose end validation decides (`epochs: auto`): its length, and the parameters that
//! contradict it.

use super::Train;
use crate::model::{Epochs, Mistake, UntilPlateau, mistake};

impl Train {
    /// The length, with the fall that the schedule's `decay_last` asks for where the end is open.
    pub fn length(&self) -> Epochs {
        let until = self.epochs.until_plateau();
        until.map_or_else(
            || self.epochs.clone(),
            |until| Epochs::UntilPlateau(until.with_decay_last(self.schedule.decay_last)),
        )
    }

    /// Parameters that contradict an end decided by validation.
    pub(super) fn check_open_end(&self) -> Vec<Mistake> {
        let Some(until) = self.epochs.until_plateau() else { return vec![] };
        let patience = mistake(
            self.stop_after.is_some(),
            "stop_after",
            "ends the training by a rule of its own; with 'epochs: auto' leave it out",
        );
        let falls = [until.decay != UntilPlateau::default().decay, self.schedule.decay_last > 0.0];
        let twice = mistake(
            falls == [true, true],
            "epochs.decay",
            "says how long the learning rate falls, and so does 'schedule.decay_last'; leave one \
             out",
        );
        let schedule = self.schedule.check_open_end("schedule");
        patience.into_iter().chain(twice).chain(schedule).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Train;
    use crate::kind::Kind;
    use crate::stage::Stage;
    use serde_json::{Value, json};

    #[test]
    fn an_end_by_validation_refuses_what_needs_an_end_or_has_one_of_its_own() {
        let kind = Kind::named("train").unwrap();
        let params = |epochs: Value| json!({ "epochs": epochs, "patch": [32, 32, 16] });
        let full = kind.understand(&params(json!("auto"))).unwrap();
        assert_eq!(full["epochs"]["at_most"], json!(1000));
        assert_eq!(kind.hashed(&full), kind.hashed(&kind.understand(&full).unwrap()));
        assert_eq!(kind.understand(&params(json!(3))).unwrap()["epochs"], json!(3));
        let mut wrong = params(json!({ "at_most": 40 }));
        wrong["stop_after"] = json!(10);
        wrong["keep_state"] = json!(true);
        wrong["schedule"] = json!({ "name": "cosine", "decay_last": 0.6 });
        let paths: Vec<String> =
            kind.understand(&wrong).unwrap_err().into_iter().map(|(path, _)| path).collect();
        let wanted = ["epochs.at_least", "stop_after", "schedule.name", "schedule.decay_last"];
        assert_eq!(paths, wanted);
    }

    #[test]
    fn the_fall_of_a_schedule_is_that_of_an_open_end_too_unless_it_has_one_of_its_own() {
        let of = |epochs: Value| {
            let params = json!({ "epochs": epochs, "patch": [32, 32, 16],
                                 "schedule": { "decay_last": 0.2 } });
            serde_json::from_value::<Train>(params).unwrap()
        };
        let decay = |epochs| of(epochs).length().until_plateau().map(|until| until.decay);
        assert_eq!(decay(json!(100)), None);
        assert!((decay(json!("auto")).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(of(json!("auto")).check(), []);
        let twice = of(json!({ "decay": 0.5 })).check();
        let [(path, words)] = &twice[..] else { panic!("one mistake, not {twice:?}") };
        assert!(path == "epochs.decay" && words.contains("'schedule.decay_last'"), "{words}");
    }
}
