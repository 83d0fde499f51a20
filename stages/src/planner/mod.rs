//! The planner: from a fingerprint of a dataset to nnU-Net's plan for it, as pure functions.
//!
//! It gives what `nnUNetv2_plan_experiment` of nnU-Net 2.8.1 gives for `3d_fullres`, and tells if
//! there would be a `3d_lowres`. Arrays are nnU-Net's: axes z, y, x of the images, and transposed
//! in a [`Configuration`]; [`Plan::along_ras`] turns them to this program's x, y, z.

pub mod architecture;
pub mod configuration;
pub mod dataset_fingerprint;
pub mod feature_map_size;
pub mod initial_patch;
pub mod normalization;
pub mod percentile;
pub mod pooled_intensities;
pub mod preset;
pub mod target_spacing;
pub mod topology;

pub use architecture::Architecture;
pub use configuration::Configuration;
pub use dataset_fingerprint::{DatasetFingerprint, IntensityProperties};
pub use initial_patch::PatchRotation;
pub use normalization::NormalizationScheme;
pub use preset::Preset;

use crate::error::{Error, Result};
use crate::image::resize::new_shape;
use configuration::Target;
use percentile::percentile;
use serde::{Deserialize, Serialize};

/// A patch with less than this share of the median volume's voxels calls for a `3d_lowres`.
const LOWRES_CREATION_THRESHOLD: f64 = 0.25;
/// Growth of the voxels of `3d_lowres` from one attempt to the next.
const SPACING_INCREASE_FACTOR: f64 = 1.03;
/// Below this median relative size after cropping, z-scores are those of the non-zero mask.
const MASK_BELOW_RELATIVE_SIZE: f64 = 0.75;

/// All facts that a plan follows from.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    /// Shapes, spacings and intensities of the training cases.
    pub fingerprint: &'a DatasetFingerprint,
    /// The channels' names; `CT` is normalised as such.
    pub channel_names: &'a [String],
    /// Number of classes, with background.
    pub classes: usize,
}

/// nnU-Net's plan for a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The planner.
    pub preset: Preset,
    /// GPU memory aimed at, in GB.
    pub gpu_memory_gb: f64,
    /// The image axis (0 is z) of each axis of the plan; the coarsest comes first.
    pub transpose_forward: [usize; 3],
    /// Median spacing of the cases in mm, transposed.
    pub original_median_spacing_after_transp: [f64; 3],
    /// Median shape of the cropped cases, transposed.
    pub original_median_shape_after_transp: [usize; 3],
    /// Normalisation of each channel.
    pub normalization_schemes: Vec<NormalizationScheme>,
    /// For each channel, true if only voxels of the non-zero mask count.
    pub use_mask_for_norm: Vec<bool>,
    /// `3d_fullres`.
    pub fullres: Configuration,
    /// `3d_lowres`, if nnU-Net would add a cascade.
    pub lowres: Option<Configuration>,
}

impl Plan {
    /// Values of the plan's axes along this program's axes x, y, z.
    pub fn along_ras<T: Copy>(&self, transposed: [T; 3]) -> [T; 3] {
        let mut zyx = transposed;
        (0..3).for_each(|axis| zyx[self.transpose_forward[axis]] = transposed[axis]);
        [zyx[2], zyx[1], zyx[0]]
    }

    /// The axis x, y or z (0, 1 or 2) of the plan's first, the coarsest.
    pub fn first_axis(&self) -> usize {
        2 - self.transpose_forward[0]
    }
}

/// Plans with a preset. `gpu_memory_gb` replaces the preset's own target.
///
/// # Errors
///
/// No case, cases of one slice, and volumes too small for a network are errors.
pub fn plan(dataset: Dataset, preset: Preset, gpu_memory_gb: Option<f64>) -> Result<Plan> {
    let DatasetFingerprint { spacings, shapes_after_crop, .. } = dataset.fingerprint;
    if spacings.is_empty() || spacings.len() != shapes_after_crop.len() {
        return Err(Error::failed("there is no labelled case to plan from; give one to training"));
    }
    let fullres_spacing = target_spacing::fullres(dataset.fingerprint);
    let order = target_spacing::transpose_forward(fullres_spacing);
    let spacing = transposed(fullres_spacing, order);
    let median_shape = transposed(median_shape(dataset.fingerprint, fullres_spacing), order);
    if median_shape[0] == 1.0 {
        return Err(single_slices());
    }
    let gpu_memory_gb = gpu_memory_gb.unwrap_or(preset.gpu_memory_gb());
    let voxels = median_shape.iter().product::<f64>();
    let target = Target {
        preset,
        gpu_memory_gb,
        classes: dataset.classes,
        dataset_voxels: voxels * spacings.len() as f64,
    };
    let mut fullres = configuration::plan(&target, spacing, median_shape)?;
    let lowres = lowres(&target, &fullres, spacings.len())?;
    fullres.batch_dice = lowres.is_some();
    let normalization_schemes: Vec<_> =
        dataset.channel_names.iter().map(|name| NormalizationScheme::of(name)).collect();
    let [median_spacings, median_shapes] = original_medians(dataset.fingerprint, order);
    Ok(Plan {
        preset,
        gpu_memory_gb,
        transpose_forward: order,
        original_median_spacing_after_transp: median_spacings,
        original_median_shape_after_transp: median_shapes.map(|n| n.round_ties_even() as usize),
        use_mask_for_norm: masked(&normalization_schemes, dataset.fingerprint),
        normalization_schemes,
        fullres,
        lowres,
    })
}

fn single_slices() -> Error {
    Error::failed(
        "the cases are single slices; nnU-Net would plan a 2D network, and 2D is not offered",
    )
}

fn transposed(zyx: [f64; 3], order: [usize; 3]) -> [f64; 3] {
    order.map(|axis| zyx[axis])
}

/// The medians over cases of their spacings, and of their shapes after the crop, in the plan's
/// order of axes.
fn original_medians(fingerprint: &DatasetFingerprint, order: [usize; 3]) -> [[f64; 3]; 2] {
    let shapes = fingerprint.shapes_after_crop.iter();
    let shapes: Vec<[f64; 3]> = shapes.map(|shape| shape.map(|n| n as f64)).collect();
    [&fingerprint.spacings, &shapes].map(|rows| transposed(percentile::median_of_each(rows), order))
}

/// True for each channel that is normalised within the mask of non-zero voxels.
fn masked(schemes: &[NormalizationScheme], fingerprint: &DatasetFingerprint) -> Vec<bool> {
    let is_masked = fingerprint.median_relative_size_after_cropping < MASK_BELOW_RELATIVE_SIZE;
    schemes.iter().map(|scheme| is_masked && scheme.keeps_zero_outside_mask()).collect()
}

/// The median over cases of their shapes at the target spacing.
fn median_shape(fingerprint: &DatasetFingerprint, target: [f64; 3]) -> [f64; 3] {
    let cases = fingerprint.spacings.iter().zip(&fingerprint.shapes_after_crop);
    let shapes: Vec<[f64; 3]> = cases
        .map(|(spacing, shape)| new_shape(*shape, *spacing, target).map(|n| n as f64))
        .collect();
    std::array::from_fn(|axis| {
        percentile(&shapes.iter().map(|shape| shape[axis]).collect::<Vec<_>>(), 50.0)
    })
}

/// `3d_lowres`: coarser voxels until the patch sees a quarter of the median volume; `None` if the
/// patch does at full resolution, or if that would save less than half of the voxels.
fn lowres(target: &Target, fullres: &Configuration, cases: usize) -> Result<Option<Configuration>> {
    let median = fullres.median_image_size_in_voxels;
    let all: f64 = median.iter().product();
    let (mut spacing, mut voxels, mut found) = (fullres.spacing, all, None);
    let mut patch_voxels = fullres.patch_voxels();
    while patch_voxels / voxels < LOWRES_CREATION_THRESHOLD {
        let coarsest = spacing.iter().copied().fold(0.0, f64::max);
        let finer = spacing.map(|mm| coarsest / mm > 2.0);
        let any = finer.contains(&true);
        for (mm, is_finer) in spacing.iter_mut().zip(finer) {
            *mm *= if is_finer || !any { SPACING_INCREASE_FACTOR } else { 1.0 };
        }
        let size: [f64; 3] =
            std::array::from_fn(|axis| fullres.spacing[axis] / spacing[axis] * median[axis]);
        voxels = size.iter().product();
        let target = Target { dataset_voxels: voxels * cases as f64, ..*target };
        let coarse = configuration::plan(&target, spacing, size.map(f64::round_ties_even))?;
        patch_voxels = coarse.patch_voxels();
        found = Some(coarse);
    }
    Ok(found.filter(|_| all / voxels >= 2.0))
}
