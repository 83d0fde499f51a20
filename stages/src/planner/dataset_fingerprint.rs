//! A dataset's fingerprint, with the names and the order of axes (z, y, x) of nnU-Net's
//! `dataset_fingerprint.json`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Shapes, spacings and intensities of a dataset's training cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetFingerprint {
    /// For each channel, by its number, the intensities of labelled voxels. A channel without any
    /// is missing.
    pub foreground_intensity_properties_per_channel: BTreeMap<usize, IntensityProperties>,
    /// The median over cases of the share of voxels that the non-zero box leaves.
    pub median_relative_size_after_cropping: f64,
    /// Each case's shape after the crop to its non-zero box: z, y, x.
    pub shapes_after_crop: Vec<[usize; 3]>,
    /// Each case's voxel size in mm: z, y, x.
    pub spacings: Vec<[f64; 3]>,
}

/// Intensities of a channel in labelled voxels, each case with the same weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntensityProperties {
    /// The largest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// 0.5 % are below.
    pub percentile_00_5: f64,
    /// 99.5 % are below.
    pub percentile_99_5: f64,
    /// The standard deviation.
    pub std: f64,
}
