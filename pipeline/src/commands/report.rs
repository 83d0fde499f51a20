//! `voxflow report`: one run, or several side by side, as a self-contained HTML file.

use super::{answer_data, sweep_page};
use crate::error::{Exit, Result};
use crate::globals::Globals;
use crate::report::{self, RunSubject};
use crate::run::RunFolder;
use crate::run_set::{Member, RunSet};
use crate::runs::{self, StoredRun};
use crate::tables::{RunSummary, Variants};
use clap::Args;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Runs, baseline first: latest, ids, id prefixes, workflow names, or folders; or one sweep:
    /// its id, or 'sweep' for the newest
    #[arg(default_value = "latest", value_name = "RUN")]
    pub runs: Vec<String>,
    /// Output file; by default report.html in the run's folder, comparison.html here for several
    /// runs, or sweep.html here for a sweep
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl ReportArgs {
    /// Writes the report and prints its path.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        if let [name] = &self.runs[..]
            && let Some(members) = RunSet::new(&home).sweep(name)?
        {
            return self.sweep(&members).map(|()| Exit::Done);
        }
        let mut runs = runs::find_each(&home, &self.runs)?;
        let path = match (&self.out, runs.len()) {
            (None, 1) => report::write(runs.remove(0))?,
            (out, _) => side_by_side(runs, out.as_deref().unwrap_or(Path::new("comparison.html")))?,
        };
        answer_data(&format!("{}\n", path.display()))?;
        Ok(Exit::Done)
    }

    fn sweep(&self, members: &[Member]) -> Result<()> {
        let runs: Vec<RunSummary> = members.iter().map(|one| one.summary.clone()).collect();
        let id = runs.first().and_then(|run| run.sweep.as_ref()).map(|sweep| sweep.id.as_str());
        let variants = Variants::of(id.unwrap_or_default(), &runs, "dice");
        let folders: Vec<RunFolder> = members.iter().map(|one| one.folder.clone()).collect();
        sweep_page::write(&variants, &folders, self.out.as_deref())
    }
}

fn side_by_side(runs: Vec<StoredRun>, path: &Path) -> Result<PathBuf> {
    let subjects = runs.into_iter().map(RunSubject::read).collect::<Result<Vec<_>>>()?;
    disk::write(path, report::page(&subjects).as_bytes())?;
    Ok(path.to_path_buf())
}
