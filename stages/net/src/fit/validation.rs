//! The validation of a training on the resampled grid: Dice and loss, both from one pass of the
//! window over each case.

use crate::classes::Classes;
use crate::dice;
use crate::distributed::Ranks;
use crate::failure::catch_panic;
use crate::sliding_window::SlidingWindow;
use crate::subset::{PreparedCase, Subset};
use crate::volume_loss::VolumeLoss;
use voxflow_stages::model::LossParams;
use voxflow_stages::{Metric, Result};

/// The metric's name, with training as well as with validation cases.
pub const LOSS: &str = "loss";

/// The cases, classes, window and loss of a validation.
pub struct Validation<'a> {
    pub cases: &'a Subset,
    pub classes: &'a Classes,
    pub window: SlidingWindow<'a>,
    /// The training's loss; of several outputs of a network it takes the first.
    pub loss: &'a LossParams,
}

/// The result of a validation.
pub struct Validated {
    /// Dice of each label (or region) over cases, the mean over these, and the loss.
    pub rows: Vec<Metric>,
    /// The mean Dice; `None` if no label had a reference.
    pub dice: Option<f64>,
}

impl Validation<'_> {
    /// The cases are dealt out to the ranks in turn; all ranks get the same rows.
    pub fn run(&self, ranks: Ranks) -> Result<Validated> {
        let mut own = vec![];
        for case in self.cases.cases.iter().skip(ranks.rank()).step_by(ranks.count()) {
            let found = catch_panic(|| self.case(case));
            own.extend(found.map_err(|error| error.at_case(&case.name))?);
        }
        let parts = ranks.gather(to_bytes(&own))?;
        let parts: Vec<Vec<Option<f64>>> = parts.iter().map(|bytes| from_bytes(bytes)).collect();
        let labels = self.classes.targets();
        let width = labels.len() + 1;
        let cases = (0..self.cases.cases.len()).map(|number| {
            let place = number / ranks.count() * width;
            &parts[number % ranks.count()][place..place + width]
        });
        let cases: Vec<&[Option<f64>]> = cases.collect();
        let over_cases = |at: usize| mean(cases.iter().map(|case| case[at]));
        let of_labels: Vec<Option<f64>> = (0..labels.len()).map(over_cases).collect();
        let dice = mean(of_labels.iter().copied());
        let mut rows: Vec<Metric> = labels
            .iter()
            .zip(of_labels)
            .map(|(label, value)| self.row("dice", value).label(&label.name))
            .collect();
        rows.extend([self.row("dice", dice), self.row(LOSS, over_cases(labels.len()))]);
        Ok(Validated { rows, dice })
    }

    /// A case's Dice for each label or region, and its loss. The image is copied to the networks'
    /// device once, if it fits.
    fn case(&self, case: &PreparedCase) -> Result<Vec<Option<f64>>> {
        let Validation { classes, window, .. } = self;
        let (values, shape) = (case.label_values()?, case.image.shape());
        let device = window.volume_device(shape, case.image.channels(), classes.outputs());
        let (image, reference) = (case.tensor_on(device)?, classes.tensor(values, shape, device));
        let targets = classes.loss_targets();
        let mut loss = VolumeLoss::new(self.loss, &targets, &reference);
        let prediction = classes.segment_and_show(window, &image, |rows| loss.add(rows));
        let mut found = dice::of_case(&prediction, &reference, classes);
        found.push(Some(loss.value()).filter(|loss| loss.is_finite()));
        Ok(found)
    }

    fn row(&self, metric: &str, value: Option<f64>) -> Metric {
        Metric::new(metric, value).split(self.cases.name).grid("resampled")
    }
}

/// Mean over the defined values; `None` without any.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.flatten().fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Numbers as bytes, for other ranks; a missing one is NaN, which no number here is.
fn to_bytes(scores: &[Option<f64>]) -> Vec<u8> {
    scores.iter().flat_map(|score| score.unwrap_or(f64::NAN).to_le_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<Option<f64>> {
    let numbers = bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok());
    numbers.map(|bytes| Some(f64::from_le_bytes(bytes)).filter(|score| !score.is_nan())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_case_lacks_does_not_count_and_comes_through_the_ranks_as_missing() {
        assert_eq!(mean([Some(0.5), None, Some(1.0)].into_iter()), Some(0.75));
        assert_eq!(mean([None].into_iter()), None);
        let numbers = [Some(0.5), None, Some(-1.25)];
        assert_eq!(from_bytes(&to_bytes(&numbers)), numbers);
    }
}
