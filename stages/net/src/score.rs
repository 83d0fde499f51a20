//! The score that chooses weights: Dice on the resampled grid, cheap enough for every validation.

use crate::cases::{Classes, Part, PreparedCase};
use crate::infer::Slider;
use crate::worker::caught;
use tch::{Device, Kind, Tensor};
use voxflow_stages::{Metric, Result, Trouble};

/// How many voxels each class is predicted in where each class is the reference; counted where the
/// two maps (Uint8) are, so that only numbers leave a device.
struct Counts {
    classes: usize,
    /// Index: predicted · classes + real.
    voxels: Vec<i64>,
}

impl Counts {
    fn new(prediction: &Tensor, reference: &Tensor, classes: usize) -> Counts {
        let mut pairs = prediction.to_kind(Kind::Int);
        pairs *= classes as i64;
        pairs += reference;
        let counted = pairs
            .flatten(0, -1)
            .bincount(None::<Tensor>, (classes * classes) as i64)
            .to_device(Device::Cpu);
        let mut voxels = vec![0; classes * classes];
        counted.copy_data(&mut voxels, classes * classes);
        Counts { classes, voxels }
    }

    /// Dice of one class: 2·|P∩R| / (|P| + |R|); none where the reference is empty, as MONAI.
    fn dice(&self, class: usize) -> Option<f64> {
        let voxels = |predicted: usize, real: usize| self.voxels[predicted * self.classes + real];
        let predicted: i64 = (0..self.classes).map(|real| voxels(class, real)).sum();
        let real: i64 = (0..self.classes).map(|predicted| voxels(predicted, class)).sum();
        (real > 0).then(|| 2.0 * voxels(class, class) as f64 / (predicted + real) as f64)
    }
}

/// Dice of each label in one case. The image goes to the networks' device once, where it fits.
fn case_dice(case: &PreparedCase, classes: &Classes, slider: &Slider) -> Result<Vec<Option<f64>>> {
    let (values, shape) = (case.label_values()?, case.image.shape());
    let home = slider.home(values.len(), case.image.channels(), classes.count());
    let prediction = slider.classes(&case.tensor_on(home)?);
    let counts = Counts::new(&prediction, &classes.tensor(values, shape, home), classes.count());
    Ok((1..classes.count()).map(|class| counts.dice(class)).collect())
}

/// The mean of what there is.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.flatten().fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Rows of Dice for a part: per label the mean over cases, and the mean over labels last.
pub fn dice_rows(part: &Part, classes: &Classes, slider: &Slider) -> Result<Vec<Metric>> {
    let score = |case: &PreparedCase| {
        caught(|| case_dice(case, classes, slider)).trouble(format!("case '{}'", case.name))
    };
    let cases: Vec<Vec<Option<f64>>> = part.cases.iter().map(score).collect::<Result<_>>()?;
    let labels = part.list.labels.iter().enumerate();
    let means: Vec<(&str, Option<f64>)> = labels
        .map(|(at, label)| (label.name.as_str(), mean(cases.iter().map(|case| case[at]))))
        .collect();
    let row = |value: Option<f64>| Metric::new("dice", value).split(part.name).grid("resampled");
    let mut rows: Vec<Metric> = means.iter().map(|(name, value)| row(*value).label(name)).collect();
    rows.push(row(mean(means.iter().map(|(_, value)| *value))));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_a_case_lacks_does_not_count() {
        let dice = |prediction: &[u8], reference: &[u8]| {
            Counts::new(&Tensor::from_slice(prediction), &Tensor::from_slice(reference), 3).dice(1)
        };
        assert_eq!(dice(&[1, 1, 0, 2], &[1, 0, 0, 2]), Some(2.0 / 3.0));
        assert_eq!(dice(&[1, 1, 0, 2], &[0, 0, 0, 2]), None);
        assert_eq!(mean([Some(0.5), None, Some(1.0)].into_iter()), Some(0.75));
    }
}
