//! A dataset's listing: `dataset.json` of a dataset artifact, in one form whatever the source's was.

use serde::{Deserialize, Serialize};

/// What a dataset holds. Paths are names in the dataset artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The dataset's name ("Spleen").
    pub name: String,
    /// The licence of the data, where the source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Where the data come from, where the source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The name of each image channel, in order ("CT"; "FLAIR", "T1w", …).
    pub modality: Vec<String>,
    /// The labels without background, by rising value.
    pub labels: Vec<Label>,
    /// The cases in the source's own order, labelled ones first.
    pub cases: Vec<Case>,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The voxel value, at least 1.
    pub value: u8,
    /// The name.
    pub name: String,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The name: the file's without suffix ("spleen_8").
    pub name: String,
    /// The image files: one (3D, or 4D with channels last), or one for each channel.
    pub images: Vec<String>,
    /// The label file, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

impl Listing {
    /// Whether every channel is CT (values in Hounsfield units).
    pub fn is_ct(&self) -> bool {
        !self.modality.is_empty() && self.modality.iter().all(|name| name.eq_ignore_ascii_case("ct"))
    }
}
