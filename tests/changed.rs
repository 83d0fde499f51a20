//! A person's own files that are changed while a run uses them: nothing is kept under a fingerprint
//! that does not name its bytes. A stage is held at its beginning by its own claim, or changed by a
//! script that stands before the worker, so that each story goes the same way every time.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use voxflow_cache::{Fingerprint, Store};

/// A laboratory with a small dataset in `data`.
fn cubes() -> (Lab, Dataset) {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    (lab, data)
}

/// The first stages of the workflow over it.
fn prepared() -> String {
    CUBES.split("  cache:").next().unwrap().to_string()
}

/// Runs `workflow` up to the beginning of `stage`, does `change`, and lets it go on. Gives what the
/// run left and its exit code. A run over another store tells the stage's fingerprint before.
fn changed_at(lab: &Lab, workflow: &str, stage: &str, change: impl FnOnce()) -> (Record, i32) {
    lab.write("workflow.yaml", workflow);
    lab.voxflow(&["run", "workflow.yaml", "--store", "elsewhere"]);
    let fingerprint: Fingerprint = lab.last_run().fingerprint(stage).parse().unwrap();
    let store = Store::open(&lab.path(".voxflow/store-v1")).unwrap();
    let claim = store.claim(fingerprint).unwrap().expect("the claim");
    let child = lab.spawn(&["run", "workflow.yaml"]);
    lab.wait("the stage to wait", |lab| is_told(lab, "stage_waiting", stage));
    change();
    drop(claim);
    let code = child.wait_with_output().unwrap().status.code().unwrap_or(-1);
    (lab.last_run(), code)
}

/// True once the journal of a run tells an event of a stage.
fn is_told(lab: &Lab, event: &str, stage: &str) -> bool {
    let (event, stage) = (format!("\"{event}\""), format!("\"{stage}\""));
    lab.runs().iter().any(|run| {
        let text = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
        text.lines().any(|line| line.contains(&event) && line.contains(&stage))
    })
}

/// A stage that failed, without an entry, and whose error has these words.
fn assert_failed(lab: &Lab, (run, code): &(Record, i32), stage: &str, words: [&str; 2]) {
    let error = run.stage(stage)["error"].as_str().unwrap_or_default();
    assert!(words.iter().all(|words| error.contains(words)), "{}: {error}", run.outcomes());
    assert_eq!((*code, run.stage(stage)["outcome"].as_str()), (1, Some("failed")), "{error}");
    let store = Store::open(&lab.path(".voxflow/store-v1")).unwrap();
    let fingerprint: Fingerprint = run.fingerprint(stage).parse().unwrap();
    assert_eq!(store.get(&[fingerprint]).unwrap(), [None], "nothing is kept");
}

const CHANGED: &str = "was changed during the run";

fn datalist(testing: &str) -> String {
    let names = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| json!({ "image": format!("imagesTr/{name}.nii.gz") })).collect()
    };
    let training = ["case_00", "case_01", "case_02"];
    json!({ "training": names(&training), "testing": names(&[testing]) }).to_string()
}

const BY_LIST: &str = "name: listed
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { datalist: list.json } }
";

#[test]
fn a_datalist_that_is_replaced_before_it_is_read_is_not_kept_under_the_old_one() {
    let (lab, _) = cubes();
    lab.write("list.json", &datalist("case_03"));
    let changed = changed_at(&lab, BY_LIST, "split", || {
        lab.write("list.json", &datalist("case_05"));
    });
    assert_failed(&lab, &changed, "split", ["list.json", CHANGED]);
    lab.write("list.json", &datalist("case_03"));
    let run = lab.run(BY_LIST, &[], 0);
    let split = fs::read_to_string(run.folder.join("outputs/split/split.json")).unwrap();
    assert!(split.contains("case_03") && !split.contains("case_05"), "{split}");
    assert_eq!(run.fingerprint("split"), changed.0.fingerprint("split"));
}

#[test]
fn a_datalist_that_is_gone_is_told_by_its_name() {
    let (lab, _) = cubes();
    lab.write("list.json", &datalist("case_03"));
    let list = lab.path("list.json");
    let gone = changed_at(&lab, BY_LIST, "split", || fs::remove_file(&list).unwrap());
    assert_failed(&lab, &gone, "split", ["list.json", "is gone"]);
}

#[test]
fn a_label_that_is_replaced_before_its_volume_is_made_is_not_kept_under_the_old_one() {
    let (lab, data) = cubes();
    let before = fs::read(data.label(0)).unwrap();
    let changed = changed_at(&lab, &prepared(), "volumes", || data.write_case(0, 1));
    assert_failed(&lab, &changed, "volumes", ["case_00", CHANGED]);
    let image = data.image(0);
    data.write_case(0, 0);
    assert_eq!(fs::read(data.label(0)).unwrap(), before);
    let run = lab.run(&prepared(), &[], 0);
    let elsewhere = lab.run(&prepared(), &["--store", "elsewhere"], 0);
    assert_eq!(run.fingerprint("volumes"), elsewhere.fingerprint("volumes"));
    let digest = |run: &Record| run.stage("volumes")["digest"].clone();
    assert_eq!(digest(&run), digest(&elsewhere), "and {} again", image.display());
}

#[test]
fn an_image_under_another_inode_counts_by_its_bytes() {
    let (lab, data) = cubes();
    let other = lab.path("other.nii.gz");
    fs::copy(data.image(1), &other).unwrap();
    let changed = changed_at(&lab, &prepared(), "volumes", || {
        fs::copy(data.image(0), lab.path("same")).unwrap();
        fs::rename(lab.path("same"), data.image(0)).unwrap();
        fs::rename(&other, data.image(2)).unwrap();
    });
    assert_failed(&lab, &changed, "volumes", ["1 case could not be done", "case_02"]);
}

#[test]
fn files_that_were_touched_are_the_same_files() {
    let (lab, data) = cubes();
    let (run, code) = changed_at(&lab, &prepared(), "volumes", || {
        for case in 0..7 {
            let bytes = fs::read(data.image(case)).unwrap();
            fs::write(data.image(case), bytes).unwrap();
        }
    });
    assert_eq!((code, run.stage("volumes")["outcome"].as_str()), (0, Some("made")));
}

#[test]
fn a_folder_that_is_changed_before_it_is_referred_to_is_refused() {
    for (change, words) in [
        ("case", [CHANGED, "case_03.nii.gz"]),
        ("listing", ["dataset.json", CHANGED]),
        ("more", ["was not there, or not the same", "case_09"]),
        ("fewer", ["is gone", "case_06"]),
    ] {
        let (lab, data) = cubes();
        let workflow = match change {
            "more" | "fewer" => {
                "name: found\nstages:\n  dataset: { uses: folder, with: { path: data, \
                images: 'imagesTr/{case}.nii.gz', modality: [MRI] } }\n"
            }
            _ => "name: found\nstages:\n  dataset: { uses: folder, with: { path: data } }\n",
        };
        let changed = changed_at(&lab, workflow, "dataset", || match change {
            "case" => data.write_case(3, 1),
            "more" => drop(fs::copy(data.image(0), data.image(9)).unwrap()),
            "fewer" => fs::remove_file(data.image(6)).unwrap(),
            _ => {
                let listing = data.folder.join("dataset.json");
                let text = fs::read_to_string(&listing).unwrap();
                fs::write(&listing, text.replace("Cubes", "Other")).unwrap();
            }
        });
        assert_failed(&lab, &changed, "dataset", words);
    }
}

#[test]
fn weights_and_archives_that_are_replaced_before_they_are_read_are_refused() {
    for (stage, file, kind) in [
        (
            "w",
            "weights.pt",
            "{ uses: import, with: { file: weights.pt, modality: [CT], labels: [a], \
            preprocess: { intensity: { zscore: all } }, inference: { roi: [16, 16, 16] } } }",
        ),
        ("w", "data.tar", "{ uses: download, with: { file: data.tar } }"),
    ] {
        let lab = Lab::new();
        lab.write(file, "one");
        let workflow = format!("name: own\nstages:\n  {stage}: {kind}\n");
        let changed = changed_at(&lab, &workflow, stage, || drop(lab.write(file, "two")));
        assert_failed(&lab, &changed, stage, [file, CHANGED]);
    }
}

#[test]
fn an_archive_that_is_replaced_before_it_is_unpacked_is_refused() {
    let lab = Lab::new();
    lab.write("data.tar", "one");
    let workflow = "name: own\nstages:\n  archive: { uses: download, with: { file: data.tar } }\n  \
        dataset: { uses: unpack, needs: [archive] }\n";
    let changed = changed_at(&lab, workflow, "dataset", || drop(lab.write("data.tar", "two")));
    assert_failed(&lab, &changed, "dataset", ["data.tar", CHANGED]);
}

#[test]
fn what_is_replaced_after_the_plan_and_before_its_stage_begins_is_planned_anew() {
    let mut lab = Lab::new();
    let script = "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done; exit 1\n";
    lab.set("VOXFLOW_WORKER", executable(&lab, "worker.sh", script).display().to_string());
    let workflow = format!(
        "{TINY}  model: {{ uses: train, needs: [cache], with: {{ epochs: 1, patch: [16, 16, 16] }} }}
  later: {{ uses: split, needs: [dataset], with: {{ datalist: list.json }} }}\n"
    );
    lab.run(TINY, &[], 0);
    let list = |testing: &str| {
        let pairs =
            [("case_00", "phantom_01"), ("case_01", "phantom_02"), ("case_02", "phantom_03")];
        pairs.iter().fold(datalist(testing), |text, (from, to)| text.replace(from, to))
    };
    lab.write("list.json", &list("phantom_04"));
    lab.write("workflow.yaml", &workflow);
    let flags = ["run", "workflow.yaml", "--jobs", "1", "--device", "cpu", "--keep-going"];
    let child = lab.spawn(&flags);
    lab.wait("the training", |lab| is_told(lab, "stage_started", "model"));
    lab.write("list.json", &list("phantom_05"));
    lab.write("go", "");
    child.wait_with_output().unwrap();
    let run = lab.last_run();
    assert_eq!(run.stage("later")["outcome"], "made", "{}", run.outcomes());
    let split = fs::read_to_string(run.folder.join("outputs/later/split.json")).unwrap();
    assert!(split.contains("phantom_05"), "{split}");
    let again = lab.run(&workflow, &["--only", "later"], 0);
    assert_eq!(again.stage("later")["outcome"], "reused");
    assert_eq!(again.fingerprint("later"), run.fingerprint("later"));
}

fn executable(lab: &Lab, name: &str, script: &str) -> PathBuf {
    let path = lab.write(name, script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Lets a script stand before the worker of one stage; `$worker` is the real one.
fn before_the_worker(lab: &mut Lab, stage: &str, script: &str) {
    let worker = Path::new(env!("CARGO_BIN_EXE_voxflow")).with_file_name("voxflow-worker");
    let worker = worker.display();
    let text = format!(
        "#!/bin/sh\nworker='{worker}'\nif grep -q '\"stage\": \"{stage}\"' \"$1\"; then\n{script}\nfi\n\
         exec \"$worker\" \"$@\"\n"
    );
    let path = executable(lab, "worker.sh", &text);
    lab.set("VOXFLOW_WORKER", path.display().to_string());
}

#[test]
fn a_label_that_is_changed_while_a_test_reads_it_fails_the_test() {
    let (mut lab, data) = cubes();
    let (label, kept) = (data.label(6), lab.path("kept.nii.gz"));
    lab.run(CUBES.split("  final:").next().unwrap(), &["--threads", "1"], 0);
    fs::copy(&label, &kept).unwrap();
    fs::copy(data.label(0), lab.path("other.nii.gz")).unwrap();
    let (label, kept) = (label.display(), kept.display());
    let change = format!("cp other.nii.gz '{label}'");
    before_the_worker(&mut lab, "final", &change);
    let run = lab.run(CUBES, &["--threads", "1"], 1);
    assert_failed(&lab, &(run, 1), "final", ["case_06", CHANGED]);
    // Put back before anybody looks: its bytes are right again, what was read is not.
    fs::copy(lab.path("kept.nii.gz"), data.label(6)).unwrap();
    let back = format!(
        "cp other.nii.gz '{label}'; \"$worker\" \"$@\"; code=$?; cp -p '{kept}' '{label}'; exit $code"
    );
    before_the_worker(&mut lab, "final", &back);
    let run = lab.run(CUBES, &["--threads", "1"], 1);
    assert_failed(&lab, &(run, 1), "final", ["case_06", "was written while it was read"]);
    lab.set("VOXFLOW_WORKER", "");
    lab.run(CUBES, &["--threads", "1"], 0);
}
