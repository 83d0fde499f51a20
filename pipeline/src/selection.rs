//! Stage selection on the command line.

use crate::error::{Error, Result};
use crate::workflow::{StageSpec, Workflow, either, nearest};
use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::stage::{ArtifactType, Read, TESTING_PART};

#[derive(Clone, Debug, Default)]
pub struct StageSelection {
    /// Only these stages; empty for all.
    pub only: Vec<String>,
    /// Only these stages and their needs; empty for all.
    pub until: Vec<String>,
    /// Stages to make again.
    pub force: Vec<String>,
    /// Accepted older versions by kind.
    pub accept: BTreeMap<String, u32>,
    /// Read every blob before reuse.
    pub verify: bool,
    /// Exclude stages reading the testing part, and their dependents.
    pub untested: bool,
}

/// Reason for excluding a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Excluded by `--only` or `--until`.
    Unselected,
    /// Variants are chosen by validation scores; testing is excluded.
    Untested,
}

impl LeftOut {
    pub fn words(self) -> &'static str {
        match self {
            LeftOut::Unselected => "left out by '--only' or '--until'",
            LeftOut::Untested => "a sweep does not test; '--with-test' tests its best variant",
        }
    }
}

impl StageSelection {
    /// Reason per stage; `None` for included stages.
    pub fn left_out(&self, workflow: &Workflow) -> Result<Vec<Option<LeftOut>>> {
        self.known(workflow)?;
        let until = workflow.stages.iter().filter(|stage| is_among(&self.until, stage));
        let mut wanted: BTreeSet<&str> = until.map(|stage| stage.id.as_str()).collect();
        for stage in workflow.stages.iter().rev().filter(|_| !self.until.is_empty()) {
            if wanted.contains(stage.id.as_str()) {
                wanted.extend(stage.needed());
            }
        }
        let testing = if self.untested { testing(workflow) } else { BTreeSet::new() };
        let reasons = workflow.stages.iter().map(|stage| {
            let id = stage.id.as_str();
            let is_selected = (self.only.is_empty() || is_among(&self.only, stage))
                && (self.until.is_empty() || wanted.contains(id));
            match (is_selected, testing.contains(id)) {
                (false, _) => Some(LeftOut::Unselected),
                (true, true) => Some(LeftOut::Untested),
                (true, false) => None,
            }
        });
        Ok(reasons.collect())
    }

    /// Errors on unknown stage names.
    fn known(&self, workflow: &Workflow) -> Result<()> {
        let ids: Vec<&str> = workflow.written_stages().map(StageSpec::written_id).collect();
        for (flag, names) in
            [("--only", &self.only), ("--until", &self.until), ("--force", &self.force)]
        {
            let unknown =
                names.iter().find(|name| !workflow.stages.iter().any(|stage| stage.is_named(name)));
            if let Some(name) = unknown {
                let near = nearest(name, ids.iter().copied())
                    .map(|word| format!("; did you mean '{word}'?"));
                let near = near.unwrap_or_else(|| format!("; stages are {}", either(&ids)));
                return Err(Error::usage(format!("{flag} {name}: there is no such stage{near}")));
            }
        }
        Ok(())
    }
}

/// True if a stage has one of the names.
fn is_among(names: &[String], stage: &StageSpec) -> bool {
    names.iter().any(|name| stage.is_named(name))
}

/// Stages reading a cache's testing part, and their direct or indirect dependents.
pub fn testing(workflow: &Workflow) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for stage in &workflow.stages {
        let reads = stage.reads.iter().any(reads_testing);
        if reads || stage.needed().iter().any(|id| found.contains(id)) {
            found.insert(stage.id.as_str());
        }
    }
    found
}

/// True for a role that reads a cache's testing part, alone or with everything else.
fn reads_testing(read: &Read) -> bool {
    let is_whole = read.artifact == ArtifactType::Cache && read.parts.contains(&"");
    is_whole || read.parts.contains(&TESTING_PART)
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::KINDS;

    const TEXT: &str = "stages:
  dataset: { uses: synthesize, with: { cases: 6, shape: [24, 24, 24] } }
  split: { uses: split, needs: [dataset], with: { training: 3, validation: 1, testing: 2 } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [12, 12, 12], intensity: { window: [-57, 164] } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model: { uses: train, needs: [cache], with: { epochs: 1, patch: [16, 16, 16] } }
  score: { uses: validate, needs: [cache, model] }
  final: { uses: test, needs: [dataset, cache, model] }
";

    fn left_out(wishes: &StageSelection) -> Vec<(String, Option<LeftOut>)> {
        let workflow = Workflow::parse("w.yaml", TEXT.as_bytes(), &[], KINDS, &|_| None)
            .map_err(|all| all[0].clone());
        let workflow = workflow.expect("a workflow");
        let why = wishes.left_out(&workflow).expect("known stages");
        workflow
            .stages
            .iter()
            .map(|stage| stage.id.clone())
            .zip(why)
            .filter(|(_, why)| why.is_some())
            .collect()
    }

    #[test]
    fn a_sweep_leaves_out_what_reads_the_testing_part() {
        let untested = StageSelection { untested: true, ..StageSelection::default() };
        assert_eq!(left_out(&untested), [("final".to_string(), Some(LeftOut::Untested))]);
        assert!(left_out(&StageSelection::default()).is_empty());
    }

    #[test]
    fn until_keeps_what_a_stage_needs() {
        let wishes = StageSelection {
            until: vec!["model".into()],
            untested: true,
            ..StageSelection::default()
        };
        let expected = ["score", "final"].map(|id| (id.to_string(), Some(LeftOut::Unselected)));
        assert_eq!(left_out(&wishes), expected);
    }
}
