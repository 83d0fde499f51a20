//! The processes below this one, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Its program's name, at most 15 letters.
    pub(super) name: String,
}

/// All processes below this one at any depth; zombies are left out.
pub(super) fn descendants() -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<(Process, bool)>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let text = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some((name, parent, lives)) = parsed(&String::from_utf8_lossy(&text)) {
            children.entry(parent).or_default().push((Process { pid, name }, lives));
        }
    }
    let mut open = vec![i32::try_from(std::process::id()).unwrap_or(0)];
    let mut found = vec![];
    while let Some(parent) = open.pop() {
        for (process, lives) in children.remove(&parent).unwrap_or_default() {
            open.push(process.pid);
            if lives {
                found.push(process);
            }
        }
    }
    found
}

/// Name, parent and state of a line of `stat`; the name may hold spaces and brackets.
fn parsed(stat: &str) -> Option<(String, i32, bool)> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_string();
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    Some((name, fields.next()?.parse().ok()?, !matches!(state, "Z" | "X")))
}

/// True if the processes hold more than `limit` bytes of memory together. Resident sizes count
/// shared pages in each process, so a sum above the limit is checked by proportional sizes, which
/// take longer to read.
pub(super) fn exceed_memory(processes: &[Process], limit: u64) -> bool {
    let sum =
        |bytes: fn(i32) -> u64| processes.iter().map(|process| bytes(process.pid)).sum::<u64>();
    sum(resident) > limit && sum(proportional) > limit
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
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c)) S 3 7 7 0";
        assert_eq!(parsed(stat), Some(("a) b (c)".into(), 3, true)));
        assert_eq!(parsed("8 (x) Z 7 0").map(|(_, _, lives)| lives), Some(false));
        assert_eq!(parsed(""), None);
    }

    #[test]
    fn a_child_is_found_with_its_memory_and_gone_after_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seen = |pid| descendants().into_iter().find(|process| process.pid == pid);
        let process = seen(pid).expect("the child");
        assert!(exceed_memory(std::slice::from_ref(&process), 1));
        assert!(!exceed_memory(&[process], 1 << 40));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen(pid), None);
    }
}
