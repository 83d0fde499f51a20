//! Stages made by jobs, on a cluster of plain child processes: the whole way of a cluster, its
//! deaths included, without a batch system.

mod lab;

use flate2::Compression;
use lab::cubes::{CUBES, Dataset};
use lab::{Lab, TINY};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;

/// A site where stages have as many threads as in the runs that are compared with.
const SITE: &str = "executor: children
children: 3
items_per_job: 2
kinds:
  preprocess: { cpus: 2 }
  cache: { cpus: 2 }
  baseline: { cpus: 2 }
  synthesize: { cpus: 2 }
";

fn workflow() -> String {
    format!("{TINY}  score: {{ uses: baseline, needs: [cache], with: {{ method: mean_label }} }}\n")
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("site.yaml", SITE);
    lab
}

const REMOTE: [&str; 2] = ["--site", "site.yaml"];

/// The attempts in the store.
fn attempts(lab: &Lab) -> Vec<PathBuf> {
    let mut found = vec![];
    let below = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    for prefix in below(lab.path(".voxflow/store-v1/attempts")) {
        for stage in below(prefix) {
            found.extend(below(stage));
        }
    }
    found
}

/// The process of each attempt that runs now.
fn processes(lab: &Lab) -> Vec<i32> {
    let own = lab.path("").display().to_string();
    let mut found = vec![];
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        if words.contains("\0task\0") && words.contains(own.trim_end_matches('/')) {
            found.push(pid);
        }
    }
    found
}

#[test]
fn jobs_make_the_same_bytes_as_this_program_and_nothing_is_left_behind() {
    let here = lab();
    let expected = here.run(&workflow(), &["--executor", "here", "--threads", "2"], 0);
    let there = lab();
    let run = there.run(&workflow(), &REMOTE, 0);
    assert_eq!(run.digests(), expected.digests());
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics());
    assert_eq!(run.items("volumes"), (7, 0), "made by shares, each once");
    let maker = &run.stage("score")["maker"];
    assert_eq!(maker["job"]["cluster"], "children", "{maker}");
    assert_eq!(run.stage("split")["maker"]["job"], serde_json::Value::Null, "a moment's work");
    let report = fs::read_to_string(run.folder.join("report.html")).unwrap();
    assert!(report.contains("<h2>Jobs</h2>") && report.contains("used most"));
    let again = there.run(&workflow(), &REMOTE, 0);
    assert!(again.made().is_empty(), "{}", again.outcomes());
    assert!(processes(&there).is_empty());
}

#[test]
fn a_killed_orchestrator_loses_nothing_that_its_jobs_go_on_to_make() {
    let lab = lab();
    lab.write("workflow.yaml", &workflow());
    let mut first = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("a job", |lab| !processes(lab).is_empty());
    first.kill().unwrap();
    first.wait().unwrap();
    let before = attempts(&lab).len();
    lab.wait("the jobs to end", |lab| processes(lab).is_empty());
    assert!(before > 0);
    let shown = lab.voxflow(&["run", "workflow.yaml", "--site", "site.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("takes over a finished job"), "{}", shown.err);
}

#[test]
fn a_killed_job_is_made_again_and_its_finished_items_are_kept() {
    let lab = lab();
    let text = workflow()
        .replace("cases: 6, unlabelled: 1, shape: [24, 24, 24]", "cases: 12, shape: [96, 96, 96]");
    let text = text.replace(
        "training: 3, validation: 1, testing: 2",
        "training: 6, validation: 3, testing: 3",
    );
    lab.write("workflow.yaml", &text);
    let run = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("a job", |lab| !processes(lab).is_empty());
    for pid in processes(&lab) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).ok();
    }
    let output = run.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let died = ["another attempt: its process died", "another attempt: it did not start"];
    assert!(died.iter().any(|words| err.contains(words)), "{err}");
    assert_eq!(lab.last_run().stage("score")["outcome"], "made");
}

#[test]
fn a_stage_that_fails_on_a_node_fails_with_its_own_words() {
    let lab = lab();
    let bad = workflow().replace("spacing: [12, 12, 12]", "spacing: [0.0001, 0.0001, 0.0001]");
    lab.write("workflow.yaml", &bad);
    let there = lab.voxflow(&["run", "workflow.yaml", "--site", "site.yaml"]);
    let here = lab.voxflow(&["run", "workflow.yaml", "--executor", "here"]);
    assert_eq!((there.code, here.code), (1, 1), "{}", there.err);
    let words = |err: &str| {
        let line = err.lines().find(|line| line.contains("case_01") || line.contains("voxels"));
        line.map(str::to_string)
    };
    assert_eq!(words(&there.err), words(&here.err), "{}", there.err);
}

#[test]
fn a_stopped_run_leaves_its_jobs_and_the_same_command_takes_them_up() {
    let lab = lab();
    let text = workflow().replace(
        "cases: 6, unlabelled: 1, shape: [24, 24, 24]",
        "cases: 10, shape: [128, 128, 128]",
    );
    let text = text.replace(
        "training: 3, validation: 1, testing: 2",
        "training: 6, validation: 2, testing: 2",
    );
    lab.write("workflow.yaml", &text);
    let run = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("a job", |lab| !processes(lab).is_empty());
    kill_process(Pid::from_raw(run.id() as i32).unwrap(), Signal::INT).unwrap();
    let output = run.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("its job goes on; the same command takes it up"), "{err}");
    assert!(!processes(&lab).is_empty(), "the job goes on");
    let shown = lab.voxflow(&["run", "workflow.yaml", "--site", "site.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let words = ["follows a job", "takes over a finished job"];
    assert!(words.iter().any(|words| shown.err.contains(words)), "{}", shown.err);
}

#[test]
fn stop_asks_the_process_of_a_run_and_cancels_its_jobs() {
    let lab = lab();
    let text = workflow()
        .replace(
            "cases: 6, unlabelled: 1, shape: [24, 24, 24]",
            "cases: 40, shape: [160, 160, 160]",
        )
        .replace(
            "training: 3, validation: 1, testing: 2",
            "training: 30, validation: 5, testing: 5",
        );
    lab.write("workflow.yaml", &text);
    let run = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("a job", |lab| !processes(lab).is_empty());
    let shown = lab.voxflow(&["stop", "latest", "--site", "site.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for words in ["was asked to stop", "1 job cancelled: vf-"] {
        assert!(shown.err.contains(words), "{}", shown.err);
    }
    assert_eq!(run.wait_with_output().unwrap().status.code(), Some(130));
    lab.wait("the job to end", |lab| processes(lab).is_empty());
    let shown = lab.voxflow(&["stop", "latest", "--site", "site.yaml"]);
    assert!(
        shown.err.contains("nothing of it runs") || shown.err.contains("cancelled"),
        "{}",
        shown.err
    );
}

#[test]
fn a_site_is_checked_by_what_its_cluster_says_and_by_a_small_job() {
    let lab = lab();
    let shown = lab.voxflow(&["site", "check", "--site", "site.yaml", "--try"]);
    assert_eq!(shown.code, 0, "{}{}", shown.out, shown.err);
    assert!(shown.out.contains("preprocess") && shown.out.contains("shared"), "{}", shown.out);
    let elsewhere = lab.voxflow(&["site", "check"]);
    assert!(elsewhere.err.contains("stages are made here"), "{}", elsewhere.err);
    lab.write("bad.yaml", "slurm: { partion: x }\n");
    let bad = lab.voxflow(&["site", "check", "--site", "bad.yaml"]);
    assert_eq!(bad.code, 2);
    assert!(bad.err.contains("did you mean 'partition'?"), "{}", bad.err);
}

/// Commands that stand in for Slurm's: they run the jobs at once and write down each call.
/// `FAKE_ANSWER` says how `sbatch` answers.
fn with_fake_slurm(lab: &mut Lab) -> PathBuf {
    let folder = lab.path("fake");
    let commands = [
        (
            "sbatch",
            r#"for word in "$@"; do
    case $word in
        --job-name=*) name=${word#*=} ;;
        --array=0-*) last=${word#--array=0-}; last=${last%%%*} ;;
    esac
    script=$folder; folder=$word
done
id=$(cat "$FAKE/id" 2>/dev/null || echo 0); id=$((id + 1)); echo $id >"$FAKE/id"
for i in $(seq 0 "$last"); do
    echo "$name|$id|$i|RUNNING|None|node" >"$FAKE/job-$id-$i"
    (
        export SLURM_ARRAY_JOB_ID=$id SLURM_ARRAY_TASK_ID=$i
        bash "$script" "$folder" >"$folder/$i.out" 2>&1
        echo "$name|$id|$i|COMPLETED|None|node" >"$FAKE/job-$id-$i"
    ) </dev/null >/dev/null 2>&1 &
done
case $FAKE_ANSWER in
    garbage) echo "sbatch: that went well" ;;
    twice) echo $id; echo $id ;;
    late) sleep 2; echo $id ;;
    fails) echo "sbatch: error: Unable to contact slurm controller" >&2; exit 1 ;;
    *) echo $id ;;
esac"#,
        ),
        (
            "squeue",
            r#"while [ $# -gt 0 ]; do case $1 in -n) name=$2 ;; esac; shift; done
if [ -n "$name" ]; then cat "$FAKE"/job-* | grep "^$name|" | cut -d'|' -f2; else cat "$FAKE"/job-*; fi"#,
        ),
        ("sacct", "echo no accounting >&2; exit 1"),
        ("scontrol", "echo 'MaxArraySize            = 3'"),
    ];
    for (name, body) in commands {
        let text = format!("#!/bin/bash\necho \"{name} $*\" >>\"$FAKE/calls\"\n{body}\n");
        let path = lab.write(&format!("fake/{name}"), &text);
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    lab.set("FAKE", folder.display().to_string());
    lab.set("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    lab.write(
        "site.yaml",
        &SITE.replace("executor: children\nchildren: 3", "executor: slurm\nslurm: { look: 1s }"),
    );
    folder
}

#[test]
fn however_sbatch_answers_each_job_is_submitted_once() {
    let here = lab();
    let expected = here.run(&workflow(), &["--executor", "here", "--threads", "2"], 0);
    let mut counts = vec![];
    for answer in ["well", "garbage", "twice", "late", "fails"] {
        let mut lab = lab();
        let fake = with_fake_slurm(&mut lab);
        lab.set("FAKE_ANSWER", answer);
        let run = lab.run(&workflow(), &REMOTE, 0);
        assert_eq!(run.digests(), expected.digests(), "{answer}");
        let jobs = fs::read_dir(&fake).unwrap().flatten();
        let jobs = jobs.filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"));
        counts.push(jobs.count());
        assert_eq!(run.stage("score")["maker"]["job"]["attempts"], 1, "{answer}");
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

#[test]
fn a_run_with_nothing_to_do_asks_slurm_nothing() {
    let mut lab = lab();
    let fake = with_fake_slurm(&mut lab);
    lab.run(&workflow(), &REMOTE, 0);
    let before = fs::read_to_string(fake.join("calls")).unwrap();
    let again = lab.run(&workflow(), &REMOTE, 0);
    assert!(again.made().is_empty());
    lab.voxflow(&["plan", "workflow.yaml"]);
    assert_eq!(fs::read_to_string(fake.join("calls")).unwrap(), before);
}

/// Arrays that were submitted, by their number of jobs.
fn arrays(fake: &std::path::Path) -> Vec<String> {
    let calls = fs::read_to_string(fake.join("calls")).unwrap();
    let sbatch = calls.lines().filter(|line| line.starts_with("sbatch "));
    let array = |line: &str| {
        let word = line.split(' ').find(|word| word.starts_with("--array="))?;
        Some(word.trim_start_matches("--array=0-").split('%').next()?.to_string())
    };
    sbatch.filter_map(array).collect()
}

#[test]
fn jobs_for_items_are_as_many_as_the_missing_items_ask_for() {
    let mut lab = lab();
    let fake = with_fake_slurm(&mut lab);
    let text = |cases: u32, training: u32| {
        workflow()
            .replace("cases: 6", &format!("cases: {cases}"))
            .replace("training: 3", &format!("training: {training}"))
    };
    let first = lab.run(&text(6, 3), &REMOTE, 0);
    assert_eq!(first.items("volumes"), (7, 0));
    assert!(arrays(&fake).len() > 4, "volumes in two arrays of at most three: {:?}", arrays(&fake));
    fs::remove_file(fake.join("calls")).unwrap();
    let second = lab.run(&text(7, 4), &REMOTE, 0);
    assert_eq!(second.items("volumes"), (2, 6), "{}", second.outcomes());
    assert!(arrays(&fake).iter().all(|last| last == "0"), "one job each: {:?}", arrays(&fake));
}

/// Words before the program of a job that replace an image by another one of the same size while
/// the first job over it runs, and bring it back before that ends: the node reads bytes that its
/// recipe does not name.
fn with_mischief(lab: &Lab) {
    let data = Dataset::write(&lab.path("data"), 7, 0);
    let images = [0, 1].map(|case| fs::read(data.image(case)).unwrap());
    let size = images.iter().map(Vec::len).max().unwrap() + 9;
    fs::write(data.image(0), padded(&images[0], size)).unwrap();
    fs::write(lab.path("fake/other"), padded(&images[1], size)).unwrap();
    let script = r#"#!/bin/bash
image=$FAKE/../data/imagesTr/case_00.nii.gz
if grep -q '"kind": *"preprocess"' "${!#}"/../stage-*.json && mkdir "$FAKE/done" 2>/dev/null; then
    cp "$image" "$FAKE/kept"
    cat "$FAKE/other" >"$image"
    "$@"
    cat "$FAKE/kept" >"$image"
    touch "$FAKE/over"
    exit 0
fi
exec "$@"
"#;
    let path = lab.write("fake/mischief", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&path, mode).unwrap();
    let site = fs::read_to_string(lab.path("site.yaml")).unwrap();
    let prefix = format!("look: 1s, prefix: {}", path.display());
    // One job makes all volumes, so that the first one meets the image.
    let site = site.replace("look: 1s", &prefix).replace("items_per_job: 2", "items_per_job: 99");
    lab.write("site.yaml", &site);
}

/// The same content in a gzip file of so many bytes, by a comment in its header.
fn padded(gzip: &[u8], size: usize) -> Vec<u8> {
    let mut content = vec![];
    flate2::read::GzDecoder::new(gzip).read_to_end(&mut content).unwrap();
    let encoded = |comment: usize| {
        let comment = vec![b'-'; comment];
        let mut encoder =
            flate2::GzBuilder::new().comment(comment).write(vec![], Compression::fast());
        encoder.write_all(&content).unwrap();
        encoder.finish().unwrap()
    };
    let least = encoded(1).len();
    let file = encoded(1 + size - least);
    assert_eq!(file.len(), size);
    file
}

/// The first stages over a person's own files.
fn prepared() -> String {
    CUBES.split("  cache:").next().unwrap().to_string()
}

#[test]
fn a_volume_made_of_an_image_that_was_changed_meanwhile_is_made_again() {
    let here = lab();
    here.write("fake/none", "");
    with_mischief(&here);
    let expected = here.run(&prepared(), &["--executor", "here", "--threads", "2"], 0);
    let mut lab = lab();
    let fake = with_fake_slurm(&mut lab);
    with_mischief(&lab);
    let run = lab.run(&prepared(), &REMOTE, 0);
    assert!(fake.join("over").exists());
    assert_eq!(run.digests(), expected.digests());
}

#[test]
fn what_a_dead_orchestrators_job_made_of_changed_files_is_not_taken_over() {
    let here = lab();
    here.write("fake/none", "");
    with_mischief(&here);
    let expected = here.run(&prepared(), &["--executor", "here", "--threads", "2"], 0);
    let mut lab = lab();
    let fake = with_fake_slurm(&mut lab);
    with_mischief(&lab);
    lab.write("workflow.yaml", &prepared());
    let mut first = lab.spawn(&["run", "workflow.yaml", "--site", "site.yaml"]);
    lab.wait("the mischief", |_| fake.join("done").exists());
    first.kill().unwrap();
    first.wait().unwrap();
    lab.wait("the job to end", |_| fake.join("over").exists());
    let run = lab.run(&prepared(), &REMOTE, 0);
    assert_eq!(run.digests(), expected.digests());
}

#[test]
fn a_training_reads_copies_on_the_disk_of_its_node_and_leaves_none() {
    let here = lab();
    Dataset::write(&here.path("data"), 7, 0);
    let expected = here.run(CUBES, &["--executor", "here", "--threads", "2", "--device", "cpu"], 0);
    let mut there = lab();
    Dataset::write(&there.path("data"), 7, 0);
    let scratch = there.path("disk");
    fs::create_dir(&scratch).unwrap();
    there.set("NODE_DISK", scratch.display().to_string());
    let kinds = "  train: { cpus: 2 }\n  validate: { cpus: 2 }\n  test: { cpus: 2 }\n";
    there.write("site.yaml", &format!("{SITE}{kinds}scratch: $NODE_DISK\n"));
    let run = there.run(CUBES, &["--site", "site.yaml", "--device", "cpu"], 0);
    assert_eq!(run.digests(), expected.digests());
    let log = fs::read_to_string(run.folder.join("events.jsonl")).unwrap();
    assert!(!log.contains("no copy in scratch"), "{log}");
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "copies are gone");
    // A variable that no node has, and a folder that is none, are told; the store is read.
    for (place, words) in [("$NO_SUCH_DISK", "is not set on the node"), ("/proc/x", "no copy in")] {
        there.write("site.yaml", &format!("{SITE}{kinds}scratch: {place}\n"));
        let flags = ["--site", "site.yaml", "--device", "cpu", "--force", "final"];
        let again = there.run(CUBES, &flags, 0);
        let log = fs::read_to_string(again.folder.join("events.jsonl")).unwrap();
        assert!(log.contains(words), "{place}: {log}");
        assert_eq!(again.digests(), expected.digests());
    }
}
