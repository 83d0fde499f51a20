//! Memory, processor time, input and output of running processes, looked at again and again.

use super::descendants::Process;
use crate::machine::{Usage, usage_of_children};
use std::fs;
use std::time::{Duration, Instant};

/// Time between two readings of proportional sizes, which take long, unless memory grew much.
const INTERVAL: Duration = Duration::from_secs(1);
/// Growth of resident sizes since the last reading that asks for another.
const GROWTH: f64 = 1.1;

#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// The most memory held at once, in bytes.
    peak: u64,
    /// The last reading of proportional sizes, and the sum of resident sizes then.
    looked: Option<(Instant, u64)>,
    /// The last seen of processes for which this one does not wait.
    elsewhere: Option<Usage>,
}

impl Gauge {
    /// Notes the memory that the processes hold together.
    pub(super) fn look(&mut self, processes: &[Process]) {
        let sum = sum(processes, resident);
        if sum <= self.peak {
            return;
        }
        match processes.len() {
            1 => self.peak = sum,
            _ if self.is_due(sum) => {
                self.peak = self.peak.max(self::sum(processes, proportional));
                self.looked = Some((Instant::now(), sum));
            }
            _ => {}
        }
    }

    fn is_due(&self, sum: u64) -> bool {
        self.looked.is_none_or(|(looked, then)| {
            looked.elapsed() > INTERVAL || sum as f64 > then as f64 * GROWTH
        })
    }

    /// Notes time, input and output of processes that are not below this one, as a daemon's.
    pub(super) fn look_elsewhere(&mut self, processes: &[Process]) {
        let seen = Usage {
            cpu_seconds: processes.iter().map(|process| process.ticks).sum::<u64>() as f64
                / ticks_per_second(),
            peak_rss_bytes: 0,
            read_bytes: processes.iter().map(|process| disk(process.pid, "read_bytes:")).sum(),
            written_bytes: processes.iter().map(|process| disk(process.pid, "write_bytes:")).sum(),
        };
        // Those that are gone took what they did with them, unless their parent is seen.
        let last = self.elsewhere.unwrap_or_default();
        self.elsewhere = Some(Usage {
            cpu_seconds: seen.cpu_seconds.max(last.cpu_seconds),
            peak_rss_bytes: 0,
            read_bytes: seen.read_bytes.max(last.read_bytes),
            written_bytes: seen.written_bytes.max(last.written_bytes),
        });
    }

    /// All that was taken, once this process has waited for its children. `is_contained`: the
    /// largest of them is an engine, and no part of the program.
    pub(super) fn usage(&self, is_contained: bool) -> Usage {
        let children = usage_of_children();
        let elsewhere = self.elsewhere.unwrap_or_default();
        let peak_rss_bytes = match is_contained && self.peak > 0 {
            true => self.peak,
            false => self.peak.max(children.peak_rss_bytes),
        };
        Usage {
            cpu_seconds: children.cpu_seconds + elsewhere.cpu_seconds,
            peak_rss_bytes,
            read_bytes: children.read_bytes + elsewhere.read_bytes,
            written_bytes: children.written_bytes + elsewhere.written_bytes,
        }
    }
}

/// True if the processes hold more than `limit` bytes of memory together. Resident sizes count
/// shared pages in each process, so a sum above the limit is checked by proportional sizes, which
/// take longer to read.
pub(super) fn exceed_memory(processes: &[Process], limit: u64) -> bool {
    sum(processes, resident) > limit && sum(processes, proportional) > limit
}

fn sum(processes: &[Process], bytes: fn(i32) -> u64) -> u64 {
    processes.iter().map(|process| bytes(process.pid)).sum()
}

fn resident(pid: i32) -> u64 {
    size(pid, "status", "VmRSS:").unwrap_or(0)
}

/// Resident size with each shared page divided among its processes; the plain one where the kernel
/// does not tell it.
fn proportional(pid: i32) -> u64 {
    size(pid, "smaps_rollup", "Pss:").unwrap_or_else(|| resident(pid))
}

/// A size in bytes from a file of `/proc`; `None` if it is not told.
fn size(pid: i32, file: &str, key: &str) -> Option<u64> {
    Some(field(pid, file, key)?.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Bytes from or to disks, with those of children that the process waited for.
fn disk(pid: i32, key: &str) -> u64 {
    field(pid, "io", key).and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn field(pid: i32, file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(value.trim().to_string())
}

fn ticks_per_second() -> f64 {
    // SAFETY: asks for a constant of the system.
    (unsafe { libc::sysconf(libc::_SC_CLK_TCK) }) as f64
}

#[cfg(test)]
mod tests {
    use super::super::descendants::tree;
    use super::*;
    use std::process::Command;

    #[test]
    fn memory_of_several_processes_adds_up_without_what_they_share() {
        let mut children =
            [(); 2].map(|()| Command::new("sleep").arg("60").spawn().expect("a child"));
        std::thread::sleep(Duration::from_millis(200));
        let ids = children.iter().map(|child| i32::try_from(child.id()).unwrap());
        let both: Vec<Process> = ids.flat_map(tree).collect();
        assert_eq!(both.len(), 2);
        assert!(exceed_memory(&both, 1) && !exceed_memory(&both, 1 << 40));
        let mut gauge = Gauge::default();
        gauge.look(&both);
        assert!(gauge.peak > sum(&both[..1], proportional), "{gauge:?}");
        assert!(gauge.peak < sum(&both, resident), "they share their libraries: {gauge:?}");
        let peak = gauge.peak;
        gauge.look(&[]);
        assert_eq!(gauge.peak, peak, "the most of all times");
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn what_was_seen_elsewhere_stays_when_the_processes_are_gone() {
        let mut gauge = Gauge::default();
        let ticks = 5 * ticks_per_second() as u64;
        gauge.look_elsewhere(&[Process { pid: 0, name: "a".into(), ticks }]);
        gauge.look_elsewhere(&[]);
        assert!((gauge.elsewhere.unwrap().cpu_seconds - 5.0).abs() < 1e-9);
        assert!(gauge.usage(true).cpu_seconds >= 5.0);
    }
}
