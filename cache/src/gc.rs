//! Garbage collection, safe while other processes use the store.
//!
//! Recalls and publishing hold the removal lock shared for a moment; gc takes it exclusively per
//! batch, re-reads new, pinned or used entries, then removes index rows, entries and blobs in this
//! order. An interruption at any point leaves the rest consistent.

use crate::artifact::FileStat;
use crate::claims::{Claim, FileLock};
use crate::disk;
use crate::error::{Error, Result};
use crate::hash::{Digest, Fingerprint};
use crate::inventory::Inventory;
use crate::layout;
use crate::maintenance::{FileCount, count};
use crate::pins;
use crate::store::{BAD, Store};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Files removed per exclusive lock: small, to keep others' waiting short.
const BATCH: usize = 256;

/// Longest wait for the exclusive removal lock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Removal criteria.
#[derive(Clone, Debug)]
pub struct GcLimits {
    /// Remove entries last used before this time.
    pub unused_since: Option<SystemTime>,
    /// Remove least recently used entries until blobs fit into this many bytes.
    pub max_bytes: Option<u64>,
    /// Fingerprints to keep, including their items.
    pub keep: HashSet<Fingerprint>,
    /// Remove training checkpoints untouched since this time.
    pub unfinished_since: SystemTime,
    /// Report only; remove nothing.
    pub dry_run: bool,
}

/// Removed files, or candidates in a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Entries per kind, with blob bytes freed by removing the last entry naming them.
    pub kinds: BTreeMap<String, FileCount>,
    /// Blobs without entries.
    pub unnamed: FileCount,
    /// Unfinished trainings.
    pub unfinished: FileCount,
    /// Damaged files set aside earlier.
    pub bad: FileCount,
    /// Blob bytes remaining.
    pub left: u64,
    /// Candidates used or pinned after selection; kept.
    pub spared: u64,
}

impl GcReport {
    /// Total bytes freed.
    pub fn bytes(&self) -> u64 {
        let kinds: u64 = self.kinds.values().map(|count| count.bytes).sum();
        kinds + self.unnamed.bytes + self.unfinished.bytes + self.bad.bytes
    }
}

/// Removal candidate with its stat at selection time.
struct Chosen {
    fingerprint: Fingerprint,
    stat: FileStat,
}

impl Store {
    /// Removes entries beyond the limits; always removes unnamed blobs and damaged files. Other
    /// processes may use the store meanwhile.
    pub fn collect(&self, limits: &GcLimits) -> Result<GcReport> {
        self.writable()?;
        let survey = Inventory::of(self.entry_files(), &self.blobs().folder)?;
        let mut sweep = GcPass { store: self, limits, survey, gone: GcReport::default() };
        let live = self.alone().and_then(|_alone| sweep.live())?;
        let chosen = choose(&sweep.survey, &live, limits);
        chosen.chunks(BATCH).try_for_each(|batch| sweep.entries(batch))?;
        sweep.unnamed()?;
        sweep.unfinished()?;
        sweep.bad()?;
        sweep.gone.left = sweep.survey.blobs.values().sum();
        Ok(sweep.gone)
    }

    /// Fingerprints with unfinished state changed after `since`.
    pub fn unfinished_after(&self, since: SystemTime) -> Result<Vec<Fingerprint>> {
        let folders = layout::files(&self.root().join("unfinished"))?;
        let young = folders.into_iter().filter(|folder| newest(folder) >= since);
        Ok(young.filter_map(|folder| folder.file_name()?.to_str()?.parse().ok()).collect())
    }

    /// Exclusive removal lock: blocks all look-ups and publishing while held.
    fn alone(&self) -> Result<FileLock> {
        let alone = FileLock::exclusive(&self.locks().removal, PATIENCE)?;
        alone.ok_or_else(|| {
            let busy = "is in use without a pause; try again when less is going on";
            Error::Other(format!("{}: {busy}", self.root().display()))
        })
    }
}

/// Candidates: entries past the time limit, then the least recently used until the size fits;
/// stages before their items.
fn choose(survey: &Inventory, live: &HashSet<Fingerprint>, limits: &GcLimits) -> Vec<Chosen> {
    let since = limits.unused_since.map_or(i64::MIN, nanoseconds);
    let most = limits.max_bytes.unwrap_or(u64::MAX);
    // Unnamed blobs are removed in any case and do not count against the limit.
    let mut left: u64 = survey
        .blobs
        .iter()
        .filter(|(digest, _)| survey.names(digest) > 0)
        .map(|(_, bytes)| bytes)
        .sum();
    let mut names: HashMap<Digest, usize> = HashMap::new();
    let mut chosen = vec![];
    for (used, _, fingerprint) in by_use(survey, live) {
        if used >= since && left <= most {
            break;
        }
        let Some(known) = survey.get(&fingerprint) else { continue };
        for digest in &known.blobs {
            let rest = names.entry(*digest).or_insert_with(|| survey.names(digest));
            *rest -= 1;
            // Only the last entry naming a blob frees its bytes.
            if *rest == 0 {
                left -= survey.blobs.get(digest).copied().unwrap_or(0);
            }
        }
        chosen.push(Chosen { fingerprint, stat: known.stat });
    }
    chosen
}

/// Removable entries by last use. Using a stage counts as using its items.
fn by_use(survey: &Inventory, live: &HashSet<Fingerprint>) -> Vec<(i64, bool, Fingerprint)> {
    let mut as_item: HashMap<Fingerprint, i64> = HashMap::new();
    for (_, known) in survey.all() {
        for item in &known.items {
            let used = as_item.entry(*item).or_insert(i64::MIN);
            *used = known.stat.mtime_ns.max(*used);
        }
    }
    let free = survey.all().filter(|(fingerprint, _)| !live.contains(fingerprint));
    let mut order: Vec<(i64, bool, Fingerprint)> = free
        .map(|(fingerprint, known)| {
            let stage = as_item.get(fingerprint);
            (
                known.stat.mtime_ns.max(stage.copied().unwrap_or(i64::MIN)),
                stage.is_some(),
                *fingerprint,
            )
        })
        .collect();
    order.sort_unstable();
    order
}

/// State during a single collection.
struct GcPass<'a> {
    store: &'a Store,
    limits: &'a GcLimits,
    survey: Inventory,
    gone: GcReport,
}

impl GcPass<'_> {
    /// Entries to keep: requested, pinned by living processes, and items reachable from both. Call
    /// only while holding the exclusive removal lock.
    fn live(&self) -> Result<HashSet<Fingerprint>> {
        let pinned = pins::living(&self.store.pins_folder(), self.store.clock())?;
        Ok(self.survey.reach(self.limits.keep.iter().copied().chain(pinned)))
    }

    fn entries(&mut self, batch: &[Chosen]) -> Result<()> {
        // Between two batches anyone may have used, pinned or replaced an entry. Under the lock
        // the survey and the pins are read again, and only candidates still as chosen are removed.
        let _alone = self.store.alone()?;
        if !self.limits.dry_run {
            self.survey.refresh(self.store.entry_files())?;
        }
        let live = self.live()?;
        let (mut files, mut blobs) = (vec![], vec![]);
        for Chosen { fingerprint, stat } in batch {
            let unchanged = self.survey.get(fingerprint).is_some_and(|known| known.stat == *stat);
            if !unchanged || live.contains(fingerprint) {
                self.gone.spared += 1;
                continue;
            }
            let Some(known) = self.survey.remove(fingerprint) else { continue };
            let count = self.gone.kinds.entry(known.kind).or_default();
            count.files += 1;
            for digest in known.blobs {
                if let Some(bytes) = self.survey.take(&digest) {
                    count.bytes += bytes;
                    blobs.push(digest);
                }
            }
            files.push(known.path);
        }
        self.remove(&files, &blobs)
    }

    /// Removes blobs without entries. Publishers hold the shared lock from their first blob to the
    /// entry; under the exclusive lock no such blob can be in transit.
    fn unnamed(&mut self) -> Result<()> {
        let unnamed = self.survey.unnamed();
        for batch in unnamed.chunks(BATCH) {
            let _alone = self.store.alone()?;
            if !self.limits.dry_run {
                self.survey.refresh(self.store.entry_files())?;
            }
            let still = batch
                .iter()
                .filter_map(|digest| self.survey.take(digest).map(|bytes| (*digest, bytes)));
            let (still, bytes): (Vec<Digest>, Vec<u64>) = still.unzip();
            bytes.into_iter().for_each(|bytes| self.gone.unnamed.add(bytes));
            self.remove(&[], &still)?;
        }
        Ok(())
    }

    /// Removes index rows first, then entries, then blobs: the index must never promise missing
    /// bytes.
    fn remove(&self, entries: &[PathBuf], blobs: &[Digest]) -> Result<()> {
        if self.limits.dry_run {
            return Ok(());
        }
        let paths: Vec<PathBuf> =
            blobs.iter().map(|digest| self.store.blobs().kept(digest)).collect();
        let stats: Result<HashSet<FileStat>> =
            paths.iter().filter_map(|path| FileStat::of(path).transpose()).collect();
        self.store.index().forget(stats?);
        entries.iter().chain(&paths).try_for_each(|path| disk::remove(path))
    }

    /// Removes old unfinished state, unless claimed.
    fn unfinished(&mut self) -> Result<()> {
        for folder in layout::files(&self.store.root().join("unfinished"))? {
            let Some(fingerprint) = folder.file_name().and_then(|name| name.to_str()?.parse().ok())
            else {
                continue;
            };
            let Some(_claim) = Claim::attempt(&self.store.locks().claims, fingerprint)? else {
                continue;
            };
            if newest(&folder) < self.limits.unfinished_since {
                let took = count(&folder)?;
                self.gone.unfinished.files += took.files;
                self.gone.unfinished.bytes += took.bytes;
                self.remove(&[folder], &[])?;
            }
        }
        Ok(())
    }

    fn bad(&mut self) -> Result<()> {
        self.gone.bad = count(&self.store.root().join(BAD))?;
        self.remove(&layout::list(&self.store.root().join(BAD))?, &[])
    }
}

/// Latest change in a folder and its files; 1970 if missing.
fn newest(folder: &Path) -> SystemTime {
    let files = layout::list(folder).unwrap_or_default();
    files.iter().map(|file| changed(file)).fold(changed(folder), SystemTime::max)
}

fn changed(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH)
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
