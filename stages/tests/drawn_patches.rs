//! Patches that equal seeds drew before: pinned bit for bit, so that a training repeats whatever
//! the program's version.

use serde_json::{Value, json};
use voxflow_cache::Digest;
use voxflow_stages::image::Augmentation;
use voxflow_stages::image::candidates::{Candidates, Selection};
use voxflow_stages::image::patch_sampler::{Case, Sampling, sample};

const SHAPE: [usize; 3] = [20, 18, 16];

/// The digest of 24 patches of two channels, image bits and labels.
fn drawn(augmentation: &Value, side: [usize; 3]) -> String {
    let voxels: usize = SHAPE.iter().product();
    let image: Vec<f32> =
        (0..2 * voxels).map(|at| ((at * 7919 + at / 13) % 1009) as f32 / 1009.0).collect();
    let label: Vec<u8> =
        (0..voxels).map(|at| u8::from(at % 20 > 8) * (1 + u8::from(at / 360 > 7))).collect();
    let selection = Selection { labels: &[1, 2], background: None };
    let candidates = Candidates::compute(SHAPE, &label, selection).unwrap();
    let case =
        Case { image: &image, channels: 2, shape: SHAPE, label: &label, candidates: &candidates };
    let augmentation: Augmentation = serde_json::from_value(augmentation.clone()).unwrap();
    let patch: usize = side.iter().product();
    let mut bytes = vec![];
    for item in 0..24 {
        let (mut image, mut label) = (vec![f32::NAN; 2 * patch], vec![255; patch]);
        let (sampling, key) = (Sampling::default(), (11, 3, item));
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
