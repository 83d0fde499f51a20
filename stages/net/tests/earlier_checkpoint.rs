//! Trainings go on from checkpoints of earlier releases. The fixture is a checkpoint after 3 of 6
//! epochs, written before the training's state was divided among owners.

mod support;

use serde_json::json;
use std::path::Path;
use support::bench::{Bench, finish, read};
use support::distance;
use voxflow_net::weights;

#[test]
fn a_training_goes_on_from_a_checkpoint_of_an_earlier_release() {
    let params = json!({
        "epochs": 6, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 1,
        "network": { "channels": [2, 3], "strides": [2] }, "precision": "fp16", "ema": 0.9,
        "validate_every": 1, "checkpoint_every": 1, "accumulate": 2,
    });
    let bench = Bench::new();
    let whole = bench.task("whole", "train", &params, None);
    let undisturbed = finish(&whole);

    let resumed = bench.task("resumed", "train", &params, None);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let name = "step-000000000006.checkpoint";
    std::fs::create_dir_all(&resumed.unfinished).unwrap();
    std::fs::copy(fixtures.join(name), resumed.unfinished.join(name)).unwrap();
    let heard = finish(&resumed);
    assert_eq!(heard.resumed, Some((3, 6)));

    // The fixture's processor may round otherwise than this one.
    for metric in ["loss", "gradient_norm", "learning_rate", "dice"] {
        let (found, wanted) = (heard.values(metric), undisturbed.values(metric));
        assert_eq!((found.len(), wanted.len()), (6, 6), "{metric}");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found - wanted).abs() <= 0.01 * wanted.abs(), "{metric}: {found} {wanted}");
        }
    }
    for file in ["last.safetensors", "best.safetensors"] {
        let wanted = weights::read(&whole.draft.join(file)).unwrap();
        for (name, found) in weights::read(&resumed.draft.join(file)).unwrap() {
            let off = distance(&found, &wanted[&name]);
            assert!(off < 0.01, "{file}, {name}: {off}");
        }
    }
    let card: serde_json::Value =
        serde_json::from_slice(&read(resumed.draft.join("model.json"))).unwrap();
    assert_eq!(card["training"]["steps"], json!(12));
}
