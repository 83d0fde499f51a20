//! Total of one or several plans: stages to run, pending and reused, and their expected time.

use crate::event::Decision;
use crate::explain::Explainer;
use crate::humanize;
use crate::plan::Plan;
use std::collections::BTreeSet;
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
    /// Expected seconds of stages with a known time.
    seconds: f64,
    untimed: u64,
    seen: BTreeSet<String>,
}

impl PlanTotal {
    pub fn add(&mut self, plan: &Plan, history: &Explainer) {
        for planned in plan.planned() {
            let cost = match &planned.decision {
                Decision::Run { fingerprint, cost_seconds, .. } => {
                    if !self.seen.insert(fingerprint.to_hex()) {
                        continue;
                    }
                    let is_training = Kind::yields_of(&planned.kind) == Yields::Curves;
                    self.run += 1;
                    self.trainings += u64::from(is_training);
                    *cost_seconds
                }
                Decision::Follows { .. } => {
                    self.pending += 1;
                    history.cost(&plan.workflow.name, &planned.stage)
                }
                Decision::Reuse { fingerprint, .. } => {
                    self.reused += u64::from(self.seen.insert(fingerprint.to_hex()));
                    continue;
                }
                Decision::Excluded | Decision::Blocked { .. } => continue,
            };
            self.seconds += cost.unwrap_or(0.0);
            self.untimed += u64::from(cost.is_none());
        }
    }

    /// "total: 4 to run (1 training), 3 pending, 12 reused; about 9 min 02 s"; times are those of
    /// the last run. `None` if nothing may run.
    pub fn line(&self) -> Option<String> {
        if self.run + self.pending == 0 {
            return None;
        }
        let trainings = match self.trainings {
            0 => String::new(),
            trainings => format!(" ({})", humanize::count(trainings, "training")),
        };
        let mut counts = vec![format!("{} to run{trainings}", self.run)];
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

#[cfg(test)]
mod tests {
    use super::*;

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
