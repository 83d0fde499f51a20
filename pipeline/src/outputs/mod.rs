//! Outputs under readable names.
//!
//! - `outputs/<tree>/` in the home holds relative links to blobs, because blobs lack file
//!   extensions.
//! - A run's `outputs/<stage>` links to its artifact's tree; runs reusing an artifact share the
//!   tree.
//! - A run with nothing to make shares the whole folder of links.
//!
//! Each run checks its links, `cache verify` all runs' links. Missing or wrong links are restored;
//! user files in their place move to `replaced/` in the home.

mod aside;
mod link;
mod tree;

use crate::error::{Error, Result};
use crate::home::{Home, STORE};
use crate::run::{RunFolder, RunRecord};
use crate::runs::StoredRun;
use aside::{clear_folder, mend_link, said};
use link::OUTPUTS;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tree::{Trees, relative};
use voxflow_cache::{Artifact, Blob, DamagedFile, Digest, Store, blob_path, disk};

/// Unreferenced trees younger than this may belong to a run just starting.
const GRACE: Duration = Duration::from_secs(3600);

/// Links a stage's artifact into the run's folder.
pub fn link(run: &RunFolder, stage: &str, artifact: &Artifact, store: &Store) -> Result<()> {
    let run = absolute(run)?;
    let trees = Trees::new(run.home(), store.root());
    let tree = trees.place(&trees.name_of(artifact));
    said(trees.settle(&tree, &trees.links(&tree, artifact))?);
    let folder = run.file(OUTPUTS);
    let (target, link) = (relative(&folder, &tree), folder.join(stage));
    match disk::symlink(&target, &link) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => {
            disk::create_folders(&folder)?;
            Ok(disk::symlink(&target, &link)?)
        }
        linked => Ok(linked?),
    }
}

/// Links all reused stages at once: the run's `outputs` points to a shared folder in the home with
/// a link per stage.
pub fn link_all(run: &RunFolder, stages: &[(&str, &Artifact)], store: &Store) -> Result<()> {
    let run = absolute(run)?;
    let trees = Trees::new(run.home(), store.root());
    let all = trees.all_of(stages);
    for (_, artifact) in stages {
        let tree = trees.place(&trees.name_of(artifact));
        said(trees.settle(&tree, &trees.links(&tree, artifact))?);
    }
    said(trees.settle(&all, &trees.links_to_all(stages))?);
    Ok(disk::symlink(&relative(run.path(), &all), &run.file(OUTPUTS))?)
}

/// Checks and repairs runs' links; returns the repairs.
pub fn verify(home: &Home, runs: &[RunRecord]) -> Result<Vec<DamagedFile>> {
    let root = std::path::absolute(home.root()).map_err(Error::io("find", home.root()))?;
    let store = std::path::absolute(home.store()).map_err(Error::io("find", home.store()))?;
    let (mut seen, mut bad) = (BTreeSet::new(), vec![]);
    for record in runs {
        let run = root.join("runs").join(&record.run);
        let rows = record.stages.iter();
        let made: Vec<(&str, &Artifact)> =
            rows.filter_map(|row| Some((row.stage.as_str(), row.artifact.as_ref()?))).collect();
        // A home may have been moved with its store since, and a run may have used another store.
        let mut stores = [&store, &record.store].into_iter().map(|store| Trees::new(&root, store));
        let Some(trees) = stores.find(|trees| are_of(trees, &made)) else { continue };
        bad.extend(verify_run(&trees, &run, &made)?);
        for (_, artifact) in &made {
            let tree = trees.place(&trees.name_of(artifact));
            if seen.insert(tree.clone()) {
                bad.extend(trees.settle(&tree, &trees.links(&tree, artifact))?);
            }
        }
    }
    Ok(bad)
}

/// True if any artifact's tree exists here.
fn are_of(trees: &Trees, made: &[(&str, &Artifact)]) -> bool {
    let mut places = made.iter().map(|(_, artifact)| trees.place(&trees.name_of(artifact)));
    places.any(|place| fs::symlink_metadata(place).is_ok())
}

/// Checks links in a run's folder. A missing `outputs` was removed on purpose.
fn verify_run(trees: &Trees, run: &Path, made: &[(&str, &Artifact)]) -> Result<Vec<DamagedFile>> {
    let outputs = run.join(OUTPUTS);
    let Ok(metadata) = fs::symlink_metadata(&outputs) else { return Ok(vec![]) };
    if metadata.is_symlink() {
        let all = trees.all_of(made);
        let mut bad = trees.settle(&all, &trees.links_to_all(made))?;
        bad.extend(mend_link(trees.home(), &outputs, &relative(run, &all))?);
        return Ok(bad);
    }
    let mut bad: Vec<DamagedFile> = clear_folder(trees.home(), &outputs)?.into_iter().collect();
    for (stage, artifact) in made {
        let tree = trees.place(&trees.name_of(artifact));
        bad.extend(mend_link(trees.home(), &outputs.join(stage), &relative(&outputs, &tree))?);
    }
    Ok(bad)
}

/// Removes trees without referencing runs, and drafts left by killed processes. User files inside
/// are moved aside.
pub fn prune(home: &Home) -> Result<()> {
    let trees = home.root().join(OUTPUTS);
    let mut wanted = BTreeSet::new();
    for run in home.all_runs()? {
        let outputs = run.file(OUTPUTS);
        wanted.extend(target_name(&outputs));
        let links = fs::read_dir(&outputs).into_iter().flatten().flatten();
        wanted.extend(links.filter_map(|link| target_name(&link.path())));
    }
    for tree in fs::read_dir(&trees).into_iter().flatten().flatten() {
        if !wanted.contains(&tree.file_name()) && !is_young(&tree.path()) {
            said(aside::remove_links(home.root(), &tree.path())?);
        }
    }
    Ok(())
}

fn target_name(link: &Path) -> Option<OsString> {
    fs::read_link(link).ok()?.file_name().map(ToOwned::to_owned)
}

fn is_young(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < GRACE))
}

fn absolute(run: &RunFolder) -> Result<RunFolder> {
    Ok(RunFolder::at(std::path::absolute(run.path()).map_err(Error::io("find", run.path()))?))
}

/// Path to an output: the link in the run's `outputs/` if intact, else the user's file or stored
/// blob. A file saved over the link counts only if nothing else remains (a copied run folder) and
/// its digest matches.
pub fn locate(run: &StoredRun, stage: &str, name: &str, blob: &Blob) -> PathBuf {
    let linked = run.folder.file(OUTPUTS).join(stage).join(name);
    let kept = match &blob.reference {
        Some(reference) => reference.path.clone(),
        None => stored(run, &blob.digest),
    };
    let (linked_to, kept_at) = (fs::canonicalize(&linked).ok(), fs::canonicalize(&kept).ok());
    match (linked_to, kept_at) {
        (Some(linked_to), Some(kept_at)) if linked_to == kept_at => linked,
        (_, Some(_)) => kept,
        (Some(_), None) if Digest::of_file(&linked).is_ok_and(|found| found == blob.digest) => {
            linked
        }
        _ => kept,
    }
}

/// A blob's place in the run's store, or in the one beside a copied or packed run.
fn stored(run: &StoredRun, digest: &Digest) -> PathBuf {
    let beside = blob_path(&run.folder.home().join(STORE), digest);
    let place = blob_path(&run.record.store, digest);
    if !place.is_file() && beside.is_file() { beside } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn trees_that_no_run_leads_to_go_when_they_are_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = crate::runs::tests::home(folder.path());
        let run = home.runs().join("20260101-000000-demo-abc123/outputs");
        fs::create_dir_all(&run).expect("a folder");
        let trees = home.root().join(OUTPUTS);
        let old = SystemTime::now() - 2 * GRACE;
        for (name, at) in [
            ("kept", old),
            ("shared", old),
            ("lost", old),
            (".draft-x", old),
            ("new", SystemTime::now()),
        ] {
            fs::create_dir_all(trees.join(name)).expect("a folder");
            fs::File::open(trees.join(name))
                .and_then(|folder| folder.set_modified(at))
                .expect("a time");
        }
        symlink("../../../outputs/kept", run.join("volumes")).expect("a link");
        // A run that found everything made, and the folder of links that it leads to.
        fs::create_dir_all(trees.join("all")).expect("a folder");
        symlink("../shared", trees.join("all/volumes")).expect("a link");
        fs::File::open(trees.join("all"))
            .and_then(|folder| folder.set_modified(old))
            .expect("a time");
        symlink("../../outputs/all", home.runs().join("20260102-000000-demo-abd456/outputs"))
            .expect("a link");
        prune(&home).expect("prunes");
        let left: BTreeSet<String> = fs::read_dir(&trees)
            .expect("lists")
            .map(|tree| tree.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, ["all", "kept", "new", "shared"].map(String::from).into());
    }
}
