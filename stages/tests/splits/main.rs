//! Splits: who goes where, and what never happens.

mod datalists;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support::Trial;
use voxflow_stages::dataset::{Case, Label, Listing, Split};

/// Labelled cases of these names, and two without a label.
fn listing(names: &[String]) -> Listing {
    let image = |name: &str| vec![format!("imagesTr/{name}.nii.gz")];
    let labelled = names.iter().map(|name| Case {
        name: name.clone(),
        images: image(name),
        label: Some(format!("labelsTr/{name}.nii.gz")),
        ..Case::default()
    });
    let bare = ["bare_1", "bare_2"].map(|name| Case {
        name: name.into(),
        images: image(name),
        ..Case::default()
    });
    Listing {
        name: "Toy".into(),
        modality: vec!["CT".into()],
        labels: vec![Label { value: 1, name: "spleen".into() }],
        cases: labelled.chain(bare).collect(),
        ..Listing::default()
    }
}

/// The spleen task's 41 labelled cases, numbered oddly and listed in an odd order as theirs are.
fn spleen() -> Listing {
    listing(&(0..41).map(|i| format!("spleen_{}", (i * 17) % 41 + 2)).collect::<Vec<_>>())
}

fn run(listing: &Listing, params: Value) -> (Trial, voxflow_stages::Result<()>) {
    let trial = Trial::new("split", params);
    let path = trial.folder().join("dataset.json");
    std::fs::write(&path, serde_json::to_vec(listing).unwrap()).unwrap();
    let trial =
        trial.input("dataset", "dataset", &BTreeMap::from([("dataset.json".to_string(), path)]));
    let result = trial.run();
    (trial, result)
}

fn split(listing: &Listing, params: Value) -> Split {
    let (trial, result) = run(listing, params);
    result.unwrap();
    trial.json("split.json")
}

fn trouble(listing: &Listing, params: Value) -> String {
    run(listing, params).1.unwrap_err().to_string()
}

fn sizes(split: &Split) -> [usize; 4] {
    [split.training.len(), split.validation.len(), split.testing.len(), split.unlabelled.len()]
}

/// Every name of the three labelled parts, which must all be different.
fn all(split: &Split) -> BTreeSet<&String> {
    let names: Vec<_> =
        split.training.iter().chain(&split.validation).chain(&split.testing).collect();
    let set: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(set.len(), names.len(), "a case is in two parts");
    set
}

#[test]
fn counts_are_drawn_by_the_splits_own_seed() {
    let params = json!({"training": 31, "validation": 4, "testing": 6});
    let drawn = split(&spleen(), params.clone());
    assert_eq!(sizes(&drawn), [31, 4, 6, 2]);
    assert_eq!(all(&drawn).len(), 41);
    assert_eq!(drawn, split(&spleen(), params));
    let other = split(&spleen(), json!({"training": 31, "validation": 4, "testing": 6, "seed": 1}));
    assert_ne!(drawn.testing, other.testing);
    assert_eq!(
        drawn.testing,
        ["spleen_17", "spleen_3", "spleen_10", "spleen_15", "spleen_27", "spleen_7"]
    );
}

#[test]
fn a_drawn_split_does_not_depend_on_the_order_of_the_listing() {
    let mut reversed = spleen();
    reversed.cases.reverse();
    let params = json!({"training": "rest", "validation": 4, "testing": 6});
    assert_eq!(split(&spleen(), params.clone()).testing, split(&reversed, params).testing);
}

#[test]
fn the_bundles_rule_is_file_names_as_text_and_the_last_nine_validate() {
    let drawn = split(&spleen(), json!({"training": "rest", "validation": 9, "order": "sorted"}));
    assert_eq!(sizes(&drawn), [32, 9, 0, 2]);
    let mut names: Vec<String> = spleen().labelled().map(|case| case.name.clone()).collect();
    names.sort();
    assert_eq!(drawn.validation, names[32..]);
    assert_eq!(drawn.training, names[..32]);
}

#[test]
fn in_listed_order_training_comes_first() {
    let drawn = split(&spleen(), json!({"training": 3, "validation": 2, "order": "listed"}));
    assert_eq!(drawn.training, ["spleen_2", "spleen_19", "spleen_36"]);
    assert_eq!(drawn.validation, ["spleen_9", "spleen_26"]);
}

#[test]
fn cases_left_over_are_said() {
    let (trial, result) = run(&spleen(), json!({"training": 38, "testing": 1, "order": "sorted"}));
    result.unwrap();
    assert!(
        trial.words().iter().any(|words| words.starts_with("2 labelled cases are in no part: ")),
        "{:?}",
        trial.words()
    );
}

#[test]
fn more_cases_than_there_are_is_an_error() {
    let words = trouble(&spleen(), json!({"training": 32, "validation": 4, "testing": 6}));
    assert_eq!(
        words,
        "32 + 4 + 6 = 42 cases asked for, but dataset 'Toy' has 41 labelled ones to take from"
    );
}

#[test]
fn every_fold_validates_once_and_all_have_the_same_testing_cases() {
    let folds: Vec<Split> = (0..5)
        .map(|fold| split(&spleen(), json!({"testing": 6, "folds": 5, "fold": fold})))
        .collect();
    let validated: BTreeSet<&String> = folds.iter().flat_map(|split| &split.validation).collect();
    assert_eq!(validated.len(), 35);
    for fold in &folds {
        assert_eq!(fold.testing, folds[0].testing);
        assert_eq!(sizes(fold), [28, 7, 6, 2]);
        assert_eq!(all(fold).len(), 41);
    }
}

#[test]
fn cases_of_one_patient_are_never_on_two_sides() {
    let names: Vec<String> = (0..36).map(|i| format!("patient{}_visit{}", i / 3, i % 3)).collect();
    let patients = |cases: &[String]| -> BTreeSet<String> {
        cases.iter().map(|case| case.split('_').next().unwrap().to_string()).collect()
    };
    let counts =
        json!({"training": "rest", "validation": 6, "testing": 7, "group": "patient{group}_*"});
    let folds = json!({"testing": 6, "folds": 3, "fold": 1, "group": "patient{group}_*"});
    for params in [counts, folds] {
        let drawn = split(&listing(&names), params);
        let [training, validation, testing] =
            [&drawn.training, &drawn.validation, &drawn.testing].map(|part| patients(part));
        assert!(
            training.is_disjoint(&validation)
                && training.is_disjoint(&testing)
                && validation.is_disjoint(&testing)
        );
        assert_eq!(drawn.testing.len(), 6, "7 is no multiple of 3 visits, and never more is taken");
    }
    let two_sides = json!({"training": ["patient1_visit0"], "testing": ["patient1_visit1"], "group": "patient{group}_*"});
    assert!(trouble(&listing(&names), two_sides).contains("of one patient, but on two sides"));
    let beside = split(
        &listing(&names),
        json!({"training": "rest", "testing": ["patient1_visit1"], "group": "patient{group}_*"}),
    );
    assert!(!patients(&beside.training).contains("patient1"));
    assert!(
        trouble(&listing(&names), json!({"training": 3, "group": "person{group}_*"}))
            .contains("does not fit patient0_visit0")
    );
}

#[test]
fn names_are_taken_as_given_and_wrong_ones_are_all_reported() {
    let drawn =
        split(&spleen(), json!({"training": ["spleen_9", "spleen_2"], "testing": ["spleen_3"]}));
    assert_eq!((drawn.training.len(), &drawn.testing), (2, &vec!["spleen_3".to_string()]));
    let words = trouble(
        &spleen(),
        json!({"training": ["spleen_9", "bare_1"], "testing": ["spleen_9", "splen_3"]}),
    );
    for part in [
        "'bare_1' has no label",
        "'spleen_9' is in training and in testing",
        "did you mean 'spleen_3'",
    ] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn excluded_cases_are_in_no_part() {
    let drawn = split(&spleen(), json!({"training": "rest", "exclude": ["spleen_9", "bare_1"]}));
    assert_eq!(sizes(&drawn), [40, 0, 0, 1]);
    assert!(!drawn.training.contains(&"spleen_9".to_string()));
    assert!(
        trouble(&spleen(), json!({"training": "rest", "exclude": ["splen_9"]}))
            .contains("did you mean 'spleen_9'")
    );
}

#[test]
fn mistakes_are_found_before_any_work() {
    let kind = voxflow_stages::Kind::named("split").unwrap();
    let wrong = |params: Value| {
        kind.understand(&params).unwrap_err().into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(wrong(json!({})), ["training"]);
    assert_eq!(wrong(json!({"training": 0})), ["training"]);
    assert_eq!(wrong(json!({"training": "rest", "testing": "rest"})), ["testing"]);
    assert_eq!(wrong(json!({"folds": 5})), ["fold"]);
    assert_eq!(wrong(json!({"folds": 5, "fold": 5})), ["fold"]);
    assert_eq!(wrong(json!({"folds": 5, "fold": 0, "training": 3})), ["training"]);
    assert_eq!(wrong(json!({"datalist": "a.json", "training": 3})), ["training"]);
    assert_eq!(wrong(json!({"training": 3, "group": "patient*"})), ["group"]);
}

/// The part of each case.
fn sides(split: &Split) -> BTreeMap<&str, &str> {
    let parts = [
        ("training", &split.training),
        ("validation", &split.validation),
        ("testing", &split.testing),
    ];
    let each = parts.into_iter().flat_map(|(part, names)| names.iter().map(move |n| (n, part)));
    each.map(|(name, part)| (name.as_str(), part)).collect()
}

/// How many cases that both splits have are on another side in the second.
fn moved(before: &Split, after: &Split) -> usize {
    let (before, after) = (sides(before), sides(after));
    before.iter().filter(|(name, part)| after.get(*name).is_some_and(|now| now != *part)).count()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("case_{index:02}")).collect()
}

#[test]
fn drawn_by_hash_a_new_case_moves_no_more_than_the_counts_ask_for() {
    let params = json!({ "training": "rest", "validation": 3, "testing": 5, "order": "hash" });
    let before = split(&listing(&numbered(20)), params.clone());
    assert_eq!(sizes(&before), [12, 3, 5, 2]);
    for name in ["aaa", "case_07b", "zzz", "x1", "x2", "x3", "x4", "x5", "x6", "x7"] {
        let names: Vec<String> = numbered(20).into_iter().chain([name.to_string()]).collect();
        let after = split(&listing(&names), params.clone());
        let displaced = match sides(&after)[name] {
            "training" => 0,
            _ => 2,
        };
        assert!(moved(&before, &after) <= displaced, "{name}");
    }
}

#[test]
fn drawn_by_hash_an_excluded_training_case_moves_no_other() {
    let params = json!({ "training": "rest", "validation": 3, "testing": 5, "order": "hash" });
    let before = split(&listing(&numbered(20)), params);
    for name in &before.training {
        let params = json!({
            "training": "rest", "validation": 3, "testing": 5, "order": "hash", "exclude": [name],
        });
        assert_eq!(moved(&before, &split(&listing(&numbered(20)), params)), 0, "{name}");
    }
}

#[test]
fn drawn_by_hash_the_order_of_the_listing_does_not_matter_and_another_seed_does() {
    let params =
        |seed: u64| json!({ "training": "rest", "testing": 5, "order": "hash", "seed": seed });
    let (names, backwards) = (numbered(20), numbered(20).into_iter().rev().collect::<Vec<_>>());
    let one = split(&listing(&names), params(0));
    assert_eq!(one, split(&listing(&backwards), params(0)));
    assert_ne!(one.testing, split(&listing(&names), params(1)).testing);
}

#[test]
fn folds_drawn_by_hash_are_of_equal_size_and_a_new_case_moves_few_others() {
    let params = |fold: u32| json!({ "testing": 4, "folds": 5, "fold": fold, "order": "hash" });
    let fold_of = |names: &[String]| -> BTreeMap<String, u32> {
        let folds = (0..5).flat_map(|fold| {
            let split = split(&listing(names), params(fold));
            assert!(split.validation.len().abs_diff((names.len() - 4) / 5) <= 1, "{split:?}");
            split.validation.into_iter().map(move |name| (name, fold))
        });
        folds.collect()
    };
    let before = fold_of(&numbered(41));
    assert_eq!(before.len(), 37);
    let mut moves = 0;
    for new in 0..8 {
        let names: Vec<String> = numbered(41).into_iter().chain([format!("new_{new}")]).collect();
        let after = fold_of(&names);
        moves += before.iter().filter(|(n, f)| after.get(*n).is_some_and(|now| now != *f)).count();
    }
    assert!(moves <= 8 * 3, "{moves} moves for 8 new cases, one after the other");
}

#[test]
fn drawn_by_hash_a_patient_goes_to_one_side_and_stays_there() {
    let names = |patients: usize| -> Vec<String> {
        let scans = |patient| ["a", "b"].map(|scan| format!("patient{patient:02}_{scan}"));
        (0..patients).flat_map(scans).collect()
    };
    let params = json!({
        "training": "rest", "testing": 4, "order": "hash", "group": "patient{group}_*",
    });
    let before = split(&listing(&names(10)), params.clone());
    let of = |split: &Split| split.testing.iter().map(|n| n[..9].to_string()).collect();
    let patients: BTreeSet<String> = of(&before);
    assert_eq!((before.testing.len(), patients.len()), (4, 2));
    let after: BTreeSet<String> = of(&split(&listing(&names(11)), params));
    assert!(after.intersection(&patients).count() >= 1);
}

/// Two cases of each of six patients; the fold is the patient's number modulo three, plus 1.
fn with_patients() -> Listing {
    let names: Vec<String> = (0..12).map(|case| format!("case_{case:02}")).collect();
    let mut all = listing(&names);
    for (at, case) in all.cases.iter_mut().filter(|case| case.label.is_some()).enumerate() {
        let patient = at / 2;
        case.patient = Some(format!("p{patient}"));
        case.fold = Some(patient as u64 % 3 + 1);
    }
    all
}

#[test]
fn the_patients_of_a_manifest_stay_together_without_a_pattern() {
    let mut all = with_patients();
    all.cases.iter_mut().for_each(|case| case.fold = None);
    let by_patient = |names: &[String]| -> BTreeSet<String> {
        names.iter().map(|name| all.case(name).unwrap().patient.clone().unwrap()).collect()
    };
    for order in ["seed", "hash"] {
        let params =
            json!({"training": "rest", "validation": 2, "testing": 4, "order": order, "seed": 3});
        let drawn = split(&all, params);
        assert_eq!(sizes(&drawn), [6, 2, 4, 2]);
        let parts = [&drawn.training, &drawn.validation, &drawn.testing];
        let sides = parts.map(|names| by_patient(names));
        assert_eq!(sides.iter().map(BTreeSet::len).sum::<usize>(), 6, "{order}: {sides:?}");
    }
    // A pattern is the person's own word.
    let params = json!({"training": "rest", "testing": 3, "group": "case_{group}"});
    assert_eq!(sizes(&split(&all, params)), [9, 0, 3, 2]);
}

#[test]
fn the_folds_of_a_manifest_are_taken_as_they_are() {
    let all = with_patients();
    let mut validated = BTreeSet::new();
    for fold in 0..3 {
        let parts = split(&all, json!({"folds": 3, "fold": fold}));
        assert_eq!(sizes(&parts), [8, 4, 0, 2]);
        let fold_of = |name: &String| all.case(name).unwrap().fold;
        assert!(parts.validation.iter().all(|name| fold_of(name) == Some(fold + 1)));
        validated.extend(parts.validation);
    }
    assert_eq!(validated.len(), 12);
    let words = trouble(&all, json!({"folds": 5, "fold": 0}));
    assert!(words.contains("has 3 folds of its own (1, 2, 3): give 'folds: 3'"), "{words}");
    let mut torn = all.clone();
    torn.cases[0].fold = Some(2);
    torn.cases[4].fold = None;
    torn.cases[5].fold = None;
    let words = trouble(&torn, json!({"folds": 3, "fold": 0}));
    for part in ["case_00, case_01 are of one patient", "case_04, case_05: no fold"] {
        assert!(words.contains(part), "'{part}' in {words}");
    }
}
