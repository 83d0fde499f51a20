//! Commands in containers: the command line, the image by its digest, and the end of everything,
//! with a stand-in engine.

#![allow(clippy::print_stderr)]

#[path = "../lab/mod.rs"]
mod lab;
mod real_engine;

use lab::cubes::Dataset;
use lab::leftovers::{assert_clean, processes};
use lab::{Lab, Record};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/containers/engine.py");

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// A lab with a stand-in for an engine, and the daemon of one that has it.
struct Engine {
    lab: Lab,
    daemon: Option<Child>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.kill().ok();
            daemon.wait().ok();
        }
    }
}

impl Engine {
    fn new(name: &str) -> Engine {
        let mut lab = Lab::new();
        let program = lab.write(&format!("engines/{name}"), &script());
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        lab.set("PATH", format!("{}:/usr/bin:/bin", lab.path("engines").display()));
        lab.set("VOXFLOW_CONTAINER_ENGINE", name);
        lab.set("XDG_CACHE_HOME", lab.path("cache").display().to_string());
        Dataset::write(&lab.path("data"), 3, 0);
        let daemon = (name != "apptainer").then(|| {
            let mut daemon = Command::new(&program);
            daemon.arg("daemon").env_clear().env("PATH", "/usr/bin:/bin");
            daemon.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
        });
        let engine = Engine { lab, daemon };
        if engine.daemon.is_some() {
            engine.lab.wait("the daemon", |lab| lab.path("engines/daemon").exists());
        }
        engine.has("images.json", &[]);
        engine
    }

    /// Says which images are on this machine, or in the registry.
    fn has(&self, file: &str, images: &[(String, String)]) {
        let known: serde_json::Map<String, Value> =
            images.iter().map(|(name, said)| (name.clone(), json!(said))).collect();
        self.lab.write(&format!("engines/{file}"), &Value::from(known).to_string());
    }

    /// The calls so far, a line each.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.lab.path("engines/calls.jsonl")).unwrap_or_default();
        let calls = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let words = calls.map(|call| {
            let words = call["words"].as_array().unwrap().iter();
            words.map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        });
        words.collect()
    }

    fn containers(&self) -> usize {
        fs::read_dir(self.lab.path("engines/containers")).unwrap().count()
    }
}

/// The stand-in with the interpreter of this machine: its `PATH` is a test's own.
fn script() -> String {
    format!("#!/usr/bin/env python3\n{}", fs::read_to_string(STAND_IN).unwrap())
}

/// A workflow of one program over a dataset.
fn workflow(with: &str) -> String {
    format!(
        "name: one
stages:
  dataset: {{ uses: folder, with: {{ path: data }} }}
  own: {{ uses: command, needs: [dataset], with: {{ {with} }} }}
"
    )
}

fn docker() -> Engine {
    let engine = Engine::new("docker");
    let image = named("lab/tools", 'a');
    engine.has("images.json", &[(image.clone(), image)]);
    engine
}

/// The name with a digest.
fn named(name: &str, letter: char) -> String {
    format!("{name}@{}", digest(letter))
}

fn image_a() -> String {
    format!("container: 'docker://lab/tools@{}'", digest('a'))
}

fn error(run: &Record) -> String {
    run.stage("own")["error"].as_str().unwrap().to_string()
}

#[test]
fn a_program_in_a_container_has_the_paths_the_values_and_little_of_the_environment() {
    let mut engine = docker();
    engine.lab.set("LICENSE_FILE", "/opt/license");
    engine.lab.set("SECRET_THING", "hidden");
    engine.lab.write(
        "see.py",
        "import json, os, sys
v = json.load(open(os.environ['VOXFLOW_VARIABLES']))
names = sorted(os.listdir(v['inputs.dataset']))
seen = {'words': sys.argv[1:], 'env': dict(os.environ), 'here': os.getcwd(), 'names': names}
json.dump(seen, open(v['output'] + '/seen.json', 'w'))
",
    );
    let with = format!(
        "{}, scripts: {{ see: see.py }}, params: {{ rate: 0.5 }}, environment: {{ MODE: fast }}, \
         pass_environment: [LICENSE_FILE], run: [python3, '${{scripts.see}}', '${{params.rate}}']",
        image_a()
    );
    let run = engine.lab.run(&workflow(&with), &[], 0);
    let seen = fs::read(run.folder.join("outputs/own/seen.json")).unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert_eq!((&seen["words"], &seen["names"][0]), (&json!(["0.5"]), &json!("dataset.json")));
    let env = &seen["env"];
    assert_eq!((&env["MODE"], &env["LICENSE_FILE"]), (&"fast".into(), &"/opt/license".into()));
    assert_eq!(env["HOME"], seen["here"]);
    assert_eq!(env["PATH"], "/usr/bin:/bin", "the image's own");
    assert!(env["SECRET_THING"].is_null() && env["VIRTUAL_ENV"].is_null(), "{env}");
    let calls = engine.calls();
    let line = calls.iter().find(|call| call.starts_with("run ")).expect("a call");
    let user = fs::metadata(engine.lab.path("see.py")).unwrap().uid();
    let script = engine.lab.path("see.py").display().to_string();
    let data = fs::canonicalize(engine.lab.path("data")).unwrap();
    for part in [
        "--rm --init --pull never --name voxflow-",
        "--network none",
        "--cap-drop all --security-opt no-new-privileges",
        &format!("--mount type=bind,src={script},dst={script},ro"),
        &format!("src={},dst={},ro", data.display(), data.display()),
        &format!("--user {user}:"),
        "--env LICENSE_FILE",
        "--env VOXFLOW_PARAMS_RATE",
        &format!("--entrypoint python3 lab/tools@{} {script} 0.5", digest('a')),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("/opt/license"), "values stand in no command line: {line}");
    let maker = &run.stage("own")["maker"];
    assert!(maker["peak_rss_bytes"].as_f64().unwrap() > 0.0, "{maker}");
    assert_clean(&engine.lab);
    assert_eq!(engine.containers(), 0);
}

#[test]
fn an_image_is_known_by_its_digest_wherever_it_comes_from() {
    let engine = docker();
    let images = [named("lab/tools", 'a'), named("mirror.org/tools", 'a'), named("lab/tools", 'b')];
    engine.has("images.json", &images.map(|name| (name.clone(), name)));
    let run = |name: String, more: &str| {
        let with = format!("container: 'docker://{name}', shell: 'echo x > ${{output}}/x'{more}");
        let run = engine.lab.run(&workflow(&with), &[], 0);
        run.made().contains(&"own")
    };
    assert!(run(named("lab/tools", 'a'), ""));
    assert!(!run(named("mirror.org/tools", 'a'), ""), "the same image from elsewhere");
    assert!(!run(named("lab/tools:2.5", 'a'), ", gpu: true"), "a tag beside a digest is a remark");
    assert!(run(named("lab/tools", 'b'), ""));
    assert!(run(named("lab/tools", 'b'), ", network: true"));
    let last = engine.calls().into_iter().rfind(|call| call.starts_with("run ")).unwrap();
    assert!(!last.contains("--network"), "{last}");
    let with = "shell: 'echo x > ${output}/x'";
    assert!(engine.lab.run(&workflow(with), &[], 0).made().contains(&"own"), "no container");
    assert!(engine.lab.run(&workflow(&format!("{with}, {}", image_a())), &[], 0).made().is_empty());
}

#[test]
fn a_tag_is_refused_with_the_digest_that_it_means_and_check_and_plan_ask_no_engine() {
    let engine = docker();
    let text = workflow("container: 'docker://lab/tools:1', shell: 'echo x > ${output}/x'");
    engine.lab.write("workflow.yaml", &text);
    let shown = engine.lab.voxflow(&["check", "workflow.yaml"]);
    let words = "'docker://lab/tools:1' may be another image tomorrow; write its digest, as \
                 docker://NAME@sha256:…";
    assert!(shown.code == 2 && shown.err.contains(words), "{}{}", shown.out, shown.err);
    engine.lab.voxflow(&["plan", "workflow.yaml"]);
    assert_eq!(engine.calls(), Vec::<String>::new());
    let shown = engine.lab.voxflow(&["run", "workflow.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("'docker pull lab/tools:1' fetches it"), "{}", shown.err);
    let pulled = format!("lab/tools@{}\n\n{}", digest('c'), digest('d'));
    engine.has("images.json", &[("lab/tools:1".into(), pulled)]);
    let shown = engine.lab.voxflow(&["run", "workflow.yaml"]);
    let words = format!(
        "stage 'own': container 'docker://lab/tools:1' may be another image \
                         tomorrow; today it is docker://lab/tools@{}: write that",
        digest('c')
    );
    assert!(shown.code == 2 && shown.err.contains(&words), "{}", shown.err);
    engine.has("images.json", &[("lab/tools:1".into(), digest('d'))]);
    let shown = engine.lab.voxflow(&["run", "workflow.yaml"]);
    assert!(shown.err.contains(&format!("today it is docker://{}", digest('d'))), "{}", shown.err);
    assert!(engine.lab.runs().is_empty(), "no run began");
}

#[test]
fn an_image_is_fetched_once_and_one_that_is_nowhere_fails_in_one_line() {
    let engine = docker();
    let name = format!("lab/more@{}", digest('e'));
    engine.has("registry.json", &[(name.clone(), name.clone())]);
    let with = format!("container: 'docker://{name}', each: case, shell: 'echo x > ${{output}}/x'");
    let run = engine.lab.run(&workflow(&with), &["--threads", "2"], 0);
    assert_eq!(run.items("own"), (3, 0));
    let calls = engine.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("pull ")).count(), 1, "{calls:?}");
    let log = fs::read_to_string(run.folder.join("log.txt")).unwrap();
    assert!(log.contains("Status: Downloaded"), "{log}");
    for (image, words) in [
        (format!("lab/none@{}", digest('f')), "docker cannot fetch it (Error: manifest for"),
        (digest('f'), "load it with 'docker load', or name one of a registry"),
    ] {
        let with = format!("container: 'docker://{image}', shell: 'echo y > ${{output}}/x'");
        let error = error(&engine.lab.run(&workflow(&with), &[], 1));
        assert!(error.contains("is not on this machine") && error.contains(words), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_clean(&engine.lab);
}

#[test]
fn limits_hold_in_a_container_that_a_daemon_keeps() {
    let engine = docker();
    let fails = |with: &str, words: &str| {
        let began = Instant::now();
        let with = format!("{}, {with}", image_a());
        let error = error(&engine.lab.run(&workflow(&with), &[], 1));
        assert!(error.contains(words), "{words}: {error}");
        assert!(began.elapsed().as_secs() < 30, "{error}");
        assert_clean(&engine.lab);
        assert_eq!(engine.containers(), 0, "{words}");
    };
    fails("shell: 'echo waiting; sleep 300 | cat', max_hours: 0.0003", "its 'max_hours'");
    fails("shell: 'yes', max_output_mib: 1", "more than 1 MiB of output");
    let forks = "shell: 'for i in $(seq 60); do sleep 300 & done; wait', max_processes: 20";
    fails(forks, "more than 20 processes");
    let eater = "import time
kept = []
for _ in range(60):
    kept.append(bytearray(20 << 20))
    time.sleep(0.05)
";
    let eats = format!("max_gib: 0.25, run: [python3, -c, {}]", json!(eater));
    fails(&eats, "more than 0.25 GiB of memory");
    fails("shell: 'echo no luck; exit 4'", "exit code 4 (last words: no luck)");
    fails("shell: 'kill -9 $$'", "was killed (SIGKILL)");
    fails("run: [no-such-program]", "that is not in the image; correct 'run'");
    fails("shell: 'cat ${inputs.dataset}/none'", "exit code 1 (last words: cat: ");
}

/// A program for each case that takes long.
fn slow() -> String {
    let line = "shell: 'echo begun; sleep 300 & wait; echo x > ${output}/x'";
    workflow(&format!("{}, each: case, {line}", image_a()))
}

fn begun(engine: &Engine) -> Child {
    engine.lab.write("workflow.yaml", &slow());
    let child = engine.lab.spawn(&["run", "workflow.yaml", "--threads", "2"]);
    engine.lab.wait("two containers", |_| engine.containers() == 2);
    child
}

#[test]
fn a_stopped_run_asks_its_containers_and_leaves_none() {
    let engine = docker();
    let child = begun(&engine);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_clean(&engine.lab);
    assert_eq!(engine.containers(), 0);
}

#[test]
fn a_killed_run_takes_its_containers_along() {
    let engine = docker();
    let mut child = begun(&engine);
    child.kill().unwrap();
    child.wait().unwrap();
    engine
        .lab
        .wait("its containers to end", |lab| processes(lab).is_empty() && engine.containers() == 0);
}

#[test]
fn containers_whose_run_was_killed_with_its_supervisors_are_removed_by_the_next() {
    let engine = docker();
    let mut child = begun(&engine);
    // As a batch system does at the end of a job: everything but the daemon's at once.
    let supervisors = processes_named(&engine.lab, "supervise");
    assert_eq!(supervisors.len(), 2);
    supervisors.iter().for_each(|pid| kill_process(*pid, Signal::STOP).unwrap());
    child.kill().unwrap();
    supervisors.iter().for_each(|pid| kill_process(*pid, Signal::KILL).unwrap());
    child.wait().unwrap();
    assert_eq!(engine.containers(), 2, "nobody was left to end them");
    let with = format!("{}, shell: 'echo y > ${{output}}/x'", image_a());
    engine.lab.write("workflow.yaml", &workflow(&with));
    let shown = engine.lab.voxflow(&["run", "workflow.yaml"]);
    let words = "was left by a voxflow that was killed; it is removed";
    assert!(shown.code == 0 && shown.err.contains(words), "{}", shown.err);
    assert_eq!(engine.containers(), 0);
    engine.lab.wait("their processes to end", |lab| processes(lab).is_empty());
}

/// Processes of this lab with that word in their command line.
fn processes_named(lab: &Lab, word: &str) -> Vec<Pid> {
    let named = processes(lab).into_iter().filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
    });
    named.filter_map(Pid::from_raw).collect()
}

#[test]
fn an_image_file_is_known_by_its_content_and_run_by_apptainer() {
    let engine = Engine::new("apptainer");
    engine.lab.write("tools.sif", "one");
    let text = |file: &str| {
        let shell = "shell: 'echo $MODE > ${output}/x; pwd >> ${output}/x'";
        workflow(&format!("container: {file}, environment: {{ MODE: fast }}, {shell}"))
    };
    let run = engine.lab.run(&text("tools.sif"), &[], 0);
    let output = fs::read_to_string(run.folder.join("outputs/own/x")).unwrap();
    assert!(output.starts_with("fast\n/"), "{output}");
    let line = engine.calls().pop().unwrap();
    let file = engine.lab.path("tools.sif").display().to_string();
    for part in [
        "--silent exec --containall --pwd ",
        "--net --network none",
        &format!(" {file} /bin/sh -eu"),
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    fs::create_dir(engine.lab.path("images")).unwrap();
    fs::rename(engine.lab.path("tools.sif"), engine.lab.path("images/moved.sif")).unwrap();
    assert!(engine.lab.run(&text("images/moved.sif"), &[], 0).made().is_empty());
    engine.lab.write("images/moved.sif", "two");
    assert_eq!(engine.lab.run(&text("images/moved.sif"), &[], 0).made(), ["own"]);
    let gone = engine.lab.voxflow(&["check", "workflow.yaml", "--set", "own.container=none.sif"]);
    let words = format!("{}{}", gone.out, gone.err);
    assert!(words.contains("'none.sif' is not there"), "{words}");
    let image = format!("docker://python@{}", digest('a'));
    for _ in 0..2 {
        engine.lab.run(&text(&format!("'{image}'")), &["--force", "own"], 0);
    }
    let calls = engine.calls();
    let pulls: Vec<&String> = calls.iter().filter(|call| call.starts_with("pull ")).collect();
    assert!(pulls.len() == 1 && pulls[0].contains("docker://docker.io/library/python@sha256"));
    assert_clean(&engine.lab);
}

#[test]
fn mistakes_missing_engines_and_no_commands_are_told_before_anything_runs() {
    let mut engine = docker();
    check(&engine, "run: [a], container: 'python:3.12'", "write docker://NAME@sha256:DIGEST");
    check(&engine, "run: [a], container: 'docker://x@sha256:1'", "'sha256:1' is no digest");
    check(&engine, "run: [a], network: true", "has a meaning beside 'container' only");
    check(&engine, "run: [a], gpu: true", "has a meaning beside 'container' only");
    let text = workflow(&format!("{}, shell: 'echo x > ${{output}}/x'", image_a()));
    engine.lab.write("workflow.yaml", &text);
    let shown = engine.lab.voxflow(&["run", "workflow.yaml", "--no-commands"]);
    assert!(shown.code == 2 && shown.err.contains("in 'own', and '--no-commands' refuses"));
    engine.lab.set("VOXFLOW_CONTAINER_ENGINE", "podmann");
    let line = refused(&engine, "'podmann', which VOXFLOW_CONTAINER_ENGINE names, is no engine");
    assert!(line.starts_with('✗') && line.contains("docker 28.2.2"), "{line}");
    engine.lab.set("VOXFLOW_CONTAINER_ENGINE", "singularity");
    refused(&engine, "singularity, which VOXFLOW_CONTAINER_ENGINE names, is not on the PATH");
    engine.lab.set("VOXFLOW_CONTAINER_ENGINE", "");
    engine.lab.set("PATH", engine.lab.path("data").display().to_string());
    let line = refused(&engine, "needs Podman, Docker or Apptainer, and none is on the PATH");
    assert!(line.starts_with('✓') && line.contains("none; a command in a container"), "{line}");
    assert!(engine.calls().iter().all(|call| !call.starts_with("run ")));
    assert!(engine.lab.runs().is_empty());
}

fn check(engine: &Engine, with: &str, words: &str) {
    engine.lab.write("workflow.yaml", &workflow(with));
    let shown = engine.lab.voxflow(&["check", "workflow.yaml"]);
    let said = format!("{}{}", shown.out, shown.err);
    assert!(shown.code == 2 && said.contains(words), "{words}: {said}");
}

/// A run is refused with these words; gives the line of the doctor about containers.
fn refused(engine: &Engine, words: &str) -> String {
    let shown = engine.lab.voxflow(&["run", "workflow.yaml"]);
    assert!(shown.code == 2 && shown.err.contains(words), "{words}: {}", shown.err);
    let doctor = engine.lab.voxflow(&["doctor"]).out;
    doctor.lines().find(|line| line.contains("containers")).unwrap().to_string()
}
