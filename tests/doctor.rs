//! `voxflow doctor` names each trouble of a machine with its way out.

mod lab;

use lab::{Lab, Shown};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The finding of that name.
fn finding(lab: &Lab, what: &str) -> Value {
    let shown = lab.voxflow(&["doctor", "--format", "json"]);
    let all: Value = serde_json::from_str(&shown.out).expect("JSON");
    let found = all.as_array().unwrap().iter().find(|found| found["what"] == what);
    found.unwrap_or_else(|| panic!("{what}: {all}")).clone()
}

fn trouble(lab: &Lab, what: &str) -> String {
    finding(lab, what)["trouble"].as_str().unwrap_or_default().to_string()
}

#[test]
fn a_machine_is_described_in_a_line_for_each_thing() {
    let lab = Lab::new();
    let Shown { out, err, .. } = lab.voxflow(&["doctor"]);
    assert_eq!(err, "");
    for what in ["voxflow", "libtorch", "processor", "memory", "GPU", "home", "store", "open files"]
    {
        let lines =
            out.lines().filter(|line| line.trim_start_matches(['✓', '✗', ' ']).starts_with(what));
        assert_eq!(lines.count(), 1, "{what}: {out}");
    }
    assert!(finding(&lab, "libtorch")["found"].as_str().unwrap().starts_with("2."), "{out}");
    assert_eq!(trouble(&lab, "libtorch"), "");
    assert!(!lab.path(".voxflow").exists(), "it makes nothing");
}

#[test]
fn a_missing_worker_and_one_that_does_not_start_are_told_with_the_way_out() {
    let mut lab = Lab::new();
    lab.set("VOXFLOW_WORKER", "/nowhere/voxflow-worker");
    let shown = lab.voxflow(&["doctor"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.out.contains("✗ libtorch"), "{}", shown.out);
    let words = trouble(&lab, "libtorch");
    assert!(words.contains("'/nowhere/voxflow-worker' is not there"), "{words}");
    assert!(words.contains("make setup"), "{words}");
    let broken =
        "#!/bin/sh\necho 'error while loading shared libraries: libtorch.so' >&2\nexit 127\n";
    let path = lab.write("broken", broken);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    lab.set("VOXFLOW_WORKER", path.display().to_string());
    let words = trouble(&lab, "libtorch");
    assert!(words.contains("the worker does not start: error while loading shared libraries"));
    assert!(words.contains("'make setup' fetches libtorch"), "{words}");
}

#[test]
fn folders_that_are_full_or_none_and_few_open_files_are_told_with_the_way_out() {
    let mut lab = Lab::new();
    lab.write("file", "");
    let shown = lab.voxflow(&["doctor", "--home", "file/home"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.out.contains("file' is no folder; name another by --home"), "{}", shown.out);
    let program = lab.command(&["doctor"]).get_program().to_os_string();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -S -n 100 && exec \"$0\" doctor"]).arg(program);
    let output = limited.current_dir(lab.path("")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("100, at most ") && text.contains("' raises it"), "{text}");
    lab.set("VOXFLOW_FREE_BYTES", "1000000");
    let words = trouble(&lab, "store");
    assert!(words.contains("is almost full: 'voxflow cache gc'"), "{words}");
    let words = trouble(&lab, "temporary files");
    assert!(words.contains("is almost full: ") && words.contains("TMPDIR"), "{words}");
    lab.set("TMPDIR", lab.path("file").display().to_string());
    let words = trouble(&lab, "temporary files");
    assert!(words.contains("file' is no folder; set TMPDIR to another"), "{words}");
}

/// Folder of packages of a Python environment in a lab; no such Python is installed.
const PACKAGES: &str = "env/lib/python3.99/site-packages";

/// Both programs in a Python environment, as pip leaves them; the path of `voxflow`.
fn installed(lab: &Lab) -> PathBuf {
    let metadata = format!("{PACKAGES}/voxflow-{}.dist-info", env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(lab.path(&metadata)).unwrap();
    fs::create_dir_all(lab.path("env/bin")).unwrap();
    let built = Path::new(env!("CARGO_BIN_EXE_voxflow"));
    for name in ["voxflow", "voxflow-worker"] {
        let (from, to) = (built.with_file_name(name), lab.path("env/bin").join(name));
        // Links of files are refused across file systems.
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).unwrap();
    }
    lab.path("env/bin/voxflow")
}

/// PyTorch of a version in a folder of packages, with a library of these bytes.
fn pytorch(lab: &Lab, packages: &str, version: &str, library: &str) {
    lab.write(&format!("{packages}/torch/version.py"), &format!("__version__ = '{version}'\n"));
    lab.write(&format!("{packages}/torch/lib/libtorch_cpu.so"), library);
}

/// The installed doctor's words on libtorch: found, trouble.
fn libtorch(lab: &Lab, program: &Path, environment: &[(&str, &Path)]) -> (String, String) {
    let mut command = Command::new(program);
    command.args(["doctor", "--format", "json"]).current_dir(lab.path(""));
    command.envs(environment.iter().copied()).env_remove("LD_LIBRARY_PATH");
    let output = command.output().unwrap();
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let found = all.as_array().unwrap().iter().find(|found| found["what"] == "libtorch").unwrap();
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_string();
    (text("found"), text("trouble"))
}

#[test]
fn installed_by_pip_the_program_uses_pytorch_of_its_environment() {
    let lab = Lab::new();
    let program = installed(&lab);
    let (_, words) = libtorch(&lab, &program, &[]);
    assert!(words.contains("PyTorch is not installed beside"), "{words}");
    assert!(words.contains("'pip install torch==2.11.*' in this Python environment"), "{words}");

    pytorch(&lab, PACKAGES, "2.10.0+cu130", "");
    let (_, words) = libtorch(&lab, &program, &[]);
    assert!(words.contains("is version 2.10.0+cu130, and this program is built for 2.11"));
    let refused = Command::new(&program).arg("demo").current_dir(lab.path("")).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is version 2.10.0+cu130"));
    assert!(lab.runs().is_empty(), "refused before any work");

    pytorch(&lab, PACKAGES, "2.11.0+cpu", "no library");
    let (_, words) = libtorch(&lab, &program, &[]);
    assert!(words.contains("the worker does not start: "), "{words}");
    assert!(words.contains("libtorch_cpu.so: file too short"), "{words}");
    assert!(words.contains("'pip install --force-reinstall torch==2.11.*'"), "{words}");

    fs::remove_dir_all(lab.path(PACKAGES).join("torch/lib")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let own = std::env::var_os("LIBTORCH").map_or(root.join(".libtorch"), PathBuf::from);
    symlink(own.join("lib"), lab.path(PACKAGES).join("torch/lib")).unwrap();
    let (found, words) = libtorch(&lab, &program, &[]);
    assert_eq!(words, "");
    let folder = lab.path(PACKAGES).join("torch/lib");
    assert!(found.starts_with("2.11.0 in /") && found.contains(folder.to_str().unwrap()));
}

#[test]
fn pytorch_of_another_environment_is_found_by_the_interpreter_or_by_name() {
    let lab = Lab::new();
    let program = installed(&lab);
    pytorch(&lab, "elsewhere", "2.11.0", "");
    // It says the folders in which its linker looks.
    let worker = lab.write("worker", "#!/bin/sh\necho '{\"libtorch\": \"'$LD_LIBRARY_PATH'\"}'\n");
    let python = format!("#!/bin/sh\necho '{}'\n", lab.path("elsewhere/torch").display());
    let python = lab.write("env/bin/python3.99", &python);
    for script in [&worker, &python] {
        fs::set_permissions(script, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let folder = lab.path("elsewhere/torch/lib");
    let by_worker = ("VOXFLOW_WORKER", worker.as_path());
    let (found, words) = libtorch(&lab, &program, &[by_worker]);
    assert!(found.starts_with(folder.to_str().unwrap()), "{found}: {words}");

    fs::remove_file(python).unwrap();
    assert!(libtorch(&lab, &program, &[by_worker]).1.contains("PyTorch is not installed"));
    let named = ("VOXFLOW_LIBTORCH", folder.as_path());
    let (found, words) = libtorch(&lab, &program, &[by_worker, named]);
    assert!(found.starts_with(folder.to_str().unwrap()), "{found}: {words}");
    let nothing = lab.path("nothing");
    let (_, words) = libtorch(&lab, &program, &[by_worker, ("VOXFLOW_LIBTORCH", &nothing)]);
    assert!(words.contains("which VOXFLOW_LIBTORCH names"), "{words}");
}
