//! Runs among many: tags and notes, and removal of those that nobody needs.

mod lab;

use lab::{Lab, Record, TINY};
use serde_json::Value;
use std::fs;

/// The run's id.
fn id(run: &Record) -> String {
    run.folder.file_name().and_then(|name| name.to_str()).expect("a name").to_string()
}

/// The end of an id, by which tables for people name a run.
fn short(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}

fn listed(lab: &Lab) -> Vec<String> {
    let rows = lab.voxflow(&["runs", "--format", "json"]).out;
    let rows: Vec<Value> = serde_json::from_str(&rows).expect("JSON");
    rows.iter().map(|row| row["run"].as_str().expect("an id").to_string()).collect()
}

/// A run of a workflow that fails.
fn failed(lab: &Lab) -> Record {
    lab.run(&TINY.replace("testing: 2", "testing: 20"), &[], 1)
}

#[test]
fn tags_and_a_note_are_shown_wherever_runs_are() {
    let lab = Lab::new();
    let run = id(&lab.run(TINY, &[], 0));
    let other = id(&lab.run(TINY, &[], 0));
    assert!(!lab.voxflow(&["runs"]).out.contains("tags"), "no column without a tag");
    for words in [&["tag", &run, "paper", "baseline"][..], &["note", &run, "the one in table 2"]] {
        assert_eq!(lab.voxflow(words).code, 0);
    }
    let table = lab.voxflow(&["runs"]).out;
    let line = table.lines().find(|line| line.starts_with(short(&run))).expect("its line");
    assert!(line.contains("baseline, paper") && line.contains("the one in table 2"), "{table}");
    let shown = lab.voxflow(&["show", &run]).out;
    assert!(shown.contains("  tags      baseline, paper\n"), "{shown}");
    assert!(shown.contains("  note      the one in table 2\n"), "{shown}");
    let json: Value =
        serde_json::from_str(&lab.voxflow(&["show", &run, "--format", "json"]).out).expect("JSON");
    assert_eq!(json["tags"], serde_json::json!(["baseline", "paper"]));
    assert_eq!(json["note"], "the one in table 2");
    assert_eq!(lab.voxflow(&["tag", &run]).out, "baseline\npaper\n");
    let few = lab.voxflow(&["runs", "--tag", "paper"]).out;
    assert!(few.contains(short(&run)) && !few.contains(short(&other)), "{few}");
    assert_eq!(lab.voxflow(&["tag", &run, "paper", "--remove"]).code, 0);
    assert_eq!(lab.voxflow(&["note", &run, ""]).code, 0);
    assert_eq!(lab.voxflow(&["note", &run]).out, "");
    let wrong = lab.voxflow(&["tag", &run, "paper", "--remove"]);
    assert!(wrong.code == 2 && wrong.err.contains("it has baseline"), "{}", wrong.err);
    let wrong = lab.voxflow(&["tag", &run, "in table 2"]);
    assert!(wrong.code == 2 && wrong.err.contains("'voxflow note RUN TEXT'"), "{}", wrong.err);
    // What was said of a run is no part of its record.
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0);
}

#[test]
fn runs_are_removed_by_name_and_what_they_alone_needed_is_freed_by_gc() {
    let lab = Lab::new();
    let old = id(&lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0));
    let new = id(&lab.run(TINY, &[], 0));
    let would = lab.voxflow(&["rm", &old, "--dry-run"]);
    assert_eq!(would.code, 0, "{}", would.err);
    assert!(would.err.contains("1 run would be removed; 'voxflow cache gc --keep-runs 1'"));
    assert_eq!(listed(&lab), [new.clone(), old.clone()]);
    let shown = lab.voxflow(&["rm", &old]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("'voxflow cache gc --keep-runs 1' frees"), "{}", shown.err);
    assert_eq!(listed(&lab), std::slice::from_ref(&new));
    let told = shown.err.split(" frees ").nth(1).and_then(|rest| rest.split(" that").next());
    let gone = lab.voxflow(&["cache", "gc", "--keep-runs", "1"]);
    let told = told.expect("an amount");
    assert!(gone.err.starts_with(told), "'{told}' in {}", gone.err);
    let again = lab.run(TINY, &[], 0);
    assert_eq!(again.made(), [] as [&str; 0], "the other run's things stay");
    // What both need is not freed.
    let shown = lab.voxflow(&["rm", &id(&again)]);
    assert!(shown.err.contains("or other runs need them"), "{}", shown.err);
    let unknown = lab.voxflow(&["rm", "nothing"]);
    assert_eq!((unknown.code, listed(&lab)), (2, vec![new]), "{}", unknown.err);
}

#[test]
fn failed_and_old_runs_are_removed_and_tagged_ones_kept() {
    let lab = Lab::new();
    let good = id(&lab.run(TINY, &[], 0));
    let (bad, kept) = (id(&failed(&lab)), id(&failed(&lab)));
    assert_eq!(lab.voxflow(&["tag", &kept, "keep"]).code, 0);
    let shown = lab.voxflow(&["rm", "--failed", "--older-than", "1d"]);
    assert!(shown.code == 0 && shown.err.contains("nothing to remove"), "{}", shown.err);
    let shown = lab.voxflow(&["rm", "--failed"]);
    assert!(shown.err.contains(&format!("1 tagged run kept: {kept}")), "{}", shown.err);
    assert!(shown.out.contains(&bad) && !shown.out.contains(&good), "{}", shown.out);
    assert_eq!(listed(&lab), [kept.clone(), good]);
    lab.voxflow(&["rm", "--older-than", "0s"]);
    assert_eq!(listed(&lab), [kept]);
    // A tag keeps the results too.
    let kept_needs = lab.voxflow(&["cache", "gc", "--keep-runs", "0"]);
    assert_eq!(kept_needs.code, 0, "{}", kept_needs.err);
    let again = lab.run(TINY, &[], 0);
    assert_eq!(again.stage("dataset")["outcome"], "reused");
    assert_eq!(lab.voxflow(&["rm"]).code, 2, "no run is named");
}

#[test]
fn a_run_in_progress_is_never_removed_and_a_damaged_one_can_be() {
    let lab = Lab::new();
    let done = lab.run(TINY, &[], 0);
    let slow = TINY.replace("[24, 24, 24]", "[160, 160, 160]").replace("cases: 6", "cases: 40");
    lab.write("slow.yaml", &slow);
    let mut slow = lab.spawn(&["run", "slow.yaml"]);
    lab.wait("the second run", |lab| lab.runs().len() == 2);
    let living = id(&lab.last_run());
    let refused = lab.voxflow(&["rm", &living]);
    assert!(refused.code == 2 && refused.err.contains("is in progress"), "{}", refused.err);
    lab.voxflow(&["rm", "--older-than", "0s"]);
    let left = std::slice::from_ref(&living);
    assert_eq!(listed(&lab), left, "the finished one went, the living one stays");
    slow.kill().expect("ends");
    slow.wait().expect("ends");
    assert!(!done.folder.exists());
    let record = lab.path(&format!(".voxflow/runs/{living}/run.json"));
    fs::write(record, "{").expect("writes");
    let shown = lab.voxflow(&["rm", &living]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("unreadable"), "{}", shown.out);
    assert_eq!(listed(&lab), [] as [String; 0]);
}
