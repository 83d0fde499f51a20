//! `voxflow pack`: writes a run with its results into a single file, for `reproduce` and all
//! commands on runs.

use super::tell;
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::home::{Home, STORE};
use crate::humanize;
use crate::outcome::RunOutcome;
use crate::outputs;
use crate::packed_scripts;
use crate::packs::{CONTENTS, DATA, EXECUTABLE, PackContents};
use crate::run::{RunFolder, StageRecord};
use crate::runs::{self, StoredRun};
use crate::workflow::earlier::EarlierName;
use crate::workflow::{either, nearest};
use clap::Args;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use tar::{Builder, Header};
use voxflow_cache::disk::{self, FileWriter};
use voxflow_cache::{Blob, Digest, entry_path};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow pack latest                           # 20260102-…-abc123.tar: record, results, report
  voxflow pack 1a2b3c --out spleen.tar --without volumes,cache
  voxflow pack 1a2b3c --record-only             # for a look at scores, curves and report

  voxflow reproduce spleen.tar                  # the same run on another machine
  voxflow predict --model spleen.tar scan.nii.gz --out labels

Images and labels that the run read where they lie are left out, unless '--with-data' is given: they
may be of patients.")]
pub struct PackArgs {
    /// Run: latest, an id, an id prefix, a workflow's name, or a folder
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Output file, ending in .tar [default: the run's id]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave out the results of these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub without: Vec<String>,
    /// Leave out all results: only record, scores, curves, workflow and report
    #[arg(long, conflicts_with_all = ["without", "with_data"])]
    pub record_only: bool,
    /// Include the images and labels that the run read where they lie
    #[arg(long)]
    pub with_data: bool,
}

/// Content for a file in the pack.
enum PackSource {
    Bytes(Vec<u8>),
    /// A file with its digest.
    Blob(PathBuf, Digest),
    /// A user's file.
    Own(PathBuf),
}

/// Files by their names in the pack.
type PackedFiles = BTreeMap<String, PackSource>;

impl PackArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let run = runs::find(&home, &self.run)?;
        let out = self.place(&run)?;
        let mut packing = Packing {
            args: self,
            home: &home,
            files: PackedFiles::new(),
            left_out: BTreeMap::new(),
        };
        packing.add_run(&run)?;
        let Packing { files, left_out, .. } = packing;
        let contents = PackContents::new(&run.record.run, left_out.clone());
        let bytes = write(&contents, files, &out, run.record.started_at_ms)?;
        if !globals.quiet {
            for (stage, reason) in &left_out {
                tell(&format!("without '{stage}': {reason}"));
            }
            tell(&format!(
                "run {} in '{}', {}",
                run.record.run,
                out.display(),
                humanize::bytes(bytes)
            ));
        }
        Ok(Exit::Done)
    }

    /// The output file; errors for running runs and existing files.
    fn place(&self, run: &StoredRun) -> Result<PathBuf> {
        let id = &run.record.run;
        if run.record.outcome == RunOutcome::Running {
            return Err(Error::usage(format!(
                "run '{id}' is in progress: pack it once it has ended"
            )));
        }
        let ids: Vec<&str> = run.record.stages.iter().map(|row| row.stage.as_str()).collect();
        if let Some(name) = self.without.iter().find(|name| !ids.contains(&name.as_str())) {
            let near =
                nearest(name, ids.iter().copied()).map(|near| format!("; did you mean '{near}'?"));
            let near = near.unwrap_or_else(|| format!("; stages are {}", either(&ids)));
            return Err(Error::usage(format!(
                "--without {name}: run '{id}' has no such stage{near}"
            )));
        }
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{id}.tar")));
        if out.extension().is_none_or(|extension| extension != "tar") {
            let name = out.display();
            return Err(Error::usage(format!(
                "--out {name}: a packed run is known by '.tar'; write {name}.tar"
            )));
        }
        if out.exists() {
            let name = out.display();
            return Err(Error::usage(format!("'{name}' exists: name another file with --out")));
        }
        Ok(out)
    }
}

struct Packing<'a> {
    args: &'a PackArgs,
    home: &'a Home,
    files: PackedFiles,
    /// Reasons by stage.
    left_out: BTreeMap<String, String>,
}

impl Packing<'_> {
    /// The run with its results, and results read from earlier runs.
    fn add_run(&mut self, run: &StoredRun) -> Result<()> {
        self.add_record(&run.folder, &run.record.run)?;
        for row in &run.record.stages {
            self.add_stage(run, row)?;
            self.add_scripts(row);
        }
        for found in &run.record.earlier {
            let Ok(name) = EarlierName::parse(&found.id) else { continue };
            let earlier = self.earlier(run, &name.run);
            let Some(earlier) = earlier else {
                self.left_out.insert(found.id.clone(), "its run is no longer there".into());
                continue;
            };
            self.add_record(&earlier.folder, &name.run)?;
            if let Some(row) = earlier.record.stage(&name.stage) {
                self.add_stage(&earlier, row)?;
            }
        }
        Ok(())
    }

    /// An earlier run, beside the packed run or in this home.
    fn earlier(&self, run: &StoredRun, id: &str) -> Option<StoredRun> {
        let beside = RunFolder::at(run.folder.home().join("runs").join(id));
        match beside.record() {
            Ok(record) => Some(StoredRun { folder: beside, record }),
            Err(_) => runs::find(self.home, id).ok(),
        }
    }

    /// A run folder's files; links and folders lead to results.
    fn add_record(&mut self, folder: &RunFolder, id: &str) -> Result<()> {
        let entries = fs::read_dir(folder.path()).map_err(Error::io("list", folder.path()))?;
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let Some(name) = entry.file_name().to_str().map(str::to_string) else { continue };
            if is_file && !name.starts_with('.') {
                let bytes = fs::read(entry.path()).map_err(Error::io("read", entry.path()))?;
                self.files.insert(format!("runs/{id}/{name}"), PackSource::Bytes(bytes));
            }
        }
        Ok(())
    }

    /// A stage's scripts, or the reason for leaving them out.
    fn add_scripts(&mut self, row: &StageRecord) {
        if self.args.record_only {
            return;
        }
        match packed_scripts::files(row) {
            Ok(files) => self.files.extend(files.into_iter().map(|(name, path)| {
                (format!("{DATA}/{}/{name}", row.stage), PackSource::Own(path))
            })),
            Err(reason) => drop(self.left_out.insert(format!("scripts of {}", row.stage), reason)),
        }
    }

    /// A stage's entry and blobs, or the reason for leaving them out.
    fn add_stage(&mut self, run: &StoredRun, row: &StageRecord) -> Result<()> {
        if row.artifact.is_none() {
            return Ok(());
        }
        let is_asked = self.args.record_only || self.args.without.contains(&row.stage);
        let added = if is_asked { Err("as asked".to_string()) } else { self.results(run, row)? };
        if let Err(reason) = added {
            self.left_out.insert(row.stage.clone(), reason);
        }
        Ok(())
    }

    fn results(&mut self, run: &StoredRun, row: &StageRecord) -> Result<Result<(), String>> {
        let (mut files, mut own) = (PackedFiles::new(), 0u64);
        for (name, blob) in row.artifact.iter().flat_map(|artifact| &artifact.0) {
            let path = outputs::locate(run, &row.stage, name, blob);
            let is_data = stored_at(blob).is_none() && blob.reference.is_some();
            match (is_data, self.args.with_data) {
                (true, false) => own += 1,
                (true, true) => {
                    let name = name.strip_prefix("source/").unwrap_or(name);
                    files.insert(format!("{DATA}/{}/{name}", row.stage), PackSource::Own(path));
                }
                (false, _) if path.is_file() => {
                    let hex = blob.digest.to_hex();
                    let name = format!("{STORE}/blobs/{}/{hex}", &hex[..2]);
                    files.insert(name, PackSource::Blob(path, blob.digest));
                }
                (false, _) => return Ok(Err(format!("'{name}' is no longer in the store"))),
            }
        }
        let Some((entry, store)) = self.entry(run, row) else {
            return Ok(Err("its entry is no longer in the store".into()));
        };
        files.insert(entry.0, PackSource::Bytes(entry.1));
        let format = store.join("format");
        let bytes = fs::read(&format).map_err(Error::io("read", &format))?;
        files.insert(format!("{STORE}/format"), PackSource::Bytes(bytes));
        self.files.extend(files);
        if own > 0 {
            let words =
                format!("{own} files of the data, read where they lie; '--with-data' packs them");
            return Ok(Err(words));
        }
        Ok(Ok(()))
    }

    /// The stage's entry, by its name in the pack, and its store.
    fn entry(&self, run: &StoredRun, row: &StageRecord) -> Option<((String, Vec<u8>), PathBuf)> {
        let fingerprint = row.fingerprint?;
        let blobs = row.artifact.iter().flat_map(|artifact| artifact.0.values());
        let below = blobs.filter_map(stored_at);
        let known =
            [run.record.store.clone(), run.folder.home().join(STORE), self.home.store().into()];
        let mut stores = known.into_iter().chain(below);
        stores.find_map(|store| {
            let bytes = fs::read(entry_path(&store, &fingerprint)).ok()?;
            let name = entry_path(Path::new(STORE), &fingerprint).to_str()?.to_string();
            Some(((name, bytes), store))
        })
    }
}

/// The lower store behind a blob's reference.
fn stored_at(blob: &Blob) -> Option<PathBuf> {
    let path = &blob.reference.as_ref()?.path;
    let is_blob = path.file_name().is_some_and(|name| name == blob.digest.to_hex().as_str());
    is_blob.then(|| path.ancestors().nth(3).map(Path::to_path_buf)).flatten()
}

/// Writes the pack beside its place and renames it; returns its size.
fn write(
    contents: &PackContents,
    files: PackedFiles,
    out: &Path,
    started_at_ms: i64,
) -> Result<u64> {
    let part = out.with_extension("tar.part");
    let written = write_to(contents, files, &part, started_at_ms);
    if written.is_err() {
        disk::remove(&part)?;
    }
    written?;
    disk::rename(&part, out)?;
    Ok(fs::metadata(out).map_err(Error::io("look at", out))?.len())
}

fn write_to(
    contents: &PackContents,
    files: PackedFiles,
    part: &Path,
    started_at_ms: i64,
) -> Result<()> {
    let mut builder = Builder::new(FileWriter::create(part)?);
    let at = u64::try_from(started_at_ms / 1000).unwrap_or(0);
    let mut text = serde_json::to_vec_pretty(contents)
        .map_err(|error| Error::Failed(format!("{CONTENTS}: {error}")))?;
    text.push(b'\n');
    let first = (CONTENTS.to_string(), PackSource::Bytes(text));
    for (name, source) in [first].into_iter().chain(files) {
        append(&mut builder, &name, source, at)?;
    }
    let file = builder.into_inner().map_err(Error::io("write", part))?;
    Ok(file.sync()?)
}

fn append(
    builder: &mut Builder<FileWriter>,
    name: &str,
    source: PackSource,
    at: u64,
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_mtime(at);
    let path = match source {
        PackSource::Bytes(bytes) => {
            header.set_size(bytes.len() as u64);
            let added = builder.append_data(&mut header, name, bytes.as_slice());
            return added.map_err(Error::io("write", name));
        }
        PackSource::Blob(path, digest) if Digest::of_file(&path)? != digest => {
            let words =
                "is damaged; 'voxflow cache verify' finds what else is, a run makes it again";
            return Err(Error::Failed(format!("{}: {words}", path.display())));
        }
        PackSource::Blob(path, _) | PackSource::Own(path) => path,
    };
    let file = File::open(&path).map_err(Error::io("read", &path))?;
    let facts = file.metadata().map_err(Error::io("look at", &path))?;
    let size = facts.len();
    header.set_size(size);
    if facts.mode() & EXECUTABLE != 0 {
        header.set_mode(0o755);
    }
    builder.append_data(&mut header, name, file.take(size)).map_err(Error::io("write", name))
}
