//! Ways out of a missing or broken libtorch or worker, by the way in which this program was
//! installed.

use super::{packages, version};
use std::env;
use std::path::PathBuf;
use voxflow_stages::protocol::LIBTORCH;

/// The variable for the folder with `libtorch_cpu.so`, or for the folder above its `lib`.
pub const FOLDER: &str = "VOXFLOW_LIBTORCH";

/// This program's file.
pub fn own_program() -> PathBuf {
    env::current_exe().unwrap_or_default()
}

/// Of an environment without a suitable PyTorch.
pub fn of_pytorch() -> String {
    let minor = version::minor(LIBTORCH);
    format!(
        "'pip install torch=={minor}.*' in this Python environment installs it, {FOLDER} names \
         the folder of another libtorch {minor}"
    )
}

/// Of a worker that is not there.
pub fn of_missing_worker() -> &'static str {
    match packages::of(&own_program()) {
        Some(_) => "install the wheel again with 'pip install --force-reinstall --no-deps'",
        None => "run 'make setup' and 'cargo build', or set VOXFLOW_WORKER",
    }
}

/// Of a worker that does not start, by what the dynamic linker wrote.
pub fn of_worker(said: &str) -> String {
    if said.contains("libstdc++.so.6: cannot open") {
        return "install the system's C++ library (Debian: 'apt-get install libstdc++6', Red Hat: \
                'dnf install libstdc++')"
            .into();
    }
    if said.contains("version `GLIBC") || said.contains("version `CXXABI") {
        return "the libraries of this system, or those that LD_LIBRARY_PATH names, are older than \
                the program needs; a container brings its own (docs/install.md), and 'make build' \
                builds for this system"
            .into();
    }
    let minor = version::minor(LIBTORCH);
    match packages::of(&own_program()) {
        Some(_) => format!(
            "'pip install --force-reinstall torch=={minor}.*' in this Python environment repairs \
             it, {FOLDER} names the folder of another libtorch {minor}"
        ),
        None => format!(
            "'make setup' fetches libtorch, also where a file of it is missing or cut short, \
             {FOLDER} names the folder of another libtorch {minor}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linker_that_misses_the_systems_libraries_does_not_lead_to_libtorch() {
        let missing = "error while loading shared libraries: libstdc++.so.6: cannot open shared";
        assert!(of_worker(missing).contains("apt-get install libstdc++6"));
        for old in [
            "/lib64/libc.so.6: version `GLIBC_2.34' not found (required by voxflow-worker)",
            "/opt/lib/libstdc++.so.6: version `GLIBCXX_3.4.29' not found",
            "/opt/lib/libstdc++.so.6: version `CXXABI_1.3.13' not found",
        ] {
            assert!(of_worker(old).contains("are older than the program needs"), "{old}");
        }
        let other = of_worker("libtorch_cpu.so: file too short");
        assert!(other.contains("'make setup' fetches libtorch") && other.contains("libtorch 2.11"));
    }
}
