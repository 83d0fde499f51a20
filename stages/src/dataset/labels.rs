//! Labels: a name for each voxel value, in every form used by datasets and workflows. All wrong
//! declarations are told at once.

use crate::dataset::notes::Notes;
use crate::dataset::{Label, Numbering, Region, name};
use crate::image::nifti::LabelMapping;
use schemars::JsonSchema;
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize, Serialize as Derived};
use serde_json::Value;
use std::collections::BTreeMap;

/// The labels' names in a workflow: a list for the values 1, 2 and so on, or a mapping from value
/// to name (`{1: edema, 4: enhancing}`), as in dataset.json. A mapping counting from 1 equals a
/// list. The name `ignore` is for voxels that nobody annotated.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LabelNames {
    /// Names for 1, 2 and so on.
    List(Vec<String>),
    /// Value to name; name to value is understood too.
    Mapping(BTreeMap<String, Word>),
}

/// Labels by the voxel values in the label files, as {17: 1, 1035: 2}; all mistakes at once.
pub fn mapping(written: &BTreeMap<String, u8>) -> Result<LabelMapping, Vec<String>> {
    let (mut known, mut wrong) = (LabelMapping::new(), vec![]);
    for (from, to) in written {
        match from.parse::<u16>() {
            Ok(value) if value > 0 && *to > 0 && value.to_string() == *from => {
                known.insert(value, *to);
            }
            Ok(_) if *to == 0 => wrong
                .push(format!("'{from}: 0': values that are not listed are background already")),
            _ => wrong.push(format!(
                "'{from}': must be a voxel value from 1 to 65535; 0 is the background"
            )),
        }
    }
    if wrong.is_empty() { Ok(known) } else { Err(wrong) }
}

/// One side of a mapping.
#[derive(Clone, Debug, PartialEq, Derived, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Word {
    /// A name, or a value as text.
    Text(String),
    /// A value.
    Number(serde_json::Number),
}

impl Default for LabelNames {
    fn default() -> LabelNames {
        LabelNames::List(vec![])
    }
}

impl From<Vec<String>> for LabelNames {
    fn from(names: Vec<String>) -> LabelNames {
        LabelNames::List(names)
    }
}

impl From<&[Label]> for LabelNames {
    /// The shorter form with the same meaning.
    fn from(labels: &[Label]) -> LabelNames {
        let counted = labels.iter().zip(1..).all(|(label, value)| label.value == value);
        match counted {
            true => LabelNames::List(labels.iter().map(|label| label.name.clone()).collect()),
            false => {
                let pair =
                    |label: &Label| (label.value.to_string(), Word::Text(label.name.clone()));
                LabelNames::Mapping(labels.iter().map(pair).collect())
            }
        }
    }
}

/// Written in the shorter form: equal meanings are equal recipes.
impl Serialize for LabelNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = match (self.labels(), self.ignore()) {
            (Ok(labels), None) => LabelNames::from(&labels[..]),
            (Ok(labels), Some(value)) => {
                let ignore = Label { value, name: IGNORE.into() };
                let all = labels
                    .iter()
                    .chain([&ignore])
                    .map(|label| (label.value.to_string(), Word::Text(label.name.clone())));
                LabelNames::Mapping(all.collect())
            }
            (Err(_), _) => self.clone(),
        };
        match &written {
            LabelNames::List(names) => names.serialize(serializer),
            LabelNames::Mapping(names) => names.serialize(serializer),
        }
    }
}

impl LabelNames {
    /// True if nothing is named.
    pub fn is_empty(&self) -> bool {
        match self {
            LabelNames::List(names) => names.is_empty(),
            LabelNames::Mapping(names) => names.is_empty(),
        }
    }

    /// The labels without background and 'ignore', by rising value; or all that is wrong with them.
    pub fn labels(&self) -> Result<Vec<Label>, Vec<String>> {
        checked(self.declared()).map(|named| named.labels)
    }

    /// The value of voxels to ignore, if it is named.
    pub fn ignore(&self) -> Option<u8> {
        checked(self.declared()).ok().and_then(|named| named.ignore)
    }

    fn declared(&self) -> Vec<Declared> {
        match self {
            LabelNames::List(names) => {
                let numbered = names.iter().zip(1u32..);
                numbered.map(|(name, value)| (Ok(value.into()), name.clone())).collect()
            }
            LabelNames::Mapping(names) => {
                let entries = names.iter().map(|(key, word)| match word {
                    Word::Text(text) => entry(key, &Value::String(text.clone())),
                    Word::Number(number) => entry(key, &Value::Number(number.clone())),
                });
                entries.collect()
            }
        }
    }
}

impl LabelNames {
    /// The source of the values: those of a list are still to be compared with the label files.
    pub fn numbering(&self) -> Numbering {
        match self.labels().map(|labels| LabelNames::from(&labels[..])) {
            Ok(LabelNames::List(_)) if self.ignore().is_none() => Numbering::Counted,
            _ => Numbering::Given,
        }
    }
}

/// The name of the value of voxels that nobody annotated.
const IGNORE: &str = "ignore";

/// All that a declaration names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeclaredLabels {
    /// The labels without background, by rising value.
    pub labels: Vec<Label>,
    /// The source of their values.
    pub numbering: Numbering,
    /// Unions of labels.
    pub regions: Vec<Region>,
    /// The value of voxels to ignore.
    pub ignore: Option<u8>,
}

/// A declared label: its value, or the trouble with it, and its name.
pub type Declared = (Result<f64, String>, String);

/// Labels by value ({"1": "spleen"}) or by name ({"spleen": 1}), or a list. An unknown background
/// name at value 0 is told.
pub fn of_json(value: Option<&Value>, notes: &mut Notes) -> Result<DeclaredLabels, Vec<String>> {
    let form = "'labels' must name the labels, as {\"0\": \"background\", \"1\": \"spleen\"}";
    let refusal = Err(vec![form.to_string()]);
    match value {
        Some(Value::Object(fields)) => {
            let all: Vec<Declared> = fields.iter().map(|(key, value)| entry(key, value)).collect();
            checked(without_zero(all, notes))
        }
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            let Some(names) = names else { return refusal };
            let (names, numbering) = match names.split_first() {
                None => return refusal,
                Some((first, rest)) if is_background(first) => (rest, Numbering::Counted),
                Some(_) => (&names[..], Numbering::Unclear),
            };
            let pairs = names.iter().zip(1u32..);
            let pairs = pairs.map(|(name, value)| (Ok(value.into()), name.to_string()));
            Ok(DeclaredLabels { numbering, ..checked(pairs.collect())? })
        }
        _ => refusal,
    }
}

/// The same without the background under an unusual name ("brain", "fond"), after a warning. Other
/// people's files use such names; in the files themselves 0 can be nothing else.
fn without_zero(mut declared: Vec<Declared>, notes: &mut Notes) -> Vec<Declared> {
    if declared.iter().filter(|(value, _)| *value == Ok(0.0)).count() == 1 {
        let unusual =
            declared.extract_if(.., |(value, name)| *value == Ok(0.0) && !is_background(name));
        for (_, name) in unusual {
            notes.warn(format!(
                "label '{name}' has value 0 in dataset.json, which is the background: it is \
                 neither learnt nor scored; an organ needs a value from 1 on, in the label files \
                 too"
            ));
        }
    }
    declared
}

/// An entry in a mapping, with the value on either side.
fn entry(key: &str, value: &Value) -> Declared {
    let of_value = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => number(text),
        _ => None,
    };
    match (number(key), value, of_value) {
        (Some(one), _, Some(other)) if one != other => trouble(format!(
            "label '{key}': stands with the number {other}; one of the two must be a name"
        )),
        (Some(number), Value::String(name), _) => (Ok(number), name.clone()),
        (_, _, Some(number)) => (Ok(number), key.to_string()),
        _ => trouble(format!("label '{key}': must be one number and one name, but is {value}")),
    }
}

fn trouble(why: String) -> Declared {
    (Err(why), String::new())
}

fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|_| plain)
}

/// Holds declared labels to the rules: whole values from 0 to 255, each once; names that people can
/// tell apart; the background at 0 and nowhere else.
pub(super) fn checked(declared: Vec<Declared>) -> Result<DeclaredLabels, Vec<String>> {
    let mut wrong = vec![];
    let mut labels: Vec<Label> = vec![];
    for (value, name) in declared {
        let name = name.trim().to_string();
        let label = value.and_then(|value| {
            Ok(Label { value: whole(value).map_err(|why| format!("label '{name}': {why}"))?, name })
        });
        match label.and_then(|label| judged(&label).map(|()| label)) {
            Ok(label) => labels.push(label),
            Err(trouble) => wrong.push(trouble),
        }
    }
    labels.sort_by_key(|label| label.value);
    wrong.extend(doubles(&labels));
    labels.retain(|label| label.value > 0);
    let ignored = labels.extract_if(.., |label| plain(&label.name) == IGNORE).next();
    let ignore = ignored.map(|label| label.value);
    if wrong.is_empty() {
        Ok(DeclaredLabels { labels, ignore, ..DeclaredLabels::default() })
    } else {
        Err(wrong)
    }
}

/// A voxel value that a label map can hold.
fn whole(value: f64) -> Result<u8, String> {
    if value.fract() != 0.0 || !value.is_finite() {
        return Err(format!("value {value} is no whole number"));
    }
    if value < 0.0 {
        return Err(format!("value {value} is below 0"));
    }
    if value > 255.0 {
        return Err(format!(
            "value {value} is above 255, the largest that a label can have; renumber it, in the \
             label files too"
        ));
    }
    Ok(value as u8)
}

/// Checks one label.
fn judged(label: &Label) -> Result<(), String> {
    let Label { value, name } = label;
    match *value {
        _ if name.is_empty() => Err(format!("label value {value}: has no name")),
        0 if !is_background(name) => Err(format!(
            "label '{name}': has value 0, which is the background: give it a value from 1 on, in \
             the label files too, or name 0 'background'"
        )),
        1.. if ["background", "bg"].contains(&plain(name).as_str()) => Err(format!(
            "label '{name}': has value {value}, but the background is 0: leave it out, or give it \
             another name"
        )),
        _ => Ok(()),
    }
}

/// Duplicate values and names. Names differing only in case or spaces are duplicates: nobody could
/// tell them apart in a table.
fn doubles(labels: &[Label]) -> Vec<String> {
    let mut wrong = vec![];
    let mut values: BTreeMap<u8, Vec<&str>> = BTreeMap::new();
    let mut names: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for label in labels {
        values.entry(label.value).or_default().push(&label.name);
        names.entry(plain(&label.name)).or_default().push(&label.name);
    }
    for (value, names) in values.iter().filter(|(_, names)| names.len() > 1) {
        wrong.push(format!("label value listed twice: {value}, of {}", name::shown(names)));
    }
    for names in names.into_values().filter(|names| names.len() > 1) {
        match names.iter().all(|name| *name == names[0]) {
            true => wrong.push(format!("label listed twice: {}", names[0])),
            false => {
                let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
                let names = names.join(" and ");
                wrong.push(format!("labels {names} differ only in capitals or spaces"));
            }
        }
    }
    wrong
}

/// A name without what people do not see: capitals, and how words are set apart.
fn plain(name: &str) -> String {
    let words = name.split(|letter: char| letter.is_whitespace() || letter == '_');
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join(" ")
}

/// True if a name means background: the names usual for value 0.
pub fn is_background(name: &str) -> bool {
    let words = ["bg", "bkg", "none", "nothing", "empty", "void", "null", "clear", "clear label"];
    let more = ["unlabeled", "unlabelled", "unlabel", "no label", "outside", "exterior"];
    let plain = plain(name);
    plain.contains("background") || words.iter().chain(&more).any(|word| plain == *word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: Value) -> Result<Vec<(u8, String)>, String> {
        let names: LabelNames = serde_json::from_value(value).unwrap();
        let labels = names.labels().map_err(|wrong| wrong.join("; "))?;
        Ok(labels.into_iter().map(|label| (label.value, label.name)).collect())
    }

    #[test]
    fn values_have_names_by_list_or_by_mapping_either_way_round() {
        let brats = vec![(1, "edema".into()), (2, "core".into()), (4, "enhancing".into())];
        assert_eq!(said(json!({"1": "edema", "2": "core", "4": "enhancing"})), Ok(brats.clone()));
        assert_eq!(said(json!({"edema": 1, "core": "2", "enhancing": 4.0})), Ok(brats));
        assert_eq!(
            said(json!({"0": "Background", "255": "tumor"})),
            Ok(vec![(255, "tumor".into())])
        );
        assert_eq!(said(json!(["a", "b"])), Ok(vec![(1, "a".into()), (2, "b".into())]));
    }

    #[test]
    fn names_that_people_can_tell_apart_are_two() {
        assert!(said(json!(["rib 1 1", "rib 11", "t1", "t-1"])).is_ok());
    }

    #[test]
    fn what_says_the_same_is_written_in_one_form() {
        let written = |value: Value| {
            serde_json::to_value(serde_json::from_value::<LabelNames>(value).unwrap()).unwrap()
        };
        assert_eq!(written(json!({"2": "b", "0": "background", "1": "a"})), json!(["a", "b"]));
        assert_eq!(written(json!(["a", "b"])), json!(["a", "b"]));
        assert_eq!(written(json!({"tumor": 255})), json!({"255": "tumor"}));
    }

    #[test]
    fn voxels_to_ignore_are_no_label_and_stay_in_the_recipe() {
        let names: LabelNames =
            serde_json::from_value(json!({"1": "a", "2": "b", "3": "Ignore"})).unwrap();
        assert_eq!(names.labels().unwrap().len(), 2);
        assert_eq!(names.ignore(), Some(3));
        assert_eq!(names.numbering(), Numbering::Given);
        let written = json!({"1": "a", "2": "b", "3": "ignore"});
        assert_eq!(serde_json::to_value(&names).unwrap(), written);
    }

    #[test]
    fn labels_that_mean_nothing_are_refused_by_name() {
        for (value, words) in [
            (json!({"0": "liver", "1": "tumor"}), "label 'liver': has value 0"),
            (json!({"liver": 0}), "label 'liver': has value 0"),
            (json!({"1": "background"}), "the background is 0"),
            (json!(["background", "tumor"]), "label 'background': has value 1"),
            (json!({"1": "a", "2": "a"}), "label listed twice: a"),
            (json!({"1": "Tumor", "2": "tumor "}), "differ only in capitals or spaces"),
            (json!({"1": "kidney tumor", "2": "kidney_tumor"}), "differ only in capitals"),
            (json!({"1": "", "2": "b"}), "label value 1: has no name"),
            (json!({"1": "a", "01": "b"}), "label value listed twice: 1"),
            (json!({"256": "a"}), "value 256 is above 255"),
            (json!({"99999999999999999999": "a"}), "is above 255"),
            (json!({"-1": "a"}), "value -1 is below 0"),
            (json!({"1.5": "a"}), "value 1.5 is no whole number"),
            (json!({"1": " "}), "has no name"),
            (json!({"0": "ignore"}), "has value 0"),
            (json!({"1": 2}), "one of the two must be a name"),
            (json!({"a": "b"}), "must be one number and one name"),
        ] {
            let trouble = said(value.clone()).expect_err("a refusal");
            assert!(trouble.contains(words), "{value}: {trouble}");
        }
    }

    #[test]
    fn a_list_in_a_json_counts_from_the_background_or_is_compared_with_the_files() {
        let read = |value: Value| of_json(Some(&value), &mut Notes::default());
        let DeclaredLabels { labels, numbering, .. } =
            read(json!(["background", "a", "b"])).unwrap();
        assert_eq!(labels.iter().map(|label| label.value).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(numbering, Numbering::Counted);
        assert_eq!(read(json!(["a", "b"])).unwrap().numbering, Numbering::Unclear);
        assert!(read(json!([])).unwrap_err()[0].contains("must name the labels"));
    }

    #[test]
    fn a_background_under_a_name_of_its_own_is_told_and_no_label() {
        let mut notes = Notes::default();
        let named = of_json(Some(&json!({"brain": 0, "tumor": 1})), &mut notes).unwrap();
        assert_eq!(named.labels, [Label { value: 1, name: "tumor".into() }]);
        assert!(format!("{notes:?}").contains("label 'brain' has value 0"), "{notes:?}");
        let given = json!({"background": 0, "liver": 0, "a": 1});
        let twice = of_json(Some(&given), &mut notes);
        assert!(twice.unwrap_err()[0].contains("label 'liver': has value 0"));
    }
}
