//! `predict`: segments images, each in its own space. Its work is done by `voxflow-worker`.

use crate::dataset::{Case, Listing};
use crate::error::{Error, Result};
use crate::foresight::Foresight;
use crate::image::nifti::suffix;
use crate::model::{InferenceOptions, Mistake, mistake};
use crate::stage::{ArtifactType, Count, Items, MODELS, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Segments images without labels, each in its own space, as the model itself says they are
/// prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Predict {
    /// Images of the dataset to segment.
    #[serde(default)]
    pub cases: Cases,
    /// Also write each class's probability: a 4D file for each image, background first.
    #[serde(default)]
    pub probabilities: bool,
    /// File names; `{case}` is the case's name, taken from its image file.
    #[serde(default = "as_the_image")]
    pub file_name: String,
    /// The use of the models.
    #[serde(flatten)]
    pub options: InferenceOptions,
}

/// Images of a dataset to segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cases {
    /// Those without a label, as a challenge gives them.
    #[default]
    Unlabelled,
    /// All.
    All,
}

/// Unit of the progress inside one image: windows of all networks and flips.
pub const WINDOWS: &str = "windows";

/// Placeholder of the case in a file name.
const CASE: &str = "{case}";

fn as_the_image() -> String {
    format!("{CASE}.nii.gz")
}

impl Predict {
    /// The cases to segment, at least one.
    pub fn chosen<'a>(&self, listing: &'a Listing) -> Result<Vec<&'a Case>> {
        let cases: Vec<&Case> = listing
            .cases
            .iter()
            .filter(|case| self.cases == Cases::All || case.label.is_none())
            .collect();
        match cases.is_empty() {
            false => Ok(cases),
            true => Err(Error::failed(format!(
                "dataset '{}' has no images without labels; 'cases: all' segments the labelled \
                 ones",
                listing.name
            ))),
        }
    }

    /// The suffix of all files.
    pub fn suffix(&self) -> &'static str {
        let packed = suffix::split(&self.file_name).is_some_and(|(_, end)| end.len() > 4);
        if packed { ".nii.gz" } else { ".nii" }
    }

    /// The name of a case's files.
    pub fn file_of(&self, case: &str) -> String {
        self.file_name.replace(CASE, case)
    }
}

impl Stage for Predict {
    const NAME: &'static str = "predict";
    const VERSION: u32 = 4;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &[""],
            count: Count::One,
            doc: "the images",
        },
        MODELS,
    ];
    const MAKES: ArtifactType = ArtifactType::Predictions;
    const ITEMS: &'static [Items] =
        &[Items { what: "image", reads: "dataset", holds: &["labels.nii*", "facts.json"] }];
    const POOL: Pool = Pool::Gpu;

    /// A dataset without images for it.
    fn foresee(&self, sight: &Foresight) -> Vec<String> {
        let listing = (sight.ancestor)(&["dataset"]).and_then(|dataset| dataset.listing);
        let trouble = listing.and_then(|listing| self.chosen(&listing).err());
        trouble.map(|trouble| format!("{trouble}; or leave the stage out")).into_iter().collect()
    }

    fn check(&self) -> Vec<Mistake> {
        let ending = suffix::split(&self.file_name).map(|(_, ending)| ending);
        let image = ending.is_some() && suffix::second(&self.file_name).is_none();
        let named = self.file_name.contains(CASE) && !self.file_name.contains(['/', '\\']);
        let file_name = mistake(
            !image || !named,
            "file_name",
            format!("must hold '{CASE}', no slash, and end in .nii.gz or .nii, as '{CASE}.nii.gz'"),
        );
        file_name.into_iter().chain(self.options.check()).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::kind::Kind;
    use serde_json::json;

    #[test]
    fn files_are_named_after_their_images_unless_told_otherwise() {
        let kind = Kind::named("predict").unwrap();
        assert_eq!(kind.understand(&json!({})).unwrap()["file_name"], "{case}.nii.gz");
        for wrong in ["a.nii.gz", "{case}.png", "{case}.img", "../{case}.nii.gz"] {
            let mistakes = kind.understand(&json!({ "file_name": wrong })).unwrap_err();
            assert_eq!(mistakes[0].0, "file_name", "{wrong}");
        }
    }
}
