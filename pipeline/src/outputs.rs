//! What runs made, under names: `outputs/<tree>/` in the home holds relative links to the blobs,
//! since people judge files by their suffix and blobs have none; a run's own `outputs/<stage>`
//! leads to the tree of what the stage made. A tree is made once for an artifact, whole, and shared
//! by all runs that reuse it; so is the folder of the links themselves, by runs that found
//! everything made.

use crate::exit::{Error, Result};
use crate::history::Past;
use crate::home::Home;
use crate::run::RunFolder;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use voxflow_cache::{Artifact, Blob, Digest, Store, fault};

/// The folder's name, in the home and in each run.
const OUTPUTS: &str = "outputs";

/// A tree that no run leads to may be on its way to one as long as it is younger.
const GRACE: Duration = Duration::from_secs(3600);

/// Links what a stage made into the run's folder. What is no longer in the store gets no link.
pub fn link(run: &RunFolder, stage: &str, artifact: &Artifact, store: &Store) -> Result<()> {
    let run =
        RunFolder::at(std::path::absolute(run.path()).map_err(Error::io("find", run.path()))?);
    let tree =
        run.home().join(OUTPUTS).join(name_of(artifact, &relative(run.home(), store.root())));
    if !tree.is_dir() {
        plant(&tree, |draft| fill(draft, &tree, artifact, store))?;
    }
    let folder = run.file(OUTPUTS);
    let (target, link) = (relative(&folder, &tree), folder.join(stage));
    let mut linked = fault::pass().and_then(|()| symlink(&target, &link));
    if linked.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        fault::pass()
            .and_then(|()| fs::create_dir_all(&folder))
            .map_err(Error::io("create", &folder))?;
        linked = symlink(&target, &link);
    }
    linked.map_err(Error::io("link", &link))
}

/// Links what every stage of a run has that made nothing, all at once: its `outputs` leads to a
/// folder in the home with a link for each stage, which is shared by the runs that have the same.
pub fn link_all(run: &RunFolder, stages: &[(&str, &Artifact)], store: &Store) -> Result<()> {
    let run =
        RunFolder::at(std::path::absolute(run.path()).map_err(Error::io("find", run.path()))?);
    let (trees, way) = (run.home().join(OUTPUTS), relative(run.home(), store.root()));
    let names: Vec<String> = stages.iter().map(|(_, artifact)| name_of(artifact, &way)).collect();
    let lines: Vec<String> =
        stages.iter().zip(&names).map(|((stage, _), tree)| format!("{stage} {tree}\n")).collect();
    let all = trees.join(short(lines.concat().as_bytes()));
    if !all.is_dir() {
        for ((_, artifact), name) in stages.iter().zip(&names) {
            let tree = trees.join(name);
            if !tree.is_dir() {
                plant(&tree, |draft| fill(draft, &tree, artifact, store))?;
            }
        }
        plant(&all, |draft| {
            stages.iter().zip(&names).try_for_each(|((stage, _), tree)| {
                make_link(&Path::new("..").join(tree), &draft.join(stage))
            })
        })?;
    }
    make_link(&relative(run.path(), &all), &run.file(OUTPUTS))
}

fn make_link(target: &Path, link: &Path) -> Result<()> {
    fault::pass().and_then(|()| symlink(target, link)).map_err(Error::io("link", link))
}

/// A tree's name, by its names and by what they lead to: blobs of a store, or a person's own files.
fn name_of(artifact: &Artifact, store: &Path) -> String {
    let mut bytes = store.as_os_str().as_bytes().to_vec();
    for (name, blob) in &artifact.0 {
        let place = blob
            .reference
            .as_ref()
            .map_or(&b""[..], |reference| reference.path.as_os_str().as_bytes());
        [name.as_bytes(), b"\0", blob.digest.as_bytes(), place, b"\0"]
            .iter()
            .for_each(|part| bytes.extend(*part));
    }
    short(&bytes)
}

fn short(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()[..32].to_string()
}

/// Makes a tree beside its place and moves it there. Where another process was faster, its tree
/// stays.
fn plant(tree: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let trees = tree.parent().unwrap_or(tree);
    fault::pass().and_then(|()| fs::create_dir_all(trees)).map_err(Error::io("create", trees))?;
    let draft = tempfile::Builder::new()
        .prefix(".draft-")
        .tempdir_in(trees)
        .map_err(Error::io("create", trees))?;
    fill(draft.path())?;
    // A temporary folder is its owner's alone.
    let open = fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o755));
    open.map_err(Error::io("change the mode of", draft.path()))?;
    let moved = fault::pass().and_then(|()| fs::rename(draft.path(), tree));
    match moved {
        Err(error)
            if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) =>
        {
            Ok(())
        }
        moved => moved.map_err(Error::io("rename to", tree)),
    }
}

/// The links of a tree that will lie at `tree`.
fn fill(draft: &Path, tree: &Path, artifact: &Artifact, store: &Store) -> Result<()> {
    let mut made = BTreeSet::new();
    for (name, blob) in artifact.0.iter().filter(|(name, _)| is_plain(name)) {
        let link = draft.join(name);
        let parent = link.parent().unwrap_or(draft).to_path_buf();
        if made.insert(parent.clone()) {
            fault::pass()
                .and_then(|()| fs::create_dir_all(&parent))
                .map_err(Error::io("create", &parent))?;
        }
        let bytes = store.path(blob);
        let place = tree.join(name);
        let target = match blob.reference {
            Some(_) => bytes,
            None => relative(place.parent().unwrap_or(tree), &bytes),
        };
        make_link(&target, &link)?;
    }
    Ok(())
}

/// Removes the trees that no run of the home leads to any more, and what killed processes left of
/// some.
pub fn prune(home: &Home) -> Result<()> {
    let trees = home.root().join(OUTPUTS);
    let mut wanted = BTreeSet::new();
    let end = |link: &Path| fs::read_link(link).ok()?.file_name().map(ToOwned::to_owned);
    for run in home.all_runs()? {
        let outputs = run.file(OUTPUTS);
        wanted.extend(end(&outputs));
        wanted.extend(
            fs::read_dir(&outputs)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|link| end(&link.path())),
        );
    }
    let young = |path: &Path| {
        let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        changed.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < GRACE))
    };
    for tree in fs::read_dir(&trees).into_iter().flatten().flatten() {
        if !wanted.contains(&tree.file_name()) && !young(&tree.path()) {
            fs::remove_dir_all(tree.path()).map_err(Error::io("remove", &tree.path()))?;
        }
    }
    Ok(())
}

/// True if a name stays below its folder.
fn is_plain(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The way from a folder to a file, both absolute.
fn relative(folder: &Path, file: &Path) -> PathBuf {
    let shared = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(file.components().skip(shared)).collect()
}

/// Where an output lies: in the run's `outputs/` under its own name while that is a link to what
/// was made, else the person's own file or the blob in the store. A file that somebody saved over
/// the link counts only where nothing else is left (a run's folder that was copied with what its
/// links lead to) and its bytes are those that were made.
pub fn locate(run: &Past, stage: &str, name: &str, blob: &Blob) -> PathBuf {
    let linked = run.folder.file(OUTPUTS).join(stage).join(name);
    let reference = blob.reference.as_ref();
    let kept = reference
        .map_or_else(|| in_store(&run.record.store, blob), |reference| reference.path.clone());
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

/// The store's layout is known here so that a path can be told without opening the store.
fn in_store(store: &Path, blob: &Blob) -> PathBuf {
    let digest = blob.digest.to_hex();
    store.join("blobs").join(&digest[..2]).join(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_run_to_the_store() {
        let way = relative(Path::new("/h/runs/r/outputs/a"), Path::new("/h/store-v1/blobs/ab/abc"));
        assert_eq!(way, Path::new("../../../../store-v1/blobs/ab/abc"));
        assert!(is_plain("predictions/a.nii.gz") && !is_plain("../a") && !is_plain("/a"));
    }

    #[test]
    fn a_tree_is_named_by_its_names_and_by_what_they_lead_to() {
        let blob = |bytes: &[u8]| Blob {
            digest: Digest::of(bytes),
            bytes: bytes.len() as u64,
            reference: None,
        };
        let artifact =
            |name: &str, bytes: &[u8]| Artifact([(name.to_string(), blob(bytes))].into());
        let store = Path::new("store-v1");
        let name = name_of(&artifact("a", b"1"), store);
        assert_eq!(name, name_of(&artifact("a", b"1"), store));
        assert!(
            name != name_of(&artifact("b", b"1"), store)
                && name != name_of(&artifact("a", b"2"), store)
        );
        assert_ne!(name, name_of(&artifact("a", b"1"), Path::new("other")));
    }

    #[test]
    fn trees_that_no_run_leads_to_go_when_they_are_old() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = crate::history::tests::home(folder.path());
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
