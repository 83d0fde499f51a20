//! `voxflow view`: a volume with its labels, as a picture or an HTML page, for a first look at new
//! or preprocessed data.
//!
//! `subject` reads the files, `page` writes HTML, `slices` cuts those of a report;
//! `voxflow_stages::image::picture` draws the pixels.

mod page;
mod slices;
mod subject;

use super::{answer_data, show, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::report::address::file_name;
use crate::run::StageRecord;
use crate::runs::StoredRun;
use clap::{Args, ValueEnum};
use page::Neighbours;
use std::path::{Path, PathBuf};
use subject::{ViewFiles, ViewSubject};
use voxflow_cache::disk;
use voxflow_stages::image::picture::{Colour, Plane, Sheet, contact_sheet};

pub use slices::case_slices;

/// Caption colour for text unrelated to labels.
const GREY: Colour = [190, 190, 190];

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow view scan.nii.gz --label mask.nii.gz
  voxflow view latest/dataset/phantom_03           # as it came, with its label
  voxflow view latest/volumes/phantom_03           # as the network sees it
  voxflow view latest/final/phantom_03 -o case.html  # prediction (orange) and reference (green)
  voxflow view latest/final -o cases/              # a page for each case, to leaf through

Pictures follow the radiological convention: the patient's right is on the left, seen from the
feet. The number at the upper left of a slice is its index in RAS order, the millimetres at the
upper right its place.")]
pub struct ViewArgs {
    /// A NIfTI file, or RUN/STAGE/CASE; RUN/STAGE for all cases, with a folder for --out
    #[arg(value_name = "FILE|RUN/STAGE/CASE")]
    pub what: String,
    /// Label map to draw over the image
    #[arg(long, short, value_name = "FILE")]
    pub label: Option<PathBuf>,
    /// Second label map, compared with the first
    #[arg(long, short, value_name = "FILE", requires = "label")]
    pub prediction: Option<PathBuf>,
    /// Output: .png (montage), .html (viewer), or a folder for pages; by default CASE.png here
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Only this plane; all three by default
    #[arg(long, value_enum)]
    pub plane: Option<PlaneOf>,
    /// Maximum slices per plane of a picture; by default 8
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub slices: Option<u16>,
    /// Longer side per slice of a picture in pixels; by default 200
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u16).range(32..=2048))]
    pub side: Option<u16>,
    /// Values shown as black and white, such as -57,164; by default soft tissue for CT, else the
    /// 1st to 99th percentile
    #[arg(long, value_name = "LOW,HIGH", value_parser = window, allow_hyphen_values = true)]
    pub window: Option<[f32; 2]>,
    /// Channel number for multi-channel images, from 1
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub channel: u16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PlaneOf {
    /// Horizontal plane
    Axial,
    /// Frontal plane
    Coronal,
    /// Lateral plane
    Sagittal,
}

impl ViewArgs {
    /// Writes the picture or the pages, and prints the path.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let file = Path::new(&self.what);
        let out = self.out.as_deref();
        if file.is_file() {
            let files = ViewFiles::of_file(file, self.label.clone(), self.prediction.clone());
            return self.one(files, globals);
        }
        if self.label.is_some() {
            return Err(Error::usage(format!(
                "'{}' is no file: --label goes with a file; a case of a run brings its own",
                self.what
            )));
        }
        let (run, stage, case) = subject::parsed(&globals.home(), &self.what)?;
        let stage = show::stage(&run.record, &stage)?;
        match out.filter(|out| case.is_empty() && is_folder(out)) {
            Some(folder) => self.all(&run, stage, folder, globals),
            None => self.one(ViewFiles::of_case(&run, stage, case)?, globals),
        }
    }

    fn one(&self, files: ViewFiles, globals: &Globals) -> Result<Exit> {
        let subject = self.read(files)?;
        let out = match &self.out {
            None => PathBuf::from(format!("{}.png", subject.name)),
            Some(out) if is_folder(out) => {
                disk::create_folders(out)?;
                out.join(file_name(&subject.name))
            }
            Some(out) => out.clone(),
        };
        match out.extension().and_then(|suffix| suffix.to_str()) {
            Some("png") => self.sheet(&subject, &out)?,
            Some("html") => {
                self.check_page()?;
                page::save(&subject, &self.planes(), &Neighbours::default(), &out)?;
            }
            _ => {
                let out = out.display();
                return Err(Error::usage(format!(
                    "'{out}': write a file that ends in .png or .html, or a folder"
                )));
            }
        }
        if !globals.quiet {
            tell(&subject.caption());
        }
        answer_data(&format!("{}\n", out.display()))?;
        Ok(Exit::Done)
    }

    /// Writes a page for each case of a stage.
    fn all(
        &self,
        run: &StoredRun,
        stage: &StageRecord,
        folder: &Path,
        globals: &Globals,
    ) -> Result<Exit> {
        self.check_page()?;
        pages(run, stage, folder, &self.planes(), &|files| {
            let subject = self.read(files)?;
            if !globals.quiet {
                tell(&subject.caption());
            }
            Ok(subject)
        })?;
        answer_data(&format!("{}\n", folder.display()))?;
        Ok(Exit::Done)
    }

    fn read(&self, files: ViewFiles) -> Result<ViewSubject> {
        ViewSubject::read(files, usize::from(self.channel), self.window)
    }

    /// Errors on flags that only pictures have.
    fn check_page(&self) -> Result<()> {
        match self.slices.is_some() || self.side.is_some() {
            true => Err(Error::usage(
                "--slices and --side are for .png: a page holds every voxel, leave them out",
            )),
            false => Ok(()),
        }
    }

    fn sheet(&self, subject: &ViewSubject, out: &Path) -> Result<()> {
        let caption: Vec<(String, Colour)> =
            std::iter::once((subject.caption(), GREY)).chain(subject.legend()).collect();
        let planes = self.planes();
        let sheet = Sheet {
            planes: &planes,
            slices: self.slices.map_or(8, usize::from),
            side: self.side.map_or(200, usize::from),
            caption: &caption,
        };
        Ok(contact_sheet(&subject.scene, &sheet).save(out)?)
    }

    fn planes(&self) -> Vec<Plane> {
        match self.plane {
            None => Plane::ALL.to_vec(),
            Some(PlaneOf::Axial) => vec![Plane::Axial],
            Some(PlaneOf::Coronal) => vec![Plane::Coronal],
            Some(PlaneOf::Sagittal) => vec![Plane::Sagittal],
        }
    }
}

/// Writes a page for each case of a stage into a folder; returns the cases.
pub fn stage_pages(run: &StoredRun, stage: &StageRecord, folder: &Path) -> Result<Vec<String>> {
    pages(run, stage, folder, &Plane::ALL, &first_channel)
}

fn first_channel(files: ViewFiles) -> Result<ViewSubject> {
    ViewSubject::read(files, 1, None)
}

fn pages(
    run: &StoredRun,
    stage: &StageRecord,
    folder: &Path,
    planes: &[Plane],
    read: &dyn Fn(ViewFiles) -> Result<ViewSubject>,
) -> Result<Vec<String>> {
    let cases = subject::all_cases(run, stage)?;
    disk::create_folders(folder)?;
    for (at, case) in cases.iter().enumerate() {
        let subject = read(ViewFiles::of_case(run, stage, case)?)?;
        let neighbours = Neighbours { cases: &cases, at };
        page::save(&subject, planes, &neighbours, &folder.join(file_name(case)))?;
    }
    Ok(cases)
}

/// True for a folder, and for a path that can only become one.
fn is_folder(path: &Path) -> bool {
    let is_closed = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    is_closed || path.is_dir() || path.extension().is_none()
}

fn window(text: &str) -> std::result::Result<[f32; 2], String> {
    let numbers: Vec<f32> =
        text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    match numbers[..] {
        [low, high] if low < high && low.is_finite() && high.is_finite() => Ok([low, high]),
        _ => Err("write two numbers, the lower one first, such as -57,164".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_two_rising_numbers() {
        assert_eq!(window("-57,164"), Ok([-57.0, 164.0]));
        assert_eq!(window("0, 1"), Ok([0.0, 1.0]));
        for wrong in ["5", "3,1", "1,2,3", "a,b", "0,inf", ""] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
    }
}
