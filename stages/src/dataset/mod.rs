//! Datasets: the listing of cases and labels, the layouts it is read from, how cases are split,
//! the phantom that stands in for real data, and the trivial answers that a network must beat.

pub mod archive;
pub mod baseline;
pub mod datalist;
pub mod decathlon;
pub mod digests;
pub mod document;
pub mod entry;
pub mod fetch;
pub mod fields;
pub mod foreign;
pub mod labels;
pub mod layout;
pub mod listing;
pub mod name;
pub mod nnunet;
pub mod notes;
pub mod numbering;
pub mod pattern;
pub mod patterns;
pub mod phantom;
pub mod split;
pub mod splitting;
pub mod tree;

pub use labels::LabelNames;
pub use listing::{Case, Label, Listing, Numbering};
pub use split::Split;
