//! A case's image turned to the axes of prepared volumes, before anything is resampled.

use crate::error::{Error, Result};
use crate::image::Volume;
use crate::image::case::{GridFrame, warnings_of};
use crate::image::nifti::{Scratch, Space, load_image};
use crate::image::preparation::AxisOrder;
use crate::image::prepared::{Files, check_channels, name_of};
use voxflow_cache::Digest;

/// A case's channels, turned.
pub(crate) struct OrientedImage {
    /// The first file's grid, and its turn.
    pub frame: GridFrame,
    /// The channels.
    pub image: Volume<f32>,
    /// Voxel digests by file, as stored.
    pub digests: Vec<Digest>,
    /// Of the first file.
    pub space: Space,
    /// Contradictions in headers.
    pub warnings: Vec<String>,
}

impl OrientedImage {
    /// Reads a case's files.
    pub fn load(scratch: &mut Scratch, axes: AxisOrder, files: Files) -> Result<OrientedImage> {
        let (mut digests, mut warnings) = (vec![], vec![]);
        let mut all: Option<(GridFrame, Space, Volume<f32>)> = None;
        for (index, file) in files.case.images.iter().enumerate() {
            let name = name_of(files.case, index);
            let loaded = load_image(file, &name, scratch)?;
            digests.push(loaded.digest());
            check_channels(&loaded.header, &name, files)?;
            warnings.extend(warnings_of(&loaded.header, &name));
            let (grid, space) = (loaded.header.grid(), loaded.header.space.clone());
            match &mut all {
                None => {
                    let frame = axes.frame(grid)?;
                    let image = frame.turn_to_prepared(&name, &grid)?.apply(loaded.volume());
                    all = Some((frame, space, Volume { affine: frame.oriented().affine, ..image }));
                }
                Some((frame, _, image)) => {
                    let other = frame.turn_to_prepared(&name, &grid)?.apply(loaded.volume());
                    image.data.extend(other.data);
                    image.channels += other.channels;
                }
            }
        }
        let (frame, space, image) =
            all.ok_or_else(|| Error::failed("has no image; name one in the dataset's listing"))?;
        Ok(OrientedImage { frame, image, digests, space, warnings })
    }
}
