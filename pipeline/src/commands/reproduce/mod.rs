//! `voxflow reproduce`: runs a run's workflow again, takes over results proven by digests, and
//! compares all others byte for byte.

mod comparison;

use super::exec_args::ExecArgs;
use super::launch::{self, Launch};
use super::workflow_args::{SelectionArgs, WorkflowArgs};
use super::{answer, tell};
use crate::console::terminal_width;
use crate::earlier_runs::{Chained, HomeRuns};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::home::{Home, STORE};
use crate::outcome::RunOutcome;
use crate::packed_scripts::{self, SCRIPTS};
use crate::packs;
use crate::run::{RunRecord, StageRecord};
use crate::runs::{self, StoredRun};
use crate::text_table::TableFormat;
use crate::workflow::{
    Diagnostic, Override, Setting, SourceSpan, Workflow, either, environment, nearest, paths,
};
use clap::Args;
use comparison::Reproduction;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::Kind;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow reproduce spleen.tar                          # a file of 'voxflow pack'
  voxflow reproduce /home/anna/.voxflow/runs/20260102-… # a colleague's run, from where it lies
  voxflow reproduce spleen.tar --data /data/Task09_Spleen
  voxflow reproduce latest --anew                       # does the same run give the same bytes?

Results are taken over where recipe and bytes are those of the run; everything else is made here.
The exit code is 1 if any result has other bytes.")]
pub struct ReproduceArgs {
    /// Run: an id, a folder, or a packed file
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The data's place here, if it is another: for the stage, or for all that miss theirs
    #[arg(long, value_name = "[STAGE=]PATH")]
    pub data: Vec<String>,
    /// Change a parameter, for example final.overlap=0.5; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Take nothing over: make every stage again
    #[arg(long)]
    pub anew: bool,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub means: ExecArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

impl ReproduceArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let own = globals.home();
        let theirs = runs::find(&own, &self.run)?;
        if theirs.record.outcome == RunOutcome::Running {
            let id = &theirs.record.run;
            let words = format!("run '{id}' is in progress: reproduce it once it has ended");
            return Err(Error::usage(words));
        }
        let lower = if self.anew { None } else { store_of(&theirs, &own) };
        let globals = &Globals {
            lower_store: globals.lower_store.iter().cloned().chain(lower.clone()).collect(),
            ..globals.clone()
        };
        let source =
            WorkflowArgs { file: theirs.folder.file("resolved.yaml"), set: self.set.clone() };
        let workflow = self.workflow(&source, &theirs, &own)?;
        let mut wishes = self.selection.wishes()?;
        if self.anew {
            wishes.force = workflow.stages.iter().map(|stage| stage.id.clone()).collect();
        }
        let means = self.means_of(&theirs.record);
        let launch = Launch::new(globals, &source, &means)?;
        let landed = launch.go(vec![(workflow, None)], &wishes)?;
        let code = launch::exit(&landed.ending);
        let Some(folder) = landed.folders.first() else { return Ok(code) };
        let ours = StoredRun { record: folder.record()?, folder: folder.clone() };
        let comparison = Reproduction::of(&theirs, &ours, lower.as_deref())?;
        answer(&comparison.table().write(self.format, terminal_width()))?;
        if !globals.quiet {
            comparison.verdict().iter().for_each(|line| tell(line));
        }
        Ok(if code == Exit::Done && !comparison.is_same() { Exit::Failed } else { code })
    }

    fn workflow(&self, source: &WorkflowArgs, theirs: &StoredRun, own: &Home) -> Result<Workflow> {
        let overrides = self.data(theirs)?;
        let beside = Home::new(theirs.folder.home(), Some(&theirs.record.store));
        let runs = Chained([HomeRuns::new(own), HomeRuns::of_other(&beside, own)]);
        let workflows = source.workflows_among(&runs, &overrides)?;
        let Some((workflow, _)) = workflows.into_iter().next() else {
            return Err(Error::Failed(format!("{}: holds no workflow", source.file.display())));
        };
        let missing = paths::missing(&workflow, &environment::process);
        if missing.is_empty() {
            return Ok(workflow);
        }
        let lines = missing.iter().map(|mistake| {
            let stage = mistake.stage.as_deref().unwrap_or_default();
            format!("stage '{stage}': {}", mistake.trouble)
        });
        let lines: Vec<String> = lines.collect();
        Err(Error::Usage(format!("{}\n{}", lines.join("\n"), way_out(&workflow, &missing))))
    }

    /// Overrides for data paths: as given, or inside the pack.
    fn data(&self, theirs: &StoredRun) -> Result<Vec<Override>> {
        let mut places = vec![];
        for row in &theirs.record.stages {
            places.extend(self.scripts(theirs, row));
            let Some((key, path)) = locator(row) else { continue };
            let packed = packs::data_of(&theirs.folder, &row.stage).filter(|_| !path.exists());
            if let Some(folder) = packed {
                let manifest = folder.join("manifest");
                places.push(placed(&row.stage, key, &folder));
                if row.params["manifest"].is_string() && manifest.is_file() {
                    places.push(placed(&row.stage, "manifest", &manifest));
                }
            }
        }
        for words in &self.data {
            places.extend(given(words, &theirs.record)?);
        }
        Ok(places)
    }

    /// A stage's scripts inside the pack, unless '--set' names others.
    fn scripts(&self, theirs: &StoredRun, row: &StageRecord) -> Option<Override> {
        let path = format!("{}.{SCRIPTS}", row.stage);
        if self.set.iter().any(|words| words.trim_start().starts_with(&path)) {
            return None;
        }
        let folder = packs::data_of(&theirs.folder, &row.stage)?;
        let value = Setting::Value(packed_scripts::unpacked(&folder, row)?);
        Some(Override { path, value, place: SourceSpan::Set("the packed run's scripts".into()) })
    }

    /// The flags, by default with the run's number of threads: training is reproducible only with
    /// the same number.
    fn means_of(&self, record: &RunRecord) -> ExecArgs {
        let threads = self.means.threads.or_else(|| u16::try_from(record.threads).ok());
        ExecArgs { threads: threads.filter(|threads| *threads > 0), ..self.means.clone() }
    }
}

/// The advice for files that are not there.
fn way_out(workflow: &Workflow, missing: &[Diagnostic]) -> String {
    let of_program = |mistake: &Diagnostic| {
        let stage = mistake.stage.as_deref().and_then(|id| workflow.stage(id))?;
        stage.kind.runs_program.then_some(stage.id.as_str())
    };
    let mut ways = vec![];
    if missing.iter().any(|mistake| of_program(mistake).is_none()) {
        ways.push(
            "'--data [STAGE=]PATH' says where the data lies here, \
             'voxflow pack RUN --with-data' packs it"
                .to_string(),
        );
    }
    if let Some(stage) = missing.iter().find_map(of_program) {
        ways.push(format!("'--set {stage}.{SCRIPTS}.NAME=PATH' says where a script lies here"));
    }
    ways.join("\n")
}

/// Key and path for data read in place by a stage.
fn locator(row: &StageRecord) -> Option<(&'static str, PathBuf)> {
    let kind = Kind::named(&row.kind)?;
    let key = paths::PATHS.into_iter().find(|key| {
        kind.locators.contains(key) && row.params.get(*key).is_some_and(|value| value.is_string())
    })?;
    Some((key, PathBuf::from(row.params[key].as_str()?)))
}

fn placed(stage: &str, key: &str, path: &Path) -> Override {
    Override {
        path: format!("{stage}.{key}"),
        value: Setting::Value(path.display().to_string().into()),
        place: SourceSpan::Set(format!("--data {stage}={}", path.display())),
    }
}

/// Overrides for `--data [STAGE=]PATH`.
fn given(words: &str, record: &RunRecord) -> Result<Vec<Override>> {
    let readers: Vec<(&str, &'static str, PathBuf)> = record
        .stages
        .iter()
        .filter_map(|row| locator(row).map(|(key, path)| (row.stage.as_str(), key, path)))
        .collect();
    let stages: Vec<&str> = readers.iter().map(|(stage, ..)| *stage).collect();
    if readers.is_empty() {
        return Err(Error::usage(format!(
            "--data {words}: no stage of the run reads data in place"
        )));
    }
    let named = words.split_once('=').filter(|(stage, _)| !stage.contains('/'));
    if let Some((stage, path)) = named {
        let reader = readers.iter().find(|(id, ..)| *id == stage).ok_or_else(|| {
            let near = nearest(stage, stages.iter().copied());
            let near = near.map(|near| format!("; did you mean '{near}'?"));
            let near = near.unwrap_or_else(|| format!("; stages that do are {}", either(&stages)));
            Error::usage(format!("--data {words}: '{stage}' reads no data in place{near}"))
        })?;
        return Ok(vec![placed(stage, reader.1, Path::new(path))]);
    }
    let missing: Vec<&(&str, &str, PathBuf)> =
        readers.iter().filter(|(_, _, path)| !path.exists()).collect();
    let wanted: Vec<&(&str, &str, PathBuf)> =
        if missing.is_empty() { readers.iter().collect() } else { missing };
    match wanted.windows(2).all(|pair| pair[0].2 == pair[1].2) {
        true => Ok(wanted.iter().map(|(id, key, _)| placed(id, key, Path::new(words))).collect()),
        false => Err(Error::usage(format!(
            "--data {words}: could be for {}; write --data STAGE={words}",
            either(&wanted.iter().map(|(stage, ..)| *stage).collect::<Vec<_>>())
        ))),
    }
}

/// The store with a run's results, unless it belongs to the home.
fn store_of(run: &StoredRun, own: &Home) -> Option<PathBuf> {
    let places = [run.record.store.clone(), run.folder.home().join(STORE)];
    let store = places.into_iter().find(|store| store.join("entries").is_dir())?;
    let store = std::path::absolute(store).ok()?;
    let is_own = fs::canonicalize(&store).ok() == fs::canonicalize(own.store()).ok();
    (!is_own).then_some(store)
}
