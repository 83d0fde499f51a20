//! Host for predictions without a store. Each image's files appear atomically under the image's
//! name once made.

use super::images::ImageCase;
use super::likeness::Likeness;
use super::window_notes::WindowNotes;
use crate::commands::standalone::moved;
use crate::commands::tell;
use crate::humanize;
use crate::lock::lock;
use crate::stop::Stop;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use voxflow_cache::{Artifact, Blob, Digest, Recipe, disk};
use voxflow_stages::model::Precision;
use voxflow_stages::{Error, Host, Kind, Message, Result};

pub struct OutputHost<'a> {
    out: &'a Path,
    desk: &'a Path,
    stop: &'a Stop,
    cases: &'a [ImageCase],
    likeness: &'a Likeness,
    quiet: bool,
    done: AtomicUsize,
    places: Mutex<BTreeMap<Digest, PathBuf>>,
    windows: Mutex<WindowNotes>,
    /// Held while an image is looked at: one at a time is in memory for that.
    looking: Mutex<()>,
}

impl<'a> OutputHost<'a> {
    /// Writes to `out`; `desk` is a work folder on the same file system. Cases unlike the model's
    /// are warned of.
    pub fn new(
        out: &'a Path,
        desk: &'a Path,
        stop: &'a Stop,
        (cases, likeness): (&'a [ImageCase], &'a Likeness),
        quiet: bool,
    ) -> OutputHost<'a> {
        OutputHost {
            out,
            desk,
            stop,
            cases,
            likeness,
            quiet,
            done: AtomicUsize::new(0),
            places: Mutex::default(),
            windows: Mutex::default(),
            looking: Mutex::default(),
        }
    }

    /// Warns of an image unlike the model's training cases. An unreadable one fails at its
    /// segmentation.
    fn look_at(&self, name: &str) {
        let _one = lock(&self.looking);
        let case = self.cases.iter().find(|case| case.name() == name);
        let Some(Ok(channels)) = case.map(ImageCase::channels) else { return };
        let warnings = self.likeness.warnings(&channels);
        warnings.iter().for_each(|words| tell(&format!("warning: {name}: {words}")));
    }

    /// Number of finished images.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Moves a finished file to its target.
    fn deliver(&self, image: &str, file: &Path) -> Result<(String, Blob)> {
        let name =
            file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let digest = Digest::of_file(file)?;
        let bytes = fs::metadata(file).map_err(Error::io("read", file))?.len();
        let place = match self.place(image, &name) {
            Some(place) => {
                let folder = place.parent().unwrap_or(self.out);
                disk::create_folders(folder)?;
                moved(file, &place)?;
                place
            }
            None => file.to_path_buf(),
        };
        lock(&self.places).insert(digest, place);
        Ok((name, Blob { digest, bytes, reference: None }))
    }

    /// Target path; `None` for internal files.
    fn place(&self, image: &str, file: &str) -> Option<PathBuf> {
        let name = match file.split_once('.')?.0 {
            "labels" => format!("{image}.nii.gz"),
            "probabilities" => format!("{image}_probabilities.nii.gz"),
            _ => return None,
        };
        Some(self.out.join(name))
    }

    fn say(&self, words: &str) {
        if !self.quiet {
            tell(words);
        }
    }
}

impl Host for OutputHost<'_> {
    fn tell(&self, message: Message) {
        match message {
            Message::Warning { words } => tell(&format!("warning: {words}")),
            Message::Device { name, threads, .. } => {
                let (images, threads) = (
                    humanize::count(self.cases.len() as u64, "image"),
                    humanize::count(threads as u64, "thread"),
                );
                self.say(&format!("{images} on {name}, {threads}"));
            }
            Message::Precision { name } if name != Precision::default().word() => {
                self.say(&format!("in {name}"));
            }
            Message::Progress(progress) => {
                let note = lock(&self.windows).note(&progress, Instant::now());
                note.iter().for_each(|words| self.say(words));
            }
            _ => {}
        }
    }

    fn stopping(&self) -> bool {
        self.stop.is_asked()
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let started = Instant::now();
        let folder = tempfile::Builder::new()
            .tempdir_in(self.desk)
            .map_err(Error::io("create a folder in", self.desk))?;
        // The whole desk goes at the end.
        let folder = folder.keep();
        self.look_at(name);
        make(&folder)?;
        Kind::named("predict").map_or(Ok(()), |kind| kind.check_item(recipe, &folder))?;
        let entries = fs::read_dir(&folder).map_err(Error::io("list", &folder))?;
        let files = entries.flatten().map(|entry| self.deliver(name, &entry.path()));
        let artifact = Artifact(files.collect::<Result<_>>()?);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let time = humanize::duration(started.elapsed().as_secs_f64());
        self.say(&format!("✓ {name}  {time}  ({done} of {})", self.cases.len()));
        Ok(artifact)
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        lock(&self.places).get(&blob.digest).cloned().unwrap_or_default()
    }

    fn adopt(&self, _: &str, _: &Blob) {}

    fn refer(&self, path: &Path) -> Result<Blob> {
        Err(Error::failed(format!("{}: predicting needs no reference to it", path.display())))
    }
}
