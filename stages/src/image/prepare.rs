//! Preparation: load → RAS → spacing → foreground mask → intensity → crop, as one recipe for
//! training volumes and for images to predict.

use crate::error::{Error, Result};
use crate::image::affine::corner_distance;
use crate::image::crop::{Box3, Foreground, cropped};
use crate::image::nifti::{Desk, Header, Loaded, Voxels, load_image, load_label};
use crate::image::orientation::Orientation;
use crate::image::resample::{Resampler, X_FASTEST};
use crate::image::sampling::Number;
use crate::image::spacing::Grid;
use crate::image::{Geometry, Intensity, Volume};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use voxflow_cache::Digest;

/// The parameters of preparation: those of the kind `preprocess`, kept in every model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Voxel size in mm along the R, A and S axes after resampling; null keeps the image's own
    /// grid.
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
            Intensities::One(one) => {
                mistakes.extend(one.check().map(|trouble| ("intensity".into(), trouble)))
            }
            Intensities::Each(each) if each.is_empty() => {
                mistakes.push((
                    "intensity".into(),
                    "the list is empty; give one scaling for each channel".into(),
                ));
            }
            Intensities::Each(each) => {
                mistakes.extend(each.iter().enumerate().filter_map(|(index, one)| {
                    one.check().map(|trouble| (format!("intensity.{index}"), trouble))
                }))
            }
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

/// The files of one case, and what the dataset says of them.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// One file (3D, or 4D with channels last), or one 3D file for each channel.
    pub images: &'a [PathBuf],
    /// The label map, where there is one.
    pub label: Option<&'a Path>,
    /// The channels' names.
    pub modality: &'a [String],
    /// The label values besides 0.
    pub allowed: &'a [u8],
}

/// Prepares one case: load → RAS → spacing → foreground box → intensity → crop.
///
/// The image's voxels are resampled trilinearly, the label's to the nearest. The label map may be
/// stored with its axes in another order than the image; its grid must otherwise be the image's.
pub fn prepare(
    preparation: &Preparation,
    images: &[PathBuf],
    label: Option<&Path>,
    modality: &[String],
    allowed: &[u8],
) -> Result<Prepared> {
    prepare_on(&mut Desk::default(), preparation, Files { images, label, modality, allowed })
}

/// The same on a desk that many cases share, one after the other.
pub fn prepare_on(desk: &mut Desk, preparation: &Preparation, files: Files) -> Result<Prepared> {
    let Scaled { frame, mut image, found, digests } = image(desk, preparation, files)?;
    let label = files.label.map(|path| label(desk, &frame, path, files.allowed)).transpose()?;
    let mut warnings = vec![];
    let part = match found {
        Ok(part) => part,
        Err(warning) => {
            warnings.push(warning);
            Box3::whole(image.shape)
        }
    };
    image = cropped(image, &part);
    let Frame { original, orientation, oriented, resampler } = frame;
    let geometry = geometry(original, orientation, oriented, resampler.target(), part);
    let geometry = Geometry { image_digests: digests, ..geometry };
    Ok(Prepared { image, label: label.map(|label| cropped(label, &part)), geometry, warnings })
}

/// Where a case's file lies, and how its voxels get to where they are wanted.
struct Frame {
    original: Grid,
    orientation: Orientation,
    oriented: Grid,
    resampler: Resampler,
}

impl Frame {
    fn of(preparation: &Preparation, header: &Header) -> Result<Frame> {
        let original = grid_of(header);
        let orientation = Orientation::of(&original.affine)?;
        let oriented = turned(&orientation, &original);
        let wanted =
            preparation.spacing.map_or(Ok(oriented), |spacing| oriented.with_spacing(spacing))?;
        Ok(Frame {
            original,
            orientation,
            oriented,
            resampler: Resampler::new(&oriented, &wanted)?,
        })
    }

    /// Resamples the channels of one file into `out` and scales them, slab by slab as they come;
    /// what is foreground before scaling goes into `found`.
    fn resample<T: Number>(
        &self,
        voxels: &[T],
        scalings: &[Intensity],
        out: &mut [f32],
        found: &Mutex<Foreground>,
    ) {
        let width = self.resampler.target().shape[0];
        let sizes = (self.oriented.voxels().max(1), self.resampler.target().voxels().max(1));
        let channels = voxels.chunks_exact(sizes.0).zip(out.chunks_exact_mut(sizes.1));
        for ((channel, out), scaling) in channels.zip(scalings) {
            let (channel, backwards) = self.orientation.ordered(channel, self.original.shape);
            let resampler = self.resampler.clone().of_backwards(backwards);
            resampler.linear_into(&channel, X_FASTEST, out, |z, slab| {
                let here = Foreground::of_slab(z, slab, width, scaling.foreground_above());
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                *found = found.and(here);
                drop(found);
                if scaling.is_of_single_values() {
                    scaling.apply(slab);
                }
            });
            if !scaling.is_of_single_values() {
                scaling.apply(out);
            }
        }
    }
}

/// All channels of a case in one volume, resampled and scaled.
struct Scaled {
    frame: Frame,
    image: Volume<f32>,
    /// The box to crop it to, or a warning that there is none.
    found: Result<Box3, String>,
    /// Of the voxels of each file, as they are stored.
    digests: Vec<Digest>,
}

fn image(desk: &mut Desk, preparation: &Preparation, files: Files) -> Result<Scaled> {
    let scalings = preparation.intensity.for_channels(files.modality.len())?;
    let found = Mutex::new(Foreground::none());
    let mut digests = vec![];
    let mut all: Option<(Frame, Vec<f32>)> = None;
    for (index, path) in files.images.iter().enumerate() {
        let name = if files.images.len() == 1 {
            "image".to_string()
        } else {
            format!("image {}", index + 1)
        };
        let loaded = load_image(path, &name, desk)?;
        digests.push(loaded.digest());
        let Loaded { header, voxels, .. } = loaded;
        if let Some((frame, _)) = &all {
            same_grid("image 1", &frame.original, &name, &grid_of(&header))?;
        }
        check_channels(&header, &name, files)?;
        let (frame, out) = match &mut all {
            Some(all) => all,
            None => {
                let frame = Frame::of(preparation, &header)?;
                let values = frame.resampler.target().voxels() * files.modality.len();
                all.insert((frame, vec![0.0; values]))
            }
        };
        let (scalings, out) =
            (&scalings[index..], &mut out[index * frame.resampler.target().voxels()..]);
        match voxels {
            Voxels::Bytes(voxels) => frame.resample(voxels, scalings, out, &found),
            Voxels::Shorts(voxels) => frame.resample(voxels, scalings, out, &found),
            Voxels::Floats(voxels) => frame.resample(&voxels, scalings, out, &found),
        }
    }
    let (frame, data) =
        all.ok_or_else(|| Error::failed("has no image; name one in the dataset's listing"))?;
    let Grid { shape, affine } = frame.resampler.target();
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let part = box_of(preparation, found, shape, &scalings);
    let image = Volume { channels: files.modality.len(), shape, data, affine };
    Ok(Scaled { frame, image, found: part, digests })
}

fn geometry(
    original: Grid,
    orientation: Orientation,
    oriented: Grid,
    resampled: Grid,
    part: Box3,
) -> Geometry {
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
        image_digests: vec![],
    }
}

/// The box to crop to, or a warning that nothing is foreground.
fn box_of(
    preparation: &Preparation,
    found: Foreground,
    shape: [usize; 3],
    scalings: &[Intensity],
) -> Result<Box3, String> {
    if !preparation.crop_foreground {
        return Ok(Box3::whole(shape));
    }
    found.boxed(shape, preparation.crop_margin).ok_or_else(|| {
        let above: Vec<String> =
            scalings.iter().map(|scaling| scaling.foreground_above().to_string()).collect();
        format!(
            "no voxel exceeds {}, so nothing is foreground; the whole volume is kept",
            above.join(" or ")
        )
    })
}

/// An error unless the files have as many channels as the dataset names.
fn check_channels(header: &Header, name: &str, files: Files) -> Result<()> {
    if files.images.len() > 1 && header.channels != 1 {
        return Err(Error::failed(format!(
            "{name}: a case of several files needs one channel in each"
        )));
    }
    let channels = files.images.len().max(header.channels);
    if channels != files.modality.len() {
        return Err(Error::failed(format!(
            "image: has {channels} channels, but the dataset names {} modalities ({}); correct one of them",
            files.modality.len(),
            files.modality.join(", ")
        )));
    }
    Ok(())
}

/// The label map, turned to RAS by its own header and taken to the image's resampled grid; on the
/// image's oriented grid or an error.
fn label(desk: &mut Desk, frame: &Frame, path: &Path, allowed: &[u8]) -> Result<Volume<u8>> {
    let (header, voxels) = load_label(path, "label", allowed, desk)?;
    let own = grid_of(&header);
    let orientation = Orientation::of(&own.affine)?;
    same_grid("image", &frame.oriented, "label", &turned(&orientation, &own))?;
    let (voxels, backwards) = orientation.ordered(&voxels, own.shape);
    let data = frame.resampler.clone().of_backwards(backwards).nearest(&voxels, X_FASTEST);
    let Grid { shape, affine } = frame.resampler.target();
    Ok(Volume { channels: 1, shape, data, affine })
}

fn grid_of(header: &Header) -> Grid {
    Grid { shape: header.shape, affine: header.affine }
}

/// The grid of a file after turning.
fn turned(orientation: &Orientation, grid: &Grid) -> Grid {
    Grid {
        shape: orientation.shape(grid.shape),
        affine: orientation.affine(&grid.affine, grid.shape),
    }
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
