//! The schedule: which stage may begin now. A pure state machine: no I/O, no threads, no clock.
//!
//! A stage begins once all that it needs is done and its pool has a free slot. One that waits for
//! another process gives its slot back ([`Schedule::pause`]) and asks for it again
//! ([`Schedule::resume`]).

use std::collections::BTreeSet;
use voxflow_stages::stage::Pool;

/// A stage in the schedule, by its position in the list given to [`Schedule::new`].
pub type StageId = usize;

/// A stage as the schedule sees it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Stages that must finish before.
    pub needs: Vec<StageId>,
    /// The slots it takes one of.
    pub pool: Pool,
}

/// Slots of each pool; at least one.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Mostly waiting.
    pub io: usize,
    /// Processor.
    pub cpu: usize,
    /// Accelerator.
    pub gpu: usize,
}

/// The state of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something it needs is not done.
    Waiting,
    /// It may begin once there is a slot.
    Ready,
    /// It has a slot.
    Running,
    /// It runs without a slot, waiting for others.
    Paused,
    /// It runs without a slot and wants one.
    Resuming,
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Will not begin: something it needs failed or was skipped, or the schedule was stopped.
    Skipped,
}

/// A slot for a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextAction {
    /// It begins.
    Begin(StageId),
    /// It goes on after waiting.
    Resume(StageId),
}

/// Which stages may begin, run, and are over. Each step costs what it changes, however many stages
/// there are.
#[derive(Clone, Debug)]
pub struct Schedule {
    states: Vec<State>,
    pools: Vec<Pool>,
    /// Stages that read each stage.
    readers: Vec<Vec<StageId>>,
    /// Unfinished inputs of each stage.
    missing: Vec<usize>,
    free: [usize; 3],
    /// Of each pool the stages that want a slot, least first: those that resume, then in order.
    wanting: [BTreeSet<(bool, StageId)>; 3],
    /// Stages running, paused or resuming.
    active: usize,
    keep_going: bool,
    stopped: bool,
}

impl Schedule {
    /// A schedule in which nothing has begun. With `keep_going` a failure stops only what needs it.
    /// The needs must be free of circles.
    pub fn new(nodes: Vec<Node>, slots: Slots, keep_going: bool) -> Schedule {
        let mut readers = vec![vec![]; nodes.len()];
        for (id, node) in nodes.iter().enumerate() {
            node.needs.iter().for_each(|&need| readers[need].push(id));
        }
        let mut schedule = Schedule {
            states: vec![State::Waiting; nodes.len()],
            pools: nodes.iter().map(|node| node.pool).collect(),
            readers,
            missing: nodes.iter().map(|node| node.needs.len()).collect(),
            free: [slots.io.max(1), slots.cpu.max(1), slots.gpu.max(1)],
            wanting: Default::default(),
            active: 0,
            keep_going,
            stopped: false,
        };
        (0..nodes.len()).filter(|&id| nodes[id].needs.is_empty()).for_each(|id| schedule.ready(id));
        schedule
    }

    /// Gives the next slot to a stage. `None` until something changes.
    pub fn turn(&mut self) -> Option<NextAction> {
        let open = (0..self.free.len()).filter(|&pool| self.free[pool] > 0);
        let first = open
            .filter_map(|pool| self.wanting[pool].first().map(|&(begins, id)| (begins, id, pool)));
        let (begins, id, pool) = first.filter(|&(begins, ..)| !(begins && self.stopped)).min()?;
        self.wanting[pool].remove(&(begins, id));
        self.free[pool] -= 1;
        self.active += usize::from(begins);
        self.states[id] = State::Running;
        Some(if begins { NextAction::Begin(id) } else { NextAction::Resume(id) })
    }

    /// A stage is over. Returns what is skipped because of it, in order.
    pub fn finish(&mut self, id: StageId, ok: bool) -> Vec<StageId> {
        debug_assert!(self.is_active(id), "stage {id} is {:?} and cannot finish", self.states[id]);
        if self.states[id] == State::Running {
            self.free[slot(self.pools[id])] += 1;
        }
        self.active -= 1;
        self.wanting[slot(self.pools[id])].remove(&(false, id));
        self.states[id] = if ok { State::Done } else { State::Failed };
        if ok {
            self.ready_after(id);
            return vec![];
        }
        self.stopped |= !self.keep_going;
        self.skip_after(id)
    }

    /// A running stage waits for others and gives its slot back.
    pub fn pause(&mut self, id: StageId) {
        if self.states[id] == State::Running {
            self.free[slot(self.pools[id])] += 1;
            self.states[id] = State::Paused;
        }
    }

    /// A paused stage wants a slot again; [`Schedule::turn`] gives it one, before any that has not
    /// begun.
    pub fn resume(&mut self, id: StageId) {
        if self.states[id] == State::Paused {
            self.states[id] = State::Resuming;
            self.wanting[slot(self.pools[id])].insert((false, id));
        }
    }

    /// Nothing begins any more; what runs may finish.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Skips all that has not begun. Returns it, in order.
    pub fn skip_rest(&mut self) -> Vec<StageId> {
        self.wanting.iter_mut().for_each(|wanting| wanting.retain(|(begins, _)| !begins));
        let rest: Vec<StageId> = (0..self.states.len())
            .filter(|&id| matches!(self.states[id], State::Waiting | State::Ready))
            .collect();
        rest.iter().for_each(|&id| self.states[id] = State::Skipped);
        rest
    }

    /// The state of a stage.
    pub fn state(&self, id: StageId) -> State {
        self.states[id]
    }

    /// True if nothing runs and nothing can begin.
    pub fn is_idle(&self) -> bool {
        self.active == 0 && (self.stopped || self.wanting.iter().all(BTreeSet::is_empty))
    }

    fn is_active(&self, id: StageId) -> bool {
        matches!(self.states[id], State::Running | State::Paused | State::Resuming)
    }

    fn ready(&mut self, id: StageId) {
        self.states[id] = State::Ready;
        self.wanting[slot(self.pools[id])].insert((true, id));
    }

    fn ready_after(&mut self, done: StageId) {
        for id in std::mem::take(&mut self.readers[done]) {
            self.missing[id] -= 1;
            if self.missing[id] == 0 && self.states[id] == State::Waiting {
                self.ready(id);
            }
        }
    }

    /// Skips whatever needs something that failed or was skipped, near or far.
    fn skip_after(&mut self, failed: StageId) -> Vec<StageId> {
        let (mut skipped, mut lost) = (vec![], vec![failed]);
        while let Some(id) = lost.pop() {
            for reader in std::mem::take(&mut self.readers[id]) {
                if self.states[reader] == State::Waiting {
                    self.states[reader] = State::Skipped;
                    skipped.push(reader);
                    lost.push(reader);
                }
            }
        }
        skipped.sort_unstable();
        skipped
    }
}

fn slot(pool: Pool) -> usize {
    match pool {
        Pool::Io => 0,
        Pool::Cpu => 1,
        Pool::Gpu => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::random::Draw;

    const ONE: Slots = Slots { io: 1, cpu: 1, gpu: 1 };

    fn next(schedule: &mut Schedule) -> Option<StageId> {
        schedule.turn().map(|turn| match turn {
            NextAction::Begin(id) | NextAction::Resume(id) => id,
        })
    }

    fn node(pool: Pool, needs: &[StageId]) -> Node {
        Node { needs: needs.to_vec(), pool }
    }

    #[test]
    fn a_stage_begins_when_all_it_needs_is_done() {
        let nodes = vec![node(Pool::Cpu, &[]), node(Pool::Cpu, &[]), node(Pool::Cpu, &[0, 1])];
        let mut schedule = Schedule::new(nodes, Slots { cpu: 2, ..ONE }, false);
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
    fn pools_do_not_take_each_others_slots() {
        let nodes = vec![
            node(Pool::Io, &[]),
            node(Pool::Cpu, &[]),
            node(Pool::Cpu, &[]),
            node(Pool::Gpu, &[]),
        ];
        let mut schedule = Schedule::new(nodes, ONE, false);
        assert_eq!(
            (next(&mut schedule), next(&mut schedule), next(&mut schedule), next(&mut schedule)),
            (Some(0), Some(1), Some(3), None)
        );
    }

    #[test]
    fn a_waiting_stage_gives_its_slot_back_and_gets_the_next_one() {
        let nodes = vec![node(Pool::Cpu, &[]), node(Pool::Cpu, &[]), node(Pool::Cpu, &[])];
        let mut schedule = Schedule::new(nodes, ONE, false);
        assert_eq!(next(&mut schedule), Some(0));
        schedule.pause(0);
        assert_eq!(next(&mut schedule), Some(1), "the slot is free for another");
        schedule.resume(0);
        assert_eq!((schedule.state(0), next(&mut schedule)), (State::Resuming, None));
        schedule.finish(1, true);
        assert_eq!(next(&mut schedule), Some(0), "it comes before what has not begun");
        assert_eq!(next(&mut schedule), None);
    }

    #[test]
    fn a_paused_stage_may_end_without_a_slot() {
        let mut schedule =
            Schedule::new(vec![node(Pool::Cpu, &[]), node(Pool::Cpu, &[])], ONE, false);
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
        let nodes = || {
            vec![
                node(Pool::Cpu, &[]),
                node(Pool::Cpu, &[0]),
                node(Pool::Cpu, &[1]),
                node(Pool::Cpu, &[]),
            ]
        };
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
        let mut schedule =
            Schedule::new(vec![node(Pool::Cpu, &[]), node(Pool::Cpu, &[])], ONE, true);
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
    /// what it needs is done, no pool is overbooked, and the schedule never stalls.
    #[test]
    fn every_random_graph_is_run_through() {
        for seed in 0..300 {
            let mut draw = Draw::new(seed, 0, 0, "schedule");
            let count = 1 + draw.below(20) as usize;
            let pools = [Pool::Io, Pool::Cpu, Pool::Gpu];
            let nodes: Vec<Node> = (0..count)
                .map(|id| Node {
                    needs: (0..id).filter(|_| draw.chance(0.25)).collect(),
                    pool: pools[draw.below(3) as usize],
                })
                .collect();
            run_through(&nodes, draw.chance(0.5), &mut draw, seed);
        }
    }

    fn run_through(nodes: &[Node], keep_going: bool, draw: &mut Draw, seed: u64) {
        let slots = Slots { io: 2, cpu: 1 + draw.below(3) as usize, gpu: 1 };
        let limits = [slots.io, slots.cpu, slots.gpu];
        let mut schedule = Schedule::new(nodes.to_vec(), slots, keep_going);
        let (mut running, mut paused, mut over) = (vec![], vec![], vec![]);
        let mut failed = false;
        while !schedule.is_idle() {
            while let Some(id) = next(&mut schedule) {
                assert!(
                    nodes[id].needs.iter().all(|&need| schedule.state(need) == State::Done),
                    "seed {seed}"
                );
                running.push(id);
            }
            for pool in [Pool::Io, Pool::Cpu, Pool::Gpu] {
                let busy = running.iter().filter(|&&id: &&usize| nodes[id].pool == pool).count();
                assert!(busy <= limits[slot(pool)], "seed {seed}: {busy} stages in a pool");
            }
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
        let skipped = (0..nodes.len()).any(|id| schedule.state(id) == State::Skipped);
        assert!(failed || !skipped, "seed {seed}: skipped without a failure");
    }
}
