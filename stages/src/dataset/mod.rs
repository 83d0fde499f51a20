//! Datasets: the listing with cases and labels, the layouts it is read from, splits, the phantom in
//! place of real data, and trivial baselines for comparison with a network.

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
pub mod manifest;
pub mod name;
pub mod nnunet;
pub mod notes;
pub mod numbering;
pub mod pattern;
pub mod patterns;
pub mod phantom;
pub mod region;
mod region_labels;
pub mod split;
pub mod splitting;
pub mod tree;

pub use labels::LabelNames;
pub use listing::{Case, Label, Listing, Numbering};
pub use region::Region;
pub use split::Split;
