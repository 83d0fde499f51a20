//! Total of one or several plans: items and stages to make, pending and reused, and their expected
//! time.

use crate::event::Decision;
use crate::explain::Explainer;
use crate::forecast::{ExpectedAction, Outlook, PlanForecast};
use crate::humanize;
use crate::plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_cache::Fingerprint;
use voxflow_stages::Kind;
use voxflow_stages::stage::Yields;

/// Counts over all variants; stages that variants share count once, where already known to be the
/// same.
#[derive(Default)]
pub struct PlanTotal {
    run: u64,
    trainings: u64,
    pending: u64,
    reused: u64,
    /// (missing, all) items by noun.
    items: BTreeMap<&'static str, (u64, u64)>,
    /// Expected seconds of stages with a known time.
    seconds: f64,
    untimed: u64,
    seen: BTreeSet<String>,
}

impl PlanTotal {
    pub fn add(&mut self, plan: &Plan, forecast: &PlanForecast, history: &Explainer) {
        for (planned, outlook) in plan.planned().iter().zip(&forecast.stages) {
            let is_training = Kind::yields_of(&planned.kind) == Yields::Curves;
            match (&planned.decision, &outlook.expected) {
                (Decision::Run { fingerprint, cost_seconds, .. }, _) => {
                    self.run(Some(*fingerprint), outlook, *cost_seconds, is_training);
                }
                (Decision::Follows { .. }, Some(ExpectedAction::Run { cost_seconds, .. })) => {
                    self.run(outlook.fingerprint, outlook, *cost_seconds, is_training);
                }
                (Decision::Follows { .. }, Some(ExpectedAction::Reuse { .. })) => {
                    self.reused += u64::from(self.is_new(outlook.fingerprint));
                }
                (Decision::Follows { .. }, None) => {
                    self.pending += 1;
                    self.cost(history.cost(&plan.workflow.name, &planned.stage));
                }
                (Decision::Reuse { fingerprint, .. }, _) => {
                    self.reused += u64::from(self.is_new(Some(*fingerprint)));
                }
                (Decision::Excluded | Decision::Blocked { .. }, _) => {}
            }
        }
    }

    /// Counts a stage to run, once.
    fn run(
        &mut self,
        fingerprint: Option<Fingerprint>,
        outlook: &Outlook,
        cost: Option<f64>,
        is_training: bool,
    ) {
        if !self.is_new(fingerprint) {
            return;
        }
        self.run += 1;
        self.trainings += u64::from(is_training);
        let Some(items) = &outlook.items else { return self.cost(cost) };
        let (missing, all) = self.items.entry(items.what).or_default();
        *missing += items.missing.len() as u64;
        *all += items.all;
        self.cost(items.seconds.or(cost));
    }

    fn cost(&mut self, seconds: Option<f64>) {
        self.seconds += seconds.unwrap_or(0.0);
        self.untimed += u64::from(seconds.is_none());
    }

    fn is_new(&mut self, fingerprint: Option<Fingerprint>) -> bool {
        fingerprint.is_none_or(|fingerprint| self.seen.insert(fingerprint.to_hex()))
    }

    /// "total: 1 of 13 volumes, 4 to run (1 training), 12 reused; about 9 min 02 s"; times are
    /// those of the last run. `None` if nothing may run.
    pub fn line(&self) -> Option<String> {
        if self.run + self.pending == 0 {
            return None;
        }
        let trainings = match self.trainings {
            0 => String::new(),
            trainings => format!(" ({})", humanize::count(trainings, "training")),
        };
        let items = self.items.iter().filter(|(_, (missing, _))| *missing > 0);
        let mut counts: Vec<String> =
            items.map(|(what, (missing, all))| part(*missing, *all, what)).collect();
        counts.push(format!("{} to run{trainings}", self.run));
        let others = [(self.pending, "pending"), (self.reused, "reused")];
        let others = others.iter().filter(|(count, _)| *count > 0);
        counts.extend(others.map(|(count, word)| format!("{count} {word}")));
        let mut line = format!("total: {}", counts.join(", "));
        if self.run + self.pending > self.untimed {
            line += &format!("; about {}", humanize::duration(self.seconds));
        }
        if self.untimed > 0 {
            line += &format!("; {} without a known time", self.untimed);
        }
        Some(line + "\n")
    }
}

/// "1 of 13 volumes".
pub fn part(missing: u64, all: u64, what: &str) -> String {
    let plural = if all == 1 || what.ends_with('s') { "" } else { "s" };
    format!("{missing} of {all} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_first_and_those_that_are_there_are_not_mentioned() {
        let items = BTreeMap::from([("candidates", (0, 9)), ("volume", (1, 13))]);
        let total = PlanTotal { run: 2, items, seconds: 60.0, ..PlanTotal::default() };
        let line = total.line();
        assert_eq!(line.as_deref(), Some("total: 1 of 13 volumes, 2 to run; about 1 min 00 s\n"));
    }

    #[test]
    fn the_total_says_what_runs_and_how_long_as_far_as_known() {
        let total = PlanTotal {
            run: 4,
            trainings: 2,
            pending: 3,
            reused: 12,
            seconds: 542.0,
            untimed: 1,
            ..PlanTotal::default()
        };
        assert_eq!(
            total.line().as_deref(),
            Some(
                "total: 4 to run (2 trainings), 3 pending, 12 reused; about 9 min 02 s; 1 without \
                 a known time\n"
            )
        );
        let new = PlanTotal { run: 1, untimed: 1, ..PlanTotal::default() };
        assert_eq!(new.line().as_deref(), Some("total: 1 to run; 1 without a known time\n"));
        assert_eq!(PlanTotal { reused: 3, ..PlanTotal::default() }.line(), None);
    }
}
