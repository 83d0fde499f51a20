//! `baseline`: what needs no learning. A network that does not beat these has learned nothing.
//!
//! The segmentations themselves are in [`crate::dataset::baseline`]. They are chosen on the
//! training volumes and scored on the validation volumes: only `test` reads the testing part.

use crate::context::Context;
use crate::dataset::baseline::{best_threshold, mean_label};
use crate::error::{Error, Result};
use crate::image::nifti::{read_image, read_label};
use crate::image::{Volume, VolumeList};
use crate::kind::Run;
use crate::metric::{CaseScore, Targets, skew_warning, summary};
use crate::stage::{ArtifactType, Count, Pool, Read, Stage, Yields};
use crate::task::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scores a trivial segmentation on the validation volumes, to stand beside a network's score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The method of segmentation.
    pub method: Method,
    /// Tolerance of the surface Dice in mm.
    #[serde(default = "one")]
    pub tolerance_mm: f64,
}

/// A segmentation without learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The band of values, after smoothing, that fits the training labels best; its largest
    /// component.
    Threshold,
    /// The region where the training labels mostly are, volumes laid centre on centre.
    MeanLabel,
}

fn one() -> f64 {
    1.0
}

impl Stage for Baseline {
    const NAME: &'static str = "baseline";
    const VERSION: u32 = 2;
    const READS: &'static [Read] = &[Read {
        role: "cache",
        artifact: ArtifactType::Cache,
        parts: &["training/", "validation/"],
        count: Count::One,
        doc: "training and validation volumes",
    }];
    const MAKES: ArtifactType = ArtifactType::Scores;
    const POOL: Pool = Pool::Cpu;
    const YIELDS: Yields = Yields::OtherScores;

    fn check(&self) -> Vec<(String, String)> {
        match self.tolerance_mm.is_finite() && self.tolerance_mm >= 0.0 {
            true => vec![],
            false => vec![("tolerance_mm".into(), "must be a distance in mm, 0 or more".into())],
        }
    }
}

impl Run for Baseline {
    fn run(&self, cx: &Context) -> Result<()> {
        let input = cx.input("cache")?;
        let (list, training) = load(cx, input, "training")?;
        let (_, validation) = load(cx, input, "validation")?;
        let mut predictions: Vec<Vec<u8>> =
            validation.iter().map(|case| vec![0; case.label.data.len()]).collect();
        for label in &list.labels {
            cx.check_stop()?;
            let masks = self.masks(&training, &validation, label.value);
            for (prediction, mask) in predictions.iter_mut().zip(masks) {
                prediction
                    .iter_mut()
                    .zip(mask)
                    .filter(|(_, inside)| *inside)
                    .for_each(|(voxel, _)| *voxel = label.value);
            }
        }
        let targets = Targets { labels: &list.labels, regions: &[], ignore: list.ignore };
        let scores: Vec<CaseScore> = validation
            .iter()
            .zip(&predictions)
            .map(|(case, prediction)| {
                let (reference, grid) = (&case.label.data, case.label.grid());
                let skew = skew_warning(&grid);
                skew.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
                let labels = targets.score(prediction, reference, &grid, self.tolerance_mm);
                CaseScore { case: case.name.clone(), labels }
            })
            .collect();
        summary::rows(&scores, "validation", "resampled")
            .into_iter()
            .for_each(|row| cx.metric(row));
        cx.create_json("scores.json", &scores)
    }
}

impl Baseline {
    /// One mask for each validation case.
    fn masks(
        &self,
        training: &[LoadedCase],
        validation: &[LoadedCase],
        value: u8,
    ) -> Vec<Vec<bool>> {
        match self.method {
            Method::Threshold => {
                let pairs: Vec<(&Volume<f32>, &Volume<u8>)> =
                    training.iter().map(|case| (&case.image, &case.label)).collect();
                let band = best_threshold(&pairs, value);
                validation.iter().map(|case| band.apply(&case.image)).collect()
            }
            Method::MeanLabel => {
                let labels: Vec<&Volume<u8>> = training.iter().map(|case| &case.label).collect();
                let mean = mean_label(&labels, value);
                validation.iter().map(|case| mean.apply(case.label.shape)).collect()
            }
        }
    }
}

/// One case in memory.
struct LoadedCase {
    name: String,
    image: Volume<f32>,
    label: Volume<u8>,
}

/// The cases of one part.
fn load(cx: &Context, input: &Input, part: &str) -> Result<(VolumeList, Vec<LoadedCase>)> {
    let list: VolumeList = input.json(&format!("{part}/part.json"))?;
    if list.cases.is_empty() {
        return Err(Error::failed(format!(
            "{part}: there are no cases; give 'split' a number of {part} cases"
        )));
    }
    let values = list.labels.iter().map(|label| label.value);
    let allowed: Vec<u8> = values.chain(list.ignore).collect();
    let cases = cx.each_case(
        &list.cases,
        |case| &case.name,
        |case| {
            let [image, label] =
                ["image", "label"].map(|kind| format!("{part}/{}/{kind}.nii", case.name));
            let image = read_image(input.path(&image)?, &image)?;
            let label = read_label(input.path(&label)?, &label, &allowed)?;
            Ok(LoadedCase { name: case.name.clone(), image, label })
        },
    )?;
    Ok((list, cases))
}
