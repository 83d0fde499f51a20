//! Artifacts of earlier runs: as inputs of other workflows, in the forecast of a plan, in stores
//! below one's own, and in runs that are reproduced.

mod lab;

use lab::chance::Chance;
use lab::cubes::{CUBES, Dataset};
use lab::damage::Damage;
use lab::{Lab, Record, TINY};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A laboratory with a small dataset in `data`.
fn cubes() -> (Lab, Dataset) {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    (lab, data)
}

/// The workflow over the dataset with its training.
fn trained() -> String {
    CUBES.split("  final:").next().expect("a workflow").to_string()
}

/// The dataset's stages alone, under another name.
fn prepared(name: &str) -> String {
    let stages = CUBES.split("  model:").next().expect("a workflow");
    stages.replace("name: cubes", &format!("name: {name}"))
}

fn id(run: &Record) -> String {
    run.value["run"].as_str().expect("an id").to_string()
}

#[test]
fn a_model_of_an_earlier_run_is_tested_and_refined_by_another_workflow() {
    let (lab, _) = cubes();
    let first = lab.run(&trained(), &["--device", "cpu"], 0);
    let within = lab.run(CUBES, &["--device", "cpu"], 0);
    let digest = first.stage("model")["digest"].as_str().expect("a digest")[..16].to_string();
    let pinned = format!("{}/model@{digest}", id(&first));

    let test = "  final: { uses: test, needs: { dataset: dataset, cache: cache, model: MODEL } }\n";
    let of = |model: &str| prepared("tested") + &test.replace("MODEL", model);
    lab.write("tested.yaml", &of("latest/model"));
    let said = format!("'model' is {}/model (train), digest {digest}", id(&within));
    for command in ["check", "plan"] {
        let shown = lab.voxflow(&[command, "tested.yaml"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        assert!(
            format!("{}{}", shown.out, shown.err).contains(&said),
            "{}{}",
            shown.out,
            shown.err
        );
    }
    let tested = lab.run(&of("latest/model"), &["--device", "cpu"], 0);
    assert_eq!(tested.made(), [""; 0], "the same bytes are the same recipe");
    assert_eq!(tested.fingerprint("final"), within.fingerprint("final"));
    assert_eq!(tested.value["earlier"][0]["digest"], first.stage("model")["digest"]);
    let resolved = fs::read_to_string(tested.folder.join("resolved.yaml")).expect("a workflow");
    assert!(resolved.contains(&format!("{}/model@{digest}", id(&within))), "{resolved}");
    let again = lab.run(&resolved, &["--device", "cpu"], 0);
    assert_eq!(again.digests(), tested.digests(), "a resolved workflow runs as it did");
    for model in [&pinned, "cubes/model", first.folder.join("model").to_str().expect("a path")] {
        let run = lab.run(&of(model), &["--device", "cpu"], 0);
        assert_eq!(run.fingerprint("final"), within.fingerprint("final"), "{model}");
    }

    let network = "network: { channels: [4, 8, 8], strides: [2, 2], residual_units: 1 }";
    let refined = format!(
        "{}  model: {{ uses: train, needs: {{ cache: cache, start: latest/model }}, with: {{ epochs: \
         1, patch: [16, 16, 16], {network} }} }}\n",
        prepared("refined")
    );
    let run = lab.run(&refined, &["--device", "cpu"], 0);
    assert_eq!(run.made(), ["model"]);
    let again = lab.run(&refined, &["--device", "cpu"], 0);
    assert_eq!(again.made(), [""; 0], "its own runs are not the latest");
    let other = refined.replace("[4, 8, 8]", "[4, 8, 16]");
    lab.write("other.yaml", &other);
    let shown = lab.voxflow(&["check", "other.yaml"]);
    assert_eq!(shown.code, 2, "another network is told before any work");
    assert!(shown.err.contains("is another one ('channels' is [4,8,8] there"), "{}", shown.err);
}

#[test]
fn an_input_of_an_earlier_run_that_is_not_there_is_refused_with_the_nearest_name() {
    let lab = Lab::new();
    let run = lab.run(TINY, &[], 0);
    let needing = |need: &str| {
        let text = format!(
            "name: next\nstages:\n  split: {{ uses: split, needs: [{need}], with: {{ training: 3, validation: 1, testing: 2 }} }}\n"
        );
        lab.write("next.yaml", &text);
        lab.voxflow(&["check", "next.yaml"])
    };
    assert_eq!(needing("tiny/dataset").code, 0);
    let short = id(&run).rsplit('-').next().expect("a short id").to_string();
    for (need, words) in [
        ("latest/datset", "did you mean 'latest/dataset'?".to_string()),
        ("tiny/datset", "did you mean 'tiny/dataset'?".to_string()),
        ("tinny/dataset", "did you mean 'tiny/dataset'?".to_string()),
        (&format!("{short}/volums"), format!("did you mean '{short}/volumes'?")),
        ("tiny/volumes", "makes volumes, and 'split' reads a dataset".to_string()),
        ("tiny/dataset@0123456789abcdef", "0123456789abcdef is pinned".to_string()),
        ("tiny/dataset@new", "hexadecimal digits".to_string()),
    ] {
        let shown = needing(need);
        assert_eq!(shown.code, 2, "{need}");
        assert!(shown.err.contains("next.yaml:3:"), "its line: {}", shown.err);
        assert!(shown.err.contains(&words), "{need}: {}", shown.err);
    }
}

#[test]
fn an_input_of_an_earlier_run_is_kept_by_gc_and_its_loss_is_told_before_any_work() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    let text = "name: next\nstages:\n  split: { uses: split, needs: [tiny/dataset], with: { training: 2, validation: 2, testing: 2 } }\n";
    lab.run(text, &[], 0);
    assert_eq!(lab.voxflow(&["cache", "gc", "--keep-runs", "1"]).code, 0);
    let listing = &first.stage("dataset")["artifact"]["dataset.json"]["digest"];
    let listing = listing.as_str().expect("a digest");
    let blob = lab.path(&format!(".voxflow/store-v1/blobs/{}/{listing}", &listing[..2]));
    assert!(blob.is_file(), "the newest run reads it");
    fs::remove_file(&blob).expect("removes");
    lab.write(
        "next.yaml",
        &text.replace("training: 2, validation: 2", "training: 3, validation: 1"),
    );
    let shown = lab.voxflow(&["run", "next.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    let words = format!("run the workflow of '{}' again to make it", id(&first));
    assert!(
        shown.err.contains("is no longer in the store") && shown.err.contains(&words),
        "{}",
        shown.err
    );
    let plan: Value =
        serde_json::from_str(&lab.voxflow(&["plan", "next.yaml", "--format", "json"]).out)
            .expect("JSON");
    assert_eq!(plan["earlier"][0][0], "split");
}

/// Decisions of a plan by stage: "dataset=run split=reuse …", expected ones among them.
fn decisions(plan: &Value) -> String {
    let stages = plan["stages"].as_array().expect("stages").iter();
    let each = stages.map(|stage| {
        let decision = match &stage["expected"] {
            Value::Null => &stage["decision"],
            expected => &expected["decision"],
        };
        let name = stage["stage"].as_str().unwrap_or_default();
        format!("{name}={}", decision.as_str().unwrap_or_default())
    });
    each.collect::<Vec<_>>().join(" ")
}

/// The outcomes of a run, in the words of a plan.
fn done(run: &Record) -> String {
    run.outcomes().replace("=made", "=run").replace("=reused", "=reuse")
}

#[test]
fn plan_tells_case_by_case_what_follows_a_change_and_the_run_does_it() {
    let (lab, data) = cubes();
    lab.run(CUBES, &["--device", "cpu"], 0);
    let plan = |format: &str| {
        let shown = lab.voxflow(&["plan", "workflow.yaml", "--format", format]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        shown.out
    };
    // A case for testing: nothing is trained again.
    data.write_case(6, 1);
    let text = plan("text");
    let lines: Vec<&str> = text.lines().collect();
    let line = |stage: &str| *lines.iter().find(|line| line.starts_with(stage)).expect("a line");
    assert!(line("dataset").contains("run because 2 files changed"), "{text}");
    assert!(line("split").contains("expected to be reused (took "), "{text}");
    assert!(line("volumes").contains("; 1 of 7 volumes (case_06), about "), "{text}");
    assert!(
        line("volumes").contains("expected to run because 'dataset' changed: 2 files"),
        "{text}"
    );
    assert!(line("model").contains("expected to be reused (took "), "{text}");
    let total = lines.last().expect("a total");
    assert!(total.starts_with("total: 1 of 7 volumes, 4 to run, 3 reused; about "), "{text}");
    let foretold: Value = serde_json::from_str(&plan("json")).expect("JSON");
    assert_eq!(foretold["stages"][2]["items"]["missing"], serde_json::json!(["case_06"]));
    let run = lab.run(CUBES, &["--device", "cpu"], 0);
    assert_eq!(decisions(&foretold), done(&run));
    assert_eq!(run.items("volumes"), (1, 6));
    // A case for training: its volume, its candidates, the training and all after it.
    data.write_case(0, 1);
    let text = plan("text");
    let begins =
        "total: 1 of 4 candidates, 1 of 7 volumes, 6 to run (1 training), 1 reused; about ";
    assert!(text.lines().last().expect("a total").starts_with(begins), "{text}");
    let foretold: Value = serde_json::from_str(&plan("json")).expect("JSON");
    let run = lab.run(CUBES, &["--device", "cpu"], 0);
    assert_eq!(decisions(&foretold), done(&run));
    // Before a first run there is nothing to tell from.
    lab.write(
        "other.yaml",
        &CUBES.replace("name: cubes", "name: other").replace("[1.0, 1.0, 1.0]", "[2.0, 2.0, 2.0]"),
    );
    let text = lab.voxflow(&["plan", "other.yaml"]).out;
    assert!(!text.contains(" of 7 volumes"), "{text}");
}

/// Names, sizes and modification times of all files below a folder.
fn state(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("lists").flatten() {
        let facts = entry.metadata().expect("facts");
        found.insert(entry.path(), (facts.len(), facts.modified().expect("a time")));
        if facts.is_dir() {
            found.extend(state(&entry.path()));
        }
    }
    found
}

#[test]
fn a_store_below_ones_own_is_read_and_never_written() {
    let lab = Lab::new();
    let theirs = lab.run(TINY, &[], 0);
    fs::rename(lab.path(".voxflow"), lab.path("theirs")).expect("moves");
    let before = state(&lab.path("theirs"));
    let below = ["--lower-store", "theirs"];
    let plan = lab.voxflow(&[&["plan", "workflow.yaml"][..], &below].concat());
    assert!(plan.out.contains("nothing will run: everything is reused\n"), "{}", plan.out);
    let run = lab.run(TINY, &below, 0);
    assert_eq!((run.made(), run.digests()), (vec![], theirs.digests()));
    let volumes = fs::read_to_string(run.folder.join("outputs/volumes/volumes.json"));
    assert!(volumes.expect("reads").contains("phantom_01"), "outputs lead below");
    let other = TINY.replace("training: 3, validation: 1", "training: 2, validation: 2");
    let run = lab.run(&other, &below, 0);
    assert_eq!(run.made(), ["split", "cache"], "over what lies below");
    let again = lab.run(&other, &[], 0);
    assert_eq!(again.made(), ["dataset", "volumes"], "the own store has what was made in it");
    assert_eq!(state(&lab.path("theirs")), before, "nothing is written");

    fs::remove_dir_all(lab.path(".voxflow")).expect("removes");
    let forced = lab.run(TINY, &[&below[..], &["--force", "split"]].concat(), 0);
    assert_eq!(forced.made(), ["split"]);
    // Of the same size, but not of that digest.
    let listing = theirs.stage("volumes")["artifact"]["volumes.json"]["digest"].as_str();
    let listing = listing.expect("a digest").to_string();
    let blob = lab.path(&format!("theirs/store-v1/blobs/{}/{listing}", &listing[..2]));
    let bytes = fs::read(&blob).expect("reads").len();
    fs::remove_file(&blob).expect("removes");
    fs::write(&blob, vec![b' '; bytes]).expect("writes");
    fs::remove_dir_all(lab.path(".voxflow")).expect("removes");
    let run = lab.run(TINY, &below, 0);
    assert_eq!(run.made(), ["volumes"]);
    assert_eq!(run.items("volumes"), (0, 7), "its cases are whole");
    assert_eq!(run.digests(), theirs.digests());
    let wrong = lab.voxflow(&["run", "workflow.yaml", "--lower-store", "nowhere"]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    assert!(wrong.err.contains("--lower-store: nowhere: is no store"), "{}", wrong.err);
}

/// A file of the program's output beside a lab.
fn copied(from: &Lab, to: &Lab, name: &str) {
    fs::copy(from.path(name), to.path(name)).expect("copies");
}

#[test]
fn a_packed_run_is_reproduced_elsewhere_and_taken_for_a_run_everywhere() {
    let (there, here) = (cubes().0, Lab::new());
    there.run(CUBES, &["--device", "cpu"], 0);
    for (out, flag) in
        [("whole.tar", "--with-data"), ("bare.tar", "--quiet"), ("record.tar", "--record-only")]
    {
        let shown = there.voxflow(&["pack", "latest", "--out", out, flag]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        copied(&there, &here, out);
    }
    // On another machine the data does not lie where it lay.
    fs::rename(there.path("data"), there.path("gone")).expect("moves");
    let again = there.voxflow(&["pack", "latest", "--out", "bare.tar"]);
    assert!(again.code == 2 && again.err.contains("exists: name another"), "{}", again.err);
    let wrong = there.voxflow(&["pack", "latest", "--out", "x.tar", "--without", "volums"]);
    assert!(wrong.code == 2 && wrong.err.contains("did you mean 'volumes'?"), "{}", wrong.err);

    let shown = here.voxflow(&["reproduce", "whole.tar", "--device", "cpu"]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert!(
        shown.err.contains("same bytes: 7 results of run ") && shown.err.contains("same scores: "),
        "{}",
        shown.err
    );
    let run = here.last_run();
    assert_eq!(run.made(), ["dataset"], "refers to the data here; all else is taken over");
    let row = |name: &str| {
        shown.out.lines().find(|line| line.starts_with(name)).expect("a row").to_string()
    };
    assert!(
        row("model").contains("taken over") && row("model").contains("same bytes"),
        "{}",
        shown.out
    );

    let image = there.path("gone/imagesTr/case_06.nii.gz");
    fs::copy(image, here.path("scan.nii.gz")).expect("copies");
    for command in [
        &["show", "record.tar"][..],
        &["show", "bare.tar", "--stage", "final"],
        &["report", "bare.tar", "--out", "report.html"],
        &["export", "bare.tar", "--out", "bundle"],
        &["export", "bare.tar/model", "--out", "weights", "--format", "safetensors"],
        &["predict", "--model", "bare.tar", "scan.nii.gz", "--out", "labels", "--device", "cpu"],
        &["compare", "record.tar", "latest"],
    ] {
        let shown = here.voxflow(command);
        assert_eq!(shown.code, 0, "{command:?}: {}", shown.err);
    }
    assert!(here.path("labels/scan.nii.gz").is_file() && here.path("report.html").is_file());
    let other = "name: other\nstages:\n  out: { uses: export, needs: [bare.tar/model], with: { format: torchscript } }\n";
    assert_eq!(here.run(other, &[], 0).made(), ["out"], "a need of another workflow");

    assert_eq!(here.voxflow(&["cache", "gc", "--older-than", "300d"]).code, 0);
    let unpacked = fs::read_dir(here.path(".voxflow/packs")).expect("lists").count();
    assert_eq!(unpacked, 1, "the one that a run refers to");
    let bare = Lab::new();
    copied(&there, &bare, "bare.tar");
    let shown = bare.voxflow(&["reproduce", "bare.tar", "--device", "cpu"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("stage 'dataset': 'data' is not there"), "{}", shown.err);
    assert!(shown.err.contains("'--data [STAGE=]PATH' says where"), "{}", shown.err);
}

#[test]
fn a_colleagues_run_is_reproduced_from_where_it_lies_and_other_data_is_told() {
    let ((there, data), here) = (cubes(), Lab::new());
    let theirs = there.run(&trained(), &["--device", "cpu"], 0);
    let before = state(&there.path(".voxflow/store-v1/entries"));
    let (run, place) = (theirs.folder.display().to_string(), data.folder.display().to_string());
    let place = place.as_str();
    let shown = here.voxflow(&["reproduce", &run, "--data", place, "--device", "cpu"]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert_eq!(here.last_run().digests(), theirs.digests());
    let wrong = here.voxflow(&["reproduce", &run, "--data", &format!("datset={place}")]);
    assert!(wrong.code == 2 && wrong.err.contains("did you mean 'dataset'?"), "{}", wrong.err);

    data.write_case(6, 1);
    let named = format!("dataset={place}");
    let flags = ["reproduce", &run, "--data", &named, "--device", "cpu", "--format", "json"];
    let shown = here.voxflow(&flags);
    assert_eq!(shown.code, 1, "a case for testing has changed: {}", shown.err);
    let rows: Vec<Value> = serde_json::from_str(&shown.out).expect("JSON");
    let of = |stage: &str| {
        let row = rows.iter().find(|row| row["stage"] == stage).expect("a row");
        (row["here"].as_str().expect("a word"), row["compared"].as_str().expect("words"))
    };
    assert!(of("dataset").1.contains("2 files changed"), "{rows:?}");
    assert_eq!(of("split"), ("taken over", "same bytes"), "{rows:?}");
    assert!(
        of("volumes").0 == "made" && of("volumes").1.contains("files differ: case_06/"),
        "{rows:?}"
    );
    assert_eq!(of("model").1, "same bytes", "{rows:?}");
    assert!(shown.err.contains("other bytes: 3 of 6 results"), "{}", shown.err);
    assert_eq!(here.last_run().items("volumes"), (1, 6), "single cases are taken over too");
    assert_eq!(state(&there.path(".voxflow/store-v1/entries")), before, "nothing is written there");
}

#[test]
fn a_run_made_anew_has_the_same_bytes() {
    let (lab, _) = cubes();
    lab.run(&trained(), &["--device", "cpu", "--threads", "1"], 0);
    let shown = lab.voxflow(&["reproduce", "latest", "--anew", "--device", "cpu"]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert_eq!(lab.last_run().made().len(), 6);
    assert!(shown.err.contains("same bytes: 6 results of run "), "{}", shown.err);
    let shown = lab.voxflow(&["reproduce", "latest", "--device", "cpu"]);
    assert!(shown.err.contains("nothing was made here: '--anew' makes"), "{}", shown.err);
    let set = ["reproduce", "latest", "--set", "model.epochs=1", "--device", "cpu"];
    let shown = lab.voxflow(&set);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(
        shown.out.contains("files differ: ") && shown.out.contains("epochs 2 → 1"),
        "{}",
        shown.out
    );
}

#[test]
fn a_workflow_is_written_as_changes_of_another_file() {
    let (lab, _) = cubes();
    fs::create_dir(lab.path("base")).expect("a folder");
    fs::rename(lab.path("data"), lab.path("base/data")).expect("moves");
    lab.write("base/cubes.yaml", &prepared("cubes"));
    let mine =
        "extends: base/cubes.yaml\nstages:\n  split: { with: { training: 3, validation: 2 } }\n";
    lab.write("mine.yaml", mine);
    let shown = lab.voxflow(&["check", "mine.yaml"]);
    assert_eq!(shown.code, 0, "its data lies beside it: {}", shown.err);
    let origin = "extends base/cubes.yaml: dataset, volumes, cache as there; split with training, validation";
    assert!(shown.err.contains(origin), "{}", shown.err);
    let first = lab.voxflow(&["run", "base/cubes.yaml", "--set", "dataset.path=base/data"]);
    assert_eq!(first.code, 0, "{}", first.err);
    let run = lab.run(mine, &[], 0);
    assert_eq!(
        (run.made(), run.value["workflow"].as_str()),
        (vec!["split", "cache"], Some("workflow"))
    );
    let kept = fs::read_to_string(run.folder.join("base-1.yaml")).expect("the base");
    assert_eq!(kept, prepared("cubes"), "what was run can be read");
    let resolved = fs::read_to_string(run.folder.join("resolved.yaml")).expect("a workflow");
    assert!(resolved.contains("path: base/data") && resolved.contains("training: 3"), "{resolved}");
    lab.write("base/cubes.yaml", &prepared("cubes").replace("order: listed", "ordr: listed"));
    let wrong = lab.voxflow(&["check", "mine.yaml"]);
    assert!(wrong.code == 2 && wrong.err.contains("base/cubes.yaml:5:"), "{}", wrong.err);
}

#[test]
fn plan_verify_counts_a_case_with_damaged_bytes_among_those_to_be_made() {
    let (lab, data) = cubes();
    let run = lab.run(&prepared("cubes"), &[], 0);
    let digest = run.stage("volumes")["artifact"]["case_01/image.nii"]["digest"].as_str();
    let digest = digest.expect("a digest");
    let blob = lab.path(".voxflow/store-v1/blobs").join(&digest[..2]).join(digest);
    Damage::Middle.to(&blob, &mut Chance::new(1));
    data.write_case(6, 1);
    let shown = lab.voxflow(&["plan", "workflow.yaml", "--verify", "--format", "json"]);
    let plan: Value = serde_json::from_str(&shown.out).expect("JSON");
    let missing = &plan["stages"][2]["items"]["missing"];
    assert_eq!(*missing, serde_json::json!(["case_01", "case_06"]), "{plan}");
    assert_eq!(lab.run(&prepared("cubes"), &["--verify"], 0).items("volumes"), (2, 5));
}

#[test]
fn a_packed_run_brings_its_scripts_along() {
    let (there, here) = (Lab::new(), Lab::new());
    let text = "name: own
stages:
  own:
    uses: command
    with:
      scripts: { main: code/main.sh, words: code/words.sh }
      run: ['${scripts.main}', '${output}']
";
    let main = there.write("code/main.sh", "#!/bin/sh\n. \"${0%/*}/words.sh\" > \"$1/a\"\n");
    fs::set_permissions(main, fs::Permissions::from_mode(0o755)).expect("a mode");
    let words = there.write("code/words.sh", "echo hello\n");
    there.run(text, &[], 0);
    let shown = there.voxflow(&["pack", "latest", "--out", "own.tar"]);
    assert!(shown.code == 0 && !shown.err.contains("without"), "{}", shown.err);
    copied(&there, &here, "own.tar");
    let shown = here.voxflow(&["reproduce", "own.tar"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("taken over"), "{}", shown.out);
    let shown = here.voxflow(&["reproduce", "own.tar", "--anew"]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert!(shown.err.contains("same bytes: 1 result of run "), "{}", shown.err);

    fs::write(words, "echo other\n").expect("writes");
    let shown = there.voxflow(&["pack", "latest", "--out", "late.tar"]);
    assert!(shown.err.contains("without 'scripts of own': 'code/words.sh' is"), "{}", shown.err);
    copied(&there, &here, "late.tar");
    let shown = here.voxflow(&["reproduce", "late.tar"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("'--set own.scripts.NAME=PATH' says where"), "{}", shown.err);
    assert!(!shown.err.contains("--data"), "it reads none: {}", shown.err);
}

#[test]
fn a_need_that_is_not_known_is_the_only_mistake_told() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let text = "name: next
stages:
  listed: { uses: command, needs: [tiny/datset], with: { shell: 'ls ${inputs.dataset} > ${output}/a' } }
  named: { uses: command, needs: { a: listed, b: gone }, with: { shell: 'ls ${inputs.a} ${inputs.b}' } }
";
    lab.write("next.yaml", text);
    let shown = lab.voxflow(&["check", "next.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("did you mean 'tiny/dataset'?"), "{}", shown.err);
    assert!(shown.err.contains("there is no stage 'gone'"), "{}", shown.err);
    assert!(!shown.err.contains("no input has the role"), "{}", shown.err);
}
