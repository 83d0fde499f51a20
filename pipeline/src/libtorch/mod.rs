//! libtorch of the worker: from the folder in `VOXFLOW_LIBTORCH`, or PyTorch of the Python
//! environment into which pip installed this program. Otherwise the dynamic linker finds the
//! libtorch of the worker's build.

mod packages;
pub mod remedy;
mod version;

use remedy::FOLDER;
use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use version::minor;
use voxflow_stages::protocol::LIBTORCH;

const LIBRARY: &str = "libtorch_cpu.so";
/// Variable with the dynamic linker's first folders.
const LINKER_PATH: &str = "LD_LIBRARY_PATH";
/// Characters with a meaning of their own in that variable.
const LINKER_SIGNS: [u8; 3] = *b":;$";

/// Folder of libtorch for the worker; `None` leaves it to the dynamic linker. Looks once.
///
/// # Errors
/// A named folder without libtorch, an environment without PyTorch, another version of libtorch.
pub fn folder() -> Result<Option<&'static Path>, String> {
    static FOUND: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    let found =
        FOUND.get_or_init(|| search(env::var_os(FOLDER).as_deref(), &remedy::own_program()));
    found.as_ref().map(Option::as_deref).map_err(String::clone)
}

/// The command of a program that is linked against libtorch.
///
/// # Errors
/// Those of [`folder`].
pub fn command(program: &Path) -> Result<Command, String> {
    let mut command = Command::new(program);
    if let Some(folder) = folder()? {
        let mut folders = folder.as_os_str().to_os_string();
        if let Some(others) = env::var_os(LINKER_PATH).filter(|others| !others.is_empty()) {
            folders.push(":");
            folders.push(others);
        }
        command.env(LINKER_PATH, folders);
    }
    Ok(command)
}

fn search(named: Option<&OsStr>, program: &Path) -> Result<Option<PathBuf>, String> {
    let (folder, way_out) = match named.filter(|named| !named.is_empty()).map(Path::new) {
        Some(named) => (in_named(named)?, format!("{FOLDER} must name another folder")),
        None => match packages::of(program) {
            Some(packages) => (in_python(&packages, program)?, remedy::of_pytorch()),
            None => return Ok(None),
        },
    };
    let shown = folder.display();
    if folder.as_os_str().as_bytes().iter().any(|byte| LINKER_SIGNS.contains(byte)) {
        return Err(format!(
            "libtorch lies in '{shown}', and the dynamic linker reads no path with ':', ';' or \
             '$'; install it elsewhere"
        ));
    }
    match version::of(&folder).filter(|version| minor(version) != minor(LIBTORCH)) {
        Some(version) => Err(format!(
            "libtorch in '{shown}' is version {version}, and this program is built for {}; \
             {way_out}",
            minor(LIBTORCH)
        )),
        None => Ok(Some(folder)),
    }
}

fn in_named(named: &Path) -> Result<PathBuf, String> {
    let named = std::path::absolute(named).unwrap_or_else(|_| named.to_path_buf());
    let mut places = [named.clone(), named.join("lib")].into_iter();
    places.find(|place| place.join(LIBRARY).is_file()).ok_or_else(|| {
        format!(
            "no '{LIBRARY}' in '{}', which {FOLDER} names; name the folder that holds it, or unset \
             {FOLDER}",
            named.display()
        )
    })
}

fn in_python(packages: &Path, program: &Path) -> Result<PathBuf, String> {
    let torch = packages::pytorch(packages, program).ok_or_else(|| {
        format!("PyTorch is not installed beside '{}'; {}", program.display(), remedy::of_pytorch())
    })?;
    let folder = torch.join("lib");
    let words =
        || format!("no '{LIBRARY}' in PyTorch's '{}'; {}", folder.display(), remedy::of_pytorch());
    folder.join(LIBRARY).is_file().then(|| folder.clone()).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A Python environment with our metadata in it.
    fn environment(packages: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let metadata = format!("voxflow-{}.dist-info", env!("CARGO_PKG_VERSION"));
        fs::create_dir_all(folder.path().join(packages).join(metadata)).unwrap();
        let program = folder.path().join("bin/voxflow");
        (folder, program)
    }

    /// PyTorch of a version in a folder of packages.
    fn pytorch(packages: &Path, version: &str) -> PathBuf {
        let library = packages.join("torch/lib");
        fs::create_dir_all(&library).unwrap();
        fs::write(library.join(LIBRARY), "").unwrap();
        let line = format!("from typing import Optional\n__version__ = '{version}'\n");
        fs::write(packages.join("torch/version.py"), line).unwrap();
        library
    }

    #[test]
    fn the_version_is_that_which_setup_fetches() {
        let setup = include_str!("../../../scripts/setup.py");
        assert!(setup.contains(&format!("VERSION = \"{LIBTORCH}\"")));
    }

    #[test]
    fn a_program_outside_an_environment_leaves_it_to_the_linker() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(search(None, &folder.path().join("debug/voxflow")), Ok(None));
        assert_eq!(search(Some(OsStr::new("")), &folder.path().join("debug/voxflow")), Ok(None));
    }

    #[test]
    fn pytorch_is_found_in_every_layout_of_an_environment() {
        for packages in [
            "lib/python3.14/site-packages",
            "lib64/python3.9/site-packages",
            "lib/python3.11/dist-packages",
            "lib/python3.13t/site-packages",
            ".",
        ] {
            let (folder, program) = environment(packages);
            let library = pytorch(&folder.path().join(packages), "2.11.1+cu130");
            let found = search(None, &program).unwrap().unwrap();
            assert_eq!(found.canonicalize().unwrap(), library.canonicalize().unwrap());
        }
    }

    #[test]
    fn of_two_pythons_with_one_bin_the_one_with_pytorch_counts() {
        let (folder, program) = environment("lib/python3.10/site-packages");
        let other = folder.path().join("lib/python3.12/site-packages");
        let metadata = format!("voxflow-{}.dist-info", env!("CARGO_PKG_VERSION"));
        fs::create_dir_all(other.join(metadata)).unwrap();
        let library = pytorch(&other, "2.11.0");
        assert_eq!(search(None, &program), Ok(Some(library)));
    }

    #[test]
    fn pytorch_of_another_version_is_refused_and_a_named_folder_is_another_way() {
        let (folder, program) = environment("lib/python3.12/site-packages");
        pytorch(&folder.path().join("lib/python3.12/site-packages"), "2.10.1+cpu");
        let words = search(None, &program).unwrap_err();
        assert!(words.contains("is version 2.10.1+cpu, and this program is built for 2.11"));
        assert!(words.contains("'pip install torch==2.11.*'"), "{words}");
        let own = folder.path().join("own");
        fs::create_dir_all(own.join("lib")).unwrap();
        let words = search(Some(own.as_os_str()), &program).unwrap_err();
        assert!(words.contains("which VOXFLOW_LIBTORCH names"), "{words}");
        fs::write(own.join("lib").join(LIBRARY), "").unwrap();
        for named in [own.clone(), own.join("lib")] {
            assert_eq!(search(Some(named.as_os_str()), &program), Ok(Some(own.join("lib"))));
        }
        fs::write(own.join("build-version"), "2.9.0+cpu\n").unwrap();
        let words = search(Some(own.as_os_str()), &program).unwrap_err();
        assert!(words.contains("version 2.9.0+cpu") && words.contains("must name another"));
    }

    #[test]
    fn a_path_that_the_linker_cannot_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("a:b");
        fs::create_dir(&own).unwrap();
        fs::write(own.join(LIBRARY), "").unwrap();
        let words = search(Some(own.as_os_str()), Path::new("/bin/voxflow")).unwrap_err();
        assert!(words.contains("reads no path with ':'"), "{words}");
    }
}
