//! Containers kept by an engine's daemon: looked at, suspended and removed by name. The name tells
//! the owner, so that containers of dead owners are found.

use super::engine::{ContainerEngine, EngineFamily, PATIENCE};
use crate::executor::pid_file::began;
use crate::lock::lock;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The start of each name.
const PREFIX: &str = "voxflow";

/// A container, which need not be there yet, or any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptContainer {
    pub engine: ContainerEngine,
    pub name: String,
}

impl KeptContainer {
    /// One to come, owned by this process. Apptainer keeps none.
    pub fn new(engine: &ContainerEngine) -> Option<KeptContainer> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        if engine.family == EngineFamily::Apptainer {
            return None;
        }
        let (owner, number) = (Owner::own(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}-{}-{}-{}-{number}", owner.namespace, owner.pid, owner.began);
        Some(KeptContainer { engine: engine.clone(), name })
    }

    /// Id of its first process; `None` if it does not run.
    pub fn process(&self) -> Option<i32> {
        let words = ["container", "inspect", "--format", "{{.State.Pid}}", &self.name];
        let pid = self.engine.ask(&words, PATIENCE).ok()?.parse().ok()?;
        (pid > 0).then_some(pid)
    }

    /// Suspends all its processes.
    pub fn suspend(&self) {
        self.engine.ask(&["pause", &self.name], PATIENCE).ok();
    }

    /// Continues them.
    pub fn resume(&self) {
        self.engine.ask(&["unpause", &self.name], PATIENCE).ok();
    }

    /// Kills all its processes and removes it. Nothing happens where it is gone.
    pub fn remove(&self) {
        // First, because Podman's 'rm' waits for its own end of a container.
        self.engine.ask(&["kill", "--signal", "KILL", &self.name], PATIENCE).ok();
        self.engine.ask(&["rm", "--force", &self.name], PATIENCE).ok();
    }
}

/// Removes containers whose owners died together with their supervisors, once in a process.
pub fn remove_orphans(engine: &ContainerEngine) {
    static LOOKED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if engine.family == EngineFamily::Apptainer || !lock(&LOOKED).insert(engine.name) {
        return;
    }
    let filter = format!("name={PREFIX}-");
    let words = ["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"];
    let names = engine.ask(&words, PATIENCE).unwrap_or_default();
    let orphans = names.lines().filter(|name| Owner::of(name).is_some_and(|owner| owner.is_dead()));
    orphans.for_each(|name| {
        tracing::warn!("container '{name}' was left by a voxflow that was killed; it is removed");
        KeptContainer { engine: engine.clone(), name: name.to_string() }.remove();
    });
}

/// A process that has containers.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    /// Its namespace of process ids: others cannot be judged from here.
    namespace: String,
    pid: u32,
    /// Its start time, since ids are used again.
    began: String,
}

impl Owner {
    fn own() -> Owner {
        let pid = std::process::id();
        Owner { namespace: namespace(), pid, began: began(pid).unwrap_or_default() }
    }

    /// The owner in a name.
    fn of(name: &str) -> Option<Owner> {
        let words: Vec<&str> = name.split('-').collect();
        let [PREFIX, namespace, pid, began, _] = words[..] else { return None };
        let (namespace, began) = (namespace.to_string(), began.to_string());
        Some(Owner { namespace, pid: pid.parse().ok()?, began })
    }

    fn is_dead(&self) -> bool {
        self.namespace == namespace() && began(self.pid).as_ref() != Some(&self.began)
    }
}

/// The number in "pid:[4026531836]".
fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_an_orphan_once_its_owner_is_dead() {
        let program = "/usr/bin/docker".into();
        let engine = ContainerEngine { name: "docker", family: EngineFamily::Docker, program };
        let [one, other] = [(); 2].map(|()| KeptContainer::new(&engine).unwrap().name);
        assert_ne!(one, other);
        assert_eq!(Owner::of(&one), Some(Owner::own()));
        assert!(!Owner::own().is_dead());
        assert!(Owner { began: "1".into(), ..Owner::own() }.is_dead(), "another got its id");
        let elsewhere = Owner { namespace: "7".into(), began: "1".into(), ..Owner::own() };
        assert!(!elsewhere.is_dead(), "nobody here can tell");
        assert_eq!(Owner::of("voxflow-of-somebody"), None);
        let apptainer = ContainerEngine { family: EngineFamily::Apptainer, ..engine };
        assert_eq!(KeptContainer::new(&apptainer), None);
    }
}
