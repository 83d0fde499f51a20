//! Graphics cards shared by stages and programs, with a stand-in for NVIDIA's driver library and a
//! script for the worker, which writes down the cards that it sees.

mod lab;

use lab::{Lab, TINY};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use voxflow_stages::protocol::{Build, WorkerLine};

/// The stand-in, built once.
fn nvml() -> &'static str {
    static LIBRARY: OnceLock<String> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fake_nvml/nvml.c");
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("libfake-nvml.so");
        let mut cc = Command::new("cc");
        let flags = ["-D_GNU_SOURCE", "-shared", "-fPIC", "-Wall", "-Werror", "-o"];
        assert!(cc.args(flags).arg(&library).arg(source).status().unwrap().success());
        library.display().to_string()
    })
}

/// A laboratory whose worker writes lines "begin STAGE DEVICE CARDS" and "end STAGE …" to `cards`.
fn lab(gpus: &str) -> Lab {
    let mut lab = Lab::new();
    let hello = serde_json::to_string(&WorkerLine::Hello(Build::own())).unwrap();
    let log = lab.path("cards");
    let script = format!(
        r#"#!/bin/sh
if [ "$1" = --device ]; then echo '{{"usable":"toy"}}'; exit; fi
value() {{ sed -n "s/^  \"$1\": \"\(.*\)\",$/\1/p" "$task"; }}
task=$1; draft=$(value draft); told="$(value stage) $(value device) [${{CUDA_VISIBLE_DEVICES-unset}}]"
echo '{hello}'
echo "begin $told" >> {log}
sleep 0.4
for file in model.json best.safetensors last.safetensors; do echo "$told" > "$draft/$file"; done
echo "end $told" >> {log}
echo '{{"line":"end","say":"done","adopted":{{}}}}'
"#,
        log = log.display()
    );
    let worker = lab.write("worker.sh", &script);
    fs::set_permissions(&worker, fs::Permissions::from_mode(0o755)).unwrap();
    lab.set("VOXFLOW_WORKER", worker.display().to_string());
    lab.set("VOXFLOW_NVML", nvml());
    let locks = lab.path("gpu-locks").display().to_string();
    lab.set("VOXFLOW_GPU_LOCKS", locks);
    lab.set("FAKE_GPUS", gpus);
    lab
}

/// A workflow of as many trainings, each with these resources.
fn trainings(count: usize, resources: &str) -> String {
    let stage = |seed| {
        let with = format!("{{ epochs: 1, patch: [16, 16, 16], seed: {seed} }}");
        format!("  m{seed}: {{ uses: train, needs: [cache], with: {with}{resources} }}\n")
    };
    format!("{TINY}{}", (0..count).map(stage).collect::<String>())
}

/// The lines of the workers.
fn lines(lab: &Lab) -> Vec<String> {
    let text = fs::read_to_string(lab.path("cards")).unwrap_or_default();
    text.lines().map(str::to_string).collect()
}

/// The cards in use after each line, in order; no card may be used twice at once.
fn used_at_once(lines: &[String]) -> usize {
    let (mut used, mut most): (Vec<String>, usize) = (vec![], 0);
    for line in lines {
        let cards = line.split(['[', ']']).nth(1).unwrap().split(',').map(str::to_string);
        for card in cards.filter(|card| !card.is_empty()) {
            if line.starts_with("begin") {
                assert!(!used.contains(&card), "{card} is used twice: {lines:?}");
                used.push(card);
            } else {
                used.retain(|other| *other != card);
            }
        }
        most = most.max(used.len());
    }
    most
}

#[test]
fn four_trainings_share_two_cards_and_each_sees_its_own_only() {
    let lab = lab("GPU-a GPU-b");
    lab.run(&trainings(4, ""), &[], 0);
    let lines = lines(&lab);
    assert_eq!(lines.len(), 8);
    assert_eq!(used_at_once(&lines), 2, "both cards are used at once: {lines:?}");
    assert!(lines.iter().all(|line| line.contains(" auto [GPU-")), "{lines:?}");
}

#[test]
fn a_training_on_two_cards_gets_both_and_one_on_the_processor_sees_none() {
    let first = lab("GPU-a GPU-b");
    first.run(&trainings(2, ", resources: { gpus: 2 }"), &[], 0);
    let heard = lines(&first);
    assert!(heard.iter().all(|line| line.ends_with("[GPU-a,GPU-b]")), "{heard:?}");
    assert_eq!(used_at_once(&heard), 2);
    let greedy = lab("GPU-a");
    greedy.run(&trainings(1, ", resources: { gpus: 2 }"), &[], 0);
    let words = greedy.last_run().stage("m0")["warnings"].to_string();
    assert!(words.contains("2 GPUs are wanted and this machine has 1"), "{words}");
    let second = lab("GPU-a");
    second.run(&trainings(1, ""), &["--device", "cpu"], 0);
    assert_eq!(lines(&second), ["begin m0 cpu []", "end m0 cpu []"]);
}

#[test]
fn the_cards_are_those_of_cuda_visible_devices_and_instances_count_for_their_card() {
    for (gpus, visible, seen) in [
        ("GPU-a GPU-b GPU-c", Some("2"), "GPU-c"),
        ("GPU-a GPU-b GPU-c", Some("GPU-b,0"), "GPU-b"),
        ("GPU-a/MIG-1/MIG-2", None, "MIG-1"),
        ("GPU-a/MIG-1/MIG-2", Some("MIG-2"), "MIG-2"),
    ] {
        let mut lab = lab(gpus);
        visible.into_iter().for_each(|visible| lab.set("CUDA_VISIBLE_DEVICES", visible));
        lab.run(&trainings(1, ""), &[], 0);
        assert_eq!(lines(&lab)[0], format!("begin m0 auto [{seen}]"), "{gpus} {visible:?}");
    }
    let pinned = lab("GPU-a GPU-b");
    pinned.run(&trainings(1, ""), &["--device", "cuda:1"], 0);
    assert_eq!(lines(&pinned)[0], "begin m0 cuda:0 [GPU-b]");
}

#[test]
fn two_programs_do_not_use_one_card_at_once_and_the_second_says_for_what_it_waits() {
    let lab = lab("GPU-a");
    for (name, seed) in [("one", 0), ("two", 7)] {
        let text = trainings(1, "").replace("seed: 0 }", &format!("seed: {seed} }}"));
        lab.write(&format!("{name}.yaml"), &text);
    }
    let first = lab.spawn(&["run", "one.yaml"]);
    lab.wait("the first to begin", |lab| !lines(lab).is_empty());
    let second = lab.voxflow(&["run", "two.yaml"]);
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success() && second.code == 0, "{}", second.err);
    assert_eq!(used_at_once(&lines(&lab)), 1);
    let words = "m0: waits for a GPU: of 1, 0 in use by this run, others by other programs";
    assert!(second.err.contains(words), "{}", second.err);
}
