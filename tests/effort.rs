//! What a run costs that has nothing to do, counted and not timed: calls and bytes of the real
//! program, and how memory is asked for as stages and items become more. Seconds are for `make
//! bench-orchestrators`.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, TINY};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Counts what each thread asks for: a run that has nothing to make does its work in one.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

thread_local! {
    /// Requests and their bytes.
    static ASKED: Cell<[usize; 2]> = const { Cell::new([0, 0]) };
}

fn note(bytes: usize) {
    // A thread that ends may ask for memory when its variables are gone.
    let _ = ASKED.try_with(|asked| asked.set([asked.get()[0] + 1, asked.get()[1] + bytes]));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

/// What a process read and wrote.
#[derive(Debug)]
struct Calls {
    reads: u64,
    writes: u64,
    written: u64,
}

/// Runs a workflow that has been run, and counts what the program does; `None` where the kernel
/// does not count.
fn again(lab: &Lab, flags: &[&str]) -> Option<Calls> {
    let arguments: Vec<&str> =
        ["run", "workflow.yaml", "--quiet"].iter().chain(flags).copied().collect();
    let mut child = lab.spawn(&arguments);
    let pid = rustix::process::Pid::from_child(&child);
    // The process stays until it is waited for, and its numbers with it.
    let over = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), over).unwrap();
    let text = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero()));
    assert!(child.wait().unwrap().success());
    let run = lab.last_run();
    assert!(run.made().is_empty(), "{}", run.outcomes());
    let text = text.ok()?;
    let number = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(": ")?.1.trim().parse().ok()
    };
    Some(Calls { reads: number("syscr")?, writes: number("syscw")?, written: number("wchar")? })
}

/// A graph of `count` splits of one dataset.
fn graph(count: usize) -> String {
    let kind = "uses: split, needs: [d], with: { training: 2, validation: 1, testing: 1";
    let stages = (0..count).map(|number| format!("  s{number}: {{ {kind}, seed: {number} }} }}\n"));
    let source = "  d: { uses: synthesize, with: { cases: 4, shape: [16, 16, 16] } }\n".to_string();
    format!("name: graph\nstages:\n{source}{}", stages.collect::<String>())
}

/// `count` cached volumes.
fn volumes(count: usize) -> String {
    TINY.replace(
        "cases: 6, unlabelled: 1, shape: [24, 24, 24]",
        &format!("cases: {count}, shape: [16, 16, 16]"),
    )
    .replace("spacing: [12, 12, 12]", "spacing: [22, 22, 12]")
    .replace(
        "training: 3, validation: 1, testing: 2",
        &format!("training: {}, validation: 1, testing: 1", count - 2),
    )
}

#[test]
fn a_run_with_nothing_to_do_reads_and_writes_little() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let Some(calls) = again(&lab, &[]) else { return };
    assert!(calls.reads < 150 && calls.writes < 60 && calls.written < 100_000, "{calls:?}");
}

#[test]
fn a_run_with_nothing_to_do_opens_no_database_for_a_persons_own_files() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 1);
    // What has just been written may change unseen, and is not remembered.
    std::thread::sleep(Duration::from_millis(2100));
    lab.run(CUBES, &["--until", "cache"], 0);
    let database = lab.path(".voxflow/store-v1/index/db");
    fs::write(&database, "not a database").unwrap();
    again(&lab, &["--until", "cache"]);
    assert_eq!(
        fs::read_to_string(&database).unwrap(),
        "not a database",
        "whoever had opened it would have replaced it"
    );
}

#[test]
fn reading_and_writing_grow_with_the_stages_and_not_with_the_items() {
    let of = |workflow: &str| {
        let lab = Lab::new();
        lab.run(workflow, &[], 0);
        again(&lab, &[])
    };
    let (Some(few), Some(many)) = (of(&graph(20)), of(&graph(60))) else { return };
    let each = (many.reads + many.writes - few.reads - few.writes) as f64 / 40.0;
    assert!(each < 8.0, "{each} calls for each stage: {few:?}, {many:?}");
    let (Some(few), Some(many)) = (of(&volumes(5)), of(&volumes(25))) else { return };
    let more = many.reads + many.writes - few.reads - few.writes;
    assert!(more < 40, "{more} calls for twenty more volumes: {few:?}, {many:?}");
}

/// Requests for memory and their bytes in a run of the whole program, in this process.
fn requests(home: &Path, workflow: &Path) -> [usize; 2] {
    use clap::Parser;
    let words =
        ["voxflow", "run", workflow.to_str().unwrap(), "--quiet", "--home", home.to_str().unwrap()];
    let before = ASKED.get();
    let cli = voxflow::cli::Cli::parse_from(words);
    let voxflow::cli::Command::Run(run) = &cli.command else { panic!("is a run") };
    assert_eq!(run.run(&cli.globals).unwrap(), voxflow::error::Exit::Done);
    let after = ASKED.get();
    [after[0] - before[0], after[1] - before[1]]
}

/// Asserts that each costs about as much among many as among few.
fn grows_linearly(workflow: impl Fn(usize) -> String) {
    let counts = [20, 40, 160].map(|count| {
        let lab = Lab::new();
        let file = lab.write("workflow.yaml", &workflow(count));
        let home = lab.path(".voxflow");
        requests(&home, &file);
        requests(&home, &file)
    });
    for at in 0..2 {
        let [few, some, many] = counts.map(|count| count[at] as f64);
        let growth = (many - some) / 120.0 / ((some - few) / 20.0);
        assert!(growth < 1.5, "each costs {growth} times as much where there are more: {counts:?}");
    }
}

#[test]
fn memory_is_asked_for_as_often_for_each_stage_however_many_there_are() {
    grows_linearly(graph);
}

#[test]
fn memory_is_asked_for_as_often_for_each_volume_however_many_there_are() {
    grows_linearly(volumes);
}
