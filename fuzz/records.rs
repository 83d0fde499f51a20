//! What of the crate `voxflow` reads bytes that one does not know, as `parsers` does for
//! `voxflow-stages`. A file of its own, since it needs polars, which takes long to build.

use voxflow::workflow::Workflow;
use voxflow_stages::KINDS;

/// A workflow.
pub fn workflow(bytes: &[u8]) {
    let _ = Workflow::parse("workflow.yaml", bytes, &[], KINDS, &|_| None);
}

/// A run's journal, of which its tables are made again.
pub fn journal(bytes: &[u8]) {
    const RECORD: &str = include_str!("run.json");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("run.json"), RECORD).expect("a file");
    std::fs::write(folder.path().join("events.jsonl"), bytes).expect("a file");
    let _ = voxflow::tables::rebuild(folder.path());
}
