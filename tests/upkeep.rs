//! The store kept in order through the program: what takes space, what is damaged, what may go, and
//! that a run afterwards makes again only what went.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files below a folder of the store.
fn stored(lab: &Lab, below: &str) -> Vec<PathBuf> {
    let fans = fs::read_dir(lab.path(".voxflow/store-v1").join(below)).unwrap();
    let mut files: Vec<PathBuf> = fans
        .flat_map(|fan| fs::read_dir(fan.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

fn json(lab: &Lab, arguments: &[&str]) -> Vec<serde_json::Value> {
    let shown = lab.voxflow(&[arguments, &["--format", "json"]].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    serde_json::from_str(&shown.out).unwrap()
}

fn bytes(rows: &[serde_json::Value], of: &str, name: &str) -> u64 {
    let row =
        rows.iter().find(|row| row["of"] == of && row["name"].as_str().unwrap().contains(name));
    row.unwrap_or_else(|| panic!("no row {of} {name}"))["bytes"].as_u64().unwrap()
}

#[test]
fn size_tells_what_takes_space_and_what_could_go() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    let rows = json(&lab, &["cache", "size"]);
    let all = bytes(&rows, "store", "all blobs");
    assert!(bytes(&rows, "kind", "synthesize") > 0 && bytes(&rows, "kind", "preprocess") > 0);
    assert_eq!(bytes(&rows, "workflow", "tiny"), all);
    assert_eq!(bytes(&rows, "could go", "of no run"), 0);
    fs::remove_dir_all(&first.folder).unwrap();
    let rows = json(&lab, &["cache", "size"]);
    let free = bytes(&rows, "could go", "of no run");
    assert!(free > 0 && free < all, "the volumes of the first spacing are of no run now");
    assert_eq!(free + bytes(&rows, "workflow", "tiny"), all);
}

#[test]
fn gc_keeps_the_newest_run_and_a_run_after_it_makes_only_what_went() {
    let lab = Lab::new();
    let old = lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    lab.run(TINY, &[], 0);
    let before = stored(&lab, "blobs").len();
    let would = lab.voxflow(&["cache", "gc", "--keep-runs", "1", "--dry-run"]);
    assert!(would.err.contains("would be deleted"), "{}", would.err);
    assert_eq!(stored(&lab, "blobs").len(), before);
    let shown = lab.voxflow(&["cache", "gc", "--keep-runs", "1"]);
    assert_eq!((shown.code, &shown.out), (0, &would.out), "{}", shown.err);
    assert!(stored(&lab, "blobs").len() < before);
    let again = lab.run(TINY, &[], 0);
    assert_eq!(again.made(), [] as [&str; 0], "the kept run's things stay");
    let back = lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    assert_eq!(back.made(), ["volumes", "cache"]);
    assert_eq!(back.items("volumes"), (7, 0));
    assert_eq!(back.stage("cache")["digest"], old.stage("cache")["digest"]);
}

#[test]
fn gc_by_size_and_age_lets_go_of_all_that_no_kept_run_needs() {
    let lab = Lab::new();
    lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    lab.run(TINY, &[], 0);
    assert!(lab.voxflow(&["cache", "gc", "--older-than", "1d"]).err.starts_with("0 B deleted"));
    assert!(lab.voxflow(&["cache", "gc", "--max-size", "10GB"]).err.starts_with("0 B deleted"));
    let shown = lab.voxflow(&["cache", "gc", "--max-size", "1kB"]);
    assert!(shown.err.contains("exceeds the limit"), "{}", shown.err);
    assert_eq!(lab.run(TINY, &[], 0).made(), [] as [&str; 0]);
    lab.voxflow(&["cache", "gc", "--older-than", "0s", "--keep-runs", "0"]);
    assert_eq!((stored(&lab, "blobs").len(), stored(&lab, "entries").len()), (0, 0));
    let shown = lab.voxflow(&["cache", "gc", "--max-size", "20 parsecs"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("sizes are in B, kB"), "{}", shown.err);
}

#[test]
fn gc_refuses_where_it_cannot_know_what_a_run_needs() {
    let lab = Lab::new();
    let run = lab.run(TINY, &[], 0);
    let before = stored(&lab, "entries");
    fs::write(run.folder.join("run.json"), "{").unwrap();
    let shown = lab.voxflow(&["cache", "gc", "--keep-runs", "1"]);
    assert_eq!(shown.code, 3);
    assert!(shown.err.contains("cannot be known"), "{}", shown.err);
    assert_eq!(stored(&lab, "entries"), before);
}

#[test]
fn verify_sets_a_damaged_file_aside_and_the_next_run_makes_it_again() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    assert!(lab.voxflow(&["cache", "verify"]).err.contains("nothing is damaged"));
    let digest = first.stage("split")["artifact"]["split.json"]["digest"].as_str().unwrap();
    let bad = lab.path(&format!(".voxflow/store-v1/blobs/{}/{digest}", &digest[..2]));
    let mut content = fs::read(&bad).unwrap();
    content[5] ^= 4;
    fs::remove_file(&bad).unwrap();
    fs::write(&bad, content).unwrap();
    let shown = lab.voxflow(&["cache", "verify", "--threads", "2"]);
    assert_eq!(shown.code, 3, "{}", shown.err);
    assert!(
        shown.out.contains(digest) && shown.err.contains("1 bad file set aside"),
        "{}{}",
        shown.out,
        shown.err
    );
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0, "it is reported once");
    let again = lab.run(TINY, &["--set", "cache.background_above=0.5"], 0);
    assert_eq!(again.stage("split")["outcome"], "made");
    assert_eq!(again.stage("split")["digest"], first.stage("split")["digest"]);
}

#[test]
fn a_rebuilt_index_changes_nothing() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let shown = lab.voxflow(&["cache", "rebuild"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(lab.run(TINY, &[], 0).made(), [] as [&str; 0]);
    let lab = Lab::new();
    let shown = lab.voxflow(&["cache", "size"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("no store in '.voxflow/store-v1' yet"), "{}", shown.err);
}

/// The blob of a file that a stage of a run made.
fn blob(lab: &Lab, run: &Record, stage: &str, name: &str) -> PathBuf {
    let digest = run.stage(stage)["artifact"][name]["digest"].as_str().unwrap();
    lab.path(&format!(".voxflow/store-v1/blobs/{}/{digest}", &digest[..2]))
}

#[test]
fn what_is_reused_is_there_and_has_its_size_or_it_is_made_again() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    let digests =
        ["dataset", "split", "volumes", "cache"].map(|id| first.stage(id)["digest"].clone());
    // Read by other stages, which are reused; shared by two stages, so that one brings it back; of
    // the last stage, which no other reads.
    let lost = [
        ("split", "split.json", vec!["split"]),
        ("volumes", "phantom_01/image.nii", vec!["volumes"]),
        ("volumes", "volumes.json", vec!["volumes"]),
        ("cache", "training/part.json", vec!["cache"]),
        ("dataset", "imagesTr/phantom_01.nii.gz", vec!["dataset"]),
    ];
    for (stage, name, made) in lost {
        for length in [None, Some(0), Some(7)] {
            let blob = blob(&lab, &first, stage, name);
            fs::remove_file(&blob).unwrap();
            length.into_iter().for_each(|length| fs::write(&blob, vec![7; length]).unwrap());
            let story = format!("{name} of {stage} with {length:?} bytes");
            let plan = lab.voxflow(&["plan", "workflow.yaml"]);
            let lost = if length.is_none() { "no longer" } else { "damaged" };
            let words = format!("'{name}' is {lost} in the store");
            assert!(plan.out.contains(&words), "{story}: {}{}", plan.out, plan.err);
            let run = lab.run(TINY, &[], 0);
            assert_eq!(run.made(), made, "{story}: {}", run.outcomes());
            for (id, digest) in ["dataset", "split", "volumes", "cache"].iter().zip(&digests) {
                assert_eq!(run.stage(id)["digest"], *digest, "{story}");
            }
            let output = run.folder.join("outputs").join(stage).join(name);
            assert!(output.is_file(), "{story}");
        }
    }
    assert_eq!(lab.run(TINY, &[], 0).made(), [] as [&str; 0]);
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0);
}

#[test]
fn what_is_left_out_is_not_looked_at_and_a_sweep_makes_lost_files_again_once() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    fs::remove_file(blob(&lab, &first, "volumes", "volumes.json")).unwrap();
    assert_eq!(lab.run(TINY, &["--only", "split"], 0).made(), [] as [&str; 0]);
    let shown = lab.voxflow(&["sweep", "workflow.yaml", "--over", "split.seed=0,1,2"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let runs: Vec<Record> = lab.runs()[2..].iter().map(|run| Record::of(run)).collect();
    let made = runs.iter().filter(|run| run.made().contains(&"volumes")).count();
    assert_eq!((runs.len(), made), (3, 1));
    assert!(runs.iter().all(|run| run.folder.join("outputs/volumes/volumes.json").is_file()));
}

#[test]
fn a_file_saved_over_an_output_is_kept_beside_and_every_run_shows_what_was_made() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    let right = fs::read(first.folder.join("outputs/split/split.json")).unwrap();
    // As editors and mv do: another file under the name of the link.
    let save = |run: &Record, name: &str, text: &str| {
        let path = run.folder.join("outputs").join(name);
        fs::write(lab.path("edited"), text).unwrap();
        fs::rename(lab.path("edited"), &path).unwrap();
    };
    for (round, check) in
        [["run", "workflow.yaml"], ["run", "--verify"], ["cache", "verify"]].into_iter().enumerate()
    {
        save(&first, "split/split.json", &format!("mine {round}"));
        let check: &[&str] =
            if round == 1 { &["run", "workflow.yaml", "--verify"] } else { &check };
        let shown = lab.voxflow(check);
        assert_eq!(shown.code, if round == 2 { 3 } else { 0 }, "{}{}", shown.out, shown.err);
        let words = format!("{}{}", shown.out, shown.err);
        assert!(words.contains("split.json: was no link to what was made; moved to"), "{words}");
        for run in lab.runs() {
            assert_eq!(fs::read(run.join("outputs/split/split.json")).unwrap(), right, "{round}");
        }
        let again = lab.voxflow(check);
        assert_eq!(again.code, 0, "{}{}", again.out, again.err);
        assert!(!again.err.contains("moved to") && !again.out.contains("moved to"), "told once");
    }
    let kept = below(&lab.path(".voxflow/replaced"));
    let texts: Vec<String> = kept.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    assert_eq!(texts, ["mine 0", "mine 1", "mine 2"], "{kept:?}");
    let shown = lab.voxflow(&["path", "latest/split/split.json"]);
    assert_eq!(fs::read(lab.path(shown.out.trim())).unwrap(), right, "{}", shown.err);
}

#[test]
fn links_that_are_gone_or_lead_elsewhere_are_made_again() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    let outputs = first.folder.join("outputs");
    fs::remove_file(outputs.join("split/split.json")).unwrap();
    fs::remove_dir_all(outputs.join("volumes/phantom_01")).unwrap();
    fs::write(outputs.join("volumes/phantom_01"), "a note").unwrap();
    fs::remove_file(outputs.join("cache")).unwrap();
    fs::create_dir(outputs.join("cache")).unwrap();
    let shown = lab.voxflow(&["cache", "verify"]);
    assert_eq!(shown.code, 3);
    for words in ["was gone", "was no folder of links; moved to", "was no link to what was made"] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0);
    for name in ["split/split.json", "volumes/phantom_01/image.nii", "cache/training/part.json"] {
        assert!(outputs.join(name).is_file(), "{name}");
    }
    assert_eq!(below(&lab.path(".voxflow/replaced")).len(), 1);
}

#[test]
fn the_links_of_a_home_that_was_moved_or_copied_are_as_they_should_be() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    lab.run(TINY, &[], 0);
    let copied = std::process::Command::new("cp")
        .args(["-a", ".voxflow", "copy"])
        .current_dir(lab.path(""))
        .status();
    assert!(copied.unwrap().success());
    for home in ["copy", ".voxflow"] {
        let shown = lab.voxflow(&["cache", "verify", "--home", home]);
        assert_eq!((shown.code, shown.out.as_str()), (0, ""), "{home}: {}", shown.err);
    }
    fs::rename(lab.path(".voxflow"), lab.path("moved")).unwrap();
    for home in ["copy", "moved"] {
        let shown = lab.voxflow(&["cache", "verify", "--home", home]);
        assert_eq!((shown.code, shown.out.as_str()), (0, ""), "{home}: {}", shown.err);
    }
}

#[test]
fn gc_moves_a_persons_notes_out_of_the_trees_that_it_removes() {
    let lab = Lab::new();
    let run = lab.run(TINY, &[], 0);
    let tree = fs::canonicalize(run.folder.join("outputs/split")).unwrap();
    fs::write(tree.join("notes.txt"), "mine").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(86400);
    fs::File::open(&tree).unwrap().set_modified(old).unwrap();
    fs::remove_dir_all(&run.folder).unwrap();
    let shown = lab.voxflow(&["cache", "gc"]);
    assert!(shown.code == 0 && shown.err.contains("moved to"), "{}", shown.err);
    assert!(!tree.exists());
    let kept = below(&lab.path(".voxflow/replaced"));
    assert!(kept.len() == 1 && kept[0].ends_with("notes.txt"), "{kept:?}");
}

/// Replaces a compressed file of the dataset in `data` by an uncompressed one, whose bytes can be
/// changed one by one.
fn unpacked(lab: &Lab, name: &str) -> PathBuf {
    let packed = lab.path(&format!("data/{name}.gz"));
    let mut bytes = vec![];
    let file = fs::File::open(&packed).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    fs::remove_file(&packed).unwrap();
    let path = lab.path(&format!("data/{name}"));
    fs::write(&path, bytes).unwrap();
    let listing = fs::read_to_string(lab.path("data/dataset.json")).unwrap();
    lab.write("data/dataset.json", &listing.replace(&format!("{name}.gz"), name));
    path
}

/// Every file below a folder, sorted.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

#[test]
fn a_change_that_no_stat_shows_is_found_by_verify_and_healed_for_good() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let until = ["--until", "volumes"];
    let label = unpacked(&lab, "labelsTr/case_00.nii");
    let first = lab::mapping::write_unseen(&label, || lab.run(CUBES, &until, 0));
    let again = lab.run(CUBES, &until, 0);
    if !again.made().is_empty() {
        // This file system shows such a change at once.
        return;
    }
    let verified = lab.run(CUBES, &["--until", "volumes", "--verify"], 0);
    assert_eq!(verified.made(), ["dataset", "volumes"]);
    assert_ne!(verified.stage("volumes")["digest"], first.stage("volumes")["digest"]);
    assert_eq!(verified.items("volumes"), (1, 6));
    for flags in [&["--until", "volumes", "--verify"][..], &until] {
        let healed = lab.run(CUBES, flags, 0);
        assert_eq!(healed.made(), [] as [&str; 0], "{}", healed.outcomes());
        assert_eq!(healed.stage("volumes")["digest"], verified.stage("volumes")["digest"]);
    }
}

#[test]
fn verify_reads_a_list_that_was_changed_without_a_sign() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let list = |testing: &str| {
        let image = |name: &str| format!(r#"{{"image": "imagesTr/{name}.nii.gz"}}"#);
        let training = ["case_00", "case_01", "case_02"].map(image).join(", ");
        format!(r#"{{"training": [{training}], "testing": [{}]}}"#, image(testing))
    };
    let file = lab.write("list.json", &list("case_03"));
    let workflow = "name: listed\nstages:\n  dataset: { uses: folder, with: { path: data } }\n  \
                    split: { uses: split, needs: [dataset], with: { datalist: list.json } }\n";
    lab::mapping::write_unseen_text(&file, &list("case_05"), || lab.run(workflow, &[], 0));
    if !lab.run(workflow, &[], 0).made().is_empty() {
        return;
    }
    assert_eq!(lab.run(workflow, &["--verify"], 0).made(), ["split"]);
    let split = fs::read_to_string(lab.last_run().folder.join("outputs/split/split.json")).unwrap();
    assert!(split.contains("case_05") && !split.contains("case_03"), "{split}");
    assert_eq!(lab.run(workflow, &["--verify"], 0).made(), [] as [&str; 0]);
}
