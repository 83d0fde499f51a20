//! nnU-Net's augmentations, their drawn parameters given, against batchgeneratorsv2's, by the
//! numbers that `tests/parity/make_nnunet_training.py` wrote.

use safetensors::SafeTensors;
use std::path::Path;
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::image::rotoscale::Rotoscale;
use voxflow_stages::image::transform::{Canvas, Change, MemoryCanvas, ZeroedOutside};

const FROM: [usize; 3] = [12, 14, 10];
const TO: [usize; 3] = [8, 10, 9];
const TURNS: [([f64; 3], f64); 4] = [
    ([0.3, -0.2, 0.4], 1.0),
    ([0.0, 0.0, 0.0], 1.3),
    ([-0.5, 0.1, 0.25], 0.75),
    ([0.5, 0.5, -0.5], 1.4),
];

struct Fixture(Vec<u8>);

impl Fixture {
    fn open() -> Fixture {
        Fixture::named("augmentation")
    }

    fn named(name: &str) -> Fixture {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/nnunet");
        Fixture(std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = self.bytes(name);
        bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
    }
}

fn off(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max)
}

/// A transform with its parameters drawn.
type Apply = fn(&mut dyn Canvas);

#[test]
fn rotations_and_scales_read_the_larger_patch_as_nnu_nets_do() {
    let fixture = Fixture::open();
    let (image, label) = (fixture.floats("image"), fixture.bytes("label"));
    // The flat axis is cut to the patch's own side before.
    let slices = |values: &[f32]| -> Vec<f32> {
        let voxels: usize = FROM.iter().product();
        let each = FROM[1] * FROM[2];
        values.chunks_exact(voxels).flat_map(|one| one[2 * each..10 * each].to_vec()).collect()
    };
    let flat_image = slices(&image);
    let flat_label = &label[2 * FROM[1] * FROM[2]..10 * FROM[1] * FROM[2]];
    for (index, (angles, scale)) in TURNS.into_iter().enumerate() {
        for (name, flat_axis) in [("turned", None), ("flat", Some(0))] {
            let rotoscale = Rotoscale { angles, scales: [scale; 3], flat_axis };
            let source = match flat_axis {
                None => (&image[..], &label[..], FROM),
                Some(_) => (&flat_image[..], flat_label, [TO[0], FROM[1], FROM[2]]),
            };
            let voxels: usize = TO.iter().product();
            let (mut found, mut labels) = (vec![0.0; 2 * voxels], vec![0; voxels]);
            rotoscale.resample(source, (&mut found, &mut labels, TO), 0);
            let wanted = fixture.floats(&format!("{name}.{index}.image"));
            let far = off(&found, &wanted);
            assert!(far <= 1e-5, "{name} {index}: {far:e}");
            let wanted = fixture.bytes(&format!("{name}.{index}.label"));
            let same = labels.iter().zip(&wanted).filter(|(one, other)| one == other).count();
            assert!(same as f64 >= 0.999 * voxels as f64, "{name} {index}: {same} of {voxels}");
            assert!(wanted.contains(&3), "every label is there");
        }
    }
}

#[test]
fn changes_of_single_channels_equal_nnu_nets() {
    let fixture = Fixture::open();
    let cases: [(&str, Apply); 7] = [
        ("blur", |canvas| {
            canvas.blur(0, [0.5, 0.8, 1.0]);
            canvas.blur(1, [0.7, 0.95, 0.6]);
        }),
        ("brightness", |canvas| {
            canvas.multiply_channel(0, 0.8);
            canvas.multiply_channel(1, 1.2);
        }),
        ("contrast", |canvas| {
            canvas.stretch(0, 0.8);
            canvas.stretch(1, 1.2);
        }),
        ("low_resolution", |canvas| {
            canvas.coarsen(0, [4, 5, 4]);
            canvas.coarsen(1, [7, 8, 7]);
        }),
        ("low_resolution_flat", |canvas| {
            canvas.coarsen(0, [8, 6, 5]);
            canvas.coarsen(1, [8, 9, 8]);
        }),
        ("gamma.False", |canvas| {
            canvas.raise_channel(0, 0.75, false);
            canvas.raise_channel(1, 1.4, false);
        }),
        ("gamma.True", |canvas| {
            canvas.raise_channel(0, 0.75, true);
            canvas.raise_channel(1, 1.4, true);
        }),
    ];
    for (name, change) in cases {
        let mut image = fixture.floats("patch");
        let mut label = vec![0; image.len() / 2];
        let mut canvas =
            MemoryCanvas { shape: TO, image: &mut image, label: &mut label, beyond: 0 };
        change(&mut canvas);
        let far = off(&image, &fixture.floats(name));
        assert!(far <= 1e-5, "{name}: {far:e}");
    }
}

#[test]
fn images_are_zero_again_outside_the_non_zero_region_and_beyond_the_cut_as_nnu_nets() {
    let fixture = Fixture::named("masking");
    let (image, label) = (fixture.floats("image"), fixture.bytes("label"));
    let mut zeros = 0;
    for (index, (angles, scale)) in TURNS.into_iter().enumerate() {
        let rotoscale = Rotoscale { angles, scales: [scale; 3], flat_axis: None };
        let voxels: usize = TO.iter().product();
        let (mut found, mut labels) = (vec![0.0; 2 * voxels], vec![0; voxels]);
        let target = (&mut found[..], &mut labels[..], TO);
        rotoscale.resample((&image, &label, FROM), target, OUTSIDE);
        let zeroed = ZeroedOutside(Some(vec![1]));
        let mut canvas =
            MemoryCanvas { shape: TO, image: &mut found, label: &mut labels, beyond: OUTSIDE };
        canvas.add(0.5);
        zeroed.apply(&mut canvas);
        let far = off(&found, &fixture.floats(&format!("{index}.image")));
        assert!(far <= 1e-5, "{index}: {far:e}");
        assert_eq!(labels, fixture.bytes(&format!("{index}.label")), "{index}");
        let zeros_of = |values: &[f32]| values.iter().filter(|value| **value == 0.0).count();
        zeros += zeros_of(&found[voxels..]);
        assert_eq!(zeros_of(&found[..voxels]), 0, "{index}: the other channel stays");
    }
    assert!(zeros > 20, "{zeros}");
}

#[test]
fn a_rotation_that_is_not_the_first_change_reads_its_own_patch() {
    let fixture = Fixture::open();
    let (mut image, mut label) = (fixture.floats("image"), fixture.bytes("label"));
    let (before, labels) = (image.clone(), label.clone());
    let still = Rotoscale { angles: [0.0; 3], scales: [1.0; 3], flat_axis: None };
    still.apply(&mut MemoryCanvas { shape: FROM, image: &mut image, label: &mut label, beyond: 0 });
    assert!(off(&image, &before) <= 1e-5);
    assert_eq!(label, labels);
}
