//! A dataset's listing: `dataset.json` in a dataset artifact, in one form for all sources.

use crate::dataset::notes::Notes;
use crate::dataset::{Region, name, region};
use crate::error::{Error, Result};
use crate::image::nifti::LabelMapping;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::iter;

/// Content of a dataset. Paths are names in the dataset artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// The dataset's name ("Spleen").
    pub name: String,
    /// The data's licence, if the source tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The data's origin, if the source gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The name of each image channel, in order ("CT"; "FLAIR", "T1w", …).
    pub modality: Vec<String>,
    /// The labels without background, by rising value.
    pub labels: Vec<Label>,
    /// Unions of labels that the source names for networks to segment; often empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// The value of unannotated voxels, if any: they are neither learnt nor scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<u8>,
    /// The labels by the values in the label files; empty if these are the labels.
    #[serde(default, skip_serializing_if = "LabelMapping::is_empty")]
    pub map_labels: LabelMapping,
    /// Origin of the label values; not stored.
    #[serde(skip)]
    pub numbering: Numbering,
    /// The cases in the source's own order, labelled ones first.
    pub cases: Vec<Case>,
}

/// Origin of the label values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbering {
    /// Each name stands beside its value.
    #[default]
    Given,
    /// A list of names, from value 1 on.
    Counted,
    /// A list that may or may not begin with the background: only as many names as values are
    /// clear.
    Unclear,
}

/// One label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The voxel value, at least 1.
    pub value: u8,
    /// The name.
    pub name: String,
}

/// One case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The name: the file's without suffix ("spleen_8").
    pub name: String,
    /// The image files: a single file (3D, or 4D with channels last), or a file per channel.
    pub images: Vec<String>,
    /// The label file, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The patient, if the source tells it: a split keeps a patient's cases together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The fold for cross-validation, if the source tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<u64>,
}

impl Listing {
    /// True if every channel is CT (values in Hounsfield units).
    pub fn is_ct(&self) -> bool {
        !self.modality.is_empty()
            && self.modality.iter().all(|name| name.eq_ignore_ascii_case("ct"))
    }

    /// The case of that name.
    pub fn case(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// The cases with a label.
    pub fn labelled(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.label.is_some())
    }

    /// The cases that have none.
    pub fn unlabelled(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.label.is_none())
    }

    /// Every image and label file, both of a pair.
    pub fn files(&self) -> impl Iterator<Item = String> {
        let named = self.cases.iter().flat_map(|case| case.images.iter().chain(&case.label));
        named.flat_map(|name| iter::once(name.clone()).chain(name::data_of(name)))
    }

    /// The values that label files may have besides 0: those of the labels and of ignored voxels.
    pub fn declared(&self) -> Vec<u8> {
        self.labels.iter().map(|label| label.value).chain(self.ignore).collect()
    }

    /// A label's name by value.
    pub fn label_name(&self, value: u8) -> &str {
        let named = self.labels.iter().find(|label| label.value == value);
        match named {
            Some(label) => &label.name,
            None if self.ignore == Some(value) => "ignore",
            None => "unnamed",
        }
    }

    /// The error for an unknown case, with the nearest name.
    pub fn no_case(&self, name: &str) -> String {
        match name::nearest(name, self.cases.iter().map(|case| case.name.as_str())) {
            Some(near) => {
                format!("no case '{name}' in dataset '{}'; did you mean '{near}'", self.name)
            }
            None => format!(
                "no case '{name}' among the {} of dataset '{}'",
                self.cases.len(),
                self.name
            ),
        }
    }

    /// The listing without these cases; `*` in a name stands for anything. A name that it does not
    /// have is an error.
    pub fn without(mut self, exclude: &[String]) -> Result<Listing> {
        let unknown: Vec<String> = exclude
            .iter()
            .filter(|text| !self.cases.iter().any(|case| name::is_like(&case.name, text)))
            .map(|name| self.no_case(name))
            .collect();
        if !unknown.is_empty() {
            return Err(Error::failed(format!("exclude: {}", unknown.join("; "))));
        }
        self.cases.retain(|case| !name::is_excluded(&case.name, exclude));
        Ok(self)
    }

    /// Requires a label for every case in training lists: an error naming all without a label, or a
    /// warning if they are `allowed`. `lacks` describes the missing label.
    pub fn with_labels(
        self,
        allowed: bool,
        needs: impl Fn(&str) -> bool,
        lacks: impl Fn(&str) -> String,
        notes: &mut Notes,
    ) -> Result<Listing> {
        let needing = self.cases.iter().filter(|case| needs(&case.name));
        let all = needing.clone().count();
        let lacking: Vec<&str> =
            needing.filter(|case| case.label.is_none()).map(|case| case.name.as_str()).collect();
        if lacking.is_empty() {
            return Ok(self);
        }
        let first = lacks(lacking[0]);
        let names = name::shown(&lacking);
        let words = format!("{} of {all} cases have no label: {names} ({first})", lacking.len());
        match allowed {
            true => notes.warn(words),
            false => {
                return Err(Error::failed(format!(
                    "{words}; leave them out by 'exclude', or give 'require_labels: false' to have \
                     them as unlabelled"
                )));
            }
        }
        Ok(self)
    }

    /// Tells the number of labelled cases, names the unlabelled, and names easily mistaken for each
    /// other.
    pub fn tell(&self, notes: &mut Notes) {
        notes.info(self.amount());
        let mut plain: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for case in &self.cases {
            let name = case.name.trim().to_lowercase();
            plain.entry(name).or_default().push(format!("'{}'", case.name));
        }
        let alike = plain.into_values().filter(|names| names.len() > 1);
        let alike: Vec<String> = alike.map(|names| names.join(" and ")).collect();
        if !alike.is_empty() {
            let names = name::shown(&alike);
            notes.warn(format!("cases whose names differ only in capitals or spaces: {names}"));
        }
    }

    /// "12 labelled, 1 without a label: case02".
    pub fn amount(&self) -> String {
        let without: Vec<&str> = self.unlabelled().map(|case| case.name.as_str()).collect();
        let labelled = self.cases.len() - without.len();
        match without.is_empty() {
            true => format!("{labelled} labelled"),
            false => {
                let (count, names) = (without.len(), name::few(&without, 5));
                format!("{labelled} labelled, {count} without a label: {names}")
            }
        }
    }

    /// Checks every layout's minimum: channels, labels, cases, and no duplicate names.
    pub fn checked(self) -> Result<Listing> {
        if self.modality.is_empty() {
            return Err(Error::failed("no modality: the dataset must name its image channels"));
        }
        if self.cases.is_empty() {
            return Err(Error::failed("no cases in the dataset"));
        }
        if self.labels.is_empty() && self.labelled().next().is_some() {
            return Err(Error::failed("no labels besides background, but cases with label files"));
        }
        let declared = self.declared();
        if let Some((from, to)) = self.map_labels.iter().find(|(_, to)| !declared.contains(to)) {
            return Err(Error::failed(format!(
                "map_labels: {{{from}: {to}}}: no label has the value {to}; name it in \
                 'label_names'"
            )));
        }
        no_doubles("label value", declared.iter().map(u8::to_string))?;
        let values: Vec<u8> = self.labels.iter().map(|label| label.value).collect();
        region::check_against(&self.regions, &values)?;
        no_doubles("label", self.labels.iter().map(|label| label.name.clone()))?;
        no_doubles("case", self.cases.iter().map(|case| case.name.clone()))?;
        no_doubles("file", self.files())?;
        Ok(self)
    }
}

fn no_doubles(what: &str, names: impl Iterator<Item = String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut doubles: Vec<String> = names.filter(|name| !seen.insert(name.clone())).collect();
    doubles.dedup();
    match doubles.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!("{what} listed twice: {}", name::shown(&doubles)))),
    }
}
