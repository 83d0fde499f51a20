//! Expectations of stages, and of artifacts to be made: names and sizes of earlier ones, under
//! digests that nothing made has.

use serde::Serialize;
use std::path::Path;
use voxflow_cache::{
    Artifact, Blob, Digest, Entry, FileStat, Fingerprint, Recipe, Reference, Store,
};

/// The expectations of one stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outlook {
    /// For a stage whose inputs are not made yet; `None` if they do not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// Its items, if it must be made and they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemsExpected>,
    /// Same for stages that variants of a sweep will share.
    #[serde(skip)]
    pub fingerprint: Option<Fingerprint>,
}

/// Expected action for a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Expected {
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

/// Items of a stage to be made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemsExpected {
    /// One item's noun: "volume".
    pub what: &'static str,
    pub all: u64,
    /// Names of those not in the store, sorted.
    pub missing: Vec<String>,
    /// Time for the missing ones, from those of the last making.
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

/// A blob whose bytes lie in a file.
pub fn at(path: &Path, digest: Digest, bytes: u64) -> Blob {
    let stat = FileStat::of(path).ok().flatten();
    let reference = stat.map(|stat| Reference { path: path.to_path_buf(), stat, fresh: false });
    Blob { digest, bytes, reference }
}

/// The entry of an expected artifact.
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
}
