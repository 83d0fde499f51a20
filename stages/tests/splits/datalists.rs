//! Splits by a file that says who goes where: MONAI's datalists and nnU-Net's splits.

use super::{listing, run, spleen, split};
use serde_json::{Value, json};
use voxflow_stages::dataset::Split;

#[test]
fn a_datalist_in_claras_form_says_who_goes_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dataset_0.json");
    let text = r#"{"training": [{"image": "imagesTr/spleen_9.nii.gz", "label": "labelsTr/spleen_9.nii.gz"}, {"image": "imagesTr/spleen_2.nii.gz"}],
                   "validation": [{"image": "./imagesTr/spleen_3.nii.gz"}], "testing": ["imagesTr/spleen_4.nii.gz", "imagesTs/bare_1.nii.gz"]}"#;
    std::fs::write(&path, text).unwrap();
    let drawn = split(&spleen(), json!({"datalist": path}));
    assert_eq!(drawn.training, ["spleen_9", "spleen_2"]);
    assert_eq!(drawn.validation, ["spleen_3"]);
    assert_eq!(drawn.testing, ["spleen_4"]);
    assert_eq!(drawn.unlabelled, ["bare_1", "bare_2"]);
    let kind = voxflow_stages::Kind::named("split").unwrap();
    let params = kind.understand(&json!({"datalist": path})).unwrap();
    assert_eq!(kind.local_files(&params).unwrap()["datalist"], path);
    assert!(kind.hashed(&params).get("datalist").is_none());
}

/// A datalist of this content, and the split that it gives of cases a, b, c and d.
fn by_datalist(list: &Value, more: Value) -> Result<(Split, Vec<String>), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.json");
    std::fs::write(&path, list.to_string()).unwrap();
    let mut params = json!({"datalist": path});
    more.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    let cases = listing(&["a", "b", "c", "d"].map(String::from));
    let (trial, result) = run(&cases, params);
    result.map_err(|error| error.to_string())?;
    Ok((trial.json("split.json"), trial.words()))
}

fn parts(list: &Value, more: Value) -> [String; 3] {
    let (split, _) = by_datalist(list, more).unwrap_or_else(|words| panic!("{words}"));
    [split.training, split.validation, split.testing].map(|names| names.concat())
}

#[test]
fn a_datalist_may_list_files_of_channels_and_paths_of_another_place() {
    let list = json!({
        "training": [{"image": ["imagesTr/a.nii.gz", "imagesTr/a_t2.nii.gz"], "label": "x.nii.gz"},
                     {"image": "/data/elsewhere/imagesTr/b.nii.gz"}],
        "val": [{"image": "c.nii.gz", "label": "c.nii.gz"}],
        "test": ["./imagesTr/d.nii.gz"],
    });
    assert_eq!(parts(&list, json!({})), ["ab", "c", "d"]);
    let words = by_datalist(&json!({"training": [{"t1": "a.nii.gz"}]}), json!({})).unwrap_err();
    assert!(words.contains("training[0]: must be an object with 'image'"), "{words}");
    let words = by_datalist(&json!({"training": ["nobody.nii.gz"]}), json!({})).unwrap_err();
    assert!(words.contains("no case 'nobody'"), "{words}");
}

#[test]
fn the_folds_of_a_datalist_validate_one_after_the_other() {
    let entry = |name: &str, fold: u32| json!({"fold": fold, "image": format!("im/{name}.nii.gz")});
    let list = json!({"training": [entry("a", 0), entry("b", 1), entry("c", 1)],
                      "testing": ["d.nii.gz"]});
    assert_eq!(parts(&list, json!({"fold": 1})), ["a", "bc", "d"]);
    assert_eq!(parts(&list, json!({"fold": 0})), ["bc", "a", "d"]);
    let (_, words) = by_datalist(&list, json!({})).unwrap();
    assert!(words.iter().any(|word| word.contains("3 cases of the datalist have a 'fold'")));
    assert!(by_datalist(&list, json!({"fold": 7})).unwrap_err().contains("no case has this"));
    let plain = json!({"training": ["a.nii.gz"]});
    assert!(by_datalist(&plain, json!({"fold": 0})).unwrap_err().contains("have no 'fold'"));
}

#[test]
fn nnunets_splits_are_a_datalist_too() {
    let list = json!([{"train": ["a", "b"], "val": ["c"]}, {"train": ["b", "c"], "val": ["a"]}]);
    assert_eq!(parts(&list, json!({"fold": 1})), ["bc", "a", ""]);
    let words = by_datalist(&list, json!({})).unwrap_err();
    assert!(words.contains("has 2 folds: say with 'fold'"), "{words}");
    assert!(by_datalist(&list, json!({"fold": 2})).unwrap_err().contains("there are 2"));
}

#[test]
fn cases_of_a_datalist_without_a_label_are_told() {
    let list = json!({"training": ["a.nii.gz", "bare_1.nii.gz"]});
    let (split, words) = by_datalist(&list, json!({})).unwrap();
    assert_eq!((split.training, split.unlabelled.len()), (vec!["a".to_string()], 2));
    assert!(words.iter().any(|word| word.contains("have no label: bare_1")), "{words:?}");
}
