//! Sweeps through the program: what variants share is made once, killed ones go on, nothing is
//! chosen by the testing cases.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record};
use std::time::Duration;

const SWEEP: [&str; 8] = [
    "sweep",
    "workflow.yaml",
    "--over",
    "model.learning_rate=0.001,0.02",
    "--folds",
    "3",
    "--threads",
    "1",
];

/// Nine labelled cases: three test, two validate in each fold, four train.
fn lab() -> Lab {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 9, 0);
    let counts = "training: 4, validation: 1, testing: 2, order: listed";
    lab.write("workflow.yaml", &CUBES.replace(counts, "training: 6, testing: 3, order: listed"));
    lab
}

fn records(lab: &Lab) -> Vec<Record> {
    lab.runs().iter().map(|run| Record::of(run)).collect()
}

fn made(runs: &[Record], stage: &str) -> usize {
    runs.iter().filter(|run| run.stage(stage)["outcome"] == "made").count()
}

#[test]
fn shared_stages_are_made_once_and_the_table_has_means_over_folds() {
    let lab = lab();
    let shown = lab.voxflow(&SWEEP);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let runs = records(&lab);
    assert_eq!(runs.len(), 6);
    let counts = ["dataset", "volumes", "split", "cache", "model", "score", "final"]
        .map(|stage| made(&runs, stage));
    assert_eq!(counts, [1, 1, 3, 3, 6, 6, 0], "nothing is tested unless asked");
    assert!(runs.iter().all(|run| run.value["outcome"] == "done"));

    for run in &runs {
        let stages = run.value["stages"].as_array().expect("stages").iter();
        let working: f64 = stages.filter_map(|stage| stage["seconds"].as_f64()).sum();
        let own = run.value["seconds"].as_f64().expect("seconds");
        assert!(own <= working + 0.5, "{own} s, its stages {working} s: without its queueing");
    }

    let rows: Vec<&str> = shown.out.lines().collect();
    assert!(
        rows[0].starts_with("variant  model.learning_rate  runs  validation dice"),
        "{}",
        shown.out
    );
    assert!(rows[2].contains(" ± ") && rows[3].contains(" ± "), "{}", shown.out);
    assert_eq!(
        rows.iter().filter(|row| row.trim_end().ends_with("best")).count(),
        2,
        "the head and one variant"
    );
    assert!(
        shown.out.contains("validation dice") && shown.out.contains("over 3 runs"),
        "{}",
        shown.out
    );

    let image = lab.path("data/imagesTr/case_00.nii.gz").display().to_string();
    let averaged = lab.voxflow(&["predict", "--model", "sweep", "--out", "labels", &image]);
    assert_eq!(averaged.code, 0, "{}", averaged.err);
    let chosen = "sweep 'sweep': the 3 models of variant";
    assert!(averaged.err.contains(chosen), "{}", averaged.err);
    assert!(averaged.err.contains("the best of 2 variants by validation dice"), "{}", averaged.err);
    assert!(lab.path("labels/case_00.nii.gz").is_file());

    let again = lab.voxflow(&["compare", "sweep"]);
    assert_eq!(again.out, shown.out, "the table can be read again");
    let each = lab.voxflow(&[
        "compare",
        "sweep",
        "--each",
        "--where",
        "split.fold = 1",
        "--format",
        "csv",
    ]);
    assert_eq!(each.out.lines().count(), 3, "{}", each.out);
    let page =
        lab.voxflow(&["compare", "sweep", "--each", "--format", "html", "--out", "page.html"]);
    assert_eq!((page.code, page.out.trim()), (0, "page.html"), "{}", page.err);
    assert!(
        std::fs::read_to_string(lab.path("page.html"))
            .expect("a page")
            .contains("6 runs side by side")
    );
    let at = lab.voxflow(&["compare", "sweep", "--at", "1h", "--format", "csv"]);
    assert!(
        at.out.lines().next().is_some_and(|head| head.contains("model.dice_at_1h")),
        "{}",
        at.err
    );
    assert_eq!(at.out.lines().count(), 7, "{}", at.out);
    for (time, words) in [("soon", "write a time as"), ("0s", "was validated within that time")] {
        let refused = lab.voxflow(&["compare", "sweep", "--at", time]);
        assert!(refused.code == 2 && refused.err.contains(words), "{}", refused.err);
    }
    let mut pages = vec![];
    for command in [
        &["compare", "sweep", "--format", "html", "--out", "a.html"][..],
        &["report", "sweep", "--out", "b.html"],
    ] {
        let page = lab.voxflow(command);
        assert_eq!(page.code, 0, "{}", page.err);
        pages.push(std::fs::read_to_string(lab.path(page.out.trim())).expect("a page"));
    }
    assert_eq!(pages[0], pages[1], "one page for a sweep");
    for words in ["2 variants", "the best is variant", "model.learning_rate=0.001 split.fold=2"] {
        assert!(pages[0].contains(words), "'{words}' is not in the page");
    }
    lab.voxflow(&["compare", "sweep", "--format", "parquet", "--out", "sweep.parquet"]);
    assert!(std::fs::read(lab.path("sweep.parquet")).expect("a table").starts_with(b"PAR1"));
}

#[test]
fn a_plan_says_in_words_what_another_value_comes_to() {
    let lab = lab();
    let epochs = ["--set", "model.epochs=1"];
    let arguments: Vec<&str> = SWEEP.iter().chain(&epochs).copied().collect();
    assert_eq!(lab.voxflow(&arguments).code, 0);
    let plan =
        ["plan", "workflow.yaml", "--over", "model.learning_rate=0.02,0.003", "--folds", "3"];
    let arguments: Vec<&str> = plan.iter().chain(&epochs).copied().collect();
    let shown = lab.voxflow(&arguments);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let why = " → 0.003 (compared with run ";
    assert_eq!(shown.out.matches(why).count(), 6, "of a training and its scores: {}", shown.out);
    let reused = shown.out.lines().filter(|line| line.ends_with(" reused"));
    assert_eq!(reused.count(), 6, "a line for each variant and fold: {}", shown.out);
    let total = shown.out.lines().last().expect("a total");
    let words = "total: 6 to run (3 trainings), 14 reused; about ";
    assert!(total.starts_with(words), "{}", shown.out);
    assert!(shown.out.starts_with("model.learning_rate=0.02 split.fold=0\n"), "{}", shown.out);
}

#[test]
fn a_killed_sweep_goes_on_where_it_was() {
    let lab = lab();
    let mut child = lab.spawn(&SWEEP);
    lab.wait("two trained models", |lab| {
        let runs = lab.runs();
        let done = runs.iter().filter(|run| {
            std::fs::read_to_string(run.join("run.json"))
                .is_ok_and(|text| text.contains("\"outcome\": \"done\""))
        });
        done.count() >= 2
    });
    child.kill().expect("SIGKILL");
    child.wait().expect("waiting");
    let before = records(&lab);
    let finished = before.iter().filter(|run| run.value["outcome"] == "done").count();
    assert!((2..6).contains(&finished), "{finished} of 6 were done");
    std::thread::sleep(Duration::from_millis(20));

    let shown = lab.voxflow(&SWEEP);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let all = records(&lab);
    let models = made(&all[..6], "model") + made(&all[6..], "model");
    assert!(models == 6 || models == 7, "only the model in hand is made again: {models}");
    assert_eq!(made(&all[6..], "dataset") + made(&all[6..], "volumes"), 0);
    assert!(shown.out.contains("over 3 runs"), "{}", shown.out);
}

#[test]
fn with_test_only_the_chosen_variant_is_tested() {
    let lab = lab();
    let flags = ["--with-test", "--set", "model.epochs=1", "--format", "csv"];
    let arguments: Vec<&str> = SWEEP.iter().chain(&flags).copied().collect();
    let shown = lab.voxflow(&arguments);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let runs = records(&lab);
    assert_eq!((runs.len(), made(&runs, "final"), made(&runs, "model")), (9, 3, 6));
    let rows: Vec<Vec<&str>> = shown.out.lines().map(|line| line.split(',').collect()).collect();
    let at = |name: &str| {
        rows[0].iter().position(|column| *column == name).unwrap_or_else(|| panic!("{name}"))
    };
    let (best, tested) = (at("best"), at("testing_dice_n"));
    for row in &rows[1..] {
        assert_eq!(row[tested], if row[best] == "1" { "3" } else { "0" }, "{}", shown.out);
    }
    let sorted = lab.voxflow(&["compare", "sweep", "--sort", "testing dice"]);
    assert!(
        sorted.err.contains("warning: 'testing dice' is a score of the testing cases"),
        "{}",
        sorted.err
    );
}

#[test]
fn a_sweep_is_refused_where_nothing_varies_or_a_path_leads_nowhere() {
    let lab = lab();
    let refused = |flags: &[&str]| {
        let arguments: Vec<&str> =
            ["sweep", "workflow.yaml"].iter().chain(flags).copied().collect();
        let shown = lab.voxflow(&arguments);
        assert_eq!(shown.code, 2, "{}", shown.err);
        shown.err
    };
    assert!(refused(&[]).contains(
        "nothing is varied: say what with '--over PATH=V1,V2', '--folds K' or '--seeds A,B'"
    ));
    assert!(
        refused(&["--over", "modle.epochs=1,2"])
            .contains("there is no stage 'modle'; did you mean 'model'?")
    );
    assert!(refused(&["--over", "model.epochs=1,many"]).contains("or a whole number"));
    assert!(
        refused(&["--folds", "1"])
            .contains("--folds 1: key 'sweep.folds': must be a whole number from 2")
    );
    assert!(lab.runs().is_empty(), "nothing was begun");
}

#[test]
fn a_variant_that_anothers_failure_kept_from_its_stages_is_not_done() {
    let lab = Lab::new();
    lab.write(
        "workflow.yaml",
        "name: own
stages:
  own:
    uses: command
    with: { params: { least: 1 }, shell: 'test ${params.least} -gt 1; echo > ${output}/a' }
",
    );
    let over = ["sweep", "workflow.yaml", "--over", "own.params.least=1,2,3"];
    let outcomes = |from: usize| -> Vec<String> {
        let runs = records(&lab);
        let outcomes = runs[from..].iter().map(|run| run.value["outcome"].as_str().unwrap());
        let mut outcomes: Vec<String> = outcomes.map(String::from).collect();
        outcomes.sort();
        outcomes
    };
    let shown = lab.voxflow(&over);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert_eq!(outcomes(0), ["failed", "interrupted", "interrupted"], "{}", shown.err);
    assert_eq!(shown.out.matches("0 of 1").count(), 3, "{}", shown.out);
    let shown = lab.voxflow(&[&over[..], &["--keep-going"]].concat());
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert_eq!(outcomes(3), ["done", "done", "failed"], "{}", shown.err);
}
