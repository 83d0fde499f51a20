//! What changed is remade, and nothing else: one story for each kind of change, through the
//! program.

mod lab;

use lab::cubes::{CUBES, Dataset, write_nifti};
use lab::{Lab, Record};

/// A lab with seven labelled cases and one finished run. Cases 0 to 3 train, 4 validates, 5 and 6
/// test.
fn lab() -> (Lab, Dataset) {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 7, 1);
    lab.run(CUBES, &[], 0);
    (lab, dataset)
}

#[test]
fn the_same_again_makes_nothing_and_tells_the_same() {
    let (lab, _) = lab();
    let first = lab.last_run();
    assert_eq!(first.made(), ["dataset", "split", "volumes", "cache", "model", "score", "final"]);
    let again = lab.run(CUBES, &[], 0);
    assert!(again.made().is_empty(), "{}", again.outcomes());
    assert!(!first.sorted_metrics().is_empty());
    assert_eq!(first.sorted_metrics(), again.sorted_metrics());
}

#[test]
fn one_changed_training_case_remakes_that_volume_alone() {
    let (lab, dataset) = lab();
    dataset.write_case(2, 1);
    let run = lab.run(CUBES, &[], 0);
    assert_eq!(run.items("volumes"), (1, 7));
    assert_eq!(run.items("cache"), (1, 3), "one candidate list");
    assert_eq!(run.stage("split")["outcome"], "reused");
    assert_eq!(run.stage("model")["outcome"], "made");
}

#[test]
fn a_changed_testing_case_does_not_retrain() {
    let (lab, dataset) = lab();
    dataset.write_case(6, 1);
    let run = lab.run(CUBES, &[], 0);
    assert_eq!(run.made(), ["dataset", "volumes", "cache", "final"]);
    assert_eq!(run.items("volumes"), (1, 7));
    assert_eq!(run.items("cache"), (0, 4));
}

#[test]
fn a_changed_unlabelled_image_tests_nothing_again_and_a_changed_label_of_a_test_does() {
    let (lab, dataset) = lab();
    write_nifti(&dataset.folder.join("imagesTs/case_07.nii.gz"), &[5.0; 20 * 18 * 16], 16);
    let run = lab.run(CUBES, &[], 0);
    assert_eq!(run.made(), ["dataset", "volumes", "cache"]);
    write_nifti(&dataset.label(6), &[1.0; 20 * 18 * 16], 2);
    let run = lab.run(CUBES, &[], 0);
    assert_eq!(run.made(), ["dataset", "volumes", "cache", "final"]);
}

#[test]
fn where_the_file_that_tells_what_a_test_reads_is_lost_it_is_made_again_and_nothing_else() {
    let (lab, _) = lab();
    let first = lab.last_run();
    for (stage, name) in [("cache", "testing/part.json"), ("dataset", "dataset.json")] {
        let digest = first.stage(stage)["artifact"][name]["digest"].as_str().unwrap();
        let blob = lab.path(&format!(".voxflow/store-v1/blobs/{}/{digest}", &digest[..2]));
        std::fs::remove_file(&blob).unwrap();
        let run = lab.run(CUBES, &[], 0);
        assert_eq!(run.made(), [stage], "{}", run.outcomes());
        // A changed byte, which no size tells.
        let mut bytes = std::fs::read(&blob).unwrap();
        bytes[3] ^= 1;
        std::fs::remove_file(&blob).unwrap();
        std::fs::write(&blob, bytes).unwrap();
        let run = lab.run(CUBES, &[], 0);
        assert_eq!(run.made(), [stage], "{}", run.outcomes());
        assert_eq!(lab.last_run().fingerprint("final"), first.fingerprint("final"));
    }
}

#[test]
fn another_fold_makes_no_volume_and_no_candidate_list_twice() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let folds = |fold: usize| {
        let counts = "training: 4, validation: 1, testing: 2, order: listed";
        CUBES.replace(counts, &format!("testing: 1, folds: 3, fold: {fold}"))
    };
    let runs: Vec<Record> =
        (0..3).map(|fold| lab.run(&folds(fold), &["--until", "cache"], 0)).collect();
    let again = lab.run(&folds(1), &["--until", "cache"], 0);
    assert!(again.made().is_empty(), "{}", again.outcomes());
    let lists: u64 = runs.iter().map(|run| run.items("cache").0).sum();
    assert_eq!(lists, 6, "one candidate list for each case that ever trained");
    assert_eq!(runs[0].items("volumes"), (7, 0));
    assert!(
        runs[1].stage("volumes")["outcome"] == "reused"
            && runs[2].stage("volumes")["outcome"] == "reused"
    );
}

#[test]
fn another_learning_rate_trains_again_and_nothing_before() {
    let (lab, _) = lab();
    let run = lab.run(CUBES, &["--set", "model.learning_rate=0.001"], 0);
    assert_eq!(run.made(), ["model", "score", "final"]);
}

#[test]
fn names_comments_order_and_format_remake_nothing() {
    let (lab, _) = lab();
    let lines: Vec<&str> = CUBES.trim().lines().collect();
    let (head, stages) = lines.split_at(2);
    let mut reordered: Vec<&str> = head.to_vec();
    reordered.extend(
        stages
            .iter()
            .rev()
            .filter(|line| line.contains("uses: validate") || line.contains("uses: test")),
    );
    reordered.extend(
        stages
            .iter()
            .filter(|line| !line.contains("uses: validate") && !line.contains("uses: test")),
    );
    let text = format!("# another comment\n{}\n", reordered.join("\n"))
        .replace("\n  score:", "\n  validation-scores:")
        .replace("  volumes: {", "  resampled:   {")
        .replace("volumes, split]", "resampled, split]")
        .replace("learning_rate: 0.002", "learning_rate: 2.0e-3");
    let run = lab.run(&text, &[], 0);
    assert!(run.made().is_empty(), "{}\n{text}", run.outcomes());
}

#[test]
fn spacing_changed_and_changed_back_makes_nothing_the_second_time() {
    let (lab, _) = lab();
    let other = ["--until", "volumes", "--set", "volumes.spacing=[2.0, 1.0, 1.0]"];
    assert_eq!(lab.run(CUBES, &other, 0).made(), ["volumes"]);
    assert!(lab.run(CUBES, &["--until", "volumes"], 0).made().is_empty());
    assert!(lab.run(CUBES, &other, 0).made().is_empty());
}

#[test]
fn a_default_written_out_remakes_nothing() {
    let (lab, _) = lab();
    let run =
        lab.run(CUBES, &["--set", "model.seed=0", "--set", "volumes.crop_foreground=false"], 0);
    assert!(run.made().is_empty(), "{}", run.outcomes());
}
