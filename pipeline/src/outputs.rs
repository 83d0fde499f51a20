//! A run's `outputs/`: relative links `<stage>/<name>` to the blobs, since people judge files by their
//! suffix and blobs have none.

use crate::exit::{Error, Result};
use crate::history::Past;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};
use voxflow_cache::{Artifact, Blob, Store, fault};

/// Links what a stage made into the run's folder. What is no longer in the store gets no link.
pub fn link(run: &Path, stage: &str, artifact: &Artifact, store: &Store) -> Result<()> {
    let folder = std::path::absolute(run.join("outputs").join(stage)).map_err(Error::io("find", run))?;
    let mut made = BTreeSet::new();
    for (name, blob) in &artifact.0 {
        if !is_plain(name) {
            continue;
        }
        let link = folder.join(name);
        let parent = link.parent().unwrap_or(&folder).to_path_buf();
        if made.insert(parent.clone()) {
            fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        }
        let bytes = store.path(blob);
        let target = if blob.reference.is_some() { bytes } else { relative(&parent, &bytes) };
        fault::pass().and_then(|()| symlink(&target, &link)).map_err(Error::io("link", &link))?;
    }
    Ok(())
}

/// Whether a name stays below its folder.
fn is_plain(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The way from a folder to a file, both absolute.
fn relative(folder: &Path, file: &Path) -> PathBuf {
    let shared = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(file.components().skip(shared)).collect()
}

/// Where an output lies: in the run's `outputs/` under its own name where it is there, else a
/// person's own file, else the blob in the store.
pub fn locate(run: &Past, stage: &str, name: &str, blob: &Blob) -> PathBuf {
    let linked = run.folder.file("outputs").join(stage).join(name);
    if linked.exists() {
        return linked;
    }
    blob.reference.as_ref().map_or_else(|| in_store(&run.record.store, blob), |reference| reference.path.clone())
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
}
