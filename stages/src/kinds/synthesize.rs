//! `synthesize`: draws a phantom dataset in Decathlon layout: abdominal CT with a spleen.

use crate::context::Context;
use crate::dataset::decathlon;
use crate::dataset::fields::Said;
use crate::dataset::notes::Notes;
use crate::dataset::phantom::{Organ, Phantom, file};
use crate::disk_space::Upstream;
use crate::error::Result;
use crate::kind::Run;
use crate::stage::{ArtifactType, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::iter;
use std::path::Path;

/// Draws a phantom dataset in Decathlon layout: abdominal CT with a spleen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthesize {
    /// Labelled cases.
    pub cases: u32,
    /// Cases without labels.
    #[serde(default)]
    pub unlabelled: u32,
    /// Voxels along x, y and z. The field of view stays about 355 × 355 × 200 mm.
    #[serde(default = "default_shape")]
    pub shape: [usize; 3],
    /// The organs to label, in the order of their values.
    #[serde(default = "default_labels")]
    pub labels: Vec<Organ>,
    /// The image channels. "CT" is in Hounsfield units; any other name is a made-up MRI contrast.
    /// More than one gives 4D images.
    #[serde(default = "default_modality")]
    pub modality: Vec<String>,
    /// Seed of all that varies.
    #[serde(default)]
    pub seed: u64,
}

fn default_shape() -> [usize; 3] {
    [64, 64, 64]
}

fn default_labels() -> Vec<Organ> {
    vec![Organ::Spleen]
}

fn default_modality() -> Vec<String> {
    vec!["CT".into()]
}

impl Stage for Synthesize {
    const NAME: &'static str = "synthesize";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const POOL: Pool = Pool::Cpu;

    fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        let mut wrong =
            |path: &str, trouble: &str| mistakes.push((path.to_string(), trouble.to_string()));
        if self.cases == 0 {
            wrong("cases", "must be at least 1");
        }
        if self.shape.iter().any(|size| !(8..=1024).contains(size)) {
            wrong("shape", "each side must be from 8 to 1024 voxels");
        }
        if self.labels.is_empty()
            || (1..self.labels.len()).any(|i| self.labels[..i].contains(&self.labels[i]))
        {
            wrong("labels", "must name at least one organ, and none twice");
        }
        if self.modality.is_empty() || self.modality.len() > 16 {
            wrong("modality", "must name from 1 to 16 channels");
        }
        mistakes
    }

    /// Two bytes a voxel and channel, and one for the label: more than gzip leaves of them.
    fn expected_bytes(&self, _inputs: &BTreeMap<String, Upstream>) -> Option<u64> {
        let cases = u64::from(self.cases) + u64::from(self.unlabelled);
        let voxels = self.shape.iter().map(|&side| side as u64).product::<u64>();
        Some(cases * voxels * (2 * self.modality.len() as u64 + 1))
    }
}

impl Run for Synthesize {
    fn run(&self, cx: &Context) -> Result<()> {
        let phantom = Phantom {
            shape: self.shape,
            seed: self.seed,
            organs: self.labels.clone(),
            modality: self.modality.clone(),
        };
        let cases: Vec<(String, u64)> = (0..u64::from(self.cases + self.unlabelled))
            .map(|index| (self.name(index), index))
            .collect();
        cx.each_case(
            &cases,
            |case| &case.0,
            |(name, index)| {
                let scan = phantom.scan(*index);
                match *index < u64::from(self.cases) {
                    true => {
                        file::write_image(&scan, &cx.create(&format!("imagesTr/{name}.nii.gz"))?)?;
                        file::write_label(&scan, &cx.create(&format!("labelsTr/{name}.nii.gz"))?)
                    }
                    false => {
                        file::write_image(&scan, &cx.create(&format!("imagesTs/{name}.nii.gz"))?)
                    }
                }
            },
        )?;
        let source = serde_json::to_vec_pretty(&self.source()).unwrap_or_default();
        cx.create_json("source/dataset.json", &self.source())?;
        let (place, said) = (Path::new("source"), Said::default());
        let listing = decathlon::read(&source, place, &said, &mut Notes::default())?;
        cx.create_json("dataset.json", &listing)
    }
}

impl Synthesize {
    /// "phantom_01", with as many digits as the last one needs.
    fn name(&self, index: u64) -> String {
        let digits = (self.cases + self.unlabelled).to_string().len().max(2);
        format!("phantom_{:0digits$}", index + 1)
    }

    /// The dataset.json that the Decathlon would have.
    fn source(&self) -> Value {
        let labels = iter::once("background").chain(self.labels.iter().map(|organ| organ.name()));
        let training = (0..u64::from(self.cases)).map(|index| {
            let name = self.name(index);
            json!({
                "image": format!("./imagesTr/{name}.nii.gz"),
                "label": format!("./labelsTr/{name}.nii.gz"),
            })
        });
        let test = (u64::from(self.cases)..u64::from(self.cases + self.unlabelled))
            .map(|index| format!("./imagesTs/{}.nii.gz", self.name(index)));
        json!({
            "name": "Phantom",
            "description": "synthetic abdominal CT",
            "licence": "CC0-1.0",
            "reference": "drawn by voxflow",
            "tensorImageSize": if self.modality.len() > 1 { "4D" } else { "3D" },
            "modality": numbered(self.modality.iter().map(String::as_str)),
            "labels": numbered(labels),
            "numTraining": self.cases,
            "numTest": self.unlabelled,
            "training": training.collect::<Vec<_>>(),
            "test": test.collect::<Vec<_>>(),
        })
    }
}

fn numbered<'a>(names: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    names.enumerate().map(|(index, name)| (index.to_string(), json!(name))).collect()
}
