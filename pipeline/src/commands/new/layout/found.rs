//! The layout of a folder as it was read.

use crate::commands::folder_scan::Survey;
use crate::commands::new::voxels::Look;
use std::collections::BTreeMap;

/// A folder as it was read.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// "images/{case}.nii.gz", one for each channel.
    pub images: Vec<String>,
    /// "labels/{case}_mask.nii.gz"
    pub labels: String,
    /// The channels' names, as far as the files' names tell.
    pub channels: Vec<String>,
    /// Cases to leave out: derived files that the image pattern finds too.
    pub exclude: Vec<String>,
    /// A part of a case's name that several cases share, as a pattern ("{group}_*").
    pub group: Option<String>,
    /// Image files that are not used: (reason, names).
    pub unused: BTreeMap<String, Vec<String>>,
}

/// Looks at a file's voxels.
pub(super) type VoxelProbe<'a> = dyn Fn(&str) -> Option<Look> + 'a;

/// Up to three files of the survey, from its beginning, middle and end, for messages.
pub(super) fn first_paths(survey: &Survey) -> Vec<String> {
    let count = survey.images.len();
    let places = match count {
        0..=3 => (0..count).collect(),
        _ => vec![0, count / 2, count - 1],
    };
    places.into_iter().map(|at| survey.images[at].path.clone()).collect()
}
