//! The same on Podman and Docker where they run containers.

use super::lab::cubes::Dataset;
use super::lab::leftovers::assert_clean;
use super::lab::{Lab, Record};
use super::{error, workflow};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// An engine that runs containers on this machine, and a small image in it.
struct RealEngine {
    lab: Lab,
    name: &'static str,
    image: String,
}

impl Drop for RealEngine {
    fn drop(&mut self) {
        self.ask(&["image", "rm", "--force", &self.tag()]);
    }
}

impl RealEngine {
    /// Podman or Docker with an image made of a static busybox, or says why not.
    fn new(name: &'static str) -> Option<RealEngine> {
        let skipped = |trouble: &str| {
            let line = trouble.trim().lines().next_back().unwrap_or_default();
            eprintln!("skipped: {name} runs no containers here: {line}");
        };
        let mut lab = Lab::new();
        lab.set("VOXFLOW_CONTAINER_ENGINE", name);
        Dataset::write(&lab.path("data"), 3, 0);
        let mut engine = RealEngine { lab, name, image: String::new() };
        if engine.ask(&["version"]).0 != 0 {
            skipped(&engine.ask(&["version"]).1);
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            skipped("its image needs a static busybox (Debian: 'apt-get install busybox-static')");
            return None;
        }
        engine.import();
        let (code, said) = engine.ask(&["run", "--rm", "--network", "none", &engine.tag(), "sh"]);
        if code != 0 {
            skipped(&said);
            return None;
        }
        let (_, id) = engine.ask(&["image", "inspect", "--format", "{{.Id}}", &engine.tag()]);
        let hex = id.trim().trim_start_matches("sha256:");
        engine.image = format!("docker://sha256:{hex}");
        Some(engine)
    }

    fn tag(&self) -> String {
        format!("voxflow-test:{}", std::process::id())
    }

    /// Exit code, and all that it says.
    fn ask(&self, words: &[&str]) -> (i32, String) {
        match Command::new(self.name).args(words).stdin(Stdio::null()).output() {
            Ok(output) => {
                let said = [output.stdout, output.stderr].concat();
                (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
            }
            Err(error) => (-1, error.to_string()),
        }
    }

    fn import(&self) {
        let root = self.lab.path("root");
        for folder in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "cp", "echo", "ip", "sleep", "touch", "wc"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let file = self.lab.path("root.tar").display().to_string();
        let mut tar = Command::new("tar");
        tar.args(["-C", &root.display().to_string(), "-cf", &file, "."]);
        assert!(tar.status().unwrap().success());
        let (code, said) = self.ask(&["import", &file, &self.tag()]);
        assert_eq!(code, 0, "{said}");
    }

    fn run(&self, with: &str, code: i32) -> Record {
        let with = format!("container: '{}', {with}", self.image);
        self.lab.run(&workflow(&with), &["--threads", "2"], code)
    }

    /// Names of the containers of this program.
    fn containers(&self) -> String {
        let words = ["ps", "--all", "--filter", "name=voxflow-", "--format", "{{.Names}}"];
        self.ask(&words).1.trim().to_string()
    }
}

/// On an engine: equal bytes, rights, limits, and nothing left of a run that is stopped or killed.
fn holds_on(name: &'static str) {
    let Some(engine) = RealEngine::new(name) else { return };
    let copy = "makes: dataset, each: case, shell: 'cp ${image} ${output.image}'";
    let inside = engine.run(copy, 0);
    let outside = engine.lab.run(&workflow(copy), &[], 0);
    assert_eq!(inside.items("own"), (3, 0));
    assert_eq!(inside.stage("own")["digest"], outside.stage("own")["digest"]);
    let seen = "shell: 'ip a > ${output}/net; pwd > ${output}/here; if touch ${inputs.dataset}/x; \
                then exit 5; fi; cat ${inputs.dataset}/dataset.json | wc -c > ${output}/size'";
    let run = engine.run(seen, 0);
    let output = |file: &str| {
        let path = run.folder.join("outputs/own").join(file);
        (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().uid())
    };
    let (net, owner) = output("net");
    assert!(net.contains("lo:") && !net.contains("eth0"), "{net}");
    assert_eq!(owner, rustix::process::getuid().as_raw());
    assert!(output("here").0.trim().ends_with(".voxflow-command/work"));
    let peak = run.stage("own")["maker"]["peak_rss_bytes"].as_f64().unwrap();
    assert!(peak > 0.0 && peak < f64::from(1 << 30), "{peak}");
    for (with, words) in [
        ("shell: 'sleep 300', max_hours: 0.0008", "its 'max_hours'"),
        ("shell: 'cat /dev/zero', max_output_mib: 1", "more than 1 MiB of output"),
        (
            "shell: 'for i in 1 2 3 4 5 6 7 8; do sleep 300 & done; wait', max_processes: 5",
            "more than 5 processes",
        ),
        ("run: [no-such-program]", "No such file or directory"),
        ("shell: 'exit 3'", "exit code 3"),
    ] {
        let error = error(&engine.run(with, 1));
        assert!(error.contains(words), "{words}: {error}");
        engine.lab.wait("no container", |_| engine.containers().is_empty());
    }
    // The run that is stopped tidies up after the one that was killed.
    for signal in [Signal::KILL, Signal::TERM] {
        let with = format!("container: '{}', shell: 'sleep 300'", engine.image);
        engine.lab.write("workflow.yaml", &workflow(&with));
        let child = engine.lab.spawn(&["run", "workflow.yaml"]);
        engine.lab.wait("a container", |_| !engine.containers().is_empty());
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        child.wait_with_output().unwrap();
        engine.lab.wait("no container", |_| engine.containers().is_empty());
    }
    assert_clean(&engine.lab);
}

#[test]
fn podman_makes_the_same_bytes_and_leaves_nothing() {
    holds_on("podman");
}

#[test]
fn docker_makes_the_same_bytes_and_leaves_nothing() {
    holds_on("docker");
}
