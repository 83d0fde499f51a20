//! A case's scores: every label in a segmentation against its reference.

use crate::dataset::Label;
use crate::image::affine::{most_skewed, spacing_mm, voxel_ml};
use crate::image::spacing::Grid;
use crate::metric::dice::dice;
use crate::metric::surface::{Masks, SurfaceScores, surface_scores};
use serde::{Deserialize, Serialize};

/// A case's scores on one grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseScore {
    /// The case's name.
    pub case: String,
    /// Label scores, in the dataset's order.
    pub labels: Vec<LabelScore>,
}

/// A label's scores in a case. `None` stands for MONAI's NaN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelScore {
    /// The label's name.
    pub label: String,
    /// Dice; `None` for an empty reference.
    pub dice: Option<f64>,
    /// The larger directed 95th percentile over surface distances; `None` if either is empty.
    pub hd95_mm: Option<f64>,
    /// Surface Dice by voxel count; `None` if both are empty.
    pub surface_dice: Option<f64>,
    /// Surface Dice by area; `None` if both are empty.
    pub surface_dice_area: Option<f64>,
    /// The volume of the segmentation.
    pub volume_ml: f64,
    /// The volume of the reference.
    pub reference_ml: f64,
}

impl LabelScore {
    /// The reference has the label and the segmentation does not.
    pub fn missed(&self) -> bool {
        self.volume_ml == 0.0 && self.reference_ml > 0.0
    }

    /// The segmentation has the label and the reference does not.
    pub fn false_positive(&self) -> bool {
        self.volume_ml > 0.0 && self.reference_ml == 0.0
    }
}

/// Angles between axes within this of 90° count as right ones: distances are then off by 0.1 %.
const RIGHT_ANGLE_DEGREES: f64 = 0.1;

/// A warning where the axes of a grid are not at right angles, as all distances suppose.
pub fn skew_warning(grid: &Grid) -> Option<String> {
    let ([a, b], degrees) = most_skewed(&grid.affine);
    let [a, b] = [a, b].map(|axis| ["x", "y", "z"][axis]);
    ((degrees - 90.0).abs() > RIGHT_ANGLE_DEGREES).then(|| {
        format!(
            "axes are not at right angles ({a} and {b}: {degrees:.1}°), as hd95_mm, surface_dice \
             and surface_dice_area suppose; dice and volumes hold; for exact distances resample \
             the files to a grid with right angles"
        )
    })
}

/// Scores every label. Label maps lie on `grid`, x fastest; `tolerance_mm` is for surface Dice.
/// Volumes are exact on any grid; distances suppose axes at right angles ([`skew_warning`]).
///
/// # Panics
///
/// If a map's size is not the grid's.
pub fn score_case(
    prediction: &[u8],
    reference: &[u8],
    &Grid { shape, affine }: &Grid,
    labels: &[Label],
    tolerance_mm: f64,
) -> Vec<LabelScore> {
    assert!(
        prediction.len() == shape.iter().product::<usize>() && prediction.len() == reference.len(),
        "label maps fit"
    );
    let extents = Extent::of_all(prediction, reference, shape);
    let (spacing_mm, voxel_ml) = (spacing_mm(&affine), voxel_ml(&affine));
    let scores = labels.iter().map(|label| {
        let extent = &extents[usize::from(label.value)];
        let surface = surface_scores(
            &extent.masks(label.value, prediction, reference, shape, spacing_mm),
            tolerance_mm,
        );
        let SurfaceScores { hd95_mm, surface_dice, surface_dice_area } = surface;
        LabelScore {
            label: label.name.clone(),
            dice: dice(extent.prediction, extent.reference, extent.both),
            hd95_mm,
            surface_dice,
            surface_dice_area,
            volume_ml: extent.prediction as f64 * voxel_ml,
            reference_ml: extent.reference as f64 * voxel_ml,
        }
    });
    scores.collect()
}

/// Voxels of a value, and its bounding box over both maps.
#[derive(Clone, Copy)]
struct Extent {
    prediction: u64,
    reference: u64,
    both: u64,
    first: [usize; 3],
    last: [usize; 3],
}

impl Extent {
    const EMPTY: Extent =
        Extent { prediction: 0, reference: 0, both: 0, first: [usize::MAX; 3], last: [0; 3] };

    /// Counts for all 256 values, in a single pass.
    fn of_all(prediction: &[u8], reference: &[u8], [nx, ny, _]: [usize; 3]) -> Vec<Extent> {
        let mut extents = vec![Extent::EMPTY; 256];
        for (row, (predicted, wanted)) in
            prediction.chunks(nx).zip(reference.chunks(nx)).enumerate()
        {
            if predicted.iter().chain(wanted).all(|value| *value == 0) {
                continue;
            }
            for (x, (p, r)) in predicted.iter().zip(wanted).enumerate() {
                extents[usize::from(*p)].prediction += 1;
                extents[usize::from(*r)].reference += 1;
                extents[usize::from(*p)].both += u64::from(p == r);
                extents[usize::from(*p)].grow([x, row % ny, row / ny]);
                extents[usize::from(*r)].grow([x, row % ny, row / ny]);
            }
        }
        extents
    }

    fn grow(&mut self, place: [usize; 3]) {
        for (axis, index) in place.into_iter().enumerate() {
            self.first[axis] = self.first[axis].min(index);
            self.last[axis] = self.last[axis].max(index);
        }
    }

    /// The box with a margin of one voxel, as masks for a value. Outside the image nothing is set.
    fn masks(
        &self,
        value: u8,
        prediction: &[u8],
        reference: &[u8],
        shape: [usize; 3],
        spacing_mm: [f64; 3],
    ) -> Masks {
        if self.prediction + self.reference == 0 {
            return Masks {
                shape: [2; 3],
                spacing_mm,
                prediction: vec![false; 8],
                reference: vec![false; 8],
            };
        }
        let size = std::array::from_fn(|axis| self.last[axis] - self.first[axis] + 3);
        let [prediction, reference] =
            [prediction, reference].map(|map| self.mask(value, map, shape, size));
        Masks { shape: size, spacing_mm, prediction, reference }
    }

    fn mask(&self, value: u8, map: &[u8], shape: [usize; 3], size: [usize; 3]) -> Vec<bool> {
        let mut mask = vec![false; size.iter().product()];
        for z in 0..size[2] - 2 {
            for y in 0..size[1] - 2 {
                let from =
                    self.first[0] + shape[0] * (self.first[1] + y + shape[1] * (self.first[2] + z));
                let into = 1 + size[0] * (y + 1 + size[1] * (z + 1));
                let row = map[from..from + size[0] - 2].iter().map(|found| *found == value);
                let target = mask[into..into + size[0] - 2].iter_mut();
                target.zip(row).for_each(|(set, found)| *set = found);
            }
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grid from the origin with these columns.
    fn grid(shape: [usize; 3], [x, y, z]: [[f64; 3]; 3]) -> Grid {
        let row = |row: usize| [x[row], y[row], z[row], 0.0];
        Grid { shape, affine: [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]] }
    }

    fn straight(shape: [usize; 3], [x, y, z]: [f64; 3]) -> Grid {
        grid(shape, [[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, z]])
    }

    /// numpy: `count * abs(det(affine[:3, :3])) / 1000`, where the sides multiply to 0.6702 ml.
    #[test]
    fn volumes_on_a_sheared_grid_are_by_the_determinant() {
        let sheared = grid([5, 5, 5], [[2.0, 0.0, 0.0], [0.0, 2.5, 0.0], [0.5, 0.3, 0.9]]);
        let label = Label { value: 1, name: "all".into() };
        let score = &score_case(&[1; 125], &[1; 125], &sheared, &[label], 1.0)[0];
        assert!((score.volume_ml - 0.5625).abs() < 1e-12, "{}", score.volume_ml);
        assert_eq!(score.volume_ml, score.reference_ml);
        let words = skew_warning(&sheared).expect("a warning");
        assert!(words.starts_with("axes are not at right angles (x and z: 62.2°)"), "{words}");
        assert_eq!(skew_warning(&straight([5, 5, 5], [1.0, 2.0, 3.0])), None);
        let turned = grid([5, 5, 5], [[0.0, 1.2, 1.6], [-3.0, 0.0, 0.0], [0.0, -4.0, 3.0]]);
        assert_eq!(skew_warning(&turned), None, "oblique axes are no skewed ones");
    }

    #[test]
    fn a_label_that_fills_the_image_to_its_border_has_a_surface_there() {
        let (map, label) = (vec![1; 27], Label { value: 1, name: "all".into() });
        let score = &score_case(&map, &map, &straight([3; 3], [1.0, 2.0, 3.0]), &[label], 1.0)[0];
        assert_eq!(
            (score.dice, score.hd95_mm, score.surface_dice),
            (Some(1.0), Some(0.0), Some(1.0))
        );
        assert!((score.volume_ml - 0.162).abs() < 1e-12);
    }

    #[test]
    fn a_large_ct_is_scored_in_little_time() {
        let shape = [512, 512, 110];
        let ball = |centre: f64| -> Vec<u8> {
            let inside = |i: usize| {
                let place = [
                    (i % 512) as f64 - centre,
                    (i / 512 % 512) as f64 - 250.0,
                    ((i / 262_144) as f64 - 55.0) * 3.0,
                ];
                place.iter().map(|side| side * side).sum::<f64>() < 80.0 * 80.0
            };
            (0..512 * 512 * 110).map(|i| u8::from(inside(i))).collect()
        };
        let (prediction, reference) = (ball(250.0), ball(253.0));
        let begun = std::time::Instant::now();
        let labels = [Label { value: 1, name: "ball".into() }];
        let grid = straight(shape, [0.8, 0.8, 2.5]);
        let score = &score_case(&prediction, &reference, &grid, &labels, 2.0)[0];
        let took = begun.elapsed();
        assert!(score.hd95_mm.is_some_and(|hd95| (1.6..=2.5).contains(&hd95)), "{score:?}");
        assert!(
            took < std::time::Duration::from_secs(5),
            "{took:?}: 0.5 s where nothing else runs"
        );
    }
}
