//! Groups files in a folder into images: several files are channels if named like nnU-Net's
//! ("a_0000", "a_0001") or after the model's channels ("a_t1", "a_t2").

use crate::commands::folder_scan::{ImageFile, tokens};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Image name with one file per channel.
pub(super) type Named = (String, Vec<PathBuf>);

/// Groups files into images. Files outside complete channel sets are single images.
pub(super) fn joined(files: &[(ImageFile, PathBuf)], modality: &[String]) -> Vec<Named> {
    let mut sets: BTreeMap<String, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    for (at, (file, _)) in files.iter().enumerate() {
        let numbered = numbered(&file.stem);
        if let Some((base, channel)) = numbered.or_else(|| named(&file.stem, modality)) {
            sets.entry(base).or_default().entry(channel).or_default().push(at);
        }
    }
    sets.retain(|base, set| {
        let name = name_of(base, &files[set.values().next().map_or(0, |files| files[0])].0);
        // A file of the joined image's own name would get the same label map.
        is_complete(set, modality.len()) && !files.iter().any(|(file, _)| file.name() == name)
    });
    let mut images: Vec<Named> = vec![];
    let mut taken = vec![false; files.len()];
    for (base, set) in &sets {
        let members: Vec<usize> = set.values().flatten().copied().collect();
        members.iter().for_each(|at| taken[*at] = true);
        let paths = members.iter().map(|at| files[*at].1.clone()).collect();
        images.push((name_of(base, &files[members[0]].0), paths));
    }
    let single = files.iter().zip(taken).filter(|(_, taken)| !taken);
    images.extend(single.map(|((file, path), _)| (file.name(), vec![path.clone()])));
    images.sort();
    images
}

/// True if each channel has exactly one file.
fn is_complete(set: &BTreeMap<usize, Vec<usize>>, channels: usize) -> bool {
    set.keys().copied().eq(0..channels) && set.values().all(|files| files.len() == 1)
}

/// "a_0001" → a, 1.
fn numbered(stem: &str) -> Option<(String, usize)> {
    let (base, number) = stem.rsplit_once('_')?;
    let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !base.is_empty()).then(|| Some((base.to_string(), number.parse().ok()?)))?
}

/// "a_t1" → a, 0 for channels t1 and t2; "t1" → "", 0.
fn named(stem: &str, modality: &[String]) -> Option<(String, usize)> {
    if modality.len() < 2 {
        return None;
    }
    let words: Vec<&str> = stem.split(['_', '-', '.', ' ']).collect();
    let (at, channel) = words.iter().enumerate().rev().find_map(|(at, word)| {
        Some((at, modality.iter().position(|name| name.eq_ignore_ascii_case(word))?))
    })?;
    // What stands around the word, with its separators.
    let start = words[..at].iter().map(|word| word.len() + 1).sum::<usize>();
    let (before, after) = (&stem[..start.saturating_sub(1)], &stem[start + words[at].len()..]);
    Some((format!("{before}{after}"), channel))
}

/// Image name: its path without extension, or its folder's if nothing else remains.
fn name_of(base: &str, file: &ImageFile) -> String {
    let has_word = !tokens(base).is_empty();
    let parts: Vec<&str> = file.folders.iter().map(String::as_str).collect();
    let own = has_word.then_some(base);
    let name = parts.into_iter().chain(own).collect::<Vec<_>>().join("/");
    if name.is_empty() { file.stem.clone() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(paths: &[&str], modality: &[&str]) -> Vec<(String, usize)> {
        let files: Vec<(ImageFile, PathBuf)> = paths
            .iter()
            .map(|path| (ImageFile::of(path).expect("an image"), PathBuf::from(path)))
            .collect();
        let modality: Vec<String> = modality.iter().map(|name| name.to_string()).collect();
        joined(&files, &modality).into_iter().map(|(name, files)| (name, files.len())).collect()
    }

    fn of(name: &str, files: usize) -> (String, usize) {
        (name.to_string(), files)
    }

    #[test]
    fn numbered_channels_are_one_image_without_the_number() {
        let two = ["a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz"];
        assert_eq!(names(&two, &["T1", "T2"]), [of("a", 2), of("b", 2)]);
        assert_eq!(names(&["s/a_0000.nii.gz"], &["CT"]), [of("s/a", 1)]);
    }

    #[test]
    fn a_row_of_numbered_scans_is_no_set_of_channels() {
        let row = ["scan_0000.nii", "scan_0001.nii", "scan_0002.nii"];
        assert_eq!(names(&row, &["CT"]).len(), 3);
        assert_eq!(names(&row, &["T1", "T2"]).len(), 3);
        assert_eq!(
            names(&["a_0000.nii", "a.nii"], &["CT"]),
            [of("a", 1), of("a_0000", 1)],
            "two images stay two"
        );
    }

    #[test]
    fn channels_are_known_by_the_names_that_the_model_has_for_them() {
        let files = ["p1/p1_T1.nii.gz", "p1/p1_flair.nii.gz", "p2/flair.nii", "p2/t1.nii"];
        let one = |paths: &[&str]| names(paths, &["flair", "t1"]);
        assert_eq!(one(&files[..2]), [of("p1/p1", 2)]);
        assert_eq!(one(&files[2..]), [of("p2", 2)]);
        assert_eq!(names(&["a_t1.nii"], &["t1"]), [of("a_t1", 1)], "one channel has no name");
    }
}
