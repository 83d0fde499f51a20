//! A configuration: the folds that were trained alike, with their out-of-fold predictions.

use crate::context::Context;
use crate::dataset::name;
use crate::error::{Error, Result};
use crate::model::out_of_fold::{OUT_OF_FOLD, OutOfFoldCases};
use crate::model::{ModelCard, Weights, ensemble::CARD};
use crate::stage::fold_of_id;
use crate::task::Input;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_cache::Digest;

/// The folds of a configuration. No case is in two of them.
pub struct TrainedConfiguration<'a> {
    folds: Vec<FoldPredictions<'a>>,
    /// The fold by case.
    by_case: BTreeMap<String, usize>,
}

/// A fold's predictions, and the models that made them.
struct FoldPredictions<'a> {
    predictions: &'a Input,
    facts: OutOfFoldCases,
    models: Vec<&'a Input>,
}

impl FoldPredictions<'_> {
    /// True if all models predicted with their best weights.
    fn are_of_best_weights(&self) -> bool {
        let best = self.models.iter().filter_map(|model| model.file(Weights::Best.file()).ok());
        let best: BTreeSet<Digest> = best.map(|file| file.blob.digest).collect();
        self.facts.weights.iter().all(|used| best.contains(used))
    }
}

/// The configurations, in the order of `needs`. Folds follow each other; a fold with a case that
/// the folds before it have begins the next configuration.
///
/// # Errors
/// Configurations of different cases or labels; predictions by a model that is not needed.
pub fn gather<'a>(cx: &Context<'a>) -> Result<Vec<TrainedConfiguration<'a>>> {
    let mut all: Vec<TrainedConfiguration> = vec![];
    for predictions in cx.many("out_of_fold") {
        let facts: OutOfFoldCases = predictions.json(OUT_OF_FOLD)?;
        let models = models_of(cx, predictions, &facts)?;
        if all.last().is_none_or(|last| last.has_any(&facts.cases)) {
            if let Some(last) = all.last() {
                last.check_next(predictions, &facts)?;
            }
            all.push(TrainedConfiguration { folds: vec![], by_case: BTreeMap::new() });
        }
        if let Some(last) = all.last_mut() {
            let number = last.folds.len();
            last.by_case.extend(facts.cases.iter().map(|case| (case.clone(), number)));
            last.folds.push(FoldPredictions { predictions, facts, models });
        }
    }
    let Some((first, others)) = all.split_first() else {
        return Err(Error::failed("no out-of-fold predictions were given"));
    };
    others.iter().chain([first]).try_for_each(|other| first.check_like(other))?;
    for one in &all {
        one.tell_gaps(cx)?;
        one.tell_weights(cx);
    }
    Ok(all)
}

/// The needed models whose weights made the predictions.
fn models_of<'a>(
    cx: &Context<'a>,
    predictions: &Input,
    facts: &OutOfFoldCases,
) -> Result<Vec<&'a Input>> {
    let found = facts.weights.iter().map(|digest| {
        cx.many("model").iter().find(|model| has_weights(model, digest)).ok_or_else(|| {
            Error::failed(format!(
                "'{}' was predicted by a model that is not among the 'needs'; name its training \
                 beside it",
                predictions.stage
            ))
        })
    });
    found.collect()
}

fn has_weights(model: &Input, digest: &Digest) -> bool {
    let mut files = [Weights::Best, Weights::Last].into_iter();
    files.any(|which| model.file(which.file()).is_ok_and(|file| file.blob.digest == *digest))
}

impl<'a> TrainedConfiguration<'a> {
    /// A name for people: the stage of its predictions, as the workflow has it.
    pub fn name(&self) -> &str {
        let stage = self.folds.first().map_or("", |fold| fold.predictions.stage.as_str());
        fold_of_id(stage).map_or(stage, |(written, _)| written)
    }

    /// An error if predictions that begin another configuration are of a further fold of this one:
    /// its folds share cases.
    fn check_next(&self, predictions: &Input, facts: &OutOfFoldCases) -> Result<()> {
        let stage = &predictions.stage;
        if fold_of_id(stage).is_none_or(|(written, _)| written != self.name()) {
            return Ok(());
        }
        let twice = facts.cases.iter().filter(|case| self.by_case.contains_key(*case));
        let twice: Vec<&String> = twice.collect();
        Err(Error::failed(format!(
            "'{stage}' predicts cases that another fold of '{}' predicts too: {}; in a \
             cross-validation each case validates in one fold",
            self.name(),
            name::shown(&twice)
        )))
    }

    /// Warns of cases that some fold was trained on and no fold predicts: then the folds are not
    /// all there.
    fn tell_gaps(&self, cx: &Context) -> Result<()> {
        let mut gaps = BTreeSet::new();
        for (_, model) in self.models().iter().filter(|_| self.folds.len() > 1) {
            let card: ModelCard = model.json(CARD)?;
            let seen = card.provenance.into_iter().flat_map(|known| known.training);
            let own = seen.filter(|case| case.dataset == self.facts().dataset);
            gaps.extend(own.map(|case| case.name).filter(|case| !self.by_case.contains_key(case)));
        }
        let gaps: Vec<&String> = gaps.iter().collect();
        if !gaps.is_empty() {
            cx.warn(format!(
                "'{}' predicts {} of its {} cases: no fold predicts {}; are all folds there?",
                self.name(),
                self.by_case.len(),
                self.by_case.len() + gaps.len(),
                name::shown(&gaps)
            ));
        }
        Ok(())
    }

    /// The facts that hold for all folds: labels, regions and the value to ignore.
    pub fn facts(&self) -> &OutOfFoldCases {
        &self.folds[0].facts
    }

    /// All cases, sorted.
    pub fn cases(&self) -> Vec<String> {
        self.by_case.keys().cloned().collect()
    }

    /// The predictions that have a case.
    pub fn predictions(&self, case: &str) -> Result<&'a Input> {
        let fold = self.by_case.get(case).and_then(|number| self.folds.get(*number));
        fold.map(|fold| fold.predictions)
            .ok_or_else(|| Error::failed(format!("'{}' has no case '{case}'", self.name())))
    }

    /// Warns where not the best weights predicted: the chosen model has both, and its users take
    /// the best ones by default.
    fn tell_weights(&self, cx: &Context) {
        if !self.folds.iter().all(FoldPredictions::are_of_best_weights) {
            cx.warn(format!(
                "'{}' is predicted with the last weights: give 'weights: last' to the stages that \
                 test or predict with the chosen model, which take the best ones otherwise",
                self.name()
            ));
        }
    }

    /// True if all folds keep probabilities.
    pub fn has_probabilities(&self) -> bool {
        self.folds.iter().all(|fold| fold.facts.probabilities)
    }

    /// The models with the names of their folders.
    pub fn models(&self) -> Vec<(String, &'a Input)> {
        let mut named = vec![];
        for (number, fold) in self.folds.iter().enumerate() {
            for (at, model) in fold.models.iter().enumerate() {
                let name = match fold.models.len() {
                    1 => format!("fold_{number}"),
                    _ => format!("fold_{number}_{at}"),
                };
                named.push((name, *model));
            }
        }
        named
    }

    fn has_any(&self, cases: &[String]) -> bool {
        cases.iter().any(|case| self.by_case.contains_key(case))
    }

    /// Its cases that another configuration lacks.
    fn lacking(&self, other: &TrainedConfiguration) -> Vec<String> {
        self.cases().into_iter().filter(|case| !other.by_case.contains_key(case)).collect()
    }

    /// An error unless another configuration has the same cases and targets, and its folds are
    /// alike.
    fn check_like(&self, other: &TrainedConfiguration) -> Result<()> {
        let (one, two) = (self.name(), other.name());
        if self.cases() != other.cases() {
            let apart = [self.lacking(other), other.lacking(self)].concat();
            let apart: Vec<&String> = apart.iter().collect();
            return Err(Error::failed(format!(
                "'{one}' and '{two}' predict different cases, only one of them {}; give both the \
                 same folds",
                name::shown(&apart)
            )));
        }
        for fold in &other.folds {
            let (known, found) = (self.facts(), &fold.facts);
            if (&known.labels, &known.regions, known.ignore)
                != (&found.labels, &found.regions, found.ignore)
            {
                let stage = &fold.predictions.stage;
                return Err(Error::failed(format!(
                    "'{one}' and '{stage}' have other labels or regions; select among models of \
                     the same"
                )));
            }
        }
        other.check_folds()
    }

    /// An error unless the models of all folds have the same preparation and inference.
    fn check_folds(&self) -> Result<()> {
        let mut cards = vec![];
        for (_, model) in self.models() {
            let card: ModelCard = model.json(CARD)?;
            card.check_single(&model.stage, "'select' joins, for each fold,")?;
            cards.push((model, card));
        }
        let other = cards.iter().find(|(_, card)| {
            card.preparation != cards[0].1.preparation
                || !card.inference.has_windows_of(&cards[0].1.inference)
        });
        match other {
            None => Ok(()),
            Some((model, _)) => Err(Error::failed(format!(
                "models '{}' and '{}' are folds of one configuration, and differ in 'preparation' \
                 or 'inference'; list the folds of a configuration one after the other",
                cards[0].0.stage, model.stage
            ))),
        }
    }
}
