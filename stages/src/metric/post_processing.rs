//! nnU-Net's rule for post-processing by largest components (`determine_postprocessing` of nnU-Net
//! 2.8.1): first of the whole foreground, kept if the mean Dice rises and no label's falls; then of
//! each label or region, kept if its own Dice rises.

use super::components::keep_largest_of;
use crate::dataset::Label;
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Lists of labels, in order: each keeps its largest component alone.
pub type Steps = Vec<Vec<u8>>;

/// Applies the steps to a label map (x fastest).
pub fn apply(map: &mut [u8], shape: [usize; 3], steps: &[Vec<u8>]) {
    steps.iter().for_each(|labels| keep_largest_of(map, shape, labels));
}

/// Dice of the union of labels, 2·|P ∩ R| / (|P| + |R|); `None` if both are empty, 0 if only one
/// is. Voxels with the reference value `ignore` do not count.
pub fn overlap(
    prediction: &[u8],
    reference: &[u8],
    labels: &[u8],
    ignore: Option<u8>,
) -> Option<f64> {
    let (mut both, mut sum) = (0u64, 0u64);
    for (found, known) in prediction.iter().zip(reference) {
        if Some(*known) == ignore {
            continue;
        }
        let (found, known) = (labels.contains(found), labels.contains(known));
        both += u64::from(found && known);
        sum += u64::from(found) + u64::from(known);
    }
    (sum > 0).then(|| 2.0 * both as f64 / sum as f64)
}

/// The steps that were chosen, and all that were tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The steps.
    pub steps: Steps,
    /// In the order in which they were tried.
    pub tried: Vec<Trial>,
}

/// A step that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Labels of which the largest component was kept.
    pub labels: Vec<u8>,
    /// Mean Dice without it: over all labels for the whole foreground, else that of these labels.
    pub before: Option<f64>,
    /// Mean Dice with it.
    pub after: Option<f64>,
    /// It is one of the steps.
    pub kept: bool,
}

impl Choice {
    /// All that was tried, in words; `labels` name the values.
    pub fn words(&self, labels: &[Label]) -> Vec<String> {
        self.tried.iter().map(|trial| trial.words(labels)).collect()
    }
}

impl Trial {
    fn words(&self, labels: &[Label]) -> String {
        let labels = labels.iter().filter(|label| self.labels.contains(&label.value));
        let names: Vec<&str> = labels.map(|label| label.name.as_str()).collect();
        let [before, after] = [self.before, self.after]
            .map(|dice| dice.map_or("–".to_string(), |dice| format!("{dice:.4}")));
        let decided = if self.kept { "kept" } else { "not kept" };
        let names = names.join(" with ");
        format!("largest component of {names}: Dice {before} to {after}, {decided}")
    }
}

/// Chooses steps. `targets` has the labels of each label or region that is scored, `foreground` all
/// labels; `scores` gives for some steps the mean Dice of each target over all cases.
pub fn choose(
    foreground: &[u8],
    targets: &[Vec<u8>],
    mut scores: impl FnMut(&[Vec<u8>]) -> Result<Vec<Option<f64>>>,
) -> Result<Choice> {
    let mut choice = Choice::default();
    let mut before = scores(&[])?;
    let whole = vec![foreground.to_vec()];
    let after = scores(&whole)?;
    let [mean_before, mean_after] = [&before, &after].map(|each| mean(each));
    let falls = before.iter().zip(&after).any(|(before, after)| after < before);
    let kept = mean_after > mean_before && !falls;
    let labels = foreground.to_vec();
    choice.tried.push(Trial { labels, before: mean_before, after: mean_after, kept });
    if kept {
        (choice.steps, before) = (whole, after);
    }
    if targets.len() < 2 {
        return Ok(choice);
    }
    for (index, labels) in targets.iter().enumerate() {
        let mut steps = choice.steps.clone();
        steps.push(labels.clone());
        let after = scores(&steps)?;
        let kept = after[index] > before[index];
        let trial =
            Trial { labels: labels.clone(), before: before[index], after: after[index], kept };
        choice.tried.push(trial);
        if kept {
            (choice.steps, before) = (steps, after);
        }
    }
    Ok(choice)
}

/// The mean of the values that are known.
pub fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chooses by a table of scores for steps, each step a word of labels.
    fn chosen(targets: &[&[u8]], table: &[(&[&[u8]], &[f64])]) -> Choice {
        let targets: Vec<Vec<u8>> = targets.iter().map(|labels| labels.to_vec()).collect();
        let of = |steps: &[Vec<u8>]| {
            let (_, scores) = table.iter().find(|(known, _)| known[..] == *steps).expect("steps");
            Ok(scores.iter().map(|score| Some(*score)).collect())
        };
        choose(&[1, 2], &targets, of).unwrap()
    }

    #[test]
    fn the_whole_foreground_is_kept_where_the_mean_rises_and_no_label_falls() {
        let alone = |after: f64| chosen(&[&[1, 2]], &[(&[], &[0.8]), (&[&[1, 2]], &[after])]);
        assert_eq!(alone(0.9).steps, [[1, 2]]);
        assert!(alone(0.8).steps.is_empty(), "equal is not better");
        let falls = chosen(
            &[&[1], &[2]],
            &[
                (&[], &[0.5, 0.7]),
                (&[&[1, 2]], &[0.9, 0.6]),
                (&[&[1]], &[0.9, 0.7]),
                (&[&[1], &[2]], &[0.9, 0.7]),
            ],
        );
        assert_eq!(falls.steps, [[1]]);
        let kept: Vec<bool> = falls.tried.iter().map(|trial| trial.kept).collect();
        assert_eq!(kept, [false, true, false]);
        assert_eq!(falls.tried[1].before, Some(0.5));
    }

    #[test]
    fn later_labels_are_judged_beside_the_steps_before() {
        let choice = chosen(
            &[&[1], &[2]],
            &[
                (&[], &[0.5, 0.7]),
                (&[&[1, 2]], &[0.6, 0.7]),
                (&[&[1, 2], &[1]], &[0.6, 0.7]),
                (&[&[1, 2], &[2]], &[0.6, 0.8]),
            ],
        );
        assert_eq!(choice.steps, [vec![1, 2], vec![2]]);
    }

    #[test]
    fn dice_counts_an_empty_side_as_0_and_two_as_nothing() {
        assert_eq!(overlap(&[1, 0, 2], &[1, 1, 0], &[1], None), Some(2.0 / 3.0));
        assert_eq!(overlap(&[0, 0, 2], &[0, 0, 0], &[2], None), Some(0.0));
        assert_eq!(overlap(&[0, 0, 2], &[0, 0, 9], &[2], Some(9)), None);
        assert_eq!(mean(&[Some(0.5), None, Some(1.0)]), Some(0.75));
        let mut map = [1, 0, 1, 1, 2];
        apply(&mut map, [5, 1, 1], &[vec![1], vec![2]]);
        assert_eq!(map, [0, 0, 1, 1, 2]);
    }
}
