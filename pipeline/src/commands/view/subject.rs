//! The viewed case: finds its files by name or in a run, and reads them.

use super::super::{path, show};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::humanize;
use crate::run::StageRecord;
use crate::runs::{self, StoredRun};
use crate::text_table::short;
use crate::workflow::nearest;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use voxflow_stages::dataset::{Label, Listing};
use voxflow_stages::image::Volume;
use voxflow_stages::image::case::{channels, read_channel, read_label_on};
use voxflow_stages::image::nifti::{ImageFile, LabelMapping, LabelValues, suffix};
use voxflow_stages::image::picture::{COLOURS, Colour, PAIR, Scene};
use voxflow_stages::image::spacing::Grid;

#[derive(Debug, Default)]
pub(super) struct ViewFiles {
    name: String,
    images: Vec<ImageFile>,
    label: Option<ImageFile>,
    prediction: Option<ImageFile>,
    labels: Vec<Label>,
    /// Maps values in the label file to the dataset's; empty if equal.
    mapping: LabelMapping,
    /// True if values are Hounsfield units; `None` if unknown.
    is_ct: Option<bool>,
}

impl ViewFiles {
    /// User's image with optional label maps.
    pub fn of_file(file: &Path, label: Option<PathBuf>, prediction: Option<PathBuf>) -> ViewFiles {
        let name =
            file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = suffix::split(&name).map_or(name.as_str(), |(stem, _)| stem).to_string();
        let [label, prediction] =
            [label, prediction].map(|path| path.as_ref().map(ImageFile::from));
        ViewFiles {
            name,
            images: vec![ImageFile::at(file)],
            label,
            prediction,
            ..ViewFiles::default()
        }
    }

    /// A case of a stage.
    pub fn of_case(run: &StoredRun, stage: &StageRecord, case: &str) -> Result<ViewFiles> {
        let cases = cases(run, stage)?;
        if !cases.contains(case) {
            return Err(no_case(stage, case, &cases));
        }
        found(run, stage, case)
    }
}

/// Run, stage and case of RUN/STAGE/CASE; the case is empty if it is left out.
pub(super) fn parsed<'a>(home: &Home, what: &'a str) -> Result<(StoredRun, String, &'a str)> {
    let mut parts = what.splitn(3, '/');
    let (Some(run), Some(id)) = (parts.next(), parts.next()) else {
        return Err(without_stage(home, what));
    };
    let run = runs::find(home, run)?;
    let stage = show::stage(&run.record, id)?.stage.clone();
    Ok((run, stage, parts.next().unwrap_or_default()))
}

/// The way on from a single word: to the cases of the run that it names.
fn without_stage(home: &Home, what: &str) -> Error {
    let run = runs::find(home, what).ok();
    let shown = run.and_then(|run| {
        let stages = run.record.stages.iter().rev();
        let case = |stage: &StageRecord| cases(&run, stage).ok()?.into_iter().next();
        stages.filter_map(|stage| Some((&stage.stage, case(stage)?))).next().map(|(stage, case)| {
            format!("'{what}' is a run: name a stage and a case of it, as '{what}/{stage}/{case}'")
        })
    });
    Error::usage(
        shown.unwrap_or_else(|| {
            format!("'{what}' is no file: name a NIfTI file, or RUN/STAGE/CASE")
        }),
    )
}

/// Cases with volumes in a stage; errors if it has none.
pub(super) fn all_cases(run: &StoredRun, stage: &StageRecord) -> Result<Vec<String>> {
    let cases = cases(run, stage)?;
    match cases.is_empty() {
        true => Err(no_case(stage, "", &cases)),
        false => Ok(cases.into_iter().collect()),
    }
}

/// Cases with volumes in a stage.
fn cases(run: &StoredRun, stage: &StageRecord) -> Result<BTreeSet<String>> {
    if let Some(listing) = listing(run, stage)? {
        return Ok(listing.cases.into_iter().map(|case| case.name).collect());
    }
    let names = stage.artifact.iter().flat_map(|artifact| artifact.0.keys());
    Ok(names.filter_map(|name| case_of(name)).map(str::to_string).collect())
}

/// "phantom_03" for `testing/phantom_03/image.nii` and `predictions/phantom_03.nii.gz`.
fn case_of(name: &str) -> Option<&str> {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    match suffix::split(file)?.0 {
        "image" | "label" => folder.rsplit('/').next(),
        stem => (folder == "predictions").then_some(stem),
    }
}

fn no_case(stage: &StageRecord, case: &str, cases: &BTreeSet<String>) -> Error {
    let id = &stage.stage;
    let shown: Vec<&str> = cases.iter().map(String::as_str).take(12).collect();
    let more = if cases.len() > shown.len() { ", …" } else { "" };
    match nearest(case, cases.iter().map(String::as_str)) {
        _ if cases.is_empty() => Error::usage(format!(
            "stage '{id}' ({}) keeps no volumes: view a stage that does, such as the dataset's, \
             the preprocessing's or the test's",
            stage.kind
        )),
        Some(word) if !case.is_empty() => {
            Error::usage(format!("stage '{id}' has no case '{case}': did you mean '{word}'?"))
        }
        _ => Error::usage(format!("say which case of stage '{id}': {}{more}", shown.join(", "))),
    }
}

/// Dataset listing in a stage's artifact, if any.
fn listing(run: &StoredRun, stage: &StageRecord) -> Result<Option<Listing>> {
    if stage.artifact.as_ref().and_then(|artifact| artifact.get("dataset.json")).is_none() {
        return Ok(None);
    }
    let path = path::file(run, &stage.stage, "dataset.json")?;
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let listing = serde_json::from_str(&text);
    listing.map(Some).map_err(|error| Error::Failed(format!("'{}': {error}", path.display())))
}

/// Dataset listing reachable through a stage's inputs, with its stage.
fn source<'a>(
    run: &'a StoredRun,
    stage: &'a StageRecord,
) -> Result<Option<(&'a StageRecord, Listing)>> {
    let (mut waiting, mut seen) = (vec![stage], BTreeSet::new());
    while let Some(next) = waiting.pop() {
        if let Some(listing) = listing(run, next)? {
            return Ok(Some((next, listing)));
        }
        let needs = next.needs.values().flatten().filter(|id| seen.insert(id.as_str()));
        waiting.extend(needs.filter_map(|id| run.record.stage(id)));
    }
    Ok(None)
}

/// A case's files in a stage.
fn found(run: &StoredRun, stage: &StageRecord, case: &str) -> Result<ViewFiles> {
    let source = source(run, stage)?;
    let (labels, is_ct) = source
        .as_ref()
        .map_or((vec![], None), |(_, listing)| (listing.labels.clone(), Some(listing.is_ct())));
    let mapping = source.as_ref().map(|(_, listing)| listing.map_labels.clone());
    let mut files = ViewFiles { name: case.to_string(), labels, ..ViewFiles::default() };
    let own = |end: &str| {
        let mut names = stage.artifact.iter().flat_map(|artifact| artifact.0.keys());
        names.find(|name| case_of(name) == Some(case) && name.ends_with(end)).map(String::as_str)
    };
    if let Some(image) = own("/image.nii") {
        // Prepared already: values are no longer Hounsfield units.
        files.images = vec![located(run, stage, image)?];
        files.label = own("/label.nii").map(|name| located(run, stage, name)).transpose()?;
        return Ok(files);
    }
    let Some((dataset, listing)) = &source else {
        return Err(Error::usage(format!(
            "stage '{}' goes back to no dataset: view its files by path",
            stage.stage
        )));
    };
    let listed = listing.case(case).ok_or_else(|| Error::usage(listing.no_case(case)))?;
    files.images =
        listed.images.iter().map(|name| located(run, dataset, name)).collect::<Result<_>>()?;
    files.label = listed.label.iter().map(|name| located(run, dataset, name)).next().transpose()?;
    files.is_ct = is_ct;
    files.mapping = mapping.unwrap_or_default();
    if dataset.stage != stage.stage {
        let predicted = own("");
        files.prediction = predicted.map(|name| located(run, stage, name)).transpose()?;
    }
    Ok(files)
}

/// File in a stage's artifact, with its partner for header-and-voxels pairs.
fn located(run: &StoredRun, stage: &StageRecord, name: &str) -> Result<ImageFile> {
    let path = path::file(run, &stage.stage, name)?;
    let other = suffix::second(name)
        .filter(|name| stage.artifact.as_ref().is_some_and(|made| made.get(name).is_some()));
    let other = other.map(|other| path::file(run, &stage.stage, &other)).transpose()?;
    Ok(match other {
        Some(header) if suffix::is_voxels(name) => ImageFile { header, voxels: Some(path) },
        voxels => ImageFile { header: path, voxels },
    })
}

pub(super) struct ViewSubject {
    pub name: String,
    pub scene: Scene,
    /// Size, spacing and window as text.
    pub facts: String,
    /// True if values are Hounsfield units.
    pub is_ct: bool,
    /// Values to show where nothing is asked for.
    pub suggested_window: [f32; 2],
    named: Vec<(u8, String)>,
    maps: usize,
}

/// Look of a label map on a page.
pub(super) struct MapStyle {
    pub name: &'static str,
    /// Labels are tinted inside.
    pub fill: bool,
    /// Borders of labels are drawn.
    pub edge: bool,
    /// The colour of all labels; `None`: each has its own.
    pub colour: Option<Colour>,
}

impl MapStyle {
    fn outline(name: &'static str, colour: Option<Colour>) -> MapStyle {
        MapStyle { name, fill: false, edge: true, colour }
    }

    fn filled(name: &'static str, edge: bool) -> MapStyle {
        MapStyle { name, fill: true, edge, colour: None }
    }

    /// "outline" or "filled".
    pub fn style(&self) -> &'static str {
        if self.fill { "filled" } else { "outline" }
    }
}

impl ViewSubject {
    /// Reads the files onto a common grid.
    pub fn read(files: ViewFiles, channel: usize, window: Option<[f32; 2]>) -> Result<ViewSubject> {
        let channels = channels(&files.images)?;
        if channel > channels {
            let found = humanize::count(channels as u64, "channel");
            return Err(Error::usage(format!("the image has {found}, not {channel}")));
        }
        let image = read_channel(&files.images, channel)?;
        let grid = image.grid();
        // As only CT has in air.
        let has_air = image.data.iter().any(|value| *value < -500.0);
        let is_ct = files.is_ct.unwrap_or(has_air);
        let scene = Scene::new(image, is_ct)?;
        let suggested_window = scene.window();
        let scene = scene.with_window(window.unwrap_or(suggested_window));
        let plain = LabelMapping::new();
        let [label, prediction] = [(&files.label, &files.mapping), (&files.prediction, &plain)]
            .map(|(file, mapping)| {
                file.as_ref().map(|file| label_map(grid, file, mapping)).transpose()
            });
        let (label, prediction) = (label?, prediction?);
        let present = present(label.iter().chain(&prediction));
        let maps = label.iter().chain(&prediction).count();
        let scene = match (label, prediction) {
            (Some(label), Some(prediction)) => scene.with_pair(label, prediction)?,
            (Some(one), None) | (None, Some(one)) => scene.with_labels(one)?,
            (None, None) => scene,
        };
        let named =
            present.into_iter().map(|value| (value, name_of(&files.labels, value))).collect();
        let facts = facts(&scene, channels, channel);
        Ok(ViewSubject { name: files.name, scene, facts, is_ct, suggested_window, named, maps })
    }

    pub fn caption(&self) -> String {
        format!("{}: {}", self.name, self.facts)
    }

    /// Colours with their meaning.
    pub fn legend(&self) -> Vec<(String, Colour)> {
        if self.maps > 1 {
            return ["reference", "prediction", "both"]
                .map(str::to_string)
                .into_iter()
                .zip(PAIR)
                .collect();
        }
        self.labels().into_iter().map(|(_, name, colour)| (name, colour)).collect()
    }

    /// Labels that occur: value, name, colour.
    pub fn labels(&self) -> Vec<(u8, String, Colour)> {
        let labels = self.named.iter();
        labels.map(|(value, name)| (*value, name.clone(), colour(*value))).collect()
    }

    /// True if labels are told apart by colour: not where two maps of a single label are.
    pub fn has_label_colours(&self) -> bool {
        self.maps < 2 || self.named.len() > 1
    }

    /// The label maps' look. Two maps of a single label have a colour each; two of several labels
    /// are told apart as outline and tint.
    pub fn maps(&self) -> Vec<MapStyle> {
        match (self.maps, self.has_label_colours()) {
            (0, _) => vec![],
            (1, _) => vec![MapStyle::filled("label", true)],
            (_, true) => {
                vec![MapStyle::outline("reference", None), MapStyle::filled("prediction", false)]
            }
            (_, false) => vec![
                MapStyle::outline("reference", Some(PAIR[0])),
                MapStyle::outline("prediction", Some(PAIR[1])),
            ],
        }
    }
}

fn label_map(grid: Grid, file: &ImageFile, mapping: &LabelMapping) -> Result<Volume<u8>> {
    let all: Vec<u8> = (1..=u8::MAX).collect();
    let values = LabelValues { declared: &all, mapping };
    Ok(read_label_on(grid, file, &file.header.display().to_string(), values)?)
}

/// Label values occurring in the maps.
fn present<'a>(maps: impl Iterator<Item = &'a Volume<u8>>) -> Vec<u8> {
    let mut seen = [false; 256];
    maps.flat_map(|map| &map.data).for_each(|value| seen[usize::from(*value)] = true);
    (1..=u8::MAX).filter(|value| seen[usize::from(*value)]).collect()
}

fn name_of(labels: &[Label], value: u8) -> String {
    let named = labels.iter().find(|label| label.value == value);
    named.map_or_else(|| format!("label {value}"), |label| label.name.clone())
}

fn facts(scene: &Scene, channels: usize, channel: usize) -> String {
    let [x, y, z] = scene.shape();
    let [dx, dy, dz] = scene.spacing_mm().map(short);
    let [low, high] = scene.window().map(|value| short(value.into()));
    let of =
        if channels > 1 { format!("channel {channel} of {channels}, ") } else { String::new() };
    format!(
        "{of}{x} x {y} x {z} voxels of {dx} x {dy} x {dz} mm (R, A, S), \
         shown from {low} to {high}"
    )
}

/// Colour for a label value, as in pictures.
pub(super) fn colour(value: u8) -> Colour {
    COLOURS[usize::from(value.saturating_sub(1)) % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_known_by_the_names_of_its_files() {
        for (name, case) in [
            ("phantom_03/image.nii", Some("phantom_03")),
            ("testing/phantom_03/label.nii", Some("phantom_03")),
            ("predictions/phantom_03.nii.gz", Some("phantom_03")),
            ("probabilities/phantom_03.nii.gz", None),
            ("phantom_03/geometry.json", None),
        ] {
            assert_eq!(case_of(name), case, "{name}");
        }
    }
}
