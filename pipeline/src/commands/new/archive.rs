//! A dataset in an archive (tar, tar.gz) with a `dataset.json`: a few cases are unpacked into a
//! temporary folder and looked at.

use super::draft::{Data, DataSource};
use super::look;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use voxflow_cache::disk;
use voxflow_stages::dataset::name::{is_hidden, split_suffix};
use voxflow_stages::dataset::{Case, Listing, archive};
use voxflow_stages::kinds::folder::Folder;

/// So many labelled cases are unpacked.
const CASES: usize = 10;
/// The most bytes that are unpacked.
const MOST_BYTES: u64 = 16 << 30;
const LISTING: &str = "dataset.json";

/// Looks at the dataset in an archive; `stem` is the archive's name without its ending.
pub(super) fn look(path: &Path, stem: &str) -> Result<Data> {
    let names = archive::names(path).map_err(|error| in_archive(path, &error))?;
    let root = root(path, &names)?;
    let desk =
        tempfile::tempdir().map_err(Error::io("create a folder in", std::env::temp_dir()))?;
    let inside = desk.path().join(root);
    let extract = |names: BTreeSet<String>| {
        archive::extract(path, &names, desk.path(), MOST_BYTES)
            .map_err(|error| in_archive(path, &error))
    };
    extract([format!("{root}{LISTING}")].into())?;
    // A listing asks which files are there: empty ones stand in for the images.
    let images = names.iter().filter(|name| name.starts_with(root) && split_suffix(name).is_some());
    for name in images {
        let file = desk.path().join(name);
        file.parent().map(disk::create_folders).transpose()?;
        disk::write(&file, b"")?;
    }
    let listing = Folder { require_labels: false, ..Folder::at(&inside) }.listing()?.0;
    let few = few(&listing);
    for name in few.files() {
        disk::remove(&inside.join(name))?;
    }
    extract(few.files().map(|name| format!("{root}{name}")).collect())?;
    let (labelled, unlabelled) = (listing.labelled().count(), listing.unlabelled().count());
    let data = look::unpacked(&inside, stem, few)?;
    Ok(Data {
        source: DataSource::Archive(path.to_path_buf()),
        partly_read: data.partly_read.or((labelled > CASES).then_some(CASES)),
        labelled,
        unlabelled,
        patients: labelled,
        ..data
    })
}

/// The listing with the first labelled cases alone.
fn few(listing: &Listing) -> Listing {
    let cases: Vec<Case> = listing.labelled().take(CASES).cloned().collect();
    Listing { cases, ..listing.clone() }
}

/// The folder of the archive's only listing, with its slash.
fn root<'a>(path: &Path, names: &'a BTreeSet<String>) -> Result<&'a str> {
    let roots: Vec<&str> = names
        .iter()
        .filter(|name| !is_hidden(name))
        .filter_map(|name| name.strip_suffix(LISTING))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .collect();
    let shown = path.display();
    match roots[..] {
        [root] => Ok(root),
        [] => Err(Error::usage(format!(
            "'{shown}' is an archive without a {LISTING}: unpack it, and name the folder"
        ))),
        _ => Err(Error::usage(format!(
            "'{shown}' holds {} datasets: unpack it, and name the folder of one",
            roots.len()
        ))),
    }
}

fn in_archive(path: &Path, error: &voxflow_stages::Error) -> Error {
    Error::usage(format!("'{}': {error}", path.display()))
}
