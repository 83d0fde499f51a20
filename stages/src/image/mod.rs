//! Images: volumes and their geometry, and all that is done to them before and after the network.

pub mod affine;
pub mod augment;
pub mod candidates;
pub mod case;
pub mod crop;
pub mod geometry;
pub mod intensity;
pub mod invert;
pub mod losses;
pub mod nifti;
pub mod orientation;
pub mod patch;
pub mod patch_sampler;
pub mod picture;
pub mod prepare;
pub mod resample;
pub mod sampling;
pub mod spacing;
pub mod stored;
mod tile;
pub mod volume;
pub mod warp;
mod window;

pub use augment::Augmentation;
pub use candidates::Candidates;
pub use case::CaseFiles;
pub use geometry::{Affine, Geometry};
pub use intensity::Intensity;
pub use invert::Inverter;
pub use losses::Loss;
pub use patch::Patch;
pub use patch_sampler::Sampling;
pub use prepare::Preparation;
pub use stored::{VolumeCase, VolumeList};
pub use volume::Volume;
