//! Scores: how well a segmentation agrees with a reference. Pure functions.
//!
//! `targets` is the one entry for a case and `summary` for many; masks and label maps are in NIfTI
//! order (x fastest).

pub mod area;
pub mod components;
pub mod dice;
pub mod distance;
pub mod nnunet_summary;
pub mod post_processing;
pub mod score;
pub mod summary;
pub mod surface;
pub mod targets;

pub use score::{CaseScore, LabelScore, score_case, skew_warning};
pub use targets::Targets;
