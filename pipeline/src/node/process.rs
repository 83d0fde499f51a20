//! A process that works on an attempt.

use crate::executor::remote::attempt::{Assignment, Attempt, Start};
use crate::stop::Stop;
use voxflow_stages::Task;

/// All that it is given.
#[derive(Clone, Copy)]
pub(super) struct NodeProcess<'a> {
    pub(super) attempt: &'a Attempt,
    pub(super) assignment: &'a Assignment,
    pub(super) task: &'a Task,
    pub(super) start: &'a Start,
    pub(super) stop: &'a Stop,
}
