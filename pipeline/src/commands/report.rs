//! `voxflow report`: one run, or several side by side, as a self-contained HTML file.

use super::{answer_data, sweep_page, view};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::report::{self, RunSubject};
use crate::run::{RunFolder, StageRecord};
use crate::run_set::{Member, RunSet};
use crate::runs::{self, StoredRun};
use crate::tables::{RunSummary, Variants};
use clap::Args;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;
use voxflow_stages::Kind;
use voxflow_stages::stage::Yields;

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
    /// Also write a viewer page for each tested case, into 'cases' beside the report, and link to
    /// them
    #[arg(long)]
    pub cases: bool,
}

impl ReportArgs {
    /// Writes the report and prints its path.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        if self.cases && self.runs.len() > 1 {
            return Err(only_one());
        }
        if let [name] = &self.runs[..]
            && let Some(members) = RunSet::new(&home).sweep(name)?
        {
            return match self.cases {
                true => Err(only_one()),
                false => self.sweep(&members).map(|()| Exit::Done),
            };
        }
        let mut runs = runs::find_each(&home, &self.runs)?;
        let path = match (&self.out, runs.len()) {
            (out, 1) => self.one(runs.remove(0), out.as_deref())?,
            (out, _) => side_by_side(runs, out.as_deref().unwrap_or(Path::new("comparison.html")))?,
        };
        answer_data(&format!("{}\n", path.display()))?;
        Ok(Exit::Done)
    }

    /// Report of one run, beside which its cases' pages lie.
    fn one(&self, run: StoredRun, out: Option<&Path>) -> Result<PathBuf> {
        let folder = match out {
            Some(out) => out.parent().unwrap_or(Path::new("")).to_path_buf(),
            None => run.folder.path().to_path_buf(),
        };
        if self.cases {
            for stage in tests(&run) {
                view::stage_pages(&run, stage, &folder.join(report::CASES).join(&stage.stage))?;
            }
        }
        let subject = drawn(RunSubject::read(run)?.beside(&folder));
        match out {
            None => report::write(&subject),
            Some(out) => {
                disk::write(out, report::page(std::slice::from_ref(&subject)).as_bytes())?;
                Ok(out.to_path_buf())
            }
        }
    }

    fn sweep(&self, members: &[Member]) -> Result<()> {
        let runs: Vec<RunSummary> = members.iter().map(|one| one.summary.clone()).collect();
        let id = runs.first().and_then(|run| run.sweep.as_ref()).map(|sweep| sweep.id.as_str());
        let variants = Variants::of(id.unwrap_or_default(), &runs, "dice");
        let folders: Vec<RunFolder> = members.iter().map(|one| one.folder.clone()).collect();
        sweep_page::write(&variants, &folders, self.out.as_deref())
    }
}

fn only_one() -> Error {
    Error::usage("--cases: name one run, whose cases get pages")
}

/// Stages that scored the test cases, if their files are named.
fn tests(run: &StoredRun) -> impl Iterator<Item = &StageRecord> {
    let stages = run.record.stages.iter();
    stages.filter(|stage| {
        Kind::yields_of(&stage.kind) == Yields::TestScores && stage.artifact.is_some()
    })
}

/// With slices of the worst, median and best case of each test; without those whose files are gone.
pub fn drawn(mut subject: RunSubject) -> RunSubject {
    let run = &subject.past;
    let cases = report::ranked_cases(&subject).into_iter();
    let slices = cases
        .filter_map(|(stage, case)| view::case_slices(run, run.record.stage(&stage)?, &case).ok());
    subject.slices = slices.collect();
    subject
}

fn side_by_side(runs: Vec<StoredRun>, path: &Path) -> Result<PathBuf> {
    let subjects = runs.into_iter().map(RunSubject::read).collect::<Result<Vec<_>>>()?;
    disk::write(path, report::page(&subjects).as_bytes())?;
    Ok(path.to_path_buf())
}
