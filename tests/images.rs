//! Files of other people's through the whole program: headers, pairs, and labels that are stored in
//! another order than their images.

mod lab;

use flate2::read::GzDecoder;
use lab::Lab;
use lab::cubes::{CUBES, Dataset, SHAPE};
use std::fs;
use std::io::Read;
use std::path::Path;

/// The header and the voxels of a file, unpacked.
fn unpacked(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut bytes = vec![];
    GzDecoder::new(fs::File::open(path).expect("a file")).read_to_end(&mut bytes).expect("gzip");
    let voxels = bytes.split_off(352);
    (bytes, voxels)
}

fn put(header: &mut [u8], at: usize, numbers: &[f32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    header[at..at + bytes.len()].copy_from_slice(&bytes);
}

fn shorts(header: &[u8], at: usize) -> [i16; 2] {
    [0, 2].map(|more| i16::from_le_bytes([header[at + more], header[at + more + 1]]))
}

/// Numbers of the three rows of the sform.
fn sform(header: &[u8]) -> Vec<f32> {
    header[280..328]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

/// Stores a label map at the same place of the world from left to right and from front to back.
fn store_lps(path: &Path) {
    let (mut header, mut voxels) = unpacked(path);
    let [nx, ny, _] = SHAPE;
    voxels.chunks_exact_mut(nx * ny).for_each(<[u8]>::reverse);
    put(&mut header, 280, &[-1.0, 0.0, 0.0, nx as f32 - 1.0, 0.0, -1.0, 0.0, ny as f32 - 1.0]);
    fs::write(path, [header, voxels].concat()).expect("writes");
}

/// The same with its axes in the order z, y, x.
fn store_zyx(path: &Path) {
    let (mut header, voxels) = unpacked(path);
    let [nx, ny, nz] = SHAPE;
    let at = |k: usize| [k % nz, k / nz % ny, k / nz / ny];
    let moved: Vec<u8> =
        (0..voxels.len()).map(at).map(|[z, y, x]| voxels[x + nx * (y + ny * z)]).collect();
    for (axis, length) in [nz, ny, nx].into_iter().enumerate() {
        header[42 + 2 * axis..44 + 2 * axis].copy_from_slice(&(length as i16).to_le_bytes());
    }
    put(&mut header, 280, &[0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    fs::write(path, [header, moved].concat()).expect("writes");
}

#[test]
fn a_label_is_scored_and_drawn_on_its_images_grid_however_it_is_stored() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    let scored = |more: &str| {
        let run = lab.run(&CUBES.replace("path: data", more), &["--threads", "1"], 0);
        let rows = run.sorted_metrics().into_iter().filter(|row| row.contains("original"));
        (run.fingerprint("model").to_string(), rows.collect::<Vec<_>>())
    };
    let picture = |label: &Path, name: &str| {
        let (image, label) = (data.image(2).display().to_string(), label.display().to_string());
        let shown = lab.voxflow(&["view", &image, "--label", &label, "-o", name]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        fs::read(lab.path(name)).expect("a picture")
    };
    let (model, plain) = scored("path: data");
    assert!(plain.iter().any(|row| row.contains("hd95_mm")), "{plain:?}");
    let drawn = picture(&data.label(2), "plain.png");
    for (name, store) in [("lps", store_lps as fn(&Path)), ("zyx", store_zyx)] {
        let other = Dataset::write(&lab.path(name), 7, 0);
        (0..7).for_each(|case| store(&other.label(case)));
        let (same, scores) = scored(&format!("path: {name}"));
        assert_eq!(same, model, "the prepared volumes are the same");
        assert_eq!(scores, plain, "{name}");
        assert_eq!(picture(&other.label(2), "other.png"), drawn, "{name}");
    }
}

#[test]
fn a_label_map_lies_where_its_image_lies_and_says_it_in_the_same_way() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    let (header, voxels) = unpacked(&data.image(0));
    let write = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut header = header.clone();
        change(&mut header);
        fs::write(lab.path(name), [header, voxels.clone()].concat()).expect("writes");
    };
    // Rounded sizes beside an exact sform, no qform.
    let exact = [-1.23456, 0.0, 0.0, 30.0, 0.0, 1.12345, 0.0, -20.0, 0.0, 0.0, 2.0, 5.0];
    write("rounded.nii", &|header| {
        put(header, 280, &exact);
        put(header, 80, &[1.235, 1.123, 2.0]);
    });
    // Scanner space twice, in mm and seconds.
    write("scanner.nii", &|header| {
        (header[123], header[252], header[254]) = (10, 1, 1);
    });
    // Only a qform: half a turn about z.
    write("qform.nii", &|header| {
        (header[252], header[254]) = (1, 0);
        put(header, 256, &[0.0, 0.0, 1.0, 30.0, -20.0, 5.0]);
    });
    write("NEITHER.NII", &|header| header[254] = 0);
    // A pair, by its header.
    let mut pair = header.clone();
    pair[344..348].copy_from_slice(b"ni1\0");
    put(&mut pair, 108, &[0.0]);
    fs::write(lab.path("pair.hdr"), &pair[..348]).expect("writes");
    fs::write(lab.path("pair.img"), &voxels).expect("writes");
    let shown = lab.voxflow(&[
        "predict",
        "--model",
        "latest",
        "rounded.nii",
        "scanner.nii",
        "qform.nii",
        "NEITHER.NII",
        "pair.img",
        "--out",
        "labels",
        "--probabilities",
    ]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("warning: case rounded: image: has voxel sizes"), "{}", shown.err);
    assert_eq!(shown.err.matches("warning").count(), 1, "{}", shown.err);
    for end in ["", "_probabilities"] {
        let of = |name: &str| unpacked(&lab.path(&format!("labels/{name}{end}.nii.gz"))).0;
        assert_eq!(sform(&of("rounded")), exact);
        assert_eq!((shorts(&of("rounded"), 252), of("scanner")[123]), ([0, 1], 10));
        assert_eq!(shorts(&of("scanner"), 252), [1, 1]);
        let qform = of("qform");
        assert_eq!(shorts(&qform, 252), [1, 0]);
        assert_eq!(qform[256..280], fs::read(lab.path("qform.nii")).expect("a file")[256..280]);
        assert_eq!(shorts(&of("NEITHER"), 252), [0, 0]);
        assert_eq!(sform(&of("pair")), sform(&header));
    }
    // A folder with a pair has one image of that name.
    fs::create_dir(lab.path("folder")).expect("a folder");
    for file in ["pair.hdr", "pair.img"] {
        fs::copy(lab.path(file), lab.path(&format!("folder/{file}"))).expect("copies");
    }
    let shown = lab.voxflow(&["predict", "--model", "latest", "folder", "--out", "again"]);
    assert!(shown.code == 0 && shown.err.contains("1 of 1 image"), "{}", shown.err);
    assert_eq!(unpacked(&lab.path("again/pair.nii.gz")), unpacked(&lab.path("labels/pair.nii.gz")));
}

/// numpy: `343 * abs(det([[1, 0, .3], [0, 1, 0], [0, 0, .9]])) / 1000` for the cube of 7³ voxels.
/// The sides alone multiply to 0.325.
#[test]
fn volumes_on_sheared_grids_are_by_the_determinant_in_every_stage_and_told_once_per_case() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    for path in (0..7).flat_map(|case| [data.image(case), data.label(case)]) {
        let (mut header, voxels) = unpacked(&path);
        put(&mut header, 280, &[1.0, 0.0, 0.3, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.0]);
        put(&mut header, 80, &[1.0, 1.0, 0.948_683_3]);
        fs::write(&path, [header, voxels].concat()).expect("writes");
    }
    let own_grid = CUBES.replace("spacing: [1.0, 1.0, 1.0], ", "");
    let workflow = own_grid
        + "  trivial: { uses: baseline, needs: [cache], with: { method: mean_label } }\n  \
           maps: { uses: predict, needs: [dataset, model], with: { cases: all } }\n";
    let run = lab.run(&workflow, &["--threads", "1"], 0);
    let mut volumes = vec![];
    for row in run.metrics() {
        let (stage, row) = (row[0].as_str().unwrap().to_string(), &row[1]);
        if row["metric"] == "reference_ml" && !row["case"].is_null() {
            volumes.push((stage, row["value"].as_f64().unwrap()));
        }
    }
    assert_eq!(volumes.len(), 4, "one in each of score and trivial, two in final: {volumes:?}");
    assert!(volumes.iter().all(|(_, ml)| (ml - 0.3087).abs() < 1e-7), "{volumes:?}");
    let scored = |name: &str| {
        let rows = run.metrics().into_iter().filter(|row| row[0] == name);
        let rows =
            rows.filter(|row| row[1]["metric"] == "volume_ml" && row[1]["case"] == "case_05");
        rows.map(|row| row[1]["value"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(scored("final"), scored("maps"), "one label map has one volume");
    let events = run.events();
    let warned = |stage: &str| {
        let said = events.iter().filter(|event| event["stage"] == stage);
        let said = said.filter(|event| event["message"]["say"] == "warning");
        said.filter(|event| {
            event["message"]["words"].as_str().unwrap().contains("axes are not at right angles")
        })
        .count()
    };
    assert_eq!(["score", "trivial", "final"].map(warned), [1, 1, 2]);
}

#[test]
fn a_voxel_that_is_no_number_is_told_to_a_prediction_without_a_word_of_stages() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    let (header, mut voxels) = unpacked(&data.image(0));
    voxels[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(lab.path("bad.nii"), [header, voxels].concat()).expect("writes");
    let shown = lab.voxflow(&["predict", "--model", "latest", "bad.nii", "--out", "labels"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(
        shown.err.contains("1 of 5760 voxels are NaN or infinite; repair the file"),
        "{}",
        shown.err
    );
    assert!(!shown.err.contains("stage") && !shown.err.contains("exclude"), "{}", shown.err);
}

#[test]
fn what_was_lost_is_in_the_record_and_the_report_of_every_run() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 3, 0);
    let workflow = "name: lost\nstages:\n  dataset: { uses: folder, with: { path: data } }\n  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [25, 25, 25], intensity: { zscore: all } } }\n";
    let warned = |run: &lab::Record| {
        let events = run.events();
        let said = events.iter().filter(|event| event["message"]["say"] == "warning");
        said.map(|event| event["message"]["words"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    let first = lab.run(workflow, &[], 0);
    let words = warned(&first);
    assert_eq!(words.len(), 3, "{words:?}");
    assert!(
        words.iter().all(|words| words
            .contains("label 'cube' (1): 343 of 343 voxels (100 %) are lost by resampling")),
        "{words:?}"
    );
    let second = lab.run(workflow, &[], 0);
    assert_eq!(second.stage("volumes")["outcome"], "reused");
    let grouped = warned(&second);
    assert_eq!(grouped.len(), 1, "{grouped:?}");
    assert!(
        grouped[0].starts_with("3 cases (case_00, case_01, case_02): label 'cube' (1): 343 of 343"),
        "{grouped:?}"
    );
    assert_eq!(lab.voxflow(&["report", "latest"]).code, 0);
    let page = fs::read_to_string(second.folder.join("report.html")).expect("a report");
    assert!(page.contains("Warnings") && page.contains("343 of 343 voxels"));
}
