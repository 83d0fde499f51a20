//! Retry policy: a pure function from evidence about an attempt to a decision. Tested by the table
//! of failures in docs/cluster.md.

use super::cluster::{Ended, JobState, JobStatus};
use super::verdict::{End, StopReason};
use std::collections::BTreeMap;
use std::time::Duration;
use voxflow_stages::{Error, Reply};

/// A job counts as lost after this time missing in the queue, and this time without messages.
const UNSEEN: Duration = Duration::from_secs(120);
const SILENT: Duration = Duration::from_secs(300);
/// Attempts per cause of failure.
const NEVER_STARTED: u32 = 3;
const NODE: u32 = 5;
const NO_PROGRESS: u32 = 2;
const MEMORY: u32 = 2;
const LOST: u32 = 5;
/// Phrases by Slurm and the kernel about exhausted memory, in lower case.
const MEMORY_WORDS: [&str; 5] =
    ["exceeded memory limit", "exceeded job memory limit", "oom-kill", "oom_kill", "out of memory"];
/// Deaths on a node until it is excluded.
const DEATHS: u32 = 2;

/// Evidence about an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Latest verdict.
    pub verdict: Option<&'a End>,
    /// True if a process started.
    pub has_started: bool,
    /// Time since its last message; `None` without a process.
    pub silent_for: Option<Duration>,
    /// The job in the queue.
    pub seen: Option<&'a JobStatus>,
    /// The job in accounting.
    pub past: Option<&'a JobStatus>,
    /// Time since the job was last seen in the queue, or submitted.
    pub unseen_for: Duration,
    /// True if the cluster has answered since then.
    pub has_answered: bool,
    /// End of the job's output, including Slurm's own messages.
    pub output: &'a str,
    /// True if unfinished state grew during the attempt.
    pub has_moved: bool,
}

/// Attempts by cause of failure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tries {
    never_started: u32,
    memory: u32,
    node: u32,
    no_progress: u32,
    lost: u32,
    /// Job deaths by node.
    deaths: BTreeMap<String, u32>,
}

#[derive(Debug)]
pub enum RetryDecision {
    /// Keep waiting.
    Wait,
    /// Accept the successful verdict.
    Take,
    /// Submit another attempt.
    Again {
        /// Reason, as text.
        why: String,
        /// True to request more memory.
        more_memory: bool,
    },
    /// The stage failed or was stopped.
    Fail(Error),
}

impl Tries {
    /// Nodes to exclude.
    pub fn excluded(&self) -> Vec<String> {
        let dead = self.deaths.iter().filter(|(_, deaths)| **deaths >= DEATHS);
        dead.map(|(node, _)| node.clone()).collect()
    }

    /// Decides, counting a finished attempt.
    pub fn decide(&mut self, evidence: &Evidence) -> RetryDecision {
        match evidence.verdict {
            Some(End::Made { .. } | End::Shard) => RetryDecision::Take,
            Some(End::Failed { error }) => RetryDecision::Fail(failure(error)),
            Some(End::Stopped { why, has_moved }) => self.stopped(*why, *has_moved, evidence),
            None => self.without_verdict(evidence),
        }
    }

    fn stopped(&mut self, why: StopReason, has_moved: bool, evidence: &Evidence) -> RetryDecision {
        if is_alive(evidence) {
            // The cluster starts it again, or will tell of its end.
            return RetryDecision::Wait;
        }
        match why {
            StopReason::Walltime => self.out_of_time(has_moved),
            StopReason::Fenced => self.again_for_node("another process took it up", ""),
            StopReason::Asked => match evidence.seen.or(evidence.past) {
                Some(seen) if seen.state == JobState::Over(Ended::Cancelled) => cancelled(seen),
                // Slurm asks a job to end before it kills it at its limit.
                Some(seen) if seen.state == JobState::Over(Ended::Timeout) => {
                    self.out_of_time(has_moved)
                }
                Some(seen) => self.again_for_node("it was stopped from outside", &seen.node),
                None if evidence.unseen_for < UNSEEN => RetryDecision::Wait,
                None => self.again_for_node("it was stopped from outside", ""),
            },
        }
    }

    fn without_verdict(&mut self, evidence: &Evidence) -> RetryDecision {
        let over = evidence.seen.into_iter().chain(evidence.past).find_map(|seen| {
            let JobState::Over(ended) = seen.state else { return None };
            Some((ended, seen))
        });
        match over {
            // A requeued job is finished in accounting and alive in the queue: the queue counts.
            Some(_) if evidence.seen.is_some_and(|seen| !is_over(seen.state)) => {
                RetryDecision::Wait
            }
            Some((ended, seen)) => self.ended(ended, seen, evidence),
            None if evidence.seen.is_some() => RetryDecision::Wait,
            None => self.unseen(evidence),
        }
    }

    fn ended(&mut self, ended: Ended, seen: &JobStatus, evidence: &Evidence) -> RetryDecision {
        match ended {
            _ if is_out_of_memory(ended, seen, evidence.output) => self.out_of_memory(),
            Ended::Cancelled => cancelled(seen),
            Ended::Timeout => self.out_of_time(evidence.has_moved),
            Ended::NodeFailed | Ended::LaunchFailed => {
                self.again_for_node(&format!("node failure ({})", seen.why), &seen.node)
            }
            _ if !evidence.has_started => self.never_started(seen, last_line(evidence.output)),
            // The verdict may still be on its way from the node.
            _ if evidence.unseen_for < UNSEEN && ended == Ended::Completed => RetryDecision::Wait,
            _ => self.again_for_node(&format!("its process died ({})", seen.why), &seen.node),
        }
    }

    fn unseen(&mut self, evidence: &Evidence) -> RetryDecision {
        // A queue that lost the job, or does not answer, is no proof of death while messages come.
        let speaks = evidence.silent_for.is_some_and(|silent| silent < SILENT);
        if speaks || !evidence.has_answered || evidence.unseen_for < UNSEEN {
            return RetryDecision::Wait;
        }
        self.lost += 1;
        again_or(self.lost < LOST, "the cluster no longer knows its job", || {
            format!("its job was lost {LOST} times; see the cluster's log")
        })
    }

    fn never_started(&mut self, seen: &JobStatus, words: &str) -> RetryDecision {
        self.never_started += 1;
        let said = if words.is_empty() { seen.why.as_str() } else { words };
        *self.deaths.entry(seen.node.clone()).or_default() += 1;
        again_or(self.never_started < NEVER_STARTED, &format!("it did not start: {said}"), || {
            format!(
                "its job did not start in {NEVER_STARTED} tries: {said}; 'setup' and 'program' of \
                 the site say what a job begins with"
            )
        })
    }

    fn out_of_memory(&mut self) -> RetryDecision {
        self.memory += 1;
        if self.memory < MEMORY {
            let why = "its memory was not enough".to_string();
            return RetryDecision::Again { why, more_memory: true };
        }
        let words = "its job ran out of memory, also with more; raise resources.memory of the \
                     stage";
        RetryDecision::Fail(Error::failed(words))
    }

    fn out_of_time(&mut self, has_moved: bool) -> RetryDecision {
        self.no_progress = if has_moved { 0 } else { self.no_progress + 1 };
        again_or(self.no_progress < NO_PROGRESS, "its time was over", || {
            "its time was over twice without progress; raise resources.time of the stage, or \
             'lead' of the site, the time for a last checkpoint"
                .to_string()
        })
    }

    fn again_for_node(&mut self, why: &str, node: &str) -> RetryDecision {
        self.node += 1;
        if !node.is_empty() {
            *self.deaths.entry(node.to_string()).or_default() += 1;
        }
        again_or(self.node < NODE, why, || format!("it ended {NODE} times early: {why}"))
    }
}

fn again_or(may_try: bool, why: &str, failure: impl FnOnce() -> String) -> RetryDecision {
    match may_try {
        true => RetryDecision::Again { why: why.to_string(), more_memory: false },
        false => RetryDecision::Fail(Error::failed(failure())),
    }
}

fn failure(error: &Reply) -> Error {
    error.clone().error().unwrap_or_else(|| Error::failed("it failed without words"))
}

fn cancelled(seen: &JobStatus) -> RetryDecision {
    RetryDecision::Fail(Error::failed(format!("job {} was cancelled: {}", seen.job, seen.why)))
}

fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Over(_))
}

fn is_alive(evidence: &Evidence) -> bool {
    evidence.seen.is_some_and(|seen| !is_over(seen.state))
}

/// Without cgroups the batch system polls memory and kills: the job then counts as failed, and only
/// its output names the cause.
fn is_out_of_memory(ended: Ended, seen: &JobStatus, output: &str) -> bool {
    let is_told = [output, seen.why.as_str()].iter().any(|text| {
        let text = text.to_lowercase();
        MEMORY_WORDS.iter().any(|words| text.contains(words))
    });
    ended == Ended::OutOfMemory || (ended == Ended::Failed && is_told)
}

/// The last line that says something.
fn last_line(output: &str) -> &str {
    output.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10_000);

    fn seen(state: JobState) -> JobStatus {
        JobStatus {
            batch: "vf-0".into(),
            index: 0,
            job: "17_0".into(),
            state,
            why: "by uid 0".into(),
            node: "n1".into(),
        }
    }

    fn nothing() -> Evidence<'static> {
        Evidence {
            verdict: None,
            has_started: true,
            silent_for: Some(LONG),
            seen: None,
            past: None,
            unseen_for: LONG,
            has_answered: true,
            output: "",
            has_moved: false,
        }
    }

    /// The decision after as many attempts that ended so.
    fn after(times: usize, evidence: &Evidence) -> RetryDecision {
        let mut tries = Tries::default();
        (1..times).for_each(|_| drop(tries.decide(evidence)));
        tries.decide(evidence)
    }

    #[track_caller]
    fn again(decision: RetryDecision, words: &str) {
        let RetryDecision::Again { why, .. } = decision else { panic!("{decision:?}") };
        assert!(why.contains(words), "{why}");
    }

    #[track_caller]
    fn fails(decision: RetryDecision, words: &str) {
        let RetryDecision::Fail(error) = decision else { panic!("{decision:?}") };
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn a_verdict_counts_whatever_the_cluster_says() {
        let (made, dead) = (End::Shard, seen(JobState::Over(Ended::OutOfMemory)));
        let evidence = Evidence { verdict: Some(&made), seen: Some(&dead), ..nothing() };
        assert!(matches!(after(1, &evidence), RetryDecision::Take));
        let failed = End::Failed { error: Reply::from(&Error::failed("loss is NaN")) };
        fails(after(1, &Evidence { verdict: Some(&failed), ..nothing() }), "loss is NaN");
    }

    #[test]
    fn each_end_without_a_verdict_has_its_answer() {
        let ended = |ended| seen(JobState::Over(ended));
        let of =
            |state: &JobStatus, times| after(times, &Evidence { seen: Some(state), ..nothing() });
        again(of(&ended(Ended::NodeFailed), 1), "node failure");
        again(of(&ended(Ended::NodeFailed), 4), "node failure");
        again(of(&ended(Ended::LaunchFailed), 1), "node failure");
        fails(of(&ended(Ended::NodeFailed), 5), "5 times");
        fails(of(&ended(Ended::Cancelled), 1), "job 17_0 was cancelled: by uid 0");
        let RetryDecision::Again { more_memory: true, .. } = of(&ended(Ended::OutOfMemory), 1)
        else {
            panic!("more memory")
        };
        fails(of(&ended(Ended::OutOfMemory), 2), "raise resources.memory");
        again(of(&ended(Ended::Timeout), 1), "time was over");
        fails(of(&ended(Ended::Timeout), 2), "raise resources.time");
        let failed = ended(Ended::Failed);
        let words =
            "slurmstepd: error: Exceeded job memory limit\nslurmstepd: error: *** JOB 11 ***\n";
        let evidence = Evidence { seen: Some(&failed), output: words, ..nothing() };
        assert!(matches!(after(1, &evidence), RetryDecision::Again { more_memory: true, .. }));
        let evidence = Evidence {
            seen: Some(&failed),
            has_started: false,
            output: "loading\nmodule: not found\n\n",
            ..nothing()
        };
        again(after(2, &evidence), "module: not found");
        fails(after(3, &evidence), "did not start in 3 tries: module: not found");
    }

    #[test]
    fn a_training_that_moves_goes_on_at_every_time_limit() {
        let stopped = End::Stopped { why: StopReason::Walltime, has_moved: true };
        let over = seen(JobState::Over(Ended::Completed));
        let evidence = Evidence { verdict: Some(&stopped), seen: Some(&over), ..nothing() };
        again(after(50, &evidence), "time was over");
        let running = seen(JobState::Waiting);
        let evidence = Evidence { seen: Some(&running), ..evidence };
        assert!(matches!(after(1, &evidence), RetryDecision::Wait), "the cluster has requeued it");
    }

    #[test]
    fn a_job_that_stopped_because_its_time_was_over_counts_as_one_that_ran_out_of_it() {
        let over = seen(JobState::Over(Ended::Timeout));
        let [still, moved] =
            [false, true].map(|has_moved| End::Stopped { why: StopReason::Asked, has_moved });
        let of_still = Evidence { verdict: Some(&still), seen: Some(&over), ..nothing() };
        again(after(1, &of_still), "time was over");
        fails(after(2, &of_still), "raise resources.time");
        again(after(50, &Evidence { verdict: Some(&moved), ..of_still }), "time was over");
    }

    #[test]
    fn silence_changes_nothing_and_a_job_that_nobody_knows_is_lost_in_the_end() {
        let early = Evidence { unseen_for: Duration::from_secs(5), ..nothing() };
        assert!(matches!(after(1, &early), RetryDecision::Wait));
        let no_answer = Evidence { has_answered: false, ..nothing() };
        assert!(matches!(after(9, &no_answer), RetryDecision::Wait));
        let speaks = Evidence { silent_for: Some(Duration::from_secs(2)), ..nothing() };
        assert!(matches!(after(9, &speaks), RetryDecision::Wait));
        again(after(1, &nothing()), "no longer knows");
        fails(after(5, &nothing()), "lost 5 times");
    }

    #[test]
    fn a_node_on_which_jobs_die_twice_is_left_out() {
        let dead = seen(JobState::Over(Ended::NodeFailed));
        let evidence = Evidence { seen: Some(&dead), ..nothing() };
        let mut tries = Tries::default();
        drop(tries.decide(&evidence));
        assert!(tries.excluded().is_empty());
        drop(tries.decide(&evidence));
        assert_eq!(tries.excluded(), ["n1"]);
    }
}
