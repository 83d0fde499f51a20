//! Stages in this process.

use super::{MadeFacts, StageOrder};
use crate::machine::{self, Usage};
use voxflow_stages::{Context, Host, Result};

/// Runs a kind's function on the calling thread. Its usage is that of its programs, or else this
/// process's, other threads included.
pub(super) fn make(
    run: fn(&Context) -> Result<()>,
    order: &StageOrder,
    host: &dyn Host,
) -> Result<MadeFacts> {
    let before = machine::usage();
    run(&Context::new(order.task, host))?;
    let after = machine::usage();
    let own = Usage {
        cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        peak_rss_bytes: after.peak_rss_bytes,
        read_bytes: after.read_bytes - before.read_bytes,
        written_bytes: after.written_bytes - before.written_bytes,
    };
    Ok(MadeFacts { usage: order.programs.total().unwrap_or(own), elsewhere: None })
}
