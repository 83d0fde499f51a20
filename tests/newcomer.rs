//! The first steps of someone new: a workflow written for their data, a run watched from another
//! shell, the manual.

mod lab;

use lab::Lab;
use lab::cubes::Dataset;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn a_new_workflow_for_a_task_is_right_and_is_not_written_over() {
    let lab = Lab::new();
    let shown = lab.voxflow(&["new", "spleen"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "spleen.yaml\n"), "{}", shown.err);
    assert!(shown.err.contains("41 labelled cases, 20 without"), "{}", shown.err);
    let checked = lab.voxflow(&["check", "spleen.yaml"]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    let again = lab.voxflow(&["new", "spleen"]);
    assert_eq!(again.code, 2);
    assert!(
        again.err.contains("'spleen.yaml' exists: name another file with --out"),
        "{}",
        again.err
    );
    let misspelt = lab.voxflow(&["new", "splen"]);
    assert!(
        misspelt.code == 2 && misspelt.err.contains("did you mean 'spleen'?"),
        "{}",
        misspelt.err
    );
    let tasks = lab.voxflow(&["new"]);
    assert_eq!(tasks.out.lines().count(), 12, "a head, a rule, ten tasks: {}", tasks.out);
}

#[test]
fn a_new_workflow_for_a_folder_runs_up_to_the_training() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 6, 1);
    fs::create_dir_all(lab.path("plain/scans")).expect("makes");
    fs::create_dir_all(lab.path("plain/masks")).expect("makes");
    for case in 0..6 {
        fs::copy(dataset.image(case), lab.path(&format!("plain/scans/p{case}_t1.nii.gz")))
            .expect("copies");
        fs::copy(dataset.label(case), lab.path(&format!("plain/masks/p{case}.nii.gz")))
            .expect("copies");
    }
    for (folder, out) in [("data", "listed.yaml"), ("plain", "found.yaml")] {
        let shown = lab.voxflow(&["new", folder, "--out", out]);
        assert_eq!((shown.code, shown.out.trim_end()), (0, out), "{}", shown.err);
        let run = lab.voxflow(&["run", out, "--until", "cache"]);
        assert_eq!(
            run.code,
            0,
            "{}\n{}",
            run.err,
            fs::read_to_string(lab.path(out)).expect("a draft")
        );
    }
    let text = fs::read_to_string(lab.path("found.yaml")).expect("a draft");
    assert!(
        text.contains("images: \"scans/{case}_t1.nii.gz\"")
            && text.contains("labels: \"masks/{case}.nii.gz\""),
        "{text}"
    );
    assert_eq!(lab.last_run().items("volumes").0 + lab.last_run().items("volumes").1, 6);
}

#[test]
fn the_demo_is_written_here_and_run_and_a_file_of_that_name_is_kept() {
    let lab = Lab::new();
    let small = ["demo", "--until", "split", "--set", "dataset.shape=[24,24,24]"];
    let first = lab.voxflow(&small);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.err.contains("the demo's workflow is in demo.yaml"), "{}", first.err);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workflows/demo.yaml");
    let shipped = fs::read(shipped).expect("the demo");
    assert_eq!(fs::read(lab.path("demo.yaml")).expect("a workflow"), shipped);
    assert_eq!(lab.last_run().value["workflow"], "demo");
    let again = lab.voxflow(&small);
    assert!(again.err.contains("2 reused") && !again.err.contains("is in demo.yaml"));
    lab.write("demo.yaml", "name: mine\n");
    let other = lab.voxflow(&small);
    assert_eq!(other.code, 2, "{}", other.err);
    assert!(other.err.contains("'demo.yaml' exists and is another workflow"), "{}", other.err);
    assert_eq!(fs::read_to_string(lab.path("demo.yaml")).expect("theirs"), "name: mine\n");
}

/// Two stages that take long enough to be watched.
const WATCHED: &str = "name: watched
stages:
  dataset: { uses: synthesize, with: { cases: 12, shape: [96, 96, 96] } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [4, 4, 4], intensity: { window: [-57, 164] } } }
";

#[test]
fn a_run_is_followed_from_another_shell_to_its_end() {
    let lab = Lab::new();
    lab.write("watched.yaml", WATCHED);
    let mut run = lab.spawn(&["run", "watched.yaml"]);
    lab.wait("the run's first line", |lab| {
        lab.runs().first().is_some_and(|run| run.join("events.jsonl").exists())
    });
    let shown = lab.voxflow(&["show", "latest", "--follow"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for words in
        ["run ", "watched", "volumes  preprocess  made in", "12 cases", "done in", "run folder:"]
    {
        assert!(shown.err.contains(words), "'{words}' in\n{}", shown.err);
    }
    assert!(run.wait().expect("ends").success());
    let after = lab.voxflow(&["show", "--follow", "--log-format", "json"]);
    let events = after
        .err
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        .count();
    assert_eq!(events, lab.last_run().events().len(), "a run that is over is told again");
}

#[test]
fn a_follower_says_when_the_runs_process_is_gone() {
    let lab = Lab::new();
    lab.write("watched.yaml", WATCHED);
    let mut run = lab.spawn(&["run", "watched.yaml"]);
    lab.wait("the run's first line", |lab| {
        lab.runs().first().is_some_and(|run| run.join("events.jsonl").exists())
    });
    let follower = lab.spawn(&["show", "latest", "--follow"]);
    std::thread::sleep(Duration::from_millis(300));
    run.kill().expect("kills");
    run.wait().expect("is dead");
    let shown = follower.wait_with_output().expect("ends");
    let words = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert_eq!(shown.status.code(), Some(1), "{words}");
    assert!(words.contains("is gone: the same 'voxflow run' continues its work"), "{words}");
}

#[test]
fn a_run_that_was_killed_is_interrupted_in_every_list() {
    let lab = Lab::new();
    lab.write("watched.yaml", WATCHED);
    let mut run = lab.spawn(&["run", "watched.yaml"]);
    lab.wait("a stage that has begun", |lab| {
        let text = |run: &std::path::PathBuf| std::fs::read_to_string(run.join("run.json"));
        lab.runs()
            .first()
            .and_then(|run| text(run).ok())
            .is_some_and(|text| text.contains("\"running\"") && text.contains("\"recipe\": {"))
    });
    let living = lab.voxflow(&["runs", "--format", "csv"]).out;
    assert!(living.contains(",running,"), "{living}");
    run.kill().expect("kills");
    run.wait().expect("is dead");
    for words in [&["runs"][..], &["show", "latest"], &["runs", "--format", "markdown"]] {
        let shown = lab.voxflow(words);
        assert!(shown.out.contains("interrupted: its process is gone"), "{words:?}: {}", shown.out);
    }
    for words in [&["runs", "--format", "csv"][..], &["show", "latest", "--format", "json"]] {
        let shown = lab.voxflow(words);
        assert!(shown.out.contains("interrupted"), "{words:?}: {}", shown.out);
        assert!(!shown.out.contains("running"), "{words:?}: {}", shown.out);
    }
    let shown = lab.voxflow(&["show", "latest", "--format", "json"]).out;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let stages = shown["record"]["stages"].as_array().expect("stages");
    let begun = stages.iter().filter(|stage| {
        stage["reason"].as_str().is_some_and(|reason| reason == "interrupted: its process is gone")
    });
    assert!(begun.count() > 0, "{shown}");
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let lab = Lab::new();
    let page = lab.voxflow(&["man"]);
    assert!(page.code == 0 && page.out.contains(".TH voxflow 1"), "{}", page.err);
    lab.voxflow(&["man", "--out", "man1"]);
    let help = lab.voxflow(&["--help"]).out;
    let commands =
        help.split_once("Commands:\n").expect("commands").1.split_once("\n\n").expect("an end").0;
    let named = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in
        named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help")
    {
        assert!(lab.path(&format!("man1/voxflow-{name}.1")).is_file(), "{name}");
    }
}

/// The exit code of the program whose reader goes away at once, and its errors.
fn into_a_closed_pipe(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = lab.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_reader_that_has_seen_enough_ends_no_command_with_an_error() {
    let lab = Lab::new();
    lab.run(lab::TINY, &[], 0);
    for words in [
        "kinds",
        "kinds train",
        "kinds --format json",
        "completions bash",
        "completions zsh",
        "man",
        "--help",
        "run --help",
        "runs",
        "show latest",
        "params workflow.yaml",
        "plan workflow.yaml",
        "check workflow.yaml --resolved",
        "path latest",
        "cache size",
        "doctor",
        "_complete 4 voxflow run workflow.yaml --set split.",
    ] {
        let arguments: Vec<&str> = words.split(' ').collect();
        let (code, errors) = into_a_closed_pipe(&lab, &arguments);
        assert!(!errors.contains("panicked") && !errors.contains("pipe"), "{words}: {errors}");
        assert!(matches!(code, Some(0 | 1)), "{words}: {code:?} {errors}");
    }
}

#[test]
fn a_list_for_people_is_at_most_100_columns_wide_off_a_terminal() {
    let shown = Lab::new().voxflow(&["kinds"]);
    let widest = shown.out.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}");
}

#[test]
fn bash_completes_settings_runs_and_stages_and_leaves_the_rest_to_the_script() {
    let lab = Lab::new();
    lab.run(lab::TINY, &[], 0);
    let completed = |words: &[&str]| {
        let script = "source <(voxflow completions bash)
            COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_LINE=\"$*\"; COMP_POINT=${#COMP_LINE}
            _voxflow_asked voxflow \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD-1]}\"
            printf '%s\\n' \"${COMPREPLY[@]}\"";
        let program = Path::new(env!("CARGO_BIN_EXE_voxflow")).parent().expect("a folder");
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
        let mut bash = Command::new("bash");
        bash.args(["-c", script, "bash"]).args(words).env("PATH", path);
        let output = bash.current_dir(lab.path("")).output().expect("bash");
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        found.lines().map(str::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        completed(&["voxflow", "run", "workflow.yaml", "--set", "dataset.unl"]),
        ["dataset.unlabelled="]
    );
    // As bash parts the words.
    assert_eq!(
        completed(&["voxflow", "run", "workflow.yaml", "--set", "volumes.crop_nonzero", "=", "t"]),
        ["true"]
    );
    assert_eq!(completed(&["voxflow", "show", "lat"]), ["latest"]);
    assert_eq!(completed(&["voxflow", "view", "latest/vol"]), ["latest/volumes"]);
    assert_eq!(completed(&["voxflow", "run", "workflow.yaml", "--only", "ca"]), ["cache"]);
    assert_eq!(completed(&["voxflow", "comple"]), ["completions"]);
}
