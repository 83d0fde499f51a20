//! Models in the forms of other programs, made of a model's card and its weights alone: no Python
//! and no libtorch is needed.

pub mod archive;
pub mod bundle;
pub mod script;
pub mod state_dict;
pub mod torchscript;
