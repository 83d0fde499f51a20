//! Precision: the numbers that networks compute in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The numbers that convolutions compute in; weights, norm statistics and loss are always fp32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    Fp32,
    /// 32 bits, of which convolutions multiply 19 (TF32) on GPUs from Ampere on; fp32 elsewhere.
    Tf32,
    /// bfloat16.
    Bf16,
    /// 16 bits; trainings scale the loss.
    Fp16,
}

impl Precision {
    /// The word for it in workflows.
    pub fn word(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
            Precision::Fp16 => "fp16",
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Precision::Fp32 | Precision::Tf32 => 4,
            Precision::Bf16 | Precision::Fp16 => 2,
        }
    }

    /// The words for several, each once.
    pub fn words(all: &[Precision]) -> String {
        let mut words: Vec<&str> = vec![];
        for word in all.iter().map(|precision| precision.word()) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words.join(", ")
    }
}

/// The precision of inference, among its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InferencePrecision {
    /// Of 'train' alone: that of the training.
    Training,
    /// 32 bits.
    Fp32,
    /// TF32 on GPUs from Ampere on, fp32 elsewhere.
    Tf32,
    /// bfloat16.
    Bf16,
    /// 16 bits.
    Fp16,
}

impl InferencePrecision {
    /// The precision for a model that was trained in `training`.
    pub fn of_training(self, training: Precision) -> Precision {
        match self {
            InferencePrecision::Training => training,
            InferencePrecision::Fp32 => Precision::Fp32,
            InferencePrecision::Tf32 => Precision::Tf32,
            InferencePrecision::Bf16 => Precision::Bf16,
            InferencePrecision::Fp16 => Precision::Fp16,
        }
    }
}

impl From<Precision> for InferencePrecision {
    fn from(precision: Precision) -> InferencePrecision {
        match precision {
            Precision::Fp32 => InferencePrecision::Fp32,
            Precision::Tf32 => InferencePrecision::Tf32,
            Precision::Bf16 => InferencePrecision::Bf16,
            Precision::Fp16 => InferencePrecision::Fp16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn a_precision_has_one_word_everywhere() {
        for word in ["fp32", "tf32", "bf16", "fp16"] {
            let precision: Precision = from_value(json!(word)).unwrap();
            assert_eq!(precision.word(), word);
            let inference: InferencePrecision = from_value(json!(word)).unwrap();
            assert_eq!(InferencePrecision::from(precision), inference);
            assert_eq!(inference.of_training(Precision::Fp16), precision);
        }
        let training = InferencePrecision::Training;
        assert_eq!(training.of_training(Precision::Bf16), Precision::Bf16);
        let several = [Precision::Bf16, Precision::Fp32, Precision::Bf16];
        assert_eq!(Precision::words(&several), "bf16, fp32");
    }
}
