//! The engine through the real program, with the kinds that need no network: what is made, what is
//! reused, what is said, and what is left behind.

mod lab;

use lab::{Lab, TINY};
use std::fs;

#[test]
fn the_second_run_reuses_everything_and_leaves_the_same_files() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    assert_eq!(first.outcomes(), "dataset=made split=made volumes=made cache=made");
    assert_eq!(first.items("volumes"), (7, 0));
    let second = lab.run(TINY, &[], 0);
    assert_eq!(second.outcomes(), "dataset=reused split=reused volumes=reused cache=reused");
    assert_eq!(first.metrics(), second.metrics());
    let views = ["metrics.parquet", "stages.parquet", "params.parquet"];
    for name in ["workflow.yaml", "resolved.yaml", "run.json", "events.jsonl", "log.txt"]
        .iter()
        .chain(&views)
    {
        assert!(second.folder.join(name).is_file(), "{name}");
    }
    let link = second.folder.join("outputs/split/split.json");
    assert!(fs::read_link(&link).unwrap().is_relative());
    let split: serde_json::Value = serde_json::from_slice(&fs::read(link).unwrap()).unwrap();
    assert_eq!(split["training"].as_array().unwrap().len(), 3);
    assert!(
        lab.path(".voxflow/CACHEDIR.TAG").is_file() && lab.path(".voxflow/.gitignore").is_file()
    );
    assert_eq!(second.value["outcome"], "done");
    assert!(
        second.value["machine"]["cores"].is_string()
            && second.value["versions"]["voxflow"].is_string()
    );
}

#[test]
fn what_does_not_change_the_bytes_remakes_nothing() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let other = "# renamed, reordered, written differently
name: other
stages:
  all:
    uses: cache
    needs: { volumes: small, split: parts, dataset: phantom }
  small:
    uses: preprocess
    needs: [phantom]
    with: { spacing: [12.0, 12.0, 12.0], intensity: { window: [-57.0, 164.0] } }
  parts: { uses: split, needs: [phantom], with: { training: 3, validation: 1, testing: 2, seed: 0 } }
  phantom: { uses: synthesize, with: { shape: [24, 24, 24], unlabelled: 1, cases: 6, seed: 0 } }
";
    let run = lab.run(other, &["--jobs", "2", "--threads", "1", "--device", "cpu"], 0);
    assert!(!run.outcomes().contains("made"), "{}", run.outcomes());
}

#[test]
fn another_split_makes_no_volume_and_spacing_back_makes_nothing() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let split = lab.run(TINY, &["--set", "split.seed=5"], 0);
    assert_eq!(split.outcomes(), "dataset=reused split=made volumes=reused cache=made");
    let wider = lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    assert_eq!(wider.outcomes(), "dataset=reused split=reused volumes=made cache=made");
    let reason = wider.stage("volumes")["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("spacing [12.0,12.0,12.0] → [16.0,16.0,16.0] (compared with run "),
        "{reason}"
    );
    let reason = wider.stage("cache")["reason"].as_str().unwrap();
    let cause = "'volumes' changed: spacing [12.0,12.0,12.0] → [16.0,16.0,16.0] (compared with ";
    assert!(reason.starts_with(cause), "the cause, not the input alone: {reason}");
    let back = lab.run(TINY, &[], 0);
    assert!(!back.outcomes().contains("made"), "{}", back.outcomes());
}

#[test]
fn the_resolved_workflow_of_a_run_gives_the_same_fingerprints() {
    let lab = Lab::new();
    let first = lab.run(TINY, &["--set", "dataset.seed=4"], 0);
    let resolved = fs::read_to_string(first.folder.join("resolved.yaml")).unwrap();
    let second = lab.run(&resolved, &[], 0);
    assert!(!second.outcomes().contains("made"), "{}", second.outcomes());
    assert_eq!(first.fingerprint("cache"), second.fingerprint("cache"));
}

#[test]
fn a_plan_says_what_a_run_would_do_and_changes_nothing() {
    let lab = Lab::new();
    lab.write("w.yaml", TINY);
    let shown = lab.voxflow(&["plan", "w.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let lines: Vec<&str> = shown.out.lines().collect();
    assert_eq!(lines[0], "dataset  synthesize  run because first run of this workflow");
    assert_eq!(
        lines[3],
        "cache    cache       depends on dataset, split, volumes (decided at run time)"
    );
    assert_eq!(lines[4], "total: 1 to run, 3 pending; 4 without a known time");
    assert!(!lab.path(".voxflow").exists(), "a plan makes no home");
    lab.run(TINY, &[], 0);
    let shown =
        lab.voxflow(&["plan", "w.yaml", "--set", "cache.background_above=0.5", "--force", "split"]);
    let lines: Vec<&str> = shown.out.lines().collect();
    assert!(lines[0].starts_with("dataset  synthesize  reuse"), "{}", shown.out);
    assert!(lines[1].starts_with("split    split       run because forced"), "{}", shown.out);
    let expected = "expected to run because background_above (not set) → 0.5";
    assert!(lines[3].contains(expected), "{}", shown.out);
    let total = lines.last().unwrap();
    let begins = "total: 3 of 3 candidates, 2 to run, 2 reused; about ";
    assert!(total.starts_with(begins), "{}", shown.out);
    assert_eq!(lab.runs().len(), 1);
}

#[test]
fn mistakes_are_shown_all_at_once_before_any_work() {
    let lab = Lab::new();
    lab.write(
        "w.yaml",
        &TINY
            .replace("uses: preprocess", "uses: preproces")
            .replace("[dataset, volumes", "[datset, volumes"),
    );
    for command in ["run", "plan", "check"] {
        let shown = lab.voxflow(&[command, "w.yaml", "--set", "split.trainng=1"]);
        assert_eq!((shown.code, shown.out.as_str()), (2, ""));
        for part in [
            "3 mistakes, and nothing was done",
            "w.yaml:6:20: stage 'volumes': key 'uses': there is no kind 'preproces'",
            "w.yaml:7:33: stage 'cache': key 'needs.0': there is no stage 'datset'; did you mean 'dataset'?",
            "--set split.trainng=1: stage 'split': key 'trainng': there is no such key; did you mean 'training'?",
        ] {
            assert!(shown.err.contains(part), "{part}\n{}", shown.err);
        }
    }
    assert!(!lab.path(".voxflow").exists());
    assert_eq!(lab.voxflow(&["run", "absent.yaml"]).code, 2);
}

#[test]
fn only_and_until_leave_stages_out() {
    let lab = Lab::new();
    let run = lab.run(TINY, &["--until", "split"], 0);
    assert_eq!(run.outcomes(), "dataset=made split=made volumes=skipped cache=skipped");
    let run = lab.run(TINY, &["--only", "volumes"], 0);
    assert_eq!(run.outcomes(), "dataset=skipped split=skipped volumes=made cache=skipped");
    let lab = Lab::new();
    lab.write("w.yaml", TINY);
    let shown = lab.voxflow(&["run", "w.yaml", "--only", "cache"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("must be made first, and '--only' leaves it out"), "{}", shown.err);
    let shown = lab.voxflow(&["run", "w.yaml", "--only", "volume"]);
    assert!(shown.err.contains("did you mean 'volumes'?"), "{}", shown.err);
}

#[test]
fn force_makes_a_stage_anew_and_what_gets_equal_bytes_is_reused() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let run = lab.run(TINY, &["--force", "volumes"], 0);
    assert_eq!(run.outcomes(), "dataset=reused split=reused volumes=made cache=reused");
    assert_eq!(run.items("volumes"), (7, 0), "its items are forgotten too");
    assert_eq!(run.stage("volumes")["reason"], "forced");
}

#[test]
fn a_failure_stops_the_run_or_what_depends_on_it() {
    // Seven cases are asked of six: split fails, volumes does not depend on it.
    let text = TINY.replace("training: 3", "training: 7");
    let lab = Lab::new();
    let run = lab.run(&text, &[], 1);
    assert_eq!(run.outcomes(), "dataset=made split=failed volumes=skipped cache=skipped");
    assert!(run.stage("split")["error"].as_str().unwrap().contains('7'), "{}", run.stage("split"));
    assert_eq!(run.value["outcome"], "failed");
    let run = lab.run(&text, &["--keep-going"], 1);
    assert_eq!(run.outcomes(), "dataset=reused split=failed volumes=made cache=skipped");
    assert_eq!(run.stage("cache")["reason"], "'split' failed");
    let run = lab.run(TINY, &[], 0);
    assert_eq!(run.outcomes(), "dataset=reused split=made volumes=reused cache=made");
}

#[test]
fn bytes_that_are_gone_are_remade_whether_something_reads_them_or_not() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    let removed = |stage: &str| {
        for (_, blob) in first.stage(stage)["artifact"].as_object().unwrap() {
            let digest = blob["digest"].as_str().unwrap();
            fs::remove_file(
                lab.path(&format!(".voxflow/store-v1/blobs/{}/{digest}", &digest[..2])),
            )
            .ok();
        }
    };
    removed("dataset");
    let run = lab.run(TINY, &[], 0);
    assert_eq!(run.outcomes(), "dataset=made split=reused volumes=reused cache=reused");
    removed("dataset");
    let run = lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    assert_eq!(run.outcomes(), "dataset=made split=reused volumes=made cache=made");
    assert!(
        run.stage("dataset")["reason"]
            .as_str()
            .unwrap()
            .contains("no longer in the store, and 'volumes' reads it")
    );
    assert_eq!(first.stage("dataset")["digest"], run.stage("dataset")["digest"]);
}

#[test]
fn verify_finds_a_silent_change_and_remakes() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    let digest = first.stage("split")["artifact"]["split.json"]["digest"].as_str().unwrap();
    let blob = lab.path(&format!(".voxflow/store-v1/blobs/{}/{digest}", &digest[..2]));
    let mut bytes = fs::read(&blob).unwrap();
    bytes[3] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    let run = lab.run(TINY, &["--verify"], 0);
    assert_eq!(run.outcomes(), "dataset=reused split=made volumes=reused cache=reused");
}

#[test]
fn a_sweep_is_several_runs_that_share_what_they_can() {
    let lab = Lab::new();
    let text = format!("{TINY}sweep:\n  split.seed: [1, 2, 3]\n");
    lab.run(&text, &["--jobs", "2"], 0);
    let records: Vec<_> = lab.runs().iter().map(|run| lab::Record::of(run)).collect();
    assert_eq!(records.len(), 3);
    let made =
        |stage: &str| records.iter().filter(|run| run.stage(stage)["outcome"] == "made").count();
    assert_eq!((made("dataset"), made("volumes"), made("split"), made("cache")), (1, 1, 3, 3));
    let mut values: Vec<_> =
        records.iter().map(|run| run.value["sweep"]["values"]["split.seed"].as_u64()).collect();
    values.sort();
    assert_eq!(values, [Some(1), Some(2), Some(3)]);
    assert!(records.iter().all(|run| run.value["sweep"]["id"] == records[0].value["sweep"]["id"]));
}

#[test]
fn programs_side_by_side_make_each_thing_once() {
    let lab = Lab::new();
    lab.write("w.yaml", TINY);
    let programs: Vec<_> = (0..4).map(|_| lab.spawn(&["run", "w.yaml"])).collect();
    for program in programs {
        let output = program.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let records: Vec<_> = lab.runs().iter().map(|run| lab::Record::of(run)).collect();
    assert_eq!(records.len(), 4);
    for stage in ["dataset", "split", "volumes", "cache"] {
        let made = records.iter().filter(|run| run.stage(stage)["outcome"] == "made").count();
        assert_eq!(made, 1, "{stage}");
    }
}

#[test]
fn credentials_reach_no_file_of_the_run() {
    let mut lab = Lab::new();
    lab.set("SECRET_URL", "http://me:hunter2@127.0.0.1:9/a.tar?token=hunter2");
    let text = "stages:
  archive: { uses: download, with: { url: '${SECRET_URL}', md5: 410d4a301da4e5b2f6f86ec3ddba524e } }
  again: { uses: download, with: { url: 'http://me:hunter2@127.0.0.1:9/b', md5: 410d4a301da4e5b2f6f86ec3ddba524f } }
";
    lab.write("workflow.yaml", text);
    let shown = lab.voxflow(&["run", "workflow.yaml", "--keep-going", "--verbose"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(!shown.err.contains("hunter2"), "{}", shown.err);
    let run = lab.last_run();
    for entry in fs::read_dir(&run.folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { fs::read(&path).unwrap() } else { continue };
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"), "{}", path.display());
    }
    let resolved = fs::read_to_string(run.folder.join("resolved.yaml")).unwrap();
    assert!(resolved.contains("${SECRET_URL}"), "{resolved}");
}

/// The fingerprint of this recipe is the same on every machine and for ever; see also
/// `voxflow-cache`.
#[test]
fn the_golden_fingerprint_holds_through_the_program() {
    let lab = Lab::new();
    lab.write(
        "w.yaml",
        "stages: { a: { uses: download, with: { url: 'http://x/y', md5: 410d4a301da4e5b2f6f86ec3ddba524e } } }",
    );
    let shown = lab.voxflow(&["plan", "w.yaml", "--format", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(
        plan["stages"][0]["fingerprint"],
        "628f38272638ef95affc2f59b135153ff4fc74e533ecd372d1002b888d981f8c"
    );
}

/// Measured as processor time, since other tests run beside this one.
#[test]
fn a_run_in_which_nothing_is_to_do_is_quick() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let mut times: Vec<f64> = (0..5)
        .map(|_| processor_seconds(lab.spawn(&["run", "workflow.yaml", "--quiet"])))
        .collect();
    times.sort_by(f64::total_cmp);
    assert!(times[0] < 0.1, "the thriftiest of five took {} s", times[0]);
}

fn processor_seconds(child: std::process::Child) -> f64 {
    // SAFETY: wait4 fills the two values it is given, and zeros are a valid rusage.
    let (status, usage) = unsafe {
        let (mut status, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
        libc::wait4(child.id() as i32, &raw mut status, 0, &raw mut usage);
        (status, usage)
    };
    assert_eq!(status, 0);
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[test]
fn a_forced_stage_keeps_its_result_until_it_is_made_again() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    lab.run(TINY, &["--force", "cache", "--until", "split"], 0);
    assert!(lab.run(TINY, &[], 0).made().is_empty(), "what is left out keeps its result");
    lab.write("more.yaml", &format!("{TINY}  more: {{ uses: folder, with: {{ path: gone }} }}\n"));
    let refused = lab.voxflow(&["run", "more.yaml", "--force", "cache,split"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
    assert!(lab.run(TINY, &[], 0).made().is_empty(), "a run that is refused removes nothing");
    assert_eq!(lab.run(TINY, &["--force", "cache,split"], 0).made(), ["split", "cache"]);
}
