//! Stories of augmentation: what is drawn, what stays as it was, and the two ways to write it.

use super::*;
use crate::image::patch::Patch;
use crate::image::transform::{Canvas, Change, Effect, Mirrored, RandomTransform, Shifted};
use serde_json::{Value, json};

fn of(value: Value) -> Augmentation {
    serde_json::from_value(value).unwrap()
}

fn all() -> Augmentation {
    of(json!({
        "flip": { "probability": 0.5, "axes": [0, 2] },
        "rotate90": { "probability": 0.5 },
        "affine": { "probability": 0.5, "rotation_degrees": [10, 20, 30], "scale": [0.1, 0.1, 0.1] },
        "noise": { "probability": 0.5, "std": 0.2 },
        "intensity_scale": { "probability": 0.5, "factor": 0.3 },
        "intensity_shift": { "probability": 0.5, "offset": 0.1 },
    }))
}

fn patch() -> Patch {
    let image = (0..2 * 512).map(|i| (i % 37) as f32 / 37.0).collect();
    Patch { channels: 2, shape: [8, 8, 8], image, label: (0..512).map(|i| (i % 3) as u8).collect() }
}

/// The changes of an item as text, one a transform.
fn drawn(augmentation: &Augmentation, item: u64) -> Vec<String> {
    let changes = augmentation.draw([8, 8, 8], (1, 2, item));
    changes.0.iter().map(|change| format!("{change:?}")).collect()
}

/// A patch after the changes of an item.
fn changed(augmentation: &Augmentation, item: u64) -> Patch {
    let mut patch = patch();
    patch.change(|canvas| augmentation.draw([8, 8, 8], (1, 2, item)).apply(canvas));
    patch
}

#[test]
fn nothing_asked_for_changes_nothing() {
    assert_eq!(changed(&Augmentation::default(), 0), patch());
    assert_eq!(changed(&of(json!([])), 0), patch());
}

#[test]
fn probabilities_and_ranges_are_kept() {
    let share = |augmentation: Value, begins: &str| {
        let augmentation = of(augmentation);
        let is_drawn = |item: &u64| {
            drawn(&augmentation, *item).first().is_some_and(|change| change.starts_with(begins))
        };
        (0..4000).filter(is_drawn).count() as f64 / 4000.0
    };
    let near = |share: f64| (share - 0.5).abs() < 0.026; // 3.3 standard deviations
    let flip = json!({ "flip": { "probability": 0.5, "axes": [0, 2] } });
    assert!(near(share(flip.clone(), "Mirrored([true")));
    assert_eq!(share(flip.clone(), "Mirrored([true, true"), 0.0);
    assert_eq!(share(flip, "Mirrored([false, true"), 0.0);
    for (name, begins) in [("rotate90", "Turned"), ("affine", "Affinity")] {
        assert!(near(share(json!({ name: { "probability": 0.5 } }), begins)));
    }
    let noise = json!({ "noise": { "probability": 0.5, "std": 1 } });
    assert!(near(share(noise, "Noisy")));
    for quarters in 1..=3 {
        let begins = format!("Turned {{ quarters: {quarters}");
        let found = share(json!({ "rotate90": { "probability": 0.5 } }), &begins);
        assert!((found - 1.0 / 6.0).abs() < 0.02, "{found}");
    }
    let shift = of(json!({ "intensity_shift": { "probability": 1.0, "offset": 0.1 } }));
    let shifts: Vec<f64> = (0..4000)
        .map(|item| {
            let mut value = [0.0];
            shift.draw([8, 8, 8], (5, 1, item)).apply_to_values(&mut value);
            f64::from(value[0])
        })
        .collect();
    assert!(shifts.iter().all(|shift| shift.abs() <= 0.1));
    let mean_square = shifts.iter().map(|shift| shift * shift).sum::<f64>() / 4000.0;
    assert!(
        (mean_square - 0.01 / 3.0).abs() < 2.5e-4,
        "uniform: variance is range² / 3, got {mean_square}"
    );
}

#[test]
fn a_change_added_leaves_the_others_as_they_were() {
    let Augmentation::InOrder(mapping) = all() else { panic!("a mapping") };
    let without = InOrder { noise: None, affine: None, ..*mapping };
    let without = Augmentation::InOrder(Box::new(without));
    for item in 0..50 {
        let mut one = drawn(&all(), item);
        one.retain(|change| !change.starts_with("Noisy") && !change.starts_with("Affinity"));
        assert_eq!(one, drawn(&without, item));
    }
}

#[test]
fn unequal_sides_cannot_be_quarter_turned_and_numbers_are_named_by_their_place() {
    let turn = of(json!({ "rotate90": { "probability": 1.0, "axes": [0, 2] } }));
    assert_eq!(turn.check([8, 4, 8]), vec![]);
    assert_eq!(turn.check([8, 8, 4])[0].0, "rotate90.axes");
    let noise = json!({ "probability": 1.5, "std": -1.0 });
    let paths = |augmentation: Value| -> Vec<String> {
        of(augmentation).check([8; 3]).into_iter().map(|(path, _)| path).collect()
    };
    assert_eq!(paths(json!({ "noise": noise })), ["noise.probability", "noise.std"]);
    let flip = json!({ "name": "flip", "probability": 0.5, "axes": [3] });
    let noise = json!({ "name": "noise", "probability": 1.5, "std": 1 });
    assert_eq!(paths(json!([noise, flip])), ["0.probability", "1.axes"]);
    assert_eq!(
        paths(json!({ "affine": { "probability": 1, "scale": [1, 0, 0] } })),
        ["affine.scale"]
    );
}

#[test]
fn what_says_the_same_is_written_in_one_form() {
    let written = |value: Value| serde_json::to_value(of(value)).unwrap();
    let flip = json!({ "probability": 0.5, "axes": [0, 1, 2] });
    let shift = json!({ "probability": 0.5, "offset": 0.1 });
    let mapping = json!({ "flip": flip, "intensity_shift": shift });
    assert_eq!(written(mapping.clone()), mapping);
    assert_eq!(written(json!({})), json!({}));
    assert_eq!(written(json!([])), json!({}));
    let [flip, shift] = [
        json!({ "name": "flip", "probability": 0.5 }),
        json!({ "name": "intensity_shift", "probability": 0.5, "offset": 0.1 }),
    ];
    assert_eq!(written(json!([flip, shift])), mapping, "the table's order");
    let full = json!({ "name": "flip", "probability": 0.5, "axes": [0, 1, 2] });
    assert_eq!(written(json!([shift, flip])), json!([shift, full]), "another order");
    assert_eq!(written(json!([flip, flip])), json!([full, full]), "one of them twice");
}

#[test]
fn a_list_in_the_tables_order_changes_as_the_mapping_and_another_order_changes_otherwise() {
    let scale = json!({ "name": "intensity_scale", "probability": 1, "factor": 0.5 });
    let shift = json!({ "name": "intensity_shift", "probability": 1, "offset": 0.5 });
    let mapping = of(json!({ "intensity_scale": { "probability": 1, "factor": 0.5 },
                             "intensity_shift": { "probability": 1, "offset": 0.5 } }));
    let (same, other) = (of(json!([scale, shift])), of(json!([shift, scale])));
    for item in 0..4 {
        assert_eq!(changed(&same, item), changed(&mapping, item));
        assert_ne!(changed(&other, item), changed(&mapping, item));
        let (mut reversed, mut found) = (drawn(&other, item), drawn(&mapping, item));
        reversed.reverse();
        assert_eq!(std::mem::take(&mut found), reversed, "the draws are the same");
    }
}

#[test]
fn a_transform_that_is_there_twice_is_drawn_twice() {
    let noise = json!({ "name": "noise", "probability": 1, "std": 0.5 });
    let twice = drawn(&of(json!([noise, noise])), 3);
    assert_eq!(twice[0], drawn(&of(json!([noise])), 3)[0]);
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn leading_flips_are_one_mirroring_and_later_ones_stay_in_their_place() {
    let changes = Changes(vec![
        Box::new(Mirrored([true, false, true])),
        Box::new(Mirrored([true, true, false])),
        Box::new(Shifted(0.5)),
        Box::new(Mirrored([false, false, true])),
    ]);
    let (mirrored, rest) = changes.split_mirrors();
    assert_eq!((mirrored, rest.0.len()), ([false, true, true], 2));
    assert!(!rest.are_pointwise());
}

/// A transform that a newcomer writes: one file, made of operations that both canvases have.
#[derive(Debug)]
struct Invert;

impl RandomTransform for Invert {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        vec![]
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        draw.chance(1.0).then(|| Box::new(Invert) as Box<dyn Change>)
    }
}

impl Change for Invert {
    fn effect(&self) -> Effect {
        Effect::Pointwise
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.multiply(-1.0);
        canvas.add(1.0);
    }
}

#[test]
fn a_new_transform_is_parameters_a_draw_and_a_change() {
    let change = Invert.draw(Draw::new(0, 0, 0, "invert"), [8; 3]).unwrap();
    let mut inverted = patch();
    inverted.change(|canvas| Changes(vec![change]).apply(canvas));
    assert_eq!(inverted.image[1], 1.0 - 1.0 / 37.0);
    assert_eq!(inverted.label, patch().label);
}
