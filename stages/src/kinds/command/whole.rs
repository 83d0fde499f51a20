//! The program once, for the whole stage.

use super::invocation::Invocation;
use super::template::names;
use super::workplace::Workplace;
use super::{made, parameters::Command};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::record::Metric;
use std::path::PathBuf;

/// Runs the program, checks what it wrote and takes it over.
pub(super) fn run(stage: &Command, cx: &Context) -> Result<()> {
    let place = Workplace::new(&cx.task().draft)?;
    let (name, threads) = (cx.stage().to_string(), cx.threads());
    let invocation = Invocation { stage, cx, place: &place, name, threads };
    let mut variables = invocation.variables()?;
    for (role, inputs) in &cx.task().inputs {
        for input in inputs {
            variables.set_path(format!("inputs.{role}"), &place.link(role, input, None)?)?;
        }
    }
    let unfinished = if wants_unfinished(stage) { Some(unfinished(cx)?) } else { None };
    if let Some(folder) = &unfinished {
        variables.set_path("unfinished", folder)?;
    }
    invocation.run(&variables, unfinished.as_deref(), |metric| tell(cx, metric))?;
    let files = place.files()?;
    made::settle(stage.makes, &place.output(), &files, cx)?;
    place.hand_over(&cx.task().draft)
}

fn unfinished(cx: &Context) -> Result<PathBuf> {
    let folder = cx.unfinished()?;
    std::path::absolute(folder).map_err(Error::io("find", folder))
}

/// Passes a row on.
pub(super) fn tell(cx: &Context, metric: Metric) {
    match metric.measured {
        true => cx.measure(metric),
        false => cx.metric(metric),
    }
}

fn wants_unfinished(stage: &Command) -> bool {
    stage.run.iter().chain(&stage.shell).any(|word| names(word).any(|name| name == "unfinished"))
}
