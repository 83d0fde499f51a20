//! `folder`: refers to an existing folder of images and labels, without copying it.

use crate::context::Context;
use crate::dataset::fields::Said;
use crate::dataset::layout;
use crate::dataset::manifest;
use crate::dataset::notes::Notes;
use crate::dataset::pattern::Pattern;
use crate::dataset::patterns::{self, Pairs};
use crate::dataset::{Label, LabelNames, Listing, document, labels, name, numbering};
use crate::error::{Error, Result, Trouble};
use crate::image::nifti::LabelMapping;
use crate::kind::Run;
use crate::stage::{ArtifactType, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::Digest;

pub use crate::dataset::layout::Layout;

/// Refers to an existing folder of images and labels, without copying it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Layout of the folder; `auto` looks at its dataset.json, or at `images` below.
    #[serde(default)]
    pub layout: Layout,
    /// For patterns: the images' names, as "images/{case}_ct.nii.gz"; `*` matches anything but a
    /// slash, and further words in braces lengthen the case's name: "{case}/{visit}/ct.nii.gz"
    /// finds "p1_v2". A list has one pattern for each image channel. A file belongs to the most
    /// specific matching pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Patterns>,
    /// For patterns: where the labels are, as "labels/{case}.nii.gz". Every case must have one,
    /// unless `require_labels` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// A CSV or TSV table with a row for each case, in place of patterns and `dataset.json`:
    /// columns `image` (or `image_NAME` for each channel) and `label` with paths in the folder,
    /// and, if wanted, `case`, `patient` (a split keeps a patient's cases together) and `fold` (a
    /// split into as many folds takes these). Other columns are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PathBuf>,
    /// Label names for 1, 2 and so on, or a mapping from voxel value to name, as {1: edema, 2:
    /// core, 4: enhancing} or {255: tumor}. If the label files hold as many other values as a list
    /// has names, these get the names in order, with a warning. Overrides a dataset.json.
    #[serde(default, skip_serializing_if = "LabelNames::is_empty")]
    pub label_names: LabelNames,
    /// Labels by the voxel values in the label files, as {17: 1, 53: 1, 1035: 2}; all other values
    /// are background. For files with more structures than wanted, or values above 255.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_labels: BTreeMap<String, u8>,
    /// Channel names ("CT", "MRI"): one for each pattern, or, with one pattern, one for each
    /// channel in its files. Overrides a dataset.json.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modality: Vec<String>,
    /// The dataset's name. With a dataset.json, in place of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cases to leave out, as if their files were not there; `*` stands for anything, as in
    /// "*_4d".
    #[serde(default)]
    pub exclude: Vec<String>,
    /// With `true`, a case without a label file is an error if labels are given; with `false` it is
    /// unlabelled. Cases under `test` in a dataset.json, and in imagesTs, may be unlabelled anyway.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub require_labels: bool,
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn is_true(flag: &bool) -> bool {
    *flag
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
    const VERSION: u32 = 2;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const LOCATORS: &'static [&'static str] = &["path", "manifest"];
    const POOL: Pool = Pool::Io;
    const QUICK: bool = true;

    fn check(&self) -> Vec<(String, String)> {
        let names = self.label_names.labels().err().unwrap_or_default().into_iter();
        let names = names.map(|trouble| ("label_names".to_string(), trouble));
        let mapping = labels::mapping(&self.map_labels).err().unwrap_or_default().into_iter();
        let mapping = mapping.map(|trouble| ("map_labels".to_string(), trouble));
        let layout = match (&self.manifest, self.by_patterns()) {
            (Some(_), _) => self.check_manifest(),
            (None, true) => self.check_patterns(),
            (None, false) => {
                let given = [("images", self.images.is_some()), ("labels", self.labels.is_some())];
                let given = given.into_iter().filter(|(_, given)| *given);
                let trouble = "is read with 'layout: patterns' and 'images' only";
                given.map(|(key, _)| (key.to_string(), trouble.to_string())).collect()
            }
        };
        names.chain(mapping).chain(layout).collect()
    }

    fn foresee_listing(&self) -> Option<Listing> {
        self.listing().ok().map(|(listing, _)| listing)
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let (listing, source) = self.listing()?;
        let files = listing.files().map(|name| (name.clone(), self.path.join(name)));
        Ok(files.chain(source.map(|source| (source.name, source.path))).collect())
    }
}

/// The file that lists the cases.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceFile {
    /// The name in recipes and below `source/` in the artifact.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

impl Folder {
    fn check_manifest(&self) -> Vec<(String, String)> {
        let given = [
            ("images", self.images.is_some()),
            ("labels", self.labels.is_some()),
            ("layout", self.layout != Layout::Auto),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        let trouble = "comes from the manifest: leave one of the two out";
        given.map(|(key, _)| (key.to_string(), trouble.to_string())).collect()
    }

    fn check_patterns(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        let mut wrong = |path: &str, trouble: String| mistakes.push((path.to_string(), trouble));
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
        if self.labels.is_some() && self.label_names.labels().is_ok_and(|all| all.is_empty()) {
            let words = "must name the labels: [spleen] for value 1, or {255: tumor} for others";
            wrong("label_names", words.into());
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
}

impl Run for Folder {
    fn run(&self, cx: &Context) -> Result<()> {
        let (listing, source, notes) = self.look()?;
        notes.0.into_iter().for_each(|note| cx.tell(note));
        let listing = numbering::settle(cx, listing, &self.path)?;
        let files: Vec<String> = listing.files().collect();
        let blobs =
            cx.each_case(&files, |name| name, |name| cx.refer(name, &self.path.join(name)))?;
        let digests = files.iter().map(String::as_str).zip(blobs.iter().map(|blob| blob.digest));
        tell_twins(&listing, &digests.collect(), cx);
        if let Some(SourceFile { name, path }) = source {
            cx.refer(&format!("source/{name}"), &path)?;
        }
        cx.create_json("dataset.json", &listing)
    }
}

/// Warns of cases whose images have the same bytes, by copies or by links.
fn tell_twins(listing: &Listing, digests: &BTreeMap<&str, Digest>, cx: &Context) {
    let mut of: BTreeMap<Vec<Digest>, Vec<&str>> = BTreeMap::new();
    for case in &listing.cases {
        let images = case
            .images
            .iter()
            .flat_map(|name| [Some(name.clone()), name::data_of(name)].into_iter().flatten());
        let images = images.filter_map(|name| digests.get(name.as_str()).copied());
        of.entry(images.collect()).or_default().push(&case.name);
    }
    for names in of.into_values().filter(|names| names.len() > 1) {
        cx.warn(format!("cases with the same image: {}", name::shown(&names)));
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

    /// The listing, and its source file, if any. Every file is there.
    pub fn listing(&self) -> Result<(Listing, Option<SourceFile>)> {
        self.look().map(|(listing, source, _)| (listing, source))
    }

    /// The listing, its source file, and remarks on them.
    fn look(&self) -> Result<(Listing, Option<SourceFile>, Notes)> {
        if !self.path.is_dir() {
            return Err(Error::failed(format!("{}: is no folder", self.path.display())));
        }
        let mut notes = Notes::default();
        let (listing, source) = match (&self.manifest, self.by_patterns()) {
            (Some(path), _) => {
                let source = SourceFile { name: "manifest".into(), path: path.clone() };
                (self.listed(path, &mut notes)?, Some(source))
            }
            (None, true) => (self.found(&mut notes)?, None),
            (None, false) => {
                let path = self.path.join("dataset.json");
                let source = SourceFile { name: "dataset.json".into(), path };
                (self.read(&mut notes)?, Some(source))
            }
        };
        let missing: Vec<String> =
            listing.files().filter(|name| !self.path.join(name).is_file()).collect();
        if !missing.is_empty() {
            let (count, names) = (missing.len(), name::shown(&missing));
            let files = if count == 1 { "file is" } else { "files are" };
            return Err(Error::failed(format!(
                "{}: {count} listed {files} not there: {names}",
                self.path.display()
            )));
        }
        listing.tell(&mut notes);
        Ok((listing, source, notes))
    }

    fn read(&self, notes: &mut Notes) -> Result<Listing> {
        let path = self.path.join("dataset.json");
        if !path.exists() {
            return Err(self.no_listing());
        }
        let said = Said {
            labels: self.values()?,
            numbering: self.label_names.numbering(),
            ignore: self.label_names.ignore(),
            map_labels: self.mapping()?,
            modality: &self.modality,
            name: self.name.as_deref(),
            exclude: &self.exclude,
            unlabelled: !self.require_labels,
        };
        let text = document::bytes(&path)?;
        let listing = layout::read(&text, &self.path, self.layout, &said, notes);
        let listing = listing.trouble_at(&path)?;
        layout::tell_beside(&listing, &self.path, notes)?;
        Ok(listing)
    }

    /// Tells a missing dataset.json, and the files found.
    fn no_listing(&self) -> Error {
        let folder = self.path.display();
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut lists: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
        lists.sort();
        let other = match lists.is_empty() {
            true => String::new(),
            false => format!(" (there is {}; a listing must have that name)", name::shown(&lists)),
        };
        Error::failed(format!(
            "{folder}: has no dataset.json{other}; without one, give 'images' patterns"
        ))
    }

    fn values(&self) -> Result<Vec<Label>> {
        self.label_names.labels().map_err(|wrong| Error::failed(wrong.join("; ")))
    }

    fn mapping(&self) -> Result<LabelMapping> {
        labels::mapping(&self.map_labels).map_err(|wrong| Error::failed(wrong.join("; ")))
    }

    fn found(&self, notes: &mut Notes) -> Result<Listing> {
        patterns::read(&self.path, &self.pairs()?, notes)
            .map(|listing| Listing { ignore: self.label_names.ignore(), ..listing })
            .and_then(Listing::checked)
            .and_then(|listing| {
                listing.with_labels(
                    !self.require_labels,
                    |_| self.labels.is_some(),
                    |case| {
                        let pattern = self.labels.as_deref().unwrap_or_default();
                        format!("no '{}'", pattern.replace("{case}", case))
                    },
                    notes,
                )
            })
            .trouble_at(&self.path)
    }

    fn listed(&self, manifest: &Path, notes: &mut Notes) -> Result<Listing> {
        let listing = manifest::read(manifest, &self.path, &self.pairs()?, notes)?;
        let has_labels = listing.labelled().next().is_some();
        Listing { ignore: self.label_names.ignore(), ..listing }
            .checked()
            .and_then(|listing| {
                listing.with_labels(
                    !self.require_labels,
                    |_| has_labels,
                    |_| "no label in its row".into(),
                    notes,
                )
            })
            .trouble_at(manifest)
    }

    fn pairs(&self) -> Result<Pairs<'_>> {
        Ok(Pairs {
            images: self.patterns(),
            labels: self.labels.as_deref(),
            modality: &self.modality,
            values: self.values()?,
            numbering: self.label_names.numbering(),
            map_labels: self.mapping()?,
            name: self.name.as_deref().unwrap_or("dataset"),
            exclude: &self.exclude,
        })
    }
}
