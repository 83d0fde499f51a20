//! `voxflow rm`: removes runs, but no results: what these took in the store is freed by
//! `voxflow cache gc`.

use super::cache::size::needed_by_none_but;
use super::{answer, tell};
use crate::annotation::Annotation;
use crate::console::terminal_width;
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::home::Home;
use crate::liveness::is_locked;
use crate::outcome::RunOutcome;
use crate::run::RunFolder;
use crate::runs::{self, StoredRun};
use crate::text_table::{Cell, TextTable};
use crate::{humanize, outputs, parse_size};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use voxflow_cache::disk;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow rm 1a2b3c 4d5e6f
  voxflow rm --failed --older-than 14d --dry-run

A run in progress is never removed; 'voxflow stop' ends it. With --failed and --older-than, tagged
runs are kept ('voxflow tag RUN TAG'). Results stay in the store until 'voxflow cache gc'.")]
pub struct RmArgs {
    /// Runs: ids, id prefixes or 'latest'
    #[arg(value_name = "RUN", required_unless_present_any = ["failed", "older_than"])]
    pub runs: Vec<String>,
    /// Runs that failed
    #[arg(long, conflicts_with = "runs")]
    pub failed: bool,
    /// Runs begun this long ago, as 30d; with --failed, those of them that failed
    #[arg(long, value_name = "AGE", value_parser = parse_size::age, conflicts_with = "runs")]
    pub older_than: Option<Duration>,
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

impl RmArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let (gone, unreadable) = match self.runs.is_empty() {
            true => (self.fitting(&home, globals.quiet)?, vec![]),
            false => named(&home, &self.runs)?,
        };
        if gone.is_empty() && unreadable.is_empty() {
            tell("no such run: nothing to remove");
            return Ok(Exit::Done);
        }
        let freed = freed(&home, &gone)?;
        let ids: Vec<String> = unreadable.iter().map(RunFolder::id).collect();
        if !self.dry_run {
            gone.iter().map(|run| &run.folder).chain(&unreadable).try_for_each(remove)?;
            outputs::prune(&home)?;
        }
        if !globals.quiet {
            let sheet = sheet(&gone, &ids);
            answer(&sheet.text(terminal_width()))?;
            tell(&self.verdict((gone.len() + ids.len()) as u64, freed));
        }
        Ok(Exit::Done)
    }

    /// Runs that the flags select, except tagged ones and those in progress.
    fn fitting(&self, home: &Home, quiet: bool) -> Result<Vec<StoredRun>> {
        let (runs, troubles) = runs::all(home)?;
        troubles.iter().for_each(super::complain);
        let newest_ms = self.older_than.map(|age| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX)
        });
        let (mut gone, mut tagged) = (vec![], vec![]);
        let asked = runs.into_iter().filter(|run| {
            let record = &run.record;
            (!self.failed || record.outcome == RunOutcome::Failed)
                && newest_ms.is_none_or(|newest| record.started_at_ms <= newest)
                && record.outcome != RunOutcome::Running
        });
        for run in asked {
            match Annotation::read(&run.folder)?.tags.is_empty() {
                true => gone.push(run),
                false => tagged.push(run.record.run),
            }
        }
        if !tagged.is_empty() && !quiet {
            let count = humanize::count(tagged.len() as u64, "tagged run");
            tell(&format!("{count} kept: {}", tagged.join(", ")));
        }
        Ok(gone)
    }

    fn verdict(&self, count: u64, (bytes, left): (u64, usize)) -> String {
        let count = humanize::count(count, "run");
        let (done, frees) = match self.dry_run {
            true => ("would be removed", "would then free"),
            false => ("removed", "frees"),
        };
        match bytes {
            0 => format!("{count} {done}; their results take no room, or other runs need them"),
            _ => format!(
                "{count} {done}; 'voxflow cache gc --keep-runs {left}' {frees} {} that no other \
                 run needs",
                humanize::bytes(bytes)
            ),
        }
    }
}

/// The named runs, and folders of runs whose records cannot be read.
fn named(home: &Home, names: &[String]) -> Result<(Vec<StoredRun>, Vec<RunFolder>)> {
    let (mut gone, mut unreadable): (Vec<StoredRun>, Vec<RunFolder>) = (vec![], vec![]);
    for name in names {
        let run = match runs::find(home, name) {
            Ok(run) => run,
            Err(error) => match damaged(home, name) {
                Some(folder) => {
                    unreadable.push(folder);
                    continue;
                }
                None => return Err(error),
            },
        };
        let id = &run.record.run;
        if run.folder.path().parent().and_then(absolute) != absolute(&home.runs()) {
            return Err(Error::usage(format!(
                "'{name}' is no run in '{}': remove its folder as any other, or name its home by \
                 --home",
                home.root().display()
            )));
        }
        if run.record.outcome == RunOutcome::Running {
            return Err(Error::usage(format!(
                "run '{id}' is in progress: 'voxflow stop {id}' ends it; nothing was removed"
            )));
        }
        if !gone.iter().any(|other| other.record.run == *id) {
            gone.push(run);
        }
    }
    Ok((gone, unreadable))
}

/// Folder of a run by its whole id, if no process writes to it.
fn damaged(home: &Home, id: &str) -> Option<RunFolder> {
    let folders = home.all_runs().ok()?;
    let folder = folders.into_iter().find(|folder| folder.id() == id)?;
    (!is_locked(&folder.file("events.jsonl"))).then_some(folder)
}

fn absolute(path: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(path).ok()
}

/// Bytes in the store that only these runs need, and the number of other runs.
fn freed(home: &Home, gone: &[StoredRun]) -> Result<(u64, usize)> {
    let (mut kept, _) = runs::all(home)?;
    kept.retain(|run| !gone.iter().any(|other| other.record.run == run.record.run));
    Ok((needed_by_none_but(home, gone, &kept)?, kept.len()))
}

/// Removes a run's folder; its record goes first, so that half a run is none.
fn remove(run: &RunFolder) -> Result<()> {
    disk::remove(&run.file("run.json"))?;
    Ok(disk::remove(run.path())?)
}

fn sheet(gone: &[StoredRun], unreadable: &[String]) -> TextTable {
    let mut sheet = TextTable::new("", ["run", "workflow", "started", "outcome"]);
    for run in gone {
        let record = &run.record;
        sheet.push(vec![
            Cell::text(&record.run),
            Cell::text(&record.workflow),
            Cell::text(humanize::moment(record.started_at_ms)),
            Cell::text(record.outcome.word()),
        ]);
    }
    for id in unreadable {
        sheet.push(vec![Cell::text(id), Cell::Empty, Cell::Empty, Cell::text("unreadable")]);
    }
    sheet
}
