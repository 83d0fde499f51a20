//! Free space check before a run: only warns, because sizes are estimates. A disk filling up later
//! is a store error.

use crate::error::{Error, Result};
use crate::event::Decision;
use crate::explain::Explainer;
use crate::humanize;
use crate::plan::Plan;
use crate::reads::{MadeArtifacts, inputs};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use voxflow_cache::{Store, fault};
use voxflow_stages::disk_space::Upstream;

const MOST_NAMED: usize = 3;

/// Warning if the store's file system has less free space than the runs will probably need.
pub fn warning<'a>(
    plans: impl Iterator<Item = &'a Plan>,
    store: &Store,
    history: &Explainer,
) -> Result<Option<String>> {
    let mut wanted: Vec<(u64, String)> = vec![];
    let mut seen = BTreeSet::new();
    for plan in plans {
        wanted.extend(forecast(plan, store, history, &mut seen));
    }
    let all = wanted.iter().map(|(bytes, _)| bytes).sum();
    if all == 0 {
        return Ok(None);
    }
    let free = free_in(store.root())?;
    Ok((all > free).then(|| {
        wanted.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let largest = wanted.iter().take(MOST_NAMED);
        let named: Vec<String> = largest
            .map(|(bytes, stage)| format!("'{stage}' about {}", humanize::bytes(*bytes)))
            .collect();
        format!(
            "{}: space may not suffice: {} are free, and about {} are to be made ({}); make room \
             by 'voxflow cache gc', or name a folder on another disk by '--store'",
            store.root().display(),
            humanize::bytes(free),
            humanize::bytes(all),
            named.join(", ")
        )
    }))
}

/// Estimated bytes per stage to be made. Stages shared between runs count once.
fn forecast(
    plan: &Plan,
    store: &Store,
    history: &Explainer,
    seen: &mut BTreeSet<String>,
) -> Vec<(u64, String)> {
    let mut foreseen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wanted = vec![];
    for (index, stage) in plan.workflow.stages.iter().enumerate() {
        if !plan.is_open(index) {
            continue;
        }
        let upstream = upstream(plan, index, store, &foreseen);
        let known = upstream.values().all(|input| matches!(input, Upstream::Made(_)));
        let before = history.bytes(&plan.workflow.name, &stage.id).filter(|_| !known);
        let bytes = before.or_else(|| stage.kind.expected_bytes(&stage.params, &upstream));
        let bytes = bytes.or_else(|| history.bytes(&plan.workflow.name, &stage.id)).unwrap_or(0);
        foreseen.insert(&stage.id, bytes);
        let new = match &plan.steps[index].decision {
            Decision::Run { fingerprint, .. } => seen.insert(fingerprint.to_hex()),
            _ => seen.insert(format!("{} {}", stage.id, stage.params)),
        };
        if new && bytes > 0 {
            wanted.push((bytes, stage.id.clone()));
        }
    }
    wanted
}

/// First input for each role, made or estimated.
fn upstream(
    plan: &Plan,
    index: usize,
    store: &Store,
    foreseen: &BTreeMap<&str, u64>,
) -> BTreeMap<String, Upstream> {
    let stage = &plan.workflow.stages[index];
    let made = inputs(MadeArtifacts { artifact: &|id| plan.artifact(id), store }, stage);
    let roles = stage.needs.iter();
    let each = roles.filter_map(|(role, ids)| {
        let id = ids.first()?;
        let input = match foreseen.get(id.as_str()) {
            Some(bytes) => Upstream::Foreseen(*bytes),
            None => Upstream::Made(made.get(role)?.first()?.clone()),
        };
        Some((role.clone(), input))
    });
    each.collect()
}

/// Bytes available to unprivileged processes on a folder's file system.
pub fn free_in(folder: &Path) -> Result<u64> {
    if let Some(bytes) = fault::free_bytes() {
        return Ok(bytes);
    }
    let disk =
        rustix::fs::statvfs(folder).map_err(|error| Error::io("look at", folder)(error.into()))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
