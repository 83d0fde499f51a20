//! `voxflow compare`: compares a few runs side by side, many one per row, a sweep by its variants;
//! on request per case, or as a page with curves.

mod args;
mod beside;
mod condition;
mod folded;

use super::output::ComparisonFormat;
use super::{sweep, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::humanize::count;
use crate::parse_size;
use crate::report::{self, RunSubject};
use crate::run::RunFolder;
use crate::run_set::{Member, RunSet};
use crate::runs::{self, StoredRun};
use crate::tables::{Column, RunSummary, RunTable, Variants, unequal_test_sets};
pub use args::CompareArgs;
pub use condition::Condition;
use folded::Folded;
use std::path::Path;
use voxflow_cache::disk;

/// Largest number of runs shown side by side.
const FEW: usize = 4;

impl CompareArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let cohort = RunSet::new(&home);
        if let Some((id, members)) = self.one_sweep(&cohort)? {
            return self.variants(&id, &members).map(|()| Exit::Done);
        }
        let mut members = cohort.named(&self.runs)?;
        let at = self.score_at(&mut members)?;
        let members = self.fitting(members)?;
        let (members, baseline) = self.with_baseline(members, &cohort)?;
        match (&self.output.format, members.len()) {
            (_, 0) => tell("no run fits"),
            (_, 1) if self.conditions.is_empty() => return Err(lonely(&members[0])),
            (ComparisonFormat::Html, _) => self.page(members)?,
            _ => {
                let members = self.folded(members);
                let (form, few) = (self.output.format, members.len());
                if few > 1 && (form == ComparisonFormat::Json || self.is_beside(few)) {
                    beside::write(self, members)?;
                } else {
                    self.rows(members, baseline, at.as_deref())?;
                }
            }
        }
        Ok(Exit::Done)
    }

    /// Identical runs folded for people, unless each run was named or all are asked for.
    fn folded(&self, members: Vec<Member>) -> Vec<Folded> {
        let each_named = members.len() <= self.runs.len();
        if each_named || self.all || !self.output.is_for_people() {
            return members.into_iter().map(Folded::alone).collect();
        }
        Folded::of(members)
    }

    /// True if runs are shown as columns.
    fn is_beside(&self, runs: usize) -> bool {
        let is_listed = self.sort.is_some() || self.at.is_some();
        let few = self.output.is_for_people() && runs <= FEW && !is_listed;
        self.cases || few
    }

    /// The requested sweep and its runs, if exactly one sweep was named.
    fn one_sweep(&self, cohort: &RunSet) -> Result<Option<(String, Vec<Member>)>> {
        let [name] = &self.runs[..] else { return Ok(None) };
        let by_run = self.each || self.at.is_some() || self.cases || !self.conditions.is_empty();
        if by_run {
            return Ok(None);
        }
        let members = cohort.sweep(name)?;
        Ok(members.and_then(|members| {
            Some((members.first()?.summary.sweep.as_ref()?.id.clone(), members))
        }))
    }

    fn variants(&self, id: &str, members: &[Member]) -> Result<()> {
        let by = self.metrics.first().map_or("dice", String::as_str).to_string();
        let runs: Vec<RunSummary> = members.iter().map(|member| member.summary.clone()).collect();
        let variants = Variants::of(id, &runs, &by);
        let (sort, output) = (self.sort.clone(), self.output.clone());
        let folders: Vec<RunFolder> = members.iter().map(|one| one.folder.clone()).collect();
        let judgement = sweep::JudgementArgs { by, with_test: false, sort, output };
        sweep::write(variants, &folders, &judgement)
    }

    /// Adds the score at a time of training to the runs; returns the metric's name.
    fn score_at(&self, members: &mut [Member]) -> Result<Option<String>> {
        let Some(time) = self.at.as_deref().map(str::trim) else { return Ok(None) };
        let seconds = parse_size::age(time)
            .map_err(|trouble| Error::usage(format!("--at {time}: {trouble}")))?
            .as_secs_f64();
        let mut name = String::new();
        for member in members.iter_mut() {
            name = member.summary.add_score_at(&member.folder, time, seconds)?;
        }
        let has_it =
            |member: &Member| member.summary.finals.iter().any(|one| one.found.metric == name);
        if !members.is_empty() && !members.iter().any(has_it) {
            return Err(Error::usage(format!(
                "--at {time}: no training of these runs was validated within that time: give a \
                 longer one"
            )));
        }
        Ok(Some(name))
    }

    /// Runs fulfilling all conditions.
    fn fitting(&self, mut members: Vec<Member>) -> Result<Vec<Member>> {
        for condition in &self.conditions {
            let runs: Vec<RunSummary> =
                members.iter().map(|member| member.summary.clone()).collect();
            if runs.is_empty() {
                break;
            }
            let column = condition
                .column(&runs)
                .map_err(|trouble| Error::usage(format!("--where: {trouble}")))?;
            members.retain(|member| condition.holds(&column, &member.summary));
        }
        Ok(members)
    }

    /// Runs with the baseline first, if named.
    fn with_baseline(
        &self,
        members: Vec<Member>,
        cohort: &RunSet,
    ) -> Result<(Vec<Member>, Option<RunSummary>)> {
        let Some(name) = &self.baseline else { return Ok((members, None)) };
        let mut found = cohort.named(std::slice::from_ref(name))?;
        if found.len() > 1 {
            let all = count(found.len() as u64, "run");
            return Err(Error::usage(format!(
                "--baseline {name}: means {all}: name one by its id"
            )));
        }
        let baseline = found[0].summary.clone();
        found.extend(members.into_iter().filter(|member| member.summary.run != baseline.run));
        Ok((found, Some(baseline)))
    }

    /// Prints one run per row.
    fn rows(
        &self,
        members: Vec<Folded>,
        baseline: Option<RunSummary>,
        at: Option<&str>,
    ) -> Result<()> {
        let people = self.output.is_for_people();
        let folded: usize = members.iter().map(|one| one.repeats.len()).sum();
        let repeats =
            members.iter().map(|one| (one.member.summary.run.clone(), one.repeats.len())).collect();
        let runs: Vec<RunSummary> = members.into_iter().map(|one| one.member.summary).collect();
        let mut roster = RunTable::new(runs, baseline, self.measured);
        roster.repeats = repeats;
        roster.only_stages(|stage| self.wants_stage(stage));
        let scores = at.map(|metric| self.scores_at(&roster, metric)).transpose()?;
        let scores = scores.unwrap_or_default();
        if let Some(column) = self.order(&roster, &scores)? {
            if column.is_testing(&roster.runs) {
                sweep::warn_of_testing(column.name());
            }
            roster.sort(&column, self.reverse);
        }
        let more = match (people, self.metrics.is_empty()) {
            (true, true) if !self.all => roster.for_people(),
            (true, true) => roster.few_params(),
            (_, true) => 0,
            (_, false) => {
                roster.only(&self.metrics);
                if people { roster.few_params() } else { 0 }
            }
        };
        roster.show_first(scores);
        self.print(&roster, more, folded)
    }

    /// Columns of the score at a time, those of single folds last.
    fn scores_at(&self, roster: &RunTable, metric: &str) -> Result<Vec<Column>> {
        let (mut scores, folds) = roster.scores_at(metric, |stage| self.wants_stage(stage));
        if let (None, [first, _, ..]) = (&self.sort, &scores[..]) {
            tell(&format!(
                "sorted by {}: '--stage' or '--sort' choose another training",
                first.name()
            ));
        }
        scores.extend(folds);
        match scores.is_empty() {
            true => Err(Error::usage(format!(
                "--stage: {} is no training of these runs that was validated within that time",
                self.stages.join(", ")
            ))),
            false => Ok(scores),
        }
    }

    /// The column to sort by: the one asked for, else the first score at a time.
    fn order(&self, roster: &RunTable, scores: &[Column]) -> Result<Option<Column>> {
        let Some(name) = &self.sort else { return Ok(scores.first().cloned()) };
        let named = Column::named(name, &roster.runs);
        named.map(Some).map_err(|trouble| Error::usage(format!("--sort: {trouble}")))
    }

    /// Prints the table and notes on it: `more` parameters and `folded` runs are left out.
    fn print(&self, roster: &RunTable, more: usize, folded: usize) -> Result<()> {
        let people = self.output.is_for_people();
        unequal_test_sets(&roster.runs).into_iter().for_each(|note| tell(&format!("note: {note}")));
        let sheet = roster.sheet(people);
        if !people {
            return self.output.deliver_full(&sheet);
        }
        self.output.deliver(&sheet.write(self.output.style(), self.output.width()))?;
        if more > 0 {
            tell(&format!(
                "{} more differ: '--format csv' has all columns",
                count(more as u64, "parameter")
            ));
        }
        if folded > 0 {
            tell(&format!(
                "{} with identical parameters and results folded into the first, as '(+1)': \
                 '--all' lists them",
                count(folded as u64, "run")
            ));
        }
        Ok(())
    }

    /// Writes a page with overlaid curves.
    fn page(&self, members: Vec<Member>) -> Result<()> {
        let subjects = members
            .into_iter()
            .map(|member| {
                let record = member.folder.record()?;
                RunSubject::read(StoredRun { record, folder: member.folder })
            })
            .collect::<Result<Vec<_>>>()?;
        let path = self.output.out.as_deref().unwrap_or(Path::new("comparison.html"));
        disk::write(path, report::page(&subjects).as_bytes())?;
        super::answer_data(&format!("{}\n", path.display()))
    }
}

fn lonely(member: &Member) -> Error {
    let run = &member.summary.run;
    let short = runs::short(run);
    Error::usage(format!(
        "only run '{run}' is meant, and nothing to compare it with: name another; \
         'voxflow show {short}' shows one"
    ))
}
