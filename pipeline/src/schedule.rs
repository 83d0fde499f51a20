//! The schedule: which stage may begin now. A pure state machine: no I/O, no threads, no clock.
//!
//! A stage begins once all that it needs is done and its resources are free: the first in order
//! that fits. A stage that was overtaken [`PATIENCE`] times keeps what it lacks from later ones, so
//! that a stage which wants much is not starved by many that want little. A stage that waits for
//! another process gives its resources back ([`Schedule::pause`]) and asks for them again
//! ([`Schedule::resume`]).

use crate::resources::Resources;
use std::collections::{BTreeMap, BTreeSet};

/// A stage in the schedule, by its position in the list given to [`Schedule::new`].
pub type StageId = usize;

/// Times that a stage is overtaken before it keeps what it lacks from others.
pub const PATIENCE: u32 = 4;

/// A stage as the schedule sees it.
#[derive(Clone, Debug)]
pub struct ScheduledStage {
    /// Stages that must finish before.
    pub needs: Vec<StageId>,
    /// Resources it takes while it runs; of more than there is, all.
    pub wants: Resources,
}

/// The state of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageState {
    /// Something it needs is not done.
    Waiting,
    /// It may begin once its resources are free.
    Ready,
    /// It has its resources.
    Running,
    /// It runs without resources, waiting for others.
    Paused,
    /// It runs without resources and wants them.
    Resuming,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Will not begin: something it needs failed or was skipped, or the schedule was stopped.
    Skipped,
}

/// Resources for a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// It begins.
    Begin(StageId),
    /// It goes on after waiting.
    Resume(StageId),
}

/// Stages that may begin, run, and are over. Each step costs what it changes, however many stages
/// there are.
#[derive(Clone, Debug)]
pub struct Schedule {
    states: Vec<StageState>,
    wants: Vec<Resources>,
    /// Stages that read each stage.
    readers: Vec<Vec<StageId>>,
    /// Unfinished inputs of each stage.
    missing: Vec<usize>,
    free: Resources,
    /// Stages that want the same resources, least first: those that resume, then in order.
    wanting: BTreeMap<Resources, BTreeSet<(bool, StageId)>>,
    /// Times that each stage was overtaken.
    overtaken: BTreeMap<StageId, u32>,
    /// Stages running, paused or resuming.
    active: usize,
    keep_going: bool,
    stopped: bool,
}

impl Schedule {
    /// A schedule in which nothing has begun. With `keep_going` a failure stops only what needs it.
    /// The needs must be free of circles.
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

    /// Gives resources to the next stage. `None` until something changes.
    pub fn turn(&mut self) -> Option<NextAction> {
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

    /// The first of the heads of the queues that fits and takes nothing that is kept for another.
    fn first_that_fits(&mut self, heads: &[(bool, StageId)]) -> Option<(bool, StageId)> {
        let (mut kept, mut passed) = (Resources::default(), vec![]);
        for &(begins, id) in heads {
            let wants = self.wants[id];
            if wants.fits(self.free) && !wants.overlaps(kept) {
                self.count_overtaken(&passed, wants);
                return Some((begins, id));
            }
            if self.overtaken.get(&id).is_some_and(|times| *times >= PATIENCE) {
                kept += wants.lacking(self.free);
            }
            passed.push(id);
        }
        None
    }

    fn count_overtaken(&mut self, passed: &[StageId], taken: Resources) {
        for &id in passed {
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

    /// A stage is over. Returns what is skipped because of it, in order.
    pub fn finish(&mut self, id: StageId, ok: bool) -> Vec<StageId> {
        debug_assert!(self.is_active(id), "stage {id} is {:?} and cannot finish", self.states[id]);
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

    /// A running stage waits for others and gives its resources back.
    pub fn pause(&mut self, id: StageId) {
        if self.states[id] == StageState::Running {
            self.free += self.wants[id];
            self.states[id] = StageState::Paused;
        }
    }

    /// A paused stage wants its resources again; [`Schedule::turn`] gives them, before any that has
    /// not begun.
    pub fn resume(&mut self, id: StageId) {
        if self.states[id] == StageState::Paused {
            self.states[id] = StageState::Resuming;
            self.queue(false, id);
        }
    }

    /// Nothing begins any more; what runs may finish.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Skips all that has not begun. Returns it, in order.
    pub fn skip_rest(&mut self) -> Vec<StageId> {
        self.wanting.values_mut().for_each(|queue| queue.retain(|(begins, _)| !begins));
        let rest: Vec<StageId> = (0..self.states.len())
            .filter(|&id| matches!(self.states[id], StageState::Waiting | StageState::Ready))
            .collect();
        rest.iter().for_each(|&id| self.states[id] = StageState::Skipped);
        rest
    }

    /// The state of a stage.
    pub fn state(&self, id: StageId) -> StageState {
        self.states[id]
    }

    /// True if nothing runs and nothing can begin.
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

    /// Skips whatever needs something that failed or was skipped, near or far.
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
