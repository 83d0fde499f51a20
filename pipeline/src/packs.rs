//! Packed runs: a tar file with a run, its results, and the earlier runs read by it.
//!
//! Inside, it is a home: `runs/ID/`, `store-v1/{entries,blobs}`, and with data `data/STAGE/`. It is
//! unpacked once, into the reader's home, and every blob is compared with its digest.
//! `commands/pack` writes packs.

use crate::error::{Error, Result};
use crate::home::{Home, STORE};
use crate::run::RunFolder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry};
use voxflow_cache::disk::{self, FileWriter};
use voxflow_cache::{Artifact, Digest};

/// A pack's first file.
pub const CONTENTS: &str = "pack.json";
/// Folder with data, by stage.
pub const DATA: &str = "data";
/// A home's folder for unpacked runs.
const UNPACKED: &str = "packs";
const FORMAT: u32 = 1;
/// Mode bits of a program.
pub const EXECUTABLE: u32 = 0o111;

/// Content for `pack.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PackContents {
    pub format: u32,
    /// The packed run's id.
    pub run: String,
    /// The writing program's version.
    pub voxflow: String,
    /// Stages left out, with the reason.
    pub left_out: BTreeMap<String, String>,
}

impl PackContents {
    pub fn new(run: &str, left_out: BTreeMap<String, String>) -> PackContents {
        let voxflow = env!("CARGO_PKG_VERSION").to_string();
        PackContents { format: FORMAT, run: run.to_string(), voxflow, left_out }
    }
}

/// True for a packed file's name.
pub fn is_pack(name: &str) -> bool {
    let path = Path::new(name);
    path.extension().is_some_and(|extension| extension == "tar") && path.is_file()
}

/// A packed file's run, unpacked into the home on first use.
pub fn open(home: &Home, pack: &Path) -> Result<RunFolder> {
    let folder = home.root().join(UNPACKED).join(folder_name(pack)?);
    if !folder.join(CONTENTS).is_file() {
        unpack(pack, &folder)?;
    }
    let contents = contents(&folder.join(CONTENTS), pack)?;
    Ok(RunFolder::at(folder.join("runs").join(contents.run)))
}

/// A stage's data folder in an unpacked run.
pub fn data_of(run: &RunFolder, stage: &str) -> Option<PathBuf> {
    let folder = run.home().join(DATA).join(stage);
    folder.is_dir().then_some(folder)
}

/// Removes unpacked runs without references from these artifacts.
pub fn prune<'a>(home: &Home, artifacts: impl Iterator<Item = &'a Artifact>) -> Result<()> {
    let root = std::path::absolute(home.root()).map_err(Error::io("find", home.root()))?;
    let packs = root.join(UNPACKED);
    let blobs = artifacts.flat_map(|artifact| artifact.0.values());
    let references = blobs.filter_map(|blob| blob.reference.as_ref());
    let used: Vec<PathBuf> = references
        .filter_map(|reference| reference.path.strip_prefix(&packs).ok())
        .filter_map(|below| below.components().next())
        .map(|name| packs.join(name))
        .collect();
    for folder in fs::read_dir(&packs).into_iter().flatten().flatten() {
        if !used.contains(&folder.path()) {
            disk::remove(&folder.path())?;
        }
    }
    Ok(())
}

/// Folder name, distinct per file and file version.
fn folder_name(pack: &Path) -> Result<String> {
    let place = fs::canonicalize(pack).map_err(Error::io("find", pack))?;
    let facts = fs::metadata(&place).map_err(Error::io("look at", pack))?;
    let times = (facts.mtime(), facts.mtime_nsec(), facts.ctime(), facts.ctime_nsec());
    let version = format!("{} {} {times:?}", place.display(), facts.len());
    let stem = pack.file_stem().unwrap_or_default().to_string_lossy();
    Ok(format!("{stem}-{}", &Digest::of(version.as_bytes()).to_hex()[..12]))
}

fn unpack(pack: &Path, folder: &Path) -> Result<()> {
    let packs = folder.parent().unwrap_or(folder);
    let draft = packs.join(format!(".draft-{}", disk::unique()));
    disk::create_folders(&draft)?;
    let unpacked = unpack_into(pack, &draft);
    if let Err(error) = unpacked {
        disk::remove(&draft)?;
        return Err(error);
    }
    match disk::rename(&draft, folder) {
        // Another process was faster.
        Err(_) if folder.join(CONTENTS).is_file() => Ok(disk::remove(&draft)?),
        renamed => Ok(renamed?),
    }
}

fn unpack_into(pack: &Path, draft: &Path) -> Result<()> {
    let file = File::open(pack).map_err(Error::io("read", pack))?;
    let mut archive = Archive::new(file);
    let broken = |error: std::io::Error| unreadable(pack, &error.to_string());
    let mut is_first = true;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = plain_name(&entry).ok_or_else(|| {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            unreadable(pack, &format!("'{name}' is no plain file of a run"))
        })?;
        if is_first && name != Path::new(CONTENTS) {
            return Err(unreadable(pack, "it does not begin with pack.json"));
        }
        is_first = false;
        let path = draft.join(&name);
        disk::create_folders(path.parent().unwrap_or(draft))?;
        write(&mut entry, &path)?;
        if name.starts_with(Path::new(STORE).join("blobs")) {
            check_blob(pack, &path)?;
        }
    }
    if is_first {
        return Err(unreadable(pack, "it is empty"));
    }
    contents(&draft.join(CONTENTS), pack).map(drop)
}

/// A regular file's name below a pack's known folders.
fn plain_name(entry: &Entry<File>) -> Option<PathBuf> {
    let path = entry.path().ok()?.into_owned();
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let first = path.components().next()?.as_os_str().to_str()?.to_string();
    let is_known = path == Path::new(CONTENTS) || ["runs", STORE, DATA].contains(&first.as_str());
    (entry.header().entry_type().is_file() && is_plain && is_known).then_some(path)
}

fn write(entry: &mut Entry<File>, path: &Path) -> Result<()> {
    let mut file = FileWriter::create_new(path)?;
    if is_program(entry) {
        file.make_executable()?;
    }
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = match entry.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        file.write_bytes(&buffer[..count])?;
    }
}

fn is_program(entry: &Entry<File>) -> bool {
    entry.header().mode().is_ok_and(|mode| mode & EXECUTABLE != 0)
}

fn check_blob(pack: &Path, path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match Digest::of_file(path)?.to_hex() == name {
        true => Ok(()),
        false => Err(unreadable(pack, &format!("the bytes of blob {name} are damaged"))),
    }
}

fn contents(path: &Path, pack: &Path) -> Result<PackContents> {
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let contents: PackContents = serde_json::from_slice(&text)
        .map_err(|error| unreadable(pack, &format!("pack.json: {error}")))?;
    if contents.format != FORMAT {
        let words = format!("its format {} is newer than this program", contents.format);
        return Err(unreadable(pack, &words));
    }
    let mut parts = Path::new(&contents.run).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(contents),
        _ => Err(unreadable(pack, "pack.json names no run")),
    }
}

fn unreadable(pack: &Path, trouble: &str) -> Error {
    let pack = pack.display();
    Error::Failed(format!("{pack}: {trouble}; 'voxflow pack RUN' writes packed runs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a tar file with texts by name.
    fn tar(path: &Path, files: &[(&str, &str)]) {
        let mut builder = tar::Builder::new(File::create(path).expect("creates"));
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            // As a hostile archive would: 'append_data' refuses such names.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, text.as_bytes()).expect("appends");
        }
        builder.finish().expect("finishes");
    }

    #[test]
    fn only_a_whole_pack_is_unpacked_and_only_below_its_own_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(&folder.path().join("home"), None);
        let head = serde_json::to_string(&PackContents::new("r1", BTreeMap::new())).expect("JSON");
        let good = Digest::of(b"bytes").to_hex();
        let blob = format!("store-v1/blobs/{}/{good}", &good[..2]);
        let head = (CONTENTS, head.as_str());
        let path = folder.path().join("r.tar");
        for (files, words) in [
            (vec![head, ("../outside", "x")], "'../outside' is no plain file of a run"),
            (vec![head, ("elsewhere/x", "x")], "'elsewhere/x' is no plain file of a run"),
            (vec![("runs/r1/run.json", "{}")], "does not begin with pack.json"),
            (vec![head, (blob.as_str(), "other")], "are damaged"),
            (vec![(CONTENTS, "{}")], "pack.json: missing field"),
            (vec![], "it is empty"),
        ] {
            tar(&path, &files);
            let error = open(&home, &path).expect_err(words).to_string();
            assert!(error.contains(words), "'{words}' in {error}");
        }
        assert!(!folder.path().join("home/outside").exists());
        tar(&path, &[head, ("runs/r1/run.json", "{}"), (blob.as_str(), "bytes")]);
        let run = open(&home, &path).expect("unpacks");
        assert_eq!(run.id(), "r1");
        assert!(run.file("run.json").is_file() && run.home().join(&blob).is_file());
        assert_eq!(open(&home, &path).expect("is there"), run);
        prune(&home, std::iter::empty()).expect("prunes");
        assert!(!run.path().exists(), "no run refers to it");
    }
}
