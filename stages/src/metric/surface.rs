//! Surface scores for two masks: the 95th percentile of the Hausdorff distance, and surface Dice.
//!
//! Definitions are MONAI's (`compute_hausdorff_distance`, `compute_surface_dice`). Masks must have
//! a margin of one empty voxel on every side, as cut by `score`.

use crate::metric::area::areas_mm2;
use crate::metric::distance::distances_mm;

/// Two masks on the same grid, x fastest.
#[derive(Clone, Debug)]
pub struct Masks {
    /// X, Y, Z; the outermost voxels are not set.
    pub shape: [usize; 3],
    /// The sides of a voxel.
    pub spacing_mm: [f64; 3],
    /// The voxels of the segmentation.
    pub prediction: Vec<bool>,
    /// The voxels of the reference.
    pub reference: Vec<bool>,
}

/// Surface scores of two masks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceScores {
    /// The larger of the two directed 95th percentiles between border voxels, in mm. `None` if a
    /// mask is empty.
    pub hd95_mm: Option<f64>,
    /// The share of both masks' border voxels within the tolerance to the other's border. `None` if
    /// both masks are empty, 0 if a single mask is.
    pub surface_dice: Option<f64>,
    /// The same share by surface area. `None` and 0 as above.
    pub surface_dice_area: Option<f64>,
}

/// All surface scores; `tolerance_mm` is the distance up to which surfaces agree.
pub fn surface_scores(masks: &Masks, tolerance_mm: f64) -> SurfaceScores {
    let borders = [border(&masks.prediction, masks.shape), border(&masks.reference, masks.shape)];
    let [to_reference, to_prediction] = both_ways(&borders, masks.shape, masks.spacing_mm);
    let hd95_mm = percentile(&to_reference, 0.95)
        .zip(percentile(&to_prediction, 0.95))
        .map(|(a, b)| f64::from(a.max(b)));
    let finite = masks.prediction.contains(&true) && masks.reference.contains(&true);
    let distances = to_reference.iter().chain(&to_prediction);
    let surface_dice = share(distances.map(|distance| (*distance, 1.0)), tolerance_mm);
    let surface_dice_area = surface_dice.and_then(|_| area_dice(masks, tolerance_mm));
    SurfaceScores { hd95_mm: hd95_mm.filter(|_| finite), surface_dice, surface_dice_area }
}

/// The set voxels with an unset one among their six neighbours.
fn border(mask: &[bool], [nx, ny, _]: [usize; 3]) -> Vec<bool> {
    let steps = [1, nx, nx * ny];
    let voxels = mask.iter().enumerate();
    voxels
        .map(|(i, set)| *set && !steps.iter().all(|step| mask[i - step] && mask[i + step]))
        .collect()
}

fn both_ways(
    [one, other]: &[Vec<bool>; 2],
    shape: [usize; 3],
    spacing_mm: [f64; 3],
) -> [Vec<f32>; 2] {
    [distances_mm(one, other, shape, spacing_mm), distances_mm(other, one, shape, spacing_mm)]
}

/// The weights' share with a distance within the tolerance; `None` without any weight.
fn share(elements: impl Iterator<Item = (f32, f64)>, tolerance_mm: f64) -> Option<f64> {
    let (mut within, mut all) = (0.0, 0.0);
    for (distance, weight) in elements {
        all += weight;
        within += if distance <= tolerance_mm as f32 { weight } else { 0.0 };
    }
    (all > 0.0).then(|| within / all)
}

/// A quantile with linear interpolation, by the single-precision steps of `torch.quantile`.
fn percentile(distances: &[f32], quantile: f32) -> Option<f32> {
    let mut sorted = distances.to_vec();
    let rank = quantile * sorted.len().checked_sub(1)? as f32;
    let (below, weight) = (rank as usize, rank - rank.floor());
    let (_, low, rest) = sorted.select_nth_unstable_by(below, f32::total_cmp);
    let low = *low;
    let high = rest.iter().copied().min_by(f32::total_cmp).unwrap_or(low);
    let width = high - low;
    Some(if weight < 0.5 { low + weight * width } else { high - width * (1.0 - weight) })
}

/// Surface Dice by area: elements lie between the voxels, in each cube of eight.
fn area_dice(masks: &Masks, tolerance_mm: f64) -> Option<f64> {
    let areas = areas_mm2(masks.spacing_mm);
    let codes = [codes(&masks.prediction, masks.shape), codes(&masks.reference, masks.shape)];
    let shape = masks.shape.map(|side| side - 1);
    let surfaces = codes
        .each_ref()
        .map(|codes| codes.iter().map(|code| !matches!(code, 0 | 255)).collect::<Vec<bool>>());
    let distances = both_ways(&surfaces, shape, masks.spacing_mm);
    let elements = codes.iter().zip(distances).flat_map(|(codes, distances)| {
        let on_surface = codes.iter().filter(|code| !matches!(**code, 0 | 255));
        distances
            .into_iter()
            .zip(on_surface.map(|code| areas[usize::from(*code)]))
            .collect::<Vec<_>>()
    });
    share(elements, tolerance_mm)
}

/// For each cube with eight neighbours, the set voxels: bit dx + 2·dy + 4·dz.
fn codes(mask: &[bool], [nx, ny, nz]: [usize; 3]) -> Vec<u8> {
    let mut codes = Vec::with_capacity((nx - 1) * (ny - 1) * (nz - 1));
    for z in 0..nz - 1 {
        for y in 0..ny - 1 {
            let rows: [&[bool]; 4] = std::array::from_fn(|row| {
                let start = nx * (y + row % 2 + ny * (z + row / 2));
                &mask[start..start + nx]
            });
            let pair =
                |x: usize| (0..4).fold(0, |bits, row| bits | u8::from(rows[row][x]) << (2 * row));
            codes.extend((0..nx - 1).map(|x| pair(x) | pair(x + 1) << 1));
        }
    }
    codes
}
