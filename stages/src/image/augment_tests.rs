//! Stories of augmentation: what is drawn, and what stays as it was.

use super::*;

fn all() -> Augmentation {
    serde_json::from_value(serde_json::json!({
        "flip": { "probability": 0.5, "axes": [0, 2] },
        "rotate90": { "probability": 0.5 },
        "affine": { "probability": 0.5, "rotation_degrees": [10, 20, 30], "scale": [0.1, 0.1, 0.1] },
        "noise": { "probability": 0.5, "std": 0.2 },
        "intensity_scale": { "probability": 0.5, "factor": 0.3 },
        "intensity_shift": { "probability": 0.5, "offset": 0.1 },
    }))
    .unwrap()
}

fn patch() -> Patch {
    let image = (0..2 * 512).map(|i| (i % 37) as f32 / 37.0).collect();
    Patch { channels: 2, shape: [8, 8, 8], image, label: (0..512).map(|i| (i % 3) as u8).collect() }
}

#[test]
fn nothing_asked_for_changes_nothing() {
    let mut changed = patch();
    Augmentation::default().draw([8, 8, 8], (0, 0, 0)).apply(&mut changed);
    assert_eq!(changed, patch());
}

#[test]
fn probabilities_and_ranges_are_kept() {
    let changes: Vec<Change> = (0..4000).map(|item| all().draw([8, 8, 8], (5, 1, item))).collect();
    let share = |test: &dyn Fn(&Change) -> bool| {
        changes.iter().filter(|change| test(change)).count() as f64 / 4000.0
    };
    let near = |share: f64| (share - 0.5).abs() < 0.026; // 3.3 standard deviations
    assert!(near(share(&|change| change.flips[0])) && near(share(&|change| change.flips[2])));
    assert_eq!(share(&|change| change.flips[1]), 0.0);
    assert!(
        near(share(&|change| change.turns.is_some()))
            && near(share(&|change| change.affine.is_some()))
    );
    assert!(
        near(share(&|change| change.shift.is_some()))
            && near(share(&|change| change.noise.is_some()))
    );
    assert!(changes.iter().filter_map(|change| change.shift).all(|shift| shift.abs() <= 0.1));
    let shifts: Vec<f64> =
        changes.iter().filter_map(|change| change.shift.map(f64::from)).collect();
    let mean_square = shifts.iter().map(|shift| shift * shift).sum::<f64>() / shifts.len() as f64;
    assert!(
        (mean_square - 0.01 / 3.0).abs() < 2.5e-4,
        "uniform: variance is range² / 3, got {mean_square}"
    );
    let third = |k: u8| {
        changes.iter().filter(|change| change.turns.is_some_and(|turn| turn.0 == k)).count()
    };
    assert!((1..=3).all(|k| (third(k) as f64 - 4000.0 / 6.0).abs() < 80.0));
    assert!(
        changes
            .iter()
            .filter_map(|change| change.affine)
            .all(|affine| affine.rotation[2].abs() <= 30f64.to_radians()
                && affine.scale.iter().all(|scale| (0.9..=1.1).contains(scale)))
    );
}

#[test]
fn a_change_added_leaves_the_others_as_they_were() {
    let without = Augmentation { noise: None, affine: None, ..all() };
    for item in 0..50 {
        let (one, other) =
            (all().draw([8, 8, 8], (1, 2, item)), without.draw([8, 8, 8], (1, 2, item)));
        assert_eq!(
            (one.flips, one.turns, one.scale, one.shift),
            (other.flips, other.turns, other.scale, other.shift)
        );
    }
}

#[test]
fn noise_has_the_drawn_standard_deviation_and_mean_zero() {
    let mut values = vec![0f32; 100_001];
    add_noise(&mut values, 0.25, &mut Draw::new(4, 0, 0, "noise"));
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 100_001.0;
    let moment =
        |power| values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / 100_001.0;
    assert!(
        mean.abs() < 0.0026 && (moment(2) / 0.0625 - 1.0).abs() < 0.015,
        "{mean} {}",
        moment(2)
    );
    assert!(
        (moment(4) / (3.0 * 0.0625 * 0.0625) - 1.0).abs() < 0.04,
        "the fourth moment of a normal distribution"
    );
}

#[test]
fn four_quarter_turns_and_two_flips_are_nothing() {
    let mut changed = patch();
    (0..4).for_each(|_| warp::turn(&mut changed, 1, [0, 2]));
    (0..2).for_each(|_| warp::flip(&mut changed, [true, false, true]));
    assert_eq!(changed, patch());
}

#[test]
fn unequal_sides_cannot_be_quarter_turned() {
    let turn = Augmentation {
        rotate90: Some(Rotate90 { probability: 1.0, axes: [0, 2] }),
        ..Augmentation::default()
    };
    assert_eq!(turn.check([8, 4, 8]), vec![]);
    assert_eq!(turn.check([8, 8, 4])[0].0, "rotate90.axes");
    let wrong = Augmentation {
        noise: Some(Noise { probability: 1.5, std: -1.0 }),
        ..Augmentation::default()
    };
    assert_eq!(
        wrong.check([8; 3]).iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        ["noise.probability", "noise.std"]
    );
}

#[test]
fn an_affine_change_of_a_common_patch_takes_a_few_milliseconds() {
    let mut large = Patch {
        channels: 1,
        shape: [48, 64, 48],
        image: vec![0.5; 147_456],
        label: vec![1; 147_456],
    };
    let affine = warp::Affinity {
        rotation: [0.2, 0.1, 0.3],
        translation: [1.0, 0.0, 2.0],
        scale: [1.1, 0.9, 1.0],
    };
    let begun = std::time::Instant::now();
    (0..5).for_each(|_| affine.apply(&mut large));
    let each = begun.elapsed() / 5;
    assert!(
        each < std::time::Duration::from_millis(60),
        "{each:?} each: 3 to 6 ms where nothing else runs"
    );
}
