//! `unpack`: unpacks an archive in Decathlon or nnU-Net layout (tar or tar.gz) into a dataset.
//!
//! The archive is not trusted: see `dataset::archive` for the checks.

use super::folder::{is_true, yes};
use crate::context::Context;
use crate::dataset::archive::{self, UnpackLimits};
use crate::dataset::fields::Said;
use crate::dataset::layout::{self, Layout};
use crate::dataset::notes::Notes;
use crate::dataset::{LabelNames, Listing, document, labels, name, numbering};
use crate::disk_space::Upstream;
use crate::error::{Error, Result, Trouble};
use crate::kind::Run;
use crate::stage::{ArtifactType, Count, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use voxflow_cache::disk;

/// Unpacks an archive in Decathlon or nnU-Net layout (tar or tar.gz) into a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unpack {
    /// Cases to leave out, as if the archive did not have them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Label names in place of dataset.json's: for 1, 2 and so on, or a mapping from voxel value to
    /// name, as {255: tumor}.
    #[serde(default, skip_serializing_if = "LabelNames::is_empty")]
    pub label_names: LabelNames,
    /// Labels by the voxel values in the label files, as {17: 1, 53: 1, 1035: 2}; all other values
    /// are background. For files with more structures than wanted, or values above 255.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_labels: BTreeMap<String, u8>,
    /// With `true`, an unlabelled training case is an error; with `false` it is unlabelled. Cases
    /// under `test` in a dataset.json, and in imagesTs, may be unlabelled anyway.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub require_labels: bool,
    /// Limit for the unpacked size, in GiB. Not part of the recipe, since it changes no result.
    #[serde(default = "max_gib")]
    pub max_gib: f64,
    /// Limit for unpacked bytes per archive byte. Not part of the recipe.
    #[serde(default = "max_ratio")]
    pub max_ratio: f64,
}

fn max_gib() -> f64 {
    1024.0
}

fn max_ratio() -> f64 {
    200.0
}

impl Stage for Unpack {
    const NAME: &'static str = "unpack";
    const VERSION: u32 = 2;
    const READS: &'static [Read] = &[Read {
        role: "archive",
        artifact: ArtifactType::Archive,
        parts: &["archive"],
        count: Count::One,
        doc: "a tar or tar.gz in Decathlon or nnU-Net layout",
    }];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const LOCATORS: &'static [&'static str] = &["max_gib", "max_ratio"];
    const POOL: Pool = Pool::Cpu;

    fn check(&self) -> Vec<(String, String)> {
        let limits = [("max_gib", self.max_gib), ("max_ratio", self.max_ratio)];
        let wrong = limits.iter().filter(|(_, limit)| !limit.is_finite() || *limit <= 0.0);
        let wrong = wrong.map(|(key, _)| (key.to_string(), "must be above 0".to_string()));
        let labels = self.label_names.labels().err().unwrap_or_default().into_iter();
        let labels = labels.map(|trouble| ("label_names".to_string(), trouble));
        let mapping = labels::mapping(&self.map_labels).err().unwrap_or_default().into_iter();
        let mapping = mapping.map(|trouble| ("map_labels".to_string(), trouble));
        wrong.chain(labels).chain(mapping).collect()
    }

    /// Its images are compressed already, so the archive's own size is a fair estimate.
    fn expected_bytes(&self, inputs: &BTreeMap<String, Upstream>) -> Option<u64> {
        inputs.get("archive").map(Upstream::bytes)
    }
}

impl Run for Unpack {
    fn run(&self, cx: &Context) -> Result<()> {
        let input = cx.input("archive")?;
        let scratch = cx.create(".unpacking")?;
        cx.create_folder(&scratch)?;
        let limits = UnpackLimits {
            bytes: (self.max_gib * f64::from(1u32 << 30)) as u64,
            ratio: self.max_ratio,
        };
        let files =
            archive::unpack(input.path("archive")?, &scratch, &limits, cx).map_err(|error| {
                match error {
                    Error::Failed(words) => {
                        Error::failed(format!("archive of stage '{}': {words}", input.stage))
                    }
                    other => other,
                }
            })?;
        let (root, listing) = self.listing(&scratch, &files, cx)?;
        let source = format!("{root}dataset.json");
        let listing = numbering::settle(cx, listing, &scratch.join(&root))?;
        for name in listing.files() {
            disk::rename(&scratch.join(format!("{root}{name}")), &cx.create(&name)?)?;
        }
        disk::rename(&scratch.join(&source), &cx.create("source/dataset.json")?)?;
        disk::remove(&scratch)?;
        let beside = files.len() - listing.files().count() - 1;
        if beside > 0 {
            cx.info(format!(
                "left out {beside} files of the archive that its dataset.json does not list"
            ));
        }
        cx.create_json("dataset.json", &listing)
    }
}

impl Unpack {
    /// The listing of an unpacked archive, and its folder there. Every file is there.
    fn listing(
        &self,
        folder: &Path,
        files: &BTreeSet<String>,
        cx: &Context,
    ) -> Result<(String, Listing)> {
        let root = root(files)?;
        let source = format!("{root}dataset.json");
        let text = document::bytes(&folder.join(&source))?;
        let labels = self.label_names.labels();
        let said = Said {
            labels: labels.map_err(|wrong| Error::failed(wrong.join("; ")))?,
            numbering: self.label_names.numbering(),
            ignore: self.label_names.ignore(),
            map_labels: labels::mapping(&self.map_labels)
                .map_err(|wrong| Error::failed(wrong.join("; ")))?,
            exclude: &self.exclude,
            unlabelled: !self.require_labels,
            ..Said::default()
        };
        let (inside, mut notes) = (folder.join(&root), Notes::default());
        let listing =
            layout::read(&text, &inside, Layout::Auto, &said, &mut notes).trouble(&source)?;
        listing.tell(&mut notes);
        notes.0.into_iter().for_each(|note| cx.tell(note));
        let missing: Vec<String> =
            listing.files().filter(|name| !files.contains(&format!("{root}{name}"))).collect();
        if !missing.is_empty() {
            let (count, names) = (missing.len(), name::shown(&missing));
            return Err(Error::failed(format!(
                "{source}: {count} listed files are not in the archive: {names}"
            )));
        }
        Ok((root, listing))
    }
}

/// Tells a missing dataset.json, and nested archives, which are not opened.
fn no_listing(files: &BTreeSet<String>) -> Error {
    let within: Vec<&str> = files
        .iter()
        .map(String::as_str)
        .filter(|name| {
            let name = name.to_ascii_lowercase();
            [".tar", ".tar.gz", ".tgz", ".zip"].iter().any(|suffix| name.ends_with(suffix))
        })
        .collect();
    let words = match within.is_empty() {
        true => "; the Decathlon's and nnU-Net's layouts can be unpacked".to_string(),
        false => format!(
            ", but archives within it ({}), which are not unpacked: take out the one that is meant",
            name::shown(&within)
        ),
    };
    Error::failed(format!("archive: has no dataset.json{words}"))
}

/// The folder of the archive's one `dataset.json`, with its slash, or "" for the top.
fn root(files: &BTreeSet<String>) -> Result<String> {
    let roots: Vec<&str> =
        files.iter().filter_map(|name| name.strip_suffix("dataset.json")).collect();
    let roots: Vec<&str> =
        roots.into_iter().filter(|root| root.is_empty() || root.ends_with('/')).collect();
    match roots[..] {
        [root] => Ok(root.to_string()),
        [] => Err(no_listing(files)),
        _ => Err(Error::failed(format!(
            "archive: has more than one dataset.json, in {}",
            roots.join(", ")
        ))),
    }
}
