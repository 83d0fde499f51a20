//! Images from the command line, as a dataset without labels.

use super::channels::{Named, joined};
use crate::commands::folder_scan::{ImageFile, foreign_files, says_label, survey};
use crate::commands::model::input_file;
use crate::error::{Error, Result};
use crate::humanize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_stages::Input;
use voxflow_stages::context::write_json;
use voxflow_stages::dataset::foreign::{foreign, tilde};
use voxflow_stages::dataset::name::header_of;
use voxflow_stages::dataset::{Case, Listing};
use voxflow_stages::image::Volume;
use voxflow_stages::image::case::{channels, read_channel};
use voxflow_stages::image::nifti::{self, read_header};
use voxflow_stages::model::ModelCard;

/// An image: one file, or one per channel.
#[derive(Debug, PartialEq)]
pub struct ImageCase {
    /// Name for its label map, including subfolders.
    name: String,
    files: Vec<PathBuf>,
}

/// Images, and notes about skipped files.
#[derive(Debug, Default)]
pub struct Images {
    pub cases: Vec<ImageCase>,
    pub notes: Vec<String>,
}

impl ImageCase {
    /// Errors if the output would overwrite the image.
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

    /// Name for its label map.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its channels. Errors if they cannot be read.
    pub fn channels(&self) -> Result<Vec<Volume<f32>>> {
        let files: Vec<nifti::ImageFile> = self.files.iter().map(nifti::ImageFile::from).collect();
        let count = channels(&files)?;
        (1..=count).map(|channel| Ok(read_channel(&files, channel)?)).collect()
    }

    /// Reason why the model cannot read the image, judged by its headers. Damaged files are
    /// reported on reading.
    fn trouble(&self, modality: &[String]) -> Option<String> {
        let headers = self.files.iter().map(|file| read_header(file, &file.display().to_string()));
        let headers: Vec<_> = headers.collect::<std::result::Result<_, _>>().ok()?;
        let channels: usize = headers.iter().map(|header| header.channels).sum();
        if channels == modality.len() {
            return None;
        }
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let (has, reads) = (
            humanize::count(channels as u64, "channel"),
            humanize::count(modality.len() as u64, "channel"),
        );
        Some(format!(
            "image '{}': has {has}, and the model reads {reads} ({})",
            files.join(","),
            modality.join(", ")
        ))
    }
}

impl Images {
    /// Images in argument order, folders sorted by name; label maps in `out` are skipped. All
    /// problems are reported together.
    pub fn of(arguments: &[String], modality: &[String], out: &Path) -> Result<Images> {
        let mut images = Images::default();
        let mut troubles: Vec<String> = vec![];
        for argument in arguments {
            match images.add(argument, modality, out) {
                Ok(()) => {}
                Err(error) => troubles.push(error.to_string()),
            }
        }
        troubles.extend(images.same_names());
        let unfit: Vec<String> =
            images.cases.iter().filter_map(|case| case.trouble(modality)).collect();
        if !unfit.is_empty() {
            troubles.extend(unfit);
            if modality.len() > 1 {
                troubles.push(
                    "the channels of an image lie in one 4D file, in files joined by commas, or in \
                     files NAME_0000, NAME_0001 and so on of a folder"
                        .into(),
                );
            }
        }
        if troubles.is_empty() { Ok(images) } else { Err(Error::usage(troubles.join("\n"))) }
    }

    fn add(&mut self, argument: &str, modality: &[String], out: &Path) -> Result<()> {
        let found = match Path::new(argument).is_dir() {
            true => self.of_folder(Path::new(argument), modality, out)?,
            false => vec![of_files(argument, modality)?],
        };
        self.cases.extend(found.into_iter().map(|(name, files)| ImageCase { name, files }));
        Ok(())
    }

    fn of_folder(&mut self, folder: &Path, modality: &[String], out: &Path) -> Result<Vec<Named>> {
        let survey = survey(folder)?;
        let own = |path: &str| folder.join(path);
        let out =
            out.canonicalize().ok().filter(|out| Some(out) != folder.canonicalize().ok().as_ref());
        let is_result = |file: &ImageFile| match (&out, own(&file.path).canonicalize()) {
            (Some(out), Ok(path)) => path.starts_with(out),
            _ => false,
        };
        let files: Vec<ImageFile> =
            survey.images.into_iter().filter(|file| !is_result(file)).collect();
        let (labels, images): (Vec<ImageFile>, Vec<ImageFile>) =
            files.into_iter().partition(|file| says_label(file, 0));
        // Where all names say label, they say nothing.
        let (images, labels) = if images.is_empty() { (labels, vec![]) } else { (images, labels) };
        if images.is_empty() {
            return Err(Error::usage(nothing_in(folder, &survey.others)));
        }
        self.notes.extend(left_out(folder, &labels));
        let mut folders: BTreeMap<Vec<String>, Vec<(ImageFile, PathBuf)>> = BTreeMap::new();
        for file in images {
            let path = own(&file.path);
            folders.entry(file.folders.clone()).or_default().push((file, path));
        }
        let mut found: Vec<Named> =
            folders.values().flat_map(|files| joined(files, modality)).collect();
        found.sort();
        Ok(found)
    }

    /// Errors for images with equal output names.
    fn same_names(&self) -> Vec<String> {
        let mut seen: BTreeMap<&str, &Path> = BTreeMap::new();
        let mut troubles = vec![];
        for case in &self.cases {
            if let Some(other) = seen.insert(&case.name, &case.files[0]) {
                let (one, two) = (other.display(), case.files[0].display());
                troubles.push(format!(
                    "images '{one}' and '{two}' would both become '{}'; rename one, or give each a \
                     call and an --out of its own",
                    case.name
                ));
            }
        }
        let doubled = self.cases.iter().filter_map(|case| {
            let other = format!("{}_probabilities", case.name);
            let other = self.cases.iter().find(|own| own.name == other)?;
            Some(format!(
                "image '{}': has the name of the probabilities of '{}'; rename it",
                other.files[0].display(),
                case.files[0].display()
            ))
        });
        troubles.extend(doubled);
        troubles
    }
}

/// Note about skipped label files.
fn left_out(folder: &Path, labels: &[ImageFile]) -> Option<String> {
    let few: Vec<&str> = labels.iter().take(3).map(|file| file.path.as_str()).collect();
    let more = if labels.len() > 3 { ", …" } else { "" };
    let count = humanize::count(labels.len() as u64, "file");
    (!labels.is_empty()).then(|| {
        format!(
            "'{}': {count} left out, labels by their names ({}{more}); name a file itself to \
             segment it",
            folder.display(),
            few.join(", ")
        )
    })
}

fn nothing_in(folder: &Path, others: &[String]) -> String {
    let mut lines = vec![format!(
        "folder '{}': holds no image (.nii.gz, .nii, .hdr with .img), also in folders below",
        folder.display()
    )];
    lines.extend(foreign_files(folder, others));
    if lines.len() == 1 && !others.is_empty() {
        let few: Vec<String> = others.iter().take(3).map(|name| format!("'{name}'")).collect();
        let count = humanize::count(others.len() as u64, "file");
        lines.push(format!("there are {count}: {}", few.join(", ")));
    }
    lines.join("\n  ")
}

/// Parses a file name, or comma-separated channel files.
fn of_files(argument: &str, modality: &[String]) -> Result<Named> {
    // A file whose own name holds a comma is one file.
    let files: Vec<PathBuf> = match Path::new(argument).is_file() {
        true => vec![argument.into()],
        false => argument.split(',').map(PathBuf::from).collect(),
    };
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        return Err(Error::usage(format!(
            "image '{}': there is no such file{}",
            missing.display(),
            tilde(missing)
        )));
    }
    let named = |file: &PathBuf| {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
        // Either file of a pair names both.
        let name = header_of(&name.unwrap_or_default());
        ImageFile::of(&name).map(|image| (image, file.clone())).ok_or_else(|| {
            let why = foreign(&name).unwrap_or_else(|| {
                "is no supported image file (.nii.gz, .nii, or .hdr with .img)".into()
            });
            Error::usage(format!("image '{}': {why}", file.display()))
        })
    };
    let named: Vec<(ImageFile, PathBuf)> = files.iter().map(named).collect::<Result<_>>()?;
    let mut images = joined(&named, modality);
    match images.len() {
        // Their order is that of the channels; only the name comes from the set.
        1 => Ok((images.remove(0).0, files)),
        _ => Ok((named[0].0.stem.clone(), files)),
    }
}

/// Builds the dataset input for kind `predict`, with the model's channels.
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
        listing.cases.push(Case { name: case.name.clone(), images, ..Case::default() });
    }
    let path = desk.join("dataset.json");
    write_json(&path, &listing)?;
    input.files.insert("dataset.json".into(), input_file(path)?);
    Ok(input)
}

/// Adds an image's files without suffix, or with those of a header-and-voxels pair; returns the
/// name.
fn add(input: &mut Input, name: &str, file: &Path) -> Result<String> {
    let file = nifti::ImageFile::at(file);
    let name = if file.voxels.is_some() { format!("{name}.hdr") } else { name.to_string() };
    if let (Some(voxels), Some(second)) = (&file.voxels, nifti::suffix::second(&name)) {
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

    fn images(arguments: &[String], modality: &[&str], out: &Path) -> Result<Images> {
        let modality: Vec<String> = modality.iter().map(|name| name.to_string()).collect();
        Images::of(arguments, &modality, out)
    }

    fn names(folder: &Path, modality: &[&str]) -> Vec<String> {
        let found = images(&[folder.display().to_string()], modality, &folder.join("out"));
        found.expect("images").cases.into_iter().map(|case| case.name).collect()
    }

    #[test]
    fn a_folder_gives_its_images_sorted_and_nothing_else() {
        let folder = folder(&["b.nii.gz", "a.nii", "C.NII.GZ", "._a.nii", "notes.txt"]);
        assert_eq!(names(folder.path(), &["CT"]), ["C", "a", "b"]);
    }

    #[test]
    fn folders_below_are_mirrored_and_labels_and_results_left_out() {
        let folder = folder(&[
            "x/a.nii.gz",
            "y/a.nii.gz",
            "y/a_seg.nii.gz",
            "labels/a.nii.gz",
            "out/x/a.nii.gz",
        ]);
        assert_eq!(names(folder.path(), &["CT"]), ["x/a", "y/a"]);
        let argument = [folder.path().display().to_string()];
        let notes = images(&argument, &["CT"], &folder.path().join("out")).expect("images").notes;
        assert!(
            notes[0].contains("2 files left out, labels by their names (labels/a.nii.gz, y/a_seg"),
            "{notes:?}"
        );
        let named = folder.path().join("y/a_seg.nii.gz").display().to_string();
        let found = images(&[named], &["CT"], Path::new("out")).expect("an image");
        assert_eq!(found.cases[0].name, "a_seg");
    }

    #[test]
    fn two_images_of_one_name_and_one_that_is_missing_are_told_together() {
        let folder = folder(&["x/a.nii.gz", "y/a.nii.gz"]);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let all = [at("x/a.nii.gz"), at("y/a.nii.gz"), at("none.nii")];
        let error = images(&all, &["CT"], Path::new("out")).expect_err("wrong").to_string();
        assert!(
            error.contains("would both become 'a'")
                && error.contains("none.nii': there is no such file"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_with_nothing_to_read_says_what_is_there() {
        let folder = folder(&["a.nrrd", "b.nrrd", "notes.txt"]);
        let argument = [folder.path().display().to_string()];
        let error = images(&argument, &["CT"], Path::new("out")).expect_err("none").to_string();
        assert!(error.contains("2 files ('a.nrrd'): NRRD is not supported"), "{error}");
        let file = folder.path().join("a.nrrd").display().to_string();
        let error = images(&[file], &["CT"], Path::new("out")).expect_err("none").to_string();
        assert!(error.contains("a.nrrd': NRRD is not supported; convert it"), "{error}");
    }

    #[test]
    fn an_image_is_never_replaced_by_its_own_label_map() {
        let folder = folder(&["a.nii.gz", "b.nii.gz"]);
        let file = folder.path().join("a.nii.gz").display().to_string();
        let found = images(&[file], &["CT"], folder.path()).expect("an image");
        let error = found.cases[0].spare(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("would take its place"), "{error}");
        found.cases[0].spare(&folder.path().join("out")).expect("another folder");
    }
}
