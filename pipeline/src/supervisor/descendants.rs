//! The processes below another, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Its program's name, at most 15 letters.
    pub(super) name: String,
    /// Processor time in clock ticks, including waited-for children.
    pub(super) ticks: u64,
}

/// All processes below this one at any depth; zombies are left out.
pub(super) fn descendants() -> Vec<Process> {
    below(i32::try_from(std::process::id()).unwrap_or(0))
}

/// A process, if it lives, and all below it.
pub(super) fn tree(root: i32) -> Vec<Process> {
    let mut found: Vec<Process> = process(root).into_iter().filter_map(StatLine::living).collect();
    found.extend(below(root));
    found
}

/// A line of `stat`.
#[derive(Debug, PartialEq)]
struct StatLine {
    process: Process,
    parent: i32,
    lives: bool,
}

impl StatLine {
    fn living(self) -> Option<Process> {
        self.lives.then_some(self.process)
    }
}

fn process(pid: i32) -> Option<StatLine> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parsed(pid, &String::from_utf8_lossy(&text))
}

fn below(root: i32) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<StatLine>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(found) = process(pid) {
            children.entry(found.parent).or_default().push(found);
        }
    }
    let mut open = vec![root];
    let mut living = vec![];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.process.pid);
            living.extend(child.living());
        }
    }
    living
}

/// The fields after the name are state, parent and, from the twelfth, four times. The name may hold
/// spaces and brackets.
fn parsed(pid: i32, stat: &str) -> Option<StatLine> {
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_string();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let [state, parent, ..] = fields[..] else { return None };
    let times = fields.iter().skip(11).take(4).filter_map(|time| time.parse::<u64>().ok());
    let process = Process { pid, name, ticks: times.sum() };
    Some(StatLine { process, parent: parent.parse().ok()?, lives: !matches!(state, "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a) b (c)) S 3 7 7 0 -1 4 1 2 3 4 10 20 30 40 20 0 1";
        let process = Process { pid: 7, name: "a) b (c)".into(), ticks: 100 };
        assert_eq!(parsed(7, stat), Some(StatLine { process, parent: 3, lives: true }));
        assert_eq!(parsed(8, "8 (x) Z 7 0").and_then(StatLine::living), None);
        assert_eq!(parsed(9, ""), None);
    }

    #[test]
    fn a_child_is_found_and_gone_after_its_end() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seen = |pid| descendants().into_iter().find(|process| process.pid == pid);
        assert_eq!(seen(pid).expect("the child").name, "sleep");
        assert_eq!(tree(pid).len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(seen(pid), None);
        assert_eq!(tree(pid), []);
    }
}
