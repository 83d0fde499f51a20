//! The Python environment into which pip installed a program.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Prints the folder of PyTorch without importing it, which would take seconds.
const FIND_PYTORCH: &str = "import importlib.util, os, sys
sys.path = [entry for entry in sys.path if entry]
found = importlib.util.find_spec('torch')
print(os.path.dirname(found.origin) if found and found.origin else '')";

/// The folder of packages into which pip installed `program`, if any, known by our wheel's
/// metadata. A folder with PyTorch comes first, since several Pythons may share a `bin`.
pub fn of(program: &Path) -> Option<PathBuf> {
    let prefix = program.parent()?.parent()?;
    let libraries = ["lib", "lib64"].iter().flat_map(|name| entries(&prefix.join(name)));
    let pythons = libraries.filter(|path| path.file_name().is_some_and(is_python));
    let folders = ["site-packages", "dist-packages"];
    let folders = pythons.flat_map(|python| folders.map(|name| python.join(name)));
    // 'pip install --target' has packages and programs in one folder.
    let folders = folders.chain([prefix.to_path_buf()]);
    let metadata = concat!("voxflow-", env!("CARGO_PKG_VERSION"), ".dist-info");
    let ours = folders.filter(|folder| folder.join(metadata).is_dir());
    ours.min_by_key(|folder| !folder.join("torch").is_dir())
}

/// The folder of PyTorch: among these packages, or elsewhere on their interpreter's path, such as
/// the system's PyTorch or a cluster module's.
pub fn pytorch(packages: &Path, program: &Path) -> Option<PathBuf> {
    let beside = Some(packages.join("torch")).filter(|torch| torch.is_dir());
    beside.or_else(|| ask_interpreter(packages, program))
}

fn ask_interpreter(packages: &Path, program: &Path) -> Option<PathBuf> {
    let python = packages.parent().and_then(Path::file_name).filter(|name| is_python(name));
    let python = python.unwrap_or(OsStr::new("python3"));
    let beside = program.with_file_name(python);
    let interpreter = if beside.is_file() { beside } else { PathBuf::from(python) };
    let mut command = Command::new(interpreter);
    let output = command.args(["-c", FIND_PYTORCH]).stdin(Stdio::null()).output().ok()?;
    let folder = OsString::from_vec(output.stdout.trim_ascii().to_vec());
    (output.status.success() && !folder.is_empty()).then(|| PathBuf::from(folder))
}

fn is_python(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"python3")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
