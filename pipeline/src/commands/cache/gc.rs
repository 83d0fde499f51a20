//! `voxflow cache gc`: removes unneeded entries by age, size or runs.

use super::size::needs;
use super::store::store;
use crate::annotation::Annotation;
use crate::commands::answer;
use crate::console::terminal_width;
use crate::error::{Error, Exit, Result};
use crate::executor::remote::attempt;
use crate::globals::Globals;
use crate::home::Home;
use crate::outputs;
use crate::packs;
use crate::parse_size;
use crate::runs;
use crate::text_table::{Cell, TableFormat, TextTable};
use crate::{humanize, store_homes};
use clap::Args;
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use voxflow_cache::{Fingerprint, GcLimits, GcReport, Store};

/// Attempt folders of cluster jobs without signs of life are removed after this time.
const OLD_ATTEMPT: Duration = Duration::from_secs(7 * 86_400);

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Keep at most this much; least recently used entries are removed first
    #[arg(long, value_name = "SIZE", value_parser = parse_size::size)]
    pub max_size: Option<u64>,
    /// Remove entries unused for this long, for example 14d
    #[arg(long, value_name = "AGE", value_parser = parse_size::age)]
    pub older_than: Option<Duration>,
    /// Keep entries needed by the newest N runs and by tagged ones; without --max-size and
    /// --older-than everything else is removed, except entries needed by runs in other homes
    /// sharing the store [default: 1]
    #[arg(long, value_name = "N")]
    pub keep_runs: Option<usize>,
    /// Remove checkpoints not continued by any training for this long
    #[arg(long, value_name = "AGE", value_parser = parse_size::age, default_value = "30d")]
    pub unfinished: Duration,
    /// Only print candidates for removal
    #[arg(long)]
    pub dry_run: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

impl GcArgs {
    /// Removes entries and prints a summary.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let store = store(&home)?;
        let limits = self.limits(&home, &store)?;
        let gone = store.collect(&limits)?;
        if !self.dry_run {
            outputs::prune(&home)?;
            let (runs, _) = runs::all(&home)?;
            let rows = runs.iter().flat_map(|run| &run.record.stages);
            packs::prune(&home, rows.filter_map(|row| row.artifact.as_ref()))?;
            attempt::remove_old(home.store(), OLD_ATTEMPT)?;
        }
        let sheet = sheet(&gone);
        if !(sheet.rows.is_empty() && self.format == TableFormat::Text) {
            answer(&sheet.write(self.format, terminal_width()))?;
        }
        if !globals.quiet {
            crate::commands::tell(&self.verdict(&gone));
        }
        Ok(Exit::Done)
    }

    fn limits(&self, home: &Home, store: &Store) -> Result<GcLimits> {
        let unfinished_since = before(store.now(), self.unfinished);
        let by_runs =
            self.keep_runs.is_some() && self.older_than.is_none() && self.max_size.is_none();
        let unused_since = self
            .older_than
            .map(|age| before(store.now(), age))
            .or_else(|| by_runs.then(|| far_future(store.now())));
        let mut keep = kept(home, store, self.keep_runs.unwrap_or(1), unfinished_since)?;
        if !self.dry_run {
            store_homes::list_anew(home, &kept(home, store, usize::MAX, unfinished_since)?);
        }
        if unused_since.is_some() || self.max_size.is_some() {
            keep.extend(self.needed_by_others(home, store, unfinished_since)?);
        }
        Ok(GcLimits {
            unused_since,
            max_bytes: self.max_size,
            keep,
            unfinished_since,
            dry_run: self.dry_run,
        })
    }

    /// Fingerprints needed by other homes; with an age limit only by their newest runs.
    fn needed_by_others(
        &self,
        home: &Home,
        store: &Store,
        unfinished_since: SystemTime,
    ) -> Result<HashSet<Fingerprint>> {
        let newest = if self.older_than.is_some() { 1 } else { usize::MAX };
        let mut needed = HashSet::new();
        for other in store_homes::others(home, !self.dry_run)? {
            let seen =
                other.home.as_ref().map(|other| kept(other, store, newest, unfinished_since));
            match (seen, &other.listed) {
                (Some(Ok(needs)), _) => needed.extend(needs),
                (_, Some(listed)) => needed.extend(listed),
                (None, None) if self.older_than.is_some() => {}
                (None, None) => return Err(other.out_of_reach()),
                (Some(Err(error)), None) => return Err(error),
            }
        }
        Ok(needed)
    }

    fn verdict(&self, gone: &GcReport) -> String {
        let verb = if self.dry_run { "would be deleted" } else { "deleted" };
        let spared = match gone.spared {
            0 => String::new(),
            count => {
                format!(", {} kept that were used meanwhile", humanize::count(count, "file"))
            }
        };
        let over = self.max_size.filter(|most| gone.left > *most);
        let over =
            over.map(|_| "; the rest is in use, so that it exceeds the limit").unwrap_or_default();
        format!(
            "{} {verb}{spared}, {} left{over}",
            humanize::bytes(gone.bytes()),
            humanize::bytes(gone.left)
        )
    }
}

/// Entries needed by the newest runs, by tagged runs, and by runs with an unfinished training.
fn kept(
    home: &Home,
    store: &Store,
    newest: usize,
    unfinished_since: SystemTime,
) -> Result<HashSet<Fingerprint>> {
    let (runs, troubles) = runs::all(home)?;
    if let Some(trouble) = troubles.first() {
        let advice = "what this run needs cannot be known; remove its folder if it is of no use, \
                      nothing was removed";
        return Err(Error::Storage(format!("{trouble}: {advice}")));
    }
    let unfinished: HashSet<Fingerprint> =
        store.unfinished_after(unfinished_since)?.into_iter().collect();
    let first_kept = runs.len().saturating_sub(newest);
    let mut kept = HashSet::new();
    for (index, run) in runs.iter().enumerate() {
        let needs = needs(run);
        if index >= first_kept
            || needs.iter().any(|need| unfinished.contains(need))
            || !Annotation::read(&run.folder)?.tags.is_empty()
        {
            kept.extend(needs);
        }
    }
    Ok(kept)
}

fn before(now: SystemTime, age: Duration) -> SystemTime {
    now.checked_sub(age).unwrap_or(UNIX_EPOCH)
}

/// A time later than any last use.
fn far_future(now: SystemTime) -> SystemTime {
    now + Duration::from_secs(3600)
}

fn sheet(gone: &GcReport) -> TextTable {
    let mut sheet = TextTable::new("", ["what", "files", "bytes"]);
    let kinds = gone.kinds.iter().map(|(kind, count)| (kind.as_str(), count));
    let others = [
        ("named by no entry", &gone.unnamed),
        ("old checkpoints", &gone.unfinished),
        ("set aside as damaged", &gone.bad),
    ];
    for (what, count) in kinds.chain(others).filter(|(_, count)| count.files > 0) {
        sheet.push(vec![Cell::text(what), Cell::Count(count.files), Cell::Bytes(count.bytes)]);
    }
    sheet
}
