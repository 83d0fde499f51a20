//! Metrics table: a row per value found or measured by a stage.

use super::frame::{Columns, Frame};
use time::OffsetDateTime;
use voxflow_stages::{Metric, Result};

#[derive(Clone, Debug, PartialEq)]
pub struct MetricRow {
    pub run_id: String,
    pub workflow: String,
    pub stage: String,
    pub kind: String,
    pub found: Metric,
    /// Time of arrival, in microseconds.
    pub at: OffsetDateTime,
}

impl MetricRow {
    /// True for summaries: no single case, and no step inside an epoch.
    pub fn is_summary(&self) -> bool {
        self.found.case.is_none() && (self.found.step.is_none() || self.found.epoch.is_some())
    }

    /// True for results at a stage's end: summaries without epoch.
    pub fn is_final(&self) -> bool {
        self.is_summary() && self.found.epoch.is_none()
    }
}

pub(super) fn frame(rows: &[MetricRow]) -> Result<Frame> {
    let found = || rows.iter().map(|row| &row.found);
    Columns::default()
        .text("run_id", rows.iter().map(|row| Some(row.run_id.as_str())))
        .text("workflow", rows.iter().map(|row| Some(row.workflow.as_str())))
        .text("stage", rows.iter().map(|row| Some(row.stage.as_str())))
        .text("kind", rows.iter().map(|row| Some(row.kind.as_str())))
        .text("split", found().map(|metric| metric.split.as_deref()))
        .text("case", found().map(|metric| metric.case.as_deref()))
        .text("label", found().map(|metric| metric.label.as_deref()))
        .text("grid", found().map(|metric| metric.grid.as_deref()))
        .small("epoch", found().map(|metric| metric.epoch))
        .count("step", found().map(|metric| metric.step))
        .text("metric", found().map(|metric| Some(metric.metric.as_str())))
        .number("value", found().map(|metric| metric.value))
        .flag("measured", found().map(|metric| metric.measured))
        .moment("at", rows.iter().map(|row| Some(row.at)))
        .frame()
}

pub(super) fn rows(frame: &Frame) -> Result<Vec<MetricRow>> {
    let [mut run_id, mut workflow, mut stage, mut kind] =
        [frame.text("run_id")?, frame.text("workflow")?, frame.text("stage")?, frame.text("kind")?];
    let [mut split, mut case, mut label, mut grid] =
        [frame.text("split")?, frame.text("case")?, frame.text("label")?, frame.text("grid")?];
    let (epoch, step) = (frame.count("epoch")?, frame.count("step")?);
    let (mut metric, value) = (frame.text("metric")?, frame.number("value")?);
    let (measured, at) = (frame.flag("measured")?, frame.moment("at")?);
    Ok((0..frame.height())
        .map(|i| MetricRow {
            run_id: run_id[i].take().unwrap_or_default(),
            workflow: workflow[i].take().unwrap_or_default(),
            stage: stage[i].take().unwrap_or_default(),
            kind: kind[i].take().unwrap_or_default(),
            found: Metric {
                split: split[i].take(),
                case: case[i].take(),
                label: label[i].take(),
                grid: grid[i].take(),
                epoch: epoch[i].and_then(|epoch| u32::try_from(epoch).ok()),
                step: step[i],
                metric: metric[i].take().unwrap_or_default(),
                value: value[i],
                measured: measured[i].unwrap_or(false),
            },
            at: at[i].unwrap_or(OffsetDateTime::UNIX_EPOCH),
        })
        .collect())
}
