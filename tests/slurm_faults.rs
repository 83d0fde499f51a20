//! Failures of jobs on a real Slurm: each row of the table in docs/cluster.md that a machine can
//! be brought to. Skipped as `slurm.rs` is; `make test-slurm` asks for it.

#![allow(clippy::print_stderr)]

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::slurm::{Cluster, SITE, kill_matching, matching, wait_until};
use lab::{Lab, Record, TINY};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("site.yaml", SITE);
    Dataset::write(&lab.path("data"), 7, 0);
    lab
}

/// The site with other words for a kind.
fn site_with(from: &str, to: &str) -> String {
    assert!(SITE.contains(from));
    SITE.replace(from, to)
}

const TRAIN: &str = "train: { cpus: 2, memory: 2000M";

/// A training that takes longer than a node takes to die.
fn long_training() -> String {
    CUBES
        .replace("epochs: 2", "epochs: 8000")
        .replace("validate_every: 1", "validate_every: 1000\n      checkpoint_every: 20")
}

/// Times that the training went on from a checkpoint.
fn resumed(run: &Record) -> usize {
    run.events().iter().filter(|event| event["message"]["say"] == "resumed").count()
}

/// True if a folder, or one below it, has a checkpoint.
fn has_checkpoint(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("step-") || has_checkpoint(&path)
    })
}

/// Disturbs a training once it has a checkpoint. It must go on from one and end with the bytes of
/// a training that nothing disturbed.
fn disturbed(disturb: impl FnOnce(&Cluster)) {
    let mut there = lab();
    let Some(cluster) = Cluster::up(&mut there, &[]) else { return };
    there.write("workflow.yaml", &long_training());
    let arguments = ["run", "workflow.yaml", "--site", "site.yaml", "--device", "cpu"];
    let run = there.spawn(&arguments);
    there.wait("a checkpoint", |lab| has_checkpoint(&lab.path(".voxflow/store-v1/unfinished")));
    disturb(&cluster);
    let output = run.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{err}");
    eprintln!("{err}");
    let own = there.path("").display().to_string();
    wait_until("no process is left", || matching("\0task\0", &own).is_empty());
    wait_until("no job is left", || cluster.jobs() == 0);
    let here = lab();
    let flags = ["--executor", "here", "--threads", "2", "--device", "cpu"];
    let expected = here.run(&long_training(), &flags, 0);
    assert_eq!(there.last_run().digests(), expected.digests());
    assert!(resumed(&there.last_run()) > 0, "it went on from a checkpoint");
}

#[test]
fn a_preempted_training_ends_with_the_bytes_of_one_that_was_not() {
    disturbed(|cluster| {
        let urgent = ["--array=0-1", "-p", "urgent", "-c", "2", "-o", "/dev/null"];
        cluster.ask("sbatch", &[&urgent[..], &["--wrap", "sleep 5"]].concat());
        wait_until("the training to give way", || {
            cluster.ask("squeue", &["-h", "-p", "main", "-t", "pending", "-o", "%T"]).len() > 3
        });
    });
}

#[test]
fn a_node_that_is_declared_dead_and_goes_on_changes_nothing() {
    disturbed(|cluster| {
        let node = cluster.ask("squeue", &["-h", "-t", "running", "-o", "%N"]);
        // The daemon only: what it started lives on and writes on.
        cluster.kill(node.lines().next().unwrap().trim());
        wait_until("the node to be declared dead", || {
            let states = cluster.ask("sinfo", &["-h", "-N", "-o", "%T"]);
            states.contains("down")
        });
    });
}

#[test]
fn a_training_that_the_cluster_has_forgotten_is_submitted_again_and_ends_with_its_bytes() {
    disturbed(|cluster| {
        cluster.kill("slurmctld");
        // Its state is gone, as after a new installation, and so are the job's processes.
        cluster.forget_jobs();
        kill_matching("slurmstepd", "slurmstepd");
        kill_matching("\0task\0", "attempts");
        cluster.call("up", &[]).unwrap();
        wait_until("a queue without jobs", || cluster.jobs() == 0);
    });
}

#[test]
fn each_way_in_which_a_job_ends_badly_is_told_with_the_way_out() {
    let mut lab = lab();
    let Some(cluster) = Cluster::up(&mut lab, &[]) else { return };
    let fails = |site: &str, workflow: &str, words: &[&str]| {
        lab.write("bad.yaml", site);
        lab.write("workflow.yaml", workflow);
        let arguments = ["run", "workflow.yaml", "--site", "bad.yaml", "--device", "cpu"];
        let shown = lab.voxflow(&arguments);
        assert_eq!(shown.code, 1, "{}", shown.err);
        for words in words {
            assert!(shown.err.contains(words), "{words}: {}", shown.err);
        }
    };
    let bad = CUBES.replace("spacing: [1.0, 1.0, 1.0]", "spacing: [0.0001, 1.0, 1.0]");
    fails(SITE, &bad, &["case_00"]);
    let gone = site_with("lead: 30s", "lead: 30s, program: /nowhere/voxflow");
    fails(&gone, CUBES, &["did not start in 3 tries", "/nowhere/voxflow", "'program' of the site"]);
    let small = site_with(TRAIN, "train: { cpus: 2, memory: 60M");
    let slow = CUBES.replace("epochs: 2", "epochs: 400");
    let words = ["another attempt: its memory was not enough", "raise resources.memory"];
    fails(&small, &slow, &words);
    let large = small.replace("lead: 30s", "lead: 30s, more_memory: 40");
    lab.write("bad.yaml", &large);
    let run = lab.run(&slow, &["--site", "bad.yaml", "--device", "cpu"], 0);
    assert_eq!(run.stage("model")["outcome"], "made");
    assert_eq!(cluster.jobs(), 0);
}

#[test]
fn a_controller_that_is_dead_is_waited_for() {
    let mut lab = lab();
    let Some(cluster) = Cluster::up(&mut lab, &[]) else { return };
    cluster.kill("slurmctld");
    lab.write("workflow.yaml", TINY);
    let run = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("a run that waits", |lab| {
        let Some(run) = lab.runs().pop() else { return false };
        let log = std::fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
        log.contains("waits for slurm: ")
    });
    cluster.call("up", &[]).unwrap();
    let output = run.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
}

#[test]
fn thousands_of_items_take_few_submissions_and_little_time_of_their_own() {
    const CASES: usize = 10_000;
    let text = format!(
        "name: many
stages:
  dataset: {{ uses: synthesize, with: {{ cases: {CASES}, shape: [8, 8, 8] }} }}
  volumes: {{ uses: preprocess, needs: [dataset], with: {{ spacing: [12, 12, 12], intensity: {{ window: [-57, 164] }} }} }}
"
    );
    let mut there = lab();
    let Some(cluster) = Cluster::up(&mut there, &[]) else { return };
    cluster.count_submissions(&mut there);
    there.write("site.yaml", &site_with("items_per_job: 2", "items_per_job: 100"));
    let began = Instant::now();
    let run = there.run(&text, &["--site", "site.yaml"], 0);
    let on_slurm = began.elapsed();
    let jobs = Cluster::arrays(&there);
    let empty = cluster.time_of_empty_jobs(&jobs);
    assert_eq!(run.items("volumes"), (CASES as u64, 0));
    let submissions = Cluster::submissions(&there);
    assert!(submissions <= 20, "{submissions} submissions");
    let here = lab();
    let began = Instant::now();
    let expected = here.run(&text, &["--executor", "here", "--threads", "2"], 0);
    let alone = began.elapsed();
    assert_eq!(run.digests(), expected.digests());
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / CASES as f64;
    eprintln!(
        "{CASES} items: {:.2} ms each by jobs {jobs:?}, of which {:.2} ms take as many empty jobs; \
         {:.2} ms here; {submissions} submissions",
        each(on_slurm),
        each(empty),
        each(alone)
    );
}

#[test]
fn an_orchestrator_behind_a_mount_that_remembers_gets_the_bytes_of_one_machine() {
    let mut there = lab();
    let Some(_cluster) = Cluster::up(&mut there, &[]) else { return };
    let text = format!(
        "{TINY}  score: {{ uses: baseline, needs: [cache], with: {{ method: mean_label }} }}\n"
    );
    there.write("workflow.yaml", &text);
    // The same paths: this program sees them through a mount of its own, jobs do not.
    let options = "attr_timeout=20,entry_timeout=20,negative_timeout=20";
    let own = there.path("").display().to_string();
    let script = format!("bindfs -o {options} '{own}' '{own}' && cd '{own}' && exec \"$@\"");
    let program = there.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(program.get_program());
    command.args(["run", "workflow.yaml", "--site", "site.yaml"]).current_dir(&own);
    for (name, value) in program.get_envs() {
        value.map(|value| command.env(name, value));
    }
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    if err.contains("bindfs: not found") || err.contains("unshare: ") {
        eprintln!("skipped: a second mount needs root, FUSE and the package 'bindfs': {err}");
        return;
    }
    assert!(output.status.success(), "{err}");
    let here = lab();
    let expected = here.run(&text, &["--executor", "here", "--threads", "2"], 0);
    assert_eq!(there.last_run().digests(), expected.digests());
}
