//! The images named on a command line, as a dataset of cases without labels.

use crate::commands::model::input_file;
use crate::exit::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_stages::Input;
use voxflow_stages::context::write_json;
use voxflow_stages::dataset::name::{case_name, is_hidden};
use voxflow_stages::dataset::{Case, Listing};
use voxflow_stages::image::nifti::{ImageFile, suffix};
use voxflow_stages::model::ModelCard;

/// One image: a file, or one file for each channel.
#[derive(Debug, PartialEq)]
pub struct ImageCase {
    name: String,
    files: Vec<PathBuf>,
}

impl ImageCase {
    /// An error if the result in `out` would take the place of the image itself.
    pub fn spare(&self, out: &Path) -> Result<()> {
        let target = out.join(format!("{}.nii.gz", self.name)).canonicalize().ok();
        match self.files.iter().find(|file| target.is_some() && file.canonicalize().ok() == target)
        {
            Some(file) => Err(Error::usage(format!(
                "image '{}': its label map would take its place; give --out another folder",
                file.display()
            ))),
            None => Ok(()),
        }
    }
}

/// The images in the order given, those of a folder sorted by name. What is wrong is told all at
/// once.
pub fn cases(arguments: &[String]) -> Result<Vec<ImageCase>> {
    let (mut cases, mut troubles): (Vec<ImageCase>, Vec<String>) = (vec![], vec![]);
    for argument in arguments {
        match of_argument(argument) {
            Ok(found) => cases.extend(found),
            Err(error) => troubles.push(error.to_string()),
        }
    }
    let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
    for case in &cases {
        if let Some(other) = seen.insert(&case.name, &case.files[0]) {
            let (one, two) = (other.display(), case.files[0].display());
            troubles.push(format!(
                "images '{one}' and '{two}' would both become '{}'; rename one",
                case.name
            ));
        }
    }
    if troubles.is_empty() { Ok(cases) } else { Err(Error::usage(troubles.join("\n"))) }
}

fn of_argument(argument: &str) -> Result<Vec<ImageCase>> {
    if Path::new(argument).is_dir() {
        return of_folder(Path::new(argument));
    }
    // A file whose own name holds a comma is one file.
    let files: Vec<PathBuf> = match Path::new(argument).is_file() {
        true => vec![argument.into()],
        false => argument.split(',').map(PathBuf::from).collect(),
    };
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => {
            Err(Error::usage(format!("image '{}': there is no such file", missing.display())))
        }
        None => Ok(vec![case(files)?]),
    }
}

fn of_folder(folder: &Path) -> Result<Vec<ImageCase>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_image(path)).collect();
    // Of a pair, the header stands for both.
    let is_second = |path: &PathBuf| {
        let file = ImageFile::at(path);
        file.voxels.as_ref() == Some(path)
    };
    files.retain(|path| !is_second(path));
    files.sort();
    match files.is_empty() {
        true => Err(Error::usage(format!(
            "folder '{}': holds no .nii.gz or .nii file, and no pair of .hdr and .img",
            folder.display()
        ))),
        false => files.into_iter().map(|file| case(vec![file])).collect(),
    }
}

fn is_image(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    path.is_file() && !is_hidden(name) && case_name(name).is_ok()
}

fn case(files: Vec<PathBuf>) -> Result<ImageCase> {
    let name = case_name(&files.first().map(|file| file.display().to_string()).unwrap_or_default());
    Ok(ImageCase { name: name.map_err(|error| Error::usage(format!("image {error}")))?, files })
}

/// The cases as the dataset that the kind `predict` reads, with the channels that the model knows.
pub fn dataset(cases: &[ImageCase], card: &ModelCard, desk: &Path) -> Result<Input> {
    let mut input = Input { stage: "images".into(), ..Input::default() };
    let mut listing = Listing {
        name: "images".into(),
        modality: card.modality.clone(),
        labels: card.labels.clone(),
        ..Listing::default()
    };
    for case in cases {
        let mut images = vec![];
        for (channel, file) in case.files.iter().enumerate() {
            images.push(add(&mut input, &format!("{}/{channel}", case.name), file)?);
        }
        listing.cases.push(Case { name: case.name.clone(), images, label: None });
    }
    let path = desk.join("dataset.json");
    write_json(&path, &listing)?;
    input.files.insert("dataset.json".into(), input_file(path)?);
    Ok(input)
}

/// Adds an image's files under a name without suffix, or with that of a pair; the name.
fn add(input: &mut Input, name: &str, file: &Path) -> Result<String> {
    let file = ImageFile::at(file);
    let name = if file.voxels.is_some() { format!("{name}.hdr") } else { name.to_string() };
    if let (Some(voxels), Some(second)) = (&file.voxels, suffix::second(&name)) {
        input.files.insert(second, input_file(voxels.clone())?);
    }
    input.files.insert(name.clone(), input_file(file.header)?);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for file in files {
            std::fs::create_dir_all(folder.path().join(file).parent().expect("a folder"))
                .expect("a folder");
            std::fs::write(folder.path().join(file), "x").expect("writes");
        }
        folder
    }

    #[test]
    fn a_folder_gives_its_images_sorted_and_nothing_else() {
        let folder = folder(&["b.nii.gz", "a.nii", "._a.nii", "notes.txt"]);
        let names: Vec<String> = cases(&[folder.path().display().to_string()])
            .expect("images")
            .into_iter()
            .map(|case| case.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn two_images_of_one_name_and_one_that_is_missing_are_told_together() {
        let folder = folder(&["x/a.nii.gz", "y/a.nii.gz"]);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let error = cases(&[at("x/a.nii.gz"), at("y/a.nii.gz"), at("none.nii")])
            .expect_err("wrong")
            .to_string();
        assert!(
            error.contains("would both become 'a'")
                && error.contains("none.nii': there is no such file"),
            "{error}"
        );
    }

    #[test]
    fn an_image_is_never_replaced_by_its_own_label_map() {
        let folder = folder(&["a.nii.gz", "b.nii.gz"]);
        let found =
            cases(&[folder.path().join("a.nii.gz").display().to_string()]).expect("an image");
        assert!(
            found[0]
                .spare(folder.path())
                .expect_err("refused")
                .to_string()
                .contains("would take its place")
        );
        found[0].spare(&folder.path().join("out")).expect("another folder");
    }
}
