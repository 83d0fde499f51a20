//! Stages in this process.

use super::{MadeFacts, StageOrder};
use crate::machine::{self, Usage};
use voxflow_stages::{Context, Host, Result};

/// Runs a kind's function on the calling thread. CPU time includes other threads running meanwhile.
pub(super) fn make(
    run: fn(&Context) -> Result<()>,
    order: &StageOrder,
    host: &dyn Host,
) -> Result<MadeFacts> {
    let before = machine::usage();
    run(&Context::new(order.task, host))?;
    let after = machine::usage();
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    Ok(MadeFacts { usage: Usage { cpu_seconds, ..after }, elsewhere: None })
}
