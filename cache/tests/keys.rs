//! What makes a key: one story for each field of a recipe and its negative, and the same for parts
//! of an artifact.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use voxflow_cache::{Artifact, Blob, Digest, FileStat, Fingerprint, Recipe, Reference};

/// The recipe whose fingerprint is pinned. Change it, or the encoding, and every store is void.
fn golden() -> Recipe {
    Recipe {
        kind: "preprocess/case".to_string(),
        version: 3,
        params: json!({
            "spacing": [1.5, 1.5, 2.0],
            "intensity": { "window": [-57, 164] },
            "crop_foreground": true,
            "name": "Milz – κ",
            "margin": null,
            "seed": 9_007_199_254_740_993_u64,
        }),
        inputs: BTreeMap::from([
            ("image".to_string(), Digest::of(b"image")),
            ("label".to_string(), Digest::of(b"label")),
        ]),
    }
}

const GOLDEN: &str = "23c54fb4ca8e9bfe8418f0fedfc00928f60d0028e7d689e1e1a7cd41cbd18f41";

fn with_params(params: Value) -> Fingerprint {
    Recipe { params, ..golden() }.fingerprint()
}

#[test]
fn the_golden_recipe_has_the_fingerprint_that_stores_in_the_field_rely_on() {
    assert_eq!(golden().fingerprint().to_hex(), GOLDEN);
}

#[test]
fn another_kind_makes_another_fingerprint() {
    let other = Recipe { kind: "preprocess/image".to_string(), ..golden() };
    assert_ne!(other.fingerprint(), golden().fingerprint());
}

#[test]
fn another_version_makes_another_fingerprint() {
    assert_ne!(Recipe { version: 4, ..golden() }.fingerprint(), golden().fingerprint());
}

#[test]
fn another_content_of_an_input_makes_another_fingerprint() {
    let mut other = golden();
    other.inputs.insert("label".to_string(), Digest::of(b"corrected"));
    assert_ne!(other.fingerprint(), golden().fingerprint());
}

#[test]
fn an_input_under_another_name_makes_another_fingerprint() {
    let mut other = golden();
    let label = other.inputs.remove("label").unwrap();
    other.inputs.insert("mask".to_string(), label);
    assert_ne!(other.fingerprint(), golden().fingerprint());
}

#[test]
fn exchanged_inputs_make_another_fingerprint() {
    let mut other = golden();
    other.inputs.insert("image".to_string(), Digest::of(b"label"));
    other.inputs.insert("label".to_string(), Digest::of(b"image"));
    assert_ne!(other.fingerprint(), golden().fingerprint());
}

#[test]
fn every_changed_parameter_makes_another_fingerprint() {
    let params = golden().params;
    let changed: Vec<(&str, Value)> = vec![
        ("spacing", json!([1.5, 1.5, 2.5])),
        ("spacing", json!([1.5, 2.0, 1.5])),
        ("spacing", json!([1.5, 1.5])),
        ("intensity", json!({ "window": [-57, 165] })),
        ("intensity", json!({ "windows": [-57, 164] })),
        ("crop_foreground", json!(false)),
        ("crop_foreground", json!(1)),
        ("name", json!("Milz")),
        ("margin", json!(0)),
        ("seed", json!(9_007_199_254_740_992_u64)),
        ("new", json!(null)),
    ];
    for (key, value) in changed {
        let mut other = params.clone();
        other[key] = value.clone();
        assert_ne!(with_params(other), golden().fingerprint(), "{key}: {value}");
    }
}

#[test]
fn values_of_different_types_never_meet() {
    let values = [
        json!(null),
        json!(false),
        json!(0),
        json!("0"),
        json!(""),
        json!([]),
        json!({}),
        json!([0]),
        json!([[]]),
    ];
    let fingerprints: std::collections::BTreeSet<Fingerprint> =
        values.iter().cloned().map(with_params).collect();
    assert_eq!(fingerprints.len(), values.len());
}

#[test]
fn borders_between_values_matter() {
    assert_ne!(with_params(json!(["ab", "c"])), with_params(json!(["a", "bc"])));
    assert_ne!(with_params(json!([[1], 2])), with_params(json!([[1, 2]])));
    assert_ne!(with_params(json!({ "a": { "b": 1 } })), with_params(json!({ "a": {}, "b": 1 })));
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let (one, two): (Value, Value) = (
        serde_json::from_str(r#"{"a": 1, "b": {"x": 1, "y": 2}}"#).unwrap(),
        serde_json::from_str(r#"{"b": {"y": 2, "x": 1}, "a": 1}"#).unwrap(),
    );
    assert_eq!(with_params(one), with_params(two));
}

#[test]
fn equal_numbers_are_equal_however_they_are_written() {
    assert_eq!(with_params(json!(1)), with_params(json!(1.0)));
    assert_eq!(with_params(json!(-0.0)), with_params(json!(0)));
    assert_eq!(with_params(json!(1e3)), with_params(json!(1000)));
    assert_ne!(with_params(json!(0.1)), with_params(json!(0.1 + f64::EPSILON)));
}

#[test]
fn whole_numbers_beyond_the_exact_range_of_floats_stay_apart() {
    let big = 1_u64 << 60;
    assert_ne!(with_params(json!(big)), with_params(json!(big + 1)));
    assert_ne!(with_params(json!(u64::MAX)), with_params(json!(u64::MAX - 1)));
    assert_ne!(with_params(json!(i64::MIN + 1)), with_params(json!(i64::MIN)));
    assert_eq!(with_params(json!(big)), with_params(json!(big as f64)));
}

#[test]
fn a_recipe_read_back_from_json_keeps_its_fingerprint() {
    let params = json!([
        0.1,
        1.0 / 3.0,
        2e-3,
        f64::MAX,
        f64::MIN_POSITIVE,
        0.873_456_712_345_678_9,
        1e-300 / 3.0
    ]);
    let recipe = Recipe { params, ..golden() };
    let read: Recipe = serde_json::from_str(&serde_json::to_string(&recipe).unwrap()).unwrap();
    assert_eq!(read.fingerprint(), recipe.fingerprint());
}

fn blob(content: &str) -> Blob {
    Blob { digest: Digest::of(content.as_bytes()), bytes: content.len() as u64, reference: None }
}

fn artifact(files: &[(&str, &str)]) -> Artifact {
    Artifact(files.iter().map(|(name, content)| (name.to_string(), blob(content))).collect())
}

const FILES: &[(&str, &str)] =
    &[("split.json", "s"), ("testing/b", "2"), ("training/a", "1"), ("training2/a", "3")];

#[test]
fn a_part_is_what_lies_under_its_prefix() {
    let artifact = artifact(FILES);
    let names = |part| artifact.part(part).map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names("training/"), ["training/a"]);
    assert_eq!(names("split.json"), ["split.json"]);
    assert_eq!(names("training"), [] as [&str; 0]);
    assert_eq!(names("").len(), 4);
    assert_eq!(artifact.bytes(), 4);
}

#[test]
fn a_changed_testing_file_leaves_the_training_part_as_it_was() {
    let before = artifact(FILES);
    let mut after = before.clone();
    after.0.insert("testing/b".to_string(), blob("corrected"));
    assert_eq!(
        before.digest_of(&["training/", "split.json"]),
        after.digest_of(&["training/", "split.json"])
    );
    assert_ne!(before.digest_of(&["testing/"]), after.digest_of(&["testing/"]));
    assert_ne!(before.digest(), after.digest());
}

#[test]
fn a_renamed_or_missing_file_changes_the_digest() {
    let before = artifact(FILES);
    let renamed = artifact(&[
        ("split.json", "s"),
        ("testing/c", "2"),
        ("training/a", "1"),
        ("training2/a", "3"),
    ]);
    assert_ne!(before.digest(), renamed.digest());
    assert_ne!(before.digest(), artifact(&FILES[1..]).digest());
}

#[test]
fn where_a_blob_lies_does_not_change_the_digest() {
    let kept = artifact(FILES);
    let mut referenced = kept.clone();
    let stat = FileStat { device: 1, inode: 2, size: 1, mtime_ns: 3, ctime_ns: 4 };
    let reference = Some(Reference { path: PathBuf::from("/data/a"), stat, fresh: false });
    referenced.0.insert("training/a".to_string(), Blob { reference, ..blob("1") });
    assert_eq!(kept.digest(), referenced.digest());
}

#[test]
fn hashes_are_written_as_64_hex_digits_and_nothing_else_is_read() {
    let digest = Digest::of(b"");
    assert_eq!(digest.to_hex(), "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262");
    assert_eq!(digest.to_hex().parse::<Digest>().unwrap(), digest);
    assert_eq!(digest.short(), "af1349b9f5f9");
    for wrong in ["", "af13", "zz", &"g".repeat(64), &"a".repeat(65)] {
        assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
    }
}
