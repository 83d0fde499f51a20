//! Containers of commands: the engines of this machine, their command lines, images, and what an
//! engine's daemon keeps running when nobody is there to stop it.
//!
//! Processes are the supervisor's: it runs the command lines made here.

pub mod command_line;
pub mod engine;
pub mod foreseen;
pub mod images;
pub mod kept;
