//! The same stories on a real Slurm, which `tests/slurm/up` starts on this machine. Skipped with a
//! message where that is not possible (no root, no packages), and in the usual `cargo test`:
//! `make test-slurm` asks for it.

#![allow(clippy::print_stderr)]

mod lab;

use lab::chance::Chance;
use lab::cubes::{CUBES, Dataset};
use lab::slurm::{Cluster, SITE, is_left_out, kill_matching, matching, wait_until};
use lab::{Lab, Record, TINY};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn workflow() -> String {
    format!("{TINY}  score: {{ uses: baseline, needs: [cache], with: {{ method: mean_label }} }}\n")
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("site.yaml", SITE);
    lab
}

#[test]
fn two_nodes_make_the_bytes_of_one_machine_with_and_without_accounting() {
    if is_left_out() {
        return;
    }
    let here = lab();
    let expected = here.run(&workflow(), &["--executor", "here", "--threads", "2"], 0);
    for flags in [&[][..], &["--accounting"]] {
        let mut there = lab();
        let Some(cluster) = Cluster::up(&mut there, flags) else { return };
        let run = there.run(&workflow(), &["--site", "site.yaml"], 0);
        assert_eq!(run.digests(), expected.digests(), "{flags:?}");
        assert_eq!(run.stage("score")["maker"]["job"]["cluster"], "slurm");
        assert_eq!(cluster.jobs(), 0);
        let again = there.run(&workflow(), &["--site", "site.yaml"], 0);
        assert!(again.made().is_empty());
    }
}

#[test]
fn a_training_is_made_on_a_node_as_here() {
    if is_left_out() {
        return;
    }
    let here = lab();
    Dataset::write(&here.path("data"), 7, 0);
    let expected = here.run(CUBES, &["--executor", "here", "--threads", "2", "--device", "cpu"], 0);
    let mut there = lab();
    Dataset::write(&there.path("data"), 7, 0);
    let Some(_cluster) = Cluster::up(&mut there, &[]) else { return };
    let run = there.run(CUBES, &["--site", "site.yaml", "--device", "cpu"], 0);
    assert_eq!(run.digests(), expected.digests());
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics());
}

#[test]
fn a_training_longer_than_its_jobs_ends_with_the_bytes_of_one_that_was_never_stopped() {
    ends_at_limits(SITE);
}

#[test]
fn a_training_that_hears_of_its_limit_only_by_slurms_own_end_goes_on_too() {
    // A signal that does nothing takes the warning's place.
    ends_at_limits(&SITE.replace("lead: 30s", "lead: 30s, options: [\"--signal=B:URG@1\"]"));
}

/// Seconds that a training takes here, well over its jobs' limit of a minute: Slurm looks at limits
/// only now and then.
const TRAINING_SECONDS: f64 = 150.0;

/// The workflow with a training of so many epochs.
fn of_epochs(epochs: u64) -> String {
    CUBES
        .replace("epochs: 2", &format!("epochs: {epochs}"))
        .replace("validate_every: 1", "validate_every: 1000\n      checkpoint_every: 20")
}

/// A training whose jobs reach their limit has the bytes of one that was never stopped.
fn ends_at_limits(site: &str) {
    if is_left_out() {
        return;
    }
    let here = lab();
    Dataset::write(&here.path("data"), 7, 0);
    let flags = ["--executor", "here", "--threads", "2", "--device", "cpu"];
    let thousand = here.run(&of_epochs(1000), &flags, 0).stage("model")["seconds"].as_f64();
    let thousands = (TRAINING_SECONDS / thousand.unwrap()).ceil() as u64;
    let text = of_epochs(1000 * thousands);
    let expected = here.run(&text, &flags, 0);
    let mut there = lab();
    Dataset::write(&there.path("data"), 7, 0);
    let Some(_cluster) = Cluster::up(&mut there, &[]) else { return };
    // A minute for each job, half of it for the checkpoint.
    let site = site.replace("train: { cpus: 2,", "train: { partition: short, time: 1m, cpus: 2,");
    there.write("short.yaml", &site);
    let run = there.run(&text, &["--site", "short.yaml", "--device", "cpu"], 0);
    assert_eq!(run.digests(), expected.digests());
    let log = run.events();
    let resumed = log.iter().filter(|event| event["message"]["say"] == "resumed").count();
    let seconds = run.stage("model")["seconds"].as_f64().unwrap();
    eprintln!("{} epochs, {seconds} s, resumed {resumed} times", 1000 * thousands);
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

/// A program for each case, one for all, and what follows.
const PROGRAMS: &str = "name: programs
stages:
  dataset: { uses: folder, with: { path: data } }
  copied:
    uses: command
    needs: [dataset]
    with: { makes: dataset, each: case, shell: 'cat ${image} > ${output.image}' }
  counted:
    uses: command
    needs: [copied]
    with: { shell: 'ls ${inputs.dataset}/imagesTr | wc -l > ${output}/count' }
";

#[test]
fn programs_of_a_persons_own_run_in_jobs_and_end_with_them() {
    if is_left_out() {
        return;
    }
    let here = lab();
    Dataset::write(&here.path("data"), 4, 0);
    let expected = here.run(PROGRAMS, &["--executor", "here", "--threads", "2"], 0);
    let mut there = lab();
    Dataset::write(&there.path("data"), 4, 0);
    let Some(cluster) = Cluster::up(&mut there, &[]) else { return };
    there.write("site.yaml", &format!("{SITE}  command: {{ cpus: 1, memory: 500M }}\n"));
    cluster.count_submissions(&mut there);
    let run = there.run(PROGRAMS, &["--site", "site.yaml"], 0);
    assert_eq!(run.digests(), expected.digests());
    assert_eq!(run.items("copied"), (4, 0));
    assert!(Cluster::arrays(&there).contains(&2), "two cases a job: {:?}", Cluster::arrays(&there));
    let maker = &run.stage("counted")["maker"];
    assert_eq!(maker["job"]["cluster"], "slurm");
    assert!(maker["peak_rss_bytes"].as_f64().unwrap() > 1e5, "of the program: {maker}");
    assert!(there.run(PROGRAMS, &["--site", "site.yaml"], 0).made().is_empty());
    let fails = PROGRAMS.replace("ls ${inputs", "echo no luck; exit 4; ls ${inputs");
    let failed = there.run(&fails, &["--site", "site.yaml"], 1);
    let error = failed.stage("counted")["error"].as_str().unwrap().to_string();
    assert!(error.contains("exit code 4 (last words: no luck)"), "{error}");
    let hangs = PROGRAMS.replace("ls ${inputs", "setsid sleep 4242 & sleep 4243; ls ${inputs");
    there.write("workflow.yaml", &hangs);
    // The programs themselves, not those that name them in a line.
    let sleeping = || matching("sleep\x00424", "").len();
    let child = there.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    wait_until("the program to run", || sleeping() == 2);
    there.voxflow(&["stop", "latest", "--site", "site.yaml"]);
    child.wait_with_output().unwrap();
    wait_until("its processes to end", || sleeping() == 0);
    assert_eq!(cluster.jobs(), 0);
    let child = there.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    wait_until("the program to run again", || sleeping() == 2);
    // As a node that loses its power: the job's own process dies without a word.
    kill_matching("\0task\0", &there.path("").display().to_string());
    wait_until("its processes to end with it", || sleeping() < 2);
    there.voxflow(&["stop", "latest", "--site", "site.yaml"]);
    child.wait_with_output().unwrap();
    wait_until("all to end", || sleeping() == 0);
}

/// All that dies in these rounds.
const VICTIMS: [&str; 7] =
    ["n1", "slurmctld", "slurmdbd", "munged", "task", "slurmstepd", "voxflow"];

/// The files of attempts in a store.
fn attempts(store: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![store.join("attempts")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

/// Whatever is killed, the run ends as one that was not disturbed. `VOXFLOW_SLURM_ROUNDS` and
/// `VOXFLOW_SEED` set how often and how.
#[test]
fn daemons_jobs_and_the_orchestrator_may_die_at_any_moment() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("VOXFLOW_SLURM_ROUNDS").unwrap_or(6);
    let mut chance = Chance::of_the_environment("VOXFLOW_SEED");
    let seed = chance.seed;
    if is_left_out() {
        return;
    }
    let here = lab();
    let expected = here.run(&workflow(), &["--executor", "here", "--threads", "2"], 0);
    let mut lab = lab();
    let Some(cluster) = Cluster::up(&mut lab, &["--accounting"]) else { return };
    eprintln!("VOXFLOW_SEED={seed} VOXFLOW_SLURM_ROUNDS={rounds}");
    for round in 0..rounds {
        let home = format!("home-{round}");
        let flags = ["run", "workflow.yaml", "--site", "site.yaml", "--home", &home];
        lab.write("workflow.yaml", &workflow());
        let mut run = lab.spawn(&flags);
        std::thread::sleep(Duration::from_millis(chance.below(6000) as u64));
        let victim = VICTIMS[chance.below(VICTIMS.len())];
        match victim {
            "voxflow" => drop(run.kill()),
            "task" => kill_matching("\0task\0", &lab.path("").display().to_string()),
            "slurmstepd" => kill_matching("slurmstepd", ""),
            daemon => cluster.kill(daemon),
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
        assert_eq!(last.digests(), expected.digests(), "seed {seed}, round {round}, {victim}");
        let place = format!("seed {seed}, round {round}, {victim}");
        wait_until(&format!("{place}: no job is left"), || cluster.jobs() == 0);
        let own = lab.path("").display().to_string();
        wait_until(&format!("{place}: no process is left"), || {
            matching("\0task\0", &own).is_empty()
        });
        let left = attempts(&lab.path(&home).join("store-v1"));
        assert!(left.is_empty(), "{place}: {left:?}");
    }
}
