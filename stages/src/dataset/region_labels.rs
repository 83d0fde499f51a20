//! nnU-Net's declaration of regions: `labels` with lists of values, and `regions_class_order`.

use crate::dataset::labels::{Declared, DeclaredLabels, checked};
use crate::dataset::{Label, Region, region};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// True if some name stands for a list of several values.
pub(super) fn are_regions(fields: &Map<String, Value>) -> bool {
    fields.values().any(|value| value.as_array().is_some_and(|values| values.len() > 1))
}

/// Regions in the file's order, the values they are made of as labels, and the value to ignore.
pub(super) fn of_json(
    fields: &Map<String, Value>,
    order: Option<&Value>,
) -> Result<DeclaredLabels, Vec<String>> {
    let (mut regions, mut ignore, mut wrong) = (vec![], vec![], vec![]);
    for (name, value) in fields {
        match (values(value), name.trim().to_lowercase() == "ignore") {
            (None, _) => wrong.push(format!(
                "label '{name}': must be a voxel value from 0 to 255, or a list of them"
            )),
            (Some(values), true) if value.is_number() => ignore.extend(values),
            (Some(_), true) => wrong.push("label 'ignore': must be one value".into()),
            (Some(values), false) if values.iter().all(|value| *value == 0) => {}
            (Some(labels), false) => {
                regions.push(Region { name: name.trim().into(), labels, value: 0 });
            }
        }
    }
    match written(order, regions.len()) {
        Ok(order) => regions.iter_mut().zip(order).for_each(|(region, value)| region.value = value),
        Err(trouble) => wrong.push(trouble),
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let wrong: Vec<String> = region::check(&regions, "labels")
        .into_iter()
        .map(|(at, why)| format!("{at}: {why}"))
        .collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let named = labels(&regions).into_iter().map(|label| (Ok(label.value.into()), label.name));
    let ignore = ignore.into_iter().map(|value: u8| (Ok(value.into()), "ignore".to_string()));
    let all: Vec<Declared> = named.chain(ignore).collect();
    Ok(DeclaredLabels { regions, ..checked(all)? })
}

/// The label values of one entry.
fn values(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Array(values) => values.iter().map(label_value).collect(),
        value => Some(vec![label_value(value)?]),
    }
}

fn label_value(value: &Value) -> Option<u8> {
    value.as_u64().and_then(|value| u8::try_from(value).ok())
}

/// The value that each region is written as.
fn written(order: Option<&Value>, regions: usize) -> Result<Vec<u8>, String> {
    let values = order.and_then(values).filter(|values| values.len() == regions);
    values.ok_or_else(|| {
        format!(
            "regions_class_order: must give the label that is written for each of the {regions} \
             regions, in their order, as [1, 2, 3]"
        )
    })
}

/// The labels that regions are made of, named as a region of a single label, else by value.
fn labels(regions: &[Region]) -> Vec<Label> {
    let values: BTreeSet<u8> = regions.iter().flat_map(|region| region.labels.clone()).collect();
    let alone: BTreeMap<u8, &str> = regions
        .iter()
        .filter(|region| region.labels.len() == 1)
        .map(|region| (region.labels[0], region.name.as_str()))
        .collect();
    let labels = values.iter().map(|value| Label {
        value: *value,
        name: alone.get(value).map_or_else(|| format!("label_{value}"), ToString::to_string),
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(labels: Value, order: Value) -> Result<DeclaredLabels, Vec<String>> {
        of_json(labels.as_object().unwrap(), Some(&order).filter(|order| !order.is_null()))
    }

    #[test]
    fn regions_keep_their_order_and_their_values_become_labels() {
        let brats = json!({
            "background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing": 3,
            "ignore": 4,
        });
        assert!(are_regions(brats.as_object().unwrap()));
        let named = read(brats, json!([1, 2, 3])).unwrap();
        let names: Vec<&str> = named.regions.iter().map(|region| region.name.as_str()).collect();
        assert_eq!(names, ["whole tumor", "tumor core", "enhancing"]);
        assert_eq!(named.regions[1].labels, [2, 3]);
        assert_eq!(named.regions.iter().map(|one| one.value).collect::<Vec<_>>(), [1, 2, 3]);
        let names: Vec<String> = named.labels.iter().map(|label| label.name.clone()).collect();
        assert_eq!(names, ["label_1", "label_2", "enhancing"]);
        assert_eq!(named.ignore, Some(4));
    }

    #[test]
    fn regions_without_their_order_or_with_odd_values_are_refused() {
        let two = json!({ "background": 0, "a": [1, 2], "b": 2 });
        for (labels, order, words) in [
            (two.clone(), Value::Null, "regions_class_order: must give"),
            (two.clone(), json!([1]), "each of the 2 regions"),
            (json!({ "a": [1, 300], "b": 2 }), json!([1, 2]), "label 'a': must be a voxel value"),
            (json!({ "a": [1, 2], "ignore": [3, 4] }), json!([1]), "must be one value"),
            (json!({ "a": [0, 1] }), json!([1]), "without the background"),
        ] {
            let wrong = read(labels, order).unwrap_err().join("; ");
            assert!(wrong.contains(words), "{wrong}");
        }
    }
}
