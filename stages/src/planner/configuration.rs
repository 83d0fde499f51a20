//! A configuration: patch, batch and network for one spacing.

use super::architecture::Architecture;
use super::feature_map_size::feature_map_size;
use super::preset::{MOST_STAGES, Preset};
use super::topology::{Topology, topology};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Voxels of a patch before it is cut to the median volume: 256 along each axis of equal spacing.
const INITIAL_PATCH_VOXELS: f64 = 256.0 * 256.0 * 256.0;
/// Samples in the batch that references stand for.
const REFERENCE_BATCH: f64 = 2.0;
/// The smallest batch.
const MIN_BATCH: f64 = 2.0;

/// Patch, batch and network for one spacing; axes in the plan's order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Voxel size in mm.
    pub spacing: [f64; 3],
    /// Median shape of the cases with such voxels.
    pub median_image_size_in_voxels: [f64; 3],
    /// Voxels of a patch.
    pub patch_size: [usize; 3],
    /// Patches in a step.
    pub batch_size: usize,
    /// True if Dice is that of the whole batch, and not the mean over its samples.
    pub batch_dice: bool,
    /// The network.
    pub architecture: Architecture,
    /// Elements of the feature maps of one sample.
    pub feature_map_size: f64,
}

impl Configuration {
    /// Voxels of a patch.
    pub fn patch_voxels(&self) -> f64 {
        self.patch_size.iter().product::<usize>() as f64
    }
}

/// The limits of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub preset: Preset,
    pub gpu_memory_gb: f64,
    /// Classes, with background.
    pub classes: usize,
    /// Voxels of all training cases, each as large as the median.
    pub dataset_voxels: f64,
}

impl Target {
    fn reference(&self) -> f64 {
        self.preset.reference() * (self.gpu_memory_gb / self.preset.gpu_memory_gb())
    }
}

/// The largest patch in proportion to the median volume that fits the memory with a batch of two;
/// memory left over makes the batch larger.
pub(super) fn plan(
    target: &Target,
    spacing: [f64; 3],
    median_shape: [f64; 3],
) -> Result<Configuration> {
    let reference = target.reference();
    let mut topology = topology(spacing, initial_patch(spacing, median_shape));
    let (mut architecture, mut estimate) = network(target, &topology)?;
    while estimate > reference {
        topology = shrunk(&topology, spacing, median_shape)
            .ok_or_else(|| too_little_memory(target.gpu_memory_gb))?;
        (architecture, estimate) = network(target, &topology)?;
    }
    let patch_size = topology.patch_size;
    let patch_voxels = patch_size.iter().product::<usize>() as f64;
    let fits = (reference / estimate * REFERENCE_BATCH).round_ties_even();
    let covered = target.dataset_voxels * target.preset.max_dataset_covered() / patch_voxels;
    Ok(Configuration {
        spacing,
        median_image_size_in_voxels: median_shape,
        patch_size,
        batch_size: fits.min(covered.round_ties_even()).max(MIN_BATCH) as usize,
        batch_dice: false,
        architecture,
        feature_map_size: estimate,
    })
}

/// Sides in proportion to 1 / spacing, none longer than the median volume's.
fn initial_patch(spacing: [f64; 3], median_shape: [f64; 3]) -> [f64; 3] {
    let density = spacing.map(|mm| 1.0 / mm);
    let scale = (INITIAL_PATCH_VOXELS / density.iter().product::<f64>()).powf(1.0 / 3.0);
    std::array::from_fn(|axis| (density[axis] * scale).round_ties_even().min(median_shape[axis]))
}

fn network(target: &Target, topology: &Topology) -> Result<(Architecture, f64)> {
    let Topology { strides, kernel_sizes, patch_size, .. } = topology;
    if strides.len() > MOST_STAGES {
        return Err(Error::failed("the volumes are too large for a plan; resample them first"));
    }
    let architecture = Architecture::new(target.preset, strides.clone(), kernel_sizes.clone());
    let estimate = feature_map_size(&architecture, *patch_size, target.classes);
    Ok((architecture, estimate))
}

/// The topology of a smaller patch: shorter along the axis longest beside the median volume, by the
/// stride of the shorter axis. `None` if nothing is left.
fn shrunk(topology: &Topology, spacing: [f64; 3], median_shape: [f64; 3]) -> Option<Topology> {
    let patch = topology.patch_size;
    let shares = [0, 1, 2].map(|axis| patch[axis] as f64 / median_shape[axis]);
    let axis = (1..3).fold(0, |best, axis| if shares[axis] >= shares[best] { axis } else { best });
    let tried = shorter(patch, axis, topology.divisor(axis))?;
    let tried = super::topology::topology(spacing, tried);
    let patch = shorter(patch, axis, tried.divisor(axis))?;
    Some(super::topology::topology(spacing, patch))
}

/// The sides of a patch made shorter along an axis; `None` if nothing is left.
fn shorter(patch: [usize; 3], axis: usize, by: usize) -> Option<[f64; 3]> {
    let mut sides = patch.map(|side| side as f64);
    sides[axis] -= by as f64;
    (sides[axis] > 0.0).then_some(sides)
}

fn too_little_memory(gpu_memory_gb: f64) -> Error {
    Error::failed(format!(
        "no patch fits {gpu_memory_gb} GB of GPU memory; give the plan more with '--gpu-memory'"
    ))
}
