//! `evaluate`: scores label maps that another program made, so that they stand beside ours: those
//! of a folder, or of a stage's predictions.

use crate::context::Context;
use crate::dataset::pattern::Pattern;
use crate::dataset::tree::Tree;
use crate::dataset::{Case, Listing, Split, labels, name};
use crate::error::{Error, Result};
use crate::image::Volume;
use crate::image::case::read_label_on;
use crate::image::nifti::{ImageFile, LabelMapping, LabelValues, read_header};
use crate::kind::Run;
use crate::metric::nnunet_summary::{self, CaseCounts, SUMMARY, VoxelCounts};
use crate::metric::{CaseScore, Targets, skew_warning, summary};
use crate::model::{Mistake, is_amount, mistake};
use crate::stage::{ArtifactType, Count, Pool, Read, Stage, Yields};
use crate::task::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Scores a folder of predictions, as nnU-Net's, against a dataset's labels in each image's own
/// space, with the metrics of `test`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// The folder of label maps; left out where a stage in 'needs' makes predictions.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// The files' names below it: `{case}` stands for the case's name in the dataset, `*` for
    /// anything but a slash.
    #[serde(default = "plain")]
    pub files: String,
    /// Labels by the voxel values in the files, as {2: 1, 1: 2}, where these number structures
    /// otherwise than the dataset does; all other values are background.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_labels: BTreeMap<String, u8>,
    /// The cases to score: a part of the split, or `all` labelled ones. Each case of a part must
    /// have a prediction; of `all`, those without one are left out.
    #[serde(default)]
    pub cases: Part,
    /// Surfaces closer than this, in mm, count as agreeing in surface Dice.
    #[serde(default = "one_mm")]
    pub tolerance_mm: f64,
    /// Also write nnU-Net's summary.json.
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub summary_json: bool,
}

/// Cases to score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The split's testing cases.
    #[default]
    Testing,
    /// Its validation cases.
    Validation,
    /// Its training cases.
    Training,
    /// Every labelled case that has a prediction; needs no split.
    All,
}

fn plain() -> String {
    "{case}.nii.gz".into()
}

fn one_mm() -> f64 {
    1.0
}

const LISTING: &str = "dataset.json";
const SPLIT: &str = "split.json";
const PREDICTIONS: &str = "predictions";
/// The label maps in an artifact of predictions.
const FOLDER: &str = "predictions/";

impl Part {
    /// The name in tables.
    fn name(self) -> &'static str {
        match self {
            Part::Testing => "testing",
            Part::Validation => "validation",
            Part::Training => "training",
            Part::All => "all",
        }
    }

    /// The names of a split's cases; `None` for all.
    fn of(self, split: &Split) -> Option<&Vec<String>> {
        match self {
            Part::Testing => Some(&split.testing),
            Part::Validation => Some(&split.validation),
            Part::Training => Some(&split.training),
            Part::All => None,
        }
    }
}

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &[""],
            count: Count::One,
            doc: "the label files, and the images' grids",
        },
        Read {
            role: "split",
            artifact: ArtifactType::Split,
            parts: &[SPLIT],
            count: Count::Optional,
            doc: "which case is for what",
        },
        Read {
            role: PREDICTIONS,
            artifact: ArtifactType::Predictions,
            parts: &[FOLDER],
            count: Count::Optional,
            doc: "the label maps, in place of 'path'",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Scores;
    const LOCATORS: &'static [&'static str] = &["path"];
    const POOL: Pool = Pool::Cpu;
    const YIELDS: Yields = Yields::ForeignScores;

    fn check(&self) -> Vec<Mistake> {
        let tolerance =
            mistake(!is_amount(self.tolerance_mm), "tolerance_mm", "must not be negative");
        let pattern = Pattern::new(&self.files, "case").err().map(|error| error.to_string());
        let absolute = name::relative(&self.files).err().map(|error| error.to_string());
        let files = pattern.or(absolute).map(|trouble| ("files".to_string(), trouble));
        let mapping = labels::mapping(&self.map_labels).err().unwrap_or_default().into_iter();
        let mapping = mapping.map(|trouble| ("map_labels".to_string(), trouble));
        tolerance.into_iter().chain(files).chain(mapping).collect()
    }

    fn check_roles(&self, roles: &[&str]) -> Vec<Mistake> {
        let is_needed = roles.contains(&PREDICTIONS);
        let found = match (&self.path, is_needed) {
            (None, false) => {
                mistake(true, "path", "is missing, and no stage in 'needs' makes predictions")
            }
            (Some(_), true) => {
                mistake(true, "path", "stands beside a stage that makes predictions; remove one")
            }
            _ => None,
        };
        found.into_iter().collect()
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        let Some(path) = &self.path else { return Ok(BTreeMap::new()) };
        let found = self.in_folder(path)?.into_values();
        // A pair's voxels are in its other file.
        let files = found.flat_map(|file| name::data_of(&file).into_iter().chain([file]));
        Ok(files.map(|file| (file.clone(), path.join(file))).collect())
    }
}

impl Run for Evaluate {
    fn run(&self, cx: &Context) -> Result<()> {
        let dataset = cx.input("dataset")?;
        let listing: Listing = dataset.json(LISTING)?;
        let predictions = self.predictions(cx)?;
        let cases = self.cases_of(cx, &listing, &predictions)?;
        let mapping =
            labels::mapping(&self.map_labels).map_err(|wrong| Error::failed(wrong.join("; ")))?;
        let scorer = Scorer { stage: self, dataset, listing: &listing, mapping };
        let cases = cx.each_case(
            &cases,
            |(case, _)| &case.name,
            |(case, file)| scorer.score(cx, case, file, &self.file(cx, file)?),
        )?;
        let (scores, counts): (Vec<CaseScore>, Vec<CaseCounts>) = cases.into_iter().unzip();
        if self.summary_json {
            cx.create_text(SUMMARY, &nnunet_summary::text(&scorer.targets(), counts))?;
        }
        let rows = summary::rows(&scores, self.cases.name(), "original");
        rows.into_iter().for_each(|row| cx.metric(row));
        cx.create_json("scores.json", &scores)
    }
}

impl Evaluate {
    /// The label maps by case: their names in the folder, or in the artifact below its own.
    fn predictions(&self, cx: &Context) -> Result<BTreeMap<String, String>> {
        match &self.path {
            Some(path) => self.in_folder(path),
            None => {
                let files = cx.input(PREDICTIONS)?.files.keys();
                let files: Vec<&str> = files.filter_map(|file| file.strip_prefix(FOLDER)).collect();
                let images = files.iter().filter(|file| name::split_suffix(file).is_some());
                self.by_case(images.copied(), || format!("there are {}", name::few(&files, 3)))
            }
        }
    }

    /// A label map's file.
    fn file(&self, cx: &Context, name: &str) -> Result<ImageFile> {
        match &self.path {
            Some(path) => Ok(ImageFile::at(&path.join(name))),
            None => ImageFile::of(cx.input(PREDICTIONS)?, &format!("{FOLDER}{name}")),
        }
    }

    /// The files of a folder by case.
    ///
    /// # Errors
    /// A folder that is none, or without a fitting file; two files of one case.
    fn in_folder(&self, path: &Path) -> Result<BTreeMap<String, String>> {
        let folder = path.display();
        if !path.is_dir() {
            return Err(Error::failed(format!("{folder}: is no folder")));
        }
        let tree = Tree::of(path)?;
        self.by_case(tree.images(), || tree.holds())
            .map_err(|error| Error::failed(format!("{folder}: {error}")))
    }

    fn by_case<'f>(
        &self,
        files: impl Iterator<Item = &'f str>,
        there: impl Fn() -> String,
    ) -> Result<BTreeMap<String, String>> {
        let pattern = Pattern::new(&self.files, "case")?;
        let mut found = BTreeMap::new();
        for file in files {
            let Some(case) = pattern.name_in(file) else { continue };
            if let Some(other) = found.insert(case.clone(), file.to_string()) {
                let words = format!("'{other}' and '{file}' are both of case '{case}'");
                return Err(Error::failed(format!("{words}; narrow 'files'")));
            }
        }
        if found.is_empty() {
            let words = format!("no file is named as 'files: {}' says", self.files);
            return Err(Error::failed(format!("{words}; {}", there())));
        }
        Ok(found)
    }

    /// The cases to score, each with its prediction.
    fn cases_of<'a>(
        &self,
        cx: &Context,
        listing: &'a Listing,
        predictions: &'a BTreeMap<String, String>,
    ) -> Result<Vec<(&'a Case, &'a String)>> {
        let split = cx.optional("split").map(|input| input.json::<Split>(SPLIT)).transpose()?;
        let wanted = match &split {
            Some(split) => self.cases.of(split),
            None if self.cases == Part::All => None,
            None => {
                let part = self.cases.name();
                return Err(Error::failed(format!(
                    "which cases are for {part} is not known: name a split among its 'needs', or \
                     set 'cases: all'"
                )));
            }
        };
        let (found, missing): (Vec<&Case>, Vec<&Case>) = listing
            .labelled()
            .filter(|case| wanted.is_none_or(|names| names.contains(&case.name)))
            .partition(|case| predictions.contains_key(&case.name));
        let missing: Vec<&str> = missing.iter().map(|case| case.name.as_str()).collect();
        if wanted.is_some() && !missing.is_empty() || found.is_empty() {
            return Err(no_prediction(&missing, predictions));
        }
        let unknown: Vec<&String> =
            predictions.keys().filter(|case| listing.case(case).is_none()).collect();
        if !unknown.is_empty() {
            let names = name::shown(&unknown);
            cx.warn(format!("predictions of no case of '{}': {names}", listing.name));
        }
        if !missing.is_empty() {
            cx.info(format!("cases without a prediction, left out: {}", name::shown(&missing)));
        }
        Ok(found.into_iter().map(|case| (case, &predictions[&case.name])).collect())
    }
}

fn no_prediction(missing: &[&str], predictions: &BTreeMap<String, String>) -> Error {
    let files: Vec<&String> = predictions.values().collect();
    Error::failed(format!(
        "no prediction of {}; there are {}; 'files' says how they are named",
        name::shown(missing),
        name::shown(&files)
    ))
}

/// Scores single cases.
struct Scorer<'a> {
    stage: &'a Evaluate,
    dataset: &'a Input,
    listing: &'a Listing,
    mapping: LabelMapping,
}

impl Scorer<'_> {
    /// Both label maps on the grid of the case's first image.
    fn score(
        &self,
        cx: &Context,
        case: &Case,
        name: &str,
        prediction: &ImageFile,
    ) -> Result<(CaseScore, CaseCounts)> {
        let image = case.images.first().ok_or_else(|| Error::failed("the case has no image"))?;
        let grid = read_header(&ImageFile::of(self.dataset, image)?, image)?.grid();
        let declared = self.listing.declared();
        let read = |file: &ImageFile, name: &str, mapping: &LabelMapping| -> Result<Volume<u8>> {
            read_label_on(grid, file, name, LabelValues { declared: &declared, mapping })
        };
        let label = case.label.as_ref().ok_or_else(|| Error::failed("the case has no label"))?;
        let label_file = ImageFile::of(self.dataset, label)?;
        let reference = read(&label_file, label, &self.listing.map_labels)?;
        let prediction = read(prediction, name, &self.mapping)?;
        skew_warning(&grid)
            .iter()
            .for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        let (targets, tolerance) = (self.targets(), self.stage.tolerance_mm);
        let labels = targets.score(&prediction.data, &reference.data, &grid, tolerance);
        let counts = CaseCounts {
            prediction_file: name.to_string(),
            reference_file: label.clone(),
            counts: VoxelCounts::of(&targets, &prediction.data, &reference.data),
        };
        Ok((CaseScore { case: case.name.clone(), labels }, counts))
    }

    fn targets(&self) -> Targets<'_> {
        let Listing { labels, regions, ignore, .. } = self.listing;
        Targets { labels, regions, ignore: *ignore }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_of_a_pair_are_known_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.hdr", "a.img"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let stage: Evaluate = serde_json::from_value(serde_json::json!({
            "path": folder.path(), "files": "{case}.hdr",
        }))
        .unwrap();
        let files = stage.local_files().unwrap();
        assert_eq!(files.into_keys().collect::<Vec<_>>(), ["a.hdr", "a.img"]);
    }
}
