//! `voxflow report`: one run, or several side by side, as a self-contained HTML file.

use super::answer_data;
use crate::error::{Exit, Result};
use crate::globals::Globals;
use crate::report::{self, RunSubject};
use crate::runs::{self, StoredRun};
use clap::Args;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Runs, baseline first: latest, ids, id prefixes, workflow names, or folders
    #[arg(default_value = "latest", value_name = "RUN")]
    pub runs: Vec<String>,
    /// Output file; by default report.html in the run's folder, or comparison.html here for several
    /// runs
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl ReportArgs {
    /// Writes the report and prints its path.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let mut runs = runs::find_each(&home, &self.runs)?;
        let path = match (&self.out, runs.len()) {
            (None, 1) => report::write(runs.remove(0))?,
            (out, _) => side_by_side(runs, out.as_deref().unwrap_or(Path::new("comparison.html")))?,
        };
        answer_data(&format!("{}\n", path.display()))?;
        Ok(Exit::Done)
    }
}

fn side_by_side(runs: Vec<StoredRun>, path: &Path) -> Result<PathBuf> {
    let subjects = runs.into_iter().map(RunSubject::read).collect::<Result<Vec<_>>>()?;
    disk::write(path, report::page(&subjects).as_bytes())?;
    Ok(path.to_path_buf())
}
