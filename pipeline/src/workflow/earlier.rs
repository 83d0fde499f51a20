//! Artifacts from earlier runs among a stage's needs: `RUN/STAGE`, or `RUN/STAGE@DIGEST`.
//!
//! The artifact's content enters the recipe, as with needs in the same file; the name does not.
//! `resolved.yaml` names the run by its id and pins the digest.

use super::text_nodes::Path;
use serde_json::{Map, Value};
use std::path::PathBuf;
use voxflow_cache::{Artifact, Digest, Fingerprint, blob_path};
use voxflow_stages::stage::ArtifactType;

/// Hexadecimal digits written for a pinned digest.
const PINNED_DIGITS: usize = 16;
/// Fewest digits accepted.
const FEWEST_DIGITS: usize = 8;

/// A name as written.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlierName {
    /// An id, its prefix, a workflow, `latest`, or a run folder's path.
    pub run: String,
    pub stage: String,
    /// First digits of the digest over the whole artifact.
    pub digest: Option<String>,
}

/// An artifact found by its name.
#[derive(Clone, Debug, PartialEq)]
pub struct EarlierArtifact {
    /// The run's id.
    pub run: String,
    pub stage: String,
    /// The stage's kind.
    pub kind: String,
    pub makes: ArtifactType,
    pub fingerprint: Option<Fingerprint>,
    /// Files outside the store are references.
    pub artifact: Artifact,
    /// Digest over the whole artifact.
    pub digest: Digest,
    /// The store's folder, with the other files.
    pub store: PathBuf,
}

/// A name without an artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct NotFound {
    pub trouble: String,
    /// Suggested name.
    pub nearest: Option<String>,
}

/// Lookup of earlier runs.
pub trait EarlierRuns {
    /// Finds an artifact for the named workflow.
    fn find(&self, name: &EarlierName, workflow: &str) -> Result<EarlierArtifact, NotFound>;
}

/// Refuses every name: for places without a home.
pub struct NoRuns;

impl EarlierRuns for NoRuns {
    fn find(&self, name: &EarlierName, _workflow: &str) -> Result<EarlierArtifact, NotFound> {
        let trouble = format!("'{}/{}': earlier runs are not looked up here", name.run, name.stage);
        Err(NotFound { trouble, nearest: None })
    }
}

impl EarlierName {
    /// True for needs naming an earlier run: stage names hold no slash.
    pub fn is_meant(need: &str) -> bool {
        need.contains('/')
    }

    /// Parses a need; the error is the trouble.
    pub fn parse(need: &str) -> Result<EarlierName, String> {
        let (run, stage) = need.rsplit_once('/').unwrap_or_default();
        let (stage, digest) =
            stage.split_once('@').map_or((stage, None), |(stage, digest)| (stage, Some(digest)));
        if run.is_empty() || stage.is_empty() {
            return Err(format!("'{need}' names no run and stage; write it as RUN/STAGE"));
        }
        if digest.is_some_and(|digest| digest.len() < FEWEST_DIGITS || !is_hex(digest)) {
            return Err(format!(
                "'{need}': a digest has {FEWEST_DIGITS} or more hexadecimal digits"
            ));
        }
        let digest = digest.map(str::to_lowercase);
        Ok(EarlierName { run: run.to_string(), stage: stage.to_string(), digest })
    }
}

impl NotFound {
    pub fn new(trouble: impl Into<String>) -> NotFound {
        NotFound { trouble: trouble.into(), nearest: None }
    }
}

impl EarlierArtifact {
    /// "RUN/STAGE" with the run's whole id: the name among needs.
    pub fn id(&self) -> String {
        format!("{}/{}", self.run, self.stage)
    }

    /// "RUN/STAGE@DIGEST".
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.id(), self.short_digest())
    }

    pub fn short_digest(&self) -> String {
        self.digest.to_hex()[..PINNED_DIGITS].to_string()
    }

    /// Path to a file.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        let blob = self.artifact.get(name)?;
        let reference = blob.reference.as_ref().map(|reference| reference.path.clone());
        Some(reference.unwrap_or_else(|| blob_path(&self.store, &blob.digest)))
    }
}

fn is_hex(digest: &str) -> bool {
    digest.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Needs naming earlier runs, with their places, in file order.
pub fn named(stages: &Map<String, Value>) -> Vec<(Path, String)> {
    let mut found = vec![];
    for (id, stage) in stages {
        let path = vec!["stages".to_string(), id.clone(), "needs".to_string()];
        gather(stage.get("needs").unwrap_or(&Value::Null), path, &mut found);
    }
    found
}

fn gather(needs: &Value, path: Path, found: &mut Vec<(Path, String)>) {
    match needs {
        Value::String(need) if EarlierName::is_meant(need) => found.push((path, need.clone())),
        Value::Array(needs) => {
            let needs = needs.iter().enumerate();
            needs.for_each(|(index, need)| gather(need, below(&path, index.to_string()), found));
        }
        Value::Object(roles) => {
            roles.iter().for_each(|(role, need)| gather(need, below(&path, role.clone()), found));
        }
        _ => {}
    }
}

fn below(path: &[String], key: String) -> Path {
    path.iter().cloned().chain([key]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_need_with_a_slash_names_a_run_and_a_stage_and_may_pin_a_digest() {
        let name = EarlierName::parse("latest/model").expect("a name");
        assert_eq!((name.run.as_str(), name.stage.as_str()), ("latest", "model"));
        let name = EarlierName::parse("../theirs/runs/x/model@0123ABCDEF").expect("a name");
        assert_eq!((name.run.as_str(), name.stage.as_str()), ("../theirs/runs/x", "model"));
        assert_eq!(name.digest.as_deref(), Some("0123abcdef"));
        for (wrong, words) in [
            ("/model", "write it as RUN/STAGE"),
            ("run/", "write it as RUN/STAGE"),
            ("run/model@12", "8 or more hexadecimal digits"),
            ("run/model@newest-one", "8 or more hexadecimal digits"),
        ] {
            let trouble = EarlierName::parse(wrong).expect_err(wrong);
            assert!(trouble.contains(words), "{trouble}");
        }
    }

    #[test]
    fn needs_are_found_in_lists_and_in_roles() {
        let stages = json!({
            "a": { "needs": ["data", "latest/model"] },
            "b": { "needs": { "model": ["x/m", "y/m"], "data": "data" } },
        });
        let Value::Object(stages) = stages else { panic!("a mapping") };
        let found: Vec<String> = named(&stages)
            .iter()
            .map(|(path, need)| format!("{} {need}", path.join(".")))
            .collect();
        let expected = [
            "stages.a.needs.1 latest/model",
            "stages.b.needs.model.0 x/m",
            "stages.b.needs.model.1 y/m",
        ];
        assert_eq!(found, expected);
    }
}
