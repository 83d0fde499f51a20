//! Do: the stage contract, every kind's parameters, and the science without a network.
//!
//! `kinds` lists all kinds; `context` is all a running stage may touch; `dataset`, `image`,
//! `metric` and `planner` are the science. Scheduling, YAML and tables live in `voxflow`; libtorch
//! lives in `voxflow-net`.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod case_errors;
pub mod container;
pub mod context;
pub mod dataset;
pub mod disk_space;
pub mod error;
pub mod foresight;
pub mod image;
pub mod item_request;
pub mod kind;
pub mod kinds;
pub mod metric;
pub mod model;
pub mod planner;
pub mod program;
pub mod protocol;
pub mod random;
pub mod record;
pub mod stage;
pub mod task;

pub use context::{Context, Host};
pub use error::{Error, Result, Trouble};
pub use item_request::{Answer, Request};
pub use kind::{Kind, Run};
pub use kinds::KINDS;
pub use record::{Message, Metric, Progress, Reply};
pub use stage::Stage;
pub use task::{Input, InputFile, Task};
