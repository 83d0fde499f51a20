//! `voxflow sweep`: runs a workflow over parameter grids, folds and seeds under one schedule,
//! prints the variants' table, and tests the best on request.

use super::exec_args::ExecArgs;
use super::launch::{Launch, LaunchResult, exit};
use super::output::{ComparisonFormat, OutputArgs};
use super::workflow_args::{AxesArgs, SelectionArgs, WorkflowArgs};
use super::{sweep_page, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::humanize::count;
use crate::outcome::RunOutcome;
use crate::run::{RunFolder, Sweep};
use crate::selection::{StageSelection, testing};
use crate::tables::{self, RunSummary, Variants};
use crate::workflow::{Variant, Workflow};
use clap::Args;

#[derive(Debug, Args)]
pub struct SweepArgs {
    #[command(flatten)]
    pub source: WorkflowArgs,
    #[command(flatten)]
    pub axes: AxesArgs,
    #[command(flatten)]
    pub judgement: JudgementArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub means: ExecArgs,
}

#[derive(Clone, Debug, Args)]
pub struct JudgementArgs {
    /// Validation metric for choosing the best variant, averaged over folds and seeds
    #[arg(long, value_name = "METRIC", default_value = "dice")]
    pub by: String,
    /// Test the chosen variant; otherwise nothing is tested
    #[arg(long)]
    pub with_test: bool,
    /// Sort the table by a column; by default variants keep their order in the file
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Default for JudgementArgs {
    fn default() -> JudgementArgs {
        JudgementArgs {
            by: "dice".into(),
            with_test: false,
            sort: None,
            output: OutputArgs::default(),
        }
    }
}

impl SweepArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let workflows = self.source.workflows(&globals.home(), &self.axes.overrides()?)?;
        if workflows.iter().any(|(_, variant)| variant.is_none()) {
            return Err(Error::usage(format!(
                "{}: nothing is varied: say what with '--over PATH=V1,V2', '--folds K' or \
                 '--seeds A,B', or write 'sweep' into the file",
                self.source.file.display()
            )));
        }
        let wishes = self.selection.wishes()?;
        go(&Launch::new(globals, &self.source, &self.means)?, workflows, wishes, &self.judgement)
    }
}

/// Runs all variants, prints their table, and tests the best if requested.
pub fn go(
    launch: &Launch,
    workflows: Vec<(Workflow, Option<Variant>)>,
    wishes: StageSelection,
    judgement: &JudgementArgs,
) -> Result<Exit> {
    let id = Sweep::new_id();
    let runs: Vec<(Workflow, Sweep)> = workflows
        .into_iter()
        .filter_map(|(workflow, variant)| Some((workflow, member(&id, variant?))))
        .collect();
    let untestable = runs.first().is_some_and(|(workflow, _)| testing(workflow).is_empty());
    if judgement.with_test && untestable {
        return Err(Error::usage(
            "--with-test: no stage of the workflow reads the testing part: add one of the kind \
             'test'",
        ));
    }
    let variants = runs.iter().map(|(_, sweep)| sweep.variant).max().unwrap_or(0);
    if !launch.globals.quiet {
        let (runs, variants) = (count(runs.len() as u64, "run"), count(variants as u64, "variant"));
        tell(&format!("{id}: {runs}, {variants}; stages that variants share are made once"));
    }
    let landed = launch.go(each(&runs), &StageSelection { untested: true, ..wishes.clone() })?;
    let mut folders = landed.folders;
    let mut table = table(&id, &folders, &judgement.by)?;
    let all_done = landed.ending.outcomes.iter().all(|outcome| *outcome == RunOutcome::Done);
    let mut code = exit(&landed.ending);
    if judgement.with_test && all_done {
        let tested = test(launch, runs, table.best, wishes)?;
        code = exit(&tested.ending);
        folders.extend(tested.folders);
        table = self::table(&id, &folders, &judgement.by)?;
    }
    write(table, &folders, judgement)?;
    if !all_done && !launch.globals.quiet {
        tell("not all runs are done: the same command resumes from there");
    }
    Ok(code)
}

/// Tests the best variant in separate runs; training is reused.
fn test(
    launch: &Launch,
    runs: Vec<(Workflow, Sweep)>,
    best: Option<usize>,
    wishes: StageSelection,
) -> Result<LaunchResult> {
    let mut chosen: Vec<(Workflow, Sweep)> =
        runs.into_iter().filter(|(_, sweep)| Some(sweep.variant) == best).collect();
    if chosen.is_empty() {
        return Err(Error::Failed(
            "--with-test: no variant has a validation score to be chosen by".into(),
        ));
    }
    chosen.iter_mut().for_each(|(_, sweep)| sweep.chosen = true);
    if !launch.globals.quiet {
        tell(&format!("testing the best, variant {}", chosen[0].1.variant));
    }
    // What the sweep made by force is not made again for the test.
    let is_of_test = |name: &String| chosen.iter().any(|(workflow, _)| is_tested(workflow, name));
    let force = wishes.force.iter().filter(|name| is_of_test(name)).cloned().collect();
    launch.go(each(&chosen), &StageSelection { force, ..wishes })
}

/// True for the name of a stage that a sweep leaves to the test.
fn is_tested(workflow: &Workflow, name: &str) -> bool {
    let tested = testing(workflow);
    workflow.stages.iter().any(|stage| stage.is_named(name) && tested.contains(stage.id.as_str()))
}

fn member(id: &str, variant: Variant) -> Sweep {
    let Variant { number, values, repeats, .. } = variant;
    Sweep { id: id.to_string(), variant: number, values, repeats, chosen: false }
}

fn each(runs: &[(Workflow, Sweep)]) -> Vec<(Workflow, Option<Sweep>)> {
    runs.iter().map(|(workflow, sweep)| (workflow.clone(), Some(sweep.clone()))).collect()
}

fn table(id: &str, folders: &[RunFolder], by: &str) -> Result<Variants> {
    let runs = folders.iter().map(RunSummary::read).collect::<Result<Vec<_>>>()?;
    Ok(Variants::of(id, &runs, by))
}

/// Prints the variants' table and names the best; `folders` are those of its runs, for the page.
pub fn write(
    mut variants: Variants,
    folders: &[RunFolder],
    judgement: &JudgementArgs,
) -> Result<()> {
    if let Some(column) = &judgement.sort {
        sort(&mut variants, column)?;
    }
    let output = &judgement.output;
    match output.format {
        ComparisonFormat::Text | ComparisonFormat::Markdown => {
            let table = variants.sheet().write(output.style(), output.width());
            output.deliver(&format!("{table}\n{}\n", tables::verdict(&variants)))
        }
        ComparisonFormat::Html => sweep_page::write(&variants, folders, output.out.as_deref()),
        _ => output.deliver_full(&variants.full_sheet()),
    }
}

fn sort(variants: &mut Variants, column: &str) -> Result<()> {
    let names: Vec<String> =
        variants.paths().into_iter().map(String::from).chain(variants.columns()).collect();
    let named = names
        .iter()
        .find(|name| *name == column)
        .or_else(|| names.iter().find(|name| name.rsplit(['.', ' ']).next() == Some(column)))
        .cloned();
    if !named.as_deref().is_some_and(|name| variants.sort(name)) {
        let columns = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        return Err(Error::usage(format!(
            "--sort {column}: there is no such column; there are {columns}"
        )));
    }
    if named.is_some_and(|name| name.starts_with("testing ")) {
        warn_of_testing(column);
    }
    Ok(())
}

/// Warns against choosing by a testing score.
pub fn warn_of_testing(column: &str) {
    tell(&format!(
        "warning: '{column}' is a score of the testing cases: what is chosen by it is no longer \
         tested; choose by a validation score"
    ));
}
