//! The program once for each case of a dataset. Each case is an item: recalled by itself, and made
//! beside others.

use super::invocation::Invocation;
use super::parameters::{CASE, Command, DATASET, MADE, Makes};
use super::variables::Variables;
use super::whole::tell;
use super::workplace::Workplace;
use crate::context::{Context, ItemKey, write_json};
use crate::dataset::{Case, Listing, name};
use crate::error::{Error, Result};
use crate::image::case::{image_digests, label_digests};
use crate::program::Usage;
use crate::record::Metric;
use crate::task::Input;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use voxflow_cache::{Artifact, disk};

/// An item's file with its metrics.
const METRICS: &str = "metrics.json";

/// A case and its surroundings.
struct CaseItem<'a> {
    cx: &'a Context<'a>,
    dataset: &'a Input,
    case: &'a Case,
    makes: Makes,
    threads: usize,
}

/// Makes or recalls each case, and puts the results together.
pub(super) fn run(stage: &Command, cx: &Context) -> Result<()> {
    let dataset = cx.input(DATASET)?;
    let listing: Listing = dataset.json("dataset.json")?;
    let at_once = cx.threads().min(listing.cases.len()).max(1);
    let threads = (cx.threads() / at_once).max(1);
    let makes = stage.makes;
    let made = cx.each_case(
        &listing.cases,
        |case| &case.name,
        |case| {
            let item = CaseItem { cx, dataset, case, makes, threads };
            let made = cx.recall(CASE, stage, &item, &item.key()?, make)?;
            item.take_over(&made)
        },
    )?;
    match makes {
        Makes::Dataset => {
            let listing = Listing { cases: made, ..listing };
            cx.create_json("dataset.json", &listing.checked()?)
        }
        Makes::Predictions => {
            let rows = made
                .iter()
                .map(|case| json!({ "case": case.name, "file": prediction(&case.name) }));
            cx.create_json("predictions.json", &rows.collect::<Vec<_>>())
        }
        _ => Ok(()),
    }
}

fn prediction(case: &str) -> String {
    format!("predictions/{case}.nii.gz")
}

/// The name of the file that a program writes in place of `name`: a single NIfTI file.
fn written_as(name: &str) -> String {
    match name::split_suffix(name) {
        Some((stem, suffix)) if suffix.to_ascii_lowercase().starts_with(".hdr") => {
            format!("{stem}.nii.gz")
        }
        _ => name.to_string(),
    }
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl CaseItem<'_> {
    /// The case's own files, everything else that the program reads, and its scripts.
    fn key(&self) -> Result<ItemKey> {
        let mut inputs = image_digests(self.dataset, self.case)?;
        inputs.extend(label_digests(self.dataset, self.case)?);
        let stage = self.cx.task().recipe.inputs.iter().filter(|(name, _)| *name != DATASET);
        inputs.extend(stage.map(|(name, digest)| (name.clone(), *digest)));
        Ok(ItemKey { name: self.case.name.clone(), inputs, facts: json!({ "case": self.case }) })
    }

    /// The names of the case's files, both of a pair.
    fn files(&self) -> BTreeSet<String> {
        let named = self.case.images.iter().chain(&self.case.label);
        named.flat_map(|file| name::data_of(file).into_iter().chain([file.clone()])).collect()
    }

    /// The place of an image in the program's output.
    fn image(&self, index: usize) -> String {
        format!("image.{index}/{}", file_name(&written_as(&self.case.images[index])))
    }

    /// The place of the label, or the prediction.
    fn label(&self) -> String {
        let label = self.case.label.as_ref().filter(|_| self.makes == Makes::Dataset);
        match label {
            Some(label) => format!("label/{}", file_name(&written_as(label))),
            None => format!("label/{}.nii.gz", self.case.name),
        }
    }

    /// Sets the values of the case, and makes the folders of its output.
    fn set_files(&self, place: &Workplace, variables: &mut Variables) -> Result<()> {
        let (input, output) = (place.link_folder(DATASET), place.output());
        variables.set("case", self.case.name.clone());
        for (index, image) in self.case.images.iter().enumerate() {
            let written = output.join(self.image(index));
            variables.set_path(format!("image.{index}"), &input.join(image))?;
            if self.case.images.len() == 1 {
                variables.set_path("image", &input.join(image))?;
            }
            if self.makes != Makes::Dataset {
                continue;
            }
            create_parent(&written)?;
            variables.set_path(format!("output.image.{index}"), &written)?;
            if self.case.images.len() == 1 {
                variables.set_path("output.image", &written)?;
            }
        }
        variables.set("label", Value::Null);
        if let Some(label) = &self.case.label {
            variables.set_path("label", &input.join(label))?;
        }
        if self.makes != Makes::Files {
            create_parent(&output.join(self.label()))?;
            variables.set_path("output.label", &output.join(self.label()))?;
        }
        Ok(())
    }

    /// Adds the case's files to the stage's artifact, tells its metrics, and gives its new row.
    fn take_over(&self, made: &Artifact) -> Result<Case> {
        let cx = self.cx;
        if made.get(METRICS).is_some() {
            let rows: Vec<Metric> = cx.item_json(made, METRICS)?;
            rows.into_iter().for_each(|row| tell(cx, row));
        }
        match self.makes {
            Makes::Dataset => return self.take_images(made),
            Makes::Predictions => self.adopt(made, &self.label(), &prediction(&self.case.name))?,
            _ => {
                let made =
                    made.0.iter().filter_map(|(file, blob)| Some((file.strip_prefix(MADE)?, blob)));
                made.for_each(|(file, blob)| cx.adopt(&format!("{}{file}", self.case.name), blob));
            }
        }
        Ok(self.case.clone())
    }

    /// The images that the program wrote, and its label if it wrote one, else the case's own.
    fn take_images(&self, made: &Artifact) -> Result<Case> {
        let mut case = self.case.clone();
        for (index, name) in case.images.iter_mut().enumerate() {
            *name = written_as(name);
            self.adopt(made, &self.image(index), name)?;
        }
        if made.get(&format!("{MADE}/{}", self.label())).is_some() {
            let usual = format!("labelsTr/{}.nii.gz", case.name);
            let name = case.label.as_deref().map_or(usual, written_as);
            self.adopt(made, &self.label(), &name)?;
            case.label = Some(name);
        } else if let Some(label) = &self.case.label {
            for name in name::data_of(label).into_iter().chain([label.clone()]) {
                self.cx.adopt(&name, &self.dataset.file(&name)?.blob);
            }
        }
        Ok(case)
    }

    fn adopt(&self, made: &Artifact, file: &str, name: &str) -> Result<()> {
        let blob = made.get(&format!("{MADE}/{file}"));
        let blob = blob.ok_or_else(|| {
            Error::failed(format!("the result of case '{}' lacks '{file}'", self.case.name))
        })?;
        self.cx.adopt(name, blob);
        Ok(())
    }
}

/// Runs the program for a case.
fn make(stage: &Command, item: &CaseItem, folder: &Path) -> Result<()> {
    let place = Workplace::new(folder)?;
    let cx = item.cx;
    let name = format!("{} {}", cx.stage(), item.case.name);
    let invocation = Invocation { stage, cx, place: &place, name, threads: item.threads };
    let mut variables = invocation.variables()?;
    for (role, inputs) in &cx.task().inputs {
        let of_case = (role == DATASET).then(|| item.files());
        for input in inputs {
            let folder = place.link(role, input, of_case.as_ref())?;
            variables.set_path(format!("inputs.{role}"), &folder)?;
        }
    }
    item.set_files(&place, &mut variables)?;
    let mut rows = vec![];
    let usage = invocation.run(&variables, None, |row| rows.push(row))?;
    check(item, &place.files()?)?;
    rows.extend(measured(&usage));
    let rows: Vec<Metric> = rows.into_iter().map(|row| with_case(row, &item.case.name)).collect();
    write_json(&folder.join(METRICS), &rows)?;
    disk::create_folders(&folder.join(MADE))?;
    place.hand_over(&folder.join(MADE))
}

fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => Ok(disk::create_folders(parent)?),
        None => Ok(()),
    }
}

/// Resources that the program took for the case, named as in the table of stages.
fn measured(usage: &Usage) -> [Metric; 4] {
    [
        ("cpu_seconds", usage.cpu_seconds),
        ("peak_rss_bytes", usage.peak_rss_bytes as f64),
        ("read_bytes", usage.read_bytes as f64),
        ("written_bytes", usage.written_bytes as f64),
    ]
    .map(|(name, value)| Metric { measured: true, ..Metric::new(name, value) })
}

/// The row with its case.
fn with_case(row: Metric, case: &str) -> Metric {
    match row.case {
        None => row.case(case),
        Some(_) => row,
    }
}

fn lacks(name: &str) -> Error {
    Error::failed(format!("the program ended without writing '${{{name}}}'; have it write there"))
}

/// An error unless the program wrote what its case needs.
fn check(item: &CaseItem, files: &BTreeSet<String>) -> Result<()> {
    let images = item.case.images.len();
    match item.makes {
        Makes::Dataset => match (0..images).find(|&index| !files.contains(&item.image(index))) {
            Some(_) if images == 1 => Err(lacks("output.image")),
            Some(index) => Err(lacks(&format!("output.image.{index}"))),
            None => Ok(()),
        },
        Makes::Predictions if !files.contains(&item.label()) => Err(lacks("output.label")),
        _ if files.is_empty() => Err(lacks("output")),
        _ => Ok(()),
    }
}
