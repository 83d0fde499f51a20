//! The rule of `epochs: auto` on published curves: skipped where they are not at hand.
#![allow(clippy::print_stderr)]

#[path = "support/published_curves.rs"]
mod published_curves;

use published_curves::{Summary, decide, read, summaries};
use std::path::{Path, PathBuf};
use voxflow_stages::model::{DecayReason, UntilPlateau};
use voxflow_stages::random::Draw;

/// The variable that names the file of curves.
const VARIABLE: &str = "VOXFLOW_CURVES";

fn published() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let beside = "../../shared/nnunet/curves.csv.gz";
    let path = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(beside));
    Some(path).filter(|path| path.exists())
}

#[test]
fn on_published_trainings_half_of_all_epochs_are_saved_and_little_is_lost() {
    let Some(path) = published() else {
        eprintln!("skipped: no curves of nnU-Net's trainings here; name the file by {VARIABLE}");
        return;
    };
    let tasks = read(&path).unwrap();
    assert_eq!((tasks.len(), tasks.values().map(Vec::len).sum::<usize>()), (10, 150));
    let each: Vec<Summary> = summaries(&tasks, &UntilPlateau::default(), 1).into_values().collect();
    let mean = Summary::mean(&each);
    assert!(mean.saved >= 0.5, "{mean:?}");
    let mut losses = each.iter().map(|task| task.loss.max(0.0));
    assert!(losses.clone().sum::<f64>() / 10.0 <= 0.003, "{mean:?}");
    assert!(losses.all(|loss| loss <= 0.01), "{each:?}");
    let sparse = summaries(&tasks, &UntilPlateau::default(), 10);
    let sparse: Vec<Summary> = sparse.into_values().collect();
    assert!(Summary::mean(&sparse).saved > 0.3, "validated seldom, it is more careful");
    assert!(Summary::mean(&sparse).loss <= mean.loss, "validated seldom, it is more careful");
}

/// A curve that rises to `height` with its half at `half` epochs, and noise of deviation `noise`.
fn rising(height: f64, half: f64, noise: f64, seed: u64) -> Vec<f64> {
    let mut draw = Draw::new(seed, 0, 0, "curve");
    let epochs = (1..=1000).map(f64::from);
    epochs.map(|epoch| height * epoch / (epoch + half) + noise * draw.normal()).collect()
}

#[test]
fn the_sooner_a_curve_levels_off_and_the_less_it_is_noisy_the_sooner_the_training_ends() {
    let rule = UntilPlateau::default();
    let ends = |half: f64, noise: f64| -> f64 {
        let ends = (0..10).map(|seed| decide(&rising(0.8, half, noise, seed), &rule, 1));
        ends.map(|decay| f64::from(decay.to_epoch)).sum::<f64>() / 10.0
    };
    let (soon, late, never) = (ends(1.0, 0.001), ends(20.0, 0.001), ends(1000.0, 0.001));
    assert!(soon < 300.0 && soon < late && late < 900.0 && never == 1000.0);
    assert!(ends(1.0, 0.05) > soon, "noise could hide a gain");
}

#[test]
fn the_decision_is_a_function_of_the_curve_so_far() {
    let rule = UntilPlateau::default();
    let curve = rising(0.8, 5.0, 0.002, 7);
    let decided = decide(&curve, &rule, 5);
    assert_eq!(decided.reason, DecayReason::Plateau);
    let mut other = curve;
    other[decided.from_epoch as usize..].iter_mut().for_each(|dice| *dice = 0.1);
    assert_eq!(decide(&other, &rule, 5), decided);
}
