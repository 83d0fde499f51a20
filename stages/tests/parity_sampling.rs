//! Patches and augmentations against MONAI's, by the numbers that `tests/parity/make_sampling.py`
//! wrote; and the draws, whose randomness differs, by statistics.

use safetensors::SafeTensors;
use std::path::Path;
use voxflow_stages::image::candidates::CandidateSelection;
use voxflow_stages::image::patch_sampler::{self, PatchKey, PatchSource};
use voxflow_stages::image::transform::{
    Change, Mirrored, Raised, ScaledIntensity, Shifted, Turned,
};
use voxflow_stages::image::warp::Affinity;
use voxflow_stages::image::{Augmentation, Candidates, Patch, Sampling};
use voxflow_stages::random::Draw;

const SHAPE: [usize; 3] = [15, 13, 11];
const VOXELS: usize = 15 * 13 * 11;

struct Fixture(Vec<u8>);

impl Fixture {
    fn open() -> Fixture {
        let folder =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/sampling");
        Fixture(std::fs::read(folder.join("patches.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name)
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect()
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        self.bytes(name)
            .chunks_exact(8)
            .map(|eight| f64::from_le_bytes(eight.try_into().unwrap()))
            .collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        self.bytes(name)
            .chunks_exact(8)
            .map(|eight| i64::from_le_bytes(eight.try_into().unwrap()))
            .collect()
    }

    /// The patch that the augmentations start from.
    fn patch(&self) -> Patch {
        Patch {
            channels: 2,
            shape: [8, 8, 10],
            image: self.floats("patch.image"),
            label: self.bytes("patch.label"),
        }
    }

    /// Compares a changed patch with the fixture's; the largest difference of the images.
    fn compare(&self, name: &str, patch: &Patch) -> f32 {
        assert_eq!(patch.label, self.bytes(&format!("{name}.label")), "label of {name}");
        let largest = difference(&patch.image, &self.floats(&format!("{name}.image")));
        assert!(largest <= 1e-5, "{name}: {largest}");
        largest
    }
}

fn difference(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max)
}

fn patch_key((seed, epoch, item): (u64, u64, u64)) -> PatchKey {
    PatchKey { seed, epoch, item, batch: (0, 1) }
}

fn candidates(fixture: &Fixture, above: Option<f32>) -> Candidates {
    let image = fixture.floats("image");
    let background = above.map(|above| (image.as_slice(), above));
    Candidates::compute(
        SHAPE,
        &fixture.bytes("label"),
        CandidateSelection { labels: &[1, 2], background },
    )
    .unwrap()
}

#[test]
fn crops_and_their_padding_equal_monais() {
    let fixture = Fixture::open();
    let (image, label) = (fixture.floats("image"), fixture.bytes("label"));
    let (patches, centres) = (fixture.integers("crop.patches"), fixture.integers("crop.centres"));
    for (index, size) in patches.chunks_exact(3).enumerate() {
        let size: [usize; 3] = std::array::from_fn(|axis| size[axis] as usize);
        let starts = fixture.integers(&format!("crop.{index}.starts"));
        let mut last = [0; 3];
        for (centre, wanted) in centres.chunks_exact(3).zip(starts.chunks_exact(3)) {
            last = patch_sampler::start(
                std::array::from_fn(|axis| centre[axis] as usize),
                SHAPE,
                size,
            );
            assert_eq!(last, wanted, "patch {size:?} around {centre:?}");
        }
        let patch = patch_sampler::crop(&image, 2, SHAPE, &label, last, size);
        assert_eq!(fixture.compare(&format!("crop.{index}"), &patch), 0.0, "a crop copies");
    }
}

#[test]
fn flips_and_quarter_turns_equal_monais() {
    let fixture = Fixture::open();
    for (name, flips) in [
        ("0", [true, false, false]),
        ("1", [false, true, false]),
        ("2", [false, false, true]),
        ("02", [true, false, true]),
    ] {
        let mut patch = fixture.patch();
        patch.change(|canvas| Mirrored(flips).apply(canvas));
        assert_eq!(fixture.compare(&format!("flip.{name}"), &patch), 0.0);
    }
    for (quarters, plane) in
        [1, 2, 3].into_iter().flat_map(|quarters| [(quarters, [0, 1]), (quarters, [2, 1])])
    {
        let mut patch = fixture.patch();
        patch.change(|canvas| Turned { quarters, axes: plane }.apply(canvas));
        assert_eq!(
            fixture.compare(&format!("turn.{quarters}.{}{}", plane[0], plane[1]), &patch),
            0.0
        );
    }
}

#[test]
fn affine_changes_equal_monais() {
    let fixture = Fixture::open();
    for name in ["identity", "rotation", "scale", "translation", "all"] {
        let numbers = fixture.doubles(&format!("affine.{name}.parameters"));
        let three = |row: usize| numbers[row * 3..row * 3 + 3].try_into().unwrap();
        let affinity = Affinity { rotation: three(0), translation: three(1), scale: three(2) };
        let mut patch = fixture.patch();
        patch.change(|canvas| affinity.apply(canvas));
        fixture.compare(&format!("affine.{name}"), &patch);
    }
}

#[test]
fn intensity_changes_equal_monais() {
    let fixture = Fixture::open();
    let changes: [(&str, &dyn Change); 3] =
        [("shift", &Shifted(-0.07)), ("scale", &ScaledIntensity(0.13)), ("gamma", &Raised(1.7))];
    for (name, change) in changes {
        let mut patch = fixture.patch();
        patch.change(|canvas| change.apply(canvas));
        let largest = difference(&patch.image, &fixture.floats(&format!("intensity.{name}")));
        assert!(largest <= 1e-5, "{name}: {largest}");
        assert_eq!(patch.label, fixture.patch().label);
    }
}

#[test]
fn candidates_are_monais_voxels() {
    let fixture = Fixture::open();
    let (foreground, background) =
        (fixture.integers("candidates.foreground"), fixture.integers("candidates.background"));
    let candidates = candidates(&fixture, Some(0.1));
    assert_eq!(candidates.foreground(), foreground.len() as u64);
    assert_eq!(candidates.background(), background.len() as u64);
    let mut draw = Draw::new(0, 0, 0, "test");
    let mut seen = std::collections::BTreeSet::new();
    seen.extend((0..100_000).map(|_| candidates.draw_background(&mut draw) as i64));
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        background,
        "every background voxel and no other"
    );
    assert!((0..2000).all(|_| {
        foreground.binary_search(&(candidates.draw_foreground(&mut draw) as i64)).is_ok()
    }));
    assert_eq!(
        self::candidates(&fixture, None).background() as i64,
        fixture.integers("candidates.all_background")[0]
    );
}

#[test]
fn centres_have_the_asked_share_of_foreground_and_are_uniform_inside_each_pool() {
    let fixture = Fixture::open();
    let (label, candidates) = (fixture.bytes("label"), candidates(&fixture, None));
    let sampling = Sampling { positive: 3.0, negative: 1.0, ..Sampling::default() };
    let draws = 40_000;
    let mut counts = vec![0f64; VOXELS];
    for item in 0..draws {
        let [x, y, z] =
            patch_sampler::centre(&mut Draw::new(9, 0, item, "centre"), &candidates, &sampling);
        counts[x + 15 * (y + 13 * z)] += 1.0;
    }
    let pool = |inside: bool| {
        counts
            .iter()
            .zip(&label)
            .filter(move |(_, label)| (**label > 0) == inside)
            .map(|(count, _)| *count)
    };
    let positive: f64 = pool(true).sum();
    let deviation = (draws as f64 * 0.75 * 0.25).sqrt();
    assert!((positive - draws as f64 * 0.75).abs() < 3.3 * deviation, "{positive} of {draws}");
    for (inside, size) in
        [(true, candidates.foreground() as f64), (false, candidates.background() as f64)]
    {
        let each = pool(inside).sum::<f64>() / size;
        let chi2: f64 = pool(inside).map(|count| (count - each).powi(2) / each).sum();
        // Chi-squared with many degrees of freedom is nearly normal: mean k, variance 2k.
        let deviations = (chi2 - (size - 1.0)) / (2.0 * (size - 1.0)).sqrt();
        assert!(
            deviations.abs() < 3.5,
            "foreground {inside}: {deviations} standard deviations from uniform"
        );
    }
}

#[test]
fn label_ratios_are_kept_and_labels_a_case_lacks_are_left_out() {
    let fixture = Fixture::open();
    let label = fixture.bytes("label");
    let sampling = Sampling { label_ratios: Some(vec![1.0, 2.0, 5.0]), ..Sampling::default() };
    let shares = |candidates: &Candidates, label: &[u8]| {
        let mut counts = [0u32; 3];
        for item in 0..8000 {
            let [x, y, z] =
                patch_sampler::centre(&mut Draw::new(2, 0, item, "centre"), candidates, &sampling);
            counts[usize::from(label[x + 15 * (y + 13 * z)])] += 1;
        }
        counts.map(|count| f64::from(count) / 8000.0)
    };
    let near = |found: [f64; 3], wanted: [f64; 3]| {
        found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 0.019)
    };
    assert!(near(shares(&candidates(&fixture, None), &label), [0.125, 0.25, 0.625]));
    let without: Vec<u8> = label.iter().map(|value| if *value == 2 { 0 } else { *value }).collect();
    let fewer = Candidates::compute(
        SHAPE,
        &without,
        CandidateSelection { labels: &[1, 2], background: None },
    )
    .unwrap();
    assert!(near(shares(&fewer, &without), [1.0 / 3.0, 2.0 / 3.0, 0.0]));
    let only_two = Sampling { label_ratios: Some(vec![0.0, 0.0, 1.0]), ..Sampling::default() };
    let [x, y, z] = patch_sampler::centre(&mut Draw::new(0, 0, 0, "centre"), &fewer, &only_two);
    assert!(x < 15 && y < 13 && z < 11, "a case without the only wanted label still gives patches");
}

#[test]
fn an_empty_pool_gives_way_to_the_other() {
    let fixture = Fixture::open();
    let only = Sampling { positive: 1.0, negative: 0.0, ..Sampling::default() };
    let none = Candidates::compute(
        SHAPE,
        &vec![0; VOXELS],
        CandidateSelection { labels: &[1, 2], background: None },
    )
    .unwrap();
    patch_sampler::centre(&mut Draw::new(0, 0, 0, "centre"), &none, &only);
    let full = Candidates::compute(
        SHAPE,
        &vec![1; VOXELS],
        CandidateSelection { labels: &[1, 2], background: None },
    )
    .unwrap();
    let never = Sampling { positive: 0.0, negative: 1.0, ..Sampling::default() };
    patch_sampler::centre(&mut Draw::new(0, 0, 0, "centre"), &full, &never);
    assert_eq!(self::candidates(&fixture, Some(1e9)).background(), 0);
}

#[test]
fn a_sampled_patch_depends_on_seed_epoch_and_item_alone_and_stays_inside() {
    let fixture = Fixture::open();
    let (image, label) = (fixture.floats("image"), fixture.bytes("label"));
    let candidates = candidates(&fixture, Some(0.1));
    let case = PatchSource {
        image: &image,
        channels: 2,
        shape: SHAPE,
        label: &label,
        beyond: 0,
        candidates: &candidates,
    };
    let augmentation: Augmentation = serde_json::from_value(serde_json::json!({
        "flip": { "probability": 0.5 }, "noise": { "probability": 1.0, "std": 0.1 },
    }))
    .unwrap();
    let draw = |key| {
        let (mut image, mut label) = (vec![f32::NAN; 2 * 512], vec![255; 512]);
        patch_sampler::sample(
            &case,
            &Sampling::default(),
            &augmentation,
            [8, 8, 8],
            patch_key(key),
            (&mut image, &mut label),
        );
        assert!(
            image.iter().all(|value| value.is_finite()) && label.iter().all(|value| *value < 255)
        );
        (image, label)
    };
    assert_eq!(draw((1, 2, 3)), draw((1, 2, 3)));
    assert!([(0, 2, 3), (1, 0, 3), (1, 2, 0)].into_iter().all(|key| draw(key) != draw((1, 2, 3))));
    for item in 0..2000 {
        let centre = patch_sampler::centre(
            &mut Draw::new(0, 0, item, "centre"),
            &candidates,
            &Sampling::default(),
        );
        let start = patch_sampler::start(centre, SHAPE, [8, 8, 8]);
        assert!((0..3).all(|axis| start[axis] >= 0 && start[axis] as usize + 8 <= SHAPE[axis]));
        assert!(
            (0..3).all(|axis| start[axis] as usize <= centre[axis]
                && centre[axis] < start[axis] as usize + 8)
        );
    }
}

/// Mirroring is part of the copy; it must be what mirroring the copy gives, at the border too.
#[test]
fn a_patch_that_is_mirrored_while_it_is_copied_is_the_copy_mirrored() {
    let fixture = Fixture::open();
    let (image, label) = (fixture.floats("image"), fixture.bytes("label"));
    let candidates = candidates(&fixture, Some(0.1));
    let case = PatchSource {
        image: &image,
        channels: 2,
        shape: SHAPE,
        label: &label,
        beyond: 0,
        candidates: &candidates,
    };
    let augmentation: Augmentation = serde_json::from_value(serde_json::json!({
        "flip": { "probability": 0.5 }, "intensity_shift": { "probability": 0.5, "offset": 0.1 },
    }))
    .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for size in [[8, 8, 8], SHAPE.map(|side| side + 3), [5, 17, 9]] {
        let voxels: usize = size.iter().product();
        for item in 0..48 {
            let key = (4, 0, item);
            let centre = patch_sampler::centre(
                &mut Draw::new(4, 0, item, "centre"),
                &candidates,
                &Sampling::default(),
            );
            let start = patch_sampler::start(centre, SHAPE, size);
            let mut wanted = patch_sampler::crop(&image, 2, SHAPE, &label, start, size);
            let (mirrored, rest) = augmentation.draw(size, key).split_mirrors();
            seen.insert(mirrored);
            wanted.change(|canvas| {
                Mirrored(mirrored).apply(canvas);
                rest.apply(canvas);
            });
            let mut found = (vec![f32::NAN; 2 * voxels], vec![255; voxels]);
            patch_sampler::sample(
                &case,
                &Sampling::default(),
                &augmentation,
                size,
                patch_key(key),
                (&mut found.0, &mut found.1),
            );
            assert_eq!(found, (wanted.image, wanted.label));
        }
    }
    assert_eq!(seen.len(), 8, "all ways of mirroring were drawn");
}
