//! Pictures for a case: slices in three planes with label outlines, laid out as in radiology (the
//! patient's right on the viewer's left).
//!
//! `plane` names the planes, `scene` is a case ready for cutting, `cut` maps pixels to voxels,
//! `raster` is pixels, text on them and PNG, `sheet` puts many slices on one picture, `packed` has
//! voxels for pages that paint them.

mod cut;
mod packed;
mod plane;
mod raster;
mod scene;
mod sheet;

pub use packed::{PackedSlice, Scale, Slab, range};
pub use plane::Plane;
pub use raster::{COLOURS, Colour, Raster};
pub use scene::{PAIR, Scene};
pub use sheet::{Sheet, contact_sheet};

use serde::{Deserialize, Serialize};

/// `pictures.json` in a scores artifact: a row per picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureOf {
    /// worst, median or best.
    pub rank: String,
    /// The case.
    pub case: String,
    /// Its mean Dice over labels.
    pub dice: Option<f64>,
    /// The plane.
    pub plane: Plane,
    /// The length of the white bar in mm.
    pub bar_mm: f64,
    /// The file's name in the artifact.
    pub file: String,
}
