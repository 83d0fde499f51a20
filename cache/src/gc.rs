//! Gc: lets go of what nobody needs, beside programs that go on using the store.
//!
//! Recalls and publishing hold a shared lock for their moment; gc takes an exclusive one for each
//! batch, looks again at what is new, pinned or used since, and then removes index rows, entries
//! and blobs, in this order: whatever stops it, what is left is true.

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

/// Entries or blobs that go under one exclusive lock: few enough that nobody waits for long.
const BATCH: usize = 256;

/// Longest wait of gc for the exclusive removal lock.
const PATIENCE: Duration = Duration::from_secs(60);

/// Limits of removal, and entries to keep.
#[derive(Clone, Debug)]
pub struct GcLimits {
    /// Entries that were last used before this moment go.
    pub unused_since: Option<SystemTime>,
    /// So many bytes of blobs may stay; what was used longest ago goes first.
    pub max_bytes: Option<u64>,
    /// Fingerprints that stay, with their items.
    pub keep: HashSet<Fingerprint>,
    /// Checkpoints of trainings that nobody went on with since this moment go.
    pub unfinished_since: SystemTime,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Removed files, or files that would be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Entries by kind: how many, and the bytes of the blobs that went with the last entry naming
    /// them.
    pub kinds: BTreeMap<String, FileCount>,
    /// Blobs that no entry named.
    pub unnamed: FileCount,
    /// Checkpoints.
    pub unfinished: FileCount,
    /// Damaged files that were set aside.
    pub bad: FileCount,
    /// Bytes of blobs that stay.
    pub left: u64,
    /// Chosen to go, and then used or pinned by somebody meanwhile: these stay.
    pub spared: u64,
}

impl GcReport {
    /// All bytes that went.
    pub fn bytes(&self) -> u64 {
        let kinds: u64 = self.kinds.values().map(|count| count.bytes).sum();
        kinds + self.unnamed.bytes + self.unfinished.bytes + self.bad.bytes
    }
}

/// An entry chosen to go, as it was when it was chosen.
struct Chosen {
    fingerprint: Fingerprint,
    stat: FileStat,
}

impl Store {
    /// Removes what the limits let go, and always what no entry names and what was set aside.
    /// Safe beside any other use of the store.
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

    /// The fingerprints whose making is unfinished and was gone on with after `since`.
    pub fn unfinished_after(&self, since: SystemTime) -> Result<Vec<Fingerprint>> {
        let folders = layout::files(&self.root().join("unfinished"))?;
        let young = folders.into_iter().filter(|folder| newest(folder) >= since);
        Ok(young.filter_map(|folder| folder.file_name()?.to_str()?.parse().ok()).collect())
    }

    /// While it lives, nobody finds or publishes anything.
    fn alone(&self) -> Result<FileLock> {
        let alone = FileLock::exclusive(&self.locks().removal, PATIENCE)?;
        alone.ok_or_else(|| {
            let busy = "is in use without a pause; try again when less is going on";
            Error::Other(format!("{}: {busy}", self.root().display()))
        })
    }
}

/// The entries to go: those unused for too long, then as many as the size asks for, those used
/// longest ago first, a stage before its items.
fn choose(survey: &Inventory, live: &HashSet<Fingerprint>, limits: &GcLimits) -> Vec<Chosen> {
    let since = limits.unused_since.map_or(i64::MIN, nanoseconds);
    let most = limits.max_bytes.unwrap_or(u64::MAX);
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
            if *rest == 0 {
                left -= survey.blobs.get(digest).copied().unwrap_or(0);
            }
        }
        chosen.push(Chosen { fingerprint, stat: known.stat });
    }
    chosen
}

/// The entries that may go, in the order of their last use. An item counts as used when its stage
/// was.
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

/// One going-through of the store.
struct GcPass<'a> {
    store: &'a Store,
    limits: &'a GcLimits,
    survey: Inventory,
    gone: GcReport,
}

impl GcPass<'_> {
    /// What must stay: what is kept, what living processes pin, and the items of both. To be called
    /// alone.
    fn live(&self) -> Result<HashSet<Fingerprint>> {
        let pinned = pins::living(&self.store.pins_folder(), self.store.clock())?;
        Ok(self.survey.reach(self.limits.keep.iter().copied().chain(pinned)))
    }

    fn entries(&mut self, batch: &[Chosen]) -> Result<()> {
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

    /// The blobs without an entry. Whoever publishes holds the shared lock from the first blob to
    /// the entry, so now there is none on its way.
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

    /// Index rows, then entries, then blobs.
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

    /// Unfinished state that is old and that nobody is at.
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

/// When a folder or a file in it was last changed; long ago if it is gone.
fn newest(folder: &Path) -> SystemTime {
    let changed = |path: &Path| {
        std::fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH)
    };
    let files = layout::list(folder).unwrap_or_default();
    files.iter().map(|file| changed(file)).fold(changed(folder), SystemTime::max)
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
