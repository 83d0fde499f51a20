//! Finding a run by name.

use crate::error::{Error, Result};
use crate::home::Home;
use crate::packs;
use crate::run::{RunFolder, RunRecord};
use crate::workflow::nearest;
use std::path::Path;

/// A run's folder and record.
#[derive(Clone, Debug)]
pub struct StoredRun {
    pub folder: RunFolder,
    /// Content of `run.json`.
    pub record: RunRecord,
}

/// All readable runs, oldest first, and errors for the rest.
pub fn all(home: &Home) -> Result<(Vec<StoredRun>, Vec<Error>)> {
    let (mut runs, mut troubles) = (vec![], vec![]);
    for folder in home.all_runs()? {
        match folder.record() {
            Ok(record) => runs.push(StoredRun { folder, record }),
            Err(error) => troubles.push(error),
        }
    }
    runs.sort_by_key(|run| run.record.started_at_ms);
    Ok((runs, troubles))
}

/// Runs by name. Errors if two names give the same run: comparing would show nothing.
pub fn find_each(home: &Home, names: &[String]) -> Result<Vec<StoredRun>> {
    let mut runs: Vec<StoredRun> = vec![];
    for (at, name) in names.iter().enumerate() {
        let run = find(home, name)?;
        if let Some(before) = runs.iter().position(|other| other.record.run == run.record.run) {
            let (one, id) = (&names[before], &run.record.run);
            return Err(Error::usage(format!(
                "'{one}' and '{}' are both run '{id}': 'voxflow runs' lists others",
                names[at]
            )));
        }
        runs.push(run);
    }
    Ok(runs)
}

/// Finds a run: `latest`, an id, an id prefix, a short id (last six digits), a workflow name
/// (newest run), a folder path, or a packed file.
pub fn find(home: &Home, name: &str) -> Result<StoredRun> {
    let here = Path::new(name);
    if packs::is_pack(name) {
        return past(packs::open(home, here)?);
    }
    if name.contains('/') && here.join("run.json").is_file() {
        return past(RunFolder::at(here.to_path_buf()));
    }
    if name != "latest" && !name.contains('/') && home.runs().join(name).join("run.json").is_file()
    {
        return past(RunFolder::at(home.runs().join(name)));
    }
    let folders = home.all_runs()?;
    let ids: Vec<String> = folders.iter().map(RunFolder::id).collect();
    if ids.is_empty() {
        return Err(Error::usage(format!(
            "no runs in '{}' yet: 'voxflow run WORKFLOW' makes one",
            home.root().display()
        )));
    }
    let fitting: Vec<&String> = ids.iter().filter(|id| begins(id, name)).collect();
    match fitting[..] {
        _ if name == "latest" => newest(home, |_| true).ok_or_else(|| unknown(name, &ids)),
        [one] => past(RunFolder::at(home.runs().join(one))),
        [] => newest(home, |record| record.workflow == name).ok_or_else(|| unknown(name, &ids)),
        _ => Err(ambiguous(name, &fitting)),
    }
}

/// True if the whole name is the path of a run: its folder, or a packed file.
pub fn is_path(name: &str) -> bool {
    Path::new(name).join("run.json").is_file() || packs::is_pack(name)
}

/// Last six digits in a run id.
pub fn short(id: &str) -> &str {
    id.rsplit('-').next().unwrap_or(id)
}

fn past(folder: RunFolder) -> Result<StoredRun> {
    Ok(StoredRun { record: folder.record()?, folder })
}

/// True if the id or its short form starts with `name`.
fn begins(id: &str, name: &str) -> bool {
    !name.is_empty() && (id.starts_with(name) || short(id).starts_with(name))
}

fn newest(home: &Home, fits: impl Fn(&RunRecord) -> bool) -> Option<StoredRun> {
    all(home).ok()?.0.into_iter().rfind(|run| fits(&run.record))
}

fn ambiguous(name: &str, fitting: &[&String]) -> Error {
    let shown: Vec<&str> = fitting.iter().rev().take(5).map(|id| id.as_str()).collect();
    let more = fitting.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Error::usage(format!("run '{name}' could be {}{more}: say more of its id", shown.join(", ")))
}

fn unknown(name: &str, ids: &[String]) -> Error {
    let words = ids.iter().flat_map(|id| [id.as_str(), short(id)]).chain(["latest"]);
    let hint = match nearest(name, words) {
        _ if is_workflow_file(name) => {
            "it is a file; a run is named by its id, 'latest', or the 'name' in its workflow: \
             'voxflow runs' lists them"
                .to_string()
        }
        Some(word) => format!("did you mean '{word}'?"),
        None => "'voxflow runs' lists those there are".to_string(),
    };
    Error::usage(format!("run '{name}' is not known: {hint}"))
}

fn is_workflow_file(name: &str) -> bool {
    let path = Path::new(name);
    let ending = path.extension().and_then(|ending| ending.to_str());
    path.is_file() && matches!(ending, Some("yaml" | "yml"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::outcome::RunOutcome;
    use crate::tables;
    use serde_json::json;

    /// A home with three runs, of which the last has tables.
    pub(crate) fn home(folder: &Path) -> Home {
        let home = Home::new(folder, None);
        home.create().expect("a home");
        add(&home, "20260101-000000-demo-abc123", 1_000, 0.5);
        add(&home, "20260102-000000-demo-abd456", 2_000, 0.75);
        add(&home, "20260102-000000-spleen-77ffee", 3_000, 0.9);
        home
    }

    fn add(home: &Home, id: &str, started_at_ms: i64, dice: f64) {
        let folder = RunFolder::at(home.runs().join(id));
        std::fs::create_dir(folder.path()).expect("a run's folder");
        let workflow = id.split('-').nth(2).expect("a name").to_string();
        let mut record = record(id, &workflow, started_at_ms);
        record.stages[0].params["optimizer"]["learning_rate"] = dice.into();
        folder.write_record(&record).expect("writes");
        tables::write(folder.path(), &tables::example(id, dice)).expect("writes");
    }

    pub(crate) fn record(id: &str, workflow: &str, started_at_ms: i64) -> RunRecord {
        let digest = "ab".repeat(32);
        let fields = json!({
            "format": 1, "run": id, "workflow": workflow, "outcome": RunOutcome::Done, "started_at_ms": started_at_ms,
            "seconds": 192.0, "seed": 7, "overrides": ["model.epochs=2"], "device": "auto", "threads": 2,
            "versions": {"voxflow": "0.1.0"}, "machine": {"host": "here"}, "store": "/nowhere/store-v1",
            "stages": [{
                "stage": "model", "kind": "train", "needs": {"cache": ["cache"]},
                "params": {"epochs": 2, "optimizer": {"learning_rate": 0.5}},
                "recipe": {"kind": "train", "version": 1, "params": {"epochs": 2}, "inputs": {"cache": digest}},
                "fingerprint": digest, "artifact": {"model.json": {"digest": digest, "bytes": 1234}}, "digest": digest,
                "outcome": "made", "reason": "epochs differs: 3 → 2", "seconds": 12.5, "made_in_seconds": 12.5,
                "maker": {"device": "cpu", "threads": 2},
            }],
        });
        serde_json::from_value(fields).expect("a record")
    }

    #[test]
    fn a_run_has_many_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = home(folder.path());
        let found = |name: &str| find(&home, name).map(|run| run.record.run);
        let path = home.runs().join("20260101-000000-demo-abc123").display().to_string();
        for (name, id) in [
            ("latest", "20260102-000000-spleen-77ffee"),
            ("20260101-000000-demo-abc123", "20260101-000000-demo-abc123"),
            ("20260101", "20260101-000000-demo-abc123"),
            ("abd", "20260102-000000-demo-abd456"),
            ("77ffee", "20260102-000000-spleen-77ffee"),
            ("demo", "20260102-000000-demo-abd456"),
            (path.as_str(), "20260101-000000-demo-abc123"),
        ] {
            assert_eq!(found(name).expect(name), id, "{name}");
        }
    }

    #[test]
    fn an_ambiguous_name_lists_what_it_could_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = find(&home(folder.path()), "ab").expect_err("two begin so").to_string();
        assert_eq!(
            error,
            "run 'ab' could be 20260102-000000-demo-abd456, 20260101-000000-demo-abc123: say more of its id"
        );
    }

    #[test]
    fn a_misspelt_run_gets_the_nearest_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = home(folder.path());
        let error = |name: &str| find(&home, name).expect_err("not known").to_string();
        assert_eq!(error("latets"), "run 'latets' is not known: did you mean 'latest'?");
        assert_eq!(error("77fee"), "run '77fee' is not known: did you mean '77ffee'?");
        assert_eq!(
            error("qqqqqqqqqqqq"),
            "run 'qqqqqqqqqqqq' is not known: 'voxflow runs' lists those there are"
        );
        let file = folder.path().join("latet.yaml");
        std::fs::write(&file, "name: demo\n").expect("writes");
        let words = error(&file.display().to_string());
        assert!(words.contains("it is a file; a run is named by its id, 'latest'"), "{words}");
    }

    #[test]
    fn a_home_without_runs_says_how_to_make_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = find(&Home::new(&folder.path().join("none"), None), "latest")
            .expect_err("none")
            .to_string();
        assert!(error.contains("'voxflow run WORKFLOW' makes one"), "{error}");
    }
}
