//! Images as the networks of each configuration take them: a cached volume if prepared so,
//! otherwise prepared from the image's files.

use crate::segmentation::PreparedImage;
use crate::subset::{PreparedCase, Subset};
use crate::volume_tensor::volume_tensor;
use tch::Device;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::prepare::{Files, prepare_with};
use voxflow_stages::image::{CaseFiles, Preparation, Volume, nifti};
use voxflow_stages::model::compatibility::differences;
use voxflow_stages::{Context, Error, Input, Result};

/// A dataset, to be prepared.
#[derive(Clone, Copy)]
pub struct ImageSource<'a> {
    /// The files.
    pub dataset: &'a Input,
    /// The cases.
    pub listing: &'a Listing,
    /// The preparation of each configuration.
    pub preparations: &'a [Preparation],
    /// As in [`crate::ensemble::Ensemble`].
    pub prepares_images: bool,
}

/// A cached case, prepared for each configuration.
pub fn of_cached_case(
    cx: &Context,
    subset: &Subset,
    case: &PreparedCase,
    images: ImageSource,
) -> Result<Vec<PreparedImage>> {
    let prepared = images.preparations.iter().map(|preparation| {
        let channels = subset.channels();
        let differs = differences(preparation, &subset.list.preparation, channels);
        // Otherwise the volumes were checked, and may differ in their crop.
        if !images.prepares_images || differs.is_empty() {
            return Ok(PreparedImage { image: case.tensor()?, geometry: case.geometry.clone() });
        }
        let listed = images.listing.case(&case.name).ok_or_else(|| {
            let stage = &images.dataset.stage;
            Error::failed(format!("case '{}' is not in '{stage}'", case.name))
        })?;
        let files = CaseFiles { label: None, ..CaseFiles::of(images.dataset, listed)? };
        let (prepared, warnings) = from_files(preparation, &subset.list.modality, &files)?;
        warnings.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        Ok(prepared)
    });
    prepared.collect()
}

/// Prepares an image's files; with warnings.
pub fn from_files(
    preparation: &Preparation,
    modality: &[String],
    files: &CaseFiles,
) -> Result<(PreparedImage, Vec<String>)> {
    let values = nifti::LabelValues::from(&[]);
    let files = Files { case: files, modality, named_by: "the model", values };
    let prepared = prepare_with(&mut nifti::Scratch::default(), preparation, files)?;
    let Volume { data, channels, shape, .. } = &prepared.image;
    let image = volume_tensor(data, *channels, *shape, Device::Cpu);
    Ok((PreparedImage { image, geometry: prepared.geometry }, prepared.warnings))
}
