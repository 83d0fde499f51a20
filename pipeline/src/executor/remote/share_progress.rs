//! Progress of a stage whose items are made by many jobs, as one number.

use super::census::ItemCount;
use crate::lock::lock;
use std::collections::BTreeMap;
use std::sync::Mutex;
use voxflow_stages::Progress;

/// Items made so far, by the share that makes them.
#[derive(Debug)]
pub(super) struct ShareProgress {
    count: Option<ItemCount>,
    made: Mutex<BTreeMap<u64, u64>>,
}

impl ShareProgress {
    /// Of the items counted; `None` if the kind's items cannot be counted before.
    pub(super) fn of(count: Option<ItemCount>) -> ShareProgress {
        ShareProgress { count, made: Mutex::default() }
    }

    /// Notes the items that a share's job has made; the new state if there are more than before.
    pub(super) fn note(&self, share: u64, items: u64) -> Option<Progress> {
        let mut made = lock(&self.made);
        let known = made.entry(share).or_default();
        if items <= *known {
            return None;
        }
        *known = items;
        let reused = self.count.map_or(0, |count| count.all - count.missing);
        Some(Progress {
            done: reused + made.values().sum::<u64>(),
            total: self.count.map(|count| count.all),
            unit: "cases".into(),
            numbers: vec![],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_items_and_the_reused_ones_are_one_number() {
        let progress = ShareProgress::of(Some(ItemCount { all: 10, missing: 6 }));
        let done = |share, items| progress.note(share, items).map(|now| (now.done, now.total));
        assert_eq!(done(0, 2), Some((6, Some(10))));
        assert_eq!(done(1, 3), Some((9, Some(10))));
        assert_eq!(done(0, 2), None);
        // A job that begins again speaks of fewer items at first.
        assert_eq!(done(1, 1), None);
        assert_eq!(done(0, 3), Some((10, Some(10))));
    }
}
