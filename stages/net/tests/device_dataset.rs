//! Batches cut on the device are those of the loader. Here the device is the processor: an
//! accelerator runs the same operations.

mod support;

use serde_json::{Value, json};
use support::bench::{Bench, done, hear, read, start_with};
use support::largest;
use tch::{Device, Kind, Tensor};
use voxflow_net::batch_sampler::BatchSampler;
use voxflow_net::batch_source::VOLUMES;
use voxflow_net::classes::Classes;
use voxflow_net::device_dataset::DeviceDataset;
use voxflow_net::prefetch_queue::PrefetchQueue;
use voxflow_net::subset::Subset;
use voxflow_stages::kinds::train::Train;

/// The parameters of a training with this patch and augmentation.
fn params(patch: [usize; 3], augmentation: &Value) -> Train {
    let params = json!({
        "epochs": 2, "patch": patch, "volumes_per_step": 2, "patches_per_volume": 3, "augmentation": augmentation,
    });
    serde_json::from_value(params).unwrap()
}

/// Images and labels of all batches of two epochs, by loader threads and by volumes on the device.
fn batches(bench: &Bench, params: &Train) -> Vec<[(Tensor, Tensor); 2]> {
    let subset = Subset::open(bench.cache(), "training").unwrap();
    let classes = Classes::new(&subset.list.labels);
    let sampler = BatchSampler::new(params, &subset, &classes);
    let (dataset, last) =
        (DeviceDataset::new(&sampler, Kind::Float, Device::Cpu).unwrap(), 2 * sampler.batches());
    let queue = PrefetchQueue::new(&sampler, 0, last, last, Device::Cpu);
    queue.fill();
    let each = (0..last).map(|number| {
        let (made, cut) = (queue.take().unwrap(), dataset.take(number).unwrap());
        assert_eq!((made.share, &made.cases), (cut.share, &cut.cases));
        [made.tensors(Device::Cpu), cut.tensors(Device::Cpu)]
    });
    each.collect()
}

#[test]
fn the_shares_of_all_ranks_are_the_batch_of_one_bit_for_bit() {
    let augmentation = json!({
        "flip": { "probability": 0.5 }, "noise": { "probability": 0.5, "std": 0.1 },
    });
    let bench = Bench::new();
    let params = params([8, 8, 8], &augmentation);
    let subset = Subset::open(bench.cache(), "training").unwrap();
    let classes = Classes::new(&subset.list.labels);
    let sampler = || BatchSampler::new(&params, &subset, &classes);
    let whole = batches(&bench, &params);
    for ranks in [2, 4] {
        for (number, [made, cut]) in (0..).zip(&whole) {
            let (mut images, mut noisy, mut labels) = (vec![], vec![], vec![]);
            for rank in 0..ranks {
                let sampler = sampler().sharded(rank, ranks);
                let queue = PrefetchQueue::new(&sampler, number, number + 1, 1, Device::Cpu);
                queue.fill();
                let part = queue.take().unwrap();
                let dataset = DeviceDataset::new(&sampler, Kind::Float, Device::Cpu).unwrap();
                let share = dataset.take(number).unwrap().tensors(Device::Cpu);
                if !part.share.is_idle {
                    images.push(part.tensors(Device::Cpu).0);
                    noisy.push(share.0);
                    labels.push(share.1);
                }
            }
            assert!(Tensor::cat(&images, 0).equal(&made.0), "{ranks} ranks, batch {number}");
            assert!(Tensor::cat(&noisy, 0).equal(&cut.0), "{ranks} ranks, batch {number}");
            assert!(Tensor::cat(&labels, 0).equal(&cut.1), "{ranks} ranks, batch {number}");
        }
    }
}

#[test]
fn crops_flips_turns_scale_and_shift_have_the_bits_of_the_loader_at_the_border_too() {
    let augmentation = json!({
        "flip": { "probability": 0.5 },
        "rotate90": { "probability": 0.5, "axes": [0, 1] },
        "intensity_scale": { "probability": 0.5, "factor": 0.1 },
        "intensity_shift": { "probability": 0.5, "offset": 0.1 },
    });
    for bench in [Bench::new(), Bench::of_two()] {
        // The volumes are of 12×10×8.
        for patch in [[8, 8, 8], [16, 16, 8], [4, 4, 16]] {
            for augmentation in [&json!({}), &augmentation] {
                for [made, cut] in batches(&bench, &params(patch, augmentation)) {
                    assert!(
                        made.0.equal(&cut.0) && made.1.equal(&cut.1),
                        "{patch:?}, {augmentation}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_list_in_another_order_has_the_bits_of_the_loader() {
    let flip = json!({ "name": "flip", "probability": 0.5 });
    let turn = json!({ "name": "rotate90", "probability": 0.5 });
    let shift = json!({ "name": "intensity_shift", "probability": 0.9, "offset": 0.1 });
    let scale = json!({ "name": "intensity_scale", "probability": 0.9, "factor": 0.1 });
    for list in [json!([shift, scale, flip, turn, flip]), json!([flip, flip, turn, shift, shift])] {
        for patch in [[8, 8, 8], [16, 16, 8]] {
            for [made, cut] in batches(&Bench::of_two(), &params(patch, &list)) {
                assert!(made.0.equal(&cut.0) && made.1.equal(&cut.1), "{patch:?}, {list}");
            }
        }
    }
}

#[test]
fn affine_changes_and_gamma_are_those_of_the_loader_but_for_rounding() {
    let affine = json!({ "affine": {
        "probability": 0.9, "rotation_degrees": [20, 10, 30], "scale": [0.2, 0.1, 0.2],
        "translation_voxels": [2, 1, 2],
    } });
    let gamma = json!({ "gamma": { "probability": 0.9, "range": [0.7, 1.5] }, "flip": { "probability": 0.5 } });
    for augmentation in [affine, gamma] {
        for [made, cut] in batches(&Bench::of_two(), &params([8, 8, 16], &augmentation)) {
            let off = largest(&(&made.0 - &cut.0));
            assert!(off <= 2e-6, "{augmentation}: {off:e}");
            assert!(made.1.equal(&cut.1), "{augmentation}: labels");
        }
    }
}

/// nnU-Net's augmentation without its noise, with high probabilities.
fn nnunet_augmentation(flat_axis: Option<usize>) -> Value {
    json!([
        { "name": "spatial", "rotation_probability": 0.7, "rotation_degrees": 30, "scale_probability": 0.7,
          "scale": [0.7, 1.4], "flat_axis": flat_axis },
        { "name": "blur", "probability": 0.8, "sigma_voxels": [0.5, 1.0] },
        { "name": "brightness", "probability": 0.8, "range": [0.75, 1.25] },
        { "name": "contrast", "probability": 0.8, "range": [0.75, 1.25] },
        { "name": "low_resolution", "probability": 0.8, "scale": [0.5, 1.0], "flat_axis": flat_axis },
        { "name": "gamma_retain_stats", "probability": 0.8, "range": [0.7, 1.5], "inverted": true },
        { "name": "gamma_retain_stats", "probability": 0.8, "range": [0.7, 1.5] },
        { "name": "flip", "probability": 0.5 },
    ])
}

#[test]
fn nnu_nets_sampling_and_augmentation_are_those_of_the_loader_but_for_rounding() {
    for flat_axis in [None, Some(2)] {
        for (patch, initial) in [([8, 8, 8], [11, 10, 8]), ([8, 8, 16], [10, 13, 16])] {
            let mut params = params(patch, &nnunet_augmentation(flat_axis));
            params.sampling = serde_json::from_value(json!({
                "forced_foreground": 0.34, "initial_patch": initial,
            }))
            .unwrap();
            params.steps_per_epoch = Some(4);
            let (mut voxels, mut same) = (0, 0);
            for [made, cut] in batches(&Bench::of_two(), &params) {
                let off = largest(&(&made.0 - &cut.0));
                assert!(off <= 2e-5, "{patch:?}, {flat_axis:?}: {off:e}");
                voxels += made.1.numel();
                same += made.1.eq_tensor(&cut.1).sum(Kind::Int64).int64_value(&[]) as usize;
            }
            assert!(same as f64 >= 0.999 * voxels as f64, "{same} of {voxels} labels");
        }
    }
}

#[test]
fn images_are_zero_outside_the_non_zero_region_on_either_side() {
    let bench = Bench::marked();
    for (leading, initial) in [(true, [11, 12, 9]), (false, [10, 8, 8])] {
        let mut list = nnunet_augmentation(None).as_array().unwrap().clone();
        if !leading {
            list.remove(0);
        }
        list.push(json!({ "name": "zero_outside", "channels": [1] }));
        let mut params = params([8, 8, 8], &json!(list));
        params.sampling = serde_json::from_value(json!({
            "forced_foreground": 0.34, "initial_patch": initial,
        }))
        .unwrap();
        params.steps_per_epoch = Some(3);
        let (mut voxels, mut same, mut zeros) = (0, 0, 0);
        for [made, cut] in batches(&bench, &params) {
            let near = (&made.0 - &cut.0).abs().le(2e-5).sum(Kind::Int64).int64_value(&[]) as usize;
            same += near + made.1.eq_tensor(&cut.1).sum(Kind::Int64).int64_value(&[]) as usize;
            voxels += made.0.numel() + made.1.numel();
            assert!(made.1.max().int64_value(&[]) <= 2, "the mark is gone");
            zeros += made.0.select(1, 1).eq(0.0).sum(Kind::Int64).int64_value(&[]) as usize;
            assert_eq!(made.0.select(1, 0).eq(0.0).any().int64_value(&[]), 0);
        }
        assert!(same as f64 >= 0.999 * voxels as f64, "{same} of {voxels}");
        assert!(zeros > 1000, "{zeros}");
    }
    let plain = Bench::of_two();
    let with = params([8, 8, 8], &json!({ "zero_outside": {} }));
    let subset = Subset::open(plain.cache(), "training").unwrap();
    let classes = Classes::new(&subset.list.labels);
    let words = BatchSampler::new(&with, &subset, &classes);
    let words = DeviceDataset::new(&words, Kind::Float, Device::Cpu).err().unwrap().to_string();
    assert!(words.contains("'mark_outside: true'"), "{words}");
}

#[test]
fn steps_per_epoch_draw_volumes_with_replacement_and_patches_of_their_own() {
    let mut params = params([4, 4, 4], &json!({}));
    (params.steps_per_epoch, params.accumulate) = (Some(20), 2);
    let bench = Bench::new();
    let subset = Subset::open(bench.cache(), "training").unwrap();
    let classes = Classes::new(&subset.list.labels);
    let sampler = BatchSampler::new(&params, &subset, &classes);
    assert_eq!(sampler.batches(), 40, "of which two make a step");
    let dataset = DeviceDataset::new(&sampler, Kind::Float, Device::Cpu).unwrap();
    let all: Vec<_> = (0..40).map(|number| dataset.take(number).unwrap()).collect();
    let names: Vec<&String> = all.iter().flat_map(|batch| &batch.cases).collect();
    let times = |name: &str| names.iter().filter(|other| other.as_str() == name).count();
    assert!(subset.cases.iter().all(|case| (4..30).contains(&times(&case.name))), "{names:?}");
    assert!(all.iter().any(|batch| batch.cases[0] == batch.cases[1]), "with replacement");
    let patches: Vec<Tensor> =
        all.iter().flat_map(|batch| batch.tensors(Device::Cpu).0.unbind(0)).collect();
    let repeated = patches.windows(2).filter(|pair| pair[0].equal(&pair[1])).count();
    assert!(repeated < 5, "{repeated} of {} patches", patches.len());
}

#[test]
fn noise_is_normal_repeats_and_is_another_for_each_patch() {
    let (bench, noisy) = (Bench::new(), json!({ "noise": { "probability": 1.0, "std": 0.2 } }));
    let noise = || -> Vec<Tensor> {
        let pairs = batches(&bench, &params([8, 8, 8], &noisy))
            .into_iter()
            .zip(batches(&bench, &params([8, 8, 8], &json!({}))));
        pairs.map(|([_, (with, _)], [_, (without, _)])| with - without).collect()
    };
    let (one, again) = (noise(), noise());
    assert!(one.iter().zip(&again).all(|(one, again)| one.equal(again)));
    let patches: Vec<Tensor> = one.iter().flat_map(|batch| batch.unbind(0)).collect();
    for (index, patch) in patches.iter().enumerate() {
        let std = patch.std(true).double_value(&[]);
        assert!(std > 0.0 && std < 0.22, "{std}");
        let mean = patch.mean(Kind::Double).double_value(&[]).abs() / std;
        assert!(mean < 5.0 / 512f64.sqrt(), "{mean}");
        assert!(patches[..index].iter().all(|before| !before.equal(patch)));
    }
}

#[test]
fn a_training_on_resident_volumes_ends_with_the_bytes_of_one_that_loads_them() {
    let bench = Bench::of_two();
    let params = json!({
        "epochs": 4, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "dropout": 0.1 },
        "augmentation": { "flip": { "probability": 0.5 }, "intensity_shift": { "offset": 0.1, "probability": 0.5 } },
    });
    let train = |name: &str, volumes: &str| {
        let task = bench.task(name, "train", &params, None);
        let heard = hear(start_with(&task, &[(VOLUMES, volumes)]), None);
        assert_eq!(heard.reply, done());
        (heard.values("loss"), read(task.draft.join("last.safetensors")))
    };
    assert_eq!(train("resident", "device"), train("loaded", "memory"));
}
