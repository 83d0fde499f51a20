//! Scores against MONAI's, by the numbers that `tests/parity/make_metrics.py` wrote.

use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;
use voxflow_stages::dataset::Label;
use voxflow_stages::image::affine::IDENTITY;
use voxflow_stages::image::spacing::Grid;
use voxflow_stages::metric::components::{Components, Connectivity};
use voxflow_stages::metric::{CaseScore, LabelScore, area::areas_mm2, score_case, summary};

const SHAPE: [usize; 3] = [23, 19, 14];
const SCORES: [&str; 4] = ["dice", "hd95_mm", "surface_dice", "surface_dice_area"];

fn fixture() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/metrics");
    std::fs::read(folder.join("scores.safetensors")).unwrap()
}

fn numbers(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    tensor
        .data()
        .chunks_exact(8)
        .map(|eight| f64::from_le_bytes(eight.try_into().unwrap()))
        .collect()
}

fn labels() -> Vec<Label> {
    [(1, "one"), (2, "two")].map(|(value, name)| Label { value, name: name.into() }).to_vec()
}

fn values(score: &LabelScore) -> [Option<f64>; 4] {
    [score.dice, score.hd95_mm, score.surface_dice, score.surface_dice_area]
}

fn cases(file: &SafeTensors) -> Vec<String> {
    // In the order in which they were given to MONAI's metrics.
    let names = [
        "blobs",
        "noise",
        "equal",
        "prediction_empty",
        "reference_empty",
        "both_empty",
        "label_2_missed",
    ];
    let names: Vec<String> = names
        .into_iter()
        .chain(["label_2_invented", "one_voxel", "full"])
        .map(String::from)
        .collect();
    assert!(names.iter().all(|name| file.tensor(&format!("{name}.maps")).is_ok()));
    names
}

fn score(file: &SafeTensors, name: &str, spacing: usize) -> Vec<LabelScore> {
    let (spacings, tolerances) = (numbers(file, "spacings"), numbers(file, "tolerances"));
    let maps = file.tensor(&format!("{name}.maps")).unwrap();
    let (prediction, reference) = maps.data().split_at(SHAPE.iter().product());
    let mut affine = IDENTITY;
    (0..3).for_each(|axis| affine[axis][axis] = spacings[spacing * 3 + axis]);
    let grid = Grid { shape: SHAPE, affine };
    score_case(prediction, reference, &grid, &labels(), tolerances[spacing])
}

#[test]
fn scores_equal_monais_for_every_label_and_spacing_empty_ones_too() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for name in cases(&file) {
        let expected = numbers(&file, &format!("{name}.scores"));
        for spacing in 0..4 {
            for (label, score) in score(&file, &name, spacing).iter().enumerate() {
                for (kind, found) in values(score).into_iter().enumerate() {
                    let wanted = expected[(spacing * 4 + kind) * 2 + label];
                    let what =
                        format!("{name}, spacing {spacing}, label {label}, {}", SCORES[kind]);
                    assert_eq!(found.is_none(), wanted.is_nan(), "{what}: {found:?} and {wanted}");
                    let difference = found.map_or(0.0, |found| (found - wanted).abs());
                    assert!(
                        difference <= [1e-6, 1e-4, 1e-6, 1e-6][kind],
                        "{what}: {found:?} and {wanted}"
                    );
                }
            }
        }
    }
}

#[test]
fn means_equal_monais_aggregate() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let scores: Vec<CaseScore> = cases(&file)
        .into_iter()
        .map(|case| CaseScore { labels: score(&file, &case, 1), case })
        .collect();
    let rows = summary::rows(&scores, "testing", "original");
    let found: BTreeMap<(Option<&str>, &str), Option<f64>> = rows
        .iter()
        .filter(|row| row.case.is_none())
        .map(|row| ((row.label.as_deref(), row.metric.as_str()), row.value))
        .collect();
    let (mean, batch) = (numbers(&file, "aggregate.mean"), numbers(&file, "aggregate.mean_batch"));
    for (kind, name) in SCORES.iter().enumerate() {
        let name = format!("monai_mean_{name}");
        let near = |label, wanted: f64| {
            let value = found[&(label, name.as_str())].unwrap();
            assert!(
                (value - wanted).abs() <= 1e-5 * wanted.max(1.0),
                "{name} {label:?}: {value} and {wanted}"
            );
        };
        near(None, mean[kind]);
        near(Some("one"), batch[kind * 2]);
        near(Some("two"), batch[kind * 2 + 1]);
    }
}

#[test]
fn derived_areas_equal_the_tabulated_ones() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (spacings, expected) = (numbers(&file, "spacings"), numbers(&file, "areas"));
    for (index, sides) in spacings.chunks_exact(3).enumerate() {
        let areas = areas_mm2(sides.try_into().unwrap());
        for (code, area) in areas.into_iter().enumerate() {
            // Ours: bit dx + 2·dy + 4·dz; theirs: 128 >> (4·dx + 2·dy + dz).
            let corners = (0..8usize).filter(|bit| code >> bit & 1 == 1);
            let theirs: usize =
                corners.map(|bit| 128 >> ((bit & 1) << 2 | bit & 2 | bit >> 2)).sum();
            let wanted = expected[index * 256 + theirs];
            assert!(
                (area - wanted).abs() <= 1e-6 * wanted.max(1.0),
                "code {code}: {area} and {wanted}"
            );
        }
    }
}

#[test]
fn components_are_as_large_as_scipys() {
    let bytes = fixture();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let maps = file.tensor("noise.maps").unwrap();
    let mask: Vec<bool> =
        maps.data()[..SHAPE.iter().product()].iter().map(|value| *value == 1).collect();
    for (connectivity, name) in
        [(Connectivity::Six, "six"), (Connectivity::TwentySix, "twenty_six")]
    {
        let mut sizes = Components::of(&mask, SHAPE, connectivity).sizes;
        sizes.sort();
        let tensor = file.tensor(&format!("components.{name}.sizes")).unwrap();
        let wanted = tensor
            .data()
            .chunks_exact(8)
            .map(|eight| u64::from_le_bytes(eight.try_into().unwrap()) as usize);
        assert_eq!(sizes, wanted.collect::<Vec<_>>(), "{name}");
    }
}
