//! The fields shared by every layout's `dataset.json`, their replacements in a workflow, and
//! unknown fields: told once, or refused if they change the data's meaning.

use crate::dataset::document::{channels, count_of, text_of};
use crate::dataset::notes::Notes;
use crate::dataset::{Label, Listing, Numbering, labels, name, region_labels};
use crate::error::{Error, Result};
use crate::image::nifti::LabelMapping;
use serde_json::{Map, Value};

/// A workflow's values in place of those in `dataset.json`.
#[derive(Clone, Debug, Default)]
pub struct Said<'a> {
    /// The labels without background, if any are named.
    pub labels: Vec<Label>,
    /// The source of their values.
    pub numbering: Numbering,
    /// The value of voxels to ignore, if the labels are named.
    pub ignore: Option<u8>,
    /// The labels by the values in the label files.
    pub map_labels: LabelMapping,
    /// The image channels, if any are named.
    pub modality: &'a [String],
    /// The data set's name.
    pub name: Option<&'a str>,
    /// Cases to leave out, as if their files were missing.
    pub exclude: &'a [String],
    /// Labelled lists may hold cases without a label.
    pub unlabelled: bool,
}

/// Fields listing the cases.
pub const LISTS: [&str; 9] =
    ["training", "train", "validation", "val", "valid", "test", "testing", "dataset", "labels"];

/// Fields read by the program, meant for people, or binding no reader.
const READ: [&str; 14] = [
    "regions_class_order",
    "name",
    "licence",
    "license",
    "reference",
    "modality",
    "channel_names",
    "numTraining",
    "numTest",
    "numValidation",
    "file_ending",
    "overwrite_image_reader_writer",
    "description",
    "tensorImageSize",
];

/// Fields changing the meaning of voxels.
const REFUSED: [(&str, &str); 2] = [
    ("ignore_label", "name the value of voxels to ignore in 'labels', as {\"ignore\": 3}"),
    ("ignore_index", "name the value of voxels to ignore in 'labels', as {\"ignore\": 3}"),
];

/// A listing without cases: names, channels and labels. If channels are given under both names, the
/// layout's own counts first.
pub fn head(
    json: &Map<String, Value>,
    said: &Said,
    channel_keys: [&str; 2],
    notes: &mut Notes,
) -> Result<Listing> {
    if let Some((key, why)) = REFUSED.iter().find(|(key, _)| json.contains_key(*key)) {
        return Err(Error::failed(format!("'{key}': {why}")));
    }
    let key = channel_keys.into_iter().find(|key| json.contains_key(*key));
    let key = key.unwrap_or(channel_keys[0]);
    let modality = match said.modality {
        [] => channels(json.get(key), key)?,
        names => names.to_vec(),
    };
    warn_of_two(json, channel_keys, notes);
    let labels::DeclaredLabels { labels, numbering, regions, ignore } = match said.labels.is_empty()
    {
        true => named(json, notes).map_err(|wrong| Error::failed(wrong.join("; ")))?,
        false => labels::DeclaredLabels {
            labels: said.labels.clone(),
            numbering: said.numbering,
            regions: vec![],
            ignore: said.ignore,
        },
    };
    let said_name = said.name.map(str::to_string);
    Ok(Listing {
        name: said_name.or_else(|| text_of(json, "name")).unwrap_or_else(|| "dataset".into()),
        licence: text_of(json, "licence").or_else(|| text_of(json, "license")),
        reference: text_of(json, "reference"),
        modality,
        labels,
        regions,
        ignore,
        map_labels: said.map_labels.clone(),
        numbering,
        cases: vec![],
    })
}

/// Warns if both keys are given with different values.
fn warn_of_two(json: &Map<String, Value>, [counts, does_not]: [&str; 2], notes: &mut Notes) {
    if let (Some(one), Some(other)) = (json.get(counts), json.get(does_not))
        && one != other
    {
        notes.warn(format!("'{counts}' and '{does_not}' differ; '{counts}' counts"));
    }
}

/// The labels, or nnU-Net's regions with the labels that they are made of.
fn named(
    json: &Map<String, Value>,
    notes: &mut Notes,
) -> Result<labels::DeclaredLabels, Vec<String>> {
    match json.get("labels") {
        Some(Value::Object(fields)) if region_labels::are_regions(fields) => {
            region_labels::of_json(fields, json.get("regions_class_order"))
        }
        other => labels::of_json(other, notes),
    }
}

/// Warns if a count in the file differs from the number of its cases.
pub fn count(json: &Map<String, Value>, key: &str, found: usize, what: &str, notes: &mut Notes) {
    if let Some(said) = count_of(json, key).filter(|said| *said != found as u64) {
        notes.warn(format!("'{key}' of dataset.json is {said}, but there are {found} {what}"));
    }
}

/// Tells the fields that nobody reads. A list of cases among them is refused: they would be lost.
pub fn rest(json: &Map<String, Value>, read: &[&str], notes: &mut Notes) -> Result<()> {
    let known: Vec<&str> = read.iter().copied().chain(READ).collect();
    let unread: Vec<&String> = json.keys().filter(|key| !known.contains(&key.as_str())).collect();
    for key in &unread {
        if holds_cases(&json[key.as_str()]) {
            return Err(Error::failed(format!(
                "list '{key}' holds cases, but is not known here; known are 'training', \
                 'validation' and 'test'"
            )));
        }
    }
    if !unread.is_empty() {
        let names = name::shown(&unread);
        notes.info(format!("fields of dataset.json that are not used: {names}"));
    }
    Ok(())
}

/// True if a value looks like an entry in a list of images.
fn is_case(value: &Value) -> bool {
    match value {
        Value::String(path) => name::case_name(path).is_ok(),
        Value::Object(fields) => fields.contains_key("image") || fields.contains_key("images"),
        _ => false,
    }
}

/// True if a value looks like a list of images.
fn holds_cases(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.first().is_some_and(is_case),
        Value::Object(fields) => {
            fields.values().next().is_some_and(|value| value.is_object() && is_case(value))
        }
        _ => false,
    }
}
