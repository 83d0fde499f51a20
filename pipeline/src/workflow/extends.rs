//! `extends: base.yaml`: a workflow written as changes to another file; bases may extend too.
//!
//! Mappings are merged key by key, and own keys win; lists and values replace the base's. A stage
//! with another kind replaces the base's whole; null removes a stage, or a sweep's axis. `name` and
//! `x-` keys are not inherited. Relative paths in the base lead from its folder.

use super::base::Base;
use super::diagnostic::Diagnostic;
use super::parse::{self, Document};
use super::paths::PATHS;
use serde_json::{Map, Value};
use std::io;
use std::path::{Path, PathBuf};
use voxflow_stages::container::Image;

pub const EXTENDS: &str = "extends";

/// Top-level keys not inherited.
const OWN: [&str; 2] = ["name", EXTENDS];
/// A program's scripts, by name.
const SCRIPTS: &str = "scripts";
/// Depth at which null removes a key; deeper, it is a value.
const REMOVABLE: usize = 2;

/// Reads a file.
pub type ReadFile<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;

/// Merges a document with its base; returns recoverable mistakes in the base's form.
pub fn apply(
    document: Document,
    read: &ReadFile,
) -> Result<(Document, Vec<Diagnostic>), Vec<Diagnostic>> {
    merged(document, read, &mut vec![])
}

fn merged(
    mut document: Document,
    read: &ReadFile,
    above: &mut Vec<PathBuf>,
) -> Result<(Document, Vec<Diagnostic>), Vec<Diagnostic>> {
    let Some(extends) = document.value.get(EXTENDS).cloned() else {
        return Ok((document, vec![]));
    };
    if let Value::Object(own) = &mut document.value {
        own.retain(|key, _| key != EXTENDS);
    }
    let path = base_path(&document, &extends, above).map_err(|words| at(&document, words))?;
    let bytes = read(&path)
        .map_err(|error| at(&document, format!("'{}' cannot be read: {error}", path.display())))?;
    above.push(path.clone());
    let (mut base, mut mistakes) = parse::parse(&path.display().to_string(), &bytes)?;
    rebase(&mut base.value, path.parent().unwrap_or(Path::new("")));
    let (base, more) = merged(base, read, above)?;
    mistakes.extend(more);
    Ok((over(document, base), mistakes))
}

/// The base's path, found from the extending file.
fn base_path(document: &Document, extends: &Value, above: &[PathBuf]) -> Result<PathBuf, String> {
    let name = extends.as_str().map(str::trim).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("must name one file, as base.yaml, but is {extends}"))?;
    let file = Path::new(&document.file);
    let path = file.parent().unwrap_or(Path::new("")).join(name);
    if is_same(file, &path) || above.iter().any(|other| is_same(other, &path)) {
        return Err(format!("'{}' extends itself; name another file", path.display()));
    }
    Ok(path)
}

fn is_same(file: &Path, other: &Path) -> bool {
    let real = file.canonicalize().ok();
    file == other || real.is_some_and(|real| other.canonicalize().ok() == Some(real))
}

fn at(document: &Document, trouble: String) -> Vec<Diagnostic> {
    let place = document.places.value(&[EXTENDS.to_string()]);
    let (file, key) = (document.file.clone(), Some(EXTENDS.to_string()));
    vec![Diagnostic { file, place, stage: None, key, trouble, nearest: None }]
}

/// The document over its base.
fn over(mut document: Document, base: Document) -> Document {
    let origin = origin(&document.value, &base.value);
    document.places.graft(&base.places, &base.file);
    let mut below = base.value;
    if let Value::Object(fields) = &mut below {
        fields.retain(|key, _| !OWN.contains(&key.as_str()) && !key.starts_with("x-"));
    }
    document.value = merge(document.value, below, 0);
    document.bases.push(Base { file: base.file, text: base.text, origin });
    document.bases.extend(base.bases);
    document
}

/// Base keys come first, in their order.
fn merge(own: Value, base: Value, level: usize) -> Value {
    let (own, base) = match (own, base) {
        (Value::Object(own), Value::Object(base)) => (own, base),
        // 'stages:' with nothing below it changes nothing.
        (Value::Null, base) if level == 1 => return base,
        (own, _) => return own,
    };
    let is_last = level + 1 == REMOVABLE;
    let mut fields = Map::new();
    for (key, below) in &base {
        let value = match own.get(key).cloned() {
            None => below.clone(),
            Some(Value::Null) if is_last => continue,
            Some(own) if is_last && is_other_kind(&own, below) => own,
            Some(own) => merge(own, below.clone(), level + 1),
        };
        fields.insert(key.clone(), value);
    }
    fields.extend(own.into_iter().filter(|(key, _)| !base.contains_key(key)));
    Value::Object(fields)
}

/// True if a stage has another `uses`: the base's parameters would mean nothing to it.
fn is_other_kind(own: &Value, base: &Value) -> bool {
    let kinds = own.get("uses").zip(base.get("uses"));
    kinds.is_some_and(|(own, base)| own != base)
}

/// Lets relative paths lead from a folder: those of data, scripts and image files, also where a
/// sweep varies them.
fn rebase(value: &mut Value, folder: &Path) {
    if folder.as_os_str().is_empty() {
        return;
    }
    let stages = value.get_mut("stages").and_then(Value::as_object_mut);
    for stage in stages.into_iter().flat_map(Map::values_mut) {
        let with = stage.get_mut("with").and_then(Value::as_object_mut);
        with.into_iter().flatten().for_each(|(key, value)| rebase_parameter(&[key], value, folder));
    }
    let sweep = value.get_mut("sweep").and_then(Value::as_object_mut);
    for (axis, values) in sweep.into_iter().flatten() {
        let paths: Vec<&str> = axis.split(',').map(str::trim).collect();
        for setting in values.as_array_mut().into_iter().flatten() {
            match (&paths[..], setting) {
                ([path], value) => rebase_setting(path, value, folder),
                (paths, Value::Array(values)) => {
                    let each = paths.iter().zip(values);
                    each.for_each(|(path, value)| rebase_setting(path, value, folder));
                }
                _ => {}
            }
        }
    }
}

/// A value for "STAGE.PARAMETER".
fn rebase_setting(path: &str, value: &mut Value, folder: &Path) {
    let keys: Vec<&str> = path.split('.').skip(1).collect();
    rebase_parameter(&keys, value, folder);
}

fn rebase_parameter(keys: &[&str], value: &mut Value, folder: &Path) {
    match (keys, value) {
        ([SCRIPTS], Value::Object(scripts)) => {
            scripts.iter_mut().for_each(|(name, path)| {
                rebase_parameter(&[SCRIPTS, name], path, folder);
            });
        }
        ([SCRIPTS, _], Value::String(path)) => lead(path, folder),
        ([key], Value::String(path)) if PATHS.contains(key) => lead(path, folder),
        (["container"], Value::String(image))
            if matches!(Image::parse(image), Ok(Image::File(_))) =>
        {
            lead(image, folder);
        }
        _ => {}
    }
}

fn lead(path: &mut String, folder: &Path) {
    if !path.starts_with(['/', '~', '$']) && !path.is_empty() {
        *path = folder.join(&*path).display().to_string();
    }
}

fn origin(own: &Value, base: &Value) -> String {
    let (own, base) = (stages(own), stages(base));
    let all = |fits: &dyn Fn(&str, &Value) -> bool| -> Vec<String> {
        let found = base.iter().filter(|(id, stage)| fits(id, stage));
        found.map(|(id, _)| id.clone()).collect()
    };
    let mut parts = vec![];
    let same = all(&|id, _| !own.contains_key(id));
    parts.extend((!same.is_empty()).then(|| format!("{} as there", same.join(", "))));
    for (id, stage) in own.iter().filter(|(_, stage)| !stage.is_null()) {
        parts.push(match base.get(id) {
            None => format!("{id} added"),
            Some(there) if is_other_kind(stage, there) => format!("{id} replaced"),
            Some(_) => format!("{id} with {}", keys(stage).join(", ")),
        });
    }
    let gone = all(&|id, _| own.get(id).is_some_and(Value::is_null));
    parts.extend((!gone.is_empty()).then(|| format!("without {}", gone.join(", "))));
    parts.join("; ")
}

fn stages(value: &Value) -> Map<String, Value> {
    value.get("stages").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Keys given by a stage: parameters by their own names.
fn keys(stage: &Value) -> Vec<String> {
    let fields = stage.as_object().into_iter().flatten();
    let keys = fields.flat_map(|(key, value)| match (key.as_str(), value) {
        ("with", Value::Object(with)) => with.keys().cloned().collect(),
        _ => vec![key.clone()],
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::earlier::NoRuns;
    use crate::workflow::{ParseContext, Workflow, toys};

    const BASE: &str = "name: base
seed: 7
x-kept: { a: 1 }
stages:
  data: { uses: source, with: { url: a } }
  model: { uses: train, needs: [data], with: { epochs: 3, note: there } }
  split: { uses: split, needs: [data] }
sweep: { model.seed: [1, 2] }
";

    fn read(text: &str) -> Result<Workflow, Vec<String>> {
        let files = |path: &Path| match path.to_str() {
            Some("lab/base.yaml") => Ok(BASE.as_bytes().to_vec()),
            Some("lab/middle.yaml") => {
                Ok(b"extends: base.yaml\nstages: { split: null }\n".to_vec())
            }
            Some("lab/wrong.yaml") => Ok(BASE.replace("epochs", "epoch").into_bytes()),
            Some("lab/loop.yaml") => Ok(b"extends: loop.yaml\n".to_vec()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let environment = |_: &str| -> Option<String> { None };
        let around = ParseContext {
            kinds: toys::TOYS,
            environment: &environment,
            runs: &NoRuns,
            files: &files,
        };
        Workflow::read("lab/mine.yaml", text.as_bytes(), &[], around)
            .map_err(|mistakes| mistakes.iter().map(Diagnostic::to_string).collect())
    }

    #[test]
    fn own_keys_win_lists_replace_and_null_takes_a_stage_away() {
        let text = "extends: base.yaml
stages:
  model: { with: { epochs: 5 } }
  split:
sweep:
";
        let workflow = read(text).expect("a workflow");
        assert_eq!((workflow.name.as_str(), workflow.seed), ("mine", Some(7)));
        let model = workflow.stage("model").expect("a stage");
        assert_eq!((&model.params["epochs"], &model.params["note"]), (&5.into(), &"there".into()));
        assert!(workflow.stage("split").is_none());
        assert_eq!(workflow.sweep.len(), 1, "nothing below 'sweep' changes nothing");
        assert_eq!(workflow.bases[0].origin, "data as there; model with epochs; without split");
        let workflow =
            read("extends: middle.yaml\nsweep: { model.seed: null }\n").expect("a chain");
        assert_eq!((workflow.bases.len(), workflow.sweep.len()), (2, 0));
        assert!(workflow.stage("split").is_none() && workflow.stage("model").is_some());
        let resolved = workflow.resolved();
        assert!(!resolved.contains("extends") && resolved.contains("note: there"), "{resolved}");
    }

    #[test]
    fn mistakes_name_the_file_and_line_in_which_they_stand() {
        let mistakes = |text: &str| read(text).map(|_| ()).expect_err(text).join("\n");
        let wrong = mistakes("extends: wrong.yaml\n");
        assert!(wrong.starts_with("lab/wrong.yaml:6:"), "{wrong}");
        assert!(wrong.contains("did you mean 'epochs'?"), "{wrong}");
        let own = mistakes("extends: base.yaml\nstages:\n  model: { with: { epochs: many } }\n");
        assert!(own.starts_with("lab/mine.yaml:3:"), "{own}");
        let none = mistakes("name: a\nextends: bse.yaml\n");
        assert!(
            none.starts_with("lab/mine.yaml:2:10: key 'extends': 'lab/bse.yaml' cannot"),
            "{none}"
        );
        assert!(mistakes("extends: loop.yaml\n").contains("extends itself"));
        assert!(mistakes("extends: [a, b]\n").contains("must name one file"));
    }

    #[test]
    fn relative_paths_of_a_base_lead_from_its_folder() {
        let mut value = serde_json::json!({ "stages": {
            "a": { "with": { "path": "data", "file": "/data/x.tar", "name": "data" } },
            "b": { "with": { "file": "${DATA}/x.tar", "manifest": "~/list.csv", "datalist": "../d.json" } },
            "c": { "with": { "scripts": { "s": "s.py", "t": "/t.py" }, "container": "tools.sif" } },
            "d": { "with": { "container": "docker://python:3.12" } },
        },
        "sweep": {
            "a.path": ["one", "/two"], "c.scripts.s": ["u.py"], "seeds": [1], "b.name": ["x"],
            "a.path, b.name": [["one", "x"]], "c.scripts": [{ "s": "v.py" }],
        } });
        rebase(&mut value, Path::new("lab"));
        let expected = serde_json::json!({ "stages": {
            "a": { "with": { "path": "lab/data", "file": "/data/x.tar", "name": "data" } },
            "b": { "with": { "file": "${DATA}/x.tar", "manifest": "~/list.csv", "datalist": "lab/../d.json" } },
            "c": { "with": { "scripts": { "s": "lab/s.py", "t": "/t.py" }, "container": "lab/tools.sif" } },
            "d": { "with": { "container": "docker://python:3.12" } },
        },
        "sweep": {
            "a.path": ["lab/one", "/two"], "c.scripts.s": ["lab/u.py"], "seeds": [1], "b.name": ["x"],
            "a.path, b.name": [["lab/one", "x"]], "c.scripts": [{ "s": "lab/v.py" }],
        } });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_stage_of_another_kind_replaces_the_bases() {
        let text = "extends: base.yaml\nstages:\n  split: { uses: train, needs: [data], with: { epochs: 1 } }\n";
        let workflow = read(text).expect("a workflow");
        assert_eq!(workflow.stage("split").map(|stage| stage.kind.name), Some("train"));
        assert!(
            workflow.bases[0].origin.contains("split replaced"),
            "{}",
            workflow.bases[0].origin
        );
    }
}
