//! Inspection of a case's files: what they hold, with the troubles that a preparation would have.

use crate::error::Result;
use crate::image::affine::spacing_mm;
use crate::image::case::read_label_on;
use crate::image::nifti::{Scratch, counts};
use crate::image::oriented::OrientedImage;
use crate::image::preparation::AxisOrder;
use crate::image::prepared::Files;

/// Facts about a readable case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseFacts {
    /// Voxels along R, A, S.
    pub shape: [usize; 3],
    /// Voxel size along R, A, S.
    pub spacing_mm: [f64; 3],
    /// The label values besides 0; `None` without a label.
    pub labels: Option<Vec<u8>>,
    /// Contradictions in headers.
    pub warnings: Vec<String>,
}

/// Reads all of a case: the image's voxels must be finite, all files on one grid, and the label's
/// values declared.
pub fn inspect(scratch: &mut Scratch, files: Files) -> Result<CaseFacts> {
    let OrientedImage { frame, warnings, .. } =
        OrientedImage::load(scratch, AxisOrder::Ras, files)?;
    let label = files.case.label.as_ref();
    let label = label.map(|file| read_label_on(frame.grid, file, "label", files.values));
    let found = label.transpose()?.map(|label| counts(&label.data));
    let oriented = frame.oriented();
    Ok(CaseFacts {
        shape: oriented.shape,
        spacing_mm: spacing_mm(&oriented.affine),
        labels: found
            .map(|counts| (1..=u8::MAX).filter(|value| counts[usize::from(*value)] > 0).collect()),
        warnings,
    })
}
