//! Pairs by patterns: images and labels in a folder without `dataset.json`, found by their names
//! ("images/{case}_*.nii.gz", "labels/{case}.nii.gz", "{case}/t1.nii.gz").
//!
//! A file belongs to the most specific matching pattern: a file matching "{case}_seg.nii.gz" is no
//! image for "{case}.nii.gz".

use crate::dataset::notes::Notes;
use crate::dataset::pattern::Pattern;
use crate::dataset::tree::Tree;
use crate::dataset::{Case, Label, Listing, Numbering, name};
use crate::error::{Error, Result};
use crate::image::nifti::LabelMapping;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Patterns, and facts that the files do not contain.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    /// A pattern with `{case}` for each image channel, or a single pattern for files with several
    /// channels.
    pub images: &'a [String],
    /// The label files' pattern.
    pub labels: Option<&'a str>,
    /// The name of each channel.
    pub modality: &'a [String],
    /// The labels without background.
    pub values: Vec<Label>,
    /// The source of their values.
    pub numbering: Numbering,
    /// The labels by the values in the label files.
    pub map_labels: LabelMapping,
    /// The dataset's name.
    pub name: &'a str,
    /// Cases to leave out, as if their files were missing.
    pub exclude: &'a [String],
}

/// Finds the cases in `folder`: sorted as text, labelled ones first.
pub fn read(folder: &Path, pairs: &Pairs, notes: &mut Notes) -> Result<Listing> {
    let tree = Tree::of(folder)?;
    let texts: Vec<&str> = pairs.images.iter().map(String::as_str).chain(pairs.labels).collect();
    let sought = texts.iter().map(|text| Sought::new(text)).collect::<Result<Vec<_>>>()?;
    let found = deal(&tree, &sought, pairs, notes)?;
    let channels = pairs.images.len();
    let mut cases: Vec<Case> = vec![];
    let names: BTreeSet<&String> = found.iter().flat_map(BTreeMap::keys).collect();
    for name in &names {
        let images = found[..channels].iter().filter_map(|files| files.get(*name).cloned());
        let label = found.get(channels).and_then(|files| files.get(*name).cloned());
        let images = images.collect();
        cases.push(Case { name: name.to_string(), images, label, ..Case::default() });
    }
    cases.sort_by_key(|case| case.label.is_none());
    let listing = Listing {
        name: pairs.name.to_string(),
        modality: pairs.modality.to_vec(),
        labels: pairs.values.clone(),
        numbering: pairs.numbering,
        map_labels: pairs.map_labels.clone(),
        cases,
        ..Listing::default()
    };
    let listing = listing.without(pairs.exclude)?;
    whole(&listing, &found, pairs)?;
    Ok(listing)
}

/// A pattern that is looked for. Its suffix is compared without case, as those of files are.
struct Sought<'a> {
    text: &'a str,
    pattern: Pattern,
}

impl<'a> Sought<'a> {
    fn new(text: &'a str) -> Result<Sought<'a>> {
        let plain = name::header_of(text.trim_start_matches("./"));
        Ok(Sought { text, pattern: Pattern::new(&small_suffix(&plain), "case")? })
    }
}

/// "images/a.NII.GZ" as "images/a.nii.gz".
fn small_suffix(file: &str) -> String {
    match name::split_suffix(file) {
        Some((stem, suffix)) => format!("{stem}{}", suffix.to_ascii_lowercase()),
        None => file.to_string(),
    }
}

/// Each case's file, for each pattern.
fn deal(
    tree: &Tree,
    sought: &[Sought],
    pairs: &Pairs,
    notes: &mut Notes,
) -> Result<Vec<BTreeMap<String, String>>> {
    let mut found = vec![BTreeMap::new(); sought.len()];
    let mut left = vec![];
    for file in tree.images() {
        let plain = small_suffix(file);
        // Of two patterns that say as much, the last is meant: the label's.
        let Some((_, at, case)) = sought
            .iter()
            .enumerate()
            .filter_map(|(at, one)| Some((one.pattern.detail(), at, one.pattern.name_in(&plain)?)))
            .max()
        else {
            left.push(file);
            continue;
        };
        if name::is_excluded(&case, pairs.exclude) && found[at].contains_key(&case) {
            continue;
        }
        if let Some(other) = found[at].insert(case.clone(), file.to_string()) {
            return Err(Error::failed(format!(
                "pattern '{}' finds both '{other}' and '{file}' for case '{case}'",
                sought[at].text
            )));
        }
    }
    if let Some((one, _)) = sought.iter().zip(&found).find(|(_, files)| files.is_empty()) {
        return Err(none(tree, one));
    }
    tree.tell(notes);
    if !left.is_empty() {
        let (count, names) = (left.len(), name::shown(&left));
        notes.info(format!("{count} image files that no pattern finds are left out: {names}"));
    }
    Ok(found)
}

/// Tells the names a pattern searched for, and the files found.
fn none(tree: &Tree, sought: &Sought) -> Error {
    let text = sought.text;
    let taken: Vec<&str> =
        tree.images().filter(|file| sought.pattern.find(&small_suffix(file)).is_some()).collect();
    if !taken.is_empty() {
        let names = name::shown(&taken);
        return Error::failed(format!(
            "pattern '{text}' finds only files that another pattern says more of: {names}"
        ));
    }
    let strange: Vec<&str> =
        tree.others().filter(|file| sought.pattern.find(file).is_some()).collect();
    if !strange.is_empty() {
        let (names, suffixes) = (name::shown(&strange), name::SUFFIX_WORDS);
        return Error::failed(format!(
            "pattern '{text}' finds no image: {names} do not end in {suffixes}; convert them"
        ));
    }
    Error::failed(format!("pattern '{text}' finds no file; {}", tree.holds()))
}

/// Every case has a file of each channel, and every label an image.
fn whole(listing: &Listing, found: &[BTreeMap<String, String>], pairs: &Pairs) -> Result<()> {
    let mut partial = vec![];
    let channels = pairs.images.len();
    for case in listing.cases.iter().filter(|case| !case.images.is_empty()) {
        let lacking: Vec<&str> = (0..channels)
            .filter(|at| !found[*at].contains_key(&case.name))
            .map(|at| pairs.images[at].as_str())
            .collect();
        if !lacking.is_empty() {
            let wanted = lacking.join("', '").replace("{case}", &case.name);
            partial.push(format!("{} (no '{wanted}')", case.name));
        }
    }
    if !partial.is_empty() {
        let names = name::shown(&partial);
        return Err(Error::failed(format!(
            "not every channel has a file for {names}; leave such cases out by 'exclude'"
        )));
    }
    let alone = listing.cases.iter().filter(|case| case.images.is_empty());
    let labels: Vec<&String> = alone.filter_map(|case| case.label.as_ref()).collect();
    match labels.is_empty() {
        true => Ok(()),
        false => Err(Error::failed(format!(
            "labels without an image: {}; leave such cases out by 'exclude'",
            name::shown(&labels)
        ))),
    }
}
