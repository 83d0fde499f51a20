//! Facts about machine and program for `run.json`; never part of a recipe.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
pub use voxflow_stages::program::Usage;

/// Host, system, processor, cores, memory.
pub fn describe() -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([
        ("host".to_string(), host()),
        ("system".to_string(), format!("{} {}", kernel("ostype"), kernel("osrelease"))),
        ("cores".to_string(), cores().to_string()),
    ]);
    out.extend(fact("/proc/cpuinfo", "model name").map(|name| ("processor".to_string(), name)));
    out.extend(fact("/proc/meminfo", "MemTotal").map(|size| ("memory".to_string(), size)));
    out
}

fn fact(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_string())
}

/// Host name.
pub fn host() -> String {
    kernel("hostname")
}

fn kernel(name: &str) -> String {
    fs::read_to_string(Path::new("/proc/sys/kernel").join(name))
        .unwrap_or_default()
        .trim()
        .to_string()
}

/// Number of threads this process can run in parallel.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Available memory in bytes; `u64::MAX` if unknown.
pub fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib * 1024)
}

/// Memory of this machine, or of the control group that this process is bound to, in bytes;
/// `u64::MAX` if unknown.
pub fn memory() -> u64 {
    let total = fact("/proc/meminfo", "MemTotal");
    let kib = total.and_then(|size| size.strip_suffix(" kB")?.parse::<u64>().ok());
    let total = kib.map_or(u64::MAX, |kib| kib * 1024);
    memory_limit().map_or(total, |limit| limit.min(total))
}

/// Memory that a control group (a container, a job) grants this process, in bytes, if it limits it.
pub fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folders = root.join(path);
    // A group is bound by those around it too.
    let around = folders.ancestors().take_while(|folder| folder.starts_with(root));
    let limits = around.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok());
    limits.filter_map(|text| text.trim().parse().ok()).min()
}

/// The processor's features by the kernel's names ("avx2").
pub fn processor_flags() -> Vec<String> {
    let flags = fact("/proc/cpuinfo", "flags").unwrap_or_default();
    flags.split_whitespace().map(str::to_string).collect()
}

/// Type of the file system on which an existing path lies ("ext4", "nfs4").
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    // Of several mounts on one place the last is seen.
    let found = mounts.lines().filter_map(mount).filter(|(place, _)| path.starts_with(place));
    found.max_by_key(|(place, _)| place.components().count()).map(|(_, kind)| kind)
}

/// Place and file system type of a line of mountinfo.
fn mount(line: &str) -> Option<(PathBuf, String)> {
    let (before, after) = line.split_once(" - ")?;
    let place = before.split(' ').nth(4)?.replace("\\040", " ");
    Some((PathBuf::from(place), after.split(' ').next()?.to_string()))
}

/// True if an NVIDIA driver is loaded; more cannot be known without libtorch.
pub fn has_accelerator() -> bool {
    Path::new("/dev/nvidiactl").exists()
}

/// Program version.
pub fn versions() -> BTreeMap<String, String> {
    BTreeMap::from([("voxflow".to_string(), env!("CARGO_PKG_VERSION").to_string())])
}

/// HEAD commit for the git repository around the current folder, read from its files.
pub fn git_commit() -> Option<String> {
    let folder = std::env::current_dir().ok()?;
    let dot_git =
        folder.ancestors().map(|folder| folder.join(".git")).find(|path| path.exists())?;
    let git = if dot_git.is_file() {
        let text = fs::read_to_string(&dot_git).ok()?;
        dot_git.parent()?.join(text.trim().strip_prefix("gitdir: ")?)
    } else {
        dot_git
    };
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_string());
    };
    let shared = fs::read_to_string(git.join("commondir")).ok().map(|text| git.join(text.trim()));
    let places: Vec<PathBuf> = [Some(git), shared].into_iter().flatten().collect();
    let loose = places.iter().find_map(|place| fs::read_to_string(place.join(name)).ok());
    loose.map(|text| text.trim().to_string()).or_else(|| {
        let packed =
            places.iter().find_map(|place| fs::read_to_string(place.join("packed-refs")).ok())?;
        packed
            .lines()
            .find_map(|line| line.strip_suffix(name).map(|commit| commit.trim().to_string()))
    })
}

/// Unit of the kernel's counts of input and output, in bytes.
const BLOCK: u64 = 512;

/// A process's use, as the kernel counted it.
pub(crate) fn usage_of(counted: &libc::rusage) -> Usage {
    Usage {
        cpu_seconds: seconds(counted.ru_utime) + seconds(counted.ru_stime),
        peak_rss_bytes: unsigned(counted.ru_maxrss) * 1024,
        read_bytes: unsigned(counted.ru_inblock) * BLOCK,
        written_bytes: unsigned(counted.ru_oublock) * BLOCK,
    }
}

fn unsigned(count: libc::c_long) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 * 1e-6
}

/// Resource usage of this process's ended children and their waited-for descendants; peak memory is
/// the maximum of any.
pub fn usage() -> Usage {
    counted(libc::RUSAGE_SELF)
}

/// Resource usage of this process's ended children, and of theirs that they waited for; the peak
/// memory is that of the largest.
pub fn usage_of_children() -> Usage {
    counted(libc::RUSAGE_CHILDREN)
}

fn counted(of: libc::c_int) -> Usage {
    // SAFETY: getrusage fills the struct it is given, and zeros are a valid one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(of, &raw mut usage);
        usage
    };
    usage_of(&usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_names_the_file_system() {
        assert_eq!(file_system(Path::new("/proc/self")).as_deref(), Some("proc"));
        let line = "36 35 98:0 /mnt1 /mnt/with\\040space rw master:1 - ext3 /dev/root rw,errors=x";
        assert_eq!(mount(line), Some((PathBuf::from("/mnt/with space"), "ext3".into())));
    }

    #[test]
    fn the_machine_is_known_and_this_process_has_used_some_of_it() {
        let machine = describe();
        assert!(machine["cores"].parse::<usize>().unwrap() > 0 && !machine["host"].is_empty());
        assert!(usage().peak_rss_bytes > 1 << 20);
    }
}
