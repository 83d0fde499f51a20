//! A Slurm on this machine, and the site file for it.
#![allow(clippy::print_stderr)]

use super::Lab;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub const SITE: &str = "executor: slurm
slurm: { partition: main, look: 1s, lead: 30s }
items_per_job: 2
kinds:
  synthesize: { cpus: 2, memory: 500M }
  preprocess: { cpus: 2, memory: 500M }
  cache: { cpus: 2, memory: 500M }
  baseline: { cpus: 2, memory: 500M }
  train: { cpus: 2, memory: 2000M, gpus: 0 }
  validate: { cpus: 2, memory: 2000M, gpus: 0 }
  test: { cpus: 2, memory: 2000M, gpus: 0 }
";

/// A cluster that is stopped when this is dropped.
pub struct Cluster {
    folder: PathBuf,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slurm").join(name)
}

/// True where nobody asks for tests on a real Slurm; says so.
pub fn is_left_out() -> bool {
    let is_left_out = std::env::var_os("VOXFLOW_TEST_SLURM").is_none();
    if is_left_out {
        eprintln!("skipped: tests on a real Slurm run by 'make test-slurm'");
    }
    is_left_out
}

impl Cluster {
    /// Starts one in the laboratory, or says why not.
    pub fn up(lab: &mut Lab, flags: &[&str]) -> Option<Cluster> {
        if is_left_out() {
            return None;
        }
        let folder = lab.path("slurm");
        let cluster = Cluster { folder };
        if let Err(trouble) = cluster.call("up", flags) {
            eprintln!("skipped: no Slurm can be started here: {trouble}");
            return None;
        }
        lab.set("SLURM_CONF", cluster.folder.join("slurm.conf").display().to_string());
        lab.set("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
        Some(cluster)
    }

    pub fn call(&self, name: &str, flags: &[&str]) -> Result<(), String> {
        let output = Command::new(script(name)).arg(&self.folder).args(flags).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_string())
    }

    /// Standard output of a command of Slurm.
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", self.folder.join("slurm.conf"));
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// The process of a daemon.
    pub fn daemon(&self, name: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.folder.join("pids")).ok()?;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Kills a daemon, as a machine that loses its power does.
    pub fn kill(&self, name: &str) {
        if let Some(pid) = self.daemon(name) {
            Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        }
    }

    /// Has each call of `sbatch` written down from now on.
    pub fn count_submissions(&self, lab: &mut Lab) {
        let script = "#!/bin/sh\necho \"$*\" >>\"${0%/*}/calls\"\nexec /usr/bin/sbatch \"$@\"\n";
        let path = lab.write("counted/sbatch", script);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let path = std::env::var("PATH").unwrap();
        lab.set("PATH", format!("{}:{path}:/usr/sbin:/sbin", lab.path("counted").display()));
    }

    /// Calls of `sbatch` that were written down.
    pub fn submissions(lab: &Lab) -> usize {
        let calls = std::fs::read_to_string(lab.path("counted/calls")).unwrap_or_default();
        calls.lines().count()
    }

    /// Sizes of the arrays that were submitted.
    pub fn arrays(lab: &Lab) -> Vec<usize> {
        let calls = std::fs::read_to_string(lab.path("counted/calls")).unwrap_or_default();
        let last = |call: &str| {
            let range = call.split("--array=").nth(1)?.split([' ', '%']).next()?.to_string();
            range.rsplit('-').next()?.parse::<usize>().ok()
        };
        calls.lines().map(|call| last(call).map_or(1, |last| last + 1)).collect()
    }

    /// Wall time of arrays of these sizes, one after the other, whose jobs do nothing.
    pub fn time_of_empty_jobs(&self, sizes: &[usize]) -> Duration {
        let began = Instant::now();
        for size in sizes {
            let array = format!("--array=0-{}", size - 1);
            let flags = [array.as_str(), "-p", "main", "-c", "2", "--mem", "500M"];
            let output = ["-o", "/dev/null", "--wait", "--wrap", "true"];
            self.ask("/usr/bin/sbatch", &[&flags[..], &output].concat());
        }
        began.elapsed()
    }

    /// Removes the controller's memory of all jobs; to be called while it is down.
    pub fn forget_jobs(&self) {
        let state = self.folder.join("state");
        std::fs::remove_dir_all(&state).unwrap();
        std::fs::create_dir(&state).unwrap();
    }

    /// Jobs in the queue that are not over.
    pub fn jobs(&self) -> usize {
        self.ask("squeue", &["-h", "-r", "-t", "pending,running,completing"]).lines().count()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.exists() {
            self.call("down", &["--remove"]).ok();
        }
    }
}

/// Kills the processes whose command line has both words.
pub fn kill_matching(one: &str, other: &str) {
    for pid in matching(one, other) {
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    }
}

/// The processes whose command line has both words.
pub fn matching(one: &str, other: &str) -> Vec<String> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit())
            && words.contains(one)
            && words.contains(other)
        {
            found.push(name);
        }
    }
    found
}

/// Waits for what comes with time; fails after a minute.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
