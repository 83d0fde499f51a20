//! The conversation with a worker, held against scripts that stand in for `voxflow-worker`:
//! replies, deaths, signals, and children that must not outlive their parent.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, TINY};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What every script begins with: `$draft` is the folder to write into.
const HEAD: &str = "#!/bin/sh
draft=$(sed -n 's/^  \"draft\": \"\\(.*\\)\",$/\\1/p' \"$1\")
unfinished=$(sed -n 's/^  \"unfinished\": \"\\(.*\\)\",$/\\1/p' \"$1\")
";

fn lab(script: &str) -> Lab {
    let mut lab = Lab::new();
    let path = lab.write("worker.sh", &format!("{HEAD}{script}"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    lab.set("VOXFLOW_WORKER", path.display().to_string());
    lab
}

fn workflow() -> String {
    format!(
        "{TINY}  model: {{ uses: train, needs: [cache], with: {{ epochs: 1, patch: [16, 16, 16] }} }}\n"
    )
}

const DONE: &str = r#"
echo '{"say":"device","name":"cpu","threads":3,"libtorch":"9.9"}'
echo '{"say":"metric","metric":"loss","value":0.5,"epoch":1}'
echo '{"say":"metric","metric":"train_seconds","value":7.0,"measured":true}'
echo '{"say":"progress","done":1,"total":1,"unit":"epochs","numbers":[]}'
echo words that are no message
printf x > "$draft/model.json"; printf y > "$draft/best.safetensors"; printf z > "$draft/last.safetensors"
echo '{"say":"done","adopted":{}}'
"#;

#[test]
fn what_a_worker_makes_and_says_is_kept_and_told_again() {
    let lab = lab(DONE);
    let first = lab.run(&workflow(), &[], 0);
    assert_eq!(first.stage("model")["outcome"], "made");
    assert_eq!(first.stage("model")["maker"]["versions"]["libtorch"], "9.9");
    assert_eq!(
        fs::read_to_string(first.folder.join("outputs/model/best.safetensors")).unwrap(),
        "y"
    );
    assert_eq!(first.metrics().len(), 1);
    let second = lab.run(&workflow(), &[], 0);
    assert_eq!(second.stage("model")["outcome"], "reused");
    assert_eq!(second.metrics(), first.metrics());
    assert_eq!(second.stage("model")["maker"]["threads"], 3);
}

#[test]
fn warnings_are_recorded_and_told_again_where_the_stage_is_reused() {
    let warning = |words: &str| format!("echo '{{\"say\":\"warning\",\"words\":\"{words}\"}}'\n");
    let told: String = ["case a: cut", "case b: cut", "slow disk"].map(warning).concat();
    let lab = lab(&format!("{told}{DONE}"));
    let grouped = serde_json::json!(["2 cases (a, b): cut", "slow disk"]);
    for outcome in ["made", "reused"] {
        let run = lab.run(&workflow(), &[], 0);
        assert_eq!(run.stage("model")["outcome"], outcome);
        assert_eq!(run.stage("model")["warnings"], grouped);
        let shown = lab.voxflow(&["show", "latest"]).out;
        assert!(shown.contains("warning: model: 2 cases (a, b): cut"), "{shown}");
        let page = fs::read_to_string(run.folder.join("report.html")).unwrap();
        assert!(page.contains("Warnings</h2>") && page.contains("2 cases (a, b): cut"));
        let card = fs::read_to_string(run.folder.join("MODEL_CARD.md")).unwrap();
        assert!(card.contains("## Warnings") && card.contains("`model`: slow disk"), "{card}");
    }
}

#[test]
fn a_failure_is_told_in_the_workers_own_words() {
    let lab = lab(r#"echo "a line for the log" >&2
echo '{"say":"failed","error":"loss is NaN in epoch 3","stopped":false,"storage":false,"cases":[]}'; exit 1"#);
    let run = lab.run(&workflow(), &[], 1);
    assert_eq!(run.stage("model")["error"], "loss is NaN in epoch 3");
    assert!(fs::read_to_string(run.folder.join("log.txt")).unwrap().contains("a line for the log"));
}

#[test]
fn a_worker_that_dies_says_nothing_but_the_run_does() {
    for (script, words) in
        [("kill -9 $$", "memory ran out"), ("exit 7", "exit code 7"), ("kill -6 $$", "signal 6")]
    {
        let lab = lab(script);
        let run = lab.run(&workflow(), &[], 1);
        let error = run.stage("model")["error"].as_str().unwrap().to_string();
        assert!(error.contains(words) && error.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_full_disk_in_a_worker_is_exit_code_3() {
    let script = r#"echo '{"say":"failed","error":"no space","stopped":false,"storage":true,"cases":[]}'; exit 1"#;
    lab(script).run(&workflow(), &[], 3);
}

#[test]
fn a_missing_worker_is_noticed_before_any_work() {
    let mut lab = Lab::new();
    lab.set("VOXFLOW_WORKER", "/nowhere/worker");
    lab.write("w.yaml", &workflow());
    let shown = lab.voxflow(&["run", "w.yaml"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("'/nowhere/worker' is not there"), "{}", shown.err);
    assert!(lab.runs().is_empty());
}

/// Works until it is told to stop, and keeps a checkpoint then.
const PATIENT: &str = r#"
mkdir -p "$unfinished"
trap 'echo kept > "$unfinished/checkpoint"; echo "{\"say\":\"failed\",\"error\":\"stopped\",\"stopped\":true,\"storage\":false,\"cases\":[]}"; exit 0' TERM
echo $$ > "$unfinished/../../pid"
while true; do sleep 0.05; done
"#;

fn pid_file(lab: &Lab) -> std::path::PathBuf {
    lab.path(".voxflow/store-v1/unfinished/pid")
}

fn worker_pid(lab: &Lab) -> Pid {
    lab.wait("the worker", |lab| {
        fs::read_to_string(pid_file(lab)).is_ok_and(|text| text.ends_with('\n'))
    });
    let text = fs::read_to_string(pid_file(lab)).unwrap();
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

#[test]
fn the_first_signal_lets_a_worker_keep_its_state() {
    for signal in [Signal::INT, Signal::TERM] {
        let lab = lab(PATIENT);
        lab.write("w.yaml", &workflow());
        let child = lab.spawn(&["run", "w.yaml"]);
        worker_pid(&lab);
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        let run = lab.last_run();
        assert_eq!(run.value["outcome"], "interrupted");
        assert_eq!(run.stage("model")["outcome"], "skipped");
        let fingerprint = run.fingerprint("model");
        let kept =
            format!(".voxflow/store-v1/unfinished/{}/{fingerprint}/checkpoint", &fingerprint[..2]);
        assert!(lab.path(&kept).is_file(), "the unfinished state outlives the run");
    }
}

#[test]
fn the_second_signal_ends_everything_at_once() {
    let lab = lab(&PATIENT.replace("exit 0' TERM", "' TERM"));
    lab.write("w.yaml", &workflow());
    let child = lab.spawn(&["run", "w.yaml"]);
    let worker = worker_pid(&lab);
    let program = Pid::from_raw(child.id() as i32).unwrap();
    kill_process(program, Signal::INT).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(test_kill_process(worker).is_ok(), "this worker does not stop when asked");
    kill_process(program, Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    lab.wait("the end of the worker", |_| test_kill_process(worker).is_err());
}

#[test]
fn no_worker_outlives_its_parent() {
    let lab = lab(PATIENT);
    lab.write("w.yaml", &workflow());
    let mut child = lab.spawn(&["run", "w.yaml"]);
    let worker = worker_pid(&lab);
    child.kill().unwrap();
    child.wait().unwrap();
    lab.wait("the end of the worker", |_| test_kill_process(worker).is_err());
    assert_eq!(lab.last_run().value["outcome"], "running", "as far as its record knows");
}

/// A workflow that trains in a moment, with the real worker, which breaks as `VOXFLOW_WORKER_FAULT`
/// says.
fn broken(lab: &mut Lab, fault: &str, flags: &[&str]) -> (String, String) {
    lab.set("VOXFLOW_WORKER_FAULT", fault);
    let run = lab.run(CUBES, flags, 1);
    lab.set("VOXFLOW_WORKER_FAULT", "");
    let failed = run.value["stages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|stage| stage["outcome"] == "failed")
        .unwrap();
    (failed["stage"].as_str().unwrap().to_string(), failed["error"].as_str().unwrap().to_string())
}

#[test]
fn what_breaks_in_a_worker_is_told_with_the_stage_the_case_and_the_way_out() {
    let mut lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let remedy = "lower 'patch', 'patches_per_volume'";
    for (fault, words) in [
        ("memory", ["memory ran out", remedy]),
        ("libtorch", ["libtorch: shape '[3]' is invalid", ""]),
        ("panic", ["the worker broke (panic): a test asked for it", ""]),
        ("kill", ["was killed (SIGKILL); most likely memory ran out", remedy]),
    ] {
        let (stage, error) = broken(&mut lab, fault, &["--threads", "1"]);
        assert_eq!(stage, "model", "{fault}");
        assert!(words.iter().all(|words| error.contains(words)), "{fault}: {error}");
        assert!(error.lines().count() == 1 && !error.contains("frame #"), "{fault}: {error}");
    }
    lab.run(CUBES, &["--threads", "1"], 0);
    let (stage, error) =
        broken(&mut lab, "memory", &["--threads", "1", "--set", "final.tolerance_mm=3"]);
    assert_eq!(stage, "final");
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "2 cases could not be done:"), "{error}");
    assert!(
        lines[1..].iter().all(|line| line.contains("case_") && line.contains("memory ran out")),
        "{error}"
    );
}
