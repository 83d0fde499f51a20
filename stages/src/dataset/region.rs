//! Regions: unions of labels that a network segments instead of the labels, as BraTS scores them.

use crate::dataset::name;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A region: an output of a network that is trained for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The name.
    pub name: String,
    /// The values of the labels that it is made of.
    pub labels: Vec<u8>,
    /// The label that a prediction gets in the region. Regions are written one after the other, so
    /// that later ones stay where they overlap.
    pub value: u8,
}

/// Mistakes in regions: pairs of a parameter's path below `path`, and the trouble.
pub fn check(regions: &[Region], path: &str) -> Vec<(String, String)> {
    let mut names = BTreeSet::new();
    let mut mistakes = vec![];
    for (index, region) in regions.iter().enumerate() {
        let mut wrong = |field: &str, trouble: &str| {
            mistakes.push((format!("{path}.{index}.{field}"), trouble.to_string()));
        };
        if region.name.trim().is_empty() || !names.insert(region.name.trim().to_lowercase()) {
            wrong("name", "must be a name of its own");
        }
        let values: BTreeSet<&u8> = region.labels.iter().collect();
        if values.is_empty() || values.len() < region.labels.len() || values.contains(&0) {
            wrong("labels", "must be values of labels, each once, without the background");
        }
        if region.value == 0 {
            wrong("value", "must be the value of a label, not the background");
        }
    }
    mistakes
}

/// Errors if regions are made of, or written as, other values than those of labels.
pub fn check_against(regions: &[Region], known: &[u8]) -> Result<()> {
    for region in regions {
        let mut values = region.labels.iter().chain([&region.value]);
        if let Some(value) = values.find(|value| !known.contains(value)) {
            let all: Vec<String> = known.iter().map(u8::to_string).collect();
            return Err(Error::failed(format!(
                "regions: '{}' has the value {value}, and the labels have {}",
                region.name,
                name::shown(&all)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str, labels: &[u8], value: u8) -> Region {
        Region { name: name.into(), labels: labels.to_vec(), value }
    }

    #[test]
    fn regions_have_names_labels_and_a_value_of_the_dataset() {
        let brats = [region("whole", &[1, 2, 3], 1), region("core", &[2, 3], 2)];
        assert_eq!(check(&brats, "regions"), []);
        assert!(check_against(&brats, &[1, 2, 3]).is_ok());
        let words = check_against(&brats, &[1, 2]).unwrap_err().to_string();
        assert!(words.contains("'whole' has the value 3, and the labels have 1, 2"), "{words}");
        let wrong = [region("a", &[0], 1), region("A ", &[1, 1], 0)];
        let paths: Vec<String> = check(&wrong, "regions").into_iter().map(|(at, _)| at).collect();
        assert_eq!(
            paths,
            ["regions.0.labels", "regions.1.name", "regions.1.labels", "regions.1.value"]
        );
    }
}
