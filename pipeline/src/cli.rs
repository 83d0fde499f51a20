//! Command line: subcommands and dispatch.

use crate::commands;
use crate::error::{Exit, Result};
use crate::globals::Globals;
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Runs 3D medical image segmentation experiments from one YAML file; every result is cached
/// and reused.
#[derive(Debug, Parser)]
#[command(name = "voxflow", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a workflow: execute the stages without a stored result, reuse the others
    Run(commands::run::RunArgs),
    /// Run a workflow over grids of values, folds and seeds, and find the best variant
    Sweep(commands::sweep::SweepArgs),
    /// Stop runs: ask their processes, and cancel their jobs on a cluster
    Stop(commands::stop::StopArgs),
    /// Print each stage's planned action and the reason
    Plan(commands::plan::PlanArgs),
    /// Validate a workflow file: all mistakes, with their lines
    Check(commands::check::CheckArgs),
    /// List a workflow's parameters by the paths that --set takes: value, default, meaning
    Params(commands::params::ParamsArgs),
    /// Segment images with a trained model, without a workflow
    Predict(commands::predict::PredictArgs),
    /// Convert another program's weights into a model, without a workflow
    Import(commands::import::ImportArgs),
    /// Write a model for another program, without a workflow
    Export(commands::export::ExportArgs),
    /// Run a run's workflow again, here, and compare the results byte for byte
    Reproduce(commands::reproduce::ReproduceArgs),
    /// Write a run with its results into one file
    Pack(commands::pack::PackArgs),
    /// List the runs, the newest first
    Runs(commands::runs::RunsArgs),
    /// Show a run, or one stage of it
    Show(commands::show::ShowArgs),
    /// Put tags on a run: tagged runs are kept by 'rm --failed', 'rm --older-than' and 'cache gc'
    Tag(commands::tag::TagArgs),
    /// Write a note on a run
    Note(commands::tag::NoteArgs),
    /// Remove runs: by name, the failed, or the old
    Rm(commands::rm::RmArgs),
    /// Compare runs, or the variants of a sweep: parameters that differ, final metrics, curves
    Compare(commands::compare::CompareArgs),
    /// Write an HTML report about one or several runs
    Report(commands::report::ReportArgs),
    /// Draw a volume with its labels: slices as one picture, or as a page to browse
    View(commands::view::ViewArgs),
    /// Write a commented workflow for a Decathlon task, or for a folder of images and labels
    New(commands::new::New),
    /// Print paths to a run's files
    Path(commands::path::PathArgs),
    /// Maintain the store: size, verify, gc, rebuild
    #[command(subcommand)]
    Cache(commands::cache::CacheCommand),
    /// Write the demo workflow into this folder and run it: no data, no GPU needed
    Demo(commands::demo::DemoArgs),
    /// Say what this machine offers, and what to do about what is missing
    Doctor(commands::doctor::DoctorArgs),
    /// Inspect the cluster described by the site file
    #[command(subcommand)]
    Site(commands::site::SiteCommand),
    /// Make an attempt's stage inside a cluster job
    #[command(hide = true)]
    Task(commands::task::TaskArgs),
    /// Run a program and end all that it started: called by this program
    #[command(hide = true)]
    Supervise(commands::supervise::SuperviseArgs),
    /// Print candidates for a word of the command line: called by completion scripts
    #[command(hide = true, name = "_complete")]
    Complete(commands::complete::CompleteArgs),
    /// List the stage types (kinds) and their parameters
    Kinds(commands::kinds::KindsArgs),
    /// Write a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
    /// Write the manual: one page for the program and one for each command
    Man(commands::man::ManArgs),
}

impl Command {
    fn run(&self, globals: &Globals) -> Result<Exit> {
        match self {
            Command::Run(command) => command.run(globals),
            Command::Sweep(command) => command.run(globals),
            Command::Stop(command) => command.run(globals),
            Command::Plan(command) => command.run(globals),
            Command::Check(command) => command.run(globals),
            Command::Params(command) => command.run(globals),
            Command::Predict(command) => command.run(globals),
            Command::Import(command) => command.run(globals),
            Command::Export(command) => command.run(globals),
            Command::Reproduce(command) => command.run(globals),
            Command::Pack(command) => command.run(globals),
            Command::Runs(command) => command.run(globals),
            Command::Show(command) => command.run(globals),
            Command::Tag(command) => command.run(globals),
            Command::Note(command) => command.run(globals),
            Command::Rm(command) => command.run(globals),
            Command::Compare(command) => command.run(globals),
            Command::Report(command) => command.run(globals),
            Command::View(command) => command.run(globals),
            Command::Path(command) => command.run(globals),
            Command::Cache(command) => command.run(globals),
            Command::Demo(command) => command.run(globals),
            Command::Doctor(command) => command.run(globals),
            Command::Site(command) => command.run(globals),
            Command::Task(command) => command.run(),
            Command::Supervise(command) => command.run(),
            Command::Complete(command) => command.run(),
            Command::Kinds(command) => command.run(),
            Command::Completions(command) => command.run(Cli::command()),
            Command::New(command) => command.run(globals),
            Command::Man(command) => command.run(Cli::command()),
        }
    }
}

/// Parses the command line, runs the command, prints its error once.
pub fn main() -> ExitCode {
    let arguments = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        commands::unknown_flag::explained(error, &arguments.skip(1).collect::<Vec<_>>()).exit()
    });
    crate::log::begin(&cli.globals);
    let exit = cli.command.run(&cli.globals).unwrap_or_else(|error| {
        commands::complain(&error);
        error.exit()
    });
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// True if a line of a help text describes an option, rather than mentions it.
    fn lists(help: &str, option: &str) -> bool {
        let mut lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        lines.any(|line| line.split_whitespace().take(2).any(|word| word == option))
    }

    #[test]
    fn every_command_lists_its_own_options_before_the_global_ones() {
        let mut program = Cli::command();
        program.build();
        let global = ["--home", "--store", "--lower-store", "--quiet", "--verbose", "--log-format"];
        let commands = program.get_subcommands_mut();
        for command in commands.filter(|one| !one.is_hide_set() && one.get_name() != "help") {
            let (name, help) = (command.get_name().to_string(), command.render_help().to_string());
            let (own, after) = help.split_once("Global options:").expect(&name);
            for option in global {
                assert!(lists(after, option) && !lists(own, option), "{name}: {help}");
            }
            // Examples come after an empty line.
            let listed = after.split("\n\n").next().unwrap_or(after);
            let options = listed.lines().filter(|line| line.trim_start().starts_with('-'));
            let mut others = options.filter(|line| !global.iter().any(|one| line.contains(one)));
            assert!(others.all(|line| line.contains("--help")), "{name}: {help}");
        }
    }
}
