//! Expands a sweep into runs: every combination of axis values. `axes` parses the axes.

use super::spec::{Axis, Workflow};
use super::{Override, Setting};
use crate::humanize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Limit on runs per sweep: each keeps a folder and a few open files.
pub const MOST_RUNS: usize = 300;

/// A run in a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Variant number from 1; repetitions share it.
    pub number: usize,
    pub overrides: Vec<Override>,
    /// Swept values by dotted path.
    pub values: BTreeMap<String, Value>,
    /// Paths that merely repeat a variant.
    pub repeats: Vec<String>,
}

impl Workflow {
    /// All runs, the last axis varying fastest; empty without a sweep.
    pub fn variants(&self) -> Vec<Variant> {
        if self.sweep.is_empty() {
            return vec![];
        }
        let first =
            Variant { number: 0, overrides: vec![], values: BTreeMap::new(), repeats: vec![] };
        let mut variants =
            self.sweep.iter().fold(vec![first], |variants: Vec<Variant>, axis: &Axis| {
                variants
                    .iter()
                    .flat_map(|variant| axis.settings.iter().map(|one| variant.with(axis, one)))
                    .collect()
            });
        let repetitions: usize =
            self.sweep.iter().filter(|axis| axis.repeats).map(|axis| axis.settings.len()).product();
        variants
            .iter_mut()
            .enumerate()
            .for_each(|(at, variant)| variant.number = at / repetitions + 1);
        variants
    }
}

impl Variant {
    fn with(&self, axis: &Axis, setting: &[(String, Value)]) -> Variant {
        let mut longer = self.clone();
        for (path, value) in axis.common.iter().chain(setting) {
            let value = Setting::Value(value.clone());
            longer.overrides.push(Override {
                path: path.clone(),
                value,
                place: axis.place.clone(),
            });
        }
        longer.values.extend(setting.iter().cloned());
        longer
            .repeats
            .extend(setting.iter().filter(|_| axis.repeats).map(|(path, _)| path.clone()));
        longer
    }
}

/// Values in `--set` syntax: "model.learning_rate=0.001 split.fold=0".
pub fn in_words<'a>(values: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let words: Vec<String> = values
        .into_iter()
        .map(|(path, value)| format!("{path}={}", humanize::value(value)))
        .collect();
    words.join(" ")
}
