//! Datasets from archives and folders, in every layout, with files that are not what they should
//! be.

mod support;

use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::Trial;
use voxflow_stages::dataset::Listing;

const LISTING: &str = r#"{"name": "Toy", "modality": {"0": "MRI"}, "labels": {"1": "front", "0": "background", "2": "back"},
 "training": [{"image": "./imagesTr/toy_2.nii.gz", "label": "./labelsTr/toy_2.nii.gz"},
              {"image": "./imagesTr/toy_1.nii.gz", "label": "./labelsTr/toy_1.nii.gz"}],
 "test": ["./imagesTs/toy_3.nii.gz"]}"#;

/// The files of a small dataset in Decathlon layout. Their bytes are no images: nothing here opens
/// them.
fn toy() -> BTreeMap<String, Vec<u8>> {
    let names =
        ["imagesTr/toy_1", "labelsTr/toy_1", "imagesTr/toy_2", "labelsTr/toy_2", "imagesTs/toy_3"];
    let files = names.iter().map(|name| (format!("{name}.nii.gz"), name.repeat(300).into_bytes()));
    files.chain([("dataset.json".to_string(), LISTING.as_bytes().to_vec())]).collect()
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn toy_tar(extra: &[(&str, &str)]) -> Vec<u8> {
    let files = toy().into_iter().map(|(name, bytes)| (format!("Task99_Toy/{name}"), bytes));
    let extra = extra.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()));
    tar_of(&files.chain(extra).collect::<Vec<_>>())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpack(archive: &[u8], params: serde_json::Value) -> (Trial, voxflow_stages::Result<()>) {
    let trial = Trial::new("unpack", params);
    let path = trial.folder().join("some.tar");
    std::fs::write(&path, archive).unwrap();
    let trial = trial.input("archive", "archive", &BTreeMap::from([("archive".to_string(), path)]));
    let result = trial.run();
    (trial, result)
}

fn trouble(archive: &[u8]) -> String {
    unpack(archive, json!({})).1.expect_err("a refused archive").to_string()
}

#[test]
fn archives_within_an_archive_are_named() {
    let inner = tar_of(&[("a/dataset.json".into(), b"{}".to_vec())]);
    let outer = tar_of(&[("README".into(), b"x".to_vec()), ("data/task.tar".into(), inner)]);
    let words = trouble(&gzip(&outer));
    let wanted = "has no dataset.json, but archives within it (data/task.tar), which are not";
    assert!(words.contains(wanted), "{words}");
    let words = trouble(&tar_of(&[("README".into(), b"x".to_vec())]));
    assert!(words.contains("has no dataset.json; the Decathlon's"), "{words}");
}

fn folder_of(files: &BTreeMap<String, Vec<u8>>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn folder(path: &Path, mut params: serde_json::Value) -> (Trial, voxflow_stages::Result<()>) {
    params["path"] = json!(path);
    let trial = Trial::new("folder", params);
    let result = trial.run();
    (trial, result)
}

#[test]
fn a_tar_and_a_tar_gz_become_the_same_dataset_without_mac_litter() {
    let litter = [
        ("Task99_Toy/._dataset.json", "x"),
        ("Task99_Toy/imagesTr/._toy_1.nii.gz", "x"),
        ("__MACOSX/a", "x"),
    ];
    let (plain, result) = unpack(&toy_tar(&litter), json!({}));
    result.unwrap();
    let (packed, result) = unpack(&gzip(&toy_tar(&litter)), json!({}));
    result.unwrap();
    assert_eq!(plain.manifest().digest(), packed.manifest().digest());
    let names: Vec<String> = plain.artifact().into_keys().collect();
    let mut expected: Vec<String> =
        toy().into_keys().chain(["source/dataset.json".into()]).collect();
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(plain.read("imagesTs/toy_3.nii.gz"), toy()["imagesTs/toy_3.nii.gz"]);
    assert_eq!(plain.read("source/dataset.json"), LISTING.as_bytes());
}

#[test]
fn a_listing_keeps_the_sources_order_and_knows_what_is_unlabelled() {
    let (trial, result) = unpack(&toy_tar(&[]), json!({}));
    result.unwrap();
    let listing: Listing = trial.json("dataset.json");
    let names: Vec<_> =
        listing.cases.iter().map(|case| (case.name.as_str(), case.label.is_some())).collect();
    assert_eq!(names, [("toy_2", true), ("toy_1", true), ("toy_3", false)]);
    assert_eq!(
        listing.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(),
        ["front", "back"]
    );
}

#[test]
fn an_archive_that_leads_out_is_refused_and_writes_nothing_outside() {
    for name in ["../evil", "Task99_Toy/../../evil", "/tmp/voxflow-evil"] {
        let (trial, result) = unpack(&tar_of(&[(name.into(), b"x".to_vec())]), json!({}));
        let words = result.unwrap_err().to_string();
        assert!(
            words.contains("archive of stage 'archive': path") && words.contains("evil"),
            "{words}"
        );
        assert!(!trial.folder().join("evil").exists() && !Path::new("/tmp/voxflow-evil").exists());
    }
}

#[test]
fn links_and_devices_are_refused() {
    for (kind, word) in [
        (tar::EntryType::Symlink, "link"),
        (tar::EntryType::Link, "link"),
        (tar::EntryType::Char, "no plain file"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        let mut tar = tar::Builder::new(vec![]);
        tar.append_link(&mut header, "Task99_Toy/a", "/etc/passwd").unwrap();
        let words = trouble(&tar.into_inner().unwrap());
        assert!(words.contains("'Task99_Toy/a' is") && words.contains(word), "{words}");
    }
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    assert!(
        trouble(&toy_tar(&[("Task99_Toy/imagesTr/toy_1.nii.gz", "other")]))
            .contains("is in it twice")
    );
}

#[test]
fn an_archive_that_ends_early_is_refused_wherever_it_is_cut() {
    let whole = toy_tar(&[]);
    for cut in [700, 1700, whole.len() / 2] {
        let words = trouble(&whole[..cut]);
        assert!(
            words.contains("ends") && words.contains("fetch it again"),
            "cut at {cut}: {words}"
        );
    }
    let packed = gzip(&whole);
    assert!(trouble(&packed[..packed.len() / 2]).contains("fetch it again"));
    assert!(trouble(b"").contains("neither tar nor tar.gz"));
    assert!(trouble(&[0; 4096]).contains("neither tar nor tar.gz"));
    assert!(trouble(b"PK\x03\x04rest of a zip").contains("is zip"));
}

#[test]
fn a_bomb_is_stopped_by_size_and_by_ratio() {
    let bomb = gzip(&tar_of(&[("Task99_Toy/big".into(), vec![0; 40 << 20])]));
    let words = unpack(&bomb, json!({"max_ratio": 20})).1.unwrap_err().to_string();
    assert!(words.contains("unpacks to more than") && words.contains("max_ratio"), "{words}");
    let words = unpack(&toy_tar(&[]), json!({"max_gib": 0.000_005})).1.unwrap_err().to_string();
    assert!(words.contains("more than 5368 bytes"), "{words}");
}

#[test]
fn limits_are_no_part_of_the_recipe() {
    let fingerprint = |params| Trial::new("unpack", params).task().recipe.fingerprint();
    assert_eq!(fingerprint(json!({})), fingerprint(json!({"max_gib": 1, "max_ratio": 3})));
    assert_ne!(fingerprint(json!({})), fingerprint(json!({"exclude": ["a"]})));
}

#[test]
fn listed_files_that_are_missing_are_all_named() {
    let files: Vec<_> = toy().into_iter().filter(|(name, _)| !name.contains("toy_1")).collect();
    let words = trouble(&tar_of(&files));
    assert!(words.contains("2 listed files"), "{words}");
    assert!(
        words.contains("imagesTr/toy_1.nii.gz") && words.contains("labelsTr/toy_1.nii.gz"),
        "{words}"
    );
    let without: BTreeMap<_, _> = files.into_iter().collect();
    let words = folder(folder_of(&without).path(), json!({})).1.unwrap_err().to_string();
    assert!(
        words
            .contains("2 listed files are not there: imagesTr/toy_1.nii.gz, labelsTr/toy_1.nii.gz"),
        "{words}"
    );
}

#[test]
fn a_stop_while_unpacking_is_a_stop() {
    let trial = Trial::new("unpack", json!({}));
    let path = trial.folder().join("some.tar");
    std::fs::write(&path, toy_tar(&[])).unwrap();
    let trial = trial.input("archive", "archive", &BTreeMap::from([("archive".to_string(), path)]));
    trial.stop();
    assert!(matches!(trial.run(), Err(voxflow_stages::Error::Stopped)));
}

#[test]
fn a_folder_is_referred_to_and_equals_its_archive() {
    let toy = folder_of(&toy());
    let (trial, result) = folder(toy.path(), json!({}));
    result.unwrap();
    let image = &trial.artifact()["imagesTr/toy_1.nii.gz"];
    assert_eq!(*image, toy.path().canonicalize().unwrap().join("imagesTr/toy_1.nii.gz"));
    let (archive, result) = unpack(&toy_tar(&[]), json!({}));
    result.unwrap();
    assert_eq!(trial.manifest().digest(), archive.manifest().digest());
}

#[test]
fn the_content_of_a_folder_is_its_recipe_and_its_place_is_not() {
    let (one, two) = (folder_of(&toy()), folder_of(&toy()));
    let local = |path: &Path| {
        let kind = voxflow_stages::Kind::named("folder").unwrap();
        let params = kind.understand(&json!({"path": path})).unwrap();
        (kind.hashed(&params), kind.local_files(&params).unwrap())
    };
    let ((hashed_one, files_one), (hashed_two, files_two)) = (local(one.path()), local(two.path()));
    assert_eq!(hashed_one, hashed_two);
    assert_eq!(files_one.keys().collect::<Vec<_>>(), files_two.keys().collect::<Vec<_>>());
    assert_eq!(files_one.len(), toy().len());
    assert_eq!(files_one["labelsTr/toy_2.nii.gz"], one.path().join("labelsTr/toy_2.nii.gz"));
}

/// The same files in nnU-Net's layout.
fn toy_nnunet() -> BTreeMap<String, Vec<u8>> {
    let json = r#"{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "front": 1, "back": "2"},
                   "numTraining": 2, "file_ending": ".nii.gz", "name": "Toy"}"#;
    let files =
        toy().into_iter().filter(|(name, _)| name != "dataset.json").map(|(name, bytes)| {
            let image = name.starts_with("images");
            (if image { name.replace(".nii.gz", "_0000.nii.gz") } else { name }, bytes)
        });
    files.chain([("dataset.json".to_string(), json.as_bytes().to_vec())]).collect()
}

#[test]
fn the_layout_of_nnunet_gives_the_same_cases() {
    let place = folder_of(&toy_nnunet());
    let (trial, result) = folder(place.path(), json!({}));
    result.unwrap();
    let (archive, result) = unpack(&toy_tar(&[]), json!({}));
    result.unwrap();
    let (ours, theirs): (Listing, Listing) =
        (trial.json("dataset.json"), archive.json("dataset.json"));
    assert_eq!(
        (&ours.modality, &ours.labels, &ours.name),
        (&theirs.modality, &theirs.labels, &theirs.name)
    );
    for case in &ours.cases {
        let other = theirs.case(&case.name).expect("the same cases");
        assert_eq!(trial.read(&case.images[0]), archive.read(&other.images[0]));
        let label =
            |trial: &Trial, name: &Option<String>| name.as_ref().map(|name| trial.read(name));
        assert_eq!(label(&trial, &case.label), label(&archive, &other.label));
    }
}

#[test]
fn the_first_version_of_nnunets_layout_is_known_by_its_files() {
    let mut files = toy_nnunet();
    files.insert("dataset.json".into(), LISTING.as_bytes().to_vec());
    let (trial, result) = folder(folder_of(&files).path(), json!({}));
    result.unwrap();
    let listing: Listing = trial.json("dataset.json");
    assert_eq!(listing.cases[0].images, ["imagesTr/toy_1_0000.nii.gz"]);
}

#[test]
fn a_missing_channel_is_named() {
    let mut files = toy_nnunet();
    let json = String::from_utf8(files["dataset.json"].clone()).unwrap();
    files.insert(
        "dataset.json".into(),
        json.replace(r#""0": "MRI""#, r#""0": "T1", "1": "T2""#).into_bytes(),
    );
    files.insert("imagesTr/toy_1_0001.nii.gz".into(), b"x".to_vec());
    let words = folder(folder_of(&files).path(), json!({})).1.unwrap_err().to_string();
    assert!(
        words.contains("imagesTr: the files of channels _0000 to _0001 are not those of toy_2"),
        "{words}"
    );
}

#[test]
fn patterns_find_pairs_without_any_json() {
    let mut files = toy();
    files.remove("dataset.json");
    let place = folder_of(&files);
    let params = json!({"images": "images*/{case}.nii.gz", "labels": "labelsTr/{case}.nii.gz",
                        "label_names": ["front", "back"], "modality": ["MRI"], "require_labels": false});
    let (trial, result) = folder(place.path(), params);
    result.unwrap();
    let listing: Listing = trial.json("dataset.json");
    let names: Vec<_> =
        listing.cases.iter().map(|case| (case.name.as_str(), case.label.is_some())).collect();
    assert_eq!(names, [("toy_1", true), ("toy_2", true), ("toy_3", false)]);
    assert_eq!(trial.read("imagesTs/toy_3.nii.gz"), files["imagesTs/toy_3.nii.gz"]);
    assert!(!trial.artifact().contains_key("source/dataset.json"));
}

#[test]
fn patterns_that_find_nothing_or_too_much_are_named() {
    let place = folder_of(&toy());
    let words = |images: serde_json::Value| {
        let modality: Vec<&str> = vec!["CT"; images.as_array().map_or(1, Vec::len)];
        folder(place.path(), json!({"images": images, "modality": modality}))
            .1
            .unwrap_err()
            .to_string()
    };
    assert!(
        words(json!("scans/{case}.nii.gz")).contains("pattern 'scans/{case}.nii.gz' finds no file")
    );
    assert!(words(json!("*/{case}.nii.gz")).contains("finds both"));
    assert!(
        words(json!(["imagesTr/{case}.nii.gz", "imagesT*/{case}.nii.gz"]))
            .contains("not every channel")
    );
}

#[test]
fn excluded_cases_are_as_if_they_were_not_there() {
    let mut files = toy();
    files.remove("labelsTr/toy_2.nii.gz");
    let place = folder_of(&files);
    let (trial, result) = folder(place.path(), json!({"exclude": ["toy_2"]}));
    result.unwrap();
    assert_eq!(trial.json::<Listing>("dataset.json").cases.len(), 2);
    let words = folder(place.path(), json!({"exclude": ["toy2"]})).1.unwrap_err().to_string();
    assert!(words.contains("no case 'toy2' in dataset 'Toy'; did you mean 'toy_2'"), "{words}");
}

#[test]
fn a_folder_that_is_not_there_is_said_to_be_missing() {
    let words = folder(Path::new("no/such/folder"), json!({})).1.unwrap_err().to_string();
    assert_eq!(words, "no/such/folder: is no folder");
    let empty = tempfile::tempdir().unwrap();
    assert!(
        folder(empty.path(), json!({})).1.unwrap_err().to_string().contains("has no dataset.json")
    );
}

#[test]
fn the_official_hippocampus_archive_unpacks() {
    let Some(root) = data_root() else { return };
    let archive = std::fs::read(root.join("Task04_Hippocampus.tar")).unwrap();
    let (trial, result) = unpack(&archive, json!({}));
    result.unwrap();
    let listing: Listing = trial.json("dataset.json");
    assert_eq!((listing.name.as_str(), listing.cases.len()), ("Hippocampus", 200));
    assert_eq!(listing.modality, ["MRI"]);
    assert_eq!(
        listing.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(),
        ["Anterior", "Posterior"]
    );
}

/// Where the real data lie, or `None` with a word about it.
#[allow(clippy::print_stderr)]
fn data_root() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let root = std::env::var_os("DATA_ROOT").map_or(beside, PathBuf::from);
    let there = root.join("Task04_Hippocampus.tar").exists();
    if !there {
        eprintln!("skipped: no Task04_Hippocampus.tar under {}; set DATA_ROOT", root.display());
    }
    there.then_some(root)
}

#[test]
fn an_archive_in_nnunets_layout_unpacks_and_its_labels_may_be_named_by_the_workflow() {
    let files: Vec<_> = toy_nnunet()
        .into_iter()
        .map(|(name, bytes)| (format!("Dataset099/{name}"), bytes))
        .collect();
    let (trial, result) =
        unpack(&tar_of(&files), json!({"label_names": {"1": "head", "2": "tail"}}));
    result.unwrap();
    let listing: Listing = trial.json("dataset.json");
    assert_eq!(listing.cases.len(), 3);
    assert_eq!(listing.labels[1].name, "tail");
    assert_eq!(trial.read("imagesTr/toy_1_0000.nii.gz"), toy()["imagesTr/toy_1.nii.gz"]);
}
