//! Equipment of a machine for this program, and its troubles, each with the way out.

use crate::containers::engine;
use crate::disk_space::free_in;
use crate::executor::child;
use crate::gpus::Gpus;
use crate::home::Home;
use crate::{device, humanize, libtorch, machine};
use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Free space below which a store is called full, in bytes.
const LITTLE_SPACE: u64 = 2 << 30;
/// Free memory below which it is called little, in bytes.
const LITTLE_MEMORY: u64 = 2 << 30;
/// Files that a run over a few thousand cases holds open at once.
const FEW_FILES: u64 = 1024;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its name.
    pub what: &'static str,
    pub found: String,
    /// The trouble with it and the way out, if any.
    pub trouble: Option<String>,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { what, found: found.into(), trouble: None }
    }

    fn new(what: &'static str, found: impl Into<String>, trouble: Option<String>) -> Finding {
        Finding { trouble, ..Finding::good(what, found) }
    }
}

/// Looks at programs, libraries, processor, memory, GPU, disks and limits; makes nothing.
pub fn examine(home: &Home) -> Vec<Finding> {
    let mut findings = vec![program(), worker()];
    findings.extend([processor(), memory(), gpu()]);
    findings.push(folder("home", home.root(), &OF_HOME));
    findings.push(folder("store", home.store(), &OF_HOME));
    findings.push(folder("temporary files", &std::env::temp_dir(), &OF_TEMPORARY));
    findings.push(open_files());
    findings.push(containers());
    findings
}

fn program() -> Finding {
    let path = std::env::current_exe().unwrap_or_default();
    Finding::good("voxflow", format!("{}, {}", env!("CARGO_PKG_VERSION"), path.display()))
}

fn worker() -> Finding {
    let path = child::program().display().to_string();
    let folder = libtorch::folder().ok().flatten();
    let place = folder.map_or_else(String::new, |folder| format!(" in {}", folder.display()));
    match child::libtorch_version() {
        Ok(version) => Finding::good("libtorch", format!("{version}{place}, by {path}")),
        Err(trouble) => Finding::new("libtorch", path, Some(trouble)),
    }
}

fn processor() -> Finding {
    let facts = machine::describe();
    let name = facts.get("processor").map_or("unknown", String::as_str);
    let flags: BTreeSet<String> = machine::processor_flags().into_iter().collect();
    let known =
        [("avx2", "AVX2"), ("avx512f", "AVX-512"), ("avx512_bf16", "bf16"), ("amx_bf16", "AMX")];
    let widths: Vec<&str> =
        known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
    let found = format!(
        "{name}, {}, {}",
        humanize::count(machine::cores() as u64, "core"),
        widths.join(", ")
    );
    let is_slow = std::env::consts::ARCH == "x86_64" && !flags.contains("avx2");
    let trouble = "has no AVX2, which libtorch's fast kernels need; train on another machine";
    Finding::new("processor", found, is_slow.then(|| trouble.to_string()))
}

fn memory() -> Finding {
    let free = machine::available_memory();
    let limit = machine::memory_limit();
    let most = limit.map_or_else(String::new, |most| {
        format!(
            ", at most {} for this process (a container's or job's limit)",
            humanize::bytes(most)
        )
    });
    let usable = limit.unwrap_or(u64::MAX).min(free);
    let trouble = (usable < LITTLE_MEMORY).then(|| {
        "is little for a training; end other programs, or ask for more memory".to_string()
    });
    Finding::new("memory", format!("{} free{most}", humanize::bytes(free)), trouble)
}

/// The GPU that `--device auto` takes. Whether libtorch can use it, its worker knows.
fn gpu() -> Finding {
    let cards = Gpus::of_device("auto").models();
    let has_libraries = std::env::var_os("VOXFLOW_LIBTORCH_CUDA").is_some();
    if cards.is_empty() && !has_libraries {
        return Finding::good(
            "GPU",
            "none: no NVIDIA driver is loaded; trainings use the processor",
        );
    }
    let found = if cards.is_empty() { "none".to_string() } else { cards.join(", ") };
    Finding::new("GPU", found, device::trouble("cuda"))
}

/// Engines for the containers of commands; nothing else needs one.
fn containers() -> Finding {
    let found: Vec<String> =
        engine::installed().iter().map(engine::ContainerEngine::state).collect();
    let words = match found.is_empty() {
        true => "none; a command in a container needs Podman, Docker or Apptainer".to_string(),
        false => found.join("; "),
    };
    Finding::new("containers", words, engine::trouble())
}

/// Ways out of the troubles of a folder.
struct WaysOut {
    /// Of a folder that cannot be used.
    elsewhere: &'static str,
    /// Of one that is full.
    room: &'static str,
}

const OF_HOME: WaysOut = WaysOut {
    elsewhere: "name another by --home and --store",
    room: "'voxflow cache gc' removes what no run needs, --store names a store on another disk",
};
const OF_TEMPORARY: WaysOut = WaysOut {
    elsewhere: "set TMPDIR to another",
    room: "remove what nobody needs there, or set TMPDIR to a folder on another disk",
};

fn folder(what: &'static str, path: &Path, ways_out: &WaysOut) -> Finding {
    let there = nearest(path);
    let kind = machine::file_system(&there).unwrap_or_else(|| "unknown file system".into());
    let shared = if voxflow_cache::is_shared(&there) { ", shared between machines" } else { "" };
    let free = free_in(&there).ok();
    let space = free.map_or_else(String::new, |free| format!(", {} free", humanize::bytes(free)));
    let found = format!("{} on {kind}{shared}{space}", path.display());
    Finding::new(what, found, folder_trouble(&there, free, ways_out))
}

fn folder_trouble(folder: &Path, free: Option<u64>, ways_out: &WaysOut) -> Option<String> {
    let (name, WaysOut { elsewhere, room }) = (folder.display(), ways_out);
    if !folder.is_dir() {
        return Some(format!("'{name}' is no folder; {elsewhere}"));
    }
    if access(folder, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Some(format!("'{name}' may not be written; {elsewhere}"));
    }
    let is_full = free.is_some_and(|free| free < LITTLE_SPACE);
    is_full.then(|| format!("is almost full: {room}"))
}

/// A folder, or the nearest one above it that exists.
fn nearest(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let found = absolute.ancestors().find(|folder| fs::symlink_metadata(folder).is_ok());
    found.map_or_else(|| absolute.clone(), Path::to_path_buf)
}

fn open_files() -> Finding {
    let limits = getrlimit(Resource::Nofile);
    let (now, most) = (limits.current.unwrap_or(u64::MAX), limits.maximum.unwrap_or(u64::MAX));
    let words =
        |number: u64| if number == u64::MAX { "any number".into() } else { number.to_string() };
    let way_out = match most > now {
        true => format!("'ulimit -n {}' raises it", most.min(65_536)),
        false => "whoever runs the machine can raise it (LimitNOFILE, limits.conf)".to_string(),
    };
    let trouble = (now < FEW_FILES)
        .then(|| format!("is little for data sets of thousands of files; {way_out}"));
    Finding::new("open files", format!("{}, at most {}", words(now), words(most)), trouble)
}
