//! How a program ends: by itself, at its limits, or with its run; nothing of it is left.

use super::lab::Lab;
use super::lab::leftovers::{assert_clean, processes};
use super::{SLOW, fails, lab};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

#[test]
fn a_failing_program_ends_in_one_line_with_its_last_words_and_its_output_is_kept() {
    let words = ["exit code 3 (last words: no such case)", "its output is in", "log.txt"];
    let err = fails("shell: 'echo first; echo no such case >&2; exit 3'", &words);
    assert!(err.contains("first"), "its output is shown: {err}");
    fails("run: [no-such-program]", &["'no-such-program' is not found on the PATH", "install it"]);
    fails("run: [/no/program]", &["'/no/program' is not there"]);
    fails("shell: 'no-such-program'", &["does not find a program"]);
    fails("shell: 'kill -11 $$'", &["died of signal 11"]);
    fails("shell: 'kill -9 $$'", &["was killed (SIGKILL)", "resources: { memory: 32G }"]);
    fails(
        "shell: 'ln -s /etc/passwd ${output}/x'",
        &["'x' as a symbolic link; write a plain file"],
    );
    fails("shell: ':'", &["without any file, and files needs it: it wrote nothing"]);
}

#[test]
fn a_hanging_a_flooding_and_a_memory_eating_program_are_ended_at_their_limits() {
    fails(
        "shell: 'echo waiting; sleep 300 | cat', max_hours: 0.0002",
        &["its 'max_hours'", "waiting"],
    );
    fails("shell: 'yes', max_output_mib: 1", &["more than 1 MiB of output, its 'max_output_mib'"]);
    let eater = "import time
kept = []
for _ in range(60):
    kept.append(bytearray(20 << 20))
    time.sleep(0.05)
";
    let eats = format!("max_gib: 0.25, run: [python3, -c, {}]", serde_json::json!(eater));
    fails(&eats, &["more than 0.25 GiB of memory, its 'max_gib'"]);
}

#[test]
fn a_forking_program_is_ended_and_so_is_what_it_leaves_behind() {
    let forks = "shell: 'for i in $(seq 60); do setsid sleep 300 & done; wait', max_processes: 20";
    fails(forks, &["more than 20 processes, its 'max_processes'"]);
    let leaves = "shell: 'setsid sleep 300 & sleep 301 & echo x > ${output}/x'";
    fails(leaves, &["left processes behind (2 sleep), which were ended; have it wait for them"]);
}

#[test]
fn a_killed_run_takes_its_programs_along_and_the_next_goes_on_where_it_was() {
    let lab = lab();
    lab.write("slow.yaml", SLOW);
    let arguments = ["run", "slow.yaml", "--threads", "1"];
    let entries = |lab: &Lab| {
        let log = lab.path(".voxflow/store-v1/entries");
        let found = fs::read_dir(log).into_iter().flatten().flatten();
        found.map(|entry| fs::read_dir(entry.path()).unwrap().count()).sum::<usize>()
    };
    let mut child = lab.spawn(&arguments);
    lab.wait("two cases", |lab| entries(lab) >= 3);
    lab.wait("a program", |lab| processes(lab).len() > 2);
    child.kill().unwrap();
    child.wait().unwrap();
    lab.wait("its programs to end", |lab| processes(lab).is_empty());
    let shown = lab.voxflow(&arguments);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let (made, reused) = lab.last_run().items("slow");
    assert!(made + reused == 5 && (1..=3).contains(&made), "{made} made, {reused} reused");
    assert_clean(&lab);
}

#[test]
fn a_stopped_run_asks_its_programs_and_keeps_finished_cases() {
    let lab = lab();
    lab.write("slow.yaml", SLOW);
    let child = lab.spawn(&["run", "slow.yaml", "--threads", "2"]);
    lab.wait("a program", |lab| processes(lab).len() > 2);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_clean(&lab);
}
