//! A case: its image, channels and label on a common grid. All readers go through this module, so
//! that a label is never used in its own file's storage order.

use crate::dataset::Case;
use crate::error::{Error, Result};
use crate::image::affine::{corner_distance, invert, multiply};
use crate::image::crop::Box3;
use crate::image::nifti::{
    Header, ImageFile, LabelMap, LabelValues, Scratch, load_label, read_header, read_image,
};
use crate::image::orientation::Orientation;
use crate::image::spacing::Grid;
use crate::image::{Geometry, Volume};
use crate::task::Input;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::Digest;

/// Largest distance, in voxels, between the corners of two grids counted as equal.
const SAME_PLACE: f64 = 0.5;

/// The files of one case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseFiles {
    /// A single file (3D, or 4D with channels last), or a 3D image for each channel.
    pub images: Vec<ImageFile>,
    /// The label map, if labelled.
    pub label: Option<ImageFile>,
}

impl CaseFiles {
    /// The files that a person names.
    pub fn at(images: &[PathBuf], label: Option<&Path>) -> CaseFiles {
        CaseFiles {
            images: images.iter().map(ImageFile::from).collect(),
            label: label.map(ImageFile::at),
        }
    }

    /// The files of a listed case in its dataset's artifact.
    pub fn of(dataset: &Input, case: &Case) -> Result<CaseFiles> {
        let images = case.images.iter().map(|name| ImageFile::of(dataset, name));
        let label = case.label.as_ref().map(|name| ImageFile::of(dataset, name));
        Ok(CaseFiles { images: images.collect::<Result<_>>()?, label: label.transpose()? })
    }
}

/// A case's image files by their names in recipes: "image0", "image1", …, and "image0/second" for a
/// pair's other file.
pub fn image_digests(dataset: &Input, case: &Case) -> Result<BTreeMap<String, Digest>> {
    let mut digests = BTreeMap::new();
    for (index, name) in case.images.iter().enumerate() {
        digests.extend(digests_of(dataset, name, &format!("image{index}"))?);
    }
    Ok(digests)
}

/// The same for its label.
pub fn label_digests(dataset: &Input, case: &Case) -> Result<BTreeMap<String, Digest>> {
    case.label.as_ref().map_or(Ok(BTreeMap::new()), |name| digests_of(dataset, name, "label"))
}

fn digests_of(dataset: &Input, name: &str, role: &str) -> Result<BTreeMap<String, Digest>> {
    let mut digests = BTreeMap::from([(role.to_string(), dataset.file(name)?.blob.digest)]);
    if let Some(other) = crate::image::nifti::suffix::second(name).filter(|name| dataset.has(name))
    {
        digests.insert(format!("{role}/second"), dataset.file(&other)?.blob.digest);
    }
    Ok(digests)
}

/// The common grid for all files of a case, in its first image's storage order.
#[derive(Clone, Copy, Debug)]
pub struct GridFrame {
    /// The first image's own grid.
    pub grid: Grid,
    /// The turn from its axes to those of prepared volumes: RAS, or none.
    pub orientation: Orientation,
}

impl GridFrame {
    /// That of a first image, to be turned to RAS.
    pub fn of(grid: Grid) -> Result<GridFrame> {
        Ok(GridFrame { grid, orientation: Orientation::of(&grid.affine)? })
    }

    /// That of a first image whose axes stay as its file stores them.
    pub fn as_stored(grid: Grid) -> GridFrame {
        GridFrame { grid, orientation: Orientation::IDENTITY }
    }

    /// Maps another file's axes to this grid's, by both affines; errors unless it then lies in the
    /// same place. A file with the first image's affine is left as it is, however its axes run.
    pub fn turn(&self, what: &str, grid: &Grid) -> Result<Orientation> {
        let lost =
            || Error::failed(format!("{what}: its axes do not span space; correct its header"));
        let between = multiply(&invert(&self.grid.affine).ok_or_else(lost)?, &grid.affine);
        let turn = Orientation::of(&between).map_err(|_| lost())?;
        let turned = turned(&turn, grid);
        if turned.shape != self.grid.shape {
            return Err(self.other_shape(what, &turned));
        }
        let apart = corner_distance(&self.grid.affine, &turned.affine, self.grid.shape);
        if apart > SAME_PLACE {
            return Err(Error::failed(format!(
                "image and {what} both have {} voxels but lie in different places (corners up to \
                 {apart:.1} voxels apart); correct a header",
                words(self.oriented().shape)
            )));
        }
        Ok(turn)
    }

    /// The same to the axes of prepared volumes.
    pub fn turn_to_prepared(&self, what: &str, grid: &Grid) -> Result<Orientation> {
        Ok(self.turn(what, grid)?.then(&self.orientation))
    }

    /// The grid after turning.
    pub fn oriented(&self) -> Grid {
        turned(&self.orientation, &self.grid)
    }

    fn other_shape(&self, what: &str, other: &Grid) -> Error {
        let other = self.orientation.shape(other.shape);
        let is_ras = Orientation::of(&self.grid.affine).is_ok_and(|ras| ras == self.orientation);
        let axes = if is_ras { "R, A, S" } else { "x, y, z of the files" };
        Error::failed(format!(
            "image and {what} have different grids: {} and {} voxels along {axes}; resample one \
             of them",
            words(self.oriented().shape),
            words(other)
        ))
    }

    /// The geometry of a volume that is oriented, resampled, and cut to a box, all by affines.
    pub(super) fn geometry(&self, oriented: Grid, resampled: Grid, part: &Box3) -> Geometry {
        Geometry {
            original_shape: self.grid.shape,
            original_affine: self.grid.affine,
            axes: self.orientation.axes,
            flips: self.orientation.flips,
            oriented_shape: oriented.shape,
            oriented_affine: oriented.affine,
            resampled_shape: resampled.shape,
            resampled_affine: resampled.affine,
            crop_start: part.start,
            crop_end: part.end,
            nonzero_box: None,
            resized: None,
            image_digests: vec![],
            space: None,
        }
    }
}

fn words(shape: [usize; 3]) -> String {
    shape.map(|length| length.to_string()).join("×")
}

/// The grid of a file after turning.
pub fn turned(orientation: &Orientation, grid: &Grid) -> Grid {
    Grid {
        shape: orientation.shape(grid.shape),
        affine: orientation.affine(&grid.affine, grid.shape),
    }
}

/// The label map in `file` on an image's own `grid`, in the image's storage order. Values must be 0
/// or declared. Errors call the file `name`.
pub fn read_label_on<'a>(
    grid: Grid,
    file: &ImageFile,
    name: &str,
    values: impl Into<LabelValues<'a>>,
) -> Result<Volume<u8>> {
    let mut scratch = Scratch::default();
    let LabelMap { header, voxels, .. } = load_label(file, name, values, &mut scratch)?;
    let turn = GridFrame::of(grid)?.turn(name, &header.grid())?;
    let turned = turn.apply(Volume {
        channels: 1,
        shape: header.shape,
        data: voxels.into_owned(),
        affine: header.affine,
    });
    Ok(Volume { affine: grid.affine, ..turned })
}

/// A case's reference on the image's own grid, as a scored prediction lies.
pub fn read_reference(
    geometry: &Geometry,
    dataset: &Input,
    case: &Case,
    values: LabelValues,
) -> Result<Volume<u8>> {
    let name = case.label.as_ref().ok_or_else(|| {
        Error::failed(format!("case '{}' has no label in '{}'", case.name, dataset.stage))
    })?;
    read_label_on(geometry.original(), &ImageFile::of(dataset, name)?, name, values)
}

/// Channel count over a case's images.
pub fn channels(images: &[ImageFile]) -> Result<usize> {
    let header = images.first().map(|file| read_header(file, &path_text(file)));
    Ok(header.transpose()?.map_or(0, |header| header.channels.max(images.len())))
}

fn path_text(file: &ImageFile) -> String {
    file.header.display().to_string()
}

/// A case's channel, from 1, on the first image's own grid.
pub fn read_channel(images: &[ImageFile], channel: usize) -> Result<Volume<f32>> {
    let first = images
        .first()
        .ok_or_else(|| Error::failed("has no image; name one in the dataset's listing"))?;
    let image = read_image(first, &path_text(first))?;
    let channels = image.channels.max(images.len());
    Ok(match (image.channels, channel) {
        (1, 0..=1) => image,
        (1, _) => {
            let file = images.get(channel - 1).ok_or_else(|| no_channel(channels, channel))?;
            let other = read_image(file, &path_text(file))?;
            GridFrame::of(image.grid())?.turn(&path_text(file), &other.grid())?.apply(other)
        }
        _ => {
            let voxels = image.voxels();
            let at = channel.max(1) - 1;
            let data = image.data.get(at * voxels..(at + 1) * voxels);
            let data = data.ok_or_else(|| no_channel(channels, channel))?.to_vec();
            Volume { channels: 1, data, ..image }
        }
    })
}

fn no_channel(channels: usize, channel: usize) -> Error {
    Error::failed(format!("the image has {channels} channels, not {channel}"))
}

/// Contradictions in a header, as warnings that name the file.
pub fn warnings_of<'a>(header: &'a Header, name: &'a str) -> impl Iterator<Item = String> + 'a {
    header.warnings.iter().map(move |words| format!("{name}: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(shape: [usize; 3], degrees: f64) -> Grid {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let affine = [
            [1.2 * cos, -1.1 * sin, 0.0, 3.0],
            [1.2 * sin, 1.1 * cos, 0.0, -4.0],
            [0.0, 0.0, 2.0, 5.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        Grid { shape, affine }
    }

    #[test]
    fn a_file_is_turned_by_both_affines_and_not_by_its_own() {
        let frame = GridFrame::of(grid([4, 3, 2], 44.9999)).unwrap();
        let same = frame.turn("label", &grid([4, 3, 2], 45.0001)).unwrap();
        assert!(same.is_ras(), "{same:?}");
        // The same with x backwards, and with its first two axes changed.
        for turn in [
            Orientation { axes: [0, 1, 2], flips: [true, false, false] },
            Orientation { axes: [1, 0, 2], flips: [false, true, true] },
        ] {
            let other = turned(&turn, &grid([4, 3, 2], 45.0001));
            let back = frame.turn("label", &other).unwrap();
            assert_eq!(turned(&back, &other).shape, [4, 3, 2]);
            let apart = corner_distance(
                &frame.grid.affine,
                &turned(&back, &other).affine,
                frame.grid.shape,
            );
            assert!(apart < 1e-3, "{apart}");
        }
    }

    #[test]
    fn two_turns_after_each_other_are_one() {
        let one = Orientation { axes: [1, 2, 0], flips: [true, false, true] };
        let two = Orientation { axes: [2, 0, 1], flips: [false, true, true] };
        let volume = Volume {
            channels: 1,
            shape: [2, 3, 4],
            data: (0..24).collect::<Vec<u8>>(),
            affine: grid([2, 3, 4], 0.0).affine,
        };
        let steps = two.apply(one.apply(volume.clone()));
        assert_eq!(one.then(&two).apply(volume), steps);
    }
}
