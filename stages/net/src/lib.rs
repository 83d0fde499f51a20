//! All that needs libtorch: the network, its training and its use, behind the program
//! `voxflow-worker`.
//!
//! Parameters and descriptions are plain data and live in `voxflow-stages`, as do images and
//! metrics.

pub mod amp;
pub mod cases;
pub mod checkpoint;
pub mod device;
pub mod fit;
pub mod foreach;
pub mod gradients;
pub mod infer;
pub mod initial;
pub mod loader;
pub mod loss;
pub mod memory;
pub mod model;
pub mod network;
pub mod optimizer;
pub mod pictures;
pub mod pipe;
pub mod predict;
pub mod progress;
pub mod resident;
pub mod scaler;
pub mod score;
pub mod segment;
pub mod source;
pub mod switches;
pub mod test;
pub mod train;
pub mod trouble;
pub mod validate;
pub mod weights;
pub mod worker;
