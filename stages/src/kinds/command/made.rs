//! Checks the files of a finished program against the layout of its artifact. Errors name missing
//! files and those found.

use super::parameters::Makes;
use crate::context::{Context, write_json};
use crate::dataset::fields::Said;
use crate::dataset::layout::{self, Layout};
use crate::dataset::notes::Notes;
use crate::dataset::{Listing, name, numbering};
use crate::error::{Error, Result, Trouble};
use crate::image::VolumeList;
use crate::metric::CaseScore;
use crate::model::ModelCard;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use voxflow_cache::disk;

const LISTING: &str = "dataset.json";
const PREDICTIONS: &str = "predictions.json";

/// Checks the files in `folder`, and completes what follows from them.
pub(super) fn settle(
    makes: Makes,
    folder: &Path,
    files: &BTreeSet<String>,
    cx: &Context,
) -> Result<()> {
    let written = Written { makes, folder, files };
    match makes {
        Makes::Files if files.is_empty() => Err(written.lacks("any file")),
        Makes::Files => Ok(()),
        Makes::Dataset => written.dataset(cx),
        Makes::Volumes => written.volumes(),
        Makes::Model => written.model(),
        Makes::Scores => written.json::<Vec<CaseScore>>("scores.json").map(drop),
        Makes::Predictions => written.predictions(),
    }
}

struct Written<'a> {
    makes: Makes,
    folder: &'a Path,
    files: &'a BTreeSet<String>,
}

impl Written<'_> {
    /// The error about a missing file.
    fn lacks(&self, what: &str) -> Error {
        let files: Vec<String> = self.files.iter().map(|file| format!("'{file}'")).collect();
        let there = match files.is_empty() {
            true => "it wrote nothing".to_string(),
            false => format!("it wrote {}", name::few(&files, 5)),
        };
        let makes = self.makes.artifact().words();
        Error::failed(format!(
            "the program ended without {what}, and {makes} needs it: {there}; write it below \
             ${{output}}, or correct 'makes'"
        ))
    }

    fn need(&self, name: &str) -> Result<()> {
        if self.files.contains(name) { Ok(()) } else { Err(self.lacks(&format!("'{name}'"))) }
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        self.need(name)?;
        let path = self.folder.join(name);
        std::fs::read(&path).map_err(Error::io("read", &path))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let makes = self.makes.artifact().words();
        let read = serde_json::from_slice(&self.bytes(name)?);
        read.map_err(|error| {
            Error::failed(format!(
                "'{name}' is not as {makes} has it: {error}; see docs/command.md"
            ))
        })
    }

    /// A listing of ours, or of another layout, which is then written in ours.
    fn dataset(&self, cx: &Context) -> Result<()> {
        let text = self.bytes(LISTING)?;
        let own = serde_json::from_slice::<Listing>(&text).ok();
        let listing = match &own {
            Some(listing) => listing.clone().checked().trouble(LISTING)?,
            None => self.foreign_listing(&text, cx)?,
        };
        let missing: Vec<String> =
            listing.files().filter(|file| !self.files.contains(file)).collect();
        if !missing.is_empty() {
            return Err(self.lacks(&format!(
                "files that its dataset.json lists ({})",
                name::few(&missing, 5)
            )));
        }
        if own.is_some() {
            return Ok(());
        }
        disk::create_folders(&self.folder.join("source"))?;
        disk::rename(&self.folder.join(LISTING), &self.folder.join("source").join(LISTING))?;
        write_json(&self.folder.join(LISTING), &listing)
    }

    fn foreign_listing(&self, text: &[u8], cx: &Context) -> Result<Listing> {
        let said = Said { unlabelled: true, ..Said::default() };
        let mut notes = Notes::default();
        let listing = layout::read(text, self.folder, Layout::Auto, &said, &mut notes);
        let listing = listing.trouble(LISTING)?;
        notes.0.into_iter().for_each(|note| cx.tell(note));
        numbering::settle(cx, listing, self.folder)
    }

    fn volumes(&self) -> Result<()> {
        let list: VolumeList = self.json("volumes.json")?;
        for case in &list.cases {
            let label = case.labelled.then_some("label.nii");
            for file in ["image.nii", "geometry.json"].into_iter().chain(label) {
                self.need(&format!("{}/{file}", case.name))?;
            }
        }
        Ok(())
    }

    fn model(&self) -> Result<()> {
        self.json::<ModelCard>("model.json")?;
        ["best.safetensors", "last.safetensors"].into_iter().try_for_each(|file| self.need(file))
    }

    /// Label maps named after their cases; their list is made of them.
    fn predictions(&self) -> Result<()> {
        let found = self.files.iter().filter_map(|file| Some((case_of(file)?, file)));
        let rows: Vec<_> =
            found.map(|(case, file)| json!({ "case": case, "file": file })).collect();
        match rows.is_empty() {
            true => Err(self.lacks("'predictions/<case>.nii.gz'")),
            false => write_json(&self.folder.join(PREDICTIONS), &rows),
        }
    }
}

/// The case of a label map directly in `predictions/`.
fn case_of(file: &str) -> Option<&str> {
    let file = file.strip_prefix("predictions/").filter(|file| !file.contains('/'))?;
    name::split_suffix(file).map(|(case, _)| case)
}
