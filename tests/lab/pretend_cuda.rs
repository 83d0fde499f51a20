//! The pretend CUDA device of `tests/pretend_cuda/`, built once for each state of its sources, and
//! laboratories whose worker finds it.

use super::{Lab, Record};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The answer of `build.py` where there is no C++ compiler.
const NO_COMPILER: i32 = 3;

/// Bytes of a row in a report, as `report.h` has it: a count, a kind, a name, a place.
const ROW: usize = 512;

/// The folder with the built device; `None`, with a message, where there is no C++ compiler.
#[allow(clippy::print_stderr)]
pub fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = FOLDER.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let libtorch = std::env::var_os("LIBTORCH").map_or(root.join(".libtorch"), PathBuf::from);
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pretend-cuda");
        let script = root.join("tests/pretend_cuda/build.py");
        let made = Command::new("python3").arg(script).arg(libtorch).arg(target).output().unwrap();
        if made.status.code() == Some(NO_COMPILER) {
            eprintln!("skipped: the pretend CUDA device needs a C++ compiler (c++ or g++)");
            return None;
        }
        let words = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(made.status.success(), "the pretend CUDA device cannot be built: {words}");
        Some(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    });
    built.as_deref()
}

/// A laboratory with a pretend CUDA device, and with its volumes there.
pub fn lab() -> Option<Lab> {
    let mut lab = Lab::new();
    lab.set("VOXFLOW_LIBTORCH_CUDA", folder()?.display().to_string());
    lab.set("VOXFLOW_TRAINING_VOLUMES", "device");
    let (report, locks) = (lab.path("report"), lab.path("gpu-locks"));
    lab.set("PRETEND_CUDA_REPORT", report.display().to_string());
    lab.set("VOXFLOW_GPU_LOCKS", locks.display().to_string());
    Some(lab)
}

/// Counts of a laboratory's processes by kind and name.
#[derive(Debug, Default, Clone)]
pub struct Counts(pub BTreeMap<(String, String), u64>);

impl Counts {
    /// Reads the reports, and removes them.
    pub fn take(lab: &Lab) -> Counts {
        let mut counts = Counts::default();
        for entry in std::fs::read_dir(lab.path("")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("report.") {
                counts.add(&std::fs::read(entry.path()).unwrap());
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
        counts
    }

    fn add(&mut self, report: &[u8]) {
        let number = |at: usize| u64::from_le_bytes(report[at..at + 8].try_into().unwrap());
        let text = |from: usize, to: usize| {
            let bytes = report[from..to].split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        for at in (1..=number(0) as usize).map(|row| row * ROW) {
            *self.0.entry((text(at + 8, at + 24), text(at + 24, at + 112))).or_default() +=
                number(at);
        }
    }

    /// The sum over all names of a kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.0.iter().filter(|((each, _), _)| each == kind).map(|(_, count)| count).sum()
    }

    /// The counts above those of another report, without zeros, as "kind name: count".
    pub fn above(&self, other: &Counts) -> Vec<String> {
        let more = self.0.iter().filter_map(|(key, count)| {
            let more = count.saturating_sub(other.0.get(key).copied().unwrap_or(0));
            (more > 0).then(|| format!("{} {}: {more}", key.0, key.1))
        });
        more.collect()
    }
}

/// The weights of a model artifact by name.
pub fn weights(record: &Record, file: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(record.folder.join("outputs/model").join(file)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |bytes: &[u8]| {
        let words = bytes.chunks_exact(4);
        words.map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
    };
    tensors.tensors().into_iter().map(|(name, view)| (name, values(view.data()))).collect()
}
