//! Stages table: outcome and cost per stage.

use super::frame::{Columns, Frame};
use crate::job_facts::JobFacts;
use time::OffsetDateTime;
use voxflow_stages::Result;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageRow {
    pub run_id: String,
    pub stage: String,
    pub kind: String,
    /// Hexadecimal; `None` if never determined.
    pub fingerprint: Option<String>,
    /// made, reused, failed or skipped.
    pub outcome: String,
    pub items_made: u64,
    pub items_reused: u64,
    /// Start of making or recall.
    pub started_at: Option<OffsetDateTime>,
    /// Wall time in seconds.
    pub seconds: Option<f64>,
    pub cpu_seconds: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
    pub read_bytes: Option<u64>,
    pub written_bytes: Option<u64>,
    /// Maker's device as text.
    pub device: Option<String>,
    /// Reason for making, failing or skipping.
    pub reason: Option<String>,
    /// Cluster job, if any.
    pub job: Option<JobFacts>,
}

pub(super) fn frame(rows: &[StageRow]) -> Result<Frame> {
    Columns::default()
        .text("run_id", rows.iter().map(|row| Some(row.run_id.as_str())))
        .text("stage", rows.iter().map(|row| Some(row.stage.as_str())))
        .text("kind", rows.iter().map(|row| Some(row.kind.as_str())))
        .text("fingerprint", rows.iter().map(|row| row.fingerprint.as_deref()))
        .text("outcome", rows.iter().map(|row| Some(row.outcome.as_str())))
        .count("items_made", rows.iter().map(|row| Some(row.items_made)))
        .count("items_reused", rows.iter().map(|row| Some(row.items_reused)))
        .moment("started_at", rows.iter().map(|row| row.started_at))
        .number("seconds", rows.iter().map(|row| row.seconds))
        .number("cpu_seconds", rows.iter().map(|row| row.cpu_seconds))
        .count("peak_rss_bytes", rows.iter().map(|row| row.peak_rss_bytes))
        .count("read_bytes", rows.iter().map(|row| row.read_bytes))
        .count("written_bytes", rows.iter().map(|row| row.written_bytes))
        .text("device", rows.iter().map(|row| row.device.as_deref()))
        .text("reason", rows.iter().map(|row| row.reason.as_deref()))
        .text("node", jobs(rows).map(|job| Some(job?.host.as_str())))
        .text("job", jobs(rows).map(|job| job?.job.as_deref()))
        .number("queue_seconds", jobs(rows).map(|job| job?.queue_seconds))
        .count("attempts", jobs(rows).map(|job| Some(job?.attempts)))
        .count("job_cpus", jobs(rows).map(|job| Some(job?.cpus)))
        .count("job_memory_bytes", jobs(rows).map(|job| Some(job?.memory_bytes)))
        .count("job_gpus", jobs(rows).map(|job| Some(job?.gpus)))
        .frame()
}

fn jobs(rows: &[StageRow]) -> impl Iterator<Item = Option<&JobFacts>> {
    rows.iter().map(|row| row.job.as_ref())
}

/// Jobs per row; `None` in tables written before jobs existed.
fn jobs_of(frame: &Frame) -> Result<Vec<Option<JobFacts>>> {
    let (mut node, mut id) = (frame.text("node")?, frame.text("job")?);
    let (queued, attempts) = (frame.number("queue_seconds")?, frame.count("attempts")?);
    let (cpus, memory) = (frame.count("job_cpus")?, frame.count("job_memory_bytes")?);
    let gpus = frame.count("job_gpus")?;
    let jobs = (0..frame.height()).map(|i| {
        let host = node[i].take()?;
        Some(JobFacts {
            cluster: String::new(),
            host,
            job: id[i].take(),
            queue_seconds: queued[i],
            attempts: attempts[i].unwrap_or(0),
            cpus: cpus[i].unwrap_or(0),
            memory_bytes: memory[i].unwrap_or(0),
            gpus: gpus[i].unwrap_or(0),
        })
    });
    Ok(jobs.collect())
}

pub(super) fn rows(frame: &Frame) -> Result<Vec<StageRow>> {
    let [mut run_id, mut stage, mut kind, mut outcome] =
        [frame.text("run_id")?, frame.text("stage")?, frame.text("kind")?, frame.text("outcome")?];
    let [mut fingerprint, mut device, mut reason] =
        [frame.text("fingerprint")?, frame.text("device")?, frame.text("reason")?];
    let (items_made, items_reused) = (frame.count("items_made")?, frame.count("items_reused")?);
    let (started_at, seconds) = (frame.moment("started_at")?, frame.number("seconds")?);
    let (cpu_seconds, peak_rss_bytes) =
        (frame.number("cpu_seconds")?, frame.count("peak_rss_bytes")?);
    let (read_bytes, written_bytes) = (frame.count("read_bytes")?, frame.count("written_bytes")?);
    let mut jobs = jobs_of(frame)?;
    Ok((0..frame.height())
        .map(|i| StageRow {
            run_id: run_id[i].take().unwrap_or_default(),
            stage: stage[i].take().unwrap_or_default(),
            kind: kind[i].take().unwrap_or_default(),
            fingerprint: fingerprint[i].take(),
            outcome: outcome[i].take().unwrap_or_default(),
            items_made: items_made[i].unwrap_or(0),
            items_reused: items_reused[i].unwrap_or(0),
            started_at: started_at[i],
            seconds: seconds[i],
            cpu_seconds: cpu_seconds[i],
            peak_rss_bytes: peak_rss_bytes[i],
            read_bytes: read_bytes[i],
            written_bytes: written_bytes[i],
            device: device[i].take(),
            reason: reason[i].take(),
            job: jobs[i].take(),
        })
        .collect())
}
