//! The score that chooses weights: Dice on the resampled grid, cheap enough for every validation.

use crate::cases::{Classes, Part};
use crate::infer::Slider;
use crate::worker::caught;
use voxflow_stages::{Metric, Result, Trouble};

/// Dice of one label in one case: 2·|P∩R| / (|P| + |R|); none where the reference is empty, as MONAI.
fn dice(prediction: &[u8], reference: &[u8], value: u8) -> Option<f64> {
    let (mut both, mut predicted, mut real) = (0u64, 0u64, 0u64);
    for (p, r) in prediction.iter().zip(reference) {
        let (p, r) = (*p == value, *r == value);
        both += u64::from(p && r);
        predicted += u64::from(p);
        real += u64::from(r);
    }
    (real > 0).then(|| 2.0 * both as f64 / (predicted + real) as f64)
}

/// The mean of what there is.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values.flatten().fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Rows of Dice for a part: per label the mean over cases, and the mean over labels last.
pub fn dice_rows(part: &Part, classes: &Classes, slider: &Slider) -> Result<Vec<Metric>> {
    let mut cases: Vec<Vec<Option<f64>>> = vec![];
    for case in &part.cases {
        let prediction = caught(|| Ok(classes.volume(&slider.classes(&case.tensor()?))));
        let prediction = prediction.trouble(format!("case '{}'", case.name))?;
        let reference = case.label_values()?;
        cases.push(part.list.labels.iter().map(|label| dice(&prediction, reference, label.value)).collect());
    }
    let labels = part.list.labels.iter().enumerate();
    let means: Vec<(&str, Option<f64>)> =
        labels.map(|(at, label)| (label.name.as_str(), mean(cases.iter().map(|case| case[at])))).collect();
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
        assert_eq!(dice(&[1, 1, 0, 2], &[1, 0, 0, 2], 1), Some(2.0 / 3.0));
        assert_eq!(dice(&[1, 1, 0, 2], &[0, 0, 0, 2], 1), None);
        assert_eq!(mean([Some(0.5), None, Some(1.0)].into_iter()), Some(0.75));
    }
}
