//! How a stage uses models: window, flips, weights and precision.

use super::{Inference, InferencePrecision, Mistake, Precision, Weights};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters of inference, common to all kinds that use models. They are flattened into a
/// kind's own, which refuse unknown names: serde gives a flattened struct the names it knows, and
/// the rest are errors of the outer one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InferenceOptions {
    /// Sliding-window inference; null takes the model's own settings.
    #[serde(default)]
    pub inference: Option<Inference>,
    /// Test-time augmentation (TTA): average over all eight flips of the volume (eight times as
    /// slow).
    #[serde(default)]
    pub flips: bool,
    /// The weights to use.
    #[serde(default)]
    pub weights: Weights,
    /// The numbers that networks compute in, whatever `inference` says; null takes
    /// `inference.precision`, or that of each model, which is fp32 unless its training named one.
    #[serde(default)]
    #[schemars(extend("x-neutral" = null))]
    pub precision: Option<Precision>,
    /// Refuse fast algorithms that do not repeat bit by bit (on CUDA), and do without cuDNN's search
    /// for the fastest, which is done below fp32 and may find others in each run.
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub deterministic: bool,
}

impl InferenceOptions {
    /// Checks beyond types.
    pub fn check(&self) -> Vec<Mistake> {
        self.inference
            .iter()
            .flat_map(|inference| inference.check_outside_training("inference"))
            .collect()
    }

    /// The precision of a model whose own settings are `own`.
    pub fn precision_of(&self, own: &Inference) -> Precision {
        let settings = self.inference.as_ref();
        let named = settings.and_then(|settings| settings.precision).or(own.precision);
        let named = named.map(|named: InferencePrecision| named.of_training(Precision::Fp32));
        self.precision.or(named).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use serde_json::{from_value, json};

    /// The kinds that use models.
    const KINDS: [&str; 5] = ["validate", "test", "predict", "out_of_fold", "postprocess"];

    #[test]
    fn a_stages_precision_comes_before_its_settings_and_these_before_the_models() {
        let own: Inference = from_value(json!({ "precision": "bf16" })).unwrap();
        let of = |options| {
            let options: InferenceOptions = from_value(options).unwrap();
            [&own, &Inference::default()].map(|own| options.precision_of(own).word())
        };
        assert_eq!(of(json!({})), ["bf16", "fp32"]);
        assert_eq!(of(json!({ "inference": {} })), ["bf16", "fp32"]);
        assert_eq!(of(json!({ "inference": { "precision": "tf32" } })), ["tf32", "tf32"]);
        let both = json!({ "inference": { "precision": "tf32" }, "precision": "fp16" });
        assert_eq!(of(both), ["fp16", "fp16"]);
    }

    #[test]
    fn all_kinds_have_the_same_parameters_and_refuse_others() {
        for name in KINDS {
            let kind = Kind::named(name).unwrap();
            let plain = kind.understand(&json!({})).unwrap();
            let fields = ["inference", "flips", "weights", "precision", "deterministic"];
            for field in fields {
                assert!(plain.get(field).is_some(), "{name}: {field}");
                let schema = kind.schema().as_value();
                assert!(schema["properties"][field].is_object(), "{name}: {field}");
            }
            assert_eq!(kind.schema().as_value()["additionalProperties"], json!(false), "{name}");
            for wrong in [
                json!({ "flip": true }),
                json!({ "precision": "fp8" }),
                json!({ "inference": { "precison": "fp16" } }),
            ] {
                assert!(kind.understand(&wrong).is_err(), "{name}: {wrong}");
            }
        }
    }

    #[test]
    fn recipes_without_a_precision_are_those_of_before() {
        for name in KINDS {
            let kind = Kind::named(name).unwrap();
            let hashed = |params| kind.hashed(&kind.understand(&params).unwrap());
            let plain = hashed(json!({ "inference": { "roi": [16, 16, 16] } }));
            assert!(plain.get("precision").is_none(), "{name}: {plain}");
            assert!(plain.get("deterministic").is_none(), "{name}: {plain}");
            assert!(plain["inference"].get("precision").is_none(), "{name}: {plain}");
            for more in [
                json!({ "inference": { "roi": [16, 16, 16] }, "precision": "fp32" }),
                json!({ "inference": { "roi": [16, 16, 16], "precision": "fp32" } }),
                json!({ "inference": { "roi": [16, 16, 16] }, "deterministic": true }),
            ] {
                assert_ne!(hashed(more), plain, "{name}");
            }
        }
    }

    #[test]
    fn the_trainings_precision_is_for_trainings_to_name() {
        for name in KINDS {
            let kind = Kind::named(name).unwrap();
            let wrong = json!({ "inference": { "precision": "training" } });
            let mistakes = kind.understand(&wrong).unwrap_err();
            assert_eq!(mistakes[0].0, "inference.precision", "{name}");
        }
        let train = json!({ "epochs": 1, "patch": [16, 16, 16],
            "inference": { "precision": "training" } });
        Kind::named("train").unwrap().understand(&train).unwrap();
    }
}
