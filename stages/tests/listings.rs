//! What a `dataset.json` says: every field of the Decathlon's, MONAI's and nnU-Net's forms is read,
//! refused by name, or told.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::Trial;
use voxflow_stages::dataset::Listing;
use voxflow_stages::record::Message;

/// A folder with these files and a listing. Nothing here opens them as images.
fn folder_of(files: &[&str], listing: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    std::fs::write(folder.path().join("dataset.json"), listing).unwrap();
    folder
}

/// A listing as it was read, and all that was said.
struct Read {
    listing: Listing,
    infos: Vec<String>,
    warnings: Vec<String>,
}

fn read_in(folder: &Path, more: Value) -> Result<Read, String> {
    let mut params = json!({"path": folder});
    more.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
    let trial = Trial::new("folder", params);
    trial.run().map_err(|error| error.to_string())?;
    let (mut infos, mut warnings) = (vec![], vec![]);
    for message in trial.messages() {
        match message {
            Message::Info { words } => infos.push(words),
            Message::Warning { words } => warnings.push(words),
            _ => {}
        }
    }
    Ok(Read { listing: trial.json("dataset.json"), infos, warnings })
}

fn read_with(files: &[&str], listing: Value, more: Value) -> Result<Read, String> {
    read_in(folder_of(files, &listing.to_string()).path(), more)
}

fn read(files: &[&str], listing: Value) -> Read {
    read_with(files, listing, json!({})).unwrap_or_else(|words| panic!("{words}"))
}

fn refused(files: &[&str], listing: Value) -> String {
    read_with(files, listing, json!({})).err().expect("a refusal")
}

/// A Decathlon listing with other fields in the place of its own.
fn decathlon(more: Value) -> Value {
    let mut listing = json!({"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "a"}});
    more.as_object().unwrap().iter().for_each(|(key, value)| listing[key] = value.clone());
    listing
}

fn pair(name: &str) -> Value {
    json!({"image": format!("im/{name}.nii"), "label": format!("lb/{name}.nii")})
}

const PAIRS: [&str; 6] = ["im/a.nii", "im/b.nii", "im/c.nii", "lb/a.nii", "lb/b.nii", "lb/c.nii"];

/// An nnU-Net listing with other fields in the place of its own.
fn nnunet(more: Value) -> Value {
    let mut listing = json!({"channel_names": {"0": "MRI"}, "labels": {"background": 0, "a": 1},
                             "numTraining": 2, "file_ending": ".nii.gz"});
    more.as_object().unwrap().iter().for_each(|(key, value)| listing[key] = value.clone());
    listing
}

const CHANNELS: [&str; 4] =
    ["imagesTr/p_0000.nii.gz", "imagesTr/q_0000.nii.gz", "labelsTr/p.nii.gz", "labelsTr/q.nii.gz"];

fn names(read: &Read) -> Vec<(&str, bool)> {
    read.listing.cases.iter().map(|case| (case.name.as_str(), case.label.is_some())).collect()
}

fn says(words: &[String], part: &str) -> bool {
    words.iter().any(|word| word.contains(part))
}

#[test]
fn the_lists_validation_and_test_hold_labelled_cases_too() {
    for keys in [["training", "validation", "test"], ["train", "val", "testing"]] {
        let listing = decathlon(json!({keys[0]: [pair("a")], keys[1]: [pair("b")],
                                       keys[2]: [pair("c"), "im/d.nii"]}));
        let found = read(&[&PAIRS[..], &["im/d.nii"]].concat(), listing);
        assert_eq!(names(&found), [("a", true), ("b", true), ("c", true), ("d", false)]);
        assert!(says(&found.warnings, "1 cases of the list 'test' have labels"));
        assert!(says(&found.infos, "1 cases of the list 'validation' are labelled"));
        assert!(says(&found.infos, "3 labelled, 1 without a label: d"));
    }
}

#[test]
fn a_list_of_images_is_one_file_for_each_channel() {
    let two = |one: &str, two: &str| {
        json!({"fold": 0, "image": [format!("im/{one}.nii"), [format!("im/{two}.nii")]],
               "label": [format!("lb/{one}.nii")]})
    };
    let listing = decathlon(json!({"modality": {"0": "T1", "1": "T2"},
                                   "labels": {"0": "bg", "1": "a"}, "training": [two("a", "b")]}));
    let found = read(&PAIRS, listing);
    assert_eq!(found.listing.cases[0].images, ["im/a.nii", "im/b.nii"]);
    assert_eq!(found.listing.cases[0].name, "a");
    assert!(says(&found.infos, "fields of the cases in dataset.json that are not used: fold"));
    let files = ["B_1/B_1_t1.nii", "B_1/B_1_t2.nii", "B_1/B_1_seg.nii"];
    let entry = json!({"image": ["B_1/B_1_t1.nii", "B_1/B_1_t2.nii"], "label": "B_1/B_1_seg.nii"});
    let listing = decathlon(json!({"modality": ["T1", "T2"], "training": [entry]}));
    assert_eq!(read(&files, listing).listing.cases[0].name, "B_1");
}

#[test]
fn cases_in_folders_of_their_own_are_named_by_them() {
    let files = ["k_1/imaging.nii", "k_1/seg.nii", "k_2/imaging.nii", "k_2/seg.nii"];
    let entry = |case: &str| json!({"image": format!("{case}/imaging.nii"), "label": format!("{case}/seg.nii")});
    let found = read(&files, decathlon(json!({"training": [entry("k_1"), entry("k_2")]})));
    assert_eq!(names(&found), [("k_1", true), ("k_2", true)]);
}

#[test]
fn absolute_paths_into_the_folder_are_those_of_its_files() {
    let folder = folder_of(&PAIRS, "");
    let whole = |name: &str| format!("{}/{name}", folder.path().display());
    let entry = json!({"image": whole("im/a.nii"), "label": whole("lb/a.nii")});
    let listing = decathlon(json!({"training": [entry]})).to_string();
    std::fs::write(folder.path().join("dataset.json"), listing).unwrap();
    let found = read_in(folder.path(), json!({})).unwrap_or_else(|words| panic!("{words}"));
    assert_eq!(found.listing.cases[0].images, ["im/a.nii"]);
    let words = refused(&PAIRS, decathlon(json!({"training": ["/elsewhere/a.nii"]})));
    assert!(words.contains("training[0]: path '/elsewhere/a.nii': is absolute"), "{words}");
}

#[test]
fn counts_that_are_not_those_of_the_lists_are_a_warning_with_both() {
    let lists = json!({"training": [pair("a"), pair("b")], "numTraining": "5", "numTest": 0});
    let found = read(&PAIRS, decathlon(lists));
    assert_eq!(
        found.warnings,
        ["'numTraining' of dataset.json is 5, but there are 2 training cases"]
    );
    let found = read(&CHANNELS, nnunet(json!({"numTraining": 41})));
    let words = "'numTraining' of dataset.json is 41, but there are 2 cases to train on";
    assert_eq!(found.warnings, [words]);
}

#[test]
fn fields_that_nobody_reads_are_told_once() {
    let found = read(
        &PAIRS,
        decathlon(json!({"training": [pair("a")], "release": "1.0",
        "description": "x", "regions_class_order": [1], "tensorImageSize": "3D"})),
    );
    let told: Vec<&String> =
        found.infos.iter().filter(|words| words.contains("not used")).collect();
    assert_eq!(told, ["fields of dataset.json that are not used: release"]);
    let found = read(&PAIRS, decathlon(json!({"training": [pair("a")]})));
    assert!(says(&found.infos, "4 image files that are not listed are left out"));
}

#[test]
fn a_list_of_cases_under_another_name_is_refused() {
    let words = refused(
        &PAIRS,
        decathlon(json!({"training": [pair("a")], "pseudo_labelled": [pair("b")]})),
    );
    assert!(words.contains("list 'pseudo_labelled' holds cases, but is not known"), "{words}");
}

#[test]
fn a_key_that_is_given_twice_is_refused() {
    let text = r#"{"modality": {"0": "MRI"}, "labels": {"1": "a", "1": "b"}, "training": []}"#;
    let folder = folder_of(&PAIRS, text);
    let words = read_in(folder.path(), json!({})).err().unwrap();
    assert!(words.contains("'1' is given twice; leave one out at line 1"), "{words}");
}

#[test]
fn a_name_of_value_0_that_is_no_background_is_a_warning_and_no_label() {
    for labels in [json!({"liver": 0, "tumor": 1}), json!({"0": "liver", "1": "tumor"})] {
        for listing in [
            decathlon(json!({"training": [pair("a")], "labels": labels})),
            nnunet(json!({"labels": labels})),
        ] {
            let read = read(&[&PAIRS[..], &CHANNELS].concat(), listing);
            let names: Vec<&str> =
                read.listing.labels.iter().map(|label| label.name.as_str()).collect();
            assert_eq!(names, ["tumor"]);
            let words = "label 'liver' has value 0 in dataset.json, which is the background";
            assert!(read.warnings.iter().any(|said| said.starts_with(words)), "{labels}");
        }
    }
    for name in ["background", "Clear Label", "unlabelled"] {
        let listing = decathlon(json!({"training": [pair("a")], "labels": {"0": name, "1": "a"}}));
        assert!(read(&PAIRS, listing).warnings.is_empty(), "{name}");
    }
}

#[test]
fn labels_that_change_what_voxels_mean_are_refused_by_name() {
    for (labels, words) in [
        (json!({"background": 0, "a": 1, "ignore": 1}), "label value listed twice: 1"),
        (json!({"background": 0, "liver": 0, "tumor": 1}), "label 'liver': has value 0"),
        (json!({"1": "background", "2": "tumor"}), "label 'background': has value 1"),
        (json!({"background": 0, "whole": [1, 2], "core": [2]}), "regions_class_order: must give"),
        (json!({"0": "background", "1": "Tumor", "2": "tumor"}), "differ only in capitals"),
        (json!({"background": 0, "a": 1, "b": 1}), "label value listed twice: 1, of a, b"),
        (json!([]), "'labels' must name the labels"),
        (json!({"a": 1.5}), "no whole number"),
        (json!({"a": -1}), "below 0"),
        (json!({"a": 256}), "above 255"),
        (json!(null), "'labels' must name the labels"),
    ] {
        for listing in [
            decathlon(json!({"training": [pair("a")], "labels": labels})),
            nnunet(json!({"labels": labels})),
        ] {
            let trouble = refused(&[&PAIRS[..], &CHANNELS].concat(), listing);
            assert!(trouble.contains(words), "{labels}: {trouble}");
        }
    }
    let words = refused(&CHANNELS, nnunet(json!({"ignore_label": 2})));
    assert!(words.contains("'ignore_label': name the value of voxels to ignore"), "{words}");
}

#[test]
fn regions_and_voxels_to_ignore_are_read_as_nnunet_has_them() {
    let labels = json!({"background": 0, "whole": [1, 2], "core": [2], "ignore": 3});
    let said = json!({"labels": labels, "regions_class_order": [1, 2]});
    let found =
        read_with(&CHANNELS, nnunet(said), json!({})).unwrap_or_else(|words| panic!("{words}"));
    let regions: Vec<(&str, &[u8], u8)> = found
        .listing
        .regions
        .iter()
        .map(|region| (region.name.as_str(), &region.labels[..], region.value))
        .collect();
    assert_eq!(regions, [("whole", &[1, 2][..], 1), ("core", &[2][..], 2)]);
    assert_eq!((found.listing.ignore, found.listing.declared()), (Some(3), vec![1, 2, 3]));
    let said = json!({"label_names": {"1": "a", "4": "ignore"}});
    let labels = json!({"labels": {"background": 0, "b": 1}});
    let found =
        read_with(&CHANNELS, nnunet(labels), said).unwrap_or_else(|words| panic!("{words}"));
    assert_eq!((found.listing.ignore, found.listing.labels.len()), (Some(4), 1));
}

#[test]
fn a_workflow_may_name_labels_and_channels_in_place_of_the_listing() {
    let lists = json!({"training": [{"fold": 1, "image": "im/a.nii", "label": "lb/a.nii"}]});
    let said = json!({"modality": ["T1"], "label_names": {"255": "tumor"}, "name": "Mine"});
    let found = read_with(&PAIRS, lists.clone(), said).unwrap_or_else(|words| panic!("{words}"));
    assert_eq!((found.listing.modality, found.listing.labels[0].value), (vec!["T1".into()], 255));
    assert_eq!(found.listing.name, "Mine");
    assert!(refused(&PAIRS, lists).contains("'modality' must name the image channels"));
}

#[test]
fn cases_to_train_on_need_a_label_unless_that_is_allowed() {
    let lists = json!({"training": [pair("a"), "im/b.nii", {"image": "im/c.nii", "label": null}]});
    let words = refused(&PAIRS, decathlon(lists.clone()));
    assert!(words.contains("2 of 3 cases have no label: b, c (no 'label' in"), "{words}");
    assert!(words.contains("'require_labels: false'"), "{words}");
    let allowed = json!({"require_labels": false});
    let found = read_with(&PAIRS, decathlon(lists.clone()), allowed).ok().unwrap();
    assert_eq!(names(&found), [("a", true), ("b", false), ("c", false)]);
    let excluded = json!({"exclude": ["b", "c"]});
    assert_eq!(names(&read_with(&PAIRS, decathlon(lists), excluded).ok().unwrap()), [("a", true)]);

    let files = &CHANNELS[..3];
    let words = refused(files, nnunet(json!({})));
    assert!(words.contains("1 of 2 cases have no label: q (no 'labelsTr/q.nii.gz')"), "{words}");
    let found = read_with(files, nnunet(json!({})), json!({"require_labels": false})).ok().unwrap();
    assert_eq!(names(&found), [("p", true), ("q", false)]);
}

#[test]
fn nnunets_dataset_key_says_the_files_of_each_case() {
    let files = ["x/one_ct.nii.gz", "y/one_seg.nii.gz", "x/two_ct.nii.gz", "y/two_seg.nii.gz"];
    let case = |name: &str| json!({"images": [format!("./x/{name}_ct.nii.gz")], "label": format!("y/{name}_seg.nii.gz")});
    let listing = nnunet(json!({"dataset": {"p2": case("two"), "p1": case("one")}}));
    let found = read(&files, listing);
    assert_eq!(names(&found), [("p1", true), ("p2", true)]);
    assert_eq!(found.listing.cases[1].images, ["x/two_ct.nii.gz"]);
    assert_eq!(found.warnings, [""; 0]);
    let mut two = nnunet(json!({"dataset": {"p1": case("one")}}));
    two["dataset"]["p1"]["images"] = json!(["x/one_ct.nii.gz", "x/two_ct.nii.gz"]);
    let words = refused(&files, two.clone());
    assert!(words.contains("dataset['p1']: has 2 images for 1 channels"), "{words}");
    two["dataset"] = json!({"p1": {"images": ["../one.nii.gz"], "label": null}});
    assert!(refused(&files, two).contains("dataset['p1']: path '../one.nii.gz': leaves"));
}

#[test]
fn endings_are_compared_without_case_and_unreadable_ones_are_refused_by_name() {
    let files = ["imagesTr/p_0000.NII.GZ", "labelsTr/p.Nii.gz"];
    for ending in [".NII.GZ", "nii.gz", ".nii.gz"] {
        let listing = nnunet(json!({"file_ending": ending, "numTraining": 1,
                                    "overwrite_image_reader_writer": "SimpleITKIO"}));
        let found = read(&files, listing);
        assert_eq!(found.listing.cases[0].images, ["imagesTr/p_0000.NII.GZ"]);
        assert_eq!(found.listing.cases[0].label.as_deref(), Some("labelsTr/p.Nii.gz"));
    }
    for ending in [".nrrd", ".mha", ".png", ".tif", ".npy"] {
        let words = refused(&CHANNELS, nnunet(json!({"file_ending": ending})));
        assert!(words.contains(&format!("file_ending '{ending}'")), "{words}");
    }
}

#[test]
fn no_cases_says_where_and_what_was_looked_for_and_what_is_there() {
    let files = ["imagesTr/p.nii.gz", "labelsTr/p.nii.gz"];
    let words = refused(&files, nnunet(json!({})));
    assert!(words.contains("looked for 'imagesTr/<case>_0000.nii.gz'"), "{words}");
    assert!(words.contains("'imagesTr/p.nii.gz', 'labelsTr/p.nii.gz'"), "{words}");
    let words = refused(&["imagesTr/p_0000.nii"], nnunet(json!({})));
    assert!(words.contains("there are 'imagesTr/p_0000.nii'"), "{words}");
    let words = refused(&PAIRS, decathlon(json!({"training": [], "test": []})));
    assert!(words.contains("no cases: its lists 'training' and 'test' are empty"), "{words}");
    let folder = folder_of(&PAIRS, "{}");
    std::fs::rename(folder.path().join("dataset.json"), folder.path().join("dataset_0.json"))
        .unwrap();
    let words = read_in(folder.path(), json!({})).err().unwrap();
    assert!(words.contains("has no dataset.json (there is dataset_0.json"), "{words}");
}

#[test]
fn files_of_nnunets_folders_that_are_passed_over_are_told() {
    let files = [&CHANNELS[..], &["imagesTr/r.nii.gz", "imagesTr/._p_0000.nii.gz"]].concat();
    let found = read(&files, nnunet(json!({})));
    assert!(says(&found.warnings, "are left out: imagesTr/r.nii.gz"), "{:?}", found.warnings);
    let files = [&CHANNELS[..], &["labelsTr/r.nii.gz"]].concat();
    let words = refused(&files, nnunet(json!({})));
    assert!(words.contains("labels without an image in imagesTr: labelsTr/r.nii.gz"), "{words}");
    let files =
        [&CHANNELS[..], &["imagesTs/t_0000.nii.gz", "imagesTs/u_0000.nii.gz", "labelsTs/t.nii.gz"]];
    let found = read(&files.concat(), nnunet(json!({})));
    assert_eq!(names(&found), [("p", true), ("q", true), ("t", true), ("u", false)]);
    assert!(says(&found.warnings, "1 cases of imagesTs have labels in labelsTs"));
}

#[test]
fn a_listing_in_monais_form_with_nnunets_words_is_read_by_its_lists() {
    let found = read(&PAIRS, nnunet(json!({"training": [pair("a"), pair("b")]})));
    assert_eq!(names(&found), [("a", true), ("b", true)]);
    let found = read(
        &CHANNELS,
        nnunet(
            json!({"training": [{"image": "./imagesTr/p.nii.gz", "label": "./labelsTr/p.nii.gz"}]}),
        ),
    );
    assert_eq!(names(&found), [("p", true), ("q", true)]);
    assert!(says(&found.warnings, "that dataset.json does not list: q"), "{:?}", found.warnings);
}

#[test]
fn litter_and_odd_paths_in_a_list_are_named() {
    let words = refused(&PAIRS, decathlon(json!({"training": ["im/._a.nii"]})));
    assert!(words.contains("training[0]: path 'im/._a.nii': is what macOS keeps"), "{words}");
    let words = refused(&PAIRS, decathlon(json!({"training": ["im/a.nii "]})));
    assert!(words.contains("has a space at its end"), "{words}");
    let words = refused(&PAIRS, decathlon(json!({"training": [pair("a"), pair("a")]})));
    assert!(words.contains("listed twice: a"), "{words}");
    let twice = json!([pair("a"), {"image": "im/b.nii", "label": "lb/a.nii"}]);
    let words = refused(&PAIRS, decathlon(json!({"training": twice})));
    assert!(words.contains("file listed twice: lb/a.nii"), "{words}");
    let files = [&PAIRS[..], &["im/A.nii", "lb/A.nii"]].concat();
    let found = read(&files, decathlon(json!({"training": [pair("a"), pair("A")]})));
    assert!(says(&found.warnings, "'a' and 'A'"), "{:?}", found.warnings);
}

#[test]
fn channel_names_stand_in_for_modality_and_a_difference_is_told() {
    let lists = json!({"channel_names": ["CT"], "labels": {"a": 1}, "training": [pair("a")]});
    assert_eq!(read(&PAIRS, lists).listing.modality, ["CT"]);
    let both = decathlon(json!({"channel_names": ["CT"], "training": [pair("a")]}));
    let found = read(&PAIRS, both);
    assert!(says(&found.warnings, "'modality' and 'channel_names' differ"));
}

#[test]
fn cases_that_may_be_without_a_label_are_told_all_the_same() {
    let lists = json!({"training": [pair("a"), "im/b.nii"]});
    let allowed = json!({"require_labels": false});
    let found = read_with(&PAIRS, decathlon(lists), allowed).ok().unwrap();
    assert!(says(&found.warnings, "1 of 2 cases have no label: b"), "{:?}", found.warnings);
    assert!(says(&found.infos, "1 labelled, 1 without a label: b"), "{:?}", found.infos);
}

#[test]
fn cases_with_the_same_image_are_told() {
    let folder =
        folder_of(&PAIRS, &decathlon(json!({"training": [pair("a"), pair("b")]})).to_string());
    std::fs::copy(folder.path().join("im/a.nii"), folder.path().join("im/b.nii")).unwrap();
    let found = read_in(folder.path(), json!({})).ok().unwrap();
    assert!(says(&found.warnings, "cases with the same image: a, b"), "{:?}", found.warnings);
}
