//! Folders of images and labels that are found by patterns: every layout that people have.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use support::Trial;
use voxflow_stages::Kind;
use voxflow_stages::dataset::Listing;

/// A folder with these files. Nothing here opens them as images.
fn folder_of(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
    folder
}

/// Parameters by patterns, one label and one channel unless they say otherwise.
fn params(folder: &Path, more: Value) -> Value {
    let mut params = json!({"path": folder, "layout": "patterns", "modality": ["MRI"]});
    let more = more.as_object().unwrap().clone();
    if more.contains_key("labels") {
        params["label_names"] = json!(["organ"]);
    }
    more.into_iter().for_each(|(key, value)| params[key] = value);
    params
}

fn listed(files: &[&str], more: Value) -> Result<(Listing, Vec<String>), String> {
    let folder = folder_of(files);
    let trial = Trial::new("folder", params(folder.path(), more));
    trial.run().map_err(|error| error.to_string())?;
    Ok((trial.json("dataset.json"), trial.words()))
}

/// (name, images, label) of each case.
fn cases(files: &[&str], more: Value) -> Vec<(String, String, Option<String>)> {
    let (listing, _) = listed(files, more).unwrap_or_else(|words| panic!("{words}"));
    listing.cases.into_iter().map(|case| (case.name, case.images.join(" "), case.label)).collect()
}

fn case(name: &str, images: &str, label: &str) -> (String, String, Option<String>) {
    (name.into(), images.into(), Some(label.into()))
}

fn refused(files: &[&str], more: Value) -> String {
    listed(files, more).expect_err("a refusal")
}

/// What `check` says of parameters.
fn mistakes(more: Value) -> Vec<(String, String)> {
    let kind = Kind::named("folder").unwrap();
    kind.understand(&params(Path::new("data"), more)).err().unwrap_or_default()
}

#[test]
fn one_folder_a_case_is_read_by_the_folders_name() {
    let found = cases(
        &[
            "c_1/imaging.nii.gz",
            "c_1/segmentation.nii.gz",
            "c_2/imaging.nii.gz",
            "c_2/segmentation.nii.gz",
        ],
        json!({"images": "{case}/imaging.nii.gz", "labels": "{case}/segmentation.nii.gz"}),
    );
    assert_eq!(
        found,
        ["c_1", "c_2"].map(|name| case(
            name,
            &format!("{name}/imaging.nii.gz"),
            &format!("{name}/segmentation.nii.gz")
        ))
    );
}

#[test]
fn what_the_label_pattern_finds_is_no_image() {
    let files = ["a1.nii.gz", "a1_seg.nii.gz", "a2.nii.gz", "a2_seg.nii.gz"];
    let found = cases(&files, json!({"images": "{case}.nii.gz", "labels": "{case}_seg.nii.gz"}));
    let wanted =
        [case("a1", "a1.nii.gz", "a1_seg.nii.gz"), case("a2", "a2.nii.gz", "a2_seg.nii.gz")];
    assert_eq!(found, wanted);
    let files = ["a1.nii", "a1_ct.nii", "a2.nii", "a2_ct.nii"];
    let found = cases(&files, json!({"images": "{case}_ct.nii", "labels": "{case}.nii"}));
    assert_eq!(found, [case("a1", "a1_ct.nii", "a1.nii"), case("a2", "a2_ct.nii", "a2.nii")]);
}

#[test]
fn a_file_is_of_the_channel_whose_pattern_says_most_of_its_name() {
    let files = ["p1.nii", "p1_t2.nii", "p1_seg.nii", "p2.nii", "p2_t2.nii", "p2_seg.nii"];
    let found = cases(
        &files,
        json!({"images": ["{case}.nii", "{case}_t2.nii"], "modality": ["T1", "T2"],
               "labels": "{case}_seg.nii"}),
    );
    assert_eq!(
        found,
        [
            case("p1", "p1.nii p1_t2.nii", "p1_seg.nii"),
            case("p2", "p2.nii p2_t2.nii", "p2_seg.nii")
        ]
    );
}

#[test]
fn endings_may_be_mixed_and_in_capitals() {
    let files =
        ["im/A.NII.GZ", "im/b.nii", "im/c.nii.gz", "im/c.json", "lb/A.nii", "lb/b.Nii", "lb/c.nii"];
    let found = cases(&files, json!({"images": "im/{case}.nii*", "labels": "lb/{case}.nii"}));
    assert_eq!(
        found,
        [
            case("A", "im/A.NII.GZ", "lb/A.nii"),
            case("b", "im/b.nii", "lb/b.Nii"),
            case("c", "im/c.nii.gz", "lb/c.nii")
        ]
    );
    assert_eq!(cases(&["A.NII.GZ"], json!({"images": "{case}.nii.gz"})).len(), 1);
    assert_eq!(cases(&["A.nii.gz"], json!({"images": "{case}.NII.GZ"})).len(), 1);
}

#[test]
fn a_pair_of_header_and_voxels_is_one_image_and_both_files_are_kept() {
    let files = ["im/a.hdr", "im/a.img", "lb/a.hdr", "lb/a.img"];
    for (images, labels) in [("im/{case}.hdr", "lb/{case}.img"), ("im/{case}.*", "lb/{case}.hdr")] {
        let folder = folder_of(&files);
        let more = json!({"images": images, "labels": labels});
        let trial = Trial::new("folder", params(folder.path(), more.clone()));
        trial.run().unwrap();
        assert_eq!(trial.json::<Listing>("dataset.json").cases[0].images, ["im/a.hdr"]);
        let kept: Vec<String> = trial.artifact().into_keys().collect();
        assert_eq!(kept, ["dataset.json", "im/a.hdr", "im/a.img", "lb/a.hdr", "lb/a.img"]);
        let kind = Kind::named("folder").unwrap();
        let understood = kind.understand(&params(folder.path(), more)).unwrap();
        assert_eq!(kind.local_files(&understood).unwrap().len(), 4, "all are part of the recipe");
    }
    let words = refused(&["im/a.hdr"], json!({"images": "im/{case}.hdr"}));
    assert!(words.contains("1 listed file is not there: im/a.img"), "{words}");
    let words = refused(&["im/a.img"], json!({"images": "im/{case}.img"}));
    assert!(words.contains("finds no image") || words.contains("finds no file"), "{words}");
}

#[test]
fn one_pattern_may_find_files_of_several_channels() {
    let (listing, _) =
        listed(&["a.nii"], json!({"images": "{case}.nii", "modality": ["T1", "T2"]})).unwrap();
    assert_eq!(listing.modality, ["T1", "T2"]);
    assert_eq!(listing.cases[0].images, ["a.nii"]);
    let wrong = mistakes(json!({"images": ["a{case}.nii", "b{case}.nii"], "modality": ["T1"]}));
    assert_eq!(wrong[0].1, "must name 2 image channels, one for each pattern");
    assert_eq!(mistakes(json!({"images": "{case}.nii", "modality": []})).len(), 1);
}

#[test]
fn a_placeholder_twice_is_the_same_case_even_where_its_name_repeats_itself() {
    let files = ["s_1/s_1_t1.nii", "s_1/s_2_t1.nii", "s_3/s_3_t1.nii"];
    let found = cases(&files, json!({"images": "{case}/{case}_t1.nii"}));
    assert_eq!(found.iter().map(|case| case.0.as_str()).collect::<Vec<_>>(), ["s_1", "s_3"]);
    assert_eq!(cases(&["a_b_a_b.nii"], json!({"images": "{case}_{case}.nii"}))[0].0, "a_b");
}

#[test]
fn values_have_names_in_a_mapping_and_the_listing_has_those_and_no_others() {
    let of = |names: Value| -> Vec<(u8, String)> {
        let more = json!({"images": "i{case}.nii", "labels": "l{case}.nii", "label_names": names});
        let (listing, _) = listed(&["i1.nii", "l1.nii"], more).unwrap();
        listing.labels.into_iter().map(|label| (label.value, label.name)).collect()
    };
    assert_eq!(of(json!({"255": "tumor"})), [(255, "tumor".into())]);
    assert_eq!(
        of(json!({"0": "background", "4": "enhancing", "1": "edema", "2": "core"})),
        [(1, "edema".into()), (2, "core".into()), (4, "enhancing".into())]
    );
}

#[test]
fn a_mapping_that_says_what_a_list_says_is_the_same_recipe() {
    let recipe = |names: Value| {
        let more = json!({"images": "i{case}.nii", "labels": "l{case}.nii", "label_names": names});
        Trial::new("folder", params(Path::new("data"), more)).task().recipe.fingerprint()
    };
    assert_eq!(recipe(json!(["a", "b"])), recipe(json!({"2": "b", "1": "a", "0": "background"})));
    assert_ne!(recipe(json!(["a", "b"])), recipe(json!({"1": "a", "3": "b"})));
}

#[test]
fn names_of_labels_that_cannot_be_are_found_by_check() {
    for (names, words) in [
        (json!(["a", "a"]), "label listed twice: a"),
        (json!({"1": "a", "2": "A "}), "differ only in capitals or spaces"),
        (json!({"0": "liver", "1": "tumor"}), "label 'liver': has value 0"),
        (json!({"1": "background", "2": "tumor"}), "label 'background': has value 1"),
        (json!({"256": "a"}), "above 255"),
        (json!({"-1": "a"}), "below 0"),
        (json!({"1.5": "a"}), "no whole number"),
        (json!({"0": "background"}), "must name the labels"),
        (json!([]), "must name the labels"),
    ] {
        let more = json!({"images": "i{case}.nii", "labels": "l{case}.nii", "label_names": names});
        let found = mistakes(more);
        assert!(
            found.iter().any(|(key, trouble)| key == "label_names" && trouble.contains(words)),
            "{names}: {found:?}"
        );
    }
    let names = json!({"1": "a", "2": "ignore"});
    let ignored = json!({"images": "i{case}.nii", "labels": "l{case}.nii", "label_names": names});
    let found = mistakes(ignored);
    assert!(found.iter().all(|(key, _)| key != "label_names"), "voxels to ignore: {found:?}");
}

#[test]
fn cases_without_a_label_file_are_an_error_that_lists_them_unless_allowed() {
    let files = ["im/a.nii", "im/b.nii", "im/c.nii", "lb/a.nii"];
    let patterns = json!({"images": "im/{case}.nii", "labels": "lb/{case}.nii"});
    let words = refused(&files, patterns.clone());
    assert!(words.contains("2 of 3 cases have no label: b, c"), "{words}");
    assert!(words.contains("'lb/b.nii'") && words.contains("require_labels: false"), "{words}");
    let mut allowed = patterns.clone();
    allowed["require_labels"] = json!(false);
    let (listing, words) = listed(&files, allowed).unwrap();
    assert_eq!((listing.labelled().count(), listing.unlabelled().count()), (1, 2));
    assert!(words.iter().any(|word| word == "1 labelled, 2 without a label: b, c"), "{words:?}");
    let mut excluded = patterns.clone();
    excluded["exclude"] = json!(["b", "c"]);
    assert_eq!(cases(&files, excluded).len(), 1);
    assert_eq!(cases(&files, json!({"images": "im/{case}.nii"})).len(), 3, "no labels are given");
}

#[test]
fn that_labels_are_required_is_no_part_of_an_old_recipe() {
    let understood = |more: Value| {
        let kind = Kind::named("folder").unwrap();
        kind.hashed(&kind.understand(&params(Path::new("data"), more)).unwrap())
    };
    let patterns = json!({"images": "i{case}.nii", "labels": "l{case}.nii"});
    let old = json!({"layout": "patterns", "images": "i{case}.nii", "labels": "l{case}.nii",
                     "label_names": ["organ"], "modality": ["MRI"], "exclude": []});
    assert_eq!(understood(patterns.clone()), old);
    let mut said = patterns;
    said["require_labels"] = json!(true);
    assert_eq!(understood(said.clone()), old);
    said["require_labels"] = json!(false);
    assert_eq!(understood(said)["require_labels"], json!(false));
}

#[test]
fn excluded_cases_need_neither_all_channels_nor_an_image() {
    let files = ["a_1.nii", "a_2.nii", "b_1.nii", "l_a.nii", "l_c.nii"];
    let patterns = |exclude: Value| {
        json!({"images": ["{case}_1.nii", "{case}_2.nii"], "modality": ["T1", "T2"],
               "labels": "l_{case}.nii", "exclude": exclude})
    };
    assert_eq!(cases(&files, patterns(json!(["b", "c"])))[0].0, "a");
    let words = refused(&files, patterns(json!(["c"])));
    assert!(words.contains("b (no 'b_2.nii')"), "{words}");
    let words = refused(&files, patterns(json!(["b"])));
    assert!(words.contains("labels without an image: l_c.nii"), "{words}");
}

#[test]
fn a_pattern_that_finds_nothing_says_what_there_is() {
    let words = refused(&["im/a.nii", "im/b.nii"], json!({"images": "scans/{case}.nii"}));
    assert!(words.contains("pattern 'scans/{case}.nii' finds no file; in '"), "{words}");
    assert!(words.contains("there are 'im/a.nii', 'im/b.nii'"), "{words}");
    let words = refused(&["a.mha", "readme.txt"], json!({"images": "{case}.mha"}));
    assert!(words.contains("a.mha do not end in .nii.gz or .nii"), "{words}");
    let words = refused(&["readme.txt"], json!({"images": "{case}.nii"}));
    assert!(words.contains("there are no images, but 'readme.txt'"), "{words}");
    assert!(refused(&[], json!({"images": "{case}.nii"})).contains("is empty"));
}

#[test]
fn files_that_no_pattern_finds_are_told() {
    let files = ["im/a.nii", "im/._a.nii", "old/z.nii", "lb/a.nii", "notes.txt"];
    let (listing, words) =
        listed(&files, json!({"images": "im/{case}.nii", "labels": "lb/{case}.nii"})).unwrap();
    assert_eq!(listing.cases.len(), 1, "what macOS leaves beside a file is none");
    let told = "1 image files that no pattern finds are left out: old/z.nii";
    assert!(words.iter().any(|word| word == told), "{words:?}");
}

#[test]
fn links_to_files_are_files_and_broken_ones_are_named() {
    let folder = folder_of(&["store/x.nii"]);
    std::fs::create_dir(folder.path().join("im")).unwrap();
    let link = |name: &str, to: &str| {
        std::os::unix::fs::symlink(to, folder.path().join("im").join(name)).unwrap();
    };
    link("a.nii", "../store/x.nii");
    let trial = Trial::new("folder", params(folder.path(), json!({"images": "im/{case}.nii"})));
    trial.run().unwrap();
    link("b.nii", "../store/gone.nii");
    let words = Trial::new("folder", params(folder.path(), json!({"images": "im/{case}.nii"})))
        .run()
        .unwrap_err()
        .to_string();
    assert!(words.contains("1 listed file is not there: im/b.nii"), "{words}");
}

#[test]
fn a_pattern_that_is_there_twice_is_found_by_check() {
    let wrong = mistakes(json!({"images": "{case}.nii", "labels": "{case}.nii"}));
    assert!(wrong.iter().any(|(_, trouble)| trouble.contains("is there twice")), "{wrong:?}");
}

#[test]
fn names_that_are_no_text_are_told() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder_of(&["a.nii"]);
    let name = std::ffi::OsStr::from_bytes(b"b\xff.nii");
    std::fs::write(folder.path().join(name), "x").unwrap();
    let trial = Trial::new("folder", params(folder.path(), json!({"images": "{case}.nii"})));
    trial.run().unwrap();
    let words: BTreeMap<bool, Vec<String>> = BTreeMap::from([(true, trial.words())]);
    assert!(words[&true].iter().any(|word| word.contains("no UTF-8")), "{words:?}");
}
