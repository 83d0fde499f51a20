//! The Medical Segmentation Decathlon's `dataset.json`, in whatever spacing and variety it comes:
//! numbers as strings, "./" before paths, test cases as plain strings, keys in any order.

use crate::dataset::{Case, Label, Listing, name};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More bytes than any listing has: a million cases.
const MOST_BYTES: u64 = 64 << 20;

/// The bytes of the file of a `dataset.json`; one beyond all measure is not read.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let file = File::open(path).map_err(Error::io("read", path))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    match bytes.len() as u64 > MOST_BYTES {
        true => Err(Error::failed(format!(
            "{}: is larger than {} MiB; is it a listing?",
            path.display(),
            MOST_BYTES >> 20
        ))),
        false => Ok(bytes),
    }
}

/// Reads the text of a Decathlon `dataset.json`. Paths become names relative to its folder; whether
/// the files are there is left to the caller.
pub fn read(text: &[u8]) -> Result<Listing> {
    let json = object(text)?;
    let mut cases = vec![];
    for (index, entry) in list(&json, "training")?.iter().enumerate() {
        cases.push(labelled(entry).map_err(|error| at("training", index, error))?);
    }
    for key in ["test", "testing"] {
        for (index, entry) in list(&json, key)?.iter().enumerate() {
            cases.push(unlabelled(entry).map_err(|error| at(key, index, error))?);
        }
    }
    let listing = Listing {
        name: text_of(&json, "name").unwrap_or_else(|| "dataset".into()),
        licence: text_of(&json, "licence").or_else(|| text_of(&json, "license")),
        reference: text_of(&json, "reference"),
        modality: channels(json.get("modality"), "modality")?,
        labels: labels(json.get("labels"))?,
        cases,
    };
    listing.checked()
}

/// The object of a JSON text, a byte order mark before it and bytes that are not UTF-8 forgiven.
pub fn object(text: &[u8]) -> Result<Map<String, Value>> {
    let text = String::from_utf8_lossy(text);
    match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::failed("is JSON, but no object with 'labels' and 'training'")),
        Err(error) => Err(Error::failed(format!("is no JSON: {error}"))),
    }
}

/// A field that is text, unless it is empty.
pub fn text_of(json: &Map<String, Value>, key: &str) -> Option<String> {
    json.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_string)
}

/// Channel names: {"0": "CT"}, ["CT"] or "CT".
pub fn channels(value: Option<&Value>, key: &str) -> Result<Vec<String>> {
    let names = match value {
        Some(Value::String(name)) => vec![Some(name.as_str())],
        Some(Value::Array(names)) => names.iter().map(Value::as_str).collect(),
        Some(Value::Object(fields)) => (0..fields.len())
            .map(|index| {
                fields
                    .iter()
                    .find(|(key, _)| number(key) == Some(index as u64))
                    .and_then(|(_, v)| v.as_str())
            })
            .collect(),
        _ => vec![],
    };
    match names.iter().copied().collect::<Option<Vec<&str>>>() {
        Some(names) if !names.is_empty() => {
            Ok(names.iter().map(|name| name.trim().to_string()).collect())
        }
        _ => Err(Error::failed(format!(
            "'{key}' must name the image channels, as {{\"0\": \"CT\"}}"
        ))),
    }
}

/// Labels by value ({"1": "spleen"}) or by name ({"spleen": 1}), background left out.
pub fn labels(value: Option<&Value>) -> Result<Vec<Label>> {
    let Some(Value::Object(fields)) = value else {
        return Err(Error::failed(
            "'labels' must name the labels, as {\"0\": \"background\", \"1\": \"spleen\"}",
        ));
    };
    let mut labels =
        fields.iter().map(|(key, value)| label(key, value)).collect::<Result<Vec<_>>>()?;
    labels.retain(|label| label.value > 0);
    labels.sort_by_key(|label| label.value);
    Ok(labels)
}

fn label(key: &str, value: &Value) -> Result<Label> {
    let of_value = match value {
        Value::Number(value) => {
            value.as_f64().filter(|value| value.fract() == 0.0 && *value >= 0.0).map(|v| v as u64)
        }
        Value::String(text) => number(text),
        _ => None,
    };
    let (value, name) = match (number(key), value, of_value) {
        (Some(number), Value::String(name), _) => (number, name.as_str()),
        (_, _, Some(number)) => (number, key),
        _ => {
            return Err(Error::failed(format!(
                "label '{key}': must be one number and one name (regions are not known)"
            )));
        }
    };
    match u8::try_from(value) {
        Ok(value) => Ok(Label { value, name: name.trim().to_string() }),
        Err(_) => Err(Error::failed(format!("label '{name}': value {value} is above 255"))),
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn list<'a>(json: &'a Map<String, Value>, key: &str) -> Result<&'a [Value]> {
    match json.get(key) {
        None if key == "training" => Err(Error::failed("has no list 'training'")),
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(Error::failed(format!("'{key}' must be a list"))),
    }
}

fn at(key: &str, index: usize, error: Error) -> Error {
    Error::failed(format!("{key}[{index}]: {error}"))
}

fn labelled(entry: &Value) -> Result<Case> {
    let field = |key: &str| {
        entry
            .get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| Error::failed(format!("must be an object with '{key}'")))
    };
    let label = name::relative(field("label")?)?;
    Ok(Case { label: Some(label), ..case(field("image")?)? })
}

fn unlabelled(entry: &Value) -> Result<Case> {
    match entry.as_str().or_else(|| entry.get("image").and_then(Value::as_str)) {
        Some(path) => case(path),
        None => Err(Error::failed("must be an image's path, or an object with 'image'")),
    }
}

fn case(path: &str) -> Result<Case> {
    let image = name::relative(path)?;
    Ok(Case { name: name::case_name(&image)?, images: vec![image], label: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = r#"{ 
"name": "BRATS", "licence":"CC-BY-SA 4.0" , "tensorImageSize": "4D",
"modality": { "1": "T1w", "0": "FLAIR",
  "3": "T2w", "2": "t1gd" },
 "labels": { "2": "non-enhancing tumor", "0": "background", "1": "edema" },
 "numTraining": "1", "numTest": 2,
 "training":[{"image":"./imagesTr/BRATS_457.nii.gz","label":"./labelsTr/BRATS_457.nii.gz"}],
 "test":["./imagesTs/BRATS_485.nii.gz", {"image": "imagesTs/BRATS_486.nii.gz"}]
 }


"#;

    #[test]
    fn the_odd_formatting_of_the_official_files_is_understood() {
        let listing = read(format!("\u{feff}{ODD}").as_bytes()).unwrap();
        assert_eq!(listing.modality, ["FLAIR", "T1w", "t1gd", "T2w"]);
        assert_eq!(listing.labels[0], Label { value: 1, name: "edema".into() });
        assert_eq!(listing.labels[1].value, 2);
        let names: Vec<_> = listing.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["BRATS_457", "BRATS_485", "BRATS_486"]);
        assert_eq!(listing.cases[0].images, ["imagesTr/BRATS_457.nii.gz"]);
        assert_eq!(listing.cases[0].label.as_deref(), Some("labelsTr/BRATS_457.nii.gz"));
        assert_eq!(listing.cases[1].label, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong =
            |from: &str, to: &str| read(ODD.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert!(wrong("\"training\"", "\"trainings\"").contains("has no list 'training'"));
        assert!(wrong("\"image\":\"./imagesTr", "\"image\":\"../imagesTr").contains("training[0]"));
        assert!(wrong("\"label\":\"./labelsTr", "\"label\":\"/labelsTr").contains("absolute"));
        assert!(wrong("BRATS_485", "BRATS_457").contains("case listed twice: BRATS_457"));
        assert!(wrong("\"2\": \"non", "\"256\": \"non").contains("above 255"));
        assert!(wrong("\"3\": \"T2w\"", "\"4\": \"T2w\"").contains("'modality'"));
        assert!(wrong("\"labels\": {", "\"labels\": [").contains("is no JSON"));
    }
}
