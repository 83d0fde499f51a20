//! Finds artifacts from earlier runs for a workflow's needs, in a home or a run's folder.

use crate::home::Home;
use crate::outputs;
use crate::run::StageRecord;
use crate::run_set::RunSet;
use crate::runs::{self, StoredRun};
use crate::workflow::earlier::{EarlierArtifact, EarlierName, EarlierRuns, NotFound};
use crate::workflow::{either, nearest};
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::Path;
use voxflow_cache::{Artifact, Blob, FileStat, Reference, blob_path};
use voxflow_stages::Kind;

/// The newest run with the stage made, from another workflow.
const LATEST: &str = "latest";

/// A home's runs; read on first use.
pub struct HomeRuns<'a> {
    home: &'a Home,
    /// Store for the reader; files elsewhere become references.
    store: &'a Path,
    all: OnceCell<Vec<StoredRun>>,
}

/// Runs in two homes; the first home is asked first.
pub struct Chained<'a>(pub [HomeRuns<'a>; 2]);

impl EarlierRuns for Chained<'_> {
    fn find(&self, name: &EarlierName, workflow: &str) -> Result<EarlierArtifact, NotFound> {
        let [first, second] = &self.0;
        let found = first.find(name, workflow);
        found.or_else(|error| second.find(name, workflow).map_err(|_| error))
    }
}

/// A run with a stage.
type FoundStage = (StoredRun, StageRecord);

impl EarlierRuns for HomeRuns<'_> {
    fn find(&self, name: &EarlierName, workflow: &str) -> Result<EarlierArtifact, NotFound> {
        let named = self.named(name, workflow);
        let Some(digest) = &name.digest else {
            let (run, row) = named?;
            return self.artifact(&run, &row);
        };
        let (run, row) = match named {
            Ok(found) if has_digest(&found.1, digest) => found,
            // The content counts: another run may have made or reused the same.
            named => self.with_digest(digest).ok_or_else(|| other_digest(name, named))?,
        };
        self.artifact(&run, &row)
    }
}

impl<'a> HomeRuns<'a> {
    pub fn new(home: &'a Home) -> HomeRuns<'a> {
        HomeRuns { home, store: home.store(), all: OnceCell::new() }
    }

    /// Another home's runs, for a run in the own home.
    pub fn of_other(other: &'a Home, own: &'a Home) -> HomeRuns<'a> {
        HomeRuns { store: own.store(), ..HomeRuns::new(other) }
    }

    /// All readable runs, oldest first.
    fn all(&self) -> &[StoredRun] {
        self.all.get_or_init(|| runs::all(self.home).map(|(runs, _)| runs).unwrap_or_default())
    }

    fn named(&self, name: &EarlierName, workflow: &str) -> Result<FoundStage, NotFound> {
        if name.run == LATEST {
            // Its own runs do not count: a second run would read what the first one made.
            return self.newest(name, |run| run.record.workflow != workflow);
        }
        let run = runs::find(self.home, &name.run).map_err(|error| self.no_run(name, &error))?;
        if run.record.workflow == name.run {
            return self.newest(name, |run| run.record.workflow == name.run);
        }
        match run.record.stage(&name.stage).cloned() {
            Some(row) => Ok((run, row)),
            None => Err(no_stage(name, &run.record.run, ids(&run))),
        }
    }

    /// The newest fitting run with the stage made.
    fn newest(
        &self,
        name: &EarlierName,
        fits: impl Fn(&StoredRun) -> bool,
    ) -> Result<FoundStage, NotFound> {
        let mut runs = self.all().iter().rev().filter(|run| fits(run));
        let found = runs.find_map(|run| {
            let row = run.record.stage(&name.stage).filter(|row| row.artifact.is_some())?;
            Some((run.clone(), row.clone()))
        });
        found.ok_or_else(|| self.no_stage(name, fits))
    }

    fn with_digest(&self, digest: &str) -> Option<FoundStage> {
        self.all().iter().rev().find_map(|run| {
            let row = run.record.stages.iter().find(|row| has_digest(row, digest))?;
            Some((run.clone(), row.clone()))
        })
    }

    fn artifact(&self, run: &StoredRun, row: &StageRecord) -> Result<EarlierArtifact, NotFound> {
        let (id, stage) = (&run.record.run, &row.stage);
        let (Some(artifact), Some(digest)) = (&row.artifact, row.digest) else {
            let outcome = row.outcome.map_or("not begun", |outcome| outcome.word());
            let words = format!("stage '{stage}' of run '{id}' made nothing: {outcome}");
            return Err(NotFound::new(words));
        };
        let kind = Kind::named(&row.kind).ok_or_else(|| {
            let words =
                format!("stage '{stage}' of run '{id}' is of an unknown kind '{}'", row.kind);
            NotFound::new(words)
        })?;
        let files = artifact.0.iter();
        let files = files.map(|(name, blob)| (name.clone(), self.located(run, stage, name, blob)));
        Ok(EarlierArtifact {
            run: id.clone(),
            stage: stage.clone(),
            kind: row.kind.clone(),
            makes: kind.makes_by(&row.params).unwrap_or(kind.makes),
            fingerprint: row.fingerprint,
            artifact: Artifact(files.collect()),
            digest,
            store: self.store.to_path_buf(),
        })
    }

    /// The blob in the store; files elsewhere become references, read again before use.
    fn located(&self, run: &StoredRun, stage: &str, name: &str, blob: &Blob) -> Blob {
        if blob.reference.is_none() && blob_path(self.store, &blob.digest).is_file() {
            return blob.clone();
        }
        let path = outputs::locate(run, stage, name, blob);
        if blob.reference.as_ref().is_some_and(|reference| reference.path == path) {
            return blob.clone();
        }
        match (std::path::absolute(&path), FileStat::of(&path)) {
            (Ok(path), Ok(Some(stat))) => {
                Blob { reference: Some(Reference { path, stat, fresh: true }), ..blob.clone() }
            }
            _ => blob.clone(),
        }
    }

    fn no_run(&self, name: &EarlierName, error: &crate::error::Error) -> NotFound {
        let members = RunSet::new(self.home).sweep(&name.run).ok().flatten().unwrap_or_default();
        let known: BTreeSet<&str> =
            self.all().iter().map(|run| run.record.workflow.as_str()).collect();
        match (members.last(), nearest(&name.run, known)) {
            (None, Some(near)) => NotFound {
                trouble: format!("run '{}' is not known", name.run),
                nearest: Some(format!("{near}/{}", name.stage)),
            },
            (None, None) => NotFound::new(error.to_string()),
            (Some(member), _) => NotFound {
                trouble: format!("'{}' is a sweep of {} runs; name one", name.run, members.len()),
                nearest: Some(format!("{}/{}", member.summary.run, name.stage)),
            },
        }
    }

    fn no_stage(&self, name: &EarlierName, fits: impl Fn(&StoredRun) -> bool) -> NotFound {
        let runs = self.all().iter().filter(|run| fits(run));
        let made =
            runs.flat_map(|run| run.record.stages.iter().filter(|row| row.artifact.is_some()));
        let mut stages: Vec<&str> = made.map(|row| row.stage.as_str()).collect();
        stages.sort_unstable();
        stages.dedup();
        if stages.is_empty() {
            let words = format!("'{}/{}': no other run made anything", name.run, name.stage);
            return NotFound::new(format!("{words}; 'voxflow runs' lists the runs"));
        }
        let of = if name.run == LATEST { "no earlier run" } else { "no run of it" };
        let near = nearest(&name.stage, stages.iter().copied());
        NotFound {
            trouble: format!(
                "'{}/{}': {of} made a stage '{}'; stages made are {}",
                name.run,
                name.stage,
                name.stage,
                either(&stages)
            ),
            nearest: near.map(|near| format!("{}/{near}", name.run)),
        }
    }
}

fn ids(run: &StoredRun) -> Vec<&str> {
    run.record.stages.iter().map(|row| row.stage.as_str()).collect()
}

fn no_stage(name: &EarlierName, run: &str, stages: Vec<&str>) -> NotFound {
    let near = nearest(&name.stage, stages.iter().copied());
    NotFound {
        trouble: format!(
            "run '{run}' has no stage '{}'; it has {}",
            name.stage,
            either(&stages).replace(" or ", " and ")
        ),
        nearest: near.map(|near| format!("{}/{near}", name.run)),
    }
}

fn has_digest(row: &StageRecord, digits: &str) -> bool {
    row.artifact.is_some() && row.digest.is_some_and(|digest| digest.to_hex().starts_with(digits))
}

/// Trouble with a pinned artifact: the run is gone, or made another.
fn other_digest(name: &EarlierName, named: Result<FoundStage, NotFound>) -> NotFound {
    let pin = name.digest.as_deref().unwrap_or_default();
    match named {
        Err(error) => NotFound {
            trouble: format!("{}, and no other run made the digest {pin}", error.trouble),
            ..error
        },
        Ok((run, row)) => {
            let found = row.digest.map(|digest| digest.to_hex()[..16].to_string());
            NotFound::new(format!(
                "stage '{}' of run '{}' has the digest {}, and {pin} is pinned; no other run made \
                 that one, so name another run, or leave '@{pin}' out",
                row.stage,
                run.record.run,
                found.unwrap_or_else(|| "(nothing made)".into())
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunFolder;
    use crate::runs::tests::home;

    fn name(need: &str) -> EarlierName {
        EarlierName::parse(need).expect("a name")
    }

    /// A home with different digests per run.
    fn with_digests(folder: &Path) -> Home {
        let home = home(folder);
        for (number, run) in home.all_runs().expect("runs").into_iter().enumerate() {
            let mut record = run.record().expect("a record");
            let digest = voxflow_cache::Digest::of(&[number as u8]);
            record.stages[0].digest = Some(digest);
            run.write_record(&record).expect("writes");
        }
        home
    }

    #[test]
    fn latest_is_the_newest_run_of_another_workflow_that_made_the_stage() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = with_digests(folder.path());
        let runs = HomeRuns::new(&home);
        let found =
            |need: &str, workflow: &str| runs.find(&name(need), workflow).map(|found| found.run);
        let newest = "20260102-000000-spleen-77ffee";
        assert_eq!(found("latest/model", "mine").expect("found"), newest);
        let other = "20260102-000000-demo-abd456";
        assert_eq!(found("latest/model", "spleen").expect("found"), other);
        assert_eq!(found("demo/model", "mine").expect("found"), other);
        let artifact = runs.find(&name("abc123/model"), "mine").expect("found");
        assert_eq!(artifact.id(), "20260101-000000-demo-abc123/model");
        assert_eq!(artifact.kind, "train");
    }

    #[test]
    fn a_missing_name_is_refused_with_the_nearest() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = with_digests(folder.path());
        let runs = HomeRuns::new(&home);
        let trouble = |need: &str| runs.find(&name(need), "mine").expect_err(need);
        assert_eq!(trouble("latest/modle").nearest.as_deref(), Some("latest/model"));
        assert_eq!(trouble("abc123/modle").nearest.as_deref(), Some("abc123/model"));
        assert!(trouble("abc124/model").trouble.contains("did you mean 'abc123'?"));
        let run = RunFolder::at(home.runs().join("20260101-000000-demo-abc123"));
        let mut record = run.record().expect("a record");
        record.stages[0].artifact = None;
        record.stages[0].outcome = Some(crate::outcome::Outcome::Failed);
        run.write_record(&record).expect("writes");
        assert!(trouble("abc123/model").trouble.contains("made nothing: failed"));
    }

    #[test]
    fn a_pinned_digest_is_what_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = with_digests(folder.path());
        let runs = HomeRuns::new(&home);
        let first = runs.find(&name("abc123/model"), "mine").expect("found");
        let again = runs.find(&name(&first.pinned()), "mine").expect("found");
        assert_eq!(again, first);
        let moved = format!("gone/model@{}", first.short_digest());
        assert_eq!(runs.find(&name(&moved), "mine").expect("by its content"), first);
        let other = runs.find(&name("abd456/model@0123456789"), "mine").expect_err("another");
        assert!(other.trouble.contains("0123456789 is pinned"), "{}", other.trouble);
    }
}
