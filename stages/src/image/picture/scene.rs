//! A scene: a case turned to RAS, with its overlays.

use super::cut::Cut;
use super::packed::{self, PackedSlice, Scale, Slab};
use super::{COLOURS, Colour, Plane, Raster};
use crate::error::{Error, Result};
use crate::image::affine::spacing_mm;
use crate::image::orientation::Orientation;
use crate::image::{Affine, Volume};
use std::path::Path;

/// A single picture's longer side in pixels.
const SIDE: usize = 320;
/// Shown from black to white in CT: the usual window of soft tissue, level 40 and width 400 HU.
const SOFT_TISSUE: [f32; 2] = [-160.0, 240.0];
/// Outlines for a pair: reference, prediction, and both together.
pub const PAIR: [Colour; 3] = [[40, 220, 110], [255, 140, 40], [255, 235, 90]];
/// Opacity of a label's inside without a second map.
const TINT: f32 = 0.25;

/// A case, ready to be cut.
pub struct Scene {
    image: Volume<f32>,
    over: Over,
    window: [f32; 2],
    turn: Orientation,
}

/// Overlays of the image.
enum Over {
    Nothing,
    /// A single label map: a colour for each label.
    Labels(Volume<u8>),
    /// Two label maps: outlines in a colour for each map.
    Pair {
        reference: Volume<u8>,
        prediction: Volume<u8>,
    },
}

impl Scene {
    /// Of an image, whose first channel is shown: soft tissue for CT, else from the 1st to the 99th
    /// percentile.
    pub fn new(image: Volume<f32>, is_ct: bool) -> Result<Scene> {
        let first = Volume { channels: 1, data: image.data[..image.voxels()].to_vec(), ..image };
        let window = if is_ct { SOFT_TISSUE } else { percentiles(&first.data) };
        let turn = Orientation::of(&first.affine)?;
        Ok(Scene { image: turn.apply(first), over: Over::Nothing, window, turn })
    }

    /// Shows these values from black to white.
    pub fn with_window(self, window: [f32; 2]) -> Scene {
        Scene { window, ..self }
    }

    /// With a label map on the image's grid.
    pub fn with_labels(self, labels: Volume<u8>) -> Result<Scene> {
        Ok(Scene { over: Over::Labels(self.turned(labels, "label")?), ..self })
    }

    /// With two label maps on the image's grid, to be compared.
    pub fn with_pair(self, reference: Volume<u8>, prediction: Volume<u8>) -> Result<Scene> {
        let reference = self.turned(reference, "label")?;
        let prediction = self.turned(prediction, "prediction")?;
        Ok(Scene { over: Over::Pair { reference, prediction }, ..self })
    }

    /// A label map in RAS. Its own affine is not looked at: masks of other tools often have poor
    /// headers.
    fn turned(&self, labels: Volume<u8>, what: &str) -> Result<Volume<u8>> {
        if self.turn.shape(labels.shape) != self.image.shape {
            return Err(Error::failed(format!(
                "image and {what} have different grids: along right, front and up {:?} and {:?} \
                 voxels",
                self.image.shape,
                self.turn.shape(labels.shape)
            )));
        }
        let mut turned = self.turn.apply(labels);
        turned.affine = self.image.affine;
        Ok(turned)
    }

    /// Voxels along the RAS axes.
    pub fn shape(&self) -> [usize; 3] {
        self.image.shape
    }

    /// Voxel index to mm.
    pub fn affine(&self) -> &Affine {
        &self.image.affine
    }

    /// The values shown as black and as white.
    pub fn window(&self) -> [f32; 2] {
        self.window
    }

    /// The image's values in RAS order, the first axis fastest.
    pub fn values(&self) -> &[f32] {
        &self.image.data
    }

    /// The label maps in RAS order, the reference first.
    pub fn maps(&self) -> Vec<&[u8]> {
        match &self.over {
            Over::Nothing => vec![],
            Over::Labels(labels) => vec![&labels.data],
            Over::Pair { reference, prediction } => vec![&reference.data, &prediction.data],
        }
    }

    /// All voxels for a page, in slabs of slices.
    pub fn slabs(&self, scale: Scale) -> Result<Vec<Slab>> {
        packed::slabs(self.shape(), self.values(), &self.maps(), scale)
    }

    /// A slice for a page, its longer side `side` pixels.
    pub fn packed(
        &self,
        plane: Plane,
        slice: usize,
        side: usize,
        scale: Scale,
    ) -> Result<PackedSlice> {
        let cut = Cut::new(plane, self.image.shape, &self.image.affine, slice, side);
        let voxels: Vec<usize> = (0..cut.width * cut.height).map(|at| cut.voxel(at)).collect();
        let values: Vec<f32> = voxels.iter().map(|voxel| self.image.data[*voxel]).collect();
        let maps = self.maps().into_iter();
        let maps: Vec<Vec<u8>> =
            maps.map(|map| voxels.iter().map(|voxel| map[*voxel]).collect()).collect();
        packed::slice((cut.width, cut.height), &values, &maps, scale)
    }

    /// The slice through the plane's third axis in which two label maps differ most; `None` without
    /// two maps, or if they are equal.
    pub fn worst(&self, plane: Plane) -> Option<usize> {
        let Over::Pair { reference, prediction } = &self.over else { return None };
        let counts = self.counted(plane, |at| reference.data[at] != prediction.data[at]);
        let most = counts.iter().copied().max().filter(|most| *most > 0)?;
        counts.iter().position(|count| *count == most)
    }

    /// Draws the fullest slice into a PNG file; the length of the scale bar in mm.
    pub fn draw(&self, plane: Plane, path: &Path) -> Result<f64> {
        let (raster, bar_mm) = self.slice(plane, self.fullest(plane), SIDE);
        raster.save(path)?;
        Ok(bar_mm)
    }

    /// A slice, its longer side `side` pixels, and its scale bar's length in mm.
    pub fn slice(&self, plane: Plane, slice: usize, side: usize) -> (Raster, f64) {
        let cut = Cut::new(plane, self.image.shape, &self.image.affine, slice, side);
        let mut raster = Raster::new(cut.width, cut.height);
        for at in 0..cut.width * cut.height {
            raster.set(at, [self.grey(cut.voxel(at)); 3]);
        }
        match &self.over {
            Over::Nothing => {}
            Over::Labels(labels) => colour(labels, &cut, &mut raster),
            Over::Pair { reference, prediction } => {
                outline(reference, prediction, &cut, &mut raster)
            }
        }
        let bar_mm = cut.bar(&mut raster);
        (raster, bar_mm)
    }

    /// The slice through the plane's third axis with most labelled voxels; the middle if there are
    /// none.
    pub fn fullest(&self, plane: Plane) -> usize {
        let counts = self.labelled(plane);
        let most = counts.iter().copied().max().unwrap_or(0);
        if most == 0 {
            counts.len() / 2
        } else {
            counts.iter().position(|count| *count == most).unwrap_or(0)
        }
    }

    /// At most `count` slices, evenly spread over those with labels, or over all without any.
    pub fn spread(&self, plane: Plane, count: usize) -> Vec<usize> {
        let counts = self.labelled(plane);
        let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
        let last =
            counts.iter().rposition(|count| *count > 0).unwrap_or(counts.len().saturating_sub(1));
        evenly(first, last - first + 1, count)
    }

    /// At most `count` slices, evenly spread over all.
    pub fn sample(&self, plane: Plane, count: usize) -> Vec<usize> {
        evenly(0, self.image.shape[plane.axes()[2]], count)
    }

    /// Where a slice lies along its axis, in mm of the world (to the right, to the front, up), at
    /// the volume's middle.
    pub fn position_mm(&self, plane: Plane, slice: usize) -> f64 {
        let axis = plane.axes()[2];
        let mut index = self.image.shape.map(|size| (size as f64 - 1.0) / 2.0);
        index[axis] = slice as f64;
        let row = self.image.affine[axis];
        row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]
    }

    /// Millimetres between voxels along the RAS axes.
    pub fn spacing_mm(&self) -> [f64; 3] {
        spacing_mm(&self.image.affine)
    }

    /// The labelled voxels of each slice through the plane's third axis.
    fn labelled(&self, plane: Plane) -> Vec<u32> {
        let maps = self.maps();
        self.counted(plane, |at| maps.iter().any(|map| map[at] > 0))
    }

    /// The voxels of each slice through the plane's third axis for which `is_it` is true.
    fn counted(&self, plane: Plane, is_it: impl Fn(usize) -> bool) -> Vec<u32> {
        let (axis, shape) = (plane.axes()[2], self.image.shape);
        let mut counts = vec![0u32; shape[axis]];
        for at in (0..self.image.voxels()).filter(|at| is_it(*at)) {
            let index = [at % shape[0], at / shape[0] % shape[1], at / shape[0] / shape[1]];
            counts[index[axis]] += 1;
        }
        counts
    }

    fn grey(&self, voxel: usize) -> u8 {
        let [low, high] = self.window;
        ((self.image.data[voxel] - low) / (high - low).max(f32::MIN_POSITIVE) * 255.0)
            .clamp(0.0, 255.0) as u8
    }
}

/// Tints each label in its colour and draws its edge.
fn colour(labels: &Volume<u8>, cut: &Cut, raster: &mut Raster) {
    for at in 0..cut.width * cut.height {
        let label = usize::from(labels.data[cut.voxel(at)]);
        if label > 0 {
            let share = if ends(labels, cut, at) { 1.0 } else { TINT };
            raster.tint(at, COLOURS[(label - 1) % COLOURS.len()], share);
        }
    }
}

/// Colours the pixels at either map's label borders.
fn outline(reference: &Volume<u8>, prediction: &Volume<u8>, cut: &Cut, raster: &mut Raster) {
    for at in 0..cut.width * cut.height {
        match (ends(reference, cut, at), ends(prediction, cut, at)) {
            (true, false) => raster.set(at, PAIR[0]),
            (false, true) => raster.set(at, PAIR[1]),
            (true, true) => raster.set(at, PAIR[2]),
            (false, false) => {}
        }
    }
}

/// True if a label ends at this pixel.
fn ends(labels: &Volume<u8>, cut: &Cut, at: usize) -> bool {
    let own = labels.data[cut.voxel(at)];
    own > 0 && cut.neighbours(at).any(|next| labels.data[cut.voxel(next)] != own)
}

/// At most `count` of `span` places from `first` on.
fn evenly(first: usize, span: usize, count: usize) -> Vec<usize> {
    let count = count.clamp(1, span.max(1));
    (0..count).map(|at| first + (2 * at + 1) * span / (2 * count)).collect()
}

/// The 1st and 99th percentile.
fn percentiles(values: &[f32]) -> [f32; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    [0.01, 0.99].map(|share| sorted.get((last * share) as usize).copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block of one label in a volume of 8 x 6 x 4 voxels of 1 x 1 x 2 mm, x flipped as in most
    /// CTs.
    fn parts() -> (Volume<f32>, Volume<u8>, Volume<u8>) {
        let shape = [8, 6, 4];
        let affine = [
            [-1.0, 0.0, 0.0, 7.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 2.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let volume = |data: Vec<u8>| Volume { channels: 1, shape, data, affine };
        let label = |x: usize| {
            let inside =
                move |at: usize| at % 8 >= x && at % 8 < x + 2 && at / 8 % 6 >= 4 && at / 48 == 2;
            volume((0..192).map(|at| u8::from(inside(at))).collect())
        };
        let image =
            Volume { channels: 1, shape, data: (0..192).map(|at| at as f32).collect(), affine };
        (image, label(0), label(1))
    }

    fn scene() -> Scene {
        let (image, reference, prediction) = parts();
        Scene::new(image, false).unwrap().with_pair(reference, prediction).unwrap()
    }

    fn read(path: &Path) -> (usize, usize, Vec<u8>) {
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
        let (width, height, bytes) = read(&path);
        assert_eq!((width, height, bar_mm), (320, 240, 2.0));
        // File x = 0 is the patient's right: the label touches the left edge and the top.
        let green: Vec<usize> =
            (0..width * height).filter(|at| bytes[at * 3..at * 3 + 3] == PAIR[0]).collect();
        assert!(green.iter().all(|at| at % width <= 80 && at / width <= 80), "{}", green.len());
        assert!(!green.is_empty());
    }

    #[test]
    fn pictures_have_the_proportions_of_space() {
        let (raster, _) = scene().slice(Plane::Coronal, 0, 320);
        assert_eq!((raster.width, raster.height), (320, 320), "8 voxels of 1 mm by 4 of 2 mm");
    }

    #[test]
    fn slices_are_spread_over_those_with_labels() {
        let scene = scene();
        assert_eq!(scene.spread(Plane::Axial, 3), [2], "only one slice has any");
        assert_eq!(scene.spread(Plane::Coronal, 9), [4, 5]);
        let bare = Scene::new(parts().0, false).unwrap();
        assert_eq!(bare.spread(Plane::Axial, 2), [1, 3]);
        assert_eq!(bare.spread(Plane::Axial, 99), [0, 1, 2, 3]);
        assert_eq!(bare.position_mm(Plane::Axial, 3), 6.0);
    }

    #[test]
    fn each_label_has_its_colour_and_the_inside_is_only_tinted() {
        let (image, mut labels, _) = parts();
        labels
            .data
            .iter_mut()
            .enumerate()
            .for_each(|(at, label)| *label = if at % 8 < 4 { 1 } else { 2 });
        let scene = Scene::new(image, true).unwrap().with_labels(labels).unwrap();
        let (raster, _) = scene.slice(Plane::Axial, 0, 80);
        let count =
            |colour: Colour| raster.pixels.chunks(3).filter(|pixel| *pixel == colour).count();
        assert_eq!(
            [count(COLOURS[0]), count(COLOURS[1])],
            [60, 60],
            "the edge between them, both sides"
        );
    }

    #[test]
    fn labels_on_another_grid_are_refused() {
        let (image, label, _) = parts();
        let other = Volume { shape: [8, 6, 5], ..label };
        let error =
            Scene::new(image, true).unwrap().with_labels(other).err().expect("differs").to_string();
        assert!(error.contains("[8, 6, 4] and [8, 6, 5]"), "{error}");
    }
}
