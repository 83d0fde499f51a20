//! A look into a folder: what its listing, its headers and some of its voxels say.

use super::draft::{Data, DataSource, Scaling};
use super::layout::layout;
use super::shown;
use super::voxels::{Judge, Values, values};
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use voxflow_stages::dataset::Listing;
use voxflow_stages::dataset::pattern::Pattern;
use voxflow_stages::image::affine::spacing_mm;
use voxflow_stages::image::nifti::read_header;
use voxflow_stages::image::orientation::Orientation;
use voxflow_stages::kinds::folder::Folder;

/// Fewer labelled cases cannot be split into training, validation and testing.
const FEWEST: usize = 3;

/// Looks at a folder in any of the layouts that the kind `folder` knows.
pub(super) fn look(path: &Path) -> Result<Data> {
    match listed(path)? {
        Some(path) => by_listing(&path),
        None => by_patterns(path),
    }
}

/// The folder that holds a dataset.json: this one, or the only one below.
pub(super) fn listed(path: &Path) -> Result<Option<PathBuf>> {
    if has_listing(path) {
        return Ok(Some(path.to_path_buf()));
    }
    let entries = std::fs::read_dir(path).map_err(Error::io("list", path))?;
    let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    below.retain(|folder| has_listing(folder));
    below.sort();
    match below.len() {
        0 | 1 => Ok(below.pop()),
        _ => {
            let names: Vec<String> =
                below.iter().take(3).map(|path| format!("'{}'", path.display())).collect();
            Err(Error::usage(format!(
                "'{}': holds {} datasets: name one of them, as {}",
                path.display(),
                below.len(),
                names.join(", ")
            )))
        }
    }
}

fn has_listing(folder: &Path) -> bool {
    folder.join("dataset.json").is_file()
}

fn by_listing(path: &Path) -> Result<Data> {
    let written = vec![("path".to_string(), json!(path))];
    let listing = listing(&written)?;
    let values = values(path, &listing)?;
    let modality = listing.modality.clone();
    let labels = listing.labels.iter().map(|label| (label.value, label.name.clone())).collect();
    data(Seen { path, written, listing, values, modality, labels, group: None })
}

/// A dataset unpacked in part, with the name of its archive.
pub(super) fn unpacked(path: &Path, name: &str, listing: Listing) -> Result<Data> {
    let values = values(path, &listing)?;
    let modality = listing.modality.clone();
    let labels = listing.labels.iter().map(|label| (label.value, label.name.clone())).collect();
    let seen = Seen { path, written: vec![], listing, values, modality, labels, group: None };
    Ok(Data { name: slug(name), title: name.to_string(), ..data(seen)? })
}

fn by_patterns(path: &Path) -> Result<Data> {
    let judge = Judge::new(path);
    let found = layout(path, &|name| judge.look(name))?;
    let images = match &found.images[..] {
        [one] => json!(one),
        each => json!(each),
    };
    let mut written = vec![
        ("path".to_string(), json!(path)),
        ("layout".to_string(), json!("patterns")),
        ("images".to_string(), images),
        ("labels".to_string(), json!(found.labels)),
    ];
    if !found.exclude.is_empty() {
        written.push(("exclude".into(), json!(found.exclude)));
    }
    let listing = first_listing(&written, &found.channels)?;
    shown::layout(&found);
    shown::other_datasets(path, &found, listing.labelled().count());
    understood(path, written, listing, &found.channels, found.group)
}

/// The listing with stand-ins for what the voxels tell.
pub(super) fn first_listing(written: &[(String, Value)], channels: &[String]) -> Result<Listing> {
    let mut first = written.to_vec();
    first.push(("label_names".into(), json!(["label"])));
    first.push(("modality".into(), json!(channels)));
    first.push(("require_labels".into(), json!(false)));
    listing(&first)
}

/// The data of a folder whose cases are known, by their voxels.
pub(super) fn understood(
    path: &Path,
    mut written: Vec<(String, Value)>,
    mut listing: Listing,
    channels: &[String],
    group: Option<String>,
) -> Result<Data> {
    if listing.unlabelled().next().is_some() {
        written.push(("require_labels".into(), json!(false)));
    }
    let values = values(path, &listing)?;
    let modality = modality(channels, &values);
    let labels: BTreeMap<u8, String> =
        values.labels.iter().map(|value| (*value, format!("label_{value}"))).collect();
    written.push(("modality".into(), json!(modality)));
    written.push(("label_names".into(), names(&labels)));
    listing.modality.clone_from(&modality);
    data(Seen { path, written, listing, values, modality, labels, group })
}

/// The names of labels 1, 2, … as a list, of other values as a mapping.
fn names(labels: &BTreeMap<u8, String>) -> Value {
    let is_row = labels.keys().copied().eq((1..=u8::MAX).take(labels.len()));
    match is_row {
        true => json!(labels.values().collect::<Vec<_>>()),
        false => json!(labels),
    }
}

/// The channels' names: as the files say, else by their values; those of one file with several
/// channels by number.
fn modality(channels: &[String], values: &Values) -> Vec<String> {
    match (channels, &values.has_air[..]) {
        (_, [has_air]) => vec![if *has_air { "CT" } else { "MRI" }.to_string()],
        (names, has_air) if names.len() == has_air.len() => names.to_vec(),
        (_, has_air) => (0..has_air.len()).map(|at| format!("channel_{at}")).collect(),
    }
}

pub(super) fn listing(written: &[(String, Value)]) -> Result<Listing> {
    let with: serde_json::Map<String, Value> = written.iter().cloned().collect();
    let folder: Folder = serde_json::from_value(with.into())
        .map_err(|error| Error::Failed(format!("the draft is wrong: {error}")))?;
    Ok(folder.listing()?.0)
}

/// A folder that was understood.
struct Seen<'a> {
    path: &'a Path,
    written: Vec<(String, Value)>,
    listing: Listing,
    values: Values,
    modality: Vec<String>,
    labels: BTreeMap<u8, String>,
    group: Option<String>,
}

fn data(seen: Seen) -> Result<Data> {
    let Seen { path, listing, values, modality, labels, .. } = seen;
    shown::cases(path, &listing);
    let labelled = listing.labelled().count();
    if labelled < FEWEST {
        return Err(Error::usage(format!(
            "'{}': has {labelled} labelled cases; training, validation and testing need one each",
            path.display()
        )));
    }
    if labels.is_empty() {
        return Err(Error::usage(format!(
            "'{}': all {} label files that were read are empty (only 0)",
            path.display(),
            values.read
        )));
    }
    let headers = headers(path, &listing)?;
    let name = folder_name(path).unwrap_or_else(|| "experiment".into());
    Ok(Data {
        title: format!("{name}, from the folder {}", path.display()),
        name: slug(&name),
        scaling: scalings(&modality, &values),
        source: DataSource::Folder(seen.written),
        regions: listing.regions.clone(),
        modality,
        labels: labels.into_values().collect(),
        partly_read: (values.read < labelled).then_some(values.read),
        labelled,
        unlabelled: listing.unlabelled().count(),
        patients: patients(&listing, seen.group.as_deref())?,
        own_folds: own_folds(&listing),
        shape: headers.shape,
        spacing_mm: headers.spacing_mm,
        group: seen.group,
    })
}

/// A window for each channel of CT, by its name or its values.
fn scalings(modality: &[String], values: &Values) -> Vec<Scaling> {
    let each = modality.iter().enumerate().map(|(at, name)| {
        let has_air = values.has_air.get(at).copied().unwrap_or(false);
        match name.eq_ignore_ascii_case("ct") || has_air {
            true => Scaling::Window(values.window(at)),
            false => Scaling::Zscore,
        }
    });
    each.collect()
}

fn folder_name(path: &Path) -> Option<String> {
    Some(path.canonicalize().ok()?.file_name()?.to_string_lossy().into_owned())
}

/// Number of folds, where all labelled cases have one and these are several.
fn own_folds(listing: &Listing) -> Option<usize> {
    let folds: Option<BTreeSet<u64>> = listing.labelled().map(|case| case.fold).collect();
    folds.map(|folds| folds.len()).filter(|count| *count > 1)
}

/// Patients with a label, as far as the dataset or a pattern tells them; else the cases.
fn patients(listing: &Listing, group: Option<&str>) -> Result<usize> {
    let pattern = group.map(|text| Pattern::new(text, "group")).transpose()?;
    let names = listing.labelled().map(|case| {
        let patient = match &pattern {
            Some(pattern) => pattern.find(&case.name),
            None => case.patient.as_deref(),
        };
        patient.unwrap_or(&case.name)
    });
    Ok(names.collect::<BTreeSet<&str>>().len())
}

/// "Task09 Spleen" → "task09-spleen".
fn slug(name: &str) -> String {
    let kept = name.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }
    });
    let slug: String = kept.collect();
    let slug = slug.trim_matches('-');
    if slug.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        slug.into()
    } else {
        format!("experiment-{slug}")
    }
}

/// The median grid.
struct MedianGrid {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
}

/// The medians over all cases' headers, along the RAS axes.
fn headers(folder: &Path, listing: &Listing) -> Result<MedianGrid> {
    let (mut shapes, mut spacings): (Vec<[usize; 3]>, Vec<[f64; 3]>) = (vec![], vec![]);
    for name in listing.cases.iter().filter_map(|case| case.images.first()) {
        let header = read_header(&folder.join(name), name)?;
        let turn = Orientation::of(&header.affine)?;
        shapes.push(turn.shape(header.shape));
        spacings.push(spacing_mm(&turn.affine(&header.affine, header.shape)));
    }
    let medians = [0, 1, 2].map(|axis| {
        let mut sizes: Vec<usize> = shapes.iter().map(|shape| shape[axis]).collect();
        let mut mm: Vec<f64> = spacings.iter().map(|spacing| spacing[axis]).collect();
        sizes.sort_unstable();
        mm.sort_by(f64::total_cmp);
        sizes.get(sizes.len() / 2).copied().zip(mm.get(mm.len() / 2).copied())
    });
    match medians {
        [Some(x), Some(y), Some(z)] => {
            Ok(MedianGrid { shape: [x.0, y.0, z.0], spacing_mm: [x.1, y.1, z.1] })
        }
        _ => Err(Error::usage(format!("'{}': has no images", folder.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_that_a_workflow_may_have() {
        assert_eq!(
            ["Task09 Spleen", "9 livers", "ä"].map(slug),
            ["task09-spleen", "experiment-9-livers", "experiment-"]
        );
    }
}
