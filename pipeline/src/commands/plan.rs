//! `voxflow plan`: prints each stage's planned action with its reason. Changes nothing.

use super::place_args::PlaceArgs;
use super::plan_total::PlanTotal;
use super::workflow_args::{AxesArgs, SelectionArgs, WorkflowArgs};
use super::{AnswerFormat, answer};
use crate::error::{Exit, Result};
use crate::event::{Decision, Planned};
use crate::executor::remote;
use crate::executor::remote::cluster::JobWants;
use crate::explain::Explainer;
use crate::foreseen;
use crate::globals::Globals;
use crate::humanize;
use crate::labelled_cases;
use crate::moved_cases;
use crate::plan::Plan;
use crate::planner::Planner;
use crate::secret;
use crate::selection::StageSelection;
use crate::site::{ExecutorName, Site};
use crate::workflow::sweep;
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use voxflow_cache::Store;

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub source: WorkflowArgs,
    #[command(flatten)]
    pub axes: AxesArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: AnswerFormat,
}

impl PlanArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let workflows = self.source.workflows(&globals.home(), &self.axes.overrides()?)?;
        let swept = workflows.iter().any(|(_, variant)| variant.is_some());
        let wishes = StageSelection { untested: swept, ..self.selection.wishes()? };
        let home = globals.home();
        let site = self.place.find(&home)?;
        let store = Store::read_only(home.store())?;
        let planner = Planner::looking(&store, &wishes, Explainer::new(&home, &store));
        let (mut blocked, mut text) = (false, String::new());
        let mut total = PlanTotal::default();
        for (workflow, variant) in workflows {
            let plan = planner.plan(workflow)?;
            let earlier = plan.workflow.earlier_in_words();
            let labelled = labelled_cases::words(&plan, &store);
            let moved = moved_cases::foreseen(&plan, &store, planner.history());
            let troubles = foreseen::of_plan(&plan, &store);
            blocked |= !plan.blocked().is_empty() || !troubles.is_empty();
            let jobs = jobs(&site, &plan, planner.history());
            total.add(&plan, planner.history());
            let values = variant.map(|variant| variant.values).unwrap_or_default();
            match self.format {
                AnswerFormat::Json => {
                    let plan = json!({
                        "values": values, "stages": plan.planned(), "moved_cases": moved,
                        "labelled_cases": labelled, "earlier": earlier, "jobs": jobs_as_json(&jobs),
                        "troubles": troubles,
                    });
                    text.push_str(&format!("{plan}\n"));
                }
                AnswerFormat::Text => {
                    if !values.is_empty() {
                        text.push_str(&format!("{}\n", sweep::in_words(&values)));
                    }
                    text.push_str(&render(&plan, &jobs, swept));
                    text.push_str(&lines("", &earlier));
                    text.push_str(&lines("", &labelled));
                    text.push_str(&lines("warning: ", &moved));
                    troubles.iter().for_each(|words| text.push_str(&format!("error: {words}\n")));
                }
            }
        }
        if matches!(self.format, AnswerFormat::Text) {
            text.push_str(&total.line().unwrap_or_default());
        }
        answer(&secret::strip(&text))?;
        Ok(if blocked { Exit::Usage } else { Exit::Done })
    }
}

fn lines(before: &str, by_stage: &[(String, String)]) -> String {
    by_stage.iter().map(|(stage, words)| format!("{before}{stage}: {words}\n")).collect()
}

/// Resources of jobs a run would submit, by stage.
fn jobs(site: &Site, plan: &Plan, history: &Explainer) -> BTreeMap<String, JobWants> {
    let mut jobs = BTreeMap::new();
    if site.executor == ExecutorName::Here {
        return jobs;
    }
    for (stage, planned) in plan.workflow.stages.iter().zip(plan.planned()) {
        let is_made = matches!(planned.decision, Decision::Run { .. } | Decision::Follows { .. });
        if is_made && stage.kind.demand.is_job {
            let peak = history.peak_memory(&plan.workflow.name, &stage.id);
            let wants = remote::wants(site, stage.kind, &stage.resources, "auto", peak);
            jobs.insert(stage.id.clone(), wants);
        }
    }
    jobs
}

fn jobs_as_json(jobs: &BTreeMap<String, JobWants>) -> Value {
    jobs.iter()
        .map(|(stage, wants)| (stage.clone(), job_as_json(wants)))
        .collect::<Map<_, _>>()
        .into()
}

fn job_as_json(wants: &JobWants) -> Value {
    json!({
        "cpus": wants.resources.cpus, "memory_bytes": wants.resources.memory,
        "gpus": wants.resources.gpus, "partition": wants.partition,
        "seconds": wants.time.map(|time| time.as_secs()),
    })
}

/// A line per stage, plus a summary sentence if a single stage explains everything. Of a sweep's
/// variant, reused stages are counted.
fn render(plan: &Plan, jobs: &BTreeMap<String, JobWants>, swept: bool) -> String {
    let planned = plan.planned();
    let width =
        |of: fn(&Planned) -> &str| planned.iter().map(|stage| of(stage).len()).max().unwrap_or(0);
    let (stages, kinds) = (width(|stage| &stage.stage), width(|stage| &stage.kind));
    let mut text = String::new();
    let is_shown =
        |(at, stage): &(usize, &Planned)| !(plan.is_consequence(*at) || swept && is_reused(stage));
    for (_, stage) in planned.iter().enumerate().filter(is_shown) {
        let job = jobs.get(&stage.stage).map(|wants| format!("; as a job with {wants}"));
        let words = in_words(&stage.decision) + &job.unwrap_or_default();
        text.push_str(&format!("{:stages$}  {:kinds$}  {words}\n", stage.stage, stage.kind));
    }
    let consequences = plan.consequences().map(|words| format!("{words}\n"));
    text += &consequences.unwrap_or_default();
    if swept {
        let reused = planned.iter().filter(|stage| is_reused(stage)).count() as u64;
        return text + &format!("{} reused\n", humanize::count(reused, "stage"));
    }
    text + &sentence(&planned)
}

/// Summary: "'model' will run: learning_rate 0.002 → 0.001 (compared with run 1a2b3c); everything
/// before it is reused".
fn sentence(planned: &[Planned]) -> String {
    let runs: Vec<(usize, &Planned, &String)> = planned
        .iter()
        .enumerate()
        .filter_map(|(at, stage)| match &stage.decision {
            Decision::Run { reason, .. } => Some((at, stage, reason)),
            _ => None,
        })
        .collect();
    match runs[..] {
        [] if planned.iter().all(is_reused) => "nothing will run: everything is reused\n".into(),
        [(at, stage, reason)] if at > 0 => {
            let rest = if planned[..at].iter().all(is_reused) {
                "; everything before it is reused"
            } else {
                ""
            };
            format!("'{}' will run: {reason}{rest}\n", stage.stage)
        }
        _ => String::new(),
    }
}

fn is_reused(stage: &Planned) -> bool {
    matches!(stage.decision, Decision::Reuse { .. })
}

fn in_words(decision: &Decision) -> String {
    match decision {
        Decision::Reuse { note, seconds, .. } => {
            let note = note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
            format!("reuse (took {}{note})", humanize::duration(*seconds))
        }
        Decision::Run { reason, cost_seconds, .. } => {
            let cost = cost_seconds
                .map(|seconds| format!(" (took {} last time)", humanize::duration(seconds)));
            format!("run because {reason}{}", cost.unwrap_or_default())
        }
        Decision::Follows { stages } => {
            format!("depends on {} (decided at run time)", stages.join(", "))
        }
        Decision::Excluded => "left out".into(),
        Decision::Blocked { reason } => format!("cannot run: {reason}"),
    }
}
