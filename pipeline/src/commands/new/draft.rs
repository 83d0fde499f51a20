//! The draft: a commented workflow as text.

use super::advice::{self, STRIDE};
use super::planned::PlannedSettings;
use super::tasks::{DecathlonTask, HOST};
use super::yaml::{quoted, settings_lines, yaml};
use crate::humanize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use voxflow_stages::dataset::Region;

/// The data that a workflow is written for.
pub(super) struct Data {
    /// The workflow's name.
    pub name: String,
    /// A description, for people.
    pub title: String,
    pub source: DataSource,
    /// The image channels.
    pub modality: Vec<String>,
    /// The labels' names.
    pub labels: Vec<String>,
    /// Regions of labels that the source names.
    pub regions: Vec<Region>,
    pub labelled: usize,
    pub unlabelled: usize,
    /// Labelled patients, or cases where none are known.
    pub patients: usize,
    /// The number of folds that the dataset gives its cases.
    pub own_folds: Option<usize>,
    /// The median size in voxels along the RAS axes.
    pub shape: [usize; 3],
    /// The median voxel in mm along the RAS axes.
    pub spacing_mm: [f64; 3],
    /// Intensity scaling of each channel.
    pub scaling: Vec<Scaling>,
    /// A pattern for the patient, where several cases are of one.
    pub group: Option<String>,
    /// So many label files were read for their values, if not all.
    pub partly_read: Option<usize>,
}

/// Intensity scaling of a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scaling {
    /// For CT: the Hounsfield units that become 0 and 1.
    Window([f64; 2]),
    /// By mean and deviation.
    Zscore,
}

/// Origin of the data.
pub(super) enum DataSource {
    /// The Decathlon's host, or an archive of the task.
    Task(&'static DecathlonTask, Option<PathBuf>),
    /// Another archive with a dataset.json.
    Archive(PathBuf),
    /// A folder: the parameters of the kind `folder`, in the order to write them.
    Folder(Vec<(String, Value)>),
}

impl Data {
    /// "CT; spleen".
    fn content(&self) -> String {
        let labels =
            if self.labels.is_empty() { "no labels".into() } else { self.labels.join(", ") };
        format!("{}; {labels}", self.modality.join(", "))
    }

    /// "41 labelled cases, 20 without; the median volume has …".
    fn amount(&self) -> String {
        let [x, y, z] = self.shape;
        let [dx, dy, dz] = self.spacing_mm.map(|mm| (mm * 100.0).round() / 100.0);
        let labelled = humanize::count(self.labelled as u64, "labelled case");
        let without = self.unlabelled;
        let read = match self.partly_read {
            Some(count) => format!(" (label values of the first {count})"),
            None => String::new(),
        };
        format!(
            "{labelled}{read}, {without} without; the median volume has {x} x {y} x {z} voxels of \
             {dx} x {dy} x {dz} mm"
        )
    }

    /// The folds to write: those of the dataset, or a few for few cases.
    pub fn folds(&self) -> Option<usize> {
        self.own_folds.or_else(|| advice::folds(self.labelled, self.patients))
    }

    /// Both.
    pub fn sentence(&self) -> String {
        format!("{}; {}", self.content(), self.amount())
    }
}

/// Settings of the stages that prepare and train.
pub(super) enum StageSettings {
    /// Rules of thumb.
    Quick,
    /// A plan of nnU-Net.
    Planned(PlannedSettings),
}

/// A workflow up to the split of its cases.
pub(super) fn cases(data: &Data, file: &Path) -> String {
    format!(
        "{}{}{}",
        head(data, file, &StageSettings::Quick),
        source(&data.source),
        parts(data, file)
    )
}

/// The workflow's text; `file` is where it will lie.
pub(super) fn draft(data: &Data, file: &Path, settings: &StageSettings) -> String {
    let mut out = head(data, file, settings);
    out += &source(&data.source);
    out += &parts(data, file);
    out += &match settings {
        StageSettings::Quick => volumes(data),
        StageSettings::Planned(planned) => {
            PREPROCESS.to_string() + &settings_lines(&planned.preprocess)
        }
    };
    out += "  cache: { uses: cache, needs: [dataset, volumes, split] }\n";
    out += &match settings {
        StageSettings::Quick => model(data),
        StageSettings::Planned(planned) => TRAIN.to_string() + &settings_lines(&planned.train),
    };
    out += "  # What needs no learning, for comparison; then the model on the validation and the \
            testing cases.\n";
    out += "  threshold: { uses: baseline, needs: [cache], with: { method: threshold } }\n";
    out += "  score: { uses: validate, needs: [cache, model] }\n";
    out += "  final: { uses: test, needs: [dataset, cache, model] }\n";
    if data.unlabelled > 0 {
        out += "  # Label maps of the cases without a label.\n";
        out += "  predictions: { uses: predict, needs: [dataset, model] }\n";
    }
    out
}

/// The beginning of the stage that prepares.
const PREPROCESS: &str =
    "  # One grid for all; remembered case by case, so a new case costs one resampling.
  volumes:
    uses: preprocess
    needs: [dataset]
    with:
";
/// The beginning of the stage that trains.
const TRAIN: &str = "  model:
    uses: train
    needs: [cache]
    with:
";

fn head(data: &Data, file: &Path, settings: &StageSettings) -> String {
    let file = file.display();
    let origin = match settings {
        StageSettings::Quick => {
            "Written by 'voxflow new' as a beginning; every value is a choice of voxflow's, with \
             its reason beside it."
                .to_string()
        }
        StageSettings::Planned(planned) => {
            format!("{}.\n{}", planned.remarks.join(".\n# "), planned.recipe_line)
        }
    };
    format!(
        "\
# {}.
#
# {}.
# {}.
# {origin}
#
#   voxflow check {file}     # every mistake, with its line
#   voxflow plan {file}      # what would run, and why
#   voxflow run {file}       # the whole experiment; run again, it reuses every result
{}#   voxflow params {file}    # every parameter, with its value, default and meaning
name: {}
seed: 0
stages:
",
        data.title,
        data.content(),
        data.amount(),
        match data.folds() {
            Some(folds) => format!(
                "#   voxflow sweep {file} --folds {folds}  # cross-validation: every case \
                 validates once\n"
            ),
            None => String::new(),
        },
        data.name
    )
}

fn source(source: &DataSource) -> String {
    match source {
        DataSource::Task(task, archive) => {
            let (name, md5) = (task.name, task.md5);
            let with = match archive {
                // Known by its content: a copy with fewer cases is another archive.
                Some(path) => {
                    let path = quoted(&path.display().to_string());
                    format!("file: {path}  # known by its content; as published, its md5 is {md5}")
                }
                None => format!(
                    "url: {HOST}/{name}.tar  # or 'file: PATH' for a copy that you have
      md5: {md5}"
                ),
            };
            unpacked(&with)
        }
        DataSource::Archive(path) => unpacked(&format!(
            "file: {}  # known by its content",
            quoted(&path.display().to_string())
        )),
        DataSource::Folder(with) => {
            let with: Vec<String> =
                with.iter().map(|(key, value)| folder_line(key, value)).collect();
            format!(
                "  dataset:\n    uses: folder  # referred to, not copied\n    with:\n      {}\n",
                with.join("\n      ")
            )
        }
    }
}

/// The stages of an archive, which `with` locates.
fn unpacked(with: &str) -> String {
    format!(
        "  archive:
    uses: download
    with:
      {with}
  dataset: {{ uses: unpack, needs: [archive] }}
"
    )
}

/// A parameter of `folder`, with a remark.
fn folder_line(key: &str, value: &Value) -> String {
    let remark = match key {
        "modality" => "  # CT where values are Hounsfield units",
        "label_names" => "  # the values found in the label files; give them names",
        "require_labels" => "  # cases without a label are predicted, not trained on",
        "exclude" => "  # found by the pattern, but no cases",
        "manifest" => "  # a row for each case",
        _ => "",
    };
    format!("{key}: {}{remark}", yaml(value))
}

fn parts(data: &Data, file: &Path) -> String {
    if let Some(folds) = data.folds() {
        return folded_parts(data, folds, file);
    }
    let (testing, validation) = advice::held_out(data.labelled);
    let group = group(data);
    format!(
        "  # Testing cases are looked at once, at the end; validation cases choose the weights. By \
         a hash of its
  # name, so that a new case moves no other.
  split:
    uses: split
    needs: [dataset]
    with: {{ training: rest, validation: {validation}, testing: {testing}, order: hash{group} }}
"
    )
}

/// A split in folds: those of the dataset, or for few cases, with what the numbers are good for.
fn folded_parts(data: &Data, folds: usize, file: &Path) -> String {
    let (testing, _) = advice::held_out(data.labelled);
    let group = group(data);
    let remarks: String =
        few_words(data, folds, file).into_iter().map(|line| format!("  # {line}.\n")).collect();
    format!(
        "{remarks}  # A fold is drawn by a hash of the case's name, so that a new case moves few \
         others.
  split:
    uses: split
    needs: [dataset]
    with: {{ folds: {folds}, fold: 0, testing: {testing}, order: hash{group} }}
"
    )
}

/// Sentences on a dataset in folds.
pub(super) fn few_words(data: &Data, folds: usize, file: &Path) -> Vec<String> {
    if !advice::is_few(data.labelled) {
        return vec!["the folds are those of the dataset".into()];
    }
    let (testing, _) = advice::held_out(data.labelled);
    let labelled = humanize::count(data.labelled as u64, "labelled case");
    let validation = humanize::count((data.labelled - testing).div_ceil(folds) as u64, "case");
    let test = humanize::count(testing as u64, "testing case");
    let file = file.display();
    vec![
        format!(
            "{labelled} are few: the validation of one fold ({validation}) chooses the weights, \
             and its score says little else"
        ),
        format!("to judge a setting, validate every case: voxflow sweep {file} --folds {folds}"),
        format!("the final test ({test}, looked at once) shows that it works, not how well"),
    ]
}

/// The split's parameter for the patients.
fn group(data: &Data) -> String {
    match &data.group {
        Some(group) => format!(", group: {}", quoted(group)),
        None => String::new(),
    }
}

fn volumes(data: &Data) -> String {
    let spacing = advice::spacing_mm(data.shape, data.spacing_mm);
    let coarser = spacing.iter().zip(data.spacing_mm).any(|(new, old)| *new > old * 1.05);
    let why = if coarser {
        "the median voxel, coarsened to 8 million a volume"
    } else {
        "the median voxel"
    };
    let intensity = intensity(&data.scaling);
    format!(
        "  # One grid for all; remembered case by case, so a new case costs one resampling.
  volumes:
    uses: preprocess
    needs: [dataset]
    with:
      spacing: {spacing:?}  # mm to the right, front and up: {why}
      {intensity}
      crop_foreground: true
"
    )
}

fn intensity(scaling: &[Scaling]) -> String {
    let one = |scaling: &Scaling| match scaling {
        Scaling::Window([low, high]) => format!("{{ window: [{low}, {high}] }}"),
        Scaling::Zscore => "{ zscore: nonzero }".to_string(),
    };
    const UNITS: &str = "Hounsfield units that become 0 and 1";
    const SCALES: &str = "scales differ between scanners; 'all' where the background is not 0";
    match scaling {
        [first, rest @ ..] if rest.iter().any(|other| other != first) => {
            let each: Vec<String> = scaling.iter().map(one).collect();
            format!("intensity: [{}]  # one for each channel", each.join(", "))
        }
        [first @ Scaling::Window(_), ..] => format!("intensity: {}  # {UNITS}", one(first)),
        _ => format!("intensity: {}  # {SCALES}", one(&Scaling::Zscore)),
    }
}

fn model(data: &Data) -> String {
    let spacing = advice::spacing_mm(data.shape, data.spacing_mm);
    let patch = advice::patch(data.shape, data.spacing_mm, spacing);
    let regions = regions(&data.regions);
    format!(
        "  model:
    uses: train
    needs: [cache]
    with:
      epochs: 300
      patch: {patch:?}  # voxels: at most 96, within the median volume, multiples of {STRIDE} (the strides' product)
      volumes_per_step: 2
      patches_per_volume: 2       # half of them around a labelled voxel
      augmentation:
        affine: {{ probability: 0.5, rotation_degrees: [10, 10, 10], scale: [0.1, 0.1, 0.1] }}
        intensity_shift: {{ offset: 0.1, probability: 0.5 }}
      network: {{ channels: [16, 32, 64, 128, 256], strides: [2, 2, 2, 2], residual_units: 2, \
         norm: batch }}
{regions}      loss: {{ name: dice_ce }}
      learning_rate: 0.002
      optimizer: {{ name: novograd }}
      schedule: {{ decay_last: 0.3 }}  # falls to 0 over the last 30 % of the steps
      # precision: bf16            # about twice as fast on a recent GPU, testing and predicting too
      validate_every: 10
      inference: {{ roi: {patch:?}, overlap: 0.5, blend: gaussian, precision: training }}
"
    )
}

/// The parameter 'regions', a line each; nothing without any.
fn regions(regions: &[Region]) -> String {
    if regions.is_empty() {
        return String::new();
    }
    let lines = regions.iter().map(|region| format!("        - {}\n", yaml(&json!(region))));
    let lines: String = lines.collect();
    format!("      regions:  # of dataset.json: an output each; written in this order\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::super::{data, parsed::workflow, tasks::TASKS};
    use super::*;

    #[test]
    fn the_draft_of_every_task_is_a_right_workflow() {
        for task in TASKS {
            let text = draft(
                &data(task.name).expect("a task"),
                Path::new("x.yaml"),
                &StageSettings::Quick,
            );
            let checked = workflow(&text, Path::new("x.yaml"));
            let workflow =
                checked.unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}\n{text}", task.name));
            assert_eq!(workflow.stages.len(), 10);
            assert!(text.contains(task.md5));
        }
    }

    #[test]
    fn no_line_of_a_draft_is_too_long_to_read() {
        for task in TASKS {
            let text = draft(
                &data(task.name).expect("a task"),
                Path::new("x.yaml"),
                &StageSettings::Quick,
            );
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(longest <= 130, "{}: {longest}", task.name);
        }
    }
}
