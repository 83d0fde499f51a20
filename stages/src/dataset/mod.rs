//! Datasets: the listing of cases and labels, and how cases are split.

pub mod listing;
pub mod split;

pub use listing::{Case, Label, Listing};
pub use split::Split;
