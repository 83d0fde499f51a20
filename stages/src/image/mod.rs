//! Images: volumes and their geometry, and all that is done to them before and after the network.

pub mod geometry;
pub mod intensity;
pub mod prepare;
pub mod stored;
pub mod volume;

pub use geometry::{Affine, Geometry};
pub use intensity::Intensity;
pub use prepare::Preparation;
pub use stored::{VolumeCase, VolumeList};
pub use volume::Volume;
