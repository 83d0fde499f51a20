//! Recall: looks a recipe up, or makes its artifact and remembers it. Among concurrent callers only
//! one makes it.

use crate::artifact::Artifact;
use crate::claims::Claim;
use crate::drafts::Draft;
use crate::entries::Entry;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::presence::CheckDepth;
use crate::publish::NewEntry;
use crate::recipe::Recipe;
use crate::settle::SettledFile;
use crate::store::Store;
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// First and longest pause between attempts to claim a recipe held by another process.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// Recall options.
#[derive(Clone, Copy)]
pub struct RecallPolicy<'a> {
    /// Polled while waiting for another maker, and before making.
    pub stop: &'a dyn Fn() -> bool,
    /// Read every blob before reuse, ignoring known stats.
    pub verify: bool,
}

/// Blocks until the claim held by another maker is free.
pub type WaitForClaim<'a> = &'a dyn Fn() -> Result<Claim>;

/// Origin of a recalled entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// Found in the store.
    Reused,
    /// Made by this call.
    Made,
}

/// Result from a maker, besides the draft's files.
#[derive(Clone, Debug, Default)]
pub struct MadeRecord {
    /// Maker's own data; see [`Entry::record`].
    pub record: Value,
    /// Items recalled during making.
    pub items: Vec<Fingerprint>,
    /// Files settled in another folder on the store's file system; the draft is empty then.
    pub elsewhere: Option<SettledFolder>,
}

/// A folder with settled files.
#[derive(Clone, Debug)]
pub struct SettledFolder {
    /// Folder path.
    pub folder: PathBuf,
    /// Settled files.
    pub files: Vec<SettledFile>,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl<'a> RecallPolicy<'a> {
    /// Policy stopping on `stop`, trusting unchanged stats.
    pub fn new(stop: &'a dyn Fn() -> bool) -> RecallPolicy<'a> {
        RecallPolicy { stop, verify: false }
    }
}

impl Store {
    /// Looks the recipe up, or makes and publishes it.
    ///
    /// `make` writes files into the draft's folder and returns record and items for the entry.
    /// Concurrent callers, in this process or others, wait for the first. [`Error::Stopped`] if the
    /// policy stops the wait. Never call from a rayon thread: waiting there may deadlock its pool.
    pub fn recall<E: From<Error>>(
        &self,
        recipe: &Recipe,
        policy: &RecallPolicy,
        make: impl FnOnce(&Draft) -> Result<(Value, Vec<Fingerprint>), E>,
    ) -> Result<(Entry, Recall), E> {
        let make = |draft: &Draft| {
            make(draft).map(|(record, items)| MadeRecord { record, items, elsewhere: None })
        };
        self.recall_with(recipe, policy, |wait| wait().map_err(E::from), make)
    }

    /// Like [`Store::recall`], with control over waiting: if another maker holds the claim,
    /// `waiting` receives the blocking wait and may release resources around it.
    pub fn recall_with<E: From<Error>>(
        &self,
        recipe: &Recipe,
        policy: &RecallPolicy,
        waiting: impl FnOnce(WaitForClaim) -> Result<Claim, E>,
        make: impl FnOnce(&Draft) -> Result<MadeRecord, E>,
    ) -> Result<(Entry, Recall), E> {
        let fingerprint = recipe.fingerprint();
        if let Some(entry) = self.look_up(&fingerprint, policy.verify)? {
            return Ok((entry, Recall::Reused));
        }
        if (policy.stop)() {
            return Err(Error::Stopped.into());
        }
        let claim = match self.claim(fingerprint)? {
            Some(claim) => claim,
            None => waiting(&|| self.await_claim(fingerprint, policy.stop))?,
        };
        // The claim's previous holder may have published between the look-up and this claim.
        if let Some(entry) = self.look_up(&fingerprint, policy.verify)? {
            return Ok((entry, Recall::Reused));
        }
        let draft = self.draft()?;
        let started = Instant::now();
        let MadeRecord { record, items, elsewhere } = make(&draft)?;
        let seconds = started.elapsed().as_secs_f64();
        let adopted = Artifact::default();
        let mut made = NewEntry { recipe: recipe.clone(), record, items, seconds, adopted };
        let entry = match elsewhere {
            None => self.publish(draft, made)?,
            Some(SettledFolder { folder, files, seconds }) => {
                made.seconds = seconds;
                made.adopted.add_all(&draft.adopted()?)?;
                self.publish_settled(&folder, &files, made)?
            }
        };
        // Held until the entry exists: whoever waits for the claim then finds it.
        drop(claim);
        Ok((entry, Recall::Made))
    }

    /// Polls for a claim with growing pauses until `stop`.
    pub fn await_claim(&self, fingerprint: Fingerprint, stop: &dyn Fn() -> bool) -> Result<Claim> {
        let mut wait = FIRST_WAIT;
        loop {
            if stop() {
                return Err(Error::Stopped);
            }
            if let Some(claim) = self.claim(fingerprint)? {
                return Ok(claim);
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn look_up(&self, fingerprint: &Fingerprint, verify: bool) -> Result<Option<Entry>> {
        let _guard = self.removal_guard()?;
        self.ready_entry(fingerprint, verify)
    }

    /// Returns the entry if all blobs are readable. Call while holding the removal guard.
    pub(crate) fn ready_entry(
        &self,
        fingerprint: &Fingerprint,
        verify: bool,
    ) -> Result<Option<Entry>> {
        let own = self.entry_files().get(fingerprint)?;
        if let Some(entry) = self.whole(own, verify)? {
            return self.pin(fingerprint).map(|()| Some(entry));
        }
        self.whole(self.below(fingerprint), verify)
    }

    /// The entry, if all its blobs are readable.
    pub(crate) fn whole(&self, entry: Option<Entry>, verify: bool) -> Result<Option<Entry>> {
        let Some(entry) = entry else { return Ok(None) };
        let lost = self.presence(entry.artifact.part(""), CheckDepth::of(verify))?;
        Ok(lost.is_empty().then_some(entry))
    }
}
