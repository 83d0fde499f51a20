//! Published validation curves, and what an open end would have made of their trainings.
//!
//! A file has a line for each epoch of each training: `task`, `model`, `fold`, `epoch` (from 0) and
//! `pseudo_dice`, with or without gzip. The trainings ran to the last epoch of the file, so that
//! the curve after a decision is known.
#![allow(dead_code)]

use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use voxflow_stages::model::plateau::Score;
use voxflow_stages::model::{DecayPhase, UntilPlateau};

/// The scores of a training, epoch by epoch.
pub type Curve = Vec<f64>;

/// The curves of each task in a file.
pub fn read(path: &Path) -> Result<BTreeMap<String, Vec<Curve>>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = String::new();
    let read = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => GzDecoder::new(&bytes[..]).read_to_string(&mut text),
        false => (&bytes[..]).read_to_string(&mut text),
    };
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).ok_or_else(|| {
        let columns = "task, model, fold, epoch and pseudo_dice";
        format!("{}: a line is not as its header; needed are {columns}", path.display())
    })
}

fn parse(text: &str) -> Option<BTreeMap<String, Vec<Curve>>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let place = |name: &str| header.iter().position(|column| *column == name);
    let keys = ["task", "model", "fold", "epoch", "pseudo_dice"];
    let places: Vec<usize> = keys.into_iter().map(place).collect::<Option<_>>()?;
    let mut trainings: BTreeMap<[&str; 3], BTreeMap<u32, f64>> = BTreeMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(places[at]).copied();
        let training = [field(0)?, field(1)?, field(2)?];
        let (epoch, dice) = (field(3)?.parse().ok()?, field(4)?.parse().ok()?);
        trainings.entry(training).or_default().insert(epoch, dice);
    }
    let mut tasks: BTreeMap<String, Vec<Curve>> = BTreeMap::new();
    for ([task, ..], curve) in trainings {
        tasks.entry(task.to_string()).or_default().push(curve.into_values().collect());
    }
    Some(tasks)
}

/// The decision about a training that was validated after every `every` epochs.
pub fn decide(curve: &[f64], rule: &UntilPlateau, every: u32) -> DecayPhase {
    let mut scores = vec![];
    (1..=rule.at_most)
        .find_map(|epoch| {
            if epoch.is_multiple_of(every) {
                scores.push(Score { epoch, dice: curve[epoch as usize - 1] });
            }
            rule.decide(epoch, &scores)
        })
        .expect("the limit decides at last")
}

/// nnU-Net's moving average of its pseudo Dice: 0.9 of the average and 0.1 of the new value.
pub fn smoothed(curve: &[f64]) -> Vec<f64> {
    let average = curve.iter().scan(None, |average: &mut Option<f64>, dice| {
        let new = average.map_or(*dice, |average| 0.9 * average + 0.1 * dice);
        *average = Some(new);
        Some(new)
    });
    average.collect()
}

/// Means over trainings. Losses are differences of the moving average, positive for worse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub trainings: usize,
    /// The epoch after which the learning rate falls.
    pub decay_from: f64,
    /// Epochs of the training.
    pub epochs: f64,
    /// Share of the epochs of the file that are saved.
    pub saved: f64,
    /// The final value, less the best until the end: the weights that nnU-Net would keep.
    pub loss: f64,
    /// The best of all epochs, less the best until the end.
    pub best_loss: f64,
    /// The final value, less the value at the end.
    pub last_loss: f64,
}

impl Summary {
    fn of(curve: &[f64], decay: DecayPhase) -> Summary {
        let average = smoothed(curve);
        let end = decay.to_epoch as usize;
        let best = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (last, kept) = (average[curve.len() - 1], best(&average[..end]));
        Summary {
            trainings: 1,
            decay_from: f64::from(decay.from_epoch),
            epochs: f64::from(decay.to_epoch),
            saved: 1.0 - end as f64 / curve.len() as f64,
            loss: last - kept,
            best_loss: best(&average) - kept,
            last_loss: last - average[end - 1],
        }
    }

    /// The mean of several, each with the same weight.
    pub fn mean(of: &[Summary]) -> Summary {
        let mean = |value: fn(&Summary) -> f64| of.iter().map(value).sum::<f64>() / of.len() as f64;
        Summary {
            trainings: of.iter().map(|one| one.trainings).sum(),
            decay_from: mean(|one| one.decay_from),
            epochs: mean(|one| one.epochs),
            saved: mean(|one| one.saved),
            loss: mean(|one| one.loss),
            best_loss: mean(|one| one.best_loss),
            last_loss: mean(|one| one.last_loss),
        }
    }
}

/// The summary of each task.
pub fn summaries(
    tasks: &BTreeMap<String, Vec<Curve>>,
    rule: &UntilPlateau,
    every: u32,
) -> BTreeMap<String, Summary> {
    let of_task = |curves: &Vec<Curve>| {
        let each = curves.iter().map(|curve| Summary::of(curve, decide(curve, rule, every)));
        Summary::mean(&each.collect::<Vec<Summary>>())
    };
    tasks.iter().map(|(task, curves)| (task.clone(), of_task(curves))).collect()
}
