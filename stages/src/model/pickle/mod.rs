//! Pickles as torch writes them, read and written without Python.
//!
//! Reading runs no code: `machine` knows the opcodes that weights need, `globals` the few names
//! that may stand in them, and anything else is an error that names it. What comes out is plain
//! data in one arena, so neither cycles nor deep nesting can hurt.

pub mod globals;
pub mod machine;
pub mod reader;
pub mod value;
pub mod write;

pub use globals::{Dtype, Global};
pub use machine::load;
pub use value::{Node, Pickle, Storage, Value, View};
pub use write::Writer;
