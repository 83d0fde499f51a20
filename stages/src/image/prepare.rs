//! Preparation: load → RAS → spacing → foreground mask → intensity → crop, as one recipe for
//! training volumes and for images to predict.

use crate::error::{Error, Result};
use crate::image::affine::corner_distance;
use crate::image::crop::{Box3, cropped, foreground};
use crate::image::nifti::{read_image, read_label};
use crate::image::orientation::Orientation;
use crate::image::resample::{Resampler, X_FASTEST};
use crate::image::spacing::Grid;
use crate::image::{Geometry, Intensity, Volume};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The parameters of preparation: those of the kind `preprocess`, kept in every model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Voxel size in mm along the R, A and S axes after resampling; null keeps the image's own grid.
    #[serde(default)]
    pub spacing: Option<[f64; 3]>,
    /// How intensities are scaled: one for all channels, or a list with one for each.
    pub intensity: Intensities,
    /// Cut the volume to the box around its foreground (values above the window's lower end for a
    /// window, above 0 before scaling otherwise).
    #[serde(default)]
    pub crop_foreground: bool,
    /// Voxels to leave around the foreground box, clipped to the image.
    #[serde(default)]
    pub crop_margin: usize,
}

/// One intensity scaling for all channels, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Intensities {
    /// The same for all channels.
    One(Intensity),
    /// One for each channel, in the order of the dataset's modalities.
    Each(Vec<Intensity>),
}

/// How far (in voxels) the corners of two grids may lie apart that are meant to be one.
const SAME_PLACE: f64 = 0.5;

/// What preparation makes of one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The image, scaled.
    pub image: Volume<f32>,
    /// The label map on the same grid.
    pub label: Option<Volume<u8>>,
    /// How to get back to the image's own grid.
    pub geometry: Geometry,
    /// What is worth worrying about.
    pub warnings: Vec<String>,
}

impl Preparation {
    /// What types cannot say: the dotted path of each mistake, and the trouble with the way out.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        if let Some(spacing) = self.spacing
            && !spacing.iter().all(|size| size.is_finite() && *size > 0.0)
        {
            mistakes.push(("spacing".into(), "voxel sizes are positive and finite, in mm".into()));
        }
        match &self.intensity {
            Intensities::One(one) => mistakes.extend(one.check().map(|trouble| ("intensity".into(), trouble))),
            Intensities::Each(each) if each.is_empty() => {
                mistakes.push(("intensity".into(), "the list is empty; give one scaling for each channel".into()));
            }
            Intensities::Each(each) => mistakes.extend(
                each.iter()
                    .enumerate()
                    .filter_map(|(index, one)| one.check().map(|trouble| (format!("intensity.{index}"), trouble))),
            ),
        }
        mistakes
    }
}

impl Intensities {
    /// The scaling of each of `channels` channels.
    pub fn for_channels(&self, channels: usize) -> Result<Vec<Intensity>> {
        match self {
            Intensities::One(one) => Ok(vec![*one; channels]),
            Intensities::Each(each) if each.len() == channels => Ok(each.clone()),
            Intensities::Each(each) => Err(Error::failed(format!(
                "'intensity' lists {} scalings for {channels} channels; give one for each, or one for all",
                each.len()
            ))),
        }
    }
}

/// Prepares one case: load → RAS → spacing → foreground box → intensity → crop.
///
/// `images` is one file (3D, or 4D with channels last) or one 3D file for each channel, `modality`
/// the channels' names, `allowed` the label values besides 0. The image's voxels are resampled
/// trilinearly, the label's to the nearest. The label map may be stored with its axes in another
/// order than the image; its grid must otherwise be the image's.
pub fn prepare(
    preparation: &Preparation,
    images: &[PathBuf],
    label: Option<&Path>,
    modality: &[String],
    allowed: &[u8],
) -> Result<Prepared> {
    let scalings = preparation.intensity.for_channels(modality.len())?;
    let image = load(images, modality)?;
    let original = Grid { shape: image.shape, affine: image.affine };
    let orientation = Orientation::of(&image.affine)?;
    let image = orientation.apply(image);
    let oriented = Grid { shape: image.shape, affine: image.affine };
    let label = label.map(|path| load_label(path, allowed, &oriented)).transpose()?;

    let wanted = match preparation.spacing {
        Some(spacing) => oriented.with_spacing(spacing)?,
        None => oriented,
    };
    let resampler = Resampler::new(&oriented, &wanted)?;
    let resampled = resampler.target();
    let mut image = on_grid(image, &resampled, |channel| resampler.linear(channel, X_FASTEST), &resampler);
    let label =
        label.map(|label| on_grid(label, &resampled, |channel| resampler.nearest(channel, X_FASTEST), &resampler));

    let mut warnings = vec![];
    let part = box_of(preparation, &image, &scalings, &mut warnings);
    image.each_channel_mut().zip(&scalings).for_each(|(channel, scaling)| scaling.apply(channel));
    let geometry = geometry(original, orientation, oriented, resampled, part);
    let label = label.map(|label| cropped(label, &part));
    Ok(Prepared { image: cropped(image, &part), label, geometry, warnings })
}

fn geometry(original: Grid, orientation: Orientation, oriented: Grid, resampled: Grid, part: Box3) -> Geometry {
    Geometry {
        original_shape: original.shape,
        original_affine: original.affine,
        axes: orientation.axes,
        flips: orientation.flips,
        oriented_shape: oriented.shape,
        oriented_affine: oriented.affine,
        resampled_shape: resampled.shape,
        resampled_affine: resampled.affine,
        crop_start: part.start,
        crop_end: part.end,
    }
}

fn on_grid<T>(volume: Volume<T>, grid: &Grid, resample: impl Fn(&[T]) -> Vec<T>, resampler: &Resampler) -> Volume<T> {
    if resampler.is_same() {
        return volume;
    }
    let mut data = Vec::with_capacity(grid.voxels() * volume.channels);
    if volume.channels == 1 {
        data = resample(&volume.data);
    } else {
        volume.each_channel().for_each(|channel| data.extend(resample(channel)));
    }
    Volume { channels: volume.channels, shape: grid.shape, data, affine: grid.affine }
}

fn box_of(preparation: &Preparation, image: &Volume<f32>, scalings: &[Intensity], warnings: &mut Vec<String>) -> Box3 {
    if !preparation.crop_foreground {
        return Box3::whole(image.shape);
    }
    let above: Vec<f32> = scalings.iter().map(Intensity::foreground_above).collect();
    foreground(image, &above, preparation.crop_margin).unwrap_or_else(|| {
        let words: Vec<String> = above.iter().map(f32::to_string).collect();
        warnings.push(format!(
            "no voxel exceeds {}, so nothing is foreground; the whole volume is kept",
            words.join(" or ")
        ));
        Box3::whole(image.shape)
    })
}

/// All channels of a case in one volume.
fn load(images: &[PathBuf], modality: &[String]) -> Result<Volume<f32>> {
    let Some((first, rest)) = images.split_first() else {
        return Err(Error::failed("has no image; name one in the dataset's listing"));
    };
    let mut image = read_image(first, if rest.is_empty() { "image" } else { "image 1" })?;
    for (index, path) in rest.iter().enumerate() {
        let name = format!("image {}", index + 2);
        let next = read_image(path, &name)?;
        same_grid("image 1", &grid_of(&image), &name, &grid_of(&next))?;
        if image.channels != index + 1 || next.channels != 1 {
            return Err(Error::failed(format!("{name}: a case of several files needs one channel in each")));
        }
        image.data.extend(next.data);
        image.channels += 1;
    }
    if image.channels != modality.len() {
        return Err(Error::failed(format!(
            "image: has {} channels, but the dataset names {} modalities ({}); correct one of them",
            image.channels,
            modality.len(),
            modality.join(", ")
        )));
    }
    Ok(image)
}

/// The label map, turned to RAS by its own header; on the image's oriented grid or an error.
fn load_label(path: &Path, allowed: &[u8], image: &Grid) -> Result<Volume<u8>> {
    let label = read_label(path, "label", allowed)?;
    let turned = Orientation::of(&label.affine)?.apply(label);
    same_grid("image", image, "label", &grid_of(&turned))?;
    Ok(turned)
}

fn grid_of<T>(volume: &Volume<T>) -> Grid {
    Grid { shape: volume.shape, affine: volume.affine }
}

fn same_grid(a_name: &str, a: &Grid, b_name: &str, b: &Grid) -> Result<()> {
    let words = |shape: [usize; 3]| shape.map(|length| length.to_string()).join("×");
    if a.shape != b.shape {
        return Err(Error::failed(format!(
            "{a_name} and {b_name} have different grids: {} and {} voxels along R, A, S; resample one of them, or leave the case out",
            words(a.shape),
            words(b.shape)
        )));
    }
    let apart = corner_distance(&a.affine, &b.affine, a.shape);
    if apart > SAME_PLACE {
        return Err(Error::failed(format!(
            "{a_name} and {b_name} both have {} voxels but lie in different places (corners up to {apart:.1} voxels apart); correct a header, or leave the case out",
            words(a.shape)
        )));
    }
    Ok(())
}
