//! The same stories on a real Slurm, which `tests/slurm/up` starts on this machine. Skipped with a
//! message where that is not possible (no root, no packages), and in the usual `cargo test`:
//! `make test-slurm` asks for it.

#![allow(clippy::print_stderr)]

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY, chance::Chance};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A cluster that is stopped when this is dropped.
struct Cluster {
    folder: PathBuf,
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/slurm").join(name)
}

impl Cluster {
    /// Starts one in the laboratory, or says why not.
    fn up(lab: &mut Lab, flags: &[&str]) -> Option<Cluster> {
        if std::env::var_os("VOXFLOW_TEST_SLURM").is_none() {
            eprintln!("skipped: tests on a real Slurm run by 'make test-slurm'");
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

    fn call(&self, name: &str, flags: &[&str]) -> Result<(), String> {
        let output = Command::new(script(name)).arg(&self.folder).args(flags).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_string())
    }

    /// What a command of Slurm says.
    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(arguments).env("SLURM_CONF", self.folder.join("slurm.conf"));
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// The process of a daemon.
    fn daemon(&self, name: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.folder.join("pids")).ok()?;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// Jobs in the queue that are not over.
    fn jobs(&self) -> usize {
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

const SITE: &str = "executor: slurm
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

fn workflow() -> String {
    format!("{TINY}  score: {{ uses: baseline, needs: [cache], with: {{ method: mean_label }} }}\n")
}

fn digests(run: &Record) -> Vec<(String, String)> {
    let stages = run.value["stages"].as_array().unwrap().iter();
    let text = |stage: &serde_json::Value, key: &str| stage[key].as_str().unwrap().to_string();
    stages.map(|stage| (text(stage, "fingerprint"), text(stage, "digest"))).collect()
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("site.yaml", SITE);
    lab
}

#[test]
fn two_nodes_make_the_bytes_of_one_machine_with_and_without_accounting() {
    let here = lab();
    let expected = here.run(&workflow(), &["--executor", "here", "--threads", "2"], 0);
    for flags in [&[][..], &["--accounting"]] {
        let mut there = lab();
        let Some(cluster) = Cluster::up(&mut there, flags) else { return };
        let run = there.run(&workflow(), &["--site", "site.yaml"], 0);
        assert_eq!(digests(&run), digests(&expected), "{flags:?}");
        assert_eq!(run.stage("score")["maker"]["job"]["cluster"], "slurm");
        assert_eq!(cluster.jobs(), 0);
        let again = there.run(&workflow(), &["--site", "site.yaml"], 0);
        assert!(again.made().is_empty());
    }
}

#[test]
fn a_training_is_made_on_a_node_as_here() {
    let here = lab();
    Dataset::write(&here.path("data"), 7, 0);
    let expected = here.run(CUBES, &["--executor", "here", "--threads", "2", "--device", "cpu"], 0);
    let mut there = lab();
    Dataset::write(&there.path("data"), 7, 0);
    let Some(_cluster) = Cluster::up(&mut there, &[]) else { return };
    let run = there.run(CUBES, &["--site", "site.yaml", "--device", "cpu"], 0);
    assert_eq!(digests(&run), digests(&expected));
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics());
}

#[test]
fn a_training_longer_than_its_jobs_ends_with_the_bytes_of_one_that_was_never_stopped() {
    let text = CUBES
        .replace("epochs: 2", "epochs: 3000")
        .replace("validate_every: 1", "validate_every: 1000\n      checkpoint_every: 20");
    let here = lab();
    Dataset::write(&here.path("data"), 7, 0);
    let expected = here.run(&text, &["--executor", "here", "--threads", "2", "--device", "cpu"], 0);
    let mut there = lab();
    Dataset::write(&there.path("data"), 7, 0);
    let Some(_cluster) = Cluster::up(&mut there, &[]) else { return };
    // A minute for each job, half of it for the checkpoint.
    let site = SITE.replace("train: { cpus: 2,", "train: { partition: short, time: 1m, cpus: 2,");
    there.write("short.yaml", &site);
    let run = there.run(&text, &["--site", "short.yaml", "--device", "cpu"], 0);
    assert_eq!(digests(&run), digests(&expected));
    let log = run.events();
    let resumed = log.iter().filter(|event| event["message"]["say"] == "resumed").count();
    let seconds = run.stage("model")["seconds"].as_f64().unwrap();
    eprintln!("{seconds} s, resumed {resumed} times");
    assert!(resumed > 0, "it was stopped and went on");
}

#[test]
fn a_cancelled_job_and_one_that_no_partition_takes_are_told_in_the_words_of_slurm() {
    let mut lab = lab();
    let Some(cluster) = Cluster::up(&mut lab, &[]) else { return };
    let lost = SITE.replace("baseline: { cpus: 2,", "baseline: { partition: nowhere, cpus: 2,");
    lab.write("lost.yaml", &lost);
    lab.write("workflow.yaml", &workflow());
    let shown = lab.voxflow(&["run", "workflow.yaml", "--site", "lost.yaml"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(shown.err.contains("slurm refuses its job: "), "{}", shown.err);
    let greedy = SITE.replace("baseline: { cpus: 2,", "baseline: { cpus: 999,");
    lab.write("greedy.yaml", &greedy);
    let run = lab.spawn(&["run", "workflow.yaml", "--site", "greedy.yaml"]);
    lab.wait("a job in the queue", |_| cluster.jobs() > 0);
    std::thread::sleep(Duration::from_secs(65));
    lab.voxflow(&["stop", "latest", "--site", "greedy.yaml"]);
    let output = run.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("will not start by itself (PartitionConfig)"), "{err}");
    assert_eq!(cluster.jobs(), 0, "stop has cancelled it");
    lab.write(
        "workflow.yaml",
        &workflow().replace("cases: 6", "cases: 5").replace("testing: 2", "testing: 1"),
    );
    cluster.ask("scontrol", &["update", "partition=main", "state=down"]);
    let run = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("a job in the queue", |_| cluster.jobs() > 0);
    let id = cluster.ask("squeue", &["-h", "-o", "%F"]);
    cluster.ask("scancel", &[id.lines().next().unwrap().trim()]);
    let output = run.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("was cancelled"), "{err}");
}

/// Whatever is killed, the run ends as one that was not disturbed. `VOXFLOW_SLURM_ROUNDS` and
/// `VOXFLOW_SEED` set how often and how.
#[test]
fn daemons_jobs_and_the_orchestrator_may_die_at_any_moment() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("VOXFLOW_SLURM_ROUNDS").unwrap_or(6);
    let mut chance = Chance::of_the_environment("VOXFLOW_SEED");
    let seed = chance.seed;
    let here = lab();
    let expected = here.run(&workflow(), &["--executor", "here", "--threads", "2"], 0);
    let mut lab = lab();
    let Some(cluster) = Cluster::up(&mut lab, &[]) else { return };
    eprintln!("VOXFLOW_SEED={seed} VOXFLOW_SLURM_ROUNDS={rounds}");
    for round in 0..rounds {
        let home = format!("home-{round}");
        let flags = ["run", "workflow.yaml", "--site", "site.yaml", "--home", &home];
        lab.write("workflow.yaml", &workflow());
        let mut run = lab.spawn(&flags);
        std::thread::sleep(Duration::from_millis(chance.below(6000) as u64));
        let victim =
            ["n1", "slurmctld", "munged", "task", "slurmstepd", "voxflow"][chance.below(6)];
        match victim {
            "voxflow" => drop(run.kill()),
            "task" => kill_matching("\0task\0", &lab.path("").display().to_string()),
            "slurmstepd" => kill_matching("slurmstepd", ""),
            daemon => {
                if let Some(pid) = cluster.daemon(daemon) {
                    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
                }
            }
        }
        std::thread::sleep(Duration::from_millis(chance.below(2000) as u64));
        cluster.call("up", &[]).unwrap();
        let first = run.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&first.stderr).into_owned();
        if !first.status.success() {
            let shown = lab.voxflow(&flags);
            assert_eq!(shown.code, 0, "seed {seed}, round {round}, {victim}: {err}\n{}", shown.err);
        }
        let runs = std::fs::read_dir(lab.path(&home).join("runs")).unwrap().flatten();
        let mut runs: Vec<PathBuf> = runs.map(|entry| entry.path()).collect();
        runs.sort();
        let last = Record::of(runs.last().unwrap());
        assert_eq!(digests(&last), digests(&expected), "seed {seed}, round {round}, {victim}");
        let until = Instant::now() + Duration::from_secs(60);
        while cluster.jobs() > 0 {
            assert!(Instant::now() < until, "seed {seed}, round {round}, {victim}: jobs are left");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Kills the processes whose command line has both words.
fn kill_matching(one: &str, other: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit())
            && words.contains(one)
            && words.contains(other)
        {
            Command::new("kill").args(["-9", &name]).status().unwrap();
        }
    }
}
