//! Pictures of a case: slices in three planes with the outlines of the reference and the prediction,
//! laid out as in radiology (the patient's right on the viewer's left).

use crate::error::{Error, Result};
use crate::image::affine::spacing_mm;
use crate::image::orientation::Orientation;
use crate::image::{Affine, Volume};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The longer side of a picture in pixels.
const SIDE: f64 = 320.0;
/// Shown from black to white in CT: the usual window of soft tissue, level 40 and width 400 HU.
const SOFT_TISSUE: [f32; 2] = [-160.0, 240.0];
/// Outlines: reference, prediction, and where both run.
const COLOURS: [[u8; 3]; 3] = [[40, 220, 110], [255, 140, 40], [255, 235, 90]];

/// A plane, named for what it cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    /// Across the body's axis; anterior is up.
    Axial,
    /// From side to side; superior is up.
    Coronal,
    /// From front to back; anterior is left, superior is up.
    Sagittal,
}

impl Plane {
    /// All three.
    pub const ALL: [Plane; 3] = [Plane::Axial, Plane::Coronal, Plane::Sagittal];

    /// The RAS axes that run along the picture, down it, and through it.
    fn axes(self) -> [usize; 3] {
        match self {
            Plane::Axial => [0, 1, 2],
            Plane::Coronal => [0, 2, 1],
            Plane::Sagittal => [1, 2, 0],
        }
    }

    /// What lies left, right, above and below.
    pub fn marks(self) -> [&'static str; 4] {
        match self {
            Plane::Axial => ["R", "L", "A", "P"],
            Plane::Coronal => ["R", "L", "S", "I"],
            Plane::Sagittal => ["A", "P", "S", "I"],
        }
    }

    /// "axial".
    pub fn word(self) -> &'static str {
        match self {
            Plane::Axial => "axial",
            Plane::Coronal => "coronal",
            Plane::Sagittal => "sagittal",
        }
    }
}

/// `pictures.json` of a scores artifact: one row a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureOf {
    /// worst, median or best.
    pub rank: String,
    /// The case.
    pub case: String,
    /// Its mean Dice over labels.
    pub dice: Option<f64>,
    /// The plane.
    pub plane: Plane,
    /// The length of the white bar in mm.
    pub bar_mm: f64,
    /// The file's name in the artifact.
    pub file: String,
}

/// A case turned to RAS, ready to be cut.
pub struct Scene {
    image: Volume<f32>,
    reference: Volume<u8>,
    prediction: Volume<u8>,
    window: [f32; 2],
}

impl Scene {
    /// Of an image (its first channel is shown) and two label maps on one grid.
    pub fn new(image: Volume<f32>, reference: Volume<u8>, prediction: Volume<u8>, is_ct: bool) -> Result<Scene> {
        if [reference.shape, prediction.shape] != [image.shape; 2] {
            return Err(Error::failed(format!(
                "image {:?} and label {:?} have different grids",
                image.shape, reference.shape
            )));
        }
        let first = Volume { channels: 1, data: image.data[..image.voxels()].to_vec(), ..image };
        let window = if is_ct { SOFT_TISSUE } else { spread(&first.data) };
        let turn = Orientation::of(&first.affine)?;
        let affine = first.affine;
        Ok(Scene {
            image: turn.apply(first),
            reference: turn.apply(Volume { affine, ..reference }),
            prediction: turn.apply(Volume { affine, ..prediction }),
            window,
        })
    }

    /// Draws the slice with most of both outlines into a PNG file; the length of the scale bar in mm.
    pub fn draw(&self, plane: Plane, path: &Path) -> Result<f64> {
        let cut = Cut::new(plane, self.image.shape, &self.image.affine, self.fullest(plane));
        let mut pixels: Vec<u8> = (0..cut.width * cut.height).flat_map(|at| [self.grey(cut.voxel(at)); 3]).collect();
        self.outline(&cut, &mut pixels);
        let bar_mm = cut.bar(&mut pixels);
        write_png(path, cut.width, cut.height, &pixels)?;
        Ok(bar_mm)
    }

    /// The slice through the plane's third axis with most labelled voxels; the middle one where none is.
    fn fullest(&self, plane: Plane) -> usize {
        let (axis, shape) = (plane.axes()[2], self.image.shape);
        let mut counts = vec![0u32; shape[axis]];
        for (at, (r, p)) in self.reference.data.iter().zip(&self.prediction.data).enumerate() {
            if *r > 0 || *p > 0 {
                counts[[at % shape[0], at / shape[0] % shape[1], at / shape[0] / shape[1]][axis]] += 1;
            }
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        if most == 0 { shape[axis] / 2 } else { counts.iter().position(|count| *count == most).unwrap_or(0) }
    }

    fn grey(&self, voxel: usize) -> u8 {
        let [low, high] = self.window;
        ((self.image.data[voxel] - low) / (high - low).max(f32::MIN_POSITIVE) * 255.0).clamp(0.0, 255.0) as u8
    }

    /// Colours the pixels at which a label ends.
    fn outline(&self, cut: &Cut, pixels: &mut [u8]) {
        for at in 0..cut.width * cut.height {
            let ends = |labels: &Volume<u8>| {
                let own = labels.data[cut.voxel(at)];
                own > 0 && cut.neighbours(at).any(|next| labels.data[cut.voxel(next)] != own)
            };
            let colour = match (ends(&self.reference), ends(&self.prediction)) {
                (true, false) => COLOURS[0],
                (false, true) => COLOURS[1],
                (true, true) => COLOURS[2],
                (false, false) => continue,
            };
            pixels[at * 3..at * 3 + 3].copy_from_slice(&colour);
        }
    }
}

/// The 1st and 99th percentile.
fn spread(values: &[f32]) -> [f32; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    [at(0.01), at(0.99)]
}

/// A slice as pixels: which voxel each shows.
struct Cut {
    width: usize,
    height: usize,
    voxels: Vec<usize>,
    pixels_per_mm: f64,
}

impl Cut {
    fn new(plane: Plane, shape: [usize; 3], affine: &Affine, slice: usize) -> Cut {
        let ([along, down, through], spacing) = (plane.axes(), spacing_mm(affine));
        let size_mm = |axis: usize| shape[axis] as f64 * spacing[axis];
        let pixels_per_mm = SIDE / size_mm(along).max(size_mm(down));
        let pixels = |axis: usize| (size_mm(axis) * pixels_per_mm).round().max(1.0) as usize;
        let (width, height) = (pixels(along), pixels(down));
        // Both RAS axes run against the picture's: right is left, and up is low.
        let place = |pixel: usize, count: usize, axis: usize| {
            shape[axis] - 1 - (pixel * shape[axis] / count).min(shape[axis] - 1)
        };
        let voxels = (0..width * height).map(|at| {
            let mut index = [0; 3];
            index[along] = place(at % width, width, along);
            index[down] = place(at / width, height, down);
            index[through] = slice;
            index[0] + shape[0] * (index[1] + shape[1] * index[2])
        });
        Cut { width, height, voxels: voxels.collect(), pixels_per_mm }
    }

    fn voxel(&self, at: usize) -> usize {
        self.voxels[at]
    }

    fn neighbours(&self, at: usize) -> impl Iterator<Item = usize> {
        let (x, y, width, height) = (at % self.width, at / self.width, self.width, self.height);
        let left = (x > 0).then(|| at - 1);
        let right = (x + 1 < width).then(|| at + 1);
        let above = (y > 0).then(|| at - width);
        let below = (y + 1 < height).then(|| at + width);
        [left, right, above, below].into_iter().flatten()
    }

    /// Draws a white bar at the lower left; its length in mm, at most a third of the picture.
    fn bar(&self, pixels: &mut [u8]) -> f64 {
        const LENGTHS_MM: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
        let longest = self.width as f64 / self.pixels_per_mm / 3.0;
        let length = LENGTHS_MM.into_iter().rev().find(|length| *length <= longest).unwrap_or(LENGTHS_MM[0]);
        let end = (8 + (length * self.pixels_per_mm).round() as usize).min(self.width);
        for y in self.height.saturating_sub(11)..self.height.saturating_sub(8) {
            pixels[(y * self.width + 8.min(end)) * 3..(y * self.width + end) * 3].fill(255);
        }
        length
    }
}

fn write_png(path: &Path, width: usize, height: usize, pixels: &[u8]) -> Result<()> {
    let file = std::fs::File::create(path).map_err(Error::io("create", path))?;
    let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    let written =
        encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels).and_then(|()| writer.finish()));
    written.map_err(|error| match error {
        png::EncodingError::IoError(error) => Error::io("write", path)(error),
        other => Error::failed(format!("{}: {other}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of one label in a volume of 8 x 6 x 4 voxels of 1 x 1 x 2 mm, x flipped as in most CTs.
    fn scene() -> Scene {
        let shape = [8, 6, 4];
        let affine = [[-1.0, 0.0, 0.0, 7.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let volume = |data: Vec<u8>| Volume { channels: 1, shape, data, affine };
        let label = |x: usize| {
            let inside = move |at: usize| at % 8 >= x && at % 8 < x + 2 && at / 8 % 6 >= 4 && at / 48 == 2;
            volume((0..192).map(|at| u8::from(inside(at))).collect())
        };
        let image = Volume { channels: 1, shape, data: (0..192).map(|at| at as f32).collect(), affine };
        Scene::new(image, label(0), label(1), false).unwrap()
    }

    fn pixels(path: &Path) -> (usize, usize, Vec<u8>) {
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        (info.width as usize, info.height as usize, bytes)
    }

    #[test]
    fn the_patients_right_is_left_and_anterior_is_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("axial.png");
        let bar_mm = scene().draw(Plane::Axial, &path).unwrap();
        let (width, height, bytes) = pixels(&path);
        assert_eq!((width, height, bar_mm), (320, 240, 2.0));
        // File x = 0 is the patient's right: the label touches the left edge and the top.
        let green: Vec<usize> = (0..width * height).filter(|at| bytes[at * 3..at * 3 + 3] == COLOURS[0]).collect();
        assert!(green.iter().all(|at| at % width <= 80 && at / width <= 80), "{}", green.len());
        assert!(!green.is_empty());
    }

    #[test]
    fn pictures_have_the_proportions_of_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coronal.png");
        scene().draw(Plane::Coronal, &path).unwrap();
        let (width, height, _) = pixels(&path);
        assert_eq!((width, height), (320, 320), "8 voxels of 1 mm by 4 of 2 mm");
    }

    #[test]
    fn labels_on_another_grid_are_refused() {
        let mut other = scene().reference;
        other.shape = [8, 6, 5];
        let Scene { image, prediction, .. } = scene();
        assert!(Scene::new(image, other, prediction, false).is_err());
    }
}
