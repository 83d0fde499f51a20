//! The lines that a worker writes, and the first of them, by which two programs know whether they
//! are of one build.
//!
//! Each line is a JSON object whose `line` says which kind of line follows. The worker reads its
//! order from a file and answers ([`Answer`](crate::item_request::Answer)) from standard input.
//!
//! The build id is the digest of all that a task and its answers rest on: the protocol, the crate's
//! version, and each kind's name, version, roles and parameters as its schema has them. It is the
//! same for two builds of one source, whatever the commit or the machine, and another as soon as a
//! parameter or a version of a kind differs; a change of what is computed that neither shows is
//! what a kind's VERSION is raised for.

use crate::item_request::Request;
use crate::kinds::KINDS;
use crate::record::{Message, Reply};
use crate::task::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use voxflow_cache::Digest;

/// Rises with every change to messages between the two programs.
pub const PROTOCOL: u32 = 3;

/// The libtorch version that the worker is built for.
pub const LIBTORCH: &str = "2.11.0";

/// A line of a worker. The first is a hello, the last an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum WorkerLine {
    /// Build of the worker.
    Hello(Build),
    /// News of the stage.
    Message(Message),
    /// An item is asked for, or was made.
    Request(Request),
    /// The end of the stage.
    End(Reply),
}

impl WorkerLine {
    /// Reads a line; `None` for any other text.
    pub fn read(line: &[u8]) -> Option<WorkerLine> {
        serde_json::from_slice(line).ok()
    }

    /// Reads a worker's first line as far as any protocol names the sender. `None` for text other
    /// than a JSON object.
    pub fn read_hello(line: &[u8]) -> Option<Build> {
        match WorkerLine::read(line) {
            Some(WorkerLine::Hello(build)) => Some(build),
            Some(_) => Some(Build::default()),
            None => serde_json::from_slice(line).ok(),
        }
    }
}

/// A build as the other program must know it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Its protocol; 0 if absent from the message.
    #[serde(default)]
    pub protocol: u32,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The build id.
    #[serde(default)]
    pub build: String,
    /// Its kinds' versions.
    #[serde(default)]
    pub kinds: BTreeMap<String, u32>,
}

impl Build {
    /// This program.
    pub fn own() -> Build {
        Build {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            build: build_id().to_string(),
            kinds: KINDS.iter().map(|kind| (kind.name.to_string(), kind.version)).collect(),
        }
    }

    /// The version of a kind; 0 if unknown here.
    fn version_of(&self, kind: &str) -> u32 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    /// The first difference in `other`, to follow the other's name in a sentence.
    pub fn difference(&self, other: &Build) -> Option<String> {
        if other.protocol != self.protocol {
            let (theirs, ours) = (other.protocol, self.protocol);
            return Some(format!("speaks protocol {theirs}, not {ours}"));
        }
        if other.version != self.version {
            return Some(format!("is version {}, not {}", other.version, self.version));
        }
        let kinds = self.kinds.iter().chain(&other.kinds).map(|(kind, _)| kind);
        let versions = kinds.map(|kind| (kind, other.version_of(kind), self.version_of(kind)));
        if let Some((kind, theirs, ours)) = versions.into_iter().find(|(_, a, b)| a != b) {
            return Some(format!("makes version {theirs} of '{kind}', not {ours}"));
        }
        (other.build != self.build)
            .then(|| format!("is build {}, not {}: parameters differ", other.build, self.build))
    }
}

/// A worker's order: a task and the build of its sender.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerOrder<'a> {
    /// The program that sends it.
    #[serde(flatten)]
    pub sender: Build,
    /// The task.
    #[serde(flatten)]
    pub task: &'a Task,
}

impl<'a> WorkerOrder<'a> {
    /// A task from this program.
    pub fn new(task: &'a Task) -> WorkerOrder<'a> {
        WorkerOrder { sender: Build::own(), task }
    }
}

/// A worker's answer to `--device NAME`: a line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probed {
    /// The device's name in words.
    Usable(String),
    /// The reason why it cannot be used.
    Unusable(String),
}

/// The way out after a mismatch between two builds.
pub const REMEDY: &str = "'cargo build' builds both programs; if they were built while the run \
                          went on, run again, and unset VOXFLOW_WORKER if it names an older one";

fn build_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let mut text = format!("{PROTOCOL} {}\n", env!("CARGO_PKG_VERSION"));
        for kind in KINDS {
            let (reads, holds, items) = (kind.reads, kind.holds, kind.items);
            text += &format!("{} {} {reads:?} {holds:?} {items:?}\n", kind.name, kind.version);
            text += &format!("{:?}\n{}\n", kind.locators, kind.schema().as_value());
        }
        Digest::of(text.as_bytes()).to_hex()[..16].to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_programs_of_one_build_agree_and_each_difference_has_its_words() {
        let own = Build::own();
        assert_eq!(own.difference(&Build::own()), None);
        let mut kinds = own.kinds.clone();
        kinds.insert("train".into(), 99);
        let protocol = format!("speaks protocol 0, not {PROTOCOL}");
        for (other, words) in [
            (Build { protocol: 0, ..own.clone() }, protocol.as_str()),
            (Build { version: "9.9.9".into(), ..own.clone() }, "is version 9.9.9, not"),
            (Build { kinds, ..own.clone() }, "makes version 99 of 'train', not"),
            (Build { kinds: BTreeMap::new(), ..own.clone() }, "makes version 0 of 'baseline'"),
            (Build { build: "00".into(), ..own.clone() }, "is build 00, not"),
        ] {
            let found = own.difference(&other).unwrap();
            assert!(found.starts_with(words), "{found}");
        }
    }

    #[test]
    fn each_kind_of_line_is_read_as_it_was_written() {
        let metric = Message::Metric(crate::Metric::new("loss", 0.5));
        let made = Request::Made { id: 3, failed: None };
        let hello = format!(r#"{{"line":"hello","protocol":{PROTOCOL},"#);
        let lines = [
            (WorkerLine::Hello(Build::own()), hello.as_str()),
            (WorkerLine::Message(metric), r#"{"line":"message","say":"metric","#),
            (WorkerLine::Request(made), r#"{"line":"request","ask":"made","id":3,"#),
            (WorkerLine::End(Reply::Done { adopted: BTreeMap::new() }), r#"{"line":"end","say":"#),
        ];
        for (line, begins) in lines {
            let text = serde_json::to_string(&line).unwrap();
            assert!(text.starts_with(begins), "{text}");
            assert_eq!(WorkerLine::read(text.as_bytes()), Some(line));
        }
    }

    #[test]
    fn the_hello_of_another_protocol_still_says_which_it_is() {
        let before = br#"{"say":"hello","protocol":1,"version":"0.1.0","build":"00","kinds":{}}"#;
        assert_eq!(WorkerLine::read_hello(before).map(|build| build.protocol), Some(1));
        let silent = br#"{"say":"done","adopted":{}}"#;
        assert_eq!(WorkerLine::read_hello(silent), Some(Build::default()));
        assert_eq!(WorkerLine::read_hello(b"ld.so: not found"), None);
    }
}
