//! Descriptions of the artifacts of `preprocess` and `cache`.
//!
//! A volumes artifact holds `volumes.json` and for each case `<case>/image.nii` (float32, plain
//! NIfTI-1), `<case>/label.nii` (uint8) where labelled, `<case>/marked.nii` where asked for, and
//! `<case>/geometry.json`.
//! A cache artifact holds for each part (training, validation, testing, unlabelled)
//! `<part>/part.json` and the same files under `<part>/<case>/`; and for each training case
//! `training/<case>/candidates.bin`.

use crate::dataset::Label;
use crate::image::Preparation;
use serde::{Deserialize, Serialize};
use voxflow_cache::Digest;

/// A case's label map with [`crate::image::prepared::OUTSIDE`] beyond the non-zero region.
pub const MARKED: &str = "marked.nii";

/// `volumes.json`: all volumes; `part.json`: those of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeList {
    /// The dataset's name.
    pub dataset: String,
    /// Preparation of the volumes.
    pub preparation: Preparation,
    /// The name of each image channel.
    pub modality: Vec<String>,
    /// The labels without background.
    pub labels: Vec<Label>,
    /// The value of voxels that nobody annotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<u8>,
    /// The cases, in a meaningful order.
    pub cases: Vec<VolumeCase>,
}

/// One case's volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeCase {
    /// The case's name.
    pub name: String,
    /// True with a `label.nii`.
    pub labelled: bool,
    /// The shape of `image.nii`: X, Y, Z.
    pub shape: [usize; 3],
    /// For each image file, its voxels' digest, as in [`crate::image::Geometry`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_digests: Vec<Digest>,
}
