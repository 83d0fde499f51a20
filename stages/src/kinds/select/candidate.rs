//! CandidateSet of a selection: single configurations, and pairs of which the probabilities are
//! averaged.

use super::configuration::TrainedConfiguration;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::image::Volume;
use crate::image::nifti::{ImageFile, read_header, read_image, read_label, write_label_in};
use crate::metric::post_processing::{self, mean, overlap};
use crate::model::ensemble::{label_map, mean_of};
use crate::model::out_of_fold::{
    OutOfFoldCases, prediction_file, probability_file, reference_file,
};
use crate::task::Input;
use serde::Serialize;
use std::sync::{Mutex, PoisonError};

/// The score of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateScore {
    /// The numbers of its configurations, from 0.
    pub configurations: Vec<usize>,
    /// Mean foreground Dice: over targets, of each target's mean over cases.
    pub dice: Option<f64>,
    /// The mean of each label or region.
    pub targets: Vec<Option<f64>>,
}

/// The index of the best score, the first of equals. `None` without any Dice.
pub fn best(tried: &[CandidateScore]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, one) in tried.iter().enumerate() {
        if let Some(dice) = one.dice.filter(|dice| best.is_none_or(|(_, most)| *dice > most)) {
            best = Some((index, dice));
        }
    }
    best.map(|(index, _)| index)
}

/// All candidates over the same cases.
pub struct CandidateSet<'a, 'c> {
    configurations: &'c [TrainedConfiguration<'a>],
    /// Singles, then pairs.
    candidates: Vec<Vec<usize>>,
    cases: Vec<String>,
    /// Held while probabilities are in memory: those of one case at a time.
    turn: Mutex<()>,
}

impl<'a, 'c> CandidateSet<'a, 'c> {
    /// All configurations, and with `pairs` all pairs of those with probabilities.
    pub fn of(
        cx: &Context,
        configurations: &'c [TrainedConfiguration<'a>],
        pairs: bool,
    ) -> CandidateSet<'a, 'c> {
        let mut candidates: Vec<Vec<usize>> =
            (0..configurations.len()).map(|at| vec![at]).collect();
        if pairs && configurations.len() > 1 {
            let all = 0..configurations.len();
            let with: Vec<usize> =
                all.filter(|at| configurations[*at].has_probabilities()).collect();
            let firsts = with.iter().enumerate();
            candidates.extend(
                firsts.flat_map(|(at, one)| with[at + 1..].iter().map(|two| vec![*one, *two])),
            );
            for one in configurations.iter().filter(|one| !one.has_probabilities()) {
                cx.warn(format!(
                    "no pair with '{}' is tried: it keeps no probabilities; give it \
                     'probabilities: true', or 'pairs: false' here",
                    one.name()
                ));
            }
        }
        let cases = configurations.first().map(TrainedConfiguration::cases).unwrap_or_default();
        CandidateSet { configurations, candidates, cases, turn: Mutex::new(()) }
    }

    /// The score of each candidate.
    pub fn score(&self, cx: &Context) -> Result<Vec<CandidateScore>> {
        let cases = cx.each_case(&self.cases, String::as_str, |case| self.dice(case))?;
        let count = self.facts().map_or(0, |facts| facts.targets().label_sets().len());
        let scores = self.candidates.iter().enumerate().map(|(at, configurations)| {
            let of_cases: Vec<Vec<Option<f64>>> =
                cases.iter().map(|case| case[at].clone()).collect();
            let targets = over_cases(&of_cases, count);
            let configurations = configurations.clone();
            CandidateScore { configurations, dice: mean(&targets), targets }
        });
        Ok(scores.collect())
    }

    fn facts(&self) -> Option<&'c OutOfFoldCases> {
        self.configurations.first().map(TrainedConfiguration::facts)
    }

    /// Dice of a case by candidate and target.
    fn dice(&self, case: &str) -> Result<Vec<Vec<Option<f64>>>> {
        let candidates = self.candidates.iter().map(|numbers| {
            let configurations = numbers.iter().map(|at| &self.configurations[*at]).collect();
            let one = Candidate { configurations, cases: &self.cases, turn: &self.turn };
            let (map, reference) = one.maps(case, &[])?;
            Ok(dice_of_case(one.facts(), &map.data, &reference.data))
        });
        candidates.collect()
    }

    /// A candidate by its index.
    pub fn choose(&self, index: usize) -> Candidate<'a, '_> {
        let numbers = self.candidates[index].iter();
        let configurations = numbers.map(|at| &self.configurations[*at]).collect();
        Candidate { configurations, cases: &self.cases, turn: &self.turn }
    }
}

/// The configurations of a candidate.
pub struct Candidate<'a, 'c> {
    configurations: Vec<&'c TrainedConfiguration<'a>>,
    cases: &'c [String],
    turn: &'c Mutex<()>,
}

impl<'a, 'c> Candidate<'a, 'c> {
    /// Labels, regions and the value to ignore.
    pub fn facts(&self) -> &'c OutOfFoldCases {
        self.configurations[0].facts()
    }

    /// The pooled cases.
    pub fn cases(&self) -> &'c [String] {
        self.cases
    }

    /// Its configurations.
    pub fn configurations(&self) -> impl Iterator<Item = &'c TrainedConfiguration<'a>> {
        self.configurations.iter().copied()
    }

    /// Puts a case's label map into the artifact: the file of its fold, if nothing changed it.
    pub fn keep(
        &self,
        cx: &Context,
        case: &str,
        map: &Volume<u8>,
        steps: &[Vec<u8>],
    ) -> Result<()> {
        let (name, fold) = (prediction_file(case), self.configurations[0].predictions(case)?);
        if self.configurations.len() == 1 && steps.is_empty() {
            cx.adopt(&name, &fold.file(&name)?.blob);
            return Ok(());
        }
        let space = read_header(&ImageFile::of(fold, &name)?, &name)?.space;
        write_label_in(&cx.create(&name)?, map, Some(&space), true)
    }

    /// A case's label map after some steps of post-processing, and its reference.
    pub fn maps(&self, case: &str, steps: &[Vec<u8>]) -> Result<(Volume<u8>, Volume<u8>)> {
        let mut map = self.map(case)?;
        post_processing::apply(&mut map.data, map.shape, steps);
        let input = self.configurations[0].predictions(case)?;
        let facts = self.facts();
        let values = facts.labels.iter().map(|label| label.value).chain(facts.ignore);
        let reference = label_file(input, &reference_file(case), &values.collect::<Vec<u8>>())?;
        match map.shape == reference.shape {
            true => Ok((map, reference)),
            false => Err(Error::failed("its prediction and its label lie on different grids")),
        }
    }

    /// The mean Dice of each target over all cases.
    pub fn dice_of_targets(&self, cx: &Context, steps: &[Vec<u8>]) -> Result<Vec<Option<f64>>> {
        let steps = steps.to_vec();
        let cases = cx.each_case(self.cases, String::as_str, |case| {
            let (map, reference) = self.maps(case, &steps)?;
            Ok(dice_of_case(self.facts(), &map.data, &reference.data))
        })?;
        Ok(over_cases(&cases, self.facts().targets().label_sets().len()))
    }

    /// The mean over targets.
    pub fn foreground_dice(&self, cx: &Context, steps: &[Vec<u8>]) -> Result<Option<f64>> {
        Ok(mean(&self.dice_of_targets(cx, steps)?))
    }

    fn map(&self, case: &str) -> Result<Volume<u8>> {
        let facts = self.facts();
        if let [one] = self.configurations[..] {
            let values: Vec<u8> = facts.labels.iter().map(|label| label.value).collect();
            return label_file(one.predictions(case)?, &prediction_file(case), &values);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let name = probability_file(case);
        let volumes = self
            .configurations
            .iter()
            .map(|one| read_image(&ImageFile::of(one.predictions(case)?, &name)?, &name));
        let mean = mean_of(volumes, !facts.regions.is_empty())?;
        Ok(label_map(&mean, &facts.labels, &facts.regions))
    }
}

/// Dice of each target of a case.
fn dice_of_case(facts: &OutOfFoldCases, map: &[u8], reference: &[u8]) -> Vec<Option<f64>> {
    let targets = facts.targets().label_sets();
    targets.iter().map(|labels| overlap(map, reference, labels, facts.ignore)).collect()
}

/// The mean of each target over the cases that have it.
fn over_cases(cases: &[Vec<Option<f64>>], targets: usize) -> Vec<Option<f64>> {
    let means = (0..targets).map(|target| {
        let scores: Vec<Option<f64>> = cases.iter().map(|case| case[target]).collect();
        mean(&scores)
    });
    means.collect()
}

fn label_file(input: &Input, name: &str, values: &[u8]) -> Result<Volume<u8>> {
    read_label(&ImageFile::of(input, name)?, name, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_equals_so_that_singles_win_over_pairs() {
        let of = |dice: &[Option<f64>]| {
            let score = |(at, dice): (usize, &Option<f64>)| CandidateScore {
                configurations: vec![at],
                dice: *dice,
                targets: vec![*dice],
            };
            best(&dice.iter().enumerate().map(score).collect::<Vec<_>>())
        };
        assert_eq!(of(&[Some(0.8), Some(0.9), Some(0.9)]), Some(1));
        assert_eq!(of(&[None, Some(0.1), None]), Some(1));
        assert_eq!(of(&[None, None]), None);
    }
}
