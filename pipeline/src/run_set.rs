//! Selecting runs by several names; `runs` finds single runs.

use crate::error::{Error, Result};
use crate::home::Home;
use crate::run::RunFolder;
use crate::runs;
use crate::tables::RunSummary;
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// Name for the newest sweep.
const NEWEST_SWEEP: &str = "sweep";

/// A run's folder with its summary.
#[derive(Clone, Debug)]
pub struct Member {
    pub folder: RunFolder,
    pub summary: RunSummary,
}

/// Runs in a home, read on demand.
pub struct RunSet<'a> {
    home: &'a Home,
    all: OnceCell<Vec<Member>>,
}

impl<'a> RunSet<'a> {
    pub fn new(home: &'a Home) -> RunSet<'a> {
        RunSet { home, all: OnceCell::new() }
    }

    /// All readable runs, oldest first.
    pub fn all(&self) -> Result<&[Member]> {
        if let Some(all) = self.all.get() {
            return Ok(all);
        }
        let mut all: Vec<Member> = self
            .home
            .all_runs()?
            .into_iter()
            .filter_map(|folder| Member::read(folder).ok())
            .collect();
        all.sort_by_key(|member| member.summary.started_at_ms);
        Ok(self.all.get_or_init(|| all))
    }

    /// Distinct runs matching `names`: names understood by [`runs::find`], or a workflow or sweep
    /// name for all its runs; `sweep` is the newest sweep. No names select all runs.
    pub fn named(&self, names: &[String]) -> Result<Vec<Member>> {
        if names.is_empty() {
            return Ok(self.all()?.to_vec());
        }
        let (mut seen, mut found) = (BTreeSet::new(), vec![]);
        for name in names {
            let members = match self.sweep(name)?.or(self.workflow(name)?) {
                Some(members) => members,
                None => vec![Member::read(runs::find(self.home, name)?.folder)?],
            };
            found.extend(
                members.into_iter().filter(|member| seen.insert(member.summary.run.clone())),
            );
        }
        Ok(found)
    }

    /// Runs in a sweep given by id, id prefix, or `sweep` for the newest.
    pub fn sweep(&self, name: &str) -> Result<Option<Vec<Member>>> {
        if !name.starts_with(NEWEST_SWEEP) {
            return Ok(None);
        }
        let all = self.all()?;
        let ids: BTreeSet<&str> =
            all.iter().filter_map(Member::sweep_id).filter(|id| id.starts_with(name)).collect();
        let id = match (name, ids.len()) {
            (NEWEST_SWEEP, _) => all.iter().rev().find_map(Member::sweep_id),
            (_, 0 | 1) => ids.first().copied(),
            _ => {
                let ids: Vec<&str> = ids.into_iter().collect();
                return Err(Error::usage(format!(
                    "sweep '{name}' could be {}: say more of its id",
                    ids.join(", ")
                )));
            }
        };
        let Some(id) = id else { return Ok(None) };
        let members = all.iter().filter(|member| member.sweep_id() == Some(id));
        Ok(Some(members.cloned().collect()))
    }

    fn workflow(&self, name: &str) -> Result<Option<Vec<Member>>> {
        if name == "latest" || name.contains('/') || name.starts_with(|c: char| c.is_ascii_digit())
        {
            return Ok(None);
        }
        let of_it = self.all()?.iter().filter(|member| member.summary.workflow == name);
        let of_it: Vec<Member> = of_it.cloned().collect();
        Ok((!of_it.is_empty()).then_some(of_it))
    }
}

impl Member {
    fn sweep_id(&self) -> Option<&str> {
        self.summary.sweep.as_ref().map(|sweep| sweep.id.as_str())
    }

    pub fn read(folder: RunFolder) -> Result<Member> {
        Ok(Member { summary: RunSummary::read(&folder)?, folder })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Sweep;

    fn names(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn a_workflow_means_all_its_runs_and_a_run_comes_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(folder.path());
        let cohort = RunSet::new(&home);
        let ids = |words: &[&str]| -> Vec<String> {
            let found = cohort.named(&names(words)).expect("runs");
            found.iter().map(|member| runs::short(&member.summary.run).to_string()).collect()
        };
        assert_eq!(ids(&["demo"]), ["abc123", "abd456"]);
        assert_eq!(ids(&["latest", "demo", "abd"]), ["77ffee", "abc123", "abd456"]);
        assert_eq!(ids(&[]), ["abc123", "abd456", "77ffee"]);
        assert!(
            cohort
                .named(&names(&["dmo"]))
                .expect_err("unknown")
                .to_string()
                .contains("'dmo' is not known")
        );
    }

    #[test]
    fn a_sweep_means_its_runs() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(folder.path());
        let run = RunFolder::at(home.runs().join("20260101-000000-demo-abc123"));
        let mut record = run.record().expect("a record");
        let (values, repeats) = ([("model.seed".to_string(), 1.into())].into(), vec![]);
        record.sweep =
            Some(Sweep { id: "sweep-12ab34".into(), variant: 1, values, repeats, chosen: false });
        run.write_record(&record).expect("writes");
        let cohort = RunSet::new(&home);
        for name in ["sweep", "sweep-12", "sweep-12ab34"] {
            assert_eq!(cohort.named(&names(&[name])).expect(name).len(), 1, "{name}");
        }
        assert!(cohort.sweep("sweep-99").expect("looks").is_none());
    }
}
