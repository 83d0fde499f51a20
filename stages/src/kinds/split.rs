//! `split`: decides which case is for training, validation and testing.

use crate::context::Context;
use crate::dataset::notes::Notes;
use crate::dataset::pattern::Pattern;
use crate::dataset::splitting::{Order, Rest, Rule, Selection, split};
use crate::dataset::{Case, Listing, Split, datalist};
use crate::error::{Error, Result};
use crate::foresight::Foresight;
use crate::kind::Run;
use crate::stage::{ArtifactType, Count, Demand, Pool, Read, Seed, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Decides which case is for training, validation and testing. Testing is taken first, then
/// validation, then training. Cases without a label become the part `unlabelled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitCases {
    /// Cases to learn from: a count, a list of names, or `rest` for all that the others leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Selection>,
    /// Cases to choose weights and settings by: a count, a list of names, or `rest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Selection>,
    /// Cases to report on: a count, a list of names, or `rest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testing: Option<Selection>,
    /// How counts and folds take cases: by a `hash` of each name, so that a new case moves no
    /// other; or in an order drawn by `seed`, as `listed` in the dataset, or `sorted` as text,
    /// training from the front, testing from the end, validation before it.
    #[serde(default)]
    pub order: Order,
    /// Seed of the order or hash. The split's own: the workflow's seed does not change it.
    #[serde(default)]
    pub seed: u64,
    /// Cross-validation: the cases that testing leaves are dealt into so many folds, or into those
    /// that the dataset's manifest gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<u32>,
    /// The fold to validate on, from 0; the others train. With a datalist: one of its own folds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<u32>,
    /// A pattern finding the patient in a case's name, as "patient{group}_*"; by default the
    /// patients that the dataset's manifest names. Cases from one patient are never on two sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Cases to leave out; `*` stands for anything.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// A JSON file with lists `training`, `validation` and `testing` instead of counts (Clara's and
    /// MONAI's datalists, in which "test" is testing), or nnU-Net's splits_final.json. With `fold`,
    /// that fold's training cases validate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datalist: Option<PathBuf>,
}

impl Stage for SplitCases {
    const NAME: &'static str = "split";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[Read {
        role: "dataset",
        artifact: ArtifactType::Dataset,
        parts: &["dataset.json"],
        count: Count::One,
        doc: "the listing of cases and labels",
    }];
    const MAKES: ArtifactType = ArtifactType::Split;
    const LOCATORS: &'static [&'static str] = &["datalist"];
    const POOL: Pool = Pool::Cpu;
    const QUICK: bool = true;
    const DEMAND: Demand = Demand::HERE;
    const SEED: Seed = Seed::Own;

    fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        let mut wrong =
            |path: &str, trouble: &str| mistakes.push((path.to_string(), trouble.to_string()));
        let parts = [
            ("training", &self.training),
            ("validation", &self.validation),
            ("testing", &self.testing),
        ];
        let rest = parts.iter().filter(|(_, part)| **part == Some(Selection::Rest(Rest::Rest)));
        rest.skip(1).for_each(|(part, _)| wrong(part, "only one part can be 'rest'"));
        match (self.folds, self.fold) {
            (Some(folds), _) if folds < 2 => wrong("folds", "must be at least 2"),
            (Some(folds), Some(fold)) if fold >= folds => {
                wrong("fold", "must be below folds: the first fold is 0")
            }
            (Some(_), None) => {
                wrong("fold", "is missing: say which of the folds validates, from 0")
            }
            (None, Some(_)) if self.datalist.is_none() => {
                wrong("folds", "is missing: say how many folds there are")
            }
            _ => {}
        }
        for (part, selection) in parts {
            if let Some(trouble) = self.trouble_of(part, selection) {
                wrong(part, trouble);
            }
        }
        if self.datalist.is_some() && self.folds.is_some() {
            wrong("folds", "come from the datalist: leave one of the two out");
        }
        if let Some(Err(error)) = self.group.as_deref().map(|text| Pattern::new(text, "group")) {
            wrong("group", &error.to_string());
        }
        mistakes
    }

    /// Folds of a datalist that are not those of the workflow. The first fold's split tells them.
    fn foresee(&self, sight: &Foresight) -> Vec<String> {
        match (&self.datalist, sight.folds, self.fold) {
            (Some(path), Some(count), Some(0)) => datalist::trouble_with_folds(path, count),
            _ => vec![],
        }
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        Ok(self.datalist.iter().map(|path| ("datalist".to_string(), path.clone())).collect())
    }
}

impl SplitCases {
    fn trouble_of(&self, part: &str, selection: &Option<Selection>) -> Option<&'static str> {
        let (listed, folded) = (self.datalist.is_some(), self.folds.is_some());
        match selection {
            Some(_) if listed => Some("comes from the datalist: leave one of the two out"),
            Some(_) if folded && part != "testing" => Some("comes from the folds: leave it out"),
            Some(Selection::Rest(_)) if folded => Some("the folds take the rest: give a number"),
            Some(Selection::Count(0)) if part == "training" => Some("must be at least 1"),
            None if part == "training" && !folded && !listed => {
                Some("is missing: give a number, a list of names, 'rest', folds or a datalist")
            }
            _ => None,
        }
    }
}

impl Run for SplitCases {
    fn run(&self, cx: &Context) -> Result<()> {
        let listing: Listing = cx.input("dataset")?.json("dataset.json")?;
        let (split, notes) = self.of_listing(listing)?;
        notes.0.into_iter().for_each(|note| cx.tell(note));
        let counts = [
            split.training.len(),
            split.validation.len(),
            split.testing.len(),
            split.unlabelled.len(),
        ];
        let [training, validation, testing, unlabelled] = counts;
        cx.info(format!(
            "{training} training, {validation} validation, {testing} testing, \
                         {unlabelled} unlabelled"
        ));
        cx.create_json("split.json", &split)
    }
}

impl SplitCases {
    /// The split of a listing's cases, and notes for people. Reads the datalist, nothing else.
    pub fn of_listing(&self, listing: Listing) -> Result<(Split, Notes)> {
        let listing = listing.without(&self.exclude)?;
        let mut notes = Notes::default();
        let rule = self.rule(&listing, &mut notes)?;
        let (split, more) = split(&listing, &rule)?;
        if split.training.is_empty() {
            return Err(Error::failed("no training case: the other parts take all of them"));
        }
        more.into_iter().for_each(|note| notes.info(note));
        Ok((split, notes))
    }

    fn rule(&self, listing: &Listing, notes: &mut Notes) -> Result<Rule> {
        let group = self.group.as_deref().map(|text| Pattern::new(text, "group")).transpose()?;
        let mut rule = Rule {
            training: self.training.clone(),
            validation: self.validation.clone(),
            testing: self.testing.clone(),
            order: self.order,
            seed: self.seed,
            fold: self.folds.zip(self.fold),
            group,
            patients: told(listing, |case| case.patient.clone()),
            own_folds: told(listing, |case| case.fold),
        };
        if let Some(path) = &self.datalist {
            let parts = datalist::read(path, listing, &self.exclude, self.fold, notes)?;
            [rule.training, rule.validation, rule.testing] =
                parts.map(|names| Some(Selection::Names(names)));
        }
        Ok(rule)
    }
}

/// A fact that the dataset tells of cases, by their names.
fn told<T>(listing: &Listing, fact: fn(&Case) -> Option<T>) -> BTreeMap<String, T> {
    let each = listing.labelled().filter_map(|case| Some((case.name.clone(), fact(case)?)));
    each.collect()
}
