//! The patch sampler: where a patch is taken from a volume. The copy itself is in `window`.
//!
//! Centres are drawn as MONAI's `RandCropByPosNegLabel` and `RandCropByLabelClasses` draw them, or
//! places as nnU-Net's loader does, from [`Candidates`]; what is done to a patch afterwards is
//! `augment`.

use crate::error::{Error, Result};
use crate::image::augment::Augmentation;
use crate::image::candidates::Candidates;
use crate::image::patch::Patch;
use crate::image::transform::MemoryCanvas;
use crate::image::window::Window;
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::iter;

/// Sampling of patch centres.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Weight of patches centred on a labelled voxel, against `negative`.
    pub positive: f64,
    /// Weight of patches centred on a background candidate, against `positive`.
    pub negative: f64,
    /// Weights for patches centred on background and on each label, by rising label value; instead
    /// of `positive` and `negative`. Labels absent from a case count as 0 there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_ratios: Option<Vec<f64>>,
    /// The share of a batch's patches, its last ones, that are centred on a voxel of a class (label
    /// or region) drawn uniformly among those of the case; the others lie anywhere, or around
    /// annotated voxels where the dataset has some to ignore. Instead of the weights above, as
    /// nnU-Net's loader. Patches reach over the edge by half of what 'initial_patch' exceeds the
    /// patch by, and those around a voxel farther.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-neutral" = null))]
    pub forced_foreground: Option<f64>,
    /// Sides x, y, z of what is cut before augmentation, at least those of the patch: a leading
    /// 'spatial' turns it, otherwise its middle is the patch. null for the patch's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-neutral" = null))]
    pub initial_patch: Option<[usize; 3]>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            positive: 1.0,
            negative: 1.0,
            label_ratios: None,
            forced_foreground: None,
            initial_patch: None,
        }
    }
}

impl Sampling {
    /// Mistakes beyond types: each a parameter's path with the trouble.
    pub fn check(&self, patch: [usize; 3]) -> Vec<(String, String)> {
        let mut mistakes = self.check_forced(patch);
        for (path, weight) in [("positive", self.positive), ("negative", self.negative)] {
            if is_no_weight(&weight) {
                mistakes
                    .push((path.to_string(), format!("{weight} is not a weight; give 0 or more")));
            }
        }
        if mistakes.is_empty() && self.positive + self.negative == 0.0 {
            mistakes.push((
                "positive".into(),
                "both weights are 0; let 'positive' or 'negative' be above 0".into(),
            ));
        }
        if let Some(ratios) = &self.label_ratios
            && (ratios.iter().any(is_no_weight) || ratios.iter().all(|ratio| *ratio == 0.0))
        {
            mistakes.push((
                "label_ratios".into(),
                "weights are 0 or more, and one of them is above 0".into(),
            ));
        }
        mistakes
    }

    fn check_forced(&self, patch: [usize; 3]) -> Vec<(String, String)> {
        let share = self.forced_foreground.is_some_and(|share| !(0.0..=1.0).contains(&share));
        let initial = self.initial_patch.unwrap_or(patch);
        let small = (0..3).any(|axis| initial[axis] < patch[axis] || initial[axis] > 4096);
        let both = self.forced_foreground.is_some() && self.label_ratios.is_some();
        let wrong = [
            (share, "forced_foreground", "must lie in 0 to 1".to_string()),
            (both, "forced_foreground", "stands instead of 'label_ratios'; give one".to_string()),
            (
                small,
                "initial_patch",
                format!("each side must lie in the patch's ({patch:?}) to 4096"),
            ),
        ];
        let found = wrong.into_iter().filter(|(is, ..)| *is);
        found.map(|(_, path, trouble)| (path.to_string(), trouble)).collect()
    }

    /// Checks against the dataset: `label_ratios` needs a weight for background and for each label.
    pub fn check_labels(&self, labels: usize) -> Result<()> {
        match &self.label_ratios {
            Some(ratios) if ratios.len() != labels + 1 => Err(Error::failed(format!(
                "label_ratios: {} weights for {labels} labels; give {}, background first",
                ratios.len(),
                labels + 1
            ))),
            _ => Ok(()),
        }
    }
}

/// The numbers deciding all draws for a patch.
#[derive(Clone, Copy, Debug)]
pub struct PatchKey {
    /// The training's seed.
    pub seed: u64,
    /// The epoch.
    pub epoch: u64,
    /// The patch's number within the epoch.
    pub item: u64,
    /// Its place in the batch, and the batch's number of patches.
    pub batch: (usize, usize),
}

/// A case in memory, from which patches are copied.
#[derive(Clone, Copy, Debug)]
pub struct PatchSource<'a> {
    /// The image, x fastest and channels slowest.
    pub image: &'a [f32],
    /// Number of image channels.
    pub channels: usize,
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// The label, x fastest.
    pub label: &'a [u8],
    /// The label beyond the volume: 0, or [`OUTSIDE`](crate::image::prepared::OUTSIDE) where the
    /// label is marked.
    pub beyond: u8,
    /// The voxels that a patch may be centred on.
    pub candidates: &'a Candidates,
}

/// Draws and augments one patch into `image` (channels × X·Y·Z values) and `label` (X·Y·Z), in the
/// layout of [`Patch`]. Every random number derives from (seed, epoch, item); `item` numbers the
/// epoch's patches.
pub fn sample(
    case: &PatchSource,
    sampling: &Sampling,
    augmentation: &Augmentation,
    patch_shape: [usize; 3],
    key: PatchKey,
    (image, label): (&mut [f32], &mut [u8]),
) {
    let start = initial_start(case.candidates, sampling, case.shape, patch_shape, key);
    let initial = sampling.initial_patch.unwrap_or(patch_shape);
    let changes = augmentation.draw(patch_shape, (key.seed, key.epoch, key.item));
    let (rotoscale, changes) = changes.split_rotoscale();
    let beyond = case.beyond;
    if let Some(rotoscale) = rotoscale {
        let larger = cut(case, start, initial);
        let target = (&mut *image, &mut *label, patch_shape);
        rotoscale.resample((&larger.image, &larger.label, initial), target, beyond);
        return changes.apply(&mut MemoryCanvas { shape: patch_shape, image, label, beyond });
    }
    let start = middle(start, initial, patch_shape);
    let (flips, changes) = changes.split_mirrors();
    let window = Window { shape: case.shape, start, size: patch_shape, flips, beyond };
    let source = (case.image, case.label);
    if changes.are_pointwise() && window.is_inside() {
        // Each line is changed while the processor's cache still holds it.
        window.copy(source, (image, label), |line| changes.apply_to_values(line));
    } else {
        window.copy(source, (&mut *image, &mut *label), |_| {});
        changes.apply(&mut MemoryCanvas { shape: patch_shape, image, label, beyond });
    }
}

/// Copies a patch out of a case.
fn cut(case: &PatchSource, start: [i64; 3], size: [usize; 3]) -> Patch {
    let mut patch = Patch::blank(case.channels, size);
    let window = Window { shape: case.shape, start, size, flips: [false; 3], beyond: case.beyond };
    let source = (case.image, case.label);
    window.copy(source, (&mut patch.image, &mut patch.label), |_| {});
    patch
}

/// Draws the first voxel of what is cut for a patch in a volume of this shape.
pub fn initial_start(
    candidates: &Candidates,
    sampling: &Sampling,
    shape: [usize; 3],
    patch_shape: [usize; 3],
    key: PatchKey,
) -> [i64; 3] {
    let mut draw = Draw::new(key.seed, key.epoch, key.item, "centre");
    let initial = sampling.initial_patch.unwrap_or(patch_shape);
    let Some(share) = sampling.forced_foreground else {
        return start(centre(&mut draw, candidates, sampling), shape, initial);
    };
    let (place, patches) = key.batch;
    let is_forced = place as f64 >= (patches as f64 * (1.0 - share)).round_ties_even();
    let bounds = nnunet_bounds(shape, patch_shape, initial);
    let present = candidates.classes_present();
    let voxel = match is_forced && !present.is_empty() {
        true => {
            let class = present[draw.below(present.len() as u64) as usize];
            candidates.draw_class(class, &mut draw)
        }
        false if candidates.is_sparse() => candidates.draw_annotated(&mut draw),
        false => {
            return bounds.map(|(low, high)| low + draw.below((high - low + 1) as u64) as i64);
        }
    };
    let voxel = coordinates(voxel, shape);
    std::array::from_fn(|axis| bounds[axis].0.max(voxel[axis] as i64 - (initial[axis] / 2) as i64))
}

/// The first and the last place to cut at, as nnU-Net's loader: the cut may reach over the edge by
/// half its excess over the patch, and by half the volume's shortage.
fn nnunet_bounds(shape: [usize; 3], patch: [usize; 3], initial: [usize; 3]) -> [(i64, i64); 3] {
    std::array::from_fn(|axis| {
        let [shape, patch, initial] =
            [shape[axis], patch[axis], initial[axis]].map(|side| side as i64);
        let excess = (initial - patch).max(initial - shape);
        let before = (excess + 1) / 2;
        (-before, shape + before - initial)
    })
}

/// The first voxel for a patch centred in the cut.
pub fn middle(start: [i64; 3], initial: [usize; 3], patch: [usize; 3]) -> [i64; 3] {
    std::array::from_fn(|axis| start[axis] + (initial[axis] / 2) as i64 - (patch[axis] / 2) as i64)
}

/// Draws the voxel that a patch is centred on, before it is shifted to stay inside.
///
/// With probability positive / (positive + negative) a labelled voxel, else a background candidate;
/// where one of the two has no voxels, the other. With `label_ratios` a class by its weight, then
/// one of its voxels; where no class with a weight has voxels, every class that has some counts
/// alike.
pub fn centre(draw: &mut Draw, candidates: &Candidates, sampling: &Sampling) -> [usize; 3] {
    let voxel = match &sampling.label_ratios {
        Some(ratios) => draw_class(draw, candidates, ratios),
        None => {
            draw_side(draw, candidates, sampling.positive / (sampling.positive + sampling.negative))
        }
    };
    coordinates(voxel, candidates.shape())
}

/// X, Y, Z of a voxel's index, x fastest.
fn coordinates(voxel: usize, [nx, ny, _]: [usize; 3]) -> [usize; 3] {
    [voxel % nx, voxel / nx % ny, voxel / (nx * ny)]
}

fn draw_side(draw: &mut Draw, candidates: &Candidates, positive: f64) -> usize {
    let positive = match (candidates.foreground(), candidates.background()) {
        (0, _) => 0.0,
        (_, 0) => 1.0,
        _ => positive,
    };
    if draw.chance(positive) {
        candidates.draw_foreground(draw)
    } else {
        candidates.draw_background(draw)
    }
}

fn is_no_weight(weight: &f64) -> bool {
    !weight.is_finite() || *weight < 0.0
}

fn draw_class(draw: &mut Draw, candidates: &Candidates, ratios: &[f64]) -> usize {
    let labels = 0..candidates.labels().len();
    let counts = iter::once(candidates.background()).chain(labels.map(|at| candidates.count(at)));
    let present: Vec<bool> = counts.map(|count| count > 0).collect();
    let ratios = ratios.iter().copied().chain(iter::repeat(0.0));
    let mut weights: Vec<f64> =
        present.iter().zip(ratios).map(|(is, ratio)| if *is { ratio } else { 0.0 }).collect();
    if weights.iter().all(|weight| *weight == 0.0) {
        weights = present.iter().map(|is| f64::from(u8::from(*is))).collect();
    }
    match pick(draw.unit(), &weights) {
        0 => candidates.draw_background(draw),
        class => candidates.draw_label(class - 1, draw),
    }
}

/// The class that `unit` (0 to 1) falls on when weights are laid end to end.
fn pick(unit: f64, weights: &[f64]) -> usize {
    let mut rest = unit * weights.iter().sum::<f64>();
    let mut chosen = 0;
    for (class, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        chosen = class;
        if rest < *weight {
            break;
        }
        rest -= weight;
    }
    chosen
}

/// The first voxel of a patch around `centre`, shifted to stay inside the volume as MONAI's
/// `correct_crop_centers`. In a volume smaller than the patch the start is negative, with half the
/// padding (rounded down) before the volume, as MONAI's symmetric `SpatialPad`.
pub fn start(centre: [usize; 3], shape: [usize; 3], patch: [usize; 3]) -> [i64; 3] {
    std::array::from_fn(|axis| match shape[axis].checked_sub(patch[axis]) {
        Some(room) => centre[axis].saturating_sub(patch[axis] / 2).min(room) as i64,
        None => -(((patch[axis] - shape[axis]) / 2) as i64),
    })
}

/// Copies a patch out of a volume (x fastest) into the network's layout (z fastest); what lies
/// outside the volume is 0. `image` has `channels` × X·Y·Z values, `label` X·Y·Z.
pub fn crop(
    image: &[f32],
    channels: usize,
    shape: [usize; 3],
    label: &[u8],
    start: [i64; 3],
    patch_shape: [usize; 3],
) -> Patch {
    let mut patch = Patch::blank(channels, patch_shape);
    let window = Window { shape, start, size: patch_shape, flips: [false; 3], beyond: 0 };
    window.copy((image, label), (&mut patch.image, &mut patch.label), |_| {});
    patch
}
