//! Decides which stages start next. A pure state machine: no I/O, threads or clock.
//!
//! A stage can start once its needs are done and its resources are free; the first fitting stage in
//! workflow order starts. After being overtaken [`PATIENCE`] times, a stage reserves its missing
//! resources: large requests are not starved by many small stages. A stage waiting for another
//! process releases its resources ([`Schedule::pause`]) and requests them again later
//! ([`Schedule::resume`]).

use crate::resources::Resources;
use std::collections::{BTreeMap, BTreeSet};

/// Index into the list given to [`Schedule::new`].
pub type StageId = usize;

/// Overtakes before a stage reserves missing resources.
pub const PATIENCE: u32 = 4;

#[derive(Clone, Debug)]
pub struct ScheduledStage {
    /// Stages to finish first.
    pub needs: Vec<StageId>,
    /// Resources held while running, capped at the budget.
    pub wants: Resources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
    /// Some need is unfinished.
    Waiting,
    /// Waits for resources only.
    Ready,
    /// Holds its resources.
    Running,
    /// Started, but waits for another process without resources.
    Paused,
    /// Paused before, now waits for resources.
    Resuming,
    Done,
    Failed,
    /// Will not start: a need failed or was skipped, or the schedule stopped.
    Skipped,
}

/// Resources granted to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// Start the stage.
    Begin(StageId),
    /// Continue the paused stage.
    Resume(StageId),
}

/// Scheduler state. Each step's cost depends on its changes, not on the number of stages.
#[derive(Clone, Debug)]
pub struct Schedule {
    states: Vec<StageState>,
    wants: Vec<Resources>,
    /// Dependent stages per stage.
    readers: Vec<Vec<StageId>>,
    /// Unfinished needs per stage.
    missing: Vec<usize>,
    free: Resources,
    /// Queues by demand, smallest first; inside a queue resuming stages come first, then workflow
    /// order.
    wanting: BTreeMap<Resources, BTreeSet<(bool, StageId)>>,
    /// Overtake count per stage.
    overtaken: BTreeMap<StageId, u32>,
    /// Stages running, paused or resuming.
    active: usize,
    keep_going: bool,
    stopped: bool,
}

impl Schedule {
    /// Fresh schedule. With `keep_going`, a failure stops only dependent stages. Needs must be
    /// acyclic.
    pub fn new(nodes: Vec<ScheduledStage>, budget: Resources, keep_going: bool) -> Schedule {
        let mut readers = vec![vec![]; nodes.len()];
        for (id, node) in nodes.iter().enumerate() {
            node.needs.iter().for_each(|&need| readers[need].push(id));
        }
        let mut schedule = Schedule {
            states: vec![StageState::Waiting; nodes.len()],
            wants: nodes.iter().map(|node| node.wants.at_most(budget)).collect(),
            readers,
            missing: nodes.iter().map(|node| node.needs.len()).collect(),
            free: budget,
            wanting: BTreeMap::new(),
            overtaken: BTreeMap::new(),
            active: 0,
            keep_going,
            stopped: false,
        };
        (0..nodes.len()).filter(|&id| nodes[id].needs.is_empty()).for_each(|id| schedule.ready(id));
        schedule
    }

    /// Grants resources to the next stage; `None` until a stage changes state.
    pub fn turn(&mut self) -> Option<NextAction> {
        // Stages in one queue have equal demands: if its head does not fit, no other does.
        let mut heads: Vec<(bool, StageId)> =
            self.wanting.values().filter_map(BTreeSet::first).copied().collect();
        heads.retain(|(begins, _)| !(*begins && self.stopped));
        heads.sort_unstable();
        let (begins, id) = self.first_that_fits(&heads)?;
        self.leave_queue(begins, id);
        self.free -= self.wants[id];
        self.overtaken.remove(&id);
        self.active += usize::from(begins);
        self.states[id] = StageState::Running;
        Some(if begins { NextAction::Begin(id) } else { NextAction::Resume(id) })
    }

    /// First queue head that fits without touching reserved resources.
    fn first_that_fits(&mut self, heads: &[(bool, StageId)]) -> Option<(bool, StageId)> {
        let (mut kept, mut passed) = (Resources::default(), vec![]);
        for &(begins, id) in heads {
            let wants = self.wants[id];
            if wants.fits(self.free) && !wants.overlaps(kept) {
                self.count_overtaken(&passed, wants);
                return Some((begins, id));
            }
            if self.overtaken.get(&id).is_some_and(|times| *times >= PATIENCE) {
                // Reserves only what it lacks: stages with other demands may still overtake it.
                kept += wants.lacking(self.free);
            }
            passed.push(id);
        }
        None
    }

    fn count_overtaken(&mut self, passed: &[StageId], taken: Resources) {
        for &id in passed {
            // Overtaking by a stage that takes nothing it lacks does not delay it.
            if self.wants[id].lacking(self.free).overlaps(taken) {
                *self.overtaken.entry(id).or_default() += 1;
            }
        }
    }

    fn leave_queue(&mut self, begins: bool, id: StageId) {
        if let Some(queue) = self.wanting.get_mut(&self.wants[id]) {
            queue.remove(&(begins, id));
        }
    }

    /// Records a stage's end; returns skipped stages in order.
    pub fn finish(&mut self, id: StageId, ok: bool) -> Vec<StageId> {
        debug_assert!(self.is_active(id), "stage {id} is {:?} and cannot finish", self.states[id]);
        // A stage may also end while paused or resuming, without resources.
        if self.states[id] == StageState::Running {
            self.free += self.wants[id];
        }
        self.active -= 1;
        self.leave_queue(false, id);
        self.states[id] = if ok { StageState::Done } else { StageState::Failed };
        if ok {
            self.ready_after(id);
            return vec![];
        }
        self.stopped |= !self.keep_going;
        self.skip_after(id)
    }

    /// Releases a running stage's resources while it waits for another process.
    pub fn pause(&mut self, id: StageId) {
        if self.states[id] == StageState::Running {
            self.free += self.wants[id];
            self.states[id] = StageState::Paused;
        }
    }

    /// Queues a paused stage, ahead of unstarted stages; [`Schedule::turn`] wakes it.
    pub fn resume(&mut self, id: StageId) {
        if self.states[id] == StageState::Paused {
            self.states[id] = StageState::Resuming;
            self.queue(false, id);
        }
    }

    /// Starts nothing more; running stages may finish.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Skips all unstarted stages; returns them in order.
    pub fn skip_rest(&mut self) -> Vec<StageId> {
        self.wanting.values_mut().for_each(|queue| queue.retain(|(begins, _)| !begins));
        let rest: Vec<StageId> = (0..self.states.len())
            .filter(|&id| matches!(self.states[id], StageState::Waiting | StageState::Ready))
            .collect();
        rest.iter().for_each(|&id| self.states[id] = StageState::Skipped);
        rest
    }

    pub fn state(&self, id: StageId) -> StageState {
        self.states[id]
    }

    /// True if nothing runs and nothing can start.
    pub fn is_idle(&self) -> bool {
        self.active == 0 && (self.stopped || self.wanting.values().all(BTreeSet::is_empty))
    }

    fn is_active(&self, id: StageId) -> bool {
        matches!(self.states[id], StageState::Running | StageState::Paused | StageState::Resuming)
    }

    fn ready(&mut self, id: StageId) {
        self.states[id] = StageState::Ready;
        self.queue(true, id);
    }

    fn queue(&mut self, begins: bool, id: StageId) {
        self.wanting.entry(self.wants[id]).or_default().insert((begins, id));
    }

    fn ready_after(&mut self, done: StageId) {
        for id in std::mem::take(&mut self.readers[done]) {
            self.missing[id] -= 1;
            if self.missing[id] == 0 && self.states[id] == StageState::Waiting {
                self.ready(id);
            }
        }
    }

    /// Skips all direct and indirect dependents.
    fn skip_after(&mut self, failed: StageId) -> Vec<StageId> {
        let (mut skipped, mut lost) = (vec![], vec![failed]);
        while let Some(id) = lost.pop() {
            for reader in std::mem::take(&mut self.readers[id]) {
                if self.states[reader] == StageState::Waiting {
                    self.states[reader] = StageState::Skipped;
                    skipped.push(reader);
                    lost.push(reader);
                }
            }
        }
        skipped.sort_unstable();
        skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::random::Draw;

    const ONE: Resources = Resources { io: 1, jobs: 1, cpus: 8, memory: 100, gpus: 1 };
    const NONE: Resources = Resources { io: 0, jobs: 0, cpus: 0, memory: 0, gpus: 0 };
    const IO: Resources = Resources { io: 1, ..NONE };
    const JOB: Resources = Resources { jobs: 1, ..NONE };
    const GPU: Resources = Resources { gpus: 1, ..NONE };

    fn next(schedule: &mut Schedule) -> Option<StageId> {
        schedule.turn().map(|turn| match turn {
            NextAction::Begin(id) | NextAction::Resume(id) => id,
        })
    }

    fn node(wants: Resources, needs: &[StageId]) -> ScheduledStage {
        ScheduledStage { needs: needs.to_vec(), wants }
    }

    #[test]
    fn a_stage_begins_when_all_it_needs_is_done() {
        let nodes = vec![node(JOB, &[]), node(JOB, &[]), node(JOB, &[0, 1])];
        let mut schedule = Schedule::new(nodes, Resources { jobs: 2, ..ONE }, false);
        assert_eq!(
            (next(&mut schedule), next(&mut schedule), next(&mut schedule)),
            (Some(0), Some(1), None)
        );
        assert!(schedule.finish(1, true).is_empty());
        assert_eq!(next(&mut schedule), None);
        schedule.finish(0, true);
        assert_eq!(next(&mut schedule), Some(2));
        schedule.finish(2, true);
        assert!(schedule.is_idle());
    }

    #[test]
    fn stages_of_other_resources_do_not_wait_for_each_other() {
        let nodes = vec![node(IO, &[]), node(JOB, &[]), node(JOB, &[]), node(GPU, &[])];
        let mut schedule = Schedule::new(nodes, ONE, false);
        assert_eq!(
            (next(&mut schedule), next(&mut schedule), next(&mut schedule), next(&mut schedule)),
            (Some(0), Some(1), Some(3), None)
        );
    }

    #[test]
    fn a_waiting_stage_gives_its_slot_back_and_gets_the_next_one() {
        let nodes = vec![node(JOB, &[]), node(JOB, &[]), node(JOB, &[])];
        let mut schedule = Schedule::new(nodes, ONE, false);
        assert_eq!(next(&mut schedule), Some(0));
        schedule.pause(0);
        assert_eq!(next(&mut schedule), Some(1), "the slot is free for another");
        schedule.resume(0);
        assert_eq!((schedule.state(0), next(&mut schedule)), (StageState::Resuming, None));
        schedule.finish(1, true);
        assert_eq!(next(&mut schedule), Some(0), "it comes before what has not begun");
        assert_eq!(next(&mut schedule), None);
    }

    #[test]
    fn a_paused_stage_may_end_without_a_slot() {
        let mut schedule = Schedule::new(vec![node(JOB, &[]), node(JOB, &[])], ONE, false);
        next(&mut schedule);
        schedule.pause(0);
        assert_eq!(next(&mut schedule), Some(1));
        schedule.resume(0);
        schedule.finish(0, true);
        assert_eq!(next(&mut schedule), None, "stage 1 still has the only slot");
        schedule.finish(1, true);
        assert!(schedule.is_idle());
    }

    #[test]
    fn a_failure_skips_what_needs_it_and_keep_going_decides_about_the_rest() {
        let nodes = || vec![node(JOB, &[]), node(JOB, &[0]), node(JOB, &[1]), node(JOB, &[])];
        for keep_going in [false, true] {
            let mut schedule = Schedule::new(nodes(), ONE, keep_going);
            next(&mut schedule);
            assert_eq!(schedule.finish(0, false), [1, 2]);
            assert_eq!(next(&mut schedule), keep_going.then_some(3));
            assert_eq!(schedule.skip_rest(), if keep_going { vec![] } else { vec![3] });
        }
    }

    #[test]
    fn after_a_stop_nothing_begins_but_what_runs_may_resume() {
        let mut schedule = Schedule::new(vec![node(JOB, &[]), node(JOB, &[])], ONE, true);
        next(&mut schedule);
        schedule.pause(0);
        schedule.stop();
        schedule.resume(0);
        assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(0), None));
        schedule.finish(0, true);
        assert!(schedule.is_idle());
        assert_eq!(schedule.skip_rest(), [1]);
    }

    /// Random graphs, random order of events: every stage is over exactly once, none begins before
    /// what it needs is done, no resource is overbooked, and the schedule never stalls.
    #[test]
    fn every_random_graph_is_run_through() {
        for seed in 0..300 {
            let mut draw = Draw::new(seed, 0, 0, "schedule");
            let count = 1 + draw.below(20) as usize;

            let nodes: Vec<ScheduledStage> = (0..count)
                .map(|id| ScheduledStage {
                    needs: (0..id).filter(|_| draw.chance(0.25)).collect(),
                    wants: some(&mut draw),
                })
                .collect();
            run_through(&nodes, draw.chance(0.5), &mut draw, seed);
        }
    }

    fn some(draw: &mut Draw) -> Resources {
        match draw.below(3) {
            0 => IO,
            1 => Resources { cpus: draw.below(6), memory: draw.below(12), ..JOB },
            _ => Resources { gpus: 1 + draw.below(3), ..NONE },
        }
    }

    fn run_through(nodes: &[ScheduledStage], keep_going: bool, draw: &mut Draw, seed: u64) {
        let budget = Resources { io: 2, jobs: 1 + draw.below(3), cpus: 4, memory: 10, gpus: 2 };
        let mut schedule = Schedule::new(nodes.to_vec(), budget, keep_going);
        let (mut running, mut paused, mut over) = (vec![], vec![], vec![]);
        let mut failed = false;
        while !schedule.is_idle() {
            while let Some(id) = next(&mut schedule) {
                assert!(
                    nodes[id].needs.iter().all(|&need| schedule.state(need) == StageState::Done),
                    "seed {seed}"
                );
                running.push(id);
            }
            let mut taken = NONE;
            running.iter().for_each(|&id: &usize| taken += nodes[id].wants.at_most(budget));
            assert!(taken.fits(budget), "seed {seed}: {taken:?} of {budget:?}");
            assert!(!running.is_empty() || !paused.is_empty(), "seed {seed}: stalled");
            if !paused.is_empty() && (running.is_empty() || draw.chance(0.3)) {
                let id = paused.swap_remove(draw.below(paused.len() as u64) as usize);
                schedule.resume(id);
                continue;
            }
            let id = running.swap_remove(draw.below(running.len() as u64) as usize);
            if draw.chance(0.2) {
                schedule.pause(id);
                paused.push(id);
                continue;
            }
            let ok = draw.chance(0.9);
            failed |= !ok;
            over.push(id);
            over.extend(schedule.finish(id, ok));
        }
        over.extend(schedule.skip_rest());
        over.sort_unstable();
        assert_eq!(over, (0..nodes.len()).collect::<Vec<_>>(), "seed {seed}");
        let skipped = (0..nodes.len()).any(|id| schedule.state(id) == StageState::Skipped);
        assert!(failed || !skipped, "seed {seed}: skipped without a failure");
    }

    #[test]
    fn the_first_that_fits_begins_and_gives_way_to_a_stage_that_wants_much_in_the_end() {
        let all = Resources { gpus: 4, ..NONE };
        let many = (0..20).map(|_| node(GPU, &[]));
        let nodes: Vec<ScheduledStage> =
            [node(GPU, &[]), node(all, &[])].into_iter().chain(many).collect();
        let mut schedule = Schedule::new(nodes, all, false);
        let mut running: Vec<StageId> = std::iter::from_fn(|| next(&mut schedule)).collect();
        assert_eq!(running, [0, 2, 3, 4], "the small ones use what the large one cannot");
        let mut over = 0;
        while !running.contains(&1) {
            schedule.finish(running.remove(0), true);
            running.extend(std::iter::from_fn(|| next(&mut schedule)));
            over += 1;
        }
        assert_eq!(running, [1], "it has all four cards to itself");
        assert!((4..=8).contains(&over), "{over} small ones were over before");
    }

    #[test]
    fn a_stage_that_wants_more_than_there_is_gets_all() {
        let much = Resources { memory: 1000, ..JOB };
        let mut schedule = Schedule::new(vec![node(much, &[]), node(much, &[])], ONE, false);
        assert_eq!((next(&mut schedule), next(&mut schedule)), (Some(0), None));
        schedule.finish(0, true);
        assert_eq!(next(&mut schedule), Some(1));
    }
}
