//! A run's tables: metrics, stages and parameters as Parquet files.
//!
//! `summary` condenses a run for comparisons; `compare` shows runs side by side, `run_table` one
//! per row, `variants` a sweep. Tables are views on the journal, replaced atomically without fsync;
//! damaged tables are rebuilt. Only this folder uses `polars`; callers see plain rows.

mod column;
mod compare;
mod frame;
mod gathering;
mod metrics;
mod pairs;
mod params;
mod read;
mod rebuild;
mod recorder;
mod run_table;
mod score_at_time;
mod scores;
mod spread;
mod stages;
mod summary;
mod sweeps;
mod table;
mod variants;
mod verdict;

pub use column::{Column, Datum};
pub use compare::{Comparison, MetricLine, Side};
pub use frame::parquet;
pub(crate) use gathering::Gathering;
pub use metrics::MetricRow;
pub use pairs::PairedScores;
pub use params::ParamRow;
pub use read::{read, read_metrics};
pub use rebuild::rebuild;
pub use recorder::Recorder;
#[cfg(test)]
pub(crate) use recorder::tests as recorded;
pub use run_table::RunTable;
pub use scores::{Headlines, headline, scores};
pub use stages::StageRow;
pub use summary::{RunSummary, unequal_test_sets};
pub use sweeps::write_sweep;
pub use table::{METRICS, PARAMS, STAGES, Tables, write};
#[cfg(test)]
pub(crate) use tests::example;
pub use variants::Variants;
pub use verdict::{effects, sentence as verdict};

#[cfg(test)]
pub(crate) mod tests {
    use super::frame::Frame;
    use super::*;
    use serde_json::json;
    use time::macros::datetime;
    use voxflow_stages::Metric;

    /// A run with a training of two epochs and a test of two labels.
    pub(crate) fn example(run_id: &str, dice: f64) -> Tables {
        let row = |stage: &str, kind: &str, found: Metric| MetricRow {
            run_id: run_id.into(),
            workflow: "demo".into(),
            stage: stage.into(),
            kind: kind.into(),
            found,
            at: datetime!(2026-01-02 03:04:05.000006 UTC),
        };
        let test = |metric: &str, value: Option<f64>| {
            Metric::new(metric, value).split("testing").grid("original")
        };
        let curve = |epoch, value| {
            Metric::new("dice", value).split("validation").grid("resampled").epoch(epoch)
        };
        let metrics = vec![
            row("model", "train", Metric::new("loss", 0.9).split("training").step(1)),
            row("model", "train", curve(1, 0.5)),
            row("model", "train", curve(2, 0.75)),
            row("model", "train", Metric { measured: true, ..Metric::new("train_seconds", 12.5) }),
            row("final", "test", test("dice", Some(dice - 0.1)).case("case_1").label("spleen")),
            row("final", "test", test("dice", Some(dice)).label("spleen")),
            row("final", "test", test("hd95_mm", None).label("spleen")),
            row("final", "test", test("n", Some(6.0)).label("spleen")),
            row("final", "test", test("dice", Some(dice))),
        ];
        let stages = vec![StageRow {
            run_id: run_id.into(),
            stage: "model".into(),
            kind: "train".into(),
            fingerprint: Some("ab".repeat(32)),
            outcome: "made".into(),
            items_made: 2,
            items_reused: 1,
            started_at: Some(datetime!(2026-01-02 03:04:05 UTC)),
            seconds: Some(12.5),
            cpu_seconds: Some(20.0),
            peak_rss_bytes: Some(1 << 31),
            read_bytes: Some(1 << 20),
            written_bytes: Some(0),
            device: Some("cpu".into()),
            job: None,
            reason: Some("never made before".into()),
        }];
        let mut params = ParamRow::flatten(
            run_id,
            "model",
            &json!({"epochs": 2, "optimizer": {"learning_rate": dice}}),
        );
        params.extend(ParamRow::flatten(run_id, "final", &json!({})));
        Tables { metrics, stages, params }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = example("r1", 0.9);
        write(folder.path(), &tables).expect("writes");
        assert_eq!(read(folder.path()).expect("reads"), tables);
    }

    #[test]
    fn empty_tables_keep_their_columns() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &Tables::default()).expect("writes");
        assert_eq!(read(folder.path()).expect("reads"), Tables::default());
        assert_eq!(
            Frame::read(&folder.path().join(METRICS)).expect("reads").schema(),
            "run_id str, workflow str, stage str, kind str, split str, case str, label str, grid str, epoch u32, \
             step u64, metric str, value f64, measured bool, at datetime[μs, UTC]"
        );
        assert_eq!(
            Frame::read(&folder.path().join(STAGES)).expect("reads").schema(),
            "run_id str, stage str, kind str, fingerprint str, outcome str, items_made u64, items_reused u64, \
             started_at datetime[μs, UTC], seconds f64, cpu_seconds f64, peak_rss_bytes u64, \
             read_bytes u64, written_bytes u64, device str, reason str, \
             node str, job str, queue_seconds f64, attempts u64, job_cpus u64, job_memory_bytes u64, job_gpus u64"
        );
        assert_eq!(
            Frame::read(&folder.path().join(PARAMS)).expect("reads").schema(),
            "run_id str, stage str, key str, value str"
        );
    }

    /// "name type" of each row of the table below a heading of docs/tables.md.
    fn documented(heading: &str) -> String {
        let text = include_str!("../../../docs/tables.md");
        let section =
            text.split("\n## ").find(|section| section.starts_with(heading)).expect("a section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let columns = rows.map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap_or_default().trim_end_matches('`');
            let dtype = match cells.next().unwrap_or_default() {
                "text" => "str",
                "timestamp" => "datetime[μs, UTC]",
                other => other,
            };
            format!("{name} {dtype}")
        });
        columns.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_columns_are_those_that_the_document_lists() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &Tables::default()).expect("writes");
        let values = [("model.seed".to_string(), 1.into())].into();
        let sweep = crate::run::Sweep {
            id: "sweep-1".into(),
            variant: 1,
            values,
            repeats: vec![],
            chosen: false,
        };
        write_sweep(folder.path(), "r1", &sweep).expect("writes");
        for (heading, file) in [
            ("metrics", METRICS),
            ("stages", STAGES),
            ("params", PARAMS),
            ("sweep\n", sweeps::SWEEP),
        ] {
            let schema = Frame::read(&folder.path().join(file)).expect("reads").schema();
            assert_eq!(schema, documented(heading), "docs/tables.md, {heading}");
        }
    }

    #[test]
    fn a_run_without_tables_has_empty_ones() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()).expect("reads"), Tables::default());
    }

    #[test]
    fn a_file_that_is_no_table_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(METRICS), b"PAR1 and then nothing of use PAR1")
            .expect("writes");
        let error = read(folder.path()).expect_err("is no table").to_string();
        assert!(error.contains("metrics.parquet"), "{error}");
    }

    #[test]
    fn writing_replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &example("r1", 0.9)).expect("writes");
        write(folder.path(), &example("r1", 0.8)).expect("writes again");
        assert_eq!(read(folder.path()).expect("reads"), example("r1", 0.8));
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(names, [METRICS, PARAMS, STAGES]);
    }
}
