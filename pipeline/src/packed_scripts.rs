//! Scripts of `command` stages in a packed run, needed to make these stages elsewhere.
//!
//! Relative paths are kept, so that scripts find each other.

use crate::run::StageRecord;
use crate::workflow::paths::LOCAL;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use voxflow_cache::Digest;
use voxflow_stages::Kind;

/// A program's scripts among a stage's parameters, and their folder in the pack.
pub const SCRIPTS: &str = "scripts";

/// A stage's scripts by their places below its folder in the pack. The error is the reason for
/// leaving them out.
pub fn files(row: &StageRecord) -> Result<BTreeMap<String, PathBuf>, String> {
    let scripts = scripts(row);
    let Some(kind) = Kind::named(&row.kind).filter(|_| !scripts.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    let mut files = BTreeMap::new();
    for (name, path) in kind.local_files(&row.params).map_err(|error| error.to_string())? {
        let (script, below) = name.split_once('/').unwrap_or((&name, ""));
        let Some(place) = scripts.get(script).map(|path| place(script, path)) else { continue };
        let place = if below.is_empty() { place } else { place.join(below) };
        let Some(place) = place.to_str() else { continue };
        if !is_of(row, &name, &path) {
            let path = path.display();
            return Err(format!("'{path}' is not there, or has changed since the run"));
        }
        files.insert(format!("{SCRIPTS}/{place}"), path);
    }
    Ok(files)
}

/// The parameter `scripts` with the places in a stage's folder of an unpacked run; `None` unless
/// all are there.
pub fn unpacked(folder: &Path, row: &StageRecord) -> Option<Value> {
    let scripts = scripts(row);
    let mut found = Map::new();
    for (name, path) in &scripts {
        let path = folder.join(SCRIPTS).join(place(name, path));
        found.insert(name.clone(), path.to_str().filter(|_| path.exists())?.into());
    }
    (!found.is_empty()).then(|| found.into())
}

fn scripts(row: &StageRecord) -> BTreeMap<String, PathBuf> {
    let named = row.params.get(SCRIPTS).and_then(Value::as_object).into_iter().flatten();
    named.filter_map(|(name, path)| Some((name.clone(), path.as_str()?.into()))).collect()
}

/// A script's place among the others.
fn place(name: &str, path: &Path) -> PathBuf {
    let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    let is_below = plain.components().all(|part| matches!(part, Component::Normal(_)));
    match path.file_name() {
        Some(_) if is_below => plain,
        Some(file) => Path::new(name).join(file),
        None => name.into(),
    }
}

/// True if the file has the bytes of the stage's recipe; without a recipe, if it exists.
fn is_of(row: &StageRecord, name: &str, path: &Path) -> bool {
    let Ok(digest) = Digest::of_file(path) else { return false };
    let recipe = row.recipe.as_ref();
    recipe.is_none_or(|recipe| recipe.inputs.get(&format!("{LOCAL}{name}")) == Some(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_keep_their_places_beside_each_other_and_stay_below_the_pack() {
        let at = |path: &str| place("s", Path::new(path)).display().to_string();
        assert_eq!(at("code/main.py"), "code/main.py");
        assert_eq!(at("./main.py"), "main.py");
        assert_eq!(at("../main.py"), "s/main.py");
        assert_eq!(at("/lab/main.py"), "s/main.py");
        assert_eq!([at("."), at(".."), at("/")], ["s", "s", "s"]);
    }

    #[test]
    fn what_has_changed_since_the_run_is_no_script_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = folder.path().join("s.sh");
        std::fs::write(&script, "one").expect("writes");
        let mut row =
            crate::runs::tests::record("20260101-000000-demo-abc123", "demo", 0).stages.remove(0);
        row.kind = "command".into();
        row.params = serde_json::json!({ "run": ["sh"], "scripts": { "s": script } });
        let place = "scripts/s/s.sh".to_string();
        row.recipe = None;
        assert_eq!(files(&row), Ok(BTreeMap::from([(place, script.clone())])));
        let mut recipe = voxflow_cache::Recipe {
            kind: row.kind.clone(),
            version: 1,
            params: Value::Null,
            inputs: BTreeMap::from([("file/s".into(), Digest::of(b"one"))]),
        };
        row.recipe = Some(recipe.clone());
        assert_eq!(files(&row).map(|files| files.len()), Ok(1));
        recipe.inputs.insert("file/s".into(), Digest::of(b"two"));
        row.recipe = Some(recipe);
        assert!(files(&row).expect_err("changed").contains("has changed since the run"));
        std::fs::create_dir_all(folder.path().join("scripts/s")).expect("a folder");
        assert_eq!(unpacked(folder.path(), &row), None);
        std::fs::copy(&script, folder.path().join("scripts/s/s.sh")).expect("copies");
        let path = folder.path().join("scripts/s/s.sh");
        assert_eq!(unpacked(folder.path(), &row), Some(serde_json::json!({ "s": path })));
    }
}
