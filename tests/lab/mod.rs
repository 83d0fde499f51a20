//! A laboratory for end-to-end tests: a folder of its own, and the real program run inside it.
#![allow(dead_code, missing_docs)]

pub mod browser;
pub mod chance;
pub mod cubes;
pub mod damage;
pub mod layouts;
pub mod leftovers;
pub mod mapping;
pub mod namespace;
pub mod pretend_cuda;
pub mod pty;
pub mod slurm;
pub mod tally;
pub mod watch;

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub struct Lab {
    folder: TempDir,
    environment: BTreeMap<String, String>,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Shown {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A small experiment without a network: 6 labelled cases and one without a label.
pub const TINY: &str = "name: tiny
seed: 0
stages:
  dataset: { uses: synthesize, with: { cases: 6, unlabelled: 1, shape: [24, 24, 24] } }
  split: { uses: split, needs: [dataset], with: { training: 3, validation: 1, testing: 2 } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [12, 12, 12], intensity: { window: [-57, 164] } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
";

impl Lab {
    pub fn new() -> Lab {
        Lab { folder: tempfile::tempdir().unwrap(), environment: BTreeMap::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.environment.insert(name.into(), value.into());
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxflow"));
        command.args(arguments).current_dir(self.folder.path()).envs(&self.environment);
        command
            .env("NO_COLOR", "1")
            .env_remove("VOXFLOW_HOME")
            .env_remove("VOXFLOW_STORE")
            .stdin(Stdio::null());
        command
    }

    pub fn voxflow(&self, arguments: &[&str]) -> Shown {
        let output = self.command(arguments).output().unwrap();
        Shown {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a workflow's text to its end and returns its record. It must exit with `code`.
    pub fn run(&self, workflow: &str, flags: &[&str], code: i32) -> Record {
        self.write("workflow.yaml", workflow);
        let arguments: Vec<&str> = ["run", "workflow.yaml"].iter().chain(flags).copied().collect();
        let shown = self.voxflow(&arguments);
        assert_eq!(shown.code, code, "{}", shown.err);
        self.last_run()
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn runs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path(".voxflow/runs")) else { return vec![] };
        let folders = entries.map(|entry| entry.unwrap().path());
        // A run that was killed at once has a folder and nothing in it.
        let mut runs: Vec<PathBuf> = folders.filter(|run| run.join("run.json").exists()).collect();
        // By the moment of creation, since several runs may begin in one second.
        runs.sort_by_key(|run| {
            let record: Value =
                serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
            record["started_at_ms"].as_i64()
        });
        runs
    }

    pub fn last_run(&self) -> Record {
        Record::of(self.runs().last().expect("a run"))
    }

    /// Waits until `seen` is true of the folder, at most 30 s.
    pub fn wait(&self, what: &str, seen: impl Fn(&Lab) -> bool) {
        for _ in 0..3000 {
            if seen(self) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("waited in vain for {what}");
    }
}

/// `run.json` and the journal of a run.
#[derive(Debug)]
pub struct Record {
    pub folder: PathBuf,
    pub value: Value,
}

impl Record {
    pub fn of(folder: &Path) -> Record {
        let value = serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
        Record { folder: folder.to_path_buf(), value }
    }

    pub fn stage(&self, id: &str) -> &Value {
        let stages = self.value["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["stage"] == id).unwrap_or_else(|| panic!("no stage {id}"))
    }

    pub fn fingerprint(&self, id: &str) -> &str {
        self.stage(id)["fingerprint"].as_str().unwrap()
    }

    /// Fingerprint and digest of each stage, in the run's order.
    pub fn digests(&self) -> Vec<(String, String)> {
        let stages = self.value["stages"].as_array().unwrap().iter();
        let text = |stage: &Value, key: &str| stage[key].as_str().unwrap().to_string();
        stages.map(|stage| (text(stage, "fingerprint"), text(stage, "digest"))).collect()
    }

    /// "dataset=made split=reused …", in the run's order.
    pub fn outcomes(&self) -> String {
        let stages = self.value["stages"].as_array().unwrap();
        let each = stages.iter().map(|stage| {
            format!(
                "{}={}",
                stage["stage"].as_str().unwrap(),
                stage["outcome"].as_str().unwrap_or("open")
            )
        });
        each.collect::<Vec<_>>().join(" ")
    }

    /// The events of the journal.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("events.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// (made, reused) items of a stage.
    pub fn items(&self, id: &str) -> (u64, u64) {
        let events = self.events();
        let end = events
            .iter()
            .find(|event| event["event"] == "stage_finished" && event["stage"] == id)
            .unwrap();
        (end["items_made"].as_u64().unwrap(), end["items_reused"].as_u64().unwrap())
    }

    /// The metrics as told, without measurements.
    pub fn metrics(&self) -> Vec<Value> {
        let events = self.events();
        let said = events.iter().filter(|event| event["message"]["say"] == "metric");
        let kept = said.filter(|event| event["message"]["measured"] != true);
        kept.map(|event| serde_json::json!([event["stage"], event["message"]])).collect()
    }

    /// The ids of the stages that were made, in the run's order.
    pub fn made(&self) -> Vec<&str> {
        let stages = self.value["stages"].as_array().unwrap().iter();
        stages
            .filter(|stage| stage["outcome"] == "made")
            .map(|stage| stage["stage"].as_str().unwrap())
            .collect()
    }

    /// The metrics in a fixed order, as text.
    pub fn sorted_metrics(&self) -> Vec<String> {
        let mut rows: Vec<String> = self.metrics().iter().map(Value::to_string).collect();
        rows.sort();
        rows
    }
}
