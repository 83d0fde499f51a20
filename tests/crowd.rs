//! Eight programs on one store and one home, some of them killed: the others end well and in time,
//! and what several want is made once. How many rounds is `VOXFLOW_TORTURE_ROUNDS`, the seed
//! `VOXFLOW_TORTURE_SEED`.

mod lab;

use lab::chance::Chance;
use lab::namespace::of_processes;
use lab::{Lab, TINY, tally};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CROWD: usize = 8;

/// Killed in each round, and replaced at once.
const KILLED: usize = 3;

/// More than any of them may take: beyond it they wait for each other.
const DEADLOCK: Duration = Duration::from_secs(180);

/// Long enough that kills find something to interrupt.
fn workflow() -> String {
    TINY.replace("cases: 6", "cases: 12")
        .replace("[24, 24, 24]", "[64, 64, 48]")
        .replace("training: 3", "training: 9")
}

/// The arguments of one of the crowd: all want the same volumes, in two versions, and most of the
/// rest.
fn arguments(number: usize) -> Vec<String> {
    let spacing = format!("volumes.spacing=[{0}, {0}, {0}]", 5 + number % 2);
    let candidates = format!("cache.background_above=0.{}", number % 3);
    ["run", "workflow.yaml", "--threads", "2", "--set", &spacing, "--set", &candidates]
        .map(String::from)
        .to_vec()
}

fn join(lab: &Lab, number: usize) -> Child {
    let arguments = arguments(number);
    lab.spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Waits for one of the crowd, which must end well.
fn survive(mut child: Child, since: Instant, seed: u64) {
    while child.try_wait().unwrap().is_none() {
        assert!(since.elapsed() < DEADLOCK, "still waiting after {DEADLOCK:?}, seed {seed}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "seed {seed}: {words}");
    assert!(!words.contains("damaged") && !words.contains("panic"), "seed {seed}: {words}");
}

/// How often each fingerprint was made, as the journals of all runs tell: stages and items.
fn makings(lab: &Lab) -> BTreeMap<String, usize> {
    let mut makings: BTreeMap<String, usize> = BTreeMap::new();
    for run in fs::read_dir(lab.path(".voxflow/runs")).unwrap().map(|run| run.unwrap().path()) {
        let journal = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
        // The last line of one that was killed may be torn.
        for event in
            journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        {
            let item = event["message"]["made"] == true;
            let stage = event["event"] == "stage_finished" && event["outcome"] == "made";
            let fingerprint =
                if item { &event["message"]["fingerprint"] } else { &event["fingerprint"] };
            if item || stage {
                *makings.entry(fingerprint.as_str().unwrap().to_string()).or_default() += 1;
            }
        }
    }
    makings
}

/// Asserts that nothing was made twice, and returns how many things were told as made.
fn made_once(lab: &Lab, seed: u64) -> usize {
    let makings = makings(lab);
    let twice: Vec<_> = makings.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "made more than once: {twice:?}, seed {seed}");
    makings.len()
}

fn entries(lab: &Lab) -> usize {
    let fans = fs::read_dir(lab.path(".voxflow/store-v1/entries")).unwrap();
    fans.map(|fan| fs::read_dir(fan.unwrap().path()).unwrap().count()).sum()
}

#[test]
fn eight_programs_share_a_store_and_make_each_thing_once() {
    let lab = Lab::new();
    lab.write("workflow.yaml", &workflow());
    let since = Instant::now();
    let crowd: Vec<Child> = (0..CROWD).map(|number| join(&lab, number)).collect();
    crowd.into_iter().for_each(|child| survive(child, since, 0));
    assert_eq!(made_once(&lab, 0), entries(&lab), "every entry has one maker");
    assert_eq!(lab.runs().len(), CROWD);
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0);
}

#[test]
fn some_of_a_crowd_are_killed_and_the_others_do_not_notice() {
    let mut chance = Chance::of_the_environment("VOXFLOW_TORTURE_SEED");
    let rounds = tally::wanted("VOXFLOW_TORTURE_ROUNDS", 1);
    let (mut joined, mut killed) = (0, 0);
    let started = Instant::now();
    for _ in 0..rounds {
        let lab = Lab::new();
        lab.write("workflow.yaml", &workflow());
        let since = Instant::now();
        let mut crowd: Vec<Child> = (0..CROWD).map(|number| join(&lab, number)).collect();
        for _ in 0..KILLED {
            std::thread::sleep(Duration::from_millis(chance.below(600) as u64));
            let number = chance.below(CROWD);
            let mut victim = std::mem::replace(&mut crowd[number], join(&lab, number));
            killed += usize::from(victim.try_wait().unwrap().is_none());
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        joined += CROWD + KILLED;
        crowd.into_iter().for_each(|child| survive(child, since, chance.seed));
        made_once(&lab, chance.seed);
        let verified = lab.voxflow(&["cache", "verify"]);
        assert_eq!(verified.code, 0, "{}, seed {}", verified.out, chance.seed);
        let drafts = fs::read_dir(lab.path(".voxflow/store-v1/drafts")).unwrap().count();
        assert_eq!(drafts, 0, "left-over drafts, seed {}", chance.seed);
    }
    let seconds = started.elapsed().as_secs();
    let words =
        format!("in crowds of {CROWD}, {killed} killed, in {seconds} s, seed {}", chance.seed);
    tally::tell("processes", joined, &words);
}

/// A program as process 1 of a container of its own, which dies with the child that is returned.
fn contained(lab: &Lab, wrapper: &[&str], number: usize) -> Child {
    let arguments = arguments(number);
    let inside = lab.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(inside.get_program()).args(inside.get_args());
    command
        .current_dir(lab.path(""))
        .env("NO_COLOR", "1")
        .env_remove("VOXFLOW_HOME")
        .env_remove("VOXFLOW_STORE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn programs_that_are_all_process_1_of_their_containers_keep_off_each_others_work() {
    let Some(wrapper) = of_processes() else { return };
    let mut chance = Chance::of_the_environment("VOXFLOW_TORTURE_SEED");
    let lab = Lab::new();
    lab.write("workflow.yaml", &workflow());
    let since = Instant::now();
    let mut crowd: Vec<Child> = (0..4).map(|number| contained(&lab, &wrapper, number)).collect();
    std::thread::sleep(Duration::from_millis(150 + chance.below(500) as u64));
    let mut victim = std::mem::replace(&mut crowd[0], contained(&lab, &wrapper, 4));
    victim.kill().unwrap();
    victim.wait().unwrap();
    crowd.into_iter().for_each(|child| survive(child, since, chance.seed));
    made_once(&lab, chance.seed);
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0, "seed {}", chance.seed);
    assert_eq!(
        fs::read_dir(lab.path(".voxflow/store-v1/drafts")).unwrap().count(),
        0,
        "seed {}",
        chance.seed
    );
    tally::tell(
        "processes",
        5,
        &format!("each process 1 of a container, 1 killed, seed {}", chance.seed),
    );
}
