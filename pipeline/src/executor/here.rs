//! Stages made in this process.

use super::{Finished, Order};
use crate::machine::{self, Usage};
use voxflow_stages::{Context, Host, Result};

/// Runs a kind's function on the calling thread. Processor time is that of the whole process
/// meanwhile.
pub(super) fn make(
    run: fn(&Context) -> Result<()>,
    order: &Order,
    host: &dyn Host,
) -> Result<Finished> {
    let before = machine::usage();
    run(&Context::new(order.task, host))?;
    let after = machine::usage();
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    Ok(Finished { usage: Usage { cpu_seconds, ..after }, elsewhere: None })
}
