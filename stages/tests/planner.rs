//! The planner against thirty published plans of nnU-Net, on the fixture of
//! `tests/parity/reduce_plans.py`.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use voxflow_stages::planner::{Architecture, Configuration, Dataset, DatasetFingerprint};
use voxflow_stages::planner::{Plan, Preset, plan};

fn tasks() -> BTreeMap<String, Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/parity/fixtures/nnunet_plans/plans.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn fingerprint(task: &Value) -> DatasetFingerprint {
    let mut fingerprint = DatasetFingerprint {
        median_relative_size_after_cropping: task["median_relative_size_after_cropping"]
            .as_f64()
            .unwrap(),
        ..DatasetFingerprint::default()
    };
    for case in task["cases"].as_array().unwrap() {
        let number = |at: usize| case[at].as_f64().unwrap();
        for _ in 0..case[6].as_u64().unwrap() {
            fingerprint.spacings.push([0, 1, 2].map(number));
            fingerprint.shapes_after_crop.push([3, 4, 5].map(|at| number(at) as usize));
        }
    }
    fingerprint
}

fn planned(task: &Value, preset: Preset, gpu_memory_gb: Option<f64>) -> Plan {
    let channel_names: Vec<String> = serde_json::from_value(task["channel_names"].clone()).unwrap();
    let classes = task["classes"].as_u64().unwrap() as usize;
    let fingerprint = fingerprint(task);
    let dataset = Dataset { fingerprint: &fingerprint, channel_names: &channel_names, classes };
    plan(dataset, preset, gpu_memory_gb).unwrap()
}

/// A configuration as the fixture has it.
fn words(configuration: &Configuration) -> Value {
    let Architecture { is_residual, features_per_stage, kernel_sizes, strides, encoder, decoder } =
        &configuration.architecture;
    json!({
        "spacing": configuration.spacing,
        "median_image_size_in_voxels": configuration.median_image_size_in_voxels,
        "patch_size": configuration.patch_size,
        "batch_size": configuration.batch_size,
        "batch_dice": configuration.batch_dice,
        "network": if *is_residual { "ResidualEncoderUNet" } else { "PlainConvUNet" },
        "features_per_stage": features_per_stage,
        "kernel_sizes": kernel_sizes,
        "strides": strides,
        "encoder": encoder,
        "decoder": decoder,
    })
}

/// The first difference: numbers within 1e-12 of each other are equal, since an ulp of a power
/// differs between mathematical libraries.
fn difference(found: &Value, wanted: &Value, path: &str) -> Option<String> {
    let told = || Some(format!("{path}: {found} is not {wanted}"));
    match (found, wanted) {
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => {
            a.keys().find_map(|key| difference(&a[key], &wanted[key], &format!("{path}.{key}")))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).find_map(|(a, b)| difference(a, b, path))
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            if (a - b).abs() <= 1e-12 * b.abs() { None } else { told() }
        }
        _ if found == wanted => None,
        _ => told(),
    }
}

#[test]
fn all_thirty_plans_are_those_of_nnunet() {
    let (mut equal, mut different) = (0, vec![]);
    for (name, task) in tasks() {
        for (preset, wanted) in task["plans"].as_object().unwrap() {
            let preset: Preset = serde_json::from_value(json!(preset)).unwrap();
            let plan = planned(&task, preset, None);
            let found = json!({
                "transpose_forward": plan.transpose_forward,
                "original_median_spacing_after_transp": plan.original_median_spacing_after_transp,
                "original_median_shape_after_transp": plan.original_median_shape_after_transp,
                "normalization_schemes": plan.normalization_schemes,
                "use_mask_for_norm": plan.use_mask_for_norm,
                "fullres": words(&plan.fullres),
                "lowres": plan.lowres.as_ref().map(words),
            });
            match difference(&found, wanted, &format!("{name} {preset:?}")) {
                None => equal += 1,
                Some(words) => different.push(words),
            }
        }
    }
    assert_eq!((equal, different), (30, Vec::<String>::new()));
}

#[test]
fn more_memory_gives_larger_patches_or_batches_and_less_memory_smaller_ones() {
    let tasks = tasks();
    let spleen = &tasks["009_Spleen"];
    let voxels = |gb: Option<f64>| planned(spleen, Preset::Default, gb).fullres.patch_voxels();
    assert!(voxels(Some(4.0)) < voxels(None) && voxels(None) < voxels(Some(24.0)));
    assert_eq!(voxels(Some(8.0)), voxels(None));
    let hippocampus = &tasks["004_Hippocampus"];
    let batch = |gb| planned(hippocampus, Preset::ResencM, gb).fullres.batch_size;
    assert!(batch(Some(4.0)) < batch(None) && batch(None) < batch(Some(16.0)));
    // As large as the network allows, and the planner gives up rather than run for ever.
    let fingerprint = fingerprint(spleen);
    let names = ["CT".to_string()];
    let dataset = Dataset { fingerprint: &fingerprint, channel_names: &names, classes: 2 };
    let error = plan(dataset, Preset::Default, Some(1e-6)).unwrap_err().to_string();
    assert!(error.contains("no patch fits 0.000001 GB"), "{error}");
}

#[test]
fn the_largest_preset_sees_more_of_a_volume_than_the_large_one() {
    for (name, task) in tasks() {
        let [large, largest] = [Preset::ResencL, Preset::ResencXl].map(|preset| {
            let found = planned(&task, preset, None).fullres;
            assert!(found.feature_map_size <= preset.reference(), "{name}");
            found.patch_voxels() * found.batch_size as f64
        });
        assert!(largest >= large, "{name}: {largest} < {large}");
    }
}

#[test]
fn a_plan_is_turned_to_the_axes_of_this_program() {
    let tasks = tasks();
    let plan = planned(&tasks["002_Heart"], Preset::Default, None);
    assert_eq!(plan.transpose_forward, [0, 1, 2]);
    assert_eq!(plan.along_ras(plan.fullres.patch_size), [160, 192, 80]);
    let sagittal = Plan { transpose_forward: [2, 0, 1], ..plan };
    assert_eq!(sagittal.along_ras(['x', 'z', 'y']), ['x', 'y', 'z']);
}

#[test]
fn nothing_to_plan_from_and_single_slices_are_errors() {
    let names = ["MRI".to_string()];
    let told = |fingerprint: &DatasetFingerprint| {
        let dataset = Dataset { fingerprint, channel_names: &names, classes: 2 };
        plan(dataset, Preset::Default, None).unwrap_err().to_string()
    };
    assert!(told(&DatasetFingerprint::default()).contains("no labelled case"));
    let slice = DatasetFingerprint {
        spacings: vec![[999.0, 1.0, 1.0]],
        shapes_after_crop: vec![[1, 200, 200]],
        ..DatasetFingerprint::default()
    };
    assert!(told(&slice).contains("2D is not offered"));
}
