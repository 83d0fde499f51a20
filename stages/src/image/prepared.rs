//! A prepared case, and its files.

use crate::error::{Error, Result};
use crate::image::case::CaseFiles;
use crate::image::losses::Loss;
use crate::image::nifti::{Header, LabelValues};
use crate::image::{Geometry, Volume};

/// The value of voxels outside the non-zero region in a marked label map, and of what lies beyond
/// such a map.
pub const OUTSIDE: u8 = 255;

/// One prepared case.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The image, scaled.
    pub image: Volume<f32>,
    /// The label map on the same grid.
    pub label: Option<Volume<u8>>,
    /// The same with [`OUTSIDE`] beyond the non-zero region, if `mark_outside` asks for it.
    pub marked: Option<Volume<u8>>,
    /// Geometry for the way back to the image's own grid.
    pub geometry: Geometry,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Labelled voxels taken away.
    pub losses: Vec<Loss>,
}

/// A case's files, and the dataset's facts about them.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// Paths of the files.
    pub case: &'a CaseFiles,
    /// The channels' names.
    pub modality: &'a [String],
    /// Their source: "the dataset" or "the model".
    pub named_by: &'static str,
    /// The labels by the values in the label file.
    pub values: LabelValues<'a>,
}

/// "image" for a single file, or "image 2".
pub(super) fn name_of(case: &CaseFiles, index: usize) -> String {
    match case.images.len() {
        1 => "image".to_string(),
        _ => format!("image {}", index + 1),
    }
}

/// An error unless the files have as many channels as the dataset names.
pub(super) fn check_channels(header: &Header, name: &str, files: Files) -> Result<()> {
    if files.case.images.len() > 1 && header.channels != 1 {
        return Err(Error::failed(format!(
            "{name}: a case of several files needs one channel in each"
        )));
    }
    let channels = files.case.images.len().max(header.channels);
    if channels != files.modality.len() {
        let (named, by) = (files.modality.len(), files.named_by);
        return Err(Error::failed(format!(
            "image: has {}, but {by} names {} ({}); {}",
            counted_channels(channels),
            counted_channels(named),
            files.modality.join(", "),
            match by {
                "the model" => "give it an image with these",
                _ => "correct one of them",
            }
        )));
    }
    Ok(())
}

/// "1 channel", "2 channels".
fn counted_channels(count: usize) -> String {
    format!("{count} {}", if count == 1 { "channel" } else { "channels" })
}
