//! Statistics for a plan: the stages of a draft up to the kind `statistics`, run as a workflow, so
//! that later plans find the results in the store.

use super::parsed::workflow;
use crate::commands::exec_args::ExecArgs;
use crate::commands::launch::Launch;
use crate::commands::path;
use crate::commands::workflow_args::{WorkflowArgs, refusal};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::runs::StoredRun;
use crate::selection::StageSelection;
use serde::de::DeserializeOwned;
use std::path::Path;
use voxflow_stages::dataset::Listing;
use voxflow_stages::planner::{Dataset, DatasetFingerprint, Plan, Preset, plan};

/// The id of the stage that is added to a draft.
pub(super) const STAGE: &str = "statistics";
const FINGERPRINT: &str = "dataset_fingerprint.json";

/// A dataset's listing, and the fingerprint of its training and validation cases.
pub(super) struct LookedAt {
    pub listing: Listing,
    pub fingerprint: DatasetFingerprint,
}

/// The stages of a workflow that lead to its statistics.
pub(super) struct StageIds<'a> {
    pub dataset: &'a str,
    pub split: &'a str,
}

impl LookedAt {
    /// Looks at the training and the validation cases of the workflow `text`, whose last entry is
    /// `stages`.
    pub fn of(globals: &Globals, text: &str, ids: &StageIds) -> Result<LookedAt> {
        let (dataset, split) = (ids.dataset, ids.split);
        let text = format!(
            "{}\n  {STAGE}: {{ uses: statistics, needs: [{dataset}, {split}] }}\n",
            text.trim_end()
        );
        let file = Path::new("statistics.yaml");
        let mut workflow = workflow(&text, file).map_err(|mistakes| refusal(&mistakes))?;
        workflow.name = format!("{}-statistics", workflow.name);
        let source = WorkflowArgs { file: file.to_path_buf(), set: vec![] };
        let means = ExecArgs::default();
        let wishes = StageSelection { until: vec![STAGE.into()], ..StageSelection::default() };
        let launch = Launch::new(globals, &source, &means)?;
        let over = launch.go(vec![(workflow, None)], &wishes)?;
        let folder = over.folders.into_iter().next();
        let folder = folder.ok_or_else(|| Error::Failed("no statistics were made".into()))?;
        match crate::commands::launch::exit(&over.ending) {
            Exit::Done => {}
            Exit::Interrupted => return Err(Error::Interrupted),
            _ => {
                return Err(Error::Failed(format!(
                    "there is no plan without statistics: correct what failed, and say the same \
                     again; 'voxflow show {}' has the reasons",
                    folder.id()
                )));
            }
        }
        let run = StoredRun { record: folder.record()?, folder };
        Ok(LookedAt {
            listing: json(&run, dataset, "dataset.json")?,
            fingerprint: json(&run, STAGE, FINGERPRINT)?,
        })
    }

    /// The plan for it.
    pub fn plan(&self, preset: Preset, gpu_memory_gb: Option<f64>) -> Result<Plan> {
        let dataset = Dataset {
            fingerprint: &self.fingerprint,
            channel_names: &self.listing.modality,
            classes: classes(&self.listing),
        };
        Ok(plan(dataset, preset, gpu_memory_gb)?)
    }
}

/// The classes that nnU-Net's estimate counts: all names of its dataset.json, with the background
/// and the voxels to ignore.
fn classes(listing: &Listing) -> usize {
    let named = match listing.regions.is_empty() {
        true => listing.labels.len(),
        false => listing.regions.len(),
    };
    1 + named + usize::from(listing.ignore.is_some())
}

fn json<T: DeserializeOwned>(run: &StoredRun, stage: &str, name: &str) -> Result<T> {
    let path = path::file(run, stage, name)?;
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::Failed(format!("'{name}' of stage '{stage}': {error}")))
}
