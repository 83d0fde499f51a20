//! Exports models to other programs' formats from model card and weights, without Python or
//! libtorch.

pub mod archive;
pub mod bundle;
pub mod nnunet;
pub mod script;
pub mod state_dict;
pub mod torchscript;
