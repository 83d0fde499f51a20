//! Preparation in nnU-Net's order: load → RAS → non-zero box → intensity → resampling. Without its
//! resampling, the box alone comes before MONAI's: spacing → intensity → foreground crop.

use crate::error::Result;
use crate::image::affine::spacing_mm;
use crate::image::case::{GridFrame, warnings_of};
use crate::image::crop::{Box3, Foreground, cropped};
use crate::image::geometry::WayBack;
use crate::image::losses::{self, Loss};
use crate::image::nifti::{LabelMap, Scratch, counts, load_label};
use crate::image::nonzero::{nonzero_box, nonzero_mask};
use crate::image::oriented::OrientedImage;
use crate::image::preparation::Preparation;
use crate::image::prepared::{Files, OUTSIDE, Prepared};
use crate::image::resample::{Resampler, X_FASTEST};
use crate::image::resize::{Resampling, Resizer};
use crate::image::spacing::Grid;
use crate::image::{Geometry, Intensity, Volume};
use std::sync::{Mutex, PoisonError};

/// The label of voxels outside the non-zero region while labels are resampled.
const BEYOND: i16 = -1;

/// Prepares one case.
pub(super) fn prepare(
    scratch: &mut Scratch,
    preparation: &Preparation,
    files: Files,
) -> Result<Prepared> {
    let scalings = preparation.intensity.for_channels(files.modality.len())?;
    let OrientedImage { frame, image, digests, space, mut warnings } =
        OrientedImage::load(scratch, preparation.orientation, files)?;
    let oriented = image.grid();
    let part = part(preparation, &image, &mut warnings);
    let image = cropped(image, &part);
    let mask = mask(preparation, &image);
    let steps = PreparationSteps::new(preparation, &image.grid(), &scalings)?;
    let (grid, way_back) = (image.grid(), steps.way_back());
    let (image, found) = steps.image(image, mask.as_deref());
    let foreground = foreground_box(preparation, found, image.shape, &mut warnings);
    let label = files.case.label.as_ref();
    let label = label.map(|file| -> Result<_> {
        let loaded = load_label(file, "label", files.values, scratch)?;
        let label = OrientedLabel::of(loaded, &frame, &part, &mut warnings)?;
        Ok(label.resampled(&steps, mask.as_deref(), &foreground))
    });
    let (maps, losses) = label.transpose()?.unzip();
    let (label, marked) =
        maps.map_or((None, None), |maps: LabelMaps| (Some(maps.label), maps.marked));
    let geometry = Geometry {
        nonzero_box: (grid.shape != oriented.shape).then_some([part.start, part.end]),
        resized: way_back,
        image_digests: digests,
        space: Some(space),
        ..frame.geometry(oriented, image.grid(), &foreground)
    };
    let image = cropped(image, &foreground);
    let losses = losses.unwrap_or_default();
    Ok(Prepared { image, label, marked, geometry, warnings, losses })
}

/// The voxels that are not 0, if a step asks for them.
fn mask(preparation: &Preparation, image: &Volume<f32>) -> Option<Vec<bool>> {
    let is_masked = preparation.intensity.is_masked()
        || preparation.mark_outside
        || (preparation.crop_nonzero && preparation.resampling.is_some());
    let channels: Vec<&[f32]> = image.each_channel().collect();
    is_masked.then(|| nonzero_mask(&channels, image.shape))
}

/// The non-zero box, or the whole.
fn part(preparation: &Preparation, image: &Volume<f32>, warnings: &mut Vec<String>) -> Box3 {
    let whole = Box3::whole(image.shape);
    if !preparation.crop_nonzero {
        return whole;
    }
    nonzero_box(image.each_channel(), image.shape).unwrap_or_else(|| {
        warnings.push("all voxels of the image are 0; the whole volume is kept".into());
        whole
    })
}

/// The foreground box of MONAI's order, or the whole.
fn foreground_box(
    preparation: &Preparation,
    found: Foreground,
    shape: [usize; 3],
    warnings: &mut Vec<String>,
) -> Box3 {
    let whole = Box3::whole(shape);
    if !preparation.crop_foreground {
        return whole;
    }
    found.boxed(shape, preparation.crop_margin).unwrap_or_else(|| {
        warnings.push("nothing is foreground; the whole volume is kept".into());
        whole
    })
}

/// Scaling and resampling, in one order or the other.
struct PreparationSteps<'a> {
    scalings: &'a [Intensity],
    target: Grid,
    by: By,
    spacings: [[f64; 3]; 2],
    marks_outside: bool,
}

enum By {
    /// nnU-Net's.
    Resizer(Box<(Resampling, Resizer)>),
    /// MONAI's.
    Resampler(Box<Resampler>),
}

impl<'a> PreparationSteps<'a> {
    fn new(
        preparation: &Preparation,
        grid: &Grid,
        scalings: &'a [Intensity],
    ) -> Result<PreparationSteps<'a>> {
        let target = preparation.resampled(grid)?;
        let old_mm = spacing_mm(&grid.affine);
        let spacings = [old_mm, preparation.spacing.unwrap_or(old_mm)];
        let by = match preparation.resampling {
            Some(resampling) => {
                let separate = resampling.separate_axis(old_mm, spacings[1]);
                By::Resizer(Box::new((resampling, Resizer::new(grid.shape, target, separate))))
            }
            None => By::Resampler(Box::new(Resampler::new(grid, &target)?)),
        };
        let marks_outside = preparation.mark_outside;
        Ok(PreparationSteps { scalings, target, by, spacings, marks_outside })
    }

    fn way_back(&self) -> Option<WayBack> {
        match &self.by {
            By::Resampler(_) => None,
            By::Resizer(resizing) => Some(WayBack {
                probability_order: resizing.0.probability_order,
                separate_axis: resizing.0.separate_axis(self.spacings[1], self.spacings[0]),
            }),
        }
    }

    /// The prepared image, and its foreground before scaling (MONAI's order alone).
    fn image(&self, image: Volume<f32>, mask: Option<&[bool]>) -> (Volume<f32>, Foreground) {
        let mut data = Vec::with_capacity(self.target.voxels() * image.channels);
        let mut found = Foreground::none();
        for (channel, scaling) in image.each_channel().zip(self.scalings) {
            let mut channel = channel.to_vec();
            match &self.by {
                By::Resizer(resizing) => {
                    let (resampling, resizer) = &**resizing;
                    scaling.apply_within(&mut channel, mask);
                    data.extend(resizer.image(channel, resampling.image_order));
                }
                By::Resampler(resampler) => {
                    let (mut out, here) = resampled(resampler, &channel, scaling);
                    found = found.and(here);
                    scaling.apply(&mut out);
                    data.extend(out);
                }
            }
        }
        let Grid { shape, affine } = match &self.by {
            By::Resizer(..) => self.target,
            By::Resampler(resampler) => resampler.target(),
        };
        (Volume { channels: image.channels, shape, data, affine }, found)
    }

    /// The label resampled, and with [`OUTSIDE`] beyond the mask if that is asked for.
    fn label(&self, label: Vec<u8>, mask: Option<&[bool]>) -> (Vec<u8>, Option<Vec<u8>>) {
        let (resampling, resizer) = match &self.by {
            By::Resampler(resampler) => return (resampler.nearest(&label, X_FASTEST), None),
            By::Resizer(resizing) => &**resizing,
        };
        if resizer.is_same() && !self.marks_outside {
            return (label, None);
        }
        let signed = signed(label, mask);
        let resized = match resizer.is_same() {
            true => signed,
            false => resizer.label(signed, resampling.label_order),
        };
        (values(&resized, 0), self.marks_outside.then(|| values(&resized, OUTSIDE)))
    }
}

/// A label's values, with another for what lies outside the mask.
fn values(label: &[i16], outside: u8) -> Vec<u8> {
    label.iter().map(|value| u8::try_from(*value).unwrap_or(outside)).collect()
}

/// A label with [`BEYOND`] for the background outside the mask.
fn signed(label: Vec<u8>, mask: Option<&[bool]>) -> Vec<i16> {
    let signed = label.into_iter().map(i16::from);
    let Some(mask) = mask else { return signed.collect() };
    signed
        .zip(mask)
        .map(|(label, inside)| if label == 0 && !inside { BEYOND } else { label })
        .collect()
}

/// A channel resampled by MONAI's rule, and its foreground.
fn resampled(
    resampler: &Resampler,
    channel: &[f32],
    scaling: &Intensity,
) -> (Vec<f32>, Foreground) {
    let Grid { shape: [width, ..], .. } = resampler.target();
    let (found, above) = (Mutex::new(Foreground::none()), scaling.foreground_above());
    let mut out = vec![0.0; resampler.target().voxels()];
    resampler.linear_into(channel, X_FASTEST, &mut out, |z, slab| {
        let here = Foreground::of_slab(z, slab, width, |value| value > above);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = found.and(here);
    });
    (out, found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A prepared label map, and the same with [`OUTSIDE`].
struct LabelMaps {
    label: Volume<u8>,
    marked: Option<Volume<u8>>,
}

/// A label map turned to RAS and cut to the non-zero box.
struct OrientedLabel {
    map: Volume<u8>,
    losses: Vec<Loss>,
}

impl OrientedLabel {
    fn of(
        loaded: LabelMap,
        frame: &GridFrame,
        part: &Box3,
        warnings: &mut Vec<String>,
    ) -> Result<OrientedLabel> {
        let LabelMap { header, voxels, counts: before, rounded } = loaded;
        let name = "label";
        warnings.extend(warnings_of(&header, name));
        warnings.extend(rounded.map(|words| format!("{name}: {words}")));
        if before.iter().all(|count| *count == 0) {
            warnings.push(format!("{name}: is all background; it has no labelled voxel"));
        }
        let turn = frame.turn_to_prepared(name, &header.grid())?;
        let (shape, affine, data) = (header.shape, header.affine, voxels.into_owned());
        let map = cropped(turn.apply(Volume { channels: 1, shape, data, affine }), part);
        let losses = losses::by_nonzero_crop(&before, &counts(&map.data));
        Ok(OrientedLabel { map, losses })
    }

    /// On the grid of the prepared image, and the losses on the way.
    fn resampled(
        self,
        steps: &PreparationSteps,
        mask: Option<&[bool]>,
        foreground: &Box3,
    ) -> (LabelMaps, Vec<Loss>) {
        let before = counts(&self.map.data);
        let (data, marked) = steps.label(self.map.data, mask);
        let between = counts(&data);
        let Grid { shape, affine } = steps.target;
        let cut = |data| cropped(Volume { channels: 1, shape, data, affine }, foreground);
        let maps = LabelMaps { label: cut(data), marked: marked.map(cut) };
        let lost = losses::by_crop(&between, &counts(&maps.label.data));
        (maps, [self.losses, losses::of_whole_labels(&before, &between), lost].concat())
    }
}
