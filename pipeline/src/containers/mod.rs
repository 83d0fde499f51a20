//! Containers of commands: the engines of this machine, their command lines and images, and the
//! containers that a daemon keeps running after their owner has died.
//!
//! Processes are the supervisor's: it runs the command lines made here.

pub mod command_line;
pub mod engine;
pub mod foreseen;
pub mod images;
pub mod kept;
