//! Files of artifacts that are damaged or gone: their stages are made again where they are read.

use super::{Lost, Planner};
use crate::error::Result;
use crate::event::Decision;
use crate::plan::Plan;
use crate::reads::{self, MadeArtifacts};
use crate::workflow::earlier::EarlierArtifact;
use std::collections::BTreeSet;
use voxflow_cache::{CheckDepth, Entry};

impl Planner<'_> {
    /// Decision about a stage if a file to be read is damaged or gone.
    pub(super) fn lost_input(&self, plan: &Plan, index: usize) -> Option<Decision> {
        let made = MadeArtifacts { artifact: &|id| plan.artifact(id), store: self.store };
        let id = reads::lost(made, &plan.workflow.stages[index])?;
        Some(match plan.workflow.earlier.get(&id) {
            Some(earlier) => {
                let reason = gone(earlier, "a file that it reads is damaged or gone");
                Decision::Blocked { reason }
            }
            // Until that stage is made again, nobody knows which files this one reads.
            None => Decision::Follows { stages: vec![id] },
        })
    }

    /// Reason why a stage cannot read an artifact of an earlier run. Pins those in the store.
    pub(super) fn lost_earlier(&self, plan: &Plan, index: usize) -> Result<Option<String>> {
        let stage = &plan.workflow.stages[index];
        let made = MadeArtifacts { artifact: &|id| plan.artifact(id), store: self.store };
        let earlier = stage.needed().into_iter().filter_map(|id| plan.workflow.earlier.get(id));
        for found in earlier {
            self.store.get(found.fingerprint.as_slice())?;
            let names = reads::all_of(made, stage, &found.id());
            let blobs = found.artifact.part("");
            let read = blobs.filter(|(name, _)| names.iter().any(|names| names.has(name)));
            let look = self.look();
            if let Some((name, presence)) = self.store.presence(read, look)?.into_iter().next() {
                return Ok(Some(gone(found, &format!("'{name}' {}", presence.words()))));
            }
        }
        Ok(None)
    }

    /// Plans stages with missing files again: if a stage to be made reads such a file, or a reused
    /// stage should still have it.
    pub(super) fn miss_bytes(&self, plan: &mut Plan) -> Result<()> {
        let mut readers = vec![vec![]; plan.steps.len()];
        for (reader, step) in plan.steps.iter().enumerate() {
            step.needs.iter().for_each(|&need| readers[need].push(reader));
        }
        // Backwards: a stage to be made again may itself miss files of the stages before it.
        for index in (0..plan.steps.len()).rev() {
            let Some(entry) = plan.steps[index].entry.clone() else { continue };
            let is_wanted = plan.steps[index].left_out.is_none();
            let id = &plan.workflow.stages[index].id;
            let reason = match self.missing(plan, index, &entry, &readers[index])? {
                // The missing file cannot be made, so its reader is blocked.
                Some((reader, (name, presence))) if !is_wanted => {
                    let trouble = format!("'{name}' of '{id}' {}", presence.words());
                    let reason = format!("{trouble}, and '{id}' is left out");
                    plan.steps[reader].decision = Decision::Blocked { reason };
                    continue;
                }
                Some((reader, (name, presence))) => {
                    let reader = &plan.workflow.stages[reader].id;
                    format!("'{name}' {}, and '{reader}' reads it", presence.words())
                }
                // Nothing reads it in this run, but a reused result must be complete.
                None if !is_wanted => continue,
                None => match self.first_lost(&entry)? {
                    Some((name, presence)) => format!("'{name}' {}", presence.words()),
                    None => continue,
                },
            };
            let step = &mut plan.steps[index];
            let (fingerprint, cost_seconds) = (entry.fingerprint, Some(entry.seconds));
            step.decision = Decision::Run { fingerprint, reason, cost_seconds };
            step.entry = None;
        }
        Ok(())
    }

    /// First file of an entry missing or with a wrong size.
    fn first_lost(&self, entry: &Entry) -> Result<Option<Lost>> {
        if let Some(known) = self.lost.borrow().get(&entry.fingerprint) {
            return Ok(known.clone());
        }
        let lost =
            self.store.presence(entry.artifact.part(""), CheckDepth::Stat)?.into_iter().next();
        self.lost.borrow_mut().insert(entry.fingerprint, lost.clone());
        Ok(lost)
    }

    /// First reader to be made that misses a file of this entry, with the file.
    fn missing(
        &self,
        plan: &Plan,
        index: usize,
        entry: &Entry,
        readers: &[usize],
    ) -> Result<Option<(usize, Lost)>> {
        let id = &plan.workflow.stages[index].id;
        let made = MadeArtifacts { artifact: &|id| plan.artifact(id), store: self.store };
        let mut looked_at = BTreeSet::new();
        for &reader in readers.iter().filter(|&&reader| plan.is_open(reader)) {
            let names = reads::all_of(made, &plan.workflow.stages[reader], id);
            // Many stages read the same files of one artifact: these are checked once.
            if !looked_at.insert(names.clone()) {
                continue;
            }
            let blobs = entry.artifact.0.iter().map(|(name, blob)| (name.as_str(), blob));
            let read = blobs.filter(|(name, _)| names.iter().any(|names| names.has(name)));
            let look = self.look();
            if let Some(lost) = self.store.presence(read, look)?.into_iter().next() {
                return Ok(Some((reader, lost)));
            }
        }
        Ok(None)
    }
}

/// Trouble of an earlier run's artifact, with the way out.
fn gone(earlier: &EarlierArtifact, trouble: &str) -> String {
    let id = earlier.id();
    format!("{id}: {trouble}; run the workflow of '{}' again to make it", earlier.run)
}
