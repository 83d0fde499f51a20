//! Images unlike those that a model was trained on: voxel sizes, extents and intensities far from
//! them are warned of before the image is segmented.
//!
//! A model of a run is compared with the grids of its training cases, which lie beside the volumes
//! that it was trained on. Of a model elsewhere `model.json` alone is known: the spacing to which
//! images are resampled, the window of the network, and the intensities.

use crate::text_table::short;
use voxflow_stages::image::affine::spacing_mm;
use voxflow_stages::image::orientation::Orientation;
use voxflow_stages::image::preparation::Intensities;
use voxflow_stages::image::spacing::Grid;
use voxflow_stages::image::{Geometry, Intensity, Volume};
use voxflow_stages::model::ModelCard;

/// Spacings and extents beyond the training cases' by this factor are far from them.
const FAR: f64 = 2.0;
/// The same, if only the spacing after resampling is known.
const FAR_FROM_RESAMPLED: f64 = 4.0;
/// Hounsfield units below which only CT has values: air.
const AIR: f32 = -500.0;
/// Least share of values inside the window of intensities that a model was trained with.
const INSIDE: f64 = 0.01;

const AXES: [&str; 3] = ["right", "front", "up"];

/// Smallest and largest value along each RAS axis.
type Ranges = [[f64; 2]; 3];

/// Facts of the images that a model knows.
pub struct Likeness {
    spacing_mm: Option<Ranges>,
    extent_mm: Option<Ranges>,
    /// Training cases whose grids are known.
    cases: usize,
    resampled_mm: Option<[f64; 3]>,
    /// Extent of the network's window, if images are resampled.
    window_mm: Option<[f64; 3]>,
    modality: Vec<String>,
    intensities: Vec<Option<[f64; 2]>>,
}

impl Likeness {
    /// From the model's card and the grids of its training cases, if they are known.
    pub fn of(card: &ModelCard, trained: &[Geometry]) -> Likeness {
        let sizes: Vec<([f64; 3], [f64; 3])> = trained.iter().filter_map(of_geometry).collect();
        let resampled_mm = card.preparation.spacing;
        let roi = card.inference.roi;
        let window_mm = resampled_mm
            .zip(roi)
            .map(|(spacing, roi)| [0, 1, 2].map(|axis| spacing[axis] * roi[axis] as f64));
        let clip = |channel| intensity(&card.preparation.intensity, channel).and_then(clip);
        Likeness {
            spacing_mm: ranges(sizes.iter().map(|(spacing, _)| *spacing)),
            extent_mm: ranges(sizes.iter().map(|(_, extent)| *extent)),
            cases: sizes.len(),
            resampled_mm,
            window_mm,
            modality: card.modality.clone(),
            intensities: (0..card.modality.len()).map(clip).collect(),
        }
    }

    /// Warnings about an image of one or several channels.
    pub fn warnings(&self, channels: &[Volume<f32>]) -> Vec<String> {
        let mut words = vec![];
        if let Some((spacing, extent)) = channels.first().and_then(|first| of_grid(first.grid())) {
            words.extend(self.of_spacing(spacing));
            words.extend(self.of_extent(extent));
        }
        words.extend(channels.iter().enumerate().flat_map(|(at, one)| self.of_values(at, one)));
        words
    }

    fn of_spacing(&self, spacing: [f64; 3]) -> Option<String> {
        if let Some(known) = &self.spacing_mm {
            let axis = farthest(spacing, known, FAR)?;
            return Some(format!(
                "its voxels are {} mm along {}, those of {} training cases {}: expect a poorer \
                 result",
                short(spacing[axis]),
                AXES[axis],
                self.cases,
                words(known[axis]),
            ));
        }
        let known = self.resampled_mm?.map(|spacing| [spacing, spacing]);
        let axis = farthest(spacing, &known, FAR_FROM_RESAMPLED)?;
        Some(format!(
            "its voxels are {} mm along {}, and the model reads {} mm: expect a poorer result",
            short(spacing[axis]),
            AXES[axis],
            short(known[axis][0]),
        ))
    }

    fn of_extent(&self, extent: [f64; 3]) -> Option<String> {
        if let Some(known) = &self.extent_mm {
            let axis = farthest(extent, known, FAR)?;
            return Some(format!(
                "it extends {} mm along {}, {} training cases {}: another part of the body, or \
                 another field of view?",
                short(extent[axis]),
                AXES[axis],
                self.cases,
                words(known[axis]),
            ));
        }
        let window = self.window_mm?;
        let axis = (0..3).find(|axis| extent[*axis] * FAR < window[*axis])?;
        Some(format!(
            "it extends {} mm along {}, less than half of the {} mm that the network sees at once",
            short(extent[axis]),
            AXES[axis],
            short(window[axis]),
        ))
    }

    fn of_values(&self, channel: usize, image: &Volume<f32>) -> Option<String> {
        let name = self.modality.get(channel)?;
        let is_ct = name.eq_ignore_ascii_case("ct");
        let least = image.data.iter().copied().fold(f32::INFINITY, f32::min);
        if !is_ct && least < AIR {
            return Some(format!(
                "its least value is {}, as of air in CT, and the model reads '{name}'",
                short(f64::from(least))
            ));
        }
        if is_ct && least > AIR && self.intensities.get(channel)?.is_some() {
            return Some(format!(
                "it has no air: its least value is {}, and the model reads CT in Hounsfield units",
                short(f64::from(least))
            ));
        }
        let [low, high] = (*self.intensities.get(channel)?)?;
        let inside = |value: &&f32| (low..=high).contains(&f64::from(**value));
        let share =
            image.data.iter().filter(inside).count() as f64 / image.data.len().max(1) as f64;
        (share < INSIDE).then(|| {
            format!(
                "{:.1} % of its values lie in the window from {} to {} that the model reads: are \
                 they in the same unit?",
                share * 100.0,
                short(low),
                short(high)
            )
        })
    }
}

/// Intensity scaling of a channel.
fn intensity(all: &Intensities, channel: usize) -> Option<Intensity> {
    match all {
        Intensities::One(one) => Some(*one),
        Intensities::Each(each) => each.get(channel).copied(),
    }
}

/// The values between which an intensity scaling keeps differences; `None` if it adapts to images.
fn clip(intensity: Intensity) -> Option<[f64; 2]> {
    match intensity {
        Intensity::Window(window) => Some(window),
        Intensity::Ct(ct) => Some(ct.clip),
        Intensity::Zscore(_) | Intensity::Percentile(_) | Intensity::None => None,
    }
}

fn of_geometry(geometry: &Geometry) -> Option<([f64; 3], [f64; 3])> {
    of_grid(Grid { shape: geometry.original_shape, affine: geometry.original_affine })
}

/// Spacing and extent in mm along the RAS axes.
fn of_grid(grid: Grid) -> Option<([f64; 3], [f64; 3])> {
    let turn = Orientation::of(&grid.affine).ok()?;
    let (shape, affine) = (turn.shape(grid.shape), turn.affine(&grid.affine, grid.shape));
    let spacing = spacing_mm(&affine);
    Some((spacing, [0, 1, 2].map(|axis| spacing[axis] * shape[axis] as f64)))
}

/// Ranges along each axis; `None` without values.
fn ranges(values: impl Iterator<Item = [f64; 3]>) -> Option<Ranges> {
    values.map(|value| value.map(|one| [one, one])).reduce(wider)
}

fn wider(one: Ranges, other: Ranges) -> Ranges {
    [0, 1, 2].map(|axis| [one[axis][0].min(other[axis][0]), one[axis][1].max(other[axis][1])])
}

/// The axis along which a value lies farthest beyond its range, if by more than `factor`.
fn farthest(values: [f64; 3], known: &Ranges, factor: f64) -> Option<usize> {
    let beyond = |axis: usize| (known[axis][0] / values[axis]).max(values[axis] / known[axis][1]);
    let axis = (0..3).max_by(|a, b| beyond(*a).total_cmp(&beyond(*b)))?;
    (beyond(axis) > factor).then_some(axis)
}

/// "0.8 to 3 mm", or "1 mm".
fn words([low, high]: [f64; 2]) -> String {
    match short(low) == short(high) {
        true => format!("{} mm", short(low)),
        false => format!("{} to {} mm", short(low), short(high)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(modality: &str, window: Option<[f64; 2]>) -> Likeness {
        Likeness {
            spacing_mm: Some([[0.7, 1.0], [0.7, 1.0], [1.5, 5.0]]),
            extent_mm: Some([[300.0, 450.0], [300.0, 450.0], [150.0, 500.0]]),
            cases: 9,
            resampled_mm: Some([1.0, 1.0, 2.0]),
            window_mm: Some([96.0, 96.0, 192.0]),
            modality: vec![modality.into()],
            intensities: vec![window],
        }
    }

    fn image(spacing: [f64; 3], shape: [usize; 3], values: [f32; 2]) -> Volume<f32> {
        let mut affine = [[0.0; 4]; 4];
        (0..3).for_each(|axis| affine[axis][axis] = spacing[axis]);
        affine[3][3] = 1.0;
        let voxels: usize = shape.iter().product();
        let data = (0..voxels).map(|at| values[at % 2]).collect();
        Volume { channels: 1, shape, data, affine }
    }

    #[test]
    fn an_image_like_the_training_cases_is_not_warned_of() {
        let usual = image([0.8, 0.8, 2.5], [400, 4, 4], [-1000.0, 60.0]);
        let like = like("CT", Some([-57.0, 164.0]));
        let wide = Likeness { extent_mm: None, window_mm: None, ..like };
        assert_eq!(wide.warnings(&[usual]), Vec::<String>::new());
    }

    #[test]
    fn thick_slices_another_field_of_view_and_other_values_are_each_told_with_their_numbers() {
        let all = like("CT", Some([-57.0, 164.0])).warnings(&[image(
            [0.8, 0.8, 12.0],
            [400, 400, 4],
            [0.0, 900.0],
        )]);
        assert_eq!(
            all,
            [
                "its voxels are 12 mm along up, those of 9 training cases 1.500 to 5 mm: expect a \
                 poorer result",
                "it extends 48 mm along up, 9 training cases 150 to 500 mm: another part of the \
                 body, or another field of view?",
                "it has no air: its least value is 0, and the model reads CT in Hounsfield units",
            ]
        );
        let values = |modality: &str, window, values| {
            like(modality, window).of_values(0, &image([1.0; 3], [4, 4, 4], values))
        };
        let words = values("MRI", None, [-1000.0, 40.0]).expect("a warning");
        assert_eq!(words, "its least value is -1000, as of air in CT, and the model reads 'MRI'");
        let words = values("CT", Some([-57.0, 164.0]), [-1000.0, 900.0]).expect("a warning");
        assert!(words.starts_with("0.0 % of its values lie in the window from -57"), "{words}");
        assert_eq!(values("MRI", None, [0.0, 900.0]), None);
    }

    #[test]
    fn without_training_cases_the_models_own_numbers_decide() {
        let like = Likeness { spacing_mm: None, extent_mm: None, ..like("MRI", None) };
        let all = like.warnings(&[image([1.0, 1.0, 9.0], [40, 90, 40], [0.0, 9.0])]);
        assert_eq!(
            all,
            [
                "its voxels are 9 mm along up, and the model reads 2 mm: expect a poorer result",
                "it extends 40 mm along right, less than half of the 96 mm that the network sees \
                 at once",
            ]
        );
    }
}
