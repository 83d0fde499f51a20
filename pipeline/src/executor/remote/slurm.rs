//! Slurm through `sbatch`, `squeue`, `sacct` and `scancel`. A batch is one job array named after
//! it.

use super::cluster::{
    Cluster, Ended, JobArray, JobId, JobState, JobStatus, JobWants, Refused, Silent,
};
use crate::site::SlurmSite;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use voxflow_cache::disk;

/// Timeout for commands.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Array size if Slurm's configuration is unreadable.
const USUAL_ARRAY: usize = 1000;
/// Poll interval for a command's end.
const POLL_INTERVAL: Duration = Duration::from_millis(3);
/// Substrings in messages of permanent refusals.
const NEVER: [&str; 6] = [
    "cannot be satisfied",
    "can not be satisfied",
    "not available",
    "exceeds",
    "nvalid",
    "ot permitted",
];
/// Reasons for jobs that will not start by themselves.
const HELD: [&str; 9] = [
    "JobHeld",
    "PartitionTimeLimit",
    "PartitionConfig",
    "PartitionDown",
    "QOS",
    "Assoc",
    "BadConstraints",
    "ReqNodeNotAvail",
    "NodeDown",
];

/// Start of the reason of a job after a failed launch: Slurm requeues and holds it until a user
/// releases or cancels it.
const LAUNCH_FAILED: &str = "launch failed";

pub struct Slurm {
    site: SlurmSite,
    /// Queried at the first submission: a run with nothing to do never contacts Slurm.
    most_at_once: OnceLock<usize>,
}

impl Slurm {
    pub fn new(site: SlurmSite) -> Slurm {
        Slurm { site, most_at_once: OnceLock::new() }
    }

    /// Arguments for `sbatch`, excluding the script.
    fn arguments(&self, batch: &JobArray) -> Vec<String> {
        let (last, most) = (batch.attempts.len().saturating_sub(1), self.site.max_jobs);
        let mut all = vec![
            "--parsable".into(),
            "--open-mode=append".into(),
            format!("--job-name={}", batch.name),
            format!("--array=0-{last}%{most}"),
            format!("--output={}/%a.out", batch.folder.display()),
            format!("--signal=B:USR1@{}", self.site.lead.as_secs()),
        ];
        all.push(if self.site.requeue { "--requeue" } else { "--no-requeue" }.into());
        all.extend(self.asked(&batch.wants));
        all
    }

    /// Resource arguments.
    fn asked(&self, wants: &JobWants) -> Vec<String> {
        let site = &self.site;
        let mib = wants.resources.memory.div_ceil(1 << 20);
        let mut all = vec![
            "--nodes=1".into(),
            "--ntasks=1".into(),
            format!("--cpus-per-task={}", wants.resources.cpus.max(1)),
            format!("--mem={mib}M"),
        ];
        if wants.resources.gpus > 0 {
            let gpu = site.gpu.as_deref().unwrap_or("gpu");
            all.push(format!("--gres={gpu}:{}", wants.resources.gpus));
        }
        if let Some(time) = wants.time {
            all.push(format!("--time={}", time.as_secs().div_ceil(60)));
        }
        let named = [("partition", wants.partition.as_ref()), ("account", site.account.as_ref())];
        all.extend(
            named.into_iter().filter_map(|(key, value)| Some(format!("--{key}={}", value?))),
        );
        if !wants.exclude.is_empty() {
            all.push(format!("--exclude={}", wants.exclude.join(",")));
        }
        all.extend(site.options.iter().cloned());
        all
    }

    /// Job script. It `exec`s the program: Slurm's signals then reach it directly.
    fn script(&self) -> String {
        let program = self.site.program();
        let setup = self.site.setup.as_deref().unwrap_or("");
        let prefix = self.site.prefix.as_deref().unwrap_or("");
        format!(
            "#!/bin/bash\n{setup}\nbatch=$1\nattempt=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" \
             \"$batch/list\")\nexec {prefix} {program} task \"$attempt\"\n"
        )
    }

    /// Id of a batch possibly accepted although the answer was lost.
    fn taken(&self, name: &str) -> Option<JobId> {
        let found = answer("squeue", &["--me", "-h", "-t", "all", "-n", name, "-o", "%F"]).ok()?;
        found.lines().next().map(|id| id.trim().to_string()).filter(|id| !id.is_empty())
    }
}

impl Cluster for Slurm {
    fn name(&self) -> &'static str {
        "slurm"
    }

    fn most_at_once(&self) -> usize {
        *self.most_at_once.get_or_init(|| {
            let config = answer("scontrol", &["show", "config"]).unwrap_or_default();
            let size = config.lines().find_map(|line| line.strip_prefix("MaxArraySize"));
            let size = size.map(|line| line.trim_start_matches([' ', '=']).trim());
            size.and_then(|size| size.parse().ok()).unwrap_or(USUAL_ARRAY)
        })
    }

    fn test(&self, wants: &JobWants) -> Result<String, String> {
        let mut arguments = vec!["--test-only".to_string(), "--wrap=true".into()];
        arguments.extend(self.asked(wants));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        answer("sbatch", &arguments).map(|_| "taken".to_string())
    }

    fn submit(&self, batch: &JobArray) -> Result<JobId, Refused> {
        let list: Vec<String> =
            batch.attempts.iter().map(|attempt| attempt.display().to_string()).collect();
        let script = batch.folder.join("script.sh");
        let list = list.join("\n") + "\n";
        disk::write_whole(&batch.folder.join("list"), list.as_bytes())
            .and_then(|()| disk::write_whole(&script, self.script().as_bytes()))
            .map_err(|error| Refused::NotNow(error.to_string()))?;
        let mut arguments = self.arguments(batch);
        arguments.push(script.display().to_string());
        arguments.push(batch.folder.display().to_string());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match answer("sbatch", &arguments) {
            Ok(said) => match id_of(&said).or_else(|| self.taken(&batch.name)) {
                Some(id) => Ok(id),
                None => Err(Refused::NotNow(format!("sbatch answered '{}'", said.trim()))),
            },
            Err(words) if NEVER.iter().any(|never| words.contains(never)) => {
                Err(Refused::Never(words))
            }
            Err(words) => self.taken(&batch.name).ok_or(Refused::NotNow(words)),
        }
    }

    fn look(&self) -> Result<Vec<JobStatus>, Silent> {
        let format = "%j|%F|%K|%T|%r|%N";
        let said = answer("squeue", &["--me", "-h", "-r", "-t", "all", "-o", format]);
        Ok(said.map_err(Silent)?.lines().filter_map(queue_line).collect())
    }

    fn past(&self, batches: &[String]) -> Result<Vec<JobStatus>, Silent> {
        let names = format!("--name={}", batches.join(","));
        let format = "--format=JobName,JobID,State,NodeList";
        let arguments = ["-n", "-P", "-X", "-S", "now-7days", &names, format];
        Ok(answer("sacct", &arguments).map_err(Silent)?.lines().filter_map(past_line).collect())
    }

    fn cancel(&self, jobs: &[JobId]) -> Result<(), Silent> {
        let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
        answer("scancel", &jobs).map(drop).map_err(Silent)
    }

    fn look_interval(&self) -> Duration {
        self.site.look
    }
}

/// Id in the output of `sbatch --parsable`: "17" or "17;cluster".
fn id_of(said: &str) -> Option<JobId> {
    let id = said.trim().split(';').next()?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then(|| id.to_string())
}

/// Parses a `squeue` line: name, array id, index, state, reason, node.
fn queue_line(line: &str) -> Option<JobStatus> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [batch, id, index, state, why, node] = fields[..] else { return None };
    let state = state_of(state, why)?;
    Some(JobStatus {
        batch: own(batch)?,
        index: index.parse().ok()?,
        job: format!("{id}_{index}"),
        state,
        why: if why == "None" { String::new() } else { why.to_string() },
        node: node.to_string(),
    })
}

/// Parses an `sacct` line: name, id with index, state, node.
fn past_line(line: &str) -> Option<JobStatus> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let [batch, job, state, node] = fields[..] else { return None };
    let (_, index) = job.rsplit_once('_')?;
    let word = state.split(' ').next().unwrap_or_default();
    Some(JobStatus {
        batch: own(batch)?,
        index: index.parse().ok()?,
        job: job.to_string(),
        state: state_of(word, "")?,
        why: state.to_lowercase(),
        node: node.to_string(),
    })
}

fn own(batch: &str) -> Option<String> {
    batch.starts_with("vf-").then(|| batch.to_string())
}

/// Maps Slurm's state names.
fn state_of(word: &str, why: &str) -> Option<JobState> {
    Some(match word {
        "PENDING" if why.starts_with(LAUNCH_FAILED) => JobState::Over(Ended::LaunchFailed),
        "PENDING" if HELD.iter().any(|held| why.starts_with(held)) => JobState::Held,
        "PENDING" | "REQUEUED" | "REQUEUE_FED" => JobState::Waiting,
        "REQUEUE_HOLD" | "SPECIAL_EXIT" => JobState::Held,
        "RUNNING" | "CONFIGURING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "STAGE_OUT"
        | "SIGNALING" | "RESIZING" => JobState::Running,
        "COMPLETED" => JobState::Over(Ended::Completed),
        "CANCELLED" | "REVOKED" => JobState::Over(Ended::Cancelled),
        "FAILED" => JobState::Over(Ended::Failed),
        "OUT_OF_MEMORY" => JobState::Over(Ended::OutOfMemory),
        "TIMEOUT" | "DEADLINE" => JobState::Over(Ended::Timeout),
        "NODE_FAIL" | "BOOT_FAIL" | "PREEMPTED" => JobState::Over(Ended::NodeFailed),
        _ => return None,
    })
}

/// Runs a Slurm command; the error is its message, or a timeout.
fn answer(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A run that is itself a job would hand its own limits and cards on.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_jobs = text.starts_with("SLURM_") || text.starts_with("SBATCH_");
        if (is_jobs && text != "SLURM_CONF") || text == crate::gpus::VISIBLE {
            command.env_remove(&name);
        }
    }
    let output = output_in_time(command).map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let signal = output.status.signal().map(|signal| format!("died of signal {signal}"));
    Err(if words.is_empty() { format!("{program}: {}", signal.unwrap_or(said)) } else { words })
}

fn output_in_time(mut command: Command) -> std::io::Result<Output> {
    let mut child = command.spawn()?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let out = scope.spawn(move || read_all(stdout.as_mut().map(|out| out as &mut dyn Read)));
        let err = scope.spawn(move || read_all(stderr.as_mut().map(|err| err as &mut dyn Read)));
        let until = Instant::now() + TIMEOUT;
        let status = loop {
            match child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > until => {
                    child.kill().ok();
                    child.wait()?;
                    let words = format!("no answer in {} s", TIMEOUT.as_secs());
                    return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, words));
                }
                None => std::thread::sleep(POLL_INTERVAL),
            }
        };
        let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
        Ok(Output { status, stdout, stderr })
    })
}

fn read_all(from: Option<&mut dyn Read>) -> Vec<u8> {
    let mut bytes = vec![];
    if let Some(from) = from {
        from.read_to_end(&mut bytes).ok();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_read_by_name_and_index_and_jobs_of_others_are_left_alone() {
        let seen = queue_line("vf-0a1b2c3d|17|3|PENDING|Priority|").unwrap();
        assert_eq!(
            (seen.batch.as_str(), seen.index, seen.job.as_str()),
            ("vf-0a1b2c3d", 3, "17_3")
        );
        assert_eq!((seen.state, seen.why.as_str()), (JobState::Waiting, "Priority"));
        let held = queue_line("vf-0a1b2c3d|17|0|PENDING|PartitionTimeLimit|").unwrap();
        assert_eq!(held.state, JobState::Held);
        let failed = queue_line("vf-0a1b2c3d|17|0|PENDING|launch failed requeued held|").unwrap();
        assert_eq!(failed.state, JobState::Over(Ended::LaunchFailed));
        let over = queue_line("vf-0a1b2c3d|17|0|NODE_FAIL|None|n1").unwrap();
        assert_eq!((over.state, over.why.as_str()), (JobState::Over(Ended::NodeFailed), ""));
        assert_eq!(queue_line("train|17|0|RUNNING|None|n1"), None);
        assert_eq!(queue_line("garbage"), None);
    }

    #[test]
    fn the_accounting_names_who_cancelled() {
        let seen = past_line("vf-0a1b2c3d|17_3|CANCELLED by 0|n1").unwrap();
        assert_eq!(seen.state, JobState::Over(Ended::Cancelled));
        assert_eq!((seen.why.as_str(), seen.job.as_str()), ("cancelled by 0", "17_3"));
    }

    #[test]
    fn the_answer_of_a_submission_is_an_id_or_nothing() {
        assert_eq!(id_of("17\n").as_deref(), Some("17"));
        assert_eq!(id_of("17;main\n").as_deref(), Some("17"));
        assert_eq!(id_of("sbatch: warning"), None);
    }
}
