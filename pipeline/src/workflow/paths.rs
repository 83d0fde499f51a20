//! User files named by a workflow: presence checks with helpful messages.

use super::{Diagnostic, Environment, StageSpec, Workflow, environment, nearest};
use serde_json::Value;
use std::fs;
use std::path::Path;
use voxflow_stages::dataset::foreign::tilde;

/// Prefix of user files among recipe inputs.
pub const LOCAL: &str = "file/";

/// Parameters holding local paths.
pub const PATHS: [&str; 4] = ["path", "file", "datalist", "manifest"];

/// Missing or unusable local files.
pub fn missing(workflow: &Workflow, environment: &Environment) -> Vec<Diagnostic> {
    let each = workflow.stages.iter().filter_map(|stage| {
        let (key, trouble, nearest) = trouble(stage)?;
        let keys = ["stages", &stage.id, "with"].into_iter().chain(key);
        let path: Vec<String> = keys.map(str::to_string).collect();
        Some(Diagnostic {
            file: workflow.file.clone(),
            place: workflow.places.value(&path),
            stage: Some(stage.id.clone()),
            key: key.map(str::to_string),
            trouble: format!("{trouble}{}", remark(stage, environment)),
            nearest,
        })
    });
    each.collect()
}

/// Message on a stage's local files; `None` if usable.
pub fn words(stage: &StageSpec, environment: &Environment) -> Option<String> {
    let (_, trouble, nearest) = trouble(stage)?;
    let nearest = nearest.map(|word| format!("; did you mean '{word}'?")).unwrap_or_default();
    Some(format!("{trouble}{}{nearest}", remark(stage, environment)))
}

/// (key, message, suggestion).
fn trouble(stage: &StageSpec) -> Option<(Option<&'static str>, String, Option<String>)> {
    for key in PATHS.into_iter().filter(|key| stage.kind.locators.contains(key)) {
        let Some(path) = stage.params.get(key).and_then(Value::as_str).map(Path::new) else {
            continue;
        };
        if !path.exists() {
            return Some((Some(key), not_there(path), near(path)));
        }
    }
    let files = match stage.kind.local_files(&stage.params) {
        Ok(files) => files,
        Err(error) => return Some((None, error.to_string(), None)),
    };
    let gone = files.values().find(|path| !path.exists())?;
    Some((None, not_there(gone), near(gone)))
}

/// "'a/b/c' is not there, nor is 'a/b'", up to the first existing folder.
fn not_there(path: &Path) -> String {
    let mut words = format!("'{}' is not there", path.display());
    let above = path.ancestors().skip(1).filter(|above| !["", "~"].map(Path::new).contains(above));
    if let Some(above) = above.take_while(|above| !above.exists()).last() {
        words += &format!(", nor is '{}'", above.display());
    }
    words
}

/// Similar name in the same folder.
fn near(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    let here = Path::new(".");
    let entries = fs::read_dir(if folder.as_os_str().is_empty() { here } else { folder }).ok()?;
    let names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(folder.join(near).display().to_string())
}

/// Explains a path's origin: variables with their values or defaults, and `~`. Empty if plain.
pub fn remark(stage: &StageSpec, environment: &Environment) -> String {
    let mut words = String::new();
    for key in PATHS.into_iter().filter(|key| stage.kind.locators.contains(key)) {
        let Some(written) = stage.written.get(key).and_then(Value::as_str) else { continue };
        for variable in environment::variables(written) {
            let value = environment(&variable.name).filter(|value| !value.is_empty());
            words += &match (value, variable.default) {
                (Some(_), _) => format!("; it comes from the variable {}", variable.name),
                (None, Some(default)) => {
                    format!("; {} is not set, the default '{default}' was used", variable.name)
                }
                (None, None) => format!("; {} is empty", variable.name),
            };
        }
        let path = stage.params.get(key).and_then(Value::as_str).unwrap_or_default();
        words += tilde(Path::new(path));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_names_how_far_it_leads_and_what_is_near() {
        let base = tempfile::tempdir().expect("a folder");
        fs::create_dir(base.path().join("Task04_Hippocampus")).expect("makes");
        let path = base.path().join("Task4_Hippocampus");
        assert!(not_there(&path).ends_with("Task4_Hippocampus' is not there"));
        assert!(near(&path).is_some_and(|near| near.ends_with("Task04_Hippocampus")));
        let deep = not_there(&base.path().join("no/such/file.tar"));
        assert!(deep.contains("file.tar' is not there, nor is '") && deep.ends_with("/no'"));
    }
}
