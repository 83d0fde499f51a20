//! Patches: where one is taken from a volume, and the copy itself, in the network's layout.
//!
//! Centres are drawn as MONAI's `RandCropByPosNegLabel` and `RandCropByLabelClasses` draw them,
//! from [`Candidates`]; what is done to a patch afterwards is `augment`.

use crate::error::{Error, Result};
use crate::image::augment::Augmentation;
use crate::image::candidates::Candidates;
use crate::image::tile::Tiled;
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How often patches are centred on what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Weight of patches centred on a labelled voxel, against `negative`.
    pub positive: f64,
    /// Weight of patches centred on a background candidate, against `positive`.
    pub negative: f64,
    /// Weights of patches centred on background and on each label, by rising label value; instead
    /// of `positive` and `negative`. Labels that a case lacks count as 0 there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_ratios: Option<Vec<f64>>,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { positive: 1.0, negative: 1.0, label_ratios: None }
    }
}

impl Sampling {
    /// Mistakes that types cannot say: pairs of a parameter's path and the trouble.
    pub fn check(&self) -> Vec<(String, String)> {
        let bad = |weight: &f64| !weight.is_finite() || *weight < 0.0;
        let mut mistakes = vec![];
        for (path, weight) in [("positive", self.positive), ("negative", self.negative)] {
            if bad(&weight) {
                mistakes.push((path.to_string(), format!("{weight} is not a weight; give 0 or more")));
            }
        }
        if mistakes.is_empty() && self.positive + self.negative == 0.0 {
            mistakes.push(("positive".into(), "both weights are 0; let 'positive' or 'negative' be above 0".into()));
        }
        if let Some(ratios) = &self.label_ratios
            && (ratios.iter().any(bad) || ratios.iter().all(|ratio| *ratio == 0.0))
        {
            mistakes.push(("label_ratios".into(), "weights are 0 or more, and one of them is above 0".into()));
        }
        mistakes
    }

    /// Checks what depends on the dataset: `label_ratios` has one weight for background and one for
    /// each of `labels` labels.
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

/// A piece of a volume with its label, z fastest and channels slowest, as networks read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Patch {
    /// Number of image channels.
    pub channels: usize,
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// The image: index = z + Z·(y + Y·(x + X·c)).
    pub image: Vec<f32>,
    /// The label values: index = z + Z·(y + Y·x).
    pub label: Vec<u8>,
}

impl Patch {
    /// A patch of zeros.
    pub(super) fn blank(channels: usize, shape: [usize; 3]) -> Patch {
        let voxels: usize = shape.iter().product();
        Patch { channels, shape, image: vec![0.0; channels * voxels], label: vec![0; voxels] }
    }
}

/// A case in memory: what patches are copied from.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The image, x fastest and channels slowest.
    pub image: &'a [f32],
    /// Number of image channels.
    pub channels: usize,
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// The label, x fastest.
    pub label: &'a [u8],
    /// The voxels that a patch may be centred on.
    pub candidates: &'a Candidates,
}

/// Draws one patch of a case and augments it, into `image` (channels × X·Y·Z values) and `label`
/// (X·Y·Z), in the layout of [`Patch`]. Every random number derives from (seed, epoch, item); `item`
/// numbers the patches of an epoch.
pub fn sample(
    case: &Case,
    sampling: &Sampling,
    augmentation: &Augmentation,
    patch_shape: [usize; 3],
    (seed, epoch, item): (u64, u64, u64),
    (image, label): (&mut [f32], &mut [u8]),
) {
    let centre = centre(&mut Draw::new(seed, epoch, item, "centre"), case.candidates, sampling);
    let start = start(centre, case.shape, patch_shape);
    let change = augmentation.draw(patch_shape, (seed, epoch, item));
    let window = Window { shape: case.shape, start, size: patch_shape, flips: change.flips };
    let source = (case.image, case.label);
    if change.moves_more_than_flips() {
        let mut patch = Patch::blank(case.channels, patch_shape);
        window.copy(source, (&mut patch.image, &mut patch.label), |_| {});
        change.apply_after_flips(patch, (image, label));
    } else if change.is_of_single_values() && window.is_inside() {
        window.copy(source, (image, label), |line| change.scale_and_shift(line));
    } else {
        window.copy(source, (&mut *image, label), |_| {});
        change.apply_to_values(image);
    }
}

/// Draws the voxel that a patch is centred on, before it is shifted to stay inside.
///
/// With probability positive / (positive + negative) a labelled voxel, else a background candidate;
/// where one of the two has no voxels, the other. With `label_ratios` a class by its weight, then one
/// of its voxels; where no class with a weight has voxels, every class that has some counts alike.
pub fn centre(draw: &mut Draw, candidates: &Candidates, sampling: &Sampling) -> [usize; 3] {
    let voxel = match &sampling.label_ratios {
        Some(ratios) => draw_class(draw, candidates, ratios),
        None => draw_side(draw, candidates, sampling.positive / (sampling.positive + sampling.negative)),
    };
    let [nx, ny, _] = candidates.shape();
    [voxel % nx, voxel / nx % ny, voxel / (nx * ny)]
}

fn draw_side(draw: &mut Draw, candidates: &Candidates, positive: f64) -> usize {
    let positive = match (candidates.foreground(), candidates.background()) {
        (0, _) => 0.0,
        (_, 0) => 1.0,
        _ => positive,
    };
    if draw.chance(positive) { candidates.draw_foreground(draw) } else { candidates.draw_background(draw) }
}

fn draw_class(draw: &mut Draw, candidates: &Candidates, ratios: &[f64]) -> usize {
    let count = |class: usize| if class == 0 { candidates.background() } else { candidates.count(class - 1) };
    let classes = candidates.labels().len() + 1;
    let weigh = |ratio: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..classes).map(|class| if count(class) > 0 { ratio(class) } else { 0.0 }).collect()
    };
    let mut weights = weigh(&|class| ratios.get(class).copied().unwrap_or(0.0));
    if weights.iter().all(|weight| *weight == 0.0) {
        weights = weigh(&|_| 1.0);
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
/// `correct_crop_centers`. Where the volume is smaller than the patch, the start is negative, with
/// half of the padding (rounded down) before the volume, as MONAI's symmetric `SpatialPad`.
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
    let window = Window { shape, start, size: patch_shape, flips: [false; 3] };
    window.copy((image, label), (&mut patch.image, &mut patch.label), |_| {});
    patch
}

/// Which part of a volume a patch shows, and along which axes it is mirrored.
struct Window {
    shape: [usize; 3],
    start: [i64; 3],
    size: [usize; 3],
    flips: [bool; 3],
}

/// Rows that are turned together: they fill a line of the processor's cache.
const BAND: usize = 16;

impl Window {
    /// Copies the part out of image (any number of channels) and label; what is outside is 0. `finish`
    /// is given each line of the image once it is copied, while it is at hand.
    fn copy(
        &self,
        (image, label): (&[f32], &[u8]),
        (to_image, to_label): (&mut [f32], &mut [u8]),
        finish: impl Fn(&mut [f32]),
    ) {
        let (volume, voxels): (usize, usize) = (self.shape.iter().product(), self.size.iter().product());
        if !self.is_inside() {
            to_image.fill(0.0);
            to_label.fill(0);
        }
        for (source, target) in image.chunks_exact(volume).zip(to_image.chunks_exact_mut(voxels)) {
            self.transpose(source, target, &finish);
        }
        self.transpose(label, to_label, |_| {});
    }

    /// Whether the volume fills the patch.
    fn is_inside(&self) -> bool {
        (0..3).all(|axis| self.filled(axis) == (0..self.size[axis]))
    }

    /// Copies what is inside, x fastest there and z fastest here, one (x, z) plane after the other: so the
    /// rows of a plane are read whole, and every line of the patch is written whole.
    fn transpose<T: Tiled<N>, const N: usize>(&self, source: &[T], target: &mut [T], finish: impl Fn(&mut [T])) {
        let [xs, ys, zs] = std::array::from_fn(|axis| self.filled(axis));
        let step = self.size[1] * self.size[2];
        // In the order of the source's rows, which a flip turns round.
        let (first, step) = if self.flips[0] { (xs.end.max(1) - 1, step.wrapping_neg()) } else { (xs.start, step) };
        let row = |y: usize, z: usize| {
            let from = self.shown(0, first) + self.shape[0] * (self.shown(1, y) + self.shape[1] * self.shown(2, z));
            &source[from..from + xs.len()]
        };
        for y in ys {
            let line = |x: usize| (x * self.size[1] + y) * self.size[2];
            if xs.len() < N || zs.len() < BAND {
                for (x, z) in zs.clone().flat_map(|z| (0..xs.len()).map(move |x| (x, z))) {
                    target[line(first).wrapping_add(x.wrapping_mul(step)) + z] = row(y, z)[x];
                }
            } else {
                for z in zs.clone().step_by(BAND).map(|z| z.min(zs.end - BAND)) {
                    let mut rows: [&[T]; BAND] = [&[]; BAND];
                    for (i, slot) in rows.iter_mut().enumerate() {
                        *slot = row(y, z + i);
                    }
                    turn(&rows, target, (line(first) + z, step));
                }
            }
            xs.clone().for_each(|x| finish(&mut target[line(x)..line(x) + self.size[2]]));
        }
    }

    /// The patch's indices along an axis that the volume fills.
    fn filled(&self, axis: usize) -> Range<usize> {
        let (start, volume, patch) = (self.start[axis], self.shape[axis] as i64, self.size[axis] as i64);
        let first = (-start).clamp(0, patch);
        let (first, end) = (first as usize, (volume - start).clamp(first, patch) as usize);
        if self.flips[axis] { self.size[axis] - end..self.size[axis] - first } else { first..end }
    }

    /// The volume's index that the patch shows at its index `at` along an axis.
    fn shown(&self, axis: usize, at: usize) -> usize {
        let at = if self.flips[axis] { self.size[axis] - 1 - at } else { at };
        (self.start[axis] + at as i64) as usize
    }
}

/// Writes the rows as columns, tile by tile: value x of all rows from place `first` + x · `step` on. Rows
/// are at least `N` long; the last tile begins early where none fits.
#[inline(always)]
fn turn<T: Tiled<N>, const N: usize>(rows: &[&[T]; BAND], target: &mut [T], (first, step): (usize, usize)) {
    let width = rows[0].len();
    for x in (0..width).step_by(N).map(|x| x.min(width - N)) {
        for band in (0..BAND).step_by(N) {
            // Whole arrays are read and written: the compiler then needs no calls for them.
            let row = |i: usize| rows[band + i][x..].first_chunk().map_or([T::default(); N], |values| *values);
            T::turn(row, |i, column| {
                if let Some(place) = target[first.wrapping_add((x + i).wrapping_mul(step)) + band..].first_chunk_mut() {
                    *place = column;
                }
            });
        }
    }
}
