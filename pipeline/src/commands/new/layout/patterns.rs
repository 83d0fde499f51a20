//! Forms as patterns: with endings, with what they find and must not find, and with names for the
//! channels.

use super::super::voxels::Look;
use super::forms::{CASE, Form, PART};
use super::found::{Found, VoxelProbe};
use super::matched::{Matched, group};
use super::pair::Pairing;
use crate::commands::folder_scan::{ImageFile, Survey, says_label};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use voxflow_stages::image::nifti::{Header, read_header};

/// Names of folders that are parts of a dataset.
const PARTS: [&str; 11] = [
    "train",
    "training",
    "tr",
    "val",
    "valid",
    "validation",
    "test",
    "testing",
    "ts",
    "dev",
    "holdout",
];
/// Folders whose names begin with so many equal letters are parts too ("imagesTr", "imagesTs").
const ALIKE: usize = 5;

/// The patterns of a pairing over all files of the folder.
pub(super) fn found(
    folder: &Path,
    survey: &Survey,
    images: &[ImageFile],
    pairing: &Pairing,
    look: &VoxelProbe,
) -> Result<Found> {
    let (channels, aside) = same_grid(&FormFiles { folder, images }, pairing, look);
    let mut unused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (form, reason) in pairing.left.iter().chain(&aside) {
        let names = form.pairs.iter().map(|pair| images[pair.1 as usize].path.clone());
        unused.entry(reason.to_string()).or_default().extend(names);
    }
    let written: Vec<String> = channels.iter().map(|form| text(form, images)).collect();
    let labels = text(&pairing.label, images);
    let (written, cases) = widened(written, &labels, survey)?;
    let exclude = cases.derived(folder);
    let used = cases.files(&exclude);
    let known: BTreeSet<String> = unused.values().flatten().cloned().collect();
    for file in survey.images.iter().filter(|file| !used.contains(file.path.as_str())) {
        if !known.contains(&file.path) {
            let reason = reason(file, &cases);
            unused.entry(reason.into()).or_default().push(file.path.clone());
        }
    }
    Ok(Found {
        channels: names(&channels),
        group: group(&cases, &exclude),
        images: written,
        labels,
        exclude,
        unused,
    })
}

/// The reason of label files that belong to no case.
pub const OTHER_LABELS: &str = "other label files";

fn reason(file: &ImageFile, cases: &Matched) -> &'static str {
    let partial = cases.partial();
    let mut all = cases.images.iter().chain([&cases.labels]).flatten();
    if all.any(|(case, path)| *path == file.path && partial.contains(case)) {
        return "of cases that lack a file";
    }
    let is_found = cases.images.iter().flat_map(BTreeMap::values).any(|path| *path == file.path);
    match (is_found, says_label(file, 0)) {
        (true, _) => "derived from a case's image, or of another kind",
        (false, true) => OTHER_LABELS,
        (false, false) => "other images",
    }
}

/// The image patterns, with a wildcard for a folder whose neighbours hold images of the same names
/// without labels (imagesTr and imagesTs, train and test): these are cases to predict.
fn widened(images: Vec<String>, labels: &str, survey: &Survey) -> Result<(Vec<String>, Matched)> {
    let cases = Matched::new(&images, labels, survey)?;
    let places = images[0].split('/').count() - 1;
    for place in 0..places {
        let Some(wide) = wide_folder(&images, place, survey) else { continue };
        let wider: Vec<String> =
            images.iter().map(|text| with_folder(text, place, &wide)).collect();
        let found = Matched::new(&wider, labels, survey)?;
        let mut channels = cases.images.iter().zip(&found.images);
        if !found.doubled && channels.all(|(own, wide)| is_extended(own, wide)) {
            return Ok((wider, found));
        }
    }
    Ok((images, cases))
}

/// True if a wider pattern finds more cases, and the same file for each case as before.
fn is_extended(own: &BTreeMap<String, String>, wide: &BTreeMap<String, String>) -> bool {
    own.iter().all(|(case, path)| wide.get(case) == Some(path)) && wide.len() > own.len()
}

/// The wildcard for a folder of the patterns and its neighbours, where they are parts of a dataset.
fn wide_folder(images: &[String], place: usize, survey: &Survey) -> Option<String> {
    let own = images[0].split('/').nth(place).filter(|part| !part.contains(['*', '{']))?;
    let depth = images[0].split('/').count() - 1;
    let all = survey.images.iter().filter(|file| file.folders.len() == depth);
    let mut names: BTreeSet<&str> = all.map(|file| file.folders[place].as_str()).collect();
    names.retain(|name| {
        *name == own
            || (is_part(name) && is_part(own))
            || shared_start(&BTreeSet::from([own, *name])).len() >= ALIKE
    });
    let start = Some(shared_start(&names)).filter(|start| start.len() >= ALIKE);
    (names.len() > 1).then(|| format!("{}*", start.unwrap_or_default()))
}

fn is_part(name: &str) -> bool {
    PARTS.contains(&name.to_lowercase().as_str())
}

fn with_folder(text: &str, place: usize, folder: &str) -> String {
    let parts = text.split('/').enumerate();
    let parts = parts.map(|(at, part)| if at == place { folder } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// A form with the ending of its files, and its wildcard folders with what their names share.
fn text(form: &Form, images: &[ImageFile]) -> String {
    let files: Vec<&ImageFile> = form.pairs.iter().map(|pair| &images[pair.1 as usize]).collect();
    let endings: BTreeSet<String> =
        files.iter().map(|file| file.ending.to_ascii_lowercase()).collect();
    let ending = match (files.first(), endings.contains(".hdr")) {
        (Some(file), _) if endings.len() == 1 => file.ending.clone(),
        (_, true) => ".*".to_string(),
        (_, false) => ".nii*".to_string(),
    };
    let mut parts: Vec<String> = form.text.split('/').map(str::to_string).collect();
    let folders = parts.len() - 1;
    for (at, part) in parts.iter_mut().take(folders).enumerate().filter(|(_, part)| *part == "*") {
        let names: BTreeSet<&str> = files.iter().map(|file| file.folders[at].as_str()).collect();
        *part = format!("{}*", shared_start(&names));
    }
    format!("{}{ending}", parts.join("/"))
}

/// "sub-" of sub-01 and sub-02: what names begin with, up to a separator or a digit.
fn shared_start(names: &BTreeSet<&str>) -> String {
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return String::new() };
    let shared: String =
        first.chars().zip(last.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    shared.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_string()
}

/// The files of forms, in a folder.
struct FormFiles<'a> {
    folder: &'a Path,
    images: &'a [ImageFile],
}

impl FormFiles<'_> {
    /// Header of a case's file; `None` without a readable file of the case.
    fn header(&self, form: &Form, case: u32) -> Option<Header> {
        let name = &self.images[form.file(case)? as usize].path;
        read_header(&self.folder.join(name), name).ok()
    }

    /// True if the form's first file holds labels.
    fn holds_labels(&self, form: &Form, look: &VoxelProbe) -> bool {
        let first = form.pairs.first().map(|pair| &self.images[pair.1 as usize].path);
        first.and_then(|path| look(path)) == Some(Look::Label)
    }
}

/// Forms that are no channels, each with the reason.
type SetAside = Vec<(Form, &'static str)>;

/// The channels that lie on the first one's grid and hold no labels; the others with the reason.
fn same_grid(files: &FormFiles, pairing: &Pairing, look: &VoxelProbe) -> (Vec<Form>, SetAside) {
    let mut aside = vec![];
    let mut kept: Vec<Form> = pairing.images.clone();
    if kept.len() > 1 {
        let (labels, plain): (Vec<Form>, Vec<Form>) =
            kept.into_iter().partition(|form| files.holds_labels(form, look));
        if plain.is_empty() {
            kept = labels;
        } else {
            kept = plain;
            let reason = "hold few whole values, as labels do";
            aside.extend(labels.into_iter().map(|form| (form, reason)));
        }
    }
    let mut cases = pairing.label.pairs.iter().map(|pair| pair.0);
    let label = cases.find_map(|case| Some((case, files.header(&pairing.label, case)?)));
    match label {
        Some((case, label)) if kept.len() > 1 => on_grid(files, kept, (case, &label), aside),
        _ => (kept, aside),
    }
}

/// The forms whose file of one case lies on the label's grid and has a single channel; the others
/// join those set aside.
fn on_grid(
    files: &FormFiles,
    forms: Vec<Form>,
    (case, label): (u32, &Header),
    mut aside: SetAside,
) -> (Vec<Form>, SetAside) {
    let (same, other): (Vec<Form>, Vec<Form>) = forms
        .into_iter()
        .partition(|form| files.header(form, case).is_none_or(|header| is_same(&header, label)));
    let (mut kept, mut many): (Vec<Form>, Vec<Form>) = same
        .into_iter()
        .partition(|form| files.header(form, case).is_none_or(|header| header.channels == 1));
    if kept.is_empty() && !many.is_empty() {
        kept.push(many.remove(0));
    }
    aside.extend(many.into_iter().map(|form| (form, "several channels in a file")));
    if kept.is_empty() {
        return (other, aside);
    }
    aside.extend(other.into_iter().map(|form| (form, "on another grid than the label")));
    (kept, aside)
}

fn is_same(one: &Header, other: &Header) -> bool {
    let mut shapes = [one.shape, other.shape];
    shapes.iter_mut().for_each(|shape| shape.sort_unstable());
    shapes[0] == shapes[1]
}

/// The channels' names: what differs between their forms.
fn names(channels: &[Form]) -> Vec<String> {
    let words: Vec<Vec<String>> = channels
        .iter()
        .map(|form| {
            let text = form.text.replace(CASE, "").replace(PART, "").replace('*', "");
            let parts = text.split(|letter: char| !letter.is_alphanumeric());
            parts.filter(|part| !part.is_empty()).map(str::to_string).collect()
        })
        .collect();
    let names: Vec<String> =
        words.iter().enumerate().map(|(at, own)| distinct_name(at, own, &words)).collect();
    let distinct: BTreeSet<&String> = names.iter().collect();
    match distinct.len() == names.len() {
        true => names,
        false => (0..names.len()).map(|at| format!("channel_{at}")).collect(),
    }
}

/// The words of a channel that not all channels have, if they are more than a number.
fn distinct_name(at: usize, own: &[String], channels: &[Vec<String>]) -> String {
    let distinct: Vec<&str> = own
        .iter()
        .filter(|word| !channels.iter().all(|words| words.contains(word)))
        .map(String::as_str)
        .collect();
    let name = distinct.join("_");
    match name.chars().all(|letter| letter.is_ascii_digit()) {
        true => format!("channel_{at}"),
        false => name,
    }
}
