//! Torch's pickles, read and written without Python.
//!
//! Reading runs no code: `machine` knows the opcodes and `globals` the few names that weights need;
//! everything else is an error naming the opcode or name. The result is plain data in an arena, so
//! cycles and deep nesting do no harm.

pub mod globals;
pub mod machine;
mod numpy;
pub mod reader;
mod stack;
pub mod value;
pub mod write;

pub use globals::{Dtype, Global};
pub use machine::load;
pub use value::{Pickle, PickleNode, PickleValue, Storage, View};
pub use write::PickleWriter;
