//! `voxflow plan`: prints each stage's planned action with its reason. Changes nothing.

use super::place_args::PlaceArgs;
use super::plan_total::{PlanTotal, part};
use super::workflow_args::{AxesArgs, SelectionArgs, WorkflowArgs};
use super::{AnswerFormat, answer};
use crate::error::{Exit, Result};
use crate::event::{Decision, Planned};
use crate::executor::remote;
use crate::executor::remote::cluster::JobWants;
use crate::explain::Explainer;
use crate::forecast::{self, ExpectedAction, ItemsExpected, Outlook, PlanForecast};
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

/// Items named in a line.
const MOST_NAMES: usize = 4;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow plan liver.yaml
  voxflow plan liver.yaml --set model.epochs=20

What follows a change is told as expected, case by case, with times of earlier runs: a stage that is
made again and comes out with the same bytes spares those after it.")]
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
        let store = home.read_store()?;
        let planner = Planner::new(&store, &wishes, Explainer::new(&home, &store));
        let (mut blocked, mut text) = (false, String::new());
        let mut total = PlanTotal::default();
        for (workflow, variant) in workflows {
            let plan = planner.plan(workflow)?;
            let forecast = forecast::of(&plan, &planner, &store)?;
            total.add(&plan, &forecast, planner.history());
            let variant = VariantPlan {
                values: variant.map(|variant| variant.values).unwrap_or_default(),
                earlier: plan.workflow.earlier_in_words(),
                labelled: labelled_cases::words(&plan, &store),
                moved: moved_cases::foreseen(&plan, &store, planner.history()),
                troubles: foreseen::of_plan(&plan, &store, None),
                jobs: jobs(&site, &plan, planner.history()),
                plan,
                forecast,
            };
            blocked |= variant.is_blocked();
            text.push_str(&match self.format {
                AnswerFormat::Json => variant.json(),
                AnswerFormat::Text => variant.text(swept),
            });
        }
        if matches!(self.format, AnswerFormat::Text) {
            text.push_str(&total.line().unwrap_or_default());
        }
        answer(&secret::strip(&text))?;
        Ok(if blocked { Exit::Usage } else { Exit::Done })
    }
}

/// The plan of a workflow or of a variant of its sweep, with remarks.
struct VariantPlan {
    /// Swept values by dotted path.
    values: BTreeMap<String, Value>,
    plan: Plan,
    forecast: PlanForecast,
    jobs: BTreeMap<String, JobWants>,
    earlier: Vec<(String, String)>,
    labelled: Vec<(String, String)>,
    moved: Vec<(String, String)>,
    troubles: Vec<String>,
}

impl VariantPlan {
    fn is_blocked(&self) -> bool {
        !self.plan.blocked().is_empty() || !self.troubles.is_empty()
    }

    fn json(&self) -> String {
        let plan = json!({
            "values": self.values, "stages": stages_as_json(&self.plan, &self.forecast),
            "moved_cases": self.moved, "labelled_cases": self.labelled, "earlier": self.earlier,
            "jobs": jobs_as_json(&self.jobs), "troubles": self.troubles,
        });
        format!("{plan}\n")
    }

    fn text(&self, swept: bool) -> String {
        let mut text = String::new();
        if !self.values.is_empty() {
            text.push_str(&format!("{}\n", sweep::in_words(&self.values)));
        }
        text.push_str(&render(&self.plan, &self.forecast, &self.jobs, swept));
        text.push_str(&lines("", &self.earlier));
        text.push_str(&lines("", &self.labelled));
        text.push_str(&lines("warning: ", &self.moved));
        self.troubles.iter().for_each(|words| text.push_str(&format!("error: {words}\n")));
        text
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
fn render(
    plan: &Plan,
    forecast: &PlanForecast,
    jobs: &BTreeMap<String, JobWants>,
    swept: bool,
) -> String {
    let planned = plan.planned();
    let width =
        |of: fn(&Planned) -> &str| planned.iter().map(|stage| of(stage).len()).max().unwrap_or(0);
    let (stages, kinds) = (width(|stage| &stage.stage), width(|stage| &stage.kind));
    let mut text = String::new();
    let is_shown =
        |(at, stage): &(usize, &Planned)| !(plan.is_consequence(*at) || swept && is_reused(stage));
    for (at, stage) in planned.iter().enumerate().filter(is_shown) {
        let job = jobs.get(&stage.stage).map(|wants| format!("; as a job with {wants}"));
        let words = in_words(&stage.decision, &forecast.stages[at]) + &job.unwrap_or_default();
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

fn in_words(decision: &Decision, outlook: &Outlook) -> String {
    let items = outlook.items.as_ref();
    match (decision, &outlook.expected) {
        (Decision::Reuse { note, seconds, .. }, _) => {
            let note = note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
            format!("reuse (took {}{note})", humanize::duration(*seconds))
        }
        (Decision::Run { reason, cost_seconds, .. }, _) => {
            run_in_words(reason, *cost_seconds, items)
        }
        (Decision::Follows { .. }, Some(ExpectedAction::Run { reason, cost_seconds })) => {
            format!("expected to {}", run_in_words(reason, *cost_seconds, items))
        }
        (Decision::Follows { .. }, Some(ExpectedAction::Reuse { seconds })) => {
            format!("expected to be reused (took {})", humanize::duration(*seconds))
        }
        (Decision::Follows { stages }, None) => {
            format!("depends on {} (decided at run time)", stages.join(", "))
        }
        (Decision::Excluded, _) => "left out".into(),
        (Decision::Blocked { reason }, _) => format!("cannot run: {reason}"),
    }
}

/// "run because file 'a.nii' changed; 1 of 13 volumes (case_04), about 3 s".
fn run_in_words(reason: &str, cost: Option<f64>, items: Option<&ItemsExpected>) -> String {
    let Some(items) = items else {
        let cost = cost.map(|seconds| format!(" (took {} last time)", humanize::duration(seconds)));
        return format!("run because {reason}{}", cost.unwrap_or_default());
    };
    let missing = &items.missing;
    let named: Vec<&str> = missing.iter().take(MOST_NAMES).map(String::as_str).collect();
    let more = missing.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named =
        if missing.is_empty() { String::new() } else { format!(" ({}{more})", named.join(", ")) };
    let count = part(missing.len() as u64, items.all, items.what);
    let about = items.seconds.filter(|_| !missing.is_empty());
    let about = about.map(|seconds| format!(", about {}", humanize::duration(seconds)));
    format!("run because {reason}; {count}{named}{}", about.unwrap_or_default())
}

/// Planned stages, each with what is expected of it.
fn stages_as_json(plan: &Plan, forecast: &PlanForecast) -> Vec<Value> {
    let each = plan.planned().into_iter().zip(&forecast.stages).map(|(planned, outlook)| {
        let mut stage = json!(planned);
        if let (Value::Object(fields), Value::Object(more)) = (&mut stage, json!(outlook)) {
            fields.extend(more);
        }
        stage
    });
    each.collect()
}
