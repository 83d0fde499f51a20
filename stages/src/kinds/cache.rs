//! `cache`: collects volumes, split and sampling locations of training patches, without copying.
//!
//! Geometry and intensity belong to `preprocess`, folds to `split`, patches to `train`. A training
//! case's candidates are an item of their own, keyed by its volume, so another fold makes only
//! those of cases that no fold trained on before. That a training needs cases is for `train` to
//! say.

use crate::context::{Context, ItemKey};
use crate::dataset::{Label, Listing, Split};
use crate::error::{Error, Result};
use crate::image::candidates::CandidateSelection;
use crate::image::nifti::Mapped;
use crate::image::prepare::Intensities;
use crate::image::stored::MARKED;
use crate::image::{Candidates, Intensity, Preparation, VolumeCase, VolumeList};
use crate::kind::Run;
use crate::stage::{ArtifactType, Count, Demand, Items, Pool, Read, Stage};
use crate::task::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Collects volumes, split and sampling locations of training patches, without copying them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheVolumes {
    /// The image value (after scaling) a background voxel must exceed in at least one channel to be
    /// a patch centre. null takes every background voxel; absent means 0 for CT scaled by a window,
    /// and every background voxel otherwise.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub background_above: Option<Option<f64>>,
}

/// `Some` for a present value, null included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Stage for CacheVolumes {
    const NAME: &'static str = "cache";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &["dataset.json"],
            count: Count::One,
            doc: "the listing of cases and labels",
        },
        Read {
            role: "volumes",
            artifact: ArtifactType::Volumes,
            parts: &[""],
            count: Count::One,
            doc: "the preprocessed volumes",
        },
        Read {
            role: "split",
            artifact: ArtifactType::Split,
            parts: &["split.json"],
            count: Count::One,
            doc: "which case is for what",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Cache;
    const ITEMS: &'static [Items] =
        &[Items { what: "candidates", reads: "volumes", holds: &["candidates.bin"] }];
    const POOL: Pool = Pool::Cpu;
    const QUICK: bool = true;
    const DEMAND: Demand = Demand::VOLUMES;

    fn check(&self) -> Vec<(String, String)> {
        match self.background_above {
            Some(Some(value)) if !value.is_finite() => {
                vec![(
                    "background_above".into(),
                    "must be a finite number, or null for every voxel".into(),
                )]
            }
            _ => vec![],
        }
    }
}

impl Run for CacheVolumes {
    fn run(&self, cx: &Context) -> Result<()> {
        let listing: Listing = cx.input("dataset")?.json("dataset.json")?;
        let volumes = cx.input("volumes")?;
        let list: VolumeList = volumes.json("volumes.json")?;
        let split: Split = cx.input("split")?.json("split.json")?;
        let parts = parts(&listing, &list, &split)?;
        refuse_twins(volumes, &parts)?;
        let above = self.threshold(&listing, &list.preparation);
        let training = &parts[0].1;
        let found = cx.each_case(
            training,
            |case| &case.name,
            |case| self.candidates(cx, volumes, &list, case, above),
        )?;
        warn_of_unseen(cx, &list.labels, &found);
        for (part, cases) in parts {
            join(cx, volumes, &list, part, cases)?;
        }
        Ok(())
    }
}

/// A training case for which candidates are looked for.
struct CandidateItem {
    image: PathBuf,
    label: PathBuf,
    labels: Vec<u8>,
    ignore: Option<u8>,
    above: Option<f32>,
}

impl CacheVolumes {
    /// The value that background candidates must exceed, if any.
    fn threshold(&self, listing: &Listing, preparation: &Preparation) -> Option<f64> {
        let all_windowed = match &preparation.intensity {
            Intensities::One(one) => matches!(one, Intensity::Window(_)),
            Intensities::Each(each) => each.iter().all(|one| matches!(one, Intensity::Window(_))),
        };
        self.background_above.unwrap_or((listing.is_ct() && all_windowed).then_some(0.0))
    }

    /// Recalls a case's candidates and adopts them; the number of voxels of each label.
    fn candidates(
        &self,
        cx: &Context,
        volumes: &Input,
        list: &VolumeList,
        case: &VolumeCase,
        above: Option<f64>,
    ) -> Result<Vec<u64>> {
        let (image, label) = (
            volumes.file(&format!("{}/image.nii", case.name))?,
            volumes.file(&format!("{}/label.nii", case.name))?,
        );
        let labels: Vec<u8> = list.labels.iter().map(|label| label.value).collect();
        let mut inputs = BTreeMap::from([("label".to_string(), label.blob.digest)]);
        if above.is_some() {
            inputs.insert("image".to_string(), image.blob.digest);
        }
        let mut facts = json!({ "above": above, "labels": labels });
        if let Some(ignore) = list.ignore {
            facts["ignore"] = json!(ignore);
        }
        let key = ItemKey { name: case.name.clone(), inputs, facts };
        let above = above.map(|above| above as f32);
        let item = CandidateItem {
            image: image.path.clone(),
            label: label.path.clone(),
            labels,
            ignore: list.ignore,
            above,
        };
        let made = cx.recall("candidates", self, &item, &key, make)?;
        let blob = made
            .get(FILE)
            .ok_or_else(|| Error::failed("candidates without a file; run with --force"))?;
        cx.adopt(&format!("training/{}/{FILE}", case.name), blob);
        let candidates = Candidates::open(&cx.blob_path(blob))?;
        Ok((0..candidates.labels().len()).map(|index| candidates.count(index)).collect())
    }
}

const FILE: &str = "candidates.bin";

/// Looks for one case's candidates. The image is read only where its values matter.
fn make(_: &CacheVolumes, item: &CandidateItem, folder: &Path) -> Result<()> {
    let label = Mapped::open(&item.label, "label")?;
    let image = item.above.map(|_| Mapped::open(&item.image, "image")).transpose()?;
    if let Some(image) = image.as_ref().filter(|image| image.shape() != label.shape()) {
        let (image, label) = (image.shape(), label.shape());
        return Err(Error::failed(format!(
            "image has {image:?} voxels and label {label:?}; make the volume again"
        )));
    }
    let background = match (&image, item.above) {
        (Some(image), Some(above)) => Some((image.f32s()?, above)),
        _ => None,
    };
    let selection = CandidateSelection { labels: &item.labels, background };
    let found = Candidates::of_annotated(label.shape(), label.u8s()?, selection, item.ignore)?;
    found.write(&folder.join(FILE))
}

/// The cases of each part in the split's order. All that does not fit together is told at once.
fn parts(
    listing: &Listing,
    list: &VolumeList,
    split: &Split,
) -> Result<[(&'static str, Vec<VolumeCase>); 4]> {
    let volumes: BTreeMap<&str, &VolumeCase> =
        list.cases.iter().map(|case| (case.name.as_str(), case)).collect();
    let named = [
        ("training", &split.training),
        ("validation", &split.validation),
        ("testing", &split.testing),
        ("unlabelled", &split.unlabelled),
    ];
    let (mut troubles, mut seen) = (vec![], BTreeMap::new());
    let parts = named.map(|(part, names)| {
        let mut cases = vec![];
        for name in names {
            if let Some(other) = seen.insert(name.as_str(), part) {
                let words = format!("is in {other} and again in {part}; split the cases anew");
                troubles.push((name.clone(), words));
            }
            let found = match volumes.get(name.as_str()) {
                Some(case) if !case.labelled && part != "unlabelled" => {
                    Err(format!("has no label, but is for {part}; move or exclude it"))
                }
                Some(case) => Ok((*case).clone()),
                None if listing.case(name).is_some() => {
                    Err("has no volume; let 'volumes' and 'split' need one dataset".into())
                }
                None => Err(listing.no_case(name)),
            };
            match found {
                Ok(case) => cases.push(case),
                Err(words) => troubles.push((name.clone(), words)),
            }
        }
        (part, cases)
    });
    if troubles.is_empty() { Ok(parts) } else { Err(Error::Cases(troubles)) }
}

/// An error where two cases have the same image: a case must not be trained on and tested under
/// another name, nor be counted twice.
fn refuse_twins(volumes: &Input, parts: &[(&'static str, Vec<VolumeCase>); 4]) -> Result<()> {
    let (mut troubles, mut seen) = (vec![], BTreeMap::new());
    for (part, case) in
        parts.iter().flat_map(|(part, cases)| cases.iter().map(move |case| (part, case)))
    {
        let image = volumes.file(&format!("{}/image.nii", case.name))?.blob.digest;
        if let Some((other, of)) = seen.insert(image, (&case.name, part)) {
            let trouble =
                format!("in {part} has the same image as '{other}' in {of}; exclude one of them");
            troubles.push((case.name.clone(), trouble));
        }
    }
    if troubles.is_empty() { Ok(()) } else { Err(Error::Cases(troubles)) }
}

/// Adopts a part's volumes and writes its `part.json`.
fn join(
    cx: &Context,
    volumes: &Input,
    list: &VolumeList,
    part: &str,
    cases: Vec<VolumeCase>,
) -> Result<()> {
    for case in &cases {
        let names =
            ["image.nii", "label.nii", "geometry.json"].map(|file| format!("{}/{file}", case.name));
        for name in names.iter().filter(|name| case.labelled || !name.ends_with("/label.nii")) {
            cx.adopt(&format!("{part}/{name}"), &volumes.file(name)?.blob);
        }
        let marked = format!("{}/{MARKED}", case.name);
        if part == "training" && volumes.has(&marked) {
            cx.adopt(&format!("{part}/{marked}"), &volumes.file(&marked)?.blob);
        }
    }
    cx.create_json(&format!("{part}/part.json"), &VolumeList { cases, ..list.clone() })
}

/// Warns of labels that no training case has.
fn warn_of_unseen(cx: &Context, labels: &[Label], found: &[Vec<u64>]) {
    for (index, label) in labels.iter().enumerate() {
        if !found.is_empty() && found.iter().all(|counts| counts[index] == 0) {
            cx.warn(format!(
                "label '{}' ({}) has no voxel in any of the {} training cases, so it cannot be \
                 learnt",
                label.name,
                label.value,
                found.len()
            ));
        }
    }
}
