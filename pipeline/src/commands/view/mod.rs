//! `voxflow view`: a volume with its labels, as a picture or an HTML page, for a first look at new
//! or preprocessed data.
//!
//! `subject` reads the files, `page` writes HTML; `voxflow_stages::image::picture` draws the
//! pixels.

mod page;
mod subject;

use super::{answer_data, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use subject::{ViewFiles, ViewSubject};
use voxflow_stages::image::picture::{Colour, Plane, Sheet, contact_sheet};

/// Caption colour for text unrelated to labels.
const GREY: Colour = [190, 190, 190];

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow view scan.nii.gz --label mask.nii.gz
  voxflow view latest/dataset/phantom_03           # as it came, with its label
  voxflow view latest/volumes/phantom_03           # as the network sees it
  voxflow view latest/final/phantom_03 -o case.html  # prediction (orange) and reference (green)

Pictures follow the radiological convention: the patient's right is on the left, seen from the
feet. The number at the upper left of a slice is its index in RAS order, the millimetres at the
upper right its place.")]
pub struct ViewArgs {
    /// A NIfTI file, or RUN/STAGE/CASE
    #[arg(value_name = "FILE|RUN/STAGE/CASE")]
    pub what: String,
    /// Label map to draw over the image
    #[arg(long, short, value_name = "FILE")]
    pub label: Option<PathBuf>,
    /// Second label map, compared with the first
    #[arg(long, short, value_name = "FILE", requires = "label")]
    pub prediction: Option<PathBuf>,
    /// Output file: .png (montage) or .html (scrollable viewer); by default CASE.png here
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Only this plane; all three by default
    #[arg(long, value_enum)]
    pub plane: Option<PlaneOf>,
    /// Maximum slices per plane; by default 8, or 160 on a page
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub slices: Option<u16>,
    /// Longer side per slice in pixels; by default 200, or 480 on a page
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
    /// Writes the picture and prints its path.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let files = match Path::new(&self.what) {
            file if file.is_file() => {
                ViewFiles::of_file(file, self.label.clone(), self.prediction.clone())
            }
            _ => self.of_run(globals)?,
        };
        let subject = ViewSubject::read(files, usize::from(self.channel), self.window)?;
        let out =
            self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.png", subject.name)));
        match out.extension().and_then(|suffix| suffix.to_str()) {
            Some("png") => self.sheet(&subject, &out)?,
            Some("html") => {
                page::save(&subject, &self.planes(), self.slices(160), self.side(480), &out)?
            }
            _ => {
                let out = out.display();
                return Err(Error::usage(format!(
                    "'{out}': write a file that ends in .png or .html"
                )));
            }
        }
        if !globals.quiet {
            tell(&subject.caption());
        }
        answer_data(&format!("{}\n", out.display()))?;
        Ok(Exit::Done)
    }

    fn of_run(&self, globals: &Globals) -> Result<ViewFiles> {
        if self.label.is_some() {
            return Err(Error::usage(format!(
                "'{}' is no file: --label goes with a file; a case of a run brings its own",
                self.what
            )));
        }
        ViewFiles::of_case(&globals.home(), &self.what)
    }

    fn sheet(&self, subject: &ViewSubject, out: &Path) -> Result<()> {
        let caption: Vec<(String, Colour)> =
            std::iter::once((subject.caption(), GREY)).chain(subject.legend()).collect();
        let planes = self.planes();
        let sheet = Sheet {
            planes: &planes,
            slices: self.slices(8),
            side: self.side(200),
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

    fn slices(&self, default: usize) -> usize {
        self.slices.map_or(default, usize::from)
    }

    fn side(&self, default: usize) -> usize {
        self.side.map_or(default, usize::from)
    }
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
