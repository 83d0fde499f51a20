//! The phantom's organs available as labels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An organ that can be labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Organ {
    /// The spleen.
    Spleen,
    /// The liver.
    Liver,
    /// Both kidneys.
    Kidneys,
    /// The stomach with its content.
    Stomach,
}

impl Organ {
    /// Its name in listings.
    pub fn name(self) -> &'static str {
        match self {
            Organ::Spleen => "spleen",
            Organ::Liver => "liver",
            Organ::Kidneys => "kidneys",
            Organ::Stomach => "stomach",
        }
    }
}
