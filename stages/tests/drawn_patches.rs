//! Patches that equal seeds drew before: pinned bit for bit, so that a training repeats whatever
//! the program's version.

use serde_json::{Value, json};
use voxflow_cache::Digest;
use voxflow_stages::image::Augmentation;
use voxflow_stages::image::candidates::{CandidateSelection, Candidates};
use voxflow_stages::image::patch_sampler::{
    PatchKey, PatchSource, Sampling, initial_start, middle, sample,
};

const SHAPE: [usize; 3] = [20, 18, 16];

/// The digest of 24 patches of two channels, image bits and labels.
fn drawn(augmentation: &Value, side: [usize; 3]) -> String {
    let voxels: usize = SHAPE.iter().product();
    let image: Vec<f32> =
        (0..2 * voxels).map(|at| ((at * 7919 + at / 13) % 1009) as f32 / 1009.0).collect();
    let label: Vec<u8> =
        (0..voxels).map(|at| u8::from(at % 20 > 8) * (1 + u8::from(at / 360 > 7))).collect();
    let selection = CandidateSelection { labels: &[1, 2], background: None };
    let candidates = Candidates::compute(SHAPE, &label, selection).unwrap();
    let case = PatchSource {
        image: &image,
        channels: 2,
        shape: SHAPE,
        label: &label,
        beyond: 0,
        candidates: &candidates,
    };
    let augmentation: Augmentation = serde_json::from_value(augmentation.clone()).unwrap();
    let patch: usize = side.iter().product();
    let mut bytes = vec![];
    for item in 0..24 {
        let (mut image, mut label) = (vec![f32::NAN; 2 * patch], vec![255; patch]);
        let key = PatchKey { seed: 11, epoch: 3, item, batch: (item as usize % 4, 4) };
        let sampling = Sampling::default();
        sample(&case, &sampling, &augmentation, side, key, (&mut image, &mut label));
        bytes.extend(image.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        bytes.extend(label);
    }
    Digest::of(&bytes).to_hex()[..16].to_string()
}

/// Each transform alone, pairs that share the ways of being applied, and all.
fn augmentations() -> [(&'static str, Value); 12] {
    let flip = json!({ "probability": 0.5, "axes": [0, 2] });
    let turn = json!({ "probability": 0.7, "axes": [0, 1] });
    let affine = json!({ "probability": 0.7, "rotation_degrees": [10, 20, 30],
                         "scale": [0.1, 0.2, 0.1], "translation_voxels": [1, 2, 0.5] });
    let noise = json!({ "probability": 0.7, "std": 0.2 });
    let gamma = json!({ "probability": 0.7, "range": [0.7, 1.5] });
    let scale = json!({ "probability": 0.7, "factor": 0.3 });
    let shift = json!({ "probability": 0.7, "offset": 0.1 });
    [
        ("none", json!({})),
        ("flip", json!({ "flip": flip })),
        ("rotate90", json!({ "rotate90": turn })),
        ("affine", json!({ "affine": affine })),
        ("noise", json!({ "noise": noise })),
        ("gamma", json!({ "gamma": gamma })),
        ("scale", json!({ "intensity_scale": scale })),
        ("shift", json!({ "intensity_shift": shift })),
        (
            "flip, scale, shift",
            json!({ "flip": flip, "intensity_scale": scale, "intensity_shift": shift }),
        ),
        ("turn, affine", json!({ "rotate90": turn, "affine": affine })),
        ("flip, noise, gamma", json!({ "flip": flip, "noise": noise, "gamma": gamma })),
        (
            "all",
            json!({ "flip": flip, "rotate90": turn, "affine": affine, "noise": noise,
                        "gamma": gamma, "intensity_scale": scale, "intensity_shift": shift }),
        ),
    ]
}

/// Inside the volume, and wider than it.
const SIDES: [[usize; 3]; 2] = [[8, 8, 6], [24, 24, 5]];

const PINNED: &str = "\
none: 8720703dffc3dcdb 6732dafbcac69a94
flip: 3fef62b39ce3ce8e f95e6ed8d7292558
rotate90: 669e7d85e90c911f df327dc979858cf8
affine: 25190202eb8b0e9e b98868900fcf5b97
noise: 1991beed4b568674 c4a575213bff6b1b
gamma: 86b6911ebad6b184 2befacfa87c1ccb8
scale: ddde90ec494bd2f6 8ec8aa1a582b812f
shift: a72daf30ebf937cb 497e72f321edfca4
flip, scale, shift: 9cf275dbe1b5ead4 1f40fa0a0ae66a0a
turn, affine: a7a88c517a0ce48d fc9ce7ba99a6ed48
flip, noise, gamma: 77b64873ff1b46d1 9062d35d07ba1b2a
all: f1dbb8b48ddcde73 224acb966fbbceb2
";

#[test]
fn equal_seeds_draw_the_patches_that_they_always_drew() {
    let mut found = String::new();
    for (name, augmentation) in augmentations() {
        let [one, other] = SIDES.map(|side| drawn(&augmentation, side));
        found += &format!("{name}: {one} {other}\n");
    }
    assert_eq!(found, PINNED, "\n{found}");
}

/// Two labels: a small one in a corner, and a large one.
fn two_labels() -> Candidates {
    let voxels: usize = SHAPE.iter().product();
    let label: Vec<u8> = (0..voxels)
        .map(|at| match (at % 20, at / 20 % 18, at / 360) {
            (19, 17, 15) => 1,
            (0..8, _, _) => 2,
            _ => 0,
        })
        .collect();
    Candidates::compute(SHAPE, &label, CandidateSelection { labels: &[1, 2], background: None })
        .unwrap()
}

#[test]
fn the_last_patches_of_a_batch_are_forced_to_a_class_each_as_often_and_the_others_lie_anywhere() {
    let (patch, initial) = ([8, 8, 6], [11, 10, 24]);
    let sampling = Sampling {
        forced_foreground: Some(0.33),
        initial_patch: Some(initial),
        ..Sampling::default()
    };
    assert_eq!(sampling.check(patch), []);
    let candidates = two_labels();
    let starts = |place: usize| -> Vec<[i64; 3]> {
        let key = |item| PatchKey { seed: 5, epoch: 0, item, batch: (place, 9) };
        let start = |item| initial_start(&candidates, &sampling, SHAPE, patch, key(item));
        (0..2000).map(start).collect()
    };
    let ends = |starts: &[[i64; 3]], axis: usize| {
        let along = starts.iter().map(|start| start[axis]);
        (along.clone().min().unwrap(), along.max().unwrap())
    };
    // nnU-Net's loader gives these bounds for these sides.
    let anywhere = starts(5);
    assert_eq!([0, 1, 2].map(|axis| ends(&anywhere, axis)), [(-2, 11), (-1, 9), (-9, 1)]);
    let forced = starts(6);
    let corner = forced.iter().filter(|start| **start == [14, 12, 3]).count();
    assert!((900..1100).contains(&corner), "one voxel of one class, half of the patches: {corner}");
    assert!(forced.iter().all(|start| start[0] == 14 || (-2..=2).contains(&start[0])));
    assert_eq!(middle([14, 12, 3], initial, patch), [15, 13, 12]);
}

#[test]
fn regions_are_forced_alike_and_sparse_cases_have_all_patches_around_annotated_voxels() {
    let sampling = Sampling { forced_foreground: Some(0.33), ..Sampling::default() };
    let regions = [vec![1], vec![1, 2], vec![7]];
    let starts = |candidates: &Candidates, place: usize| -> Vec<[i64; 3]> {
        let key = |item| PatchKey { seed: 5, epoch: 0, item, batch: (place, 9) };
        let start = |item| initial_start(candidates, &sampling, SHAPE, [4, 4, 4], key(item));
        (0..2000).map(start).collect()
    };
    let united = two_labels().for_classes(&regions, false);
    assert_eq!(united.classes_present(), [&[0][..], &[0, 1]], "no voxel is of the third");
    let forced = starts(&united, 6);
    let corner = forced.iter().filter(|start| **start == [17, 15, 13]).count();
    assert!((900..1100).contains(&corner), "half, and a voxel of the second: {corner}");
    // Of the slices, only three are annotated.
    let voxels: usize = SHAPE.iter().product();
    let label: Vec<u8> = (0..voxels)
        .map(|at| match (at % 20, at / 360) {
            (0..8, 6..9) => 2,
            (_, 6..9) => 0,
            _ => 3,
        })
        .collect();
    let selection = CandidateSelection { labels: &[1, 2], background: None };
    assert!(Candidates::compute(SHAPE, &label, selection).is_err(), "3 is no label");
    let sparse = Candidates::of_annotated(SHAPE, &label, selection, Some(3)).unwrap();
    let sparse = sparse.for_classes(&[], true);
    for (place, share) in [(5, 0.4), (6, 1.0)] {
        let starts = starts(&sparse, place);
        assert!(starts.iter().all(|start| (4..=6).contains(&start[2])), "{place}");
        let labelled = starts.iter().filter(|start| start[0] + 2 < 8).count() as f64 / 2000.0;
        assert!((labelled - share).abs() < 0.05, "{place}: {labelled}");
    }
}

#[test]
fn a_case_without_labels_has_patches_anywhere_and_mistakes_are_told() {
    let voxels: usize = SHAPE.iter().product();
    let selection = CandidateSelection { labels: &[1], background: None };
    let candidates = Candidates::compute(SHAPE, &vec![0; voxels], selection).unwrap();
    let sampling = Sampling { forced_foreground: Some(1.0), ..Sampling::default() };
    let key = |item| PatchKey { seed: 5, epoch: 0, item, batch: (0, 2) };
    let start = |item| initial_start(&candidates, &sampling, SHAPE, [8, 8, 20], key(item));
    let all: Vec<[i64; 3]> = (0..500).map(start).collect();
    assert!(all.iter().all(|start| (0..=12).contains(&start[0]) && (-2..=-2).contains(&start[2])));
    let wrong = Sampling {
        forced_foreground: Some(1.5),
        initial_patch: Some([4, 8, 8]),
        label_ratios: Some(vec![1.0, 1.0]),
        ..Sampling::default()
    };
    let paths: Vec<String> = wrong.check([8, 8, 8]).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["forced_foreground", "forced_foreground", "initial_patch"]);
}
