//! nnU-Net's layout: `dataset.json` with `channel_names`, `labels` by name and `file_ending`, and
//! one file for each channel (`imagesTr/<case>_0000.nii.gz`), or the files of each case under
//! `dataset`. Version 1's `modality` is understood too.

use crate::dataset::document::{object, text_of};
use crate::dataset::entry::{ListEntry, file_name};
use crate::dataset::fields::{self, Said};
use crate::dataset::notes::Notes;
use crate::dataset::tree::Tree;
use crate::dataset::{Case, Listing, name};
use crate::error::{Error, Result, Trouble};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads the text of an nnU-Net `dataset.json` and the folders beside it. Cases are sorted as text,
/// those in `imagesTr` (with their labels) before those in `imagesTs`.
pub fn read(text: &[u8], folder: &Path, said: &Said, notes: &mut Notes) -> Result<Listing> {
    let json = object(text)?;
    let head = fields::head(&json, said, ["channel_names", "modality"], notes)?;
    let ending = ending(&json)?;
    let read = ["labels", "dataset", "training", "test", "file_ending"];
    fields::rest(&json, &read, notes)?;
    let channels = head.modality.len();
    let training =
        FolderPart { folder, images: "imagesTr", labels: "labelsTr", ending: &ending, channels };
    let test = FolderPart { images: "imagesTs", labels: "labelsTs", ..training };
    let mut cases = match json.get("dataset") {
        Some(listed) => self::listed(listed, folder, &head, said.exclude)?,
        None => training.cases(said.exclude, notes)?,
    };
    let first: BTreeSet<String> = cases.iter().map(|case| case.name.clone()).collect();
    fields::count(&json, "numTraining", cases.len(), "cases to train on", notes);
    tell_listed(&json, &first, notes);
    let tests = test.cases(said.exclude, notes)?;
    tell_labelled(&tests, notes);
    cases.extend(tests);
    if cases.is_empty() {
        return Err(training.none());
    }
    cases.sort_by_key(|case| (!first.contains(&case.name), case.label.is_none()));
    let listing = Listing { cases, ..head }.checked()?.without(said.exclude)?;
    listing.with_labels(
        said.unlabelled,
        |name| first.contains(name),
        |case| match json.contains_key("dataset") {
            true => "no 'label' in dataset.json".into(),
            false => format!("no 'labelsTr/{case}{ending}'"),
        },
        notes,
    )
}

/// Channels, labels and regions of a `dataset.json`, without cases.
pub fn head(text: &[u8]) -> Result<Listing> {
    let channel_keys = ["channel_names", "modality"];
    fields::head(&object(text)?, &Said::default(), channel_keys, &mut Notes::default())
}

/// True if a `dataset.json` is nnU-Net's rather than the Decathlon's: by its own words, or for
/// version 1, which keeps the Decathlon's, by the channel number in the files' names.
pub fn is_nnunet(text: &[u8], folder: &Path) -> bool {
    let Ok(json) = object(text) else { return false };
    if json.get("dataset").is_some_and(Value::is_object) {
        return true;
    }
    let spoken = json.contains_key("channel_names") || json.contains_key("file_ending");
    let first = json.get("training").and_then(|list| ListEntry::read(list.get(0)?).ok());
    let Some(path) = first.and_then(|entry| entry.images.into_iter().next()) else {
        return spoken;
    };
    let Some((stem, suffix)) = name::split_suffix(&path) else { return spoken };
    match folder.join(&path).exists() {
        true => spoken && channel(&format!("{stem}{suffix}"), suffix).is_some(),
        false => spoken || folder.join(format!("{stem}_0000{suffix}")).exists(),
    }
}

/// The ending of all files, with its dot and in small letters.
fn ending(json: &Map<String, Value>) -> Result<String> {
    let said = text_of(json, "file_ending").unwrap_or_else(|| ".nii.gz".into());
    let ending = format!(".{}", said.trim_start_matches('.').to_ascii_lowercase());
    match name::split_suffix(&ending) {
        Some(("", _)) => Ok(name::header_of(&ending)),
        _ if ending == ".img" => Ok(".hdr".into()),
        _ => Err(Error::failed(format!(
            "file_ending '{said}': those that can be read are {}; convert the files",
            name::SUFFIX_WORDS
        ))),
    }
}

/// A folder with images, and its labels' folder.
struct FolderPart<'a> {
    folder: &'a Path,
    images: &'static str,
    labels: &'static str,
    ending: &'a str,
    channels: usize,
}

impl FolderPart<'_> {
    /// The folder's cases, each with all its channels and, if present, its label.
    fn cases(&self, exclude: &[String], notes: &mut Notes) -> Result<Vec<Case>> {
        let FolderPart { images: part, channels, .. } = *self;
        let tree = Tree::of_folders(self.folder, [part])?;
        let mut found: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
        let mut strange = vec![];
        for file in tree.images() {
            let plain = file.strip_prefix(part).and_then(|file| file.strip_prefix('/'));
            match plain.and_then(|file| channel(file, self.ending)) {
                Some((case, channel)) => {
                    found.entry(case.into()).or_default().insert(channel, file.into());
                }
                None => strange.push(file),
            }
        }
        tree.tell(notes);
        if !found.is_empty() && !strange.is_empty() {
            let (names, ending) = (name::shown(&strange), self.ending);
            notes.warn(format!(
                "{part}: files that do not end in a channel number and '{ending}' are left out: \
                 {names}"
            ));
        }
        found.retain(|_, files| !files.is_empty());
        let wrong: Vec<&String> = found
            .iter()
            .filter(|(case, has)| {
                !has.keys().copied().eq(0..channels) && !name::is_excluded(case, exclude)
            })
            .map(|(case, _)| case)
            .collect();
        if !wrong.is_empty() {
            let last = channels.saturating_sub(1);
            let wrong = name::shown(&wrong);
            return Err(Error::failed(format!(
                "{part}: the files of channels _0000 to _{last:04} are not those of {wrong}"
            )));
        }
        self.with_labels(found, exclude, notes)
    }

    /// The same with their labels. A label that is nobody's is an error.
    fn with_labels(
        &self,
        found: BTreeMap<String, BTreeMap<usize, String>>,
        exclude: &[String],
        notes: &mut Notes,
    ) -> Result<Vec<Case>> {
        let tree = Tree::of_folders(self.folder, [self.labels])?;
        tree.tell(notes);
        let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
        for file in tree.images() {
            let plain = file.rsplit('/').next().unwrap_or(file);
            let Some((stem, suffix)) = name::split_suffix(plain) else { continue };
            if suffix.eq_ignore_ascii_case(self.ending) {
                labels.insert(stem, file);
            }
        }
        let cases = found.into_iter().map(|(name, images)| Case {
            images: images.into_values().collect(),
            label: labels.remove(name.as_str()).map(str::to_string),
            name,
            ..Case::default()
        });
        let cases: Vec<Case> = cases.collect();
        let alone: Vec<&str> = labels
            .into_iter()
            .filter(|(case, _)| !name::is_excluded(case, exclude))
            .map(|(_, file)| file)
            .collect();
        match alone.is_empty() || cases.is_empty() {
            true => Ok(cases),
            false => {
                let (names, images) = (name::shown(&alone), self.images);
                Err(Error::failed(format!("labels without an image in {images}: {names}")))
            }
        }
    }

    /// Tells the names searched for, and the files found.
    fn none(&self) -> Error {
        let FolderPart { images, ending, folder, .. } = self;
        let holds = match Tree::of(folder) {
            Ok(tree) => tree.holds(),
            Err(error) => error.to_string(),
        };
        Error::failed(format!(
            "no cases in the dataset: looked for '{images}/<case>_0000{ending}' (channel 0; \
             'file_ending' of dataset.json says how names end), but {holds}"
        ))
    }
}

/// The cases under `dataset`: {"case": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}.
fn listed(listed: &Value, folder: &Path, head: &Listing, exclude: &[String]) -> Result<Vec<Case>> {
    let Value::Object(fields) = listed else {
        return Err(Error::failed(
            "'dataset' must say the files of each case, as {\"a\": {\"images\": [\"a.nii.gz\"], \
             \"label\": \"b.nii.gz\"}}",
        ));
    };
    let mut cases = vec![];
    for (case, files) in fields {
        let place = format!("dataset['{case}']");
        let entry = entry_of(files).and_then(|entry| entry.inside(folder)).trouble(&place)?;
        if case.contains('/') || file_name(case, folder).ok().as_deref() != Some(case) {
            return Err(Error::failed(format!(
                "{place}: its name must be that of a file, without slashes"
            )));
        }
        let (has, wanted) = (entry.images.len(), head.modality.len());
        if has != 1 && has != wanted && !name::is_excluded(case, exclude) {
            return Err(Error::failed(format!("{place}: has {has} images for {wanted} channels")));
        }
        let ListEntry { images, label, .. } = entry;
        cases.push(Case { name: case.clone(), images, label, ..Case::default() });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

/// Files under nnU-Net's `images` as those of a list's `image`.
fn entry_of(files: &Value) -> Result<ListEntry> {
    let Value::Object(fields) = files else {
        return Err(Error::failed("must be an object with 'images' and 'label'"));
    };
    let mut fields = fields.clone();
    if let Some(images) = fields.remove("images") {
        fields.insert("image".into(), images);
    }
    ListEntry::read(&Value::Object(fields))
}

/// Version 1 lists its cases too; those in the folder count.
fn tell_listed(json: &Map<String, Value>, found: &BTreeSet<String>, notes: &mut Notes) {
    let Some(Value::Array(items)) = json.get("training") else { return };
    let entries = items.iter().filter_map(|item| ListEntry::read(item).ok());
    let listed: BTreeSet<String> = entries.map(|entry| entry.name()).collect();
    let missing: Vec<&String> = listed
        .iter()
        .filter(|name| {
            !found.contains(*name)
                && !name.strip_suffix("_0000").is_some_and(|name| found.contains(name))
        })
        .collect();
    if !missing.is_empty() {
        let names = name::shown(&missing);
        notes.warn(format!("cases that dataset.json lists have no files in imagesTr: {names}"));
    }
    let beside: Vec<&String> = found
        .iter()
        .filter(|name| !listed.contains(*name) && !listed.contains(&format!("{name}_0000")))
        .collect();
    if !listed.is_empty() && !beside.is_empty() {
        let names = name::shown(&beside);
        notes.warn(format!("cases of imagesTr that dataset.json does not list: {names}"));
    }
}

/// Labels of the test part make labelled cases.
fn tell_labelled(tests: &[Case], notes: &mut Notes) {
    let labelled = tests.iter().filter(|case| case.label.is_some()).count();
    if labelled > 0 {
        notes.warn(format!(
            "{labelled} cases of imagesTs have labels in labelsTs, and are labelled cases like \
             all others: name them in 'testing' of 'split' to keep them apart"
        ));
    }
}

/// "la_003_0000.nii.gz" is channel 0 of "la_003".
fn channel<'a>(file: &'a str, ending: &str) -> Option<(&'a str, usize)> {
    let (stem, suffix) = name::split_suffix(file)?;
    let (case, channel) = stem.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !case.is_empty() && suffix.eq_ignore_ascii_case(ending))
        .then(|| Some((case, channel.parse().ok()?)))?
}
