//! Messages of a working stage: metrics, progress and words. Facts, not output.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use voxflow_cache::Blob;

/// A metric row. `None` for columns not applicable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metric {
    /// The part of the cases: training, validation, testing, unlabelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The case's name; `None` for a summary over cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// The label's name; `None` for a summary over labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The grid a score was taken on: resampled, original or roundtrip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Epochs finished, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// Optimizer steps finished, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The name: dice, hd95_mm, loss, learning_rate, …
    pub metric: String,
    /// The value; `None` for an empty average.
    pub value: Option<f64>,
    /// True for time, speed and memory, which equal recipes do not repeat.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub measured: bool,
}

impl Metric {
    /// A row with this name and value and nothing else.
    pub fn new(metric: impl Into<String>, value: impl Into<Option<f64>>) -> Metric {
        Metric { metric: metric.into(), value: value.into(), ..Metric::default() }
    }

    /// Sets the split.
    pub fn split(mut self, split: &str) -> Metric {
        self.split = Some(split.to_string());
        self
    }

    /// Sets the case.
    pub fn case(mut self, case: &str) -> Metric {
        self.case = Some(case.to_string());
        self
    }

    /// Sets the label.
    pub fn label(mut self, label: &str) -> Metric {
        self.label = Some(label.to_string());
        self
    }

    /// Sets the grid.
    pub fn grid(mut self, grid: &str) -> Metric {
        self.grid = Some(grid.to_string());
        self
    }

    /// Sets the epoch.
    pub fn epoch(mut self, epoch: u32) -> Metric {
        self.epoch = Some(epoch);
        self
    }

    /// Sets the step.
    pub fn step(mut self, step: u64) -> Metric {
        self.step = Some(step);
        self
    }
}

/// Progress of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, where known.
    pub total: Option<u64>,
    /// The unit: "cases", "bytes", "epochs", "steps".
    pub unit: String,
    /// The numbers that matter now, in order: ("loss", "0.231"), ("dice", "0.874").
    pub numbers: Vec<(String, String)>,
}

/// A stage's message. A worker writes it as a JSON line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Message {
    /// A metric row (measured or not).
    Metric(Metric),
    /// Its progress.
    Progress(Progress),
    /// Worth knowing.
    Info {
        /// The words.
        words: String,
    },
    /// Worth worrying.
    Warning {
        /// The words.
        words: String,
    },
    /// The stage waits for something, such as a card in use by others.
    Waiting {
        /// The words, after the stage's name: "waits for a GPU: …".
        words: String,
    },
    /// An item was recalled.
    Item {
        /// The item's name, as "case spleen_8".
        name: String,
        /// True if it had to be made.
        made: bool,
        /// Its fingerprint.
        fingerprint: voxflow_cache::Fingerprint,
    },
    /// The device the work runs on, in words ("cpu", "cuda:0 NVIDIA H100").
    Device {
        /// The words.
        name: String,
        /// Threads of the libtorch pool.
        threads: usize,
        /// Version of libtorch.
        libtorch: String,
    },
    /// The precision of the networks ("fp32"); of models with different ones, all of them ("bf16,
    /// fp32").
    Precision {
        /// The words.
        name: String,
    },
    /// Work already done before this process was continued from (resumed training).
    Resumed {
        /// Epochs finished before.
        epoch: u32,
        /// Steps finished before.
        step: u64,
    },
}

/// A worker's last line: how the stage ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Reply {
    /// Made: the draft holds its files, and these foreign blobs belong to it too.
    Done {
        /// Name in the artifact → blob.
        adopted: BTreeMap<String, Blob>,
    },
    /// It was not made.
    Failed {
        /// The trouble in words; one line, save for a table of cases.
        error: String,
        /// True if it was asked to stop, and did.
        stopped: bool,
        /// True if the disk or the store is at fault.
        storage: bool,
        /// The cases that could not be done, each with its reason.
        cases: Vec<(String, String)>,
        /// True if items of other shards were left out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        elsewhere: bool,
    },
}

impl Reply {
    /// Its error, if any.
    pub fn error(self) -> Option<Error> {
        let Reply::Failed { error, stopped, storage, cases, elsewhere } = self else {
            return None;
        };
        Some(match (stopped, storage) {
            (true, _) => Error::Stopped,
            _ if elsewhere => Error::Elsewhere,
            _ if !cases.is_empty() => Error::Cases(cases),
            (_, true) => Error::Storage(error),
            _ => Error::Failed(error),
        })
    }
}

impl From<&Error> for Reply {
    fn from(error: &Error) -> Reply {
        Reply::Failed {
            error: error.to_string(),
            stopped: matches!(error, Error::Stopped),
            storage: error.is_storage(),
            cases: if let Error::Cases(cases) = error { cases.clone() } else { vec![] },
            elsewhere: matches!(error, Error::Elsewhere),
        }
    }
}
