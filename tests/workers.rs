//! The conversation with a worker, held against scripts that stand in for `voxflow-worker`:
//! replies, deaths, signals, and children that must not outlive their parent.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, TINY};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use voxflow_stages::protocol::{Build, WorkerLine};

/// What every script begins with: `$draft` is the folder to write into.
const HEAD: &str = "#!/bin/sh
draft=$(sed -n 's/^  \"draft\": \"\\(.*\\)\",$/\\1/p' \"$1\")
unfinished=$(sed -n 's/^  \"unfinished\": \"\\(.*\\)\",$/\\1/p' \"$1\")
";

fn lab(script: &str) -> Lab {
    let mut lab = Lab::new();
    let path = greeting_worker(&lab, script);
    lab.set("VOXFLOW_WORKER", path);
    lab
}

fn lab_without_hello(script: &str) -> Lab {
    let mut lab = Lab::new();
    let path = worker(&lab, script);
    lab.set("VOXFLOW_WORKER", path);
    lab
}

/// Writes a worker that says who it is and goes on with the script.
fn greeting_worker(lab: &Lab, script: &str) -> String {
    let hello = serde_json::to_string(&WorkerLine::Hello(Build::own())).unwrap();
    worker(lab, &format!("echo '{hello}'\n{script}"))
}

fn worker(lab: &Lab, script: &str) -> String {
    let path = lab.write("worker.sh", &format!("{HEAD}{script}"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn workflow() -> String {
    format!(
        "{TINY}  model: {{ uses: train, needs: [cache], with: {{ epochs: 1, patch: [16, 16, 16] }} }}\n"
    )
}

const DONE: &str = r#"
echo '{"line":"message","say":"device","name":"cpu","threads":3,"libtorch":"9.9"}'
echo '{"line":"message","say":"metric","metric":"loss","value":0.5,"epoch":1}'
echo '{"line":"message","say":"metric","metric":"train_seconds","value":7.0,"measured":true}'
echo '{"line":"message","say":"progress","done":1,"total":1,"unit":"epochs","numbers":[]}'
echo words that are no message
printf x > "$draft/model.json"; printf y > "$draft/best.safetensors"; printf z > "$draft/last.safetensors"
echo '{"line":"end","say":"done","adopted":{}}'
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
    let warning = |words: &str| {
        format!("echo '{{\"line\":\"message\",\"say\":\"warning\",\"words\":\"{words}\"}}'\n")
    };
    let told: String = ["case a: cut", "case b: cut", "slow disk"].map(warning).concat();
    let lab = lab(&format!("{told}{DONE}"));
    let grouped = serde_json::json!(["2 cases (a, b): cut", "slow disk"]);
    for outcome in ["made", "reused"] {
        let run = lab.run(&workflow(), &[], 0);
        assert_eq!(run.stage("model")["outcome"], outcome);
        assert_eq!(run.stage("model")["warnings"], grouped);
        let shown = lab.voxflow(&["show", "latest"]).out;
        assert!(shown.contains("warning: model: 2 cases (a, b): cut"), "{shown}");
        assert_eq!(lab.voxflow(&["report", "latest"]).code, 0);
        let page = fs::read_to_string(run.folder.join("report.html")).unwrap();
        assert!(page.contains("Warnings</h2>") && page.contains("2 cases (a, b): cut"));
        let card = fs::read_to_string(run.folder.join("MODEL_CARD.md")).unwrap();
        assert!(card.contains("## Warnings") && card.contains("`model`: slow disk"), "{card}");
    }
}

#[test]
fn a_failure_is_told_in_the_workers_own_words() {
    let lab = lab(r#"echo "a line for the log" >&2
echo '{"line":"end","say":"failed","error":"loss is NaN in epoch 3","stopped":false,"storage":false,"cases":[]}'; exit 1"#);
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
    let script = r#"echo '{"line":"end","say":"failed","error":"no space","stopped":false,"storage":true,"cases":[]}'; exit 1"#;
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
trap 'echo kept > "$unfinished/checkpoint"; echo "{\"line\":\"end\",\"say\":\"failed\",\"error\":\"stopped\",\"stopped\":true,\"storage\":false,\"cases\":[]}"; exit 0' TERM
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
    use Signal as S;
    for signal in [S::INT, S::TERM, S::HUP, S::XCPU, S::USR1, S::USR2] {
        let lab = lab(PATIENT);
        lab.write("w.yaml", &workflow());
        let child = lab.spawn(&["run", "w.yaml"]);
        worker_pid(&lab);
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
        let run = lab.last_run();
        assert_eq!(run.value["outcome"], "interrupted");
        assert_eq!(run.stage("model")["outcome"], "interrupted");
        let reason = run.stage("model")["reason"].as_str().unwrap_or_default().to_string();
        assert!(reason.ends_with("what was finished is kept"), "{reason}");
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

#[test]
fn a_hang_up_asks_once_however_often_it_comes_and_not_under_nohup() {
    let lab = lab(&PATIENT.replace("trap '", "trap 'sleep 0.5; "));
    lab.write("w.yaml", &workflow());
    let child = lab.spawn(&["run", "w.yaml"]);
    worker_pid(&lab);
    let program = Pid::from_raw(child.id() as i32).unwrap();
    for _ in 0..2 {
        kill_process(program, Signal::HUP).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(lab.last_run().value["outcome"], "interrupted");
    fs::remove_file(pid_file(&lab)).unwrap();

    let command = lab.command(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" run w.yaml 2> err.txt"]);
    shell.arg(command.get_program()).current_dir(lab.path(""));
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.spawn().unwrap();
    let worker = worker_pid(&lab);
    let program = Pid::from_raw(child.id() as i32).unwrap();
    kill_process(program, Signal::HUP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && test_kill_process(worker).is_ok());
    kill_process(program, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

// The program aborts where its terminal is gone while it draws; SIGHUP alone is handled (above).
#[test]
fn a_run_whose_terminal_is_closed_keeps_its_state_and_says_how_it_ended() {
    let lab = lab(PATIENT);
    lab.write("w.yaml", &workflow());
    let is_working = || fs::read_to_string(pid_file(&lab)).is_ok_and(|text| text.ends_with('\n'));
    let status = lab::pty::hang_up(&lab, &["run", "w.yaml"], is_working);
    assert_eq!(status.code(), Some(130), "{status:?}");
    let run = lab.last_run();
    assert_eq!(run.value["outcome"], "interrupted");
    let fingerprint = run.fingerprint("model");
    let kept = format!(".voxflow/store-v1/unfinished/{}/{fingerprint}", &fingerprint[..2]);
    assert!(lab.path(&kept).join("checkpoint").is_file());
}

/// The letter of a process's state; `T` is stopped.
fn state(pid: Pid) -> char {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    text.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn what_suspends_and_continues_a_run_does_so_to_its_worker_and_the_workers_children() {
    // Plain children: a shell that is stopped amid a vfork shows D and not T.
    let script = PATIENT.replace("while true; do sleep 0.05; done", "wait").replace(
        "echo $$ >",
        "sleep 60 > /dev/null & echo $! > \"$unfinished/../../child\"; echo $$ >",
    );
    let lab = lab(&script);
    lab.write("w.yaml", &workflow());
    let child = lab.spawn(&["run", "w.yaml"]);
    let worker = worker_pid(&lab);
    let text = fs::read_to_string(pid_file(&lab).with_file_name("child")).unwrap();
    let grandchild = Pid::from_raw(text.trim().parse().unwrap()).unwrap();
    let program = Pid::from_raw(child.id() as i32).unwrap();
    let family = [program, worker, grandchild];
    for signal in [Signal::TSTP, Signal::TTOU, Signal::TTIN] {
        kill_process(program, signal).unwrap();
        lab.wait("all to stand still", |_| family.iter().all(|pid| state(*pid) == 'T'));
        kill_process(program, Signal::CONT).unwrap();
        lab.wait("all to go on", |_| family.iter().all(|pid| state(*pid) != 'T'));
    }
    kill_process(program, Signal::TSTP).unwrap();
    lab.wait("all to stand still", |_| family.iter().all(|pid| state(*pid) == 'T'));
    kill_process(program, Signal::TERM).unwrap();
    kill_process(program, Signal::CONT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    kill_process(grandchild, Signal::KILL).ok();
}

/// Runs the workflow with a worker that must fail, and gives the error of its last stage.
fn error_of(lab: &Lab, workflow: &str) -> String {
    let run = lab.run(workflow, &[], 1);
    let stage = run.value["stages"].as_array().unwrap().last().unwrap();
    assert_eq!((&stage["outcome"], &stage["artifact"]), (&"failed".into(), &().into()));
    stage["error"].as_str().unwrap().to_string()
}

#[test]
fn a_worker_that_says_done_without_its_files_has_failed() {
    for file in ["model.json", "best.safetensors", "last.safetensors"] {
        let mut lab = lab(&DONE.replace(&format!("/{file}\""), "/other\""));
        let error = error_of(&lab, &workflow());
        assert!(
            error.contains(&format!("kind 'train' ended without its file '{file}'")),
            "{error}"
        );
        let whole = greeting_worker(&lab, DONE);
        lab.set("VOXFLOW_WORKER", whole);
        assert_eq!(lab.run(&workflow(), &[], 0).stage("model")["outcome"], "made");
    }
    let lab = lab(r#"echo '{"line":"end","say":"done","adopted":{}}'"#);
    assert!(error_of(&lab, &workflow()).contains("without its file 'model.json'"));
}

#[test]
fn a_worker_of_another_build_is_told_apart_before_it_makes_anything() {
    let own = Build::own();
    let mut kinds = own.kinds.clone();
    kinds.insert("train".into(), 2);
    let [none, other] =
        [0, 9].map(|number| format!("speaks protocol {number}, not {}", own.protocol));
    let others = [
        (None, none.as_str()),
        (Some(Build { protocol: 9, ..own.clone() }), other.as_str()),
        (Some(Build { version: "0.0.1".into(), ..own.clone() }), "is version 0.0.1, not"),
        (Some(Build { kinds, ..own.clone() }), "makes version 2 of 'train', not"),
        (Some(Build { build: "0123".into(), ..own }), "is build 0123, not"),
    ];
    for (build, words) in others {
        let hello = build.map_or(String::new(), |build| {
            format!("echo '{}'\n", serde_json::to_string(&WorkerLine::Hello(build)).unwrap())
        });
        let lab = lab_without_hello(&format!("{hello}{DONE}sleep 100"));
        let error = error_of(&lab, &workflow());
        let wanted = [words, "worker.sh' ", "'cargo build' builds both programs"];
        assert!(wanted.iter().all(|words| error.contains(words)), "{error}");
        assert!(lab.last_run().metrics().is_empty(), "nothing that it says counts");
    }
}

/// A workflow that predicts, with a script for the worker: `say` answers for its first item, whose
/// recipe names the first image.
fn predicting(say: &str, kind: &str, version: u32) -> (Lab, Dataset) {
    let mut lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 1);
    let image = lab.path("data/imagesTs/case_07.nii.gz");
    let digest = voxflow_cache::Digest::of(&fs::read(&image).unwrap()).to_hex();
    let script = format!(
        r#"case "$(grep -c '"kind": "train"' "$1")" in 1) {DONE} exit 0;; esac
image='{}'
make() {{ read line; folder=$(echo "$line" | sed 's/.*"folder":"\([^"]*\)".*/\1/'); }}
made() {{ echo '{{"line":"request","ask":"made","id":0,"failed":null}}'; }}
echo '{{"line":"request","ask":"recall","id":0,"name":"case_07","recipe":{{"kind":"{kind}","version":{version},"params":null,"inputs":{{"image0":"{digest}"}}}}}}'
{say}
read line; echo "$line" >&2
mkdir "$draft/predictions"; echo x > "$draft/predictions/a.nii.gz"; echo '[]' > "$draft/predictions.json"
echo '{{"line":"end","say":"done","adopted":{{}}}}'"#,
        image.display()
    );
    let path = greeting_worker(&lab, &script);
    lab.set("VOXFLOW_WORKER", path);
    (lab, data)
}

const PREDICT: &str = "  labels: { uses: predict, needs: [dataset, model] }\n";

/// What the worker's log says in the end of such a run.
fn heard(say: &str, kind: &str, version: u32) -> String {
    let (lab, _) = predicting(say, kind, version);
    let workflow = format!("{}{PREDICT}", CUBES.split("  score:").next().unwrap());
    let run = lab.run(&workflow, &[], 0);
    fs::read_to_string(run.folder.join("log.txt")).unwrap()
}

const MADE: &str = r#"echo x > "$folder/labels.nii.gz"; echo '{}' > "$folder/facts.json"; made"#;

#[test]
fn an_item_of_a_worker_is_kept_if_it_is_whole_and_of_the_stages_kind_and_version() {
    let version = Build::own().kinds["predict"];
    let log = heard(&format!("make; {MADE}"), "predict/image", version);
    assert!(log.contains(r#""answer":"found""#), "{log}");
    let log = heard("make; made", "predict/image", version);
    assert!(log.contains("'predict/image' was made without its file 'labels.nii*'"), "{log}");
    for (kind, version) in [("predict/image", version + 1), ("preprocess/volume", version)] {
        let log = heard("", kind, version);
        assert!(log.contains(&format!("asks for version {version} of '{kind}'")), "{log}");
    }
}

#[test]
fn an_item_whose_image_is_written_meanwhile_is_made_again_and_never_of_other_bytes() {
    let version = Build::own().kinds["predict"];
    let again = format!(
        "make; touch \"$image\"; echo y > \"$folder/stray\"; {MADE}\nmake; ls \"$folder\" >&2; {MADE}"
    );
    let log = heard(&again, "predict/image", version);
    assert!(log.contains(r#""answer":"found""#) && !log.contains("stray"), "{log}");
    let log = heard(&format!("make; echo x >> \"$image\"; {MADE}"), "predict/image", version);
    assert!(log.contains("case_07.nii.gz: was changed during the run"), "{log}");
    let log = heard(
        r#"make; echo x >> "$image"; echo '{"line":"request","ask":"made","id":0,"failed":{"say":"failed","error":"bad","stopped":false,"storage":false,"cases":[]}}'"#,
        "predict/image",
        version,
    );
    assert!(log.contains("case_07.nii.gz: was changed during the run"), "not 'bad': {log}");
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
