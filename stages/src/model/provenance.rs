//! The cases that decided a model's weights, including its ancestors' cases, and the guard against
//! scoring a model on them (data leakage). Cases are identified by their images' voxels: renaming,
//! another dataset, file format or preparation does not hide a case.

use crate::image::{VolumeCase, VolumeList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use voxflow_cache::Digest;

/// The cases that decided a model's weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Cases that gave gradients to the model or to an ancestor.
    pub training: Vec<SeenCase>,
    /// Cases by which weights were chosen.
    pub validation: Vec<SeenCase>,
    /// An ancestor has no known cases: the lists may lack some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// A case that a model has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenCase {
    /// The dataset's name.
    pub dataset: String,
    /// The case's name there.
    pub name: String,
    /// Digests of each image file's voxels.
    pub images: Vec<Digest>,
}

/// A case's use in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenAs {
    /// The case was trained on.
    Training,
    /// Weights were chosen by the case.
    Validation,
}

/// A case to be scored that the model has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// The case's name in the scored dataset.
    pub case: String,
    /// Its use in the model's training.
    pub seen: SeenAs,
    /// The case as the model's training named it.
    pub known_as: SeenCase,
}

impl Provenance {
    /// The cases of a new training and its start model. `start` is `None` for training from
    /// scratch, and `Some(None)` for a model without known cases.
    pub fn of(
        training: &VolumeList,
        validation: &VolumeList,
        start: Option<Option<&Provenance>>,
    ) -> Provenance {
        let mut all = match start {
            Some(Some(ancestor)) => ancestor.clone(),
            Some(None) => Provenance { incomplete: true, ..Provenance::default() },
            None => Provenance::default(),
        };
        add(&mut all.training, training);
        add(&mut all.validation, validation);
        all
    }

    /// The cases of all models of an ensemble; `None` if unknown for all.
    pub fn of_all<'a>(
        each: impl Iterator<Item = Option<&'a Provenance>> + Clone,
    ) -> Option<Provenance> {
        let incomplete = each.clone().any(|one| one.is_none_or(|known| known.incomplete));
        let mut all: Option<Provenance> = None;
        for one in each.flatten() {
            let all = all.get_or_insert_with(Provenance::default);
            extend(&mut all.training, &one.training);
            extend(&mut all.validation, &one.validation);
        }
        all.map(|all| Provenance { incomplete, ..all })
    }

    /// Adds cases by which something of the model was chosen.
    pub fn chosen_by(&mut self, validation: &VolumeList) {
        add(&mut self.validation, validation);
    }

    /// The cases among `cases` used for training and, with `chosen`, for selecting weights. A case
    /// counts once; training takes precedence.
    pub fn leaks(&self, cases: &[VolumeCase], chosen: bool) -> Vec<Leak> {
        let mut known: BTreeMap<Digest, (SeenAs, &SeenCase)> = BTreeMap::new();
        let validation = self.validation.iter().filter(|_| chosen);
        let each = validation.map(|case| (SeenAs::Validation, case));
        for (seen, case) in each.chain(self.training.iter().map(|case| (SeenAs::Training, case))) {
            known.extend(case.images.iter().map(|image| (*image, (seen, case))));
        }
        let leaks = cases.iter().filter_map(|case| {
            let found = case.image_digests.iter().filter_map(|image| known.get(image));
            let (seen, known_as) = found.min_by_key(|(seen, _)| *seen == SeenAs::Validation)?;
            Some(Leak { case: case.name.clone(), seen: *seen, known_as: (*known_as).clone() })
        });
        leaks.collect()
    }
}

/// Adds a list's new cases.
fn add(seen: &mut Vec<SeenCase>, list: &VolumeList) {
    let new = list.cases.iter().map(|case| SeenCase {
        dataset: list.dataset.clone(),
        name: case.name.clone(),
        images: case.image_digests.clone(),
    });
    extend(seen, &new.collect::<Vec<_>>());
}

fn extend(seen: &mut Vec<SeenCase>, cases: &[SeenCase]) {
    for new in cases {
        if !seen.contains(new) {
            seen.push(new.clone());
        }
    }
}

/// The leaks in words, each with the case's own name and the model's: "'a' (trained on)".
pub fn leak_words(leaks: &[Leak]) -> String {
    leaks.iter().map(words_of_leak).collect::<Vec<_>>().join(", ")
}

fn words_of_leak(leak: &Leak) -> String {
    let how = match leak.seen {
        SeenAs::Training => "trained on",
        SeenAs::Validation => "weights chosen by it",
    };
    let other = match leak.known_as.name == leak.case {
        true => String::new(),
        false => format!(" as '{}' of '{}'", leak.known_as.name, leak.known_as.dataset),
    };
    format!("'{}' ({how}{other})", leak.case)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(dataset: &str, cases: &[(&str, u8)]) -> VolumeList {
        let case = |(name, image): &(&str, u8)| VolumeCase {
            name: name.to_string(),
            labelled: true,
            shape: [1; 3],
            image_digests: vec![Digest::of(&[*image])],
        };
        serde_json::from_value(serde_json::json!({
            "dataset": dataset, "preparation": { "intensity": { "zscore": "all" } },
            "modality": ["CT"], "labels": [],
            "cases": cases.iter().map(case).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn a_case_is_known_by_its_voxels_under_any_name() {
        let seen = Provenance::of(&list("a", &[("x", 1)]), &list("a", &[("y", 2)]), None);
        let others = list("b", &[("p", 1), ("q", 2), ("r", 3)]);
        let leaks = seen.leaks(&others.cases, true);
        assert_eq!(
            leak_words(&leaks),
            "'p' (trained on as 'x' of 'a'), 'q' (weights chosen by it as 'y' of 'a')"
        );
        assert_eq!(seen.leaks(&others.cases, false).len(), 1);
    }

    #[test]
    fn a_model_inherits_the_cases_of_the_model_it_starts_from() {
        let none = list("a", &[]);
        let first = Provenance::of(&list("a", &[("x", 1)]), &none, None);
        let second = Provenance::of(&list("a", &[("y", 2)]), &none, Some(Some(&first)));
        let third = Provenance::of(&list("a", &[("y", 2)]), &none, Some(Some(&second)));
        assert_eq!(second, third, "a case counts once");
        assert_eq!(third.leaks(&list("c", &[("x", 1)]).cases, false).len(), 1);
        assert!(!third.incomplete);
        assert!(Provenance::of(&none, &none, Some(None)).incomplete);
    }
}
