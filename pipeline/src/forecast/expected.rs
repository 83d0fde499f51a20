//! Expectations for stages, and artifacts to be made: earlier names and sizes under new digests.

use serde::Serialize;
use serde_json::Value;
use std::cmp::Reverse;
use std::path::Path;
use voxflow_cache::{
    Artifact, Blob, Digest, Entry, FileStat, Fingerprint, Recipe, Reference, Store,
};

/// Expectations for a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outlook {
    /// For stages with inputs still to be made; `None` if undecidable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectedAction>,
    /// Its items, if known and the stage must be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemsExpected>,
    /// Same for stages shared by a sweep's variants.
    #[serde(skip)]
    pub fingerprint: Option<Fingerprint>,
}

/// Expected action for a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum ExpectedAction {
    Reuse {
        /// Wall time when it was made.
        seconds: f64,
    },
    Run {
        reason: String,
        /// Wall time of its last making, if known.
        cost_seconds: Option<f64>,
    },
}

/// Items for a stage to be made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemsExpected {
    /// Noun for an item: "volume".
    pub what: &'static str,
    pub all: u64,
    /// Names missing from the store, sorted.
    pub missing: Vec<String>,
    /// Time for the missing items, by the last making's mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// An artifact like `last`, made from another recipe. Its files can be read; they hold the earlier
/// bytes.
pub fn changed(last: &Artifact, recipe: &Recipe, store: &Store) -> Artifact {
    let fingerprint = recipe.fingerprint();
    let blobs = last.0.iter().map(|(name, blob)| {
        let digest = Digest::of(format!("expected {} {name}", fingerprint.to_hex()).as_bytes());
        (name.clone(), at(&store.path(blob), digest, blob.bytes))
    });
    Artifact(blobs.collect())
}

/// An item like another, under names of its own.
pub fn like(item: &Entry, recipe: &Recipe, store: &Store) -> Artifact {
    let mut names = vec![];
    renames(&item.recipe.params, &recipe.params, &mut names);
    names.sort_by_key(|(old, _)| Reverse(old.len()));
    let files = item.artifact.0.iter();
    let files = files.map(|(name, blob)| (renamed(name, &names), blob.clone()));
    changed(&Artifact(files.collect()), recipe, store)
}

/// Pairs of file names at the same places in two items' parameters, where they differ.
fn renames(old: &Value, new: &Value, found: &mut Vec<(String, String)>) {
    match (old, new) {
        (Value::String(old), Value::String(new)) if old != new => {
            found.push((file_name(old).to_string(), file_name(new).to_string()));
        }
        (Value::Object(old), Value::Object(new)) => {
            let both = old.iter().filter_map(|(key, old)| Some((old, new.get(key)?)));
            both.for_each(|(old, new)| renames(old, new, found));
        }
        (Value::Array(old), Value::Array(new)) => {
            old.iter().zip(new).for_each(|(old, new)| renames(old, new, found));
        }
        _ => {}
    }
}

/// The name with its last part renamed as the item or one of its files was.
fn renamed(name: &str, names: &[(String, String)]) -> String {
    let last = file_name(name);
    let found = names.iter().find_map(|(old, new)| {
        let suffix = last.strip_prefix(old.as_str())?;
        (suffix.is_empty() || suffix.starts_with('.')).then(|| format!("{new}{suffix}"))
    });
    let folder = &name[..name.len() - last.len()];
    format!("{folder}{}", found.as_deref().unwrap_or(last))
}

fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// A blob with bytes in a file.
pub fn at(path: &Path, digest: Digest, bytes: u64) -> Blob {
    let stat = FileStat::of(path).ok().flatten();
    let reference = stat.map(|stat| Reference { path: path.to_path_buf(), stat, fresh: false });
    Blob { digest, bytes, reference }
}

/// The entry for an expected artifact.
pub fn entry(recipe: &Recipe, artifact: Artifact) -> Entry {
    Entry {
        fingerprint: recipe.fingerprint(),
        recipe: recipe.clone(),
        artifact,
        record: serde_json::Value::Null,
        items: vec![],
        made_at: 0,
        seconds: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn an_expected_artifact_has_the_names_of_the_last_and_digests_of_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let file = folder.path().join("file");
        std::fs::write(&file, "abc").expect("writes");
        let last = Artifact(BTreeMap::from([(
            "a/image.nii".to_string(),
            store.refer(&file).expect("a file"),
        )]));
        let recipe = |seed: u32| Recipe {
            kind: "preprocess".into(),
            version: 1,
            params: json!({ "seed": seed }),
            inputs: BTreeMap::new(),
        };
        let [one, other] = [1, 2].map(|seed| changed(&last, &recipe(seed), &store));
        assert_eq!(one.0.keys().collect::<Vec<_>>(), ["a/image.nii"]);
        assert_ne!(one.digest(), last.digest());
        assert_ne!(one.digest(), other.digest());
        assert_eq!(store.path(&one.0["a/image.nii"]), file, "its earlier bytes can be read");
    }

    #[test]
    fn an_item_of_another_case_has_that_cases_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let file = folder.path().join("file");
        std::fs::write(&file, "abc").expect("writes");
        let blob = store.refer(&file).expect("a file");
        let recipe = |case: &str| Recipe {
            kind: "command/case".into(),
            version: 1,
            params: json!({
                "stage": { "run": ["sh"] },
                "facts": { "case": { "name": case, "images": [format!("images/{case}_ct.nii")] } },
            }),
            inputs: BTreeMap::new(),
        };
        let named = |names: &[&str]| -> Vec<String> {
            let files = names.iter().map(|name| (name.to_string(), blob.clone()));
            let item = entry(&recipe("a"), Artifact(files.collect()));
            like(&item, &recipe("b_1"), &store).0.into_keys().collect()
        };
        assert_eq!(
            named(&["made/image.0/a_ct.nii", "made/label/a.nii.gz", "made/label/ab.nii"]),
            ["made/image.0/b_1_ct.nii", "made/label/ab.nii", "made/label/b_1.nii.gz"]
        );
        assert_eq!(named(&["metrics.json", "made/a"]), ["made/b_1", "metrics.json"]);
    }
}
