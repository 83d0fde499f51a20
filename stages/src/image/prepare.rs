//! Preparation: load → RAS → spacing → foreground mask → intensity → crop, as one recipe for
//! training volumes and for images to predict. With a crop to non-zero voxels, or nnU-Net's
//! resampling, the order is another: `resized_preparation`.

use crate::error::{Error, Result};
use crate::image::case::{CaseFiles, GridFrame, warnings_of};
use crate::image::crop::{Box3, Foreground, cropped};
use crate::image::interpolate::Number;
use crate::image::losses::{self, Loss};
use crate::image::nifti::{
    Header, ImageFile, LabelMap, LabelValues, Loaded, Scratch, Space, Voxels, counts, load_image,
    load_label,
};
use crate::image::orientation::Orientation;
pub use crate::image::preparation::{Intensities, Preparation};
pub use crate::image::prepared::{Files, Prepared};
use crate::image::prepared::{check_channels, name_of};
use crate::image::resample::{Resampler, X_FASTEST};
use crate::image::spacing::Grid;
use crate::image::{Geometry, Intensity, Volume, resized_preparation};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use voxflow_cache::Digest;

/// Prepares one case: load → RAS → spacing → foreground box → intensity → crop.
///
/// The image's voxels are resampled trilinearly, the label's to the nearest. Files may be stored
/// with their axes in different orders; their grids must otherwise be the first image's.
pub fn prepare(
    preparation: &Preparation,
    images: &[PathBuf],
    label: Option<&Path>,
    modality: &[String],
    allowed: &[u8],
) -> Result<Prepared> {
    let values = LabelValues::from(allowed);
    let case = CaseFiles::at(images, label);
    prepare_with(
        &mut Scratch::default(),
        preparation,
        Files { case: &case, modality, named_by: "the dataset", values },
    )
}

/// The same in scratch memory, shared by many cases one after the other.
pub fn prepare_with(
    scratch: &mut Scratch,
    preparation: &Preparation,
    files: Files,
) -> Result<Prepared> {
    if preparation.crop_nonzero || preparation.resampling.is_some() {
        return resized_preparation::prepare(scratch, preparation, files);
    }
    let ScaledImage { way, mut image, found, digests, space, mut warnings } =
        image(scratch, preparation, files)?;
    let label = files.case.label.as_ref();
    let label = label.map(|file| label_on(scratch, &way, file, files.values)).transpose()?;
    let part = match found {
        Ok(part) => part,
        Err(warning) => {
            warnings.push(warning);
            Box3::whole(image.shape)
        }
    };
    image = cropped(image, &part);
    let geometry = Geometry { image_digests: digests, space: Some(space), ..way.geometry(part) };
    let (label, losses) = match label {
        Some(label) => {
            warnings.extend(label.warnings);
            let (map, lost) = cropped_label(label.map, &part);
            (Some(map), [label.losses, lost].concat())
        }
        None => (None, vec![]),
    };
    Ok(Prepared { image, label, marked: None, geometry, warnings, losses })
}

/// The label map within the box, and the labelled voxels outside.
fn cropped_label(label: Volume<u8>, part: &Box3) -> (Volume<u8>, Vec<Loss>) {
    if *part == Box3::whole(label.shape) {
        return (label, vec![]);
    }
    let before = counts(&label.data);
    let label = cropped(label, part);
    let lost = losses::by_crop(&before, &counts(&label.data));
    (label, lost)
}

/// A case's files and the mapping of their voxels to the prepared grid.
struct Way {
    frame: GridFrame,
    oriented: Grid,
    resampler: Resampler,
}

impl Way {
    fn of(preparation: &Preparation, header: &Header) -> Result<Way> {
        let frame = preparation.orientation.frame(header.grid())?;
        let oriented = frame.oriented();
        let wanted = preparation.resampled(&oriented)?;
        Ok(Way { frame, oriented, resampler: Resampler::new(&oriented, &wanted)? })
    }

    fn geometry(&self, part: Box3) -> Geometry {
        self.frame.geometry(self.oriented, self.resampler.target(), &part)
    }

    /// [`Way::resample`] for voxels of any stored type.
    fn resample_stored(
        &self,
        (voxels, turn, shape): (Voxels, &Orientation, [usize; 3]),
        scalings: &[Intensity],
        out: &mut [f32],
        found: &Mutex<Foreground>,
    ) {
        match voxels {
            Voxels::Bytes(voxels) => self.resample((voxels, turn, shape), scalings, out, found),
            Voxels::Shorts(voxels) => self.resample((voxels, turn, shape), scalings, out, found),
            Voxels::Floats(voxels) => {
                self.resample((&voxels[..], turn, shape), scalings, out, found);
            }
        }
    }

    /// Resamples the channels of one file into `out` and scales them slab by slab; foreground
    /// before scaling extends `found`.
    fn resample<T: Number>(
        &self,
        (voxels, turn, shape): (&[T], &Orientation, [usize; 3]),
        scalings: &[Intensity],
        out: &mut [f32],
        found: &Mutex<Foreground>,
    ) {
        let width = self.resampler.target().shape[0];
        let sizes = (self.oriented.voxels().max(1), self.resampler.target().voxels().max(1));
        let channels = voxels.chunks_exact(sizes.0).zip(out.chunks_exact_mut(sizes.1));
        for ((channel, out), scaling) in channels.zip(scalings) {
            let (channel, backwards) = turn.ordered(channel, shape);
            let resampler = self.resampler.clone().of_backwards(backwards);
            resampler.linear_into(&channel, X_FASTEST, out, |z, slab| {
                let above = scaling.foreground_above();
                let here = Foreground::of_slab(z, slab, width, |value| value > above);
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

/// A case's channels in a single volume, resampled and scaled.
struct ScaledImage {
    way: Way,
    image: Volume<f32>,
    /// The crop box, or a warning if nothing was found.
    found: Result<Box3, String>,
    /// Voxel digests by file, as stored.
    digests: Vec<Digest>,
    /// Of the first file.
    space: Space,
    warnings: Vec<String>,
}

fn image(scratch: &mut Scratch, preparation: &Preparation, files: Files) -> Result<ScaledImage> {
    let scalings = preparation.intensity.for_channels(files.modality.len())?;
    let found = Mutex::new(Foreground::none());
    let (mut digests, mut warnings) = (vec![], vec![]);
    let mut all: Option<(Way, Space, Vec<f32>)> = None;
    for (index, file) in files.case.images.iter().enumerate() {
        let name = name_of(files.case, index);
        let loaded = load_image(file, &name, scratch)?;
        digests.push(loaded.digest());
        let Loaded { header, voxels, .. } = loaded;
        check_channels(&header, &name, files)?;
        warnings.extend(warnings_of(&header, &name));
        let (way, _, out) = match &mut all {
            Some(all) => all,
            None => {
                let way = Way::of(preparation, &header)?;
                let values = way.resampler.target().voxels() * files.modality.len();
                all.insert((way, header.space.clone(), vec![0.0; values]))
            }
        };
        let turn = way.frame.turn_to_prepared(&name, &header.grid())?;
        let (scalings, out) =
            (&scalings[index..], &mut out[index * way.resampler.target().voxels()..]);
        way.resample_stored((voxels, &turn, header.shape), scalings, out, &found);
    }
    let (way, space, data) =
        all.ok_or_else(|| Error::failed("has no image; name one in the dataset's listing"))?;
    let Grid { shape, affine } = way.resampler.target();
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let found = box_of(preparation, found, shape, &scalings);
    let image = Volume { channels: files.modality.len(), shape, data, affine };
    Ok(ScaledImage { way, image, found, digests, space, warnings })
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

/// A label map on the image's resampled grid, and what was lost and noticed on the way.
struct ResampledLabel {
    map: Volume<u8>,
    losses: Vec<Loss>,
    warnings: Vec<String>,
}

fn label_on(
    scratch: &mut Scratch,
    way: &Way,
    file: &ImageFile,
    values: LabelValues,
) -> Result<ResampledLabel> {
    let name = "label";
    let LabelMap { header, voxels, counts: before, rounded } =
        load_label(file, name, values, scratch)?;
    let turn = way.frame.turn_to_prepared(name, &header.grid())?;
    let (voxels, backwards) = turn.ordered(&voxels, header.shape);
    let resampler = way.resampler.clone().of_backwards(backwards);
    let data = resampler.nearest(&voxels, X_FASTEST);
    let losses = match way.resampler.is_same() {
        true => vec![],
        false => {
            let (taken, after) = (resampler.taken(X_FASTEST), counts(&data));
            losses::by_resampling(&voxels, turn.shape(header.shape), &taken, &before, &after)
        }
    };
    let Grid { shape, affine } = way.resampler.target();
    let is_background = before.iter().all(|count| *count == 0);
    let told = rounded
        .into_iter()
        .chain(is_background.then(|| "is all background; it has no labelled voxel".to_string()));
    let warnings =
        warnings_of(&header, name).chain(told.map(|words| format!("{name}: {words}"))).collect();
    Ok(ResampledLabel { map: Volume { channels: 1, shape, data, affine }, losses, warnings })
}
