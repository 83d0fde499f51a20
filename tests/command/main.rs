//! Programs of a person's own as stages: the examples of the docs, minimal work.

mod endings;
#[path = "../lab/mod.rs"]
mod lab;

use lab::cubes::Dataset;
use lab::leftovers::{assert_clean, processes};
use lab::{Lab, Record, Shown};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn lab() -> Lab {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 4, 1);
    lab
}

/// A lab with every file of the docs: a block of code begins with its name.
fn documented() -> Lab {
    let lab = lab();
    let docs = fs::read_to_string(docs()).unwrap();
    let blocks = docs.split("```").skip(1).step_by(2);
    let named = blocks.filter_map(|block| {
        let (_, code) = block.split_once('\n')?;
        Some((code.lines().next()?.strip_prefix("# ")?.to_string(), code))
    });
    let names: Vec<String> = named
        .map(|(name, code)| {
            lab.write(&name, code);
            name
        })
        .collect();
    assert_eq!(names.len(), 9, "{names:?}");
    let weights = docs_root().join("tests/parity/fixtures/weights/plain.safetensors");
    fs::copy(weights, lab.path("start.safetensors")).unwrap();
    lab
}

fn docs_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn docs() -> PathBuf {
    docs_root().join("docs/command.md")
}

/// A workflow of one program.
fn program(with: &str) -> String {
    format!("name: one\nstages:\n  own:\n    uses: command\n    with: {{ {with} }}\n")
}

fn run(lab: &Lab, file: &str) -> Record {
    let shown = lab.voxflow(&["run", file, "--threads", "2"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    lab.last_run()
}

fn output(run: &Record, file: &str) -> String {
    fs::read_to_string(run.folder.join("outputs").join(file)).unwrap()
}

#[test]
fn the_examples_of_the_docs_run_as_they_stand_and_once() {
    let lab = documented();
    let counted = run(&lab, "count.yaml");
    assert_eq!(output(&counted, "count/count.txt"), "5 cases\n");
    let smoothed = run(&lab, "smooth.yaml");
    assert_eq!(smoothed.items("smooth"), (5, 0));
    assert_eq!(smoothed.items("volumes"), (5, 0));
    run(&lab, "postprocess.yaml");
    let trained = run(&lab, "train.yaml");
    assert_eq!(trained.made(), ["training", "model"], "the dataset is known");
    for file in ["count.yaml", "smooth.yaml", "postprocess.yaml", "train.yaml"] {
        assert!(run(&lab, file).made().is_empty(), "{file}");
    }
    assert_clean(&lab);
}

#[test]
fn a_programs_predictions_are_scored_before_and_after_they_are_cleaned() {
    let lab = documented();
    let text = fs::read_to_string(lab.path("postprocess.yaml")).unwrap();
    let dice = |run: &Record, stage: &str| {
        let rows = run.metrics().into_iter().filter(|row| row[0] == stage);
        let mut rows = rows.filter(|row| row[1]["metric"] == "dice" && row[1]["case"].is_string());
        rows.next().unwrap()[1]["value"].as_f64().unwrap()
    };
    let kept = lab.run(&text, &[], 0);
    assert!(dice(&kept, "before") > 0.9, "{:?}", kept.sorted_metrics());
    assert!((dice(&kept, "before") - dice(&kept, "after")).abs() < 1e-12);
    let emptied = lab.run(&text.replace("voxels: 20", "voxels: 2000"), &[], 0);
    assert_eq!(emptied.made(), ["cleaned", "after"]);
    assert!(dice(&emptied, "after") == 0.0);
}

#[test]
fn a_foreign_trainings_weights_become_a_model_and_its_losses_are_told_again_on_reuse() {
    let lab = documented();
    let first = run(&lab, "train.yaml");
    let losses = |run: &Record| {
        let rows = run.metrics().into_iter().filter(|row| row[0] == "training");
        rows.map(|row| (row[1]["epoch"].clone(), row[1]["value"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(losses(&first).len(), 3, "{:?}", first.metrics());
    assert_eq!(losses(&first), losses(&run(&lab, "train.yaml")));
    assert!(first.folder.join("outputs/model/model.json").exists());
    let text = fs::read_to_string(lab.path("train.yaml")).unwrap();
    let wrong = lab.run(&text.replace("needed_file: weights", "needed_file: wights"), &[], 1);
    let error = wrong.stage("model")["error"].as_str().unwrap();
    assert!(error.contains("no file 'wights.safetensors', but weights.safetensors"), "{error}");
}

#[test]
fn a_line_of_a_script_remakes_its_stage_and_those_after_it_and_a_case_itself_alone() {
    let lab = documented();
    run(&lab, "smooth.yaml");
    Dataset::write(&lab.path("data"), 4, 1).write_case(2, 1);
    let changed = run(&lab, "smooth.yaml");
    assert_eq!((changed.items("smooth"), changed.items("volumes")), ((1, 4), (1, 4)));
    let script = fs::read_to_string(lab.path("smooth.py")).unwrap();
    lab.write("smooth.py", &script.replace("/ 3", "/ 3.0"));
    let plan = lab.voxflow(&["plan", "smooth.yaml"]);
    assert!(plan.out.contains("file 'smooth' changed"), "{}", plan.out);
    let changed = run(&lab, "smooth.yaml");
    assert_eq!(changed.made(), ["smooth"], "the same bytes: what follows is reused");
    assert_eq!(changed.items("smooth"), (5, 0));
    lab.write("smooth.py", &script.replace("/ 3", "/ 4"));
    assert_eq!(run(&lab, "smooth.yaml").made(), ["smooth", "volumes"]);
    fs::create_dir(lab.path("tools")).unwrap();
    fs::rename(lab.path("smooth.py"), lab.path("tools/moved.py")).unwrap();
    let text = fs::read_to_string(lab.path("smooth.yaml")).unwrap();
    lab.write("smooth.yaml", &text.replace("smooth: smooth.py", "smooth: tools/moved.py"));
    assert!(run(&lab, "smooth.yaml").made().is_empty(), "its place is no part of the recipe");
    lab.write(
        "smooth.yaml",
        &text
            .replace("smooth: smooth.py", "smooth: tools/moved.py")
            .replace("passes: 2", "passes: 1"),
    );
    assert_eq!(run(&lab, "smooth.yaml").made(), ["smooth", "volumes"]);
}

#[test]
fn a_folder_of_scripts_is_known_by_all_its_files_and_the_version_is_a_word() {
    let lab = Lab::new();
    lab.write("code/main.sh", "echo $1 > \"$VOXFLOW_OUTPUT/a\"\n");
    lab.write("code/lib/part.sh", "x\n");
    let with = "scripts: { code: code }, run: [sh, '${scripts.code}/main.sh', hi]";
    assert_eq!(output(&lab.run(&program(with), &[], 0), "own/a"), "hi\n");
    lab.write("code/lib/__pycache__/part.pyc", "x");
    lab.write("code/.hidden", "x");
    assert!(lab.run(&program(with), &[], 0).made().is_empty());
    lab.write("code/lib/part.sh", "y\n");
    assert_eq!(lab.run(&program(with), &[], 0).made(), ["own"]);
    let versioned = program(&format!("{with}, version: two"));
    assert_eq!(lab.run(&versioned, &[], 0).made(), ["own"]);
}

#[test]
fn the_same_values_stand_in_words_environment_and_json_and_little_else_passes() {
    let mut lab = Lab::new();
    lab.set("SECRET_THING", "hidden");
    lab.set("LICENSE_FILE", "/opt/license");
    let script = "import json, os, sys
v = json.load(open(os.environ['VOXFLOW_VARIABLES']))
json.dump({'words': sys.argv[1:], 'env': dict(os.environ), 'json': v, 'here': os.getcwd()},
          open(v['output'] + '/seen.json', 'w'))
";
    lab.write("see.py", script);
    let with = "scripts: { see: see.py }, seed: 7, params: { rate: 0.5, names: [a b, c] }, \
                environment: { MODE: fast }, pass_environment: [LICENSE_FILE], \
                run: [python3, '${scripts.see}', 'a ${params.rate}', '${params.names}', '$${x}', \
                '${seed} ${threads} ${stage}']";
    let run = lab.run(&program(with), &["--threads", "1"], 0);
    let seen: Value = serde_json::from_str(&output(&run, "own/seen.json")).unwrap();
    assert_eq!(seen["words"], serde_json::json!(["a 0.5", "[\"a b\",\"c\"]", "${x}", "7 1 own"]));
    assert_eq!(seen["json"]["params.rate"], 0.5);
    assert_eq!(seen["json"]["params"]["names"][0], "a b");
    let env = &seen["env"];
    assert_eq!((&env["MODE"], &env["LICENSE_FILE"]), (&"fast".into(), &"/opt/license".into()));
    assert_eq!(env["VOXFLOW_PARAMS_NAMES"], "[\"a b\",\"c\"]");
    assert!(env["SECRET_THING"].is_null() && env["FOLDER"].is_null(), "{env}");
    assert_eq!(env["TMPDIR"], seen["here"]);
    assert!(!Path::new(seen["here"].as_str().unwrap()).exists(), "removed");
}

/// Fails a program, which must end in one line that has these words, and leave nothing.
fn fails(with: &str, words: &[&str]) -> String {
    let lab = Lab::new();
    lab.write("workflow.yaml", &program(with));
    let began = Instant::now();
    let Shown { code, err, .. } = lab.voxflow(&["run", "workflow.yaml"]);
    assert_eq!(code, 1, "{err}");
    assert!(began.elapsed().as_secs() < 30, "{err}");
    let error = lab.last_run().stage("own")["error"].as_str().unwrap().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    for words in words {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_clean(&lab);
    err
}

/// A program for each case that takes a moment, with processes below it.
const SLOW: &str = "name: slow
stages:
  dataset: { uses: folder, with: { path: data } }
  slow:
    uses: command
    needs: [dataset]
    with:
      each: case
      shell: 'setsid sleep 300 & a=$!; sleep 0.4; echo x > ${output}/x; kill $a'
";

#[test]
fn a_program_goes_on_from_its_own_checkpoint() {
    let lab = Lab::new();
    let with = "shell: 'cd ${unfinished}; if [ -e begun ]; then cat begun > ${output}/x; else echo 1 > begun; exit 1; fi'";
    lab.run(&program(with), &[], 1);
    assert_eq!(output(&lab.run(&program(with), &[], 0), "own/x"), "1\n");
    let folders = fs::read_dir(lab.path(".voxflow/store-v1/unfinished")).unwrap().flatten();
    let left = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap()).count();
    assert_eq!(left, 0, "removed once the stage is made");
}

#[test]
fn what_is_missing_in_a_layout_is_named() {
    fails(
        "makes: dataset, shell: 'echo {} > ${output}/x'",
        &["without 'dataset.json'", "it wrote 'x'"],
    );
    fails(
        "makes: model, shell: 'echo {} > ${output}/model.json'",
        &["'model.json' is not as a model"],
    );
    fails("makes: scores, shell: 'echo x > ${output}/a'", &["without 'scores.json', and scores"]);
    fails("makes: volumes, shell: 'echo x > ${output}/a'", &["without 'volumes.json'"]);
    fails("makes: predictions, shell: 'echo x > ${output}/a'", &["'predictions/<case>.nii.gz'"]);
    let listing = r#"{"modality": {"0": "CT"}, "labels": {"0": "background", "1": "a"}, "training": [{"image": "i/a.nii", "label": "l/a.nii"}]}"#;
    let lists = format!(
        "makes: dataset, shell: {}",
        serde_json::json!(format!("echo '{listing}' > ${{output}}/dataset.json"))
    );
    fails(&lists, &["files that its dataset.json lists (i/a.nii, l/a.nii)"]);
}

#[test]
fn a_whole_dataset_in_a_usual_layout_is_taken_over_and_read_by_what_follows() {
    let lab = lab();
    let text = "name: converted
stages:
  own:
    uses: command
    with: { makes: dataset, scripts: { data: data }, shell: 'cp -R ${scripts.data}/. ${output}' }
  copied:
    uses: command
    needs: [own]
    with: { makes: dataset, shell: 'cp -RL ${inputs.dataset}/. ${output}' }
  volumes: { uses: preprocess, needs: [copied], with: { spacing: [1, 1, 1], intensity: { zscore: all } } }
";
    let run = lab.run(text, &[], 0);
    assert_eq!(run.items("volumes"), (5, 0));
    assert_eq!(run.stage("copied")["digest"], run.stage("own")["digest"]);
    lab.run(
        &text.replace(
            "{ makes: dataset, shell",
            "{ makes: dataset, parts: { dataset: [imagesTr/] }, shell",
        ),
        &[],
        1,
    );
    let error = lab.last_run().stage("copied")["error"].as_str().unwrap().to_string();
    assert!(error.contains("without 'dataset.json'"), "it reads its parts alone: {error}");
}

#[test]
fn metrics_are_rows_of_the_table_and_a_line_that_is_none_ends_the_program() {
    let lab = lab();
    let text = SLOW.replace(
        "setsid sleep 300 & a=$!; sleep 0.4; echo x > ${output}/x; kill $a",
        "echo \"{\\\"metric\\\": \\\"snr\\\", \\\"value\\\": 2.5}\" >> ${metrics}; echo x > ${output}/x",
    );
    let rows = |run: &Record| run.sorted_metrics();
    let first = lab.run(&text, &[], 0);
    assert_eq!(rows(&first).len(), 5, "{:?}", rows(&first));
    assert!(rows(&first)[0].contains("\"case\":\"case_00\"") && rows(&first)[0].contains("2.5"));
    assert_eq!(rows(&first), rows(&lab.run(&text, &[], 0)), "told again");
    let bad = "shell: 'echo dice 0.9 >> ${metrics}; sleep 300'";
    fails(bad, &["line 1 of the metrics, 'dice 0.9'", "write an object a line"]);
}

#[test]
fn check_and_plan_run_nothing_and_a_run_may_refuse() {
    let lab = Lab::new();
    let proof = lab.path("proof");
    let text = program(&format!("shell: 'touch {} ${{output}}/x'", proof.display()));
    lab.write("workflow.yaml", &text);
    for command in ["check", "plan"] {
        assert_eq!(lab.voxflow(&[command, "workflow.yaml"]).code, 0);
    }
    for command in ["run", "sweep"] {
        let over = ["--over", "own.seed=1,2"];
        let flags: &[&str] = if command == "sweep" { &over } else { &[] };
        let arguments: Vec<&str> =
            [command, "workflow.yaml", "--no-commands"].iter().chain(flags).copied().collect();
        let shown = lab.voxflow(&arguments);
        assert_eq!(shown.code, 2, "{}", shown.err);
        assert!(shown.err.contains("in 'own', and '--no-commands' refuses"), "{}", shown.err);
    }
    assert!(!proof.exists() && lab.runs().is_empty());
    assert_eq!(lab.voxflow(&["run", "workflow.yaml"]).code, 0);
    assert!(proof.exists());
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    let lab = lab();
    lab.write("local.py", "");
    for (with, needs, words) in [
        ("", "[]", "'run': is missing"),
        ("run: [a], shell: b", "[]", "stands beside 'run'"),
        ("run: [a, '${inputs.data}']", "[dataset]", "no input has the role 'data'"),
        ("run: [a, '${params.x}']", "[]", "'${params.x}' is no name that is filled in"),
        ("run: [a, '${outptu}']", "[]", "did you mean 'output'"),
        ("run: [a, '${image}']", "[dataset]", "has a value with 'each: case' only"),
        ("run: [a], each: case", "[]", "name a stage that makes a dataset among 'needs'"),
        (
            "run: [a], each: case, makes: model",
            "[dataset]",
            "makes a dataset, predictions or files",
        ),
        ("run: [a], makes: modle", "[]", "did you mean 'model'"),
        ("run: [python3, local.py]", "[]", "'local.py' is a local file"),
        ("run: [a], scripts: { a: none.py }", "[]", "'none.py' is not there"),
        ("run: [a], parts: { x: [b] }", "[dataset]", "no input has the role 'x'"),
        ("run: [a], max_hours: 0", "[]", "must be above 0"),
        ("run: [a]", "[dataset, dataset]", "'dataset' is needed twice; remove one"),
        ("run: [a]", "[dataset, more]", "would both be 'dataset'; name the roles"),
        ("run: [a]", "{ one: [dataset] }", "role 'one' of a program takes one stage"),
        ("run: [a]", "{ one: datset }", "there is no stage 'datset'"),
        ("run: [a], environment: { VOXFLOW_X: b }", "[]", "begins with VOXFLOW_"),
    ] {
        let text = format!(
            "name: x\nstages:\n  dataset: {{ uses: folder, with: {{ path: data }} }}\n  more: {{ uses: folder, with: {{ path: data }} }}\n  own: {{ uses: command, needs: {needs}, with: {{ {with} }} }}\n"
        );
        lab.write("workflow.yaml", &text);
        let shown = lab.voxflow(&["check", "workflow.yaml"]);
        assert_eq!(shown.code, 2, "{with}: {}{}", shown.out, shown.err);
        assert!(
            format!("{}{}", shown.out, shown.err).contains(words),
            "{with}: {}{}",
            shown.out,
            shown.err
        );
    }
}

#[test]
fn on_a_cluster_cases_are_shared_among_jobs_and_a_program_fails_with_the_same_words() {
    let lab = documented();
    lab.write("site.yaml", "executor: children\nchildren: 3\nitems_per_job: 2\n");
    let there = lab.voxflow(&["run", "smooth.yaml", "--site", "site.yaml"]);
    assert_eq!(there.code, 0, "{}", there.err);
    let there = lab.last_run();
    assert_eq!(there.items("smooth"), (5, 0));
    assert_eq!(there.stage("smooth")["maker"]["job"]["cluster"], "children");
    let trained = lab.voxflow(&["run", "train.yaml", "--site", "site.yaml"]);
    assert_eq!(trained.code, 0, "{}", trained.err);
    assert_eq!(lab.last_run().metrics().iter().filter(|row| row[0] == "training").count(), 3);
    let here = documented();
    assert_eq!(run(&here, "smooth.yaml").digests(), there.digests());
    lab.write("workflow.yaml", &program("shell: 'echo no luck; exit 4'"));
    let failed = lab.voxflow(&["run", "workflow.yaml", "--site", "site.yaml"]);
    assert!(
        failed.code == 1 && failed.err.contains("exit code 4 (last words: no luck)"),
        "{}",
        failed.err
    );
    lab.wait("processes to end", |lab| processes(lab).is_empty());
}

#[test]
fn a_program_is_charged_with_all_that_it_started_and_each_case_with_its_own() {
    let lab = lab();
    let eater = "import os, subprocess, sys, time
hold = 'import time; kept = bytearray(80 << 20); time.sleep(2)'
both = [subprocess.Popen([sys.executable, '-c', hold]) for _ in range(2)]
burn = 'import time\\nwhile time.process_time() < 0.7: pass'
subprocess.run([sys.executable, '-c', burn])
for child in both: child.wait()
with open(os.environ['VOXFLOW_OUTPUT'] + '/x', 'wb') as out:
    out.write(bytes(3 << 20)); out.flush(); os.fsync(out.fileno())
";
    lab.write("eater.py", eater);
    let with = "scripts: { eater: eater.py }, run: [python3, '${scripts.eater}']";
    let run = lab.run(&program(with), &[], 0);
    let maker = &run.stage("own")["maker"];
    let number = |key: &str| maker[key].as_f64().unwrap();
    assert!((0.7..20.0).contains(&number("cpu_seconds")), "{maker}");
    let mib = number("peak_rss_bytes") / f64::from(1 << 20);
    assert!((160.0..400.0).contains(&mib), "two children hold 80 MiB each: {maker}");
    assert!(number("written_bytes") >= f64::from(3 << 20), "{maker}");
    assert!(number("read_bytes") >= 0.0, "{maker}");
    let cases = lab.run(
        &SLOW.replace("sleep 0.4", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"),
        &[],
        0,
    );
    let events = cases.events();
    let measured = |metric: &str| {
        let rows = events.iter().map(|event| &event["message"]);
        let rows = rows.filter(|row| row["metric"] == metric && row["measured"] == true);
        rows.map(|row| (row["case"].as_str().unwrap().to_string(), row["value"].as_f64().unwrap()))
            .collect::<Vec<_>>()
    };
    for metric in ["cpu_seconds", "peak_rss_bytes", "read_bytes", "written_bytes"] {
        assert_eq!(measured(metric).len(), 5, "{metric}");
    }
    let seconds: f64 = measured("cpu_seconds").iter().map(|(_, value)| value).sum();
    let of_stage = cases.stage("slow")["maker"]["cpu_seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && (seconds - of_stage).abs() < 1e-6, "{seconds} {of_stage}");
    assert!(measured("peak_rss_bytes").iter().all(|(_, bytes)| *bytes > 1e5));
}

/// Cases to be made and all cases of a stage, as planned; then those of the run.
fn foretold_and_done(lab: &Lab, stages: &[&str]) -> [Vec<(u64, u64)>; 2] {
    let shown = lab.voxflow(&["plan", "copies.yaml", "--format", "json"]);
    let plan: Value = serde_json::from_str(&shown.out).unwrap();
    let planned = stages.iter().map(|id| {
        let all = plan["stages"].as_array().unwrap();
        let items = &all.iter().find(|stage| stage["stage"] == *id).unwrap()["items"];
        let missing = items["missing"].as_array().unwrap_or_else(|| panic!("{}", shown.out));
        (missing.len() as u64, items["all"].as_u64().unwrap())
    });
    let planned = planned.collect();
    let run = run(lab, "copies.yaml");
    let done = stages.iter().map(|id| run.items(id)).map(|(made, reused)| (made, made + reused));
    [planned, done.collect()]
}

#[test]
fn a_plan_tells_which_cases_a_program_will_be_run_for() {
    let lab = lab();
    lab.write(
        "copies.yaml",
        "name: copies
stages:
  dataset: { uses: folder, with: { path: data } }
  copies:
    uses: command
    needs: [dataset]
    with: { makes: dataset, each: case, run: [cp, '${image}', '${output.image}'] }
  volumes:
    uses: preprocess
    needs: [copies]
    with: { spacing: [4, 4, 4], intensity: { zscore: all } }
",
    );
    run(&lab, "copies.yaml");
    let stages = ["copies", "volumes"];
    Dataset::write(&lab.path("data"), 4, 1).write_case(2, 1);
    let [planned, done] = foretold_and_done(&lab, &stages);
    assert_eq!(planned, [(1, 5), (1, 5)], "a case that changed");
    assert_eq!(planned, done);
    Dataset::write(&lab.path("data"), 6, 1).write_case(2, 1);
    let [planned, done] = foretold_and_done(&lab, &stages);
    assert_eq!(planned[0].1, 7, "cases that were added");
    assert_eq!(planned, done);
    Dataset::write(&lab.path("data"), 3, 0);
    let [planned, done] = foretold_and_done(&lab, &stages);
    assert_eq!(planned[0].1, 3, "cases that are gone");
    assert_eq!(planned, done);
}

#[test]
fn whatever_a_program_leaves_in_its_folder_ends_its_own_stage_alone() {
    let lab = Lab::new();
    let closed =
        "mkdir ${output}/d; echo 1 > ${output}/d/a; chmod 400 ${output}/d/a; chmod 500 ${output}/d";
    let hidden =
        "mkdir -p w/x; touch w/x/a; chmod 000 w/x w; echo 1 > ${output}/a; chmod 000 ${output}/a";
    let text = format!(
        "name: own
stages:
  closed: {{ uses: command, with: {{ shell: '{closed}' }} }}
  hidden: {{ uses: command, with: {{ shell: '{hidden}' }} }}
  gone: {{ uses: command, with: {{ shell: 'rm -r ${{output}}' }} }}
  taken: {{ uses: command, with: {{ shell: 'mkdir ${{output}}/.voxflow-command; touch ${{output}}/.voxflow-command/a' }} }}
  after: {{ uses: command, needs: [closed], with: {{ shell: 'cp ${{inputs.files}}/d/a ${{output}}/b' }} }}
"
    );
    let run = lab.run(&text, &["--keep-going"], 1);
    assert_eq!(
        run.outcomes(),
        "closed=made hidden=made gone=failed taken=failed after=made",
        "{}",
        run.value
    );
    let error = |stage: &str| run.stage(stage)["error"].as_str().unwrap_or_default().to_string();
    assert!(error("gone").contains("removed the folder ${output}"), "{}", error("gone"));
    assert!(error("taken").contains("'.voxflow-command', a name that"), "{}", error("taken"));
    let drafts = fs::read_dir(lab.path(".voxflow/store-v1/drafts")).unwrap();
    assert_eq!(drafts.count(), 0, "nothing is left of them");
    assert_eq!(output(&run, "closed/d/a"), "1\n");
}
