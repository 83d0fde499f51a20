//! Everything that needs libtorch: networks, training and inference, behind the program
//! `voxflow-worker`.
//!
//! Parameters and model descriptions are plain data in `voxflow-stages`, as are images and metrics.
//! Modules are public only if this crate's tests or benchmarks use them.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod amp;
mod batch;
pub mod batch_sampler;
pub mod batch_share;
pub mod batch_source;
pub mod blended_rows;
pub mod checkpoint;
pub mod classes;
mod cuda_driver;
pub mod device;
pub mod device_dataset;
mod device_memory;
pub mod device_room;
mod dice;
pub mod distributed;
mod ensemble;
mod failure;
pub mod fit;
mod foreach;
mod grad_scaler;
pub mod gradients;
mod image_preparation;
pub mod inference_network;
mod initializer;
mod leakage;
pub mod loss;
mod memory;
pub mod network;
pub mod optimizer;
mod out_of_fold;
mod patch_view;
mod pictures;
mod pipe;
mod postprocess;
mod predict;
pub mod prefetch_queue;
mod pretrained;
mod progress;
mod segmentation;
mod shim_error;
pub mod sliding_window;
mod step_decision;
pub mod subset;
mod test;
mod torch_flags;
mod train;
mod validate;
pub mod volume_loss;
mod volume_tensor;
pub mod weights;
pub mod window_weights;
pub mod worker;
