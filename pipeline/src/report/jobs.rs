//! Cluster jobs behind a run's stages: location, and requested against used resources.

use crate::humanize;
use crate::job_facts::JobFacts;
use crate::run::{RunRecord, StageRecord};
use crate::text_table::{Cell, TextTable};

/// A row per stage made by a job; `None` without jobs.
pub fn table(record: &RunRecord) -> Option<TextTable> {
    let columns = [
        "stage",
        "node",
        "job",
        "queued",
        "attempts",
        "cores",
        "used",
        "memory",
        "used most",
        "cards",
    ];
    let mut table = TextTable::new("", columns);
    for (stage, job) in record.stages.iter().filter_map(|stage| Some((stage, job(stage)?))) {
        table.push(row(stage, &job));
    }
    (!table.rows.is_empty()).then_some(table)
}

fn job(stage: &StageRecord) -> Option<JobFacts> {
    serde_json::from_value(stage.maker.get("job")?.clone()).ok()
}

fn row(stage: &StageRecord, job: &JobFacts) -> Vec<Cell> {
    // The share of the cores that the job kept busy.
    let asked = stage.made_in_seconds.unwrap_or(0.0) * job.cpus as f64;
    let used = stage.maker["cpu_seconds"].as_f64().filter(|_| asked > 0.0).map(|used| used / asked);
    let queued = job.queue_seconds.map(humanize::duration);
    let peak = stage.maker["peak_rss_bytes"].as_f64().map(|bytes| Cell::Bytes(bytes as u64));
    vec![
        Cell::text(&stage.stage),
        Cell::text(&job.host),
        Cell::text(job.job.clone().unwrap_or_default()),
        Cell::text(queued.unwrap_or_default()),
        Cell::Count(job.attempts),
        Cell::Count(job.cpus),
        Cell::text(used.map_or_else(String::new, |used| format!("{:.0} %", used * 100.0))),
        Cell::Bytes(job.memory_bytes),
        peak.unwrap_or(Cell::Empty),
        Cell::Count(job.gpus),
    ]
}
