//! Disk usage per group (such as a run): total, and exclusive to this group.

use crate::error::Result;
use crate::hash::{Digest, Fingerprint};
use crate::inventory::Inventory;
use crate::store::Store;
use std::collections::{HashMap, HashSet};

/// Disk usage of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Existing bytes named by the group's entries and their items.
    pub bytes: u64,
    /// Bytes needed by no other group.
    pub alone: u64,
}

/// The store's inventory, to be attributed to groups.
pub struct Shares {
    survey: Inventory,
}

impl Store {
    /// Takes the inventory.
    pub fn shares(&self) -> Result<Shares> {
        Ok(Shares { survey: Inventory::of(self.entry_files(), &self.blobs().folder)? })
    }
}

impl Shares {
    /// Each group's share, and bytes needed by no group. A blob counts once per group.
    pub fn among(&self, groups: &[Vec<Fingerprint>]) -> (Vec<Share>, u64) {
        let survey = &self.survey;
        let needed: Vec<HashSet<Digest>> =
            groups.iter().map(|group| needed(survey, group)).collect();
        let mut groups_of: HashMap<Digest, usize> = HashMap::new();
        needed.iter().flatten().for_each(|digest| *groups_of.entry(*digest).or_default() += 1);
        let bytes = |digest: &Digest| survey.blobs.get(digest).copied().unwrap_or(0);
        let share = |needed: &HashSet<Digest>| Share {
            bytes: needed.iter().map(bytes).sum(),
            alone: needed
                .iter()
                .filter(|digest| groups_of.get(digest) == Some(&1))
                .map(bytes)
                .sum(),
        };
        let free = survey
            .blobs
            .iter()
            .filter(|(digest, _)| survey.names(digest) > 0 && !groups_of.contains_key(digest));
        (needed.iter().map(share).collect(), free.map(|(_, bytes)| bytes).sum())
    }
}

/// Blobs named by a group's entries and their items.
fn needed(survey: &Inventory, group: &[Fingerprint]) -> HashSet<Digest> {
    let reached = survey.reach(group.iter().copied());
    reached
        .iter()
        .filter_map(|fingerprint| survey.get(fingerprint))
        .flat_map(|known| known.blobs.iter().copied())
        .collect()
}
