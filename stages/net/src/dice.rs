//! The validation score: Dice on the resampled grid, cheap enough for every validation.

use crate::classes::{Classes, IGNORED};
use crate::distributed::Ranks;
use crate::failure::catch_panic;
use crate::sliding_window::SlidingWindow;
use crate::subset::{PreparedCase, Subset};
use tch::{Device, Kind, Tensor};
use voxflow_stages::{Metric, Result};

/// Voxel counts for each pair (predicted class, reference class). They are counted on the device
/// that holds the two maps (Uint8), and only the counts leave the device.
struct ConfusionMatrix {
    classes: usize,
    /// At index predicted · classes + reference.
    voxels: Vec<i64>,
}

impl ConfusionMatrix {
    /// Voxels that the reference ignores are left out.
    fn new(prediction: &Tensor, reference: &Tensor, classes: &Classes) -> ConfusionMatrix {
        let has_ignored = classes.has_ignored();
        let classes = classes.count();
        let mut pairs = prediction.to_kind(Kind::Int);
        pairs *= classes as i64;
        pairs += reference;
        if has_ignored {
            pairs = pairs.masked_select(&reference.ne(i64::from(IGNORED)));
        }
        let counted = pairs
            .flatten(0, -1)
            .bincount(None::<Tensor>, (classes * classes) as i64)
            .to_device(Device::Cpu);
        let mut voxels = vec![0; classes * classes];
        counted.copy_data(&mut voxels, classes * classes);
        ConfusionMatrix { classes, voxels }
    }

    /// Dice of a union of classes: 2·|P∩R| / (|P| + |R|); `None` if the reference is empty, as
    /// MONAI.
    fn dice(&self, union: &[u8]) -> Option<f64> {
        let all: Vec<usize> = (0..self.classes).collect();
        let union: Vec<usize> = union.iter().map(|class| usize::from(*class)).collect();
        let reference = self.sum(&all, &union);
        let both = 2.0 * self.sum(&union, &union) as f64;
        (reference > 0).then(|| both / (self.sum(&union, &all) + reference) as f64)
    }

    /// The voxels of any pair of these classes.
    fn sum(&self, predicted: &[usize], reference: &[usize]) -> i64 {
        let pairs = predicted.iter().flat_map(|one| reference.iter().map(|other| (*one, *other)));
        pairs.map(|(predicted, reference)| self.count(predicted, reference)).sum()
    }

    fn count(&self, predicted: usize, reference: usize) -> i64 {
        self.voxels[predicted * self.classes + reference]
    }
}

/// A case's Dice for each label or region. The image is copied to the networks' device once, if it
/// fits.
fn case_dice(
    case: &PreparedCase,
    classes: &Classes,
    window: &SlidingWindow,
) -> Result<Vec<Option<f64>>> {
    let (values, shape) = (case.label_values()?, case.image.shape());
    let device = window.volume_device(shape, case.image.channels(), classes.outputs());
    let prediction = classes.segment(window, &case.tensor_on(device)?);
    let reference = classes.tensor(values, shape, device);
    let counts = ConfusionMatrix::new(&prediction, &reference, classes);
    Ok(classes.targets().iter().map(|target| counts.dice(&target.classes)).collect())
}

/// Mean over the defined values; `None` without any.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.flatten().fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Dice rows for a subset: each label's (or region's) mean over cases, and last the mean over
/// these. The cases
/// are dealt out to the ranks in turn; all ranks get the same rows.
pub fn dice_rows(
    subset: &Subset,
    classes: &Classes,
    window: &SlidingWindow,
    ranks: Ranks,
) -> Result<Vec<Metric>> {
    let mut own = vec![];
    for case in subset.cases.iter().skip(ranks.rank()).step_by(ranks.count()) {
        let dice = catch_panic(|| case_dice(case, classes, window));
        own.extend(dice.map_err(|error| error.at_case(&case.name))?);
    }
    let parts = ranks.gather(to_bytes(&own))?;
    let parts: Vec<Vec<Option<f64>>> = parts.iter().map(|bytes| from_bytes(bytes)).collect();
    let labels = classes.targets().len();
    let cases = (0..subset.cases.len()).map(|number| {
        let place = number / ranks.count() * labels;
        &parts[number % ranks.count()][place..place + labels]
    });
    let cases: Vec<&[Option<f64>]> = cases.collect();
    let labels = classes.targets().iter().enumerate();
    let means: Vec<(&str, Option<f64>)> = labels
        .map(|(at, label)| (label.name.as_str(), mean(cases.iter().map(|case| case[at]))))
        .collect();
    let mut rows: Vec<Metric> =
        means.iter().map(|(name, value)| dice_row(*value, subset).label(name)).collect();
    rows.push(dice_row(mean(means.iter().map(|(_, value)| *value)), subset));
    Ok(rows)
}

/// Scores as bytes, for other ranks; a missing one is NaN, which no score is.
fn to_bytes(scores: &[Option<f64>]) -> Vec<u8> {
    scores.iter().flat_map(|score| score.unwrap_or(f64::NAN).to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<Option<f64>> {
    let numbers = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
    numbers.map(|bytes| Some(f64::from_le_bytes(bytes)).filter(|score| !score.is_nan())).collect()
}

fn dice_row(value: Option<f64>, subset: &Subset) -> Metric {
    Metric::new("dice", value).split(subset.name).grid("resampled")
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::dataset::Label;

    #[test]
    fn a_label_that_a_case_lacks_does_not_count() {
        let labels = [1, 2].map(|value| Label { value, name: format!("l{value}") });
        let of = |ignore, union: &[u8], prediction: &[u8], reference: &[u8]| {
            let classes = Classes::of(&labels, &[], ignore).unwrap();
            let [prediction, reference] = [prediction, reference].map(Tensor::from_slice);
            ConfusionMatrix::new(&prediction, &reference, &classes).dice(union)
        };
        let dice = |prediction: &[u8], reference: &[u8]| of(None, &[1], prediction, reference);
        let sparse = [1, 0, 2, IGNORED, IGNORED];
        assert_eq!(of(Some(9), &[1], &[1, 1, 2, 1, 0], &sparse), Some(2.0 / 3.0));
        assert_eq!(of(Some(9), &[1, 2], &[1, 1, 1, 1, 0], &sparse), Some(4.0 / 5.0));
        assert_eq!(dice(&[1, 1, 0, 2], &[1, 0, 0, 2]), Some(2.0 / 3.0));
        assert_eq!(dice(&[1, 1, 0, 2], &[0, 0, 0, 2]), None);
        assert_eq!(mean([Some(0.5), None, Some(1.0)].into_iter()), Some(0.75));
    }
}
