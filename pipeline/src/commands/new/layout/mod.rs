//! Understands a folder without a listing: finds its images and labels, and pairs them.
//!
//! `forms` lists every way to read a name, `pair` chooses images and labels among them, `patterns`
//! writes them as the kind `folder` reads them, `matched` is the result, `trouble` words a failure.

mod forms;
mod found;
mod matched;
mod pair;
mod patterns;
mod trouble;

use super::voxels::Look;
use crate::commands::folder_scan::{ImageFile, says_label, survey};
use crate::error::Result;
pub(super) use found::Found;
use found::VoxelProbe;
use pair::Pairing;
pub(super) use patterns::OTHER_LABELS;
use std::collections::BTreeMap;
use std::path::Path;

/// More images than this are judged by a part of them.
const MANY: usize = 1500;
/// Names that say nothing: at most so many folders or roles are looked at.
const MOST_GROUPS: usize = 12;
/// Limits for large datasets: files of a folder and subfolders of a folder to look at.
const OF_EACH: usize = 240;

/// Reads the layout of a folder; `look` sees a file's voxels.
pub(super) fn layout(folder: &Path, look: &VoxelProbe) -> Result<Found> {
    let survey = survey(folder)?;
    let images = sample(&usable(&survey.images));
    let by_name = by_name(&images);
    let pairing = by_name.as_ref().filter(|pairing| is_likely(pairing, &images, look));
    let by_values = match pairing {
        Some(_) => None,
        None => by_values(&images, look),
    };
    match pairing.or(by_values.as_ref()) {
        Some(pairing) if !pairing.rivals.is_empty() => {
            Err(trouble::rivals(folder, pairing, &images))
        }
        Some(pairing) => patterns::found(folder, &survey, &images, pairing, look),
        None => Err(trouble::nothing(folder, &survey, by_name.is_some())),
    }
}

/// The files that may be images or labels of the dataset: in BIDS, what is derived is a label or
/// nothing.
fn usable(images: &[ImageFile]) -> Vec<ImageFile> {
    let usable: Vec<ImageFile> = images.iter().filter(|file| !is_aside(file)).cloned().collect();
    if usable.is_empty() { images.to_vec() } else { usable }
}

fn is_aside(file: &ImageFile) -> bool {
    let top = file.folders.first().map_or("", String::as_str);
    matches!(top, "derivatives" | "sourcedata") && !says_label(file, 1)
}

/// All of them, or for large datasets the first of each folder: names that sort alike belong
/// together.
fn sample(images: &[ImageFile]) -> Vec<ImageFile> {
    if images.len() <= MANY {
        return images.to_vec();
    }
    let mut seen: BTreeMap<&[String], BTreeMap<&str, usize>> = BTreeMap::new();
    let few = images.iter().filter(|file| {
        (0..=file.folders.len()).all(|depth| {
            let name = file.folders.get(depth).unwrap_or(&file.stem);
            let names = seen.entry(&file.folders[..depth]).or_default();
            let next = names.len();
            *names.entry(name).or_insert(next) < OF_EACH
        })
    });
    few.take(4 * MANY).cloned().collect()
}

/// Number of leading folders common to all files.
fn shared_folders(images: &[ImageFile]) -> usize {
    let Some(first) = images.first() else { return 0 };
    (0..first.folders.len())
        .take_while(|&depth| {
            images.iter().all(|file| file.folders.get(depth) == first.folders.get(depth))
        })
        .count()
}

fn by_name(images: &[ImageFile]) -> Option<Pairing> {
    let shared = shared_folders(images);
    let labels: Vec<bool> = images.iter().map(|file| says_label(file, shared)).collect();
    pair::pairing(images, &labels)
}

/// True if the first files of a pairing hold what their names say.
fn is_likely(pairing: &Pairing, images: &[ImageFile], look: &VoxelProbe) -> bool {
    let files = pairing.label.pairs.iter().map(|pair| &images[pair.1 as usize].path);
    files.take(2).all(|path| look(path) != Some(Look::Image))
}

/// Names say nothing, or not the truth: the voxels of a few files of each folder, or of each role,
/// decide.
fn by_values(images: &[ImageFile], look: &VoxelProbe) -> Option<Pairing> {
    let mut folders: BTreeMap<&[String], Vec<usize>> = BTreeMap::new();
    for (at, file) in images.iter().enumerate() {
        folders.entry(&file.folders).or_default().push(at);
    }
    let roles: Vec<Vec<usize>> = pair::twins(images)
        .iter()
        .map(|form| form.pairs.iter().map(|pair| pair.1 as usize).collect())
        .collect();
    let folders: Vec<Vec<usize>> = folders.into_values().collect();
    let few = [folders, roles].into_iter().filter(|groups| groups.len() <= MOST_GROUPS);
    few.into_iter().find_map(|groups| of_groups(images, &groups, look))
}

/// The pairing where some groups hold labels and others images. What is named a label and is none
/// is not taken for an image either.
fn of_groups(images: &[ImageFile], groups: &[Vec<usize>], look: &VoxelProbe) -> Option<Pairing> {
    let verdicts: Vec<Option<Look>> =
        groups.iter().map(|group| verdict(images, group, look)).collect();
    let sign = [Look::Label, Look::Whole].into_iter().find(|sign| {
        verdicts.contains(&Some(*sign)) && verdicts.iter().any(|own| *own != Some(*sign))
    })?;
    let shared = shared_folders(images);
    let mut roles = vec![None; images.len()];
    for (group, verdict) in groups.iter().zip(&verdicts) {
        let is_label = *verdict == Some(sign);
        let kept = group.iter().filter(|at| is_label || !says_label(&images[**at], shared));
        kept.for_each(|at| roles[*at] = Some(is_label));
    }
    let (kept, labels): (Vec<ImageFile>, Vec<bool>) =
        images.iter().zip(roles).filter_map(|(file, role)| Some((file.clone(), role?))).unzip();
    let pairing = pair::pairing(&kept, &labels)?;
    Some(pairing.over(&kept, images))
}

/// Content of a group's first readable files; `None` if two of them disagree.
fn verdict(images: &[ImageFile], group: &[usize], look: &VoxelProbe) -> Option<Look> {
    let mut seen = group.iter().take(6).filter_map(|at| look(&images[*at].path));
    let first = seen.next()?;
    seen.take(1).all(|other| other == first).then_some(first)
}
