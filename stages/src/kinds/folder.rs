//! `folder`: refers to an existing folder of images and labels, without copying it.

use super::{ArtifactType, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::dataset::notes::Notes;
use crate::dataset::pattern::Pattern;
use crate::dataset::patterns::{self, Pairs};
use crate::dataset::{LabelNames, Listing, decathlon, name, nnunet};
use crate::error::{Error, Result, Trouble};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Refers to an existing folder of images and labels, without copying it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// How the folder is laid out; `auto` looks at its dataset.json, or at `images` below.
    #[serde(default)]
    pub layout: Layout,
    /// For patterns: where the images are, as "images/{case}_ct.nii.gz"; `*` stands for anything
    /// but a slash. A list has one pattern for each image channel. A file belongs to the pattern
    /// that says most of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Patterns>,
    /// For patterns: where the labels are, as "labels/{case}.nii.gz". Every case must have one,
    /// unless `require_labels` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// For patterns: the names of the labels 1, 2 and so on, or a mapping of voxel value to name,
    /// as {1: edema, 2: core, 4: enhancing} or {255: tumor}.
    #[serde(default, skip_serializing_if = "LabelNames::is_empty")]
    pub label_names: LabelNames,
    /// For patterns: the names of the image channels ("CT", "MRI"): one for each pattern, or, with
    /// one pattern, one for each channel that its files have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modality: Vec<String>,
    /// For patterns: the dataset's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cases to leave out, as if their files were not there.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// A case without a label file is an error where labels are given. With `false` it is
    /// unlabelled. What a dataset.json lists as `test`, and imagesTs, may be unlabelled anyway.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub require_labels: bool,
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn is_true(flag: &bool) -> bool {
    *flag
}

/// How a folder is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// By what is there.
    #[default]
    Auto,
    /// `dataset.json` that lists `training` and `test`, as in the Medical Segmentation Decathlon.
    Decathlon,
    /// `dataset.json` with `channel_names`, files with `_0000` channels, as nnU-Net wants it.
    Nnunet,
    /// Image and label files found by patterns.
    Patterns,
}

/// One pattern, or one for each image channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Patterns {
    /// One.
    One(String),
    /// One for each channel.
    Each(Vec<String>),
}

impl Stage for Folder {
    const NAME: &'static str = "folder";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const LOCATORS: &'static [&'static str] = &["path"];
    const POOL: Pool = Pool::Io;

    fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        let mut wrong = |path: &str, trouble: String| mistakes.push((path.to_string(), trouble));
        if !self.by_patterns() {
            let given = [
                ("images", self.images.is_some()),
                ("labels", self.labels.is_some()),
                ("label_names", !self.label_names.is_empty()),
                ("modality", !self.modality.is_empty()),
                ("name", self.name.is_some()),
            ];
            let given = given.iter().filter(|(_, given)| *given);
            given.for_each(|(key, _)| {
                wrong(key, "is read with 'layout: patterns' and 'images' only".into())
            });
            return mistakes;
        }
        if self.patterns().is_empty() {
            wrong("images", "is missing: give a pattern as \"images/{case}.nii.gz\"".into());
        }
        let (patterns, channels) = (self.patterns().len(), self.modality.len());
        match patterns {
            1 if channels == 0 => wrong("modality", "must name the image channels".into()),
            0 | 1 => {}
            _ if channels == patterns => {}
            _ => wrong(
                "modality",
                format!("must name {patterns} image channels, one for each pattern"),
            ),
        }
        match self.label_names.labels() {
            Err(troubles) => troubles.into_iter().for_each(|trouble| wrong("label_names", trouble)),
            Ok(labels) if labels.is_empty() && self.labels.is_some() => wrong(
                "label_names",
                "must name the labels: [spleen] for value 1, or {255: tumor} for others".into(),
            ),
            Ok(_) => {}
        }
        let mut texts: Vec<&String> = self.patterns().iter().chain(&self.labels).collect();
        texts.sort();
        for twice in texts.windows(2).filter(|pair| pair[0] == pair[1]) {
            wrong("images", format!("pattern '{}' is there twice", twice[0]));
        }
        for (key, text) in self
            .patterns()
            .iter()
            .map(|text| ("images", text))
            .chain(self.labels.iter().map(|l| ("labels", l)))
        {
            match (Pattern::new(text, "case"), name::relative(text)) {
                (Err(error), _) | (_, Err(error)) => wrong(key, error.to_string()),
                _ => {}
            }
        }
        mistakes
    }

    fn foresee_listing(&self) -> Option<Listing> {
        self.listing().ok().map(|(listing, _)| listing)
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let (listing, source) = self.listing()?;
        let files = source.into_iter().chain(listing.files());
        Ok(files.map(|name| (name.clone(), self.path.join(name))).collect())
    }
}

impl Run for Folder {
    fn run(&self, cx: &Context) -> Result<()> {
        let (listing, source, notes) = self.look()?;
        notes.0.into_iter().for_each(|note| cx.tell(note));
        let files: Vec<String> = listing.files().collect();
        cx.each_case(&files, |name| name, |name| cx.refer(name, &self.path.join(name)))?;
        if let Some(name) = source {
            cx.refer(&format!("source/{name}"), &self.path.join(name))?;
        }
        cx.create_json("dataset.json", &listing)
    }
}

impl Folder {
    /// A folder that tells all about itself.
    pub fn at(path: impl Into<PathBuf>) -> Folder {
        Folder { path: path.into(), require_labels: true, ..Folder::default() }
    }

    fn by_patterns(&self) -> bool {
        self.layout == Layout::Patterns || (self.layout == Layout::Auto && self.images.is_some())
    }

    fn patterns(&self) -> &[String] {
        match &self.images {
            None => &[],
            Some(Patterns::One(pattern)) => std::slice::from_ref(pattern),
            Some(Patterns::Each(patterns)) => patterns,
        }
    }

    /// The listing, and the name of the file that it was read from, if any. Every file is there.
    pub fn listing(&self) -> Result<(Listing, Option<String>)> {
        self.look().map(|(listing, source, _)| (listing, source))
    }

    /// The listing, the file that it was read from, and what is worth saying of them.
    fn look(&self) -> Result<(Listing, Option<String>, Notes)> {
        if !self.path.is_dir() {
            return Err(Error::failed(format!("{}: is no folder", self.path.display())));
        }
        let mut notes = Notes::default();
        let (listing, source) = if self.by_patterns() {
            (self.found(&mut notes)?, None)
        } else {
            let listing = self.read()?.without(&self.exclude).trouble_at(&self.path)?;
            (listing, Some("dataset.json".into()))
        };
        let missing: Vec<String> =
            listing.files().filter(|name| !self.path.join(name).is_file()).collect();
        if !missing.is_empty() {
            let (count, names) = (missing.len(), name::shown(&missing));
            return Err(Error::failed(format!(
                "{}: {count} listed files are not there: {names}",
                self.path.display()
            )));
        }
        listing.tell(&mut notes);
        Ok((listing, source, notes))
    }

    fn read(&self) -> Result<Listing> {
        let path = self.path.join("dataset.json");
        if !path.exists() && self.layout == Layout::Auto {
            let folder = self.path.display();
            return Err(Error::failed(format!(
                "{folder}: has no dataset.json; without one, give 'images' patterns"
            )));
        }
        let text = decathlon::bytes(&path)?;
        let nnunet = match self.layout {
            Layout::Auto => nnunet::is_nnunet(&text, &self.path),
            layout => layout == Layout::Nnunet,
        };
        if nnunet { nnunet::read(&text, &self.path) } else { decathlon::read(&text) }
            .trouble_at(&path)
    }

    fn found(&self, notes: &mut Notes) -> Result<Listing> {
        let values = self.label_names.labels().map_err(|wrong| Error::failed(wrong.join("; ")))?;
        let pairs = Pairs {
            images: self.patterns(),
            labels: self.labels.as_deref(),
            modality: &self.modality,
            values,
            name: self.name.as_deref().unwrap_or("dataset"),
            exclude: &self.exclude,
        };
        let listing = patterns::read(&self.path, &pairs, notes)
            .and_then(Listing::checked)
            .trouble_at(&self.path)?;
        match &self.labels {
            Some(pattern) => {
                listing.with_labels(self.require_labels, |case| pattern.replace("{case}", case))
            }
            None => Ok(listing),
        }
        .trouble_at(&self.path)
    }
}
