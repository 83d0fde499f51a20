//! A sweep: the runs that its lists of values come to, every value with every other.

use super::{Override, Setting, Workflow};
use serde_json::Value;
use std::collections::BTreeMap;

impl Workflow {
    /// The overrides of each run of the sweep, the last path varying fastest. Without a sweep, none.
    pub fn variants(&self) -> Vec<Vec<Override>> {
        if self.sweep.is_empty() {
            return vec![];
        }
        self.sweep.iter().fold(vec![vec![]], |variants, sweeping| {
            let setting = |value: &Value| Override {
                path: sweeping.path.clone(),
                value: Setting::Value(value.clone()),
                place: sweeping.place.clone(),
            };
            let longer = |variant: &Vec<Override>, value| variant.iter().cloned().chain([setting(value)]).collect();
            variants
                .iter()
                .flat_map(|variant| sweeping.values.iter().map(move |value| longer(variant, value)))
                .collect()
        })
    }
}

/// The values of one variant by path.
pub fn values(variant: &[Override]) -> BTreeMap<String, Value> {
    let value = |setting: &Setting| match setting {
        Setting::Value(value) => value.clone(),
        Setting::Text(text) => text.as_str().into(),
    };
    variant.iter().map(|setting| (setting.path.clone(), value(&setting.value))).collect()
}
