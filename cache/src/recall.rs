//! Recalls: what a recipe makes is looked up, or made and remembered. Of several who want the same
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

/// First and longest wait between attempts to claim a recipe that another process makes.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// Options of a recall.
#[derive(Clone, Copy)]
pub struct RecallPolicy<'a> {
    /// Asked while waiting for another maker, and before making.
    pub stop: &'a dyn Fn() -> bool,
    /// Read every blob before it is reused, however unchanged it looks.
    pub verify: bool,
}

/// Waits for the claim that somebody else has.
pub type WaitForClaim<'a> = &'a dyn Fn() -> Result<Claim>;

/// Origin of a recalled entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// It was remembered.
    Reused,
    /// It was made now.
    Made,
}

/// Result of a making, besides the files in the draft.
#[derive(Clone, Debug, Default)]
pub struct MadeRecord {
    /// Data kept beside the files; see [`Entry::record`].
    pub record: Value,
    /// The items recalled on the way.
    pub items: Vec<Fingerprint>,
    /// Files that were made and settled in another folder of the store's file system; the draft is
    /// then empty.
    pub elsewhere: Option<SettledFolder>,
}

/// Files that were settled in a folder.
#[derive(Clone, Debug)]
pub struct SettledFolder {
    /// The folder.
    pub folder: PathBuf,
    /// Its files.
    pub files: Vec<SettledFile>,
    /// Wall time of their making.
    pub seconds: f64,
}

impl<'a> RecallPolicy<'a> {
    /// Stops when `stop` says so; trusts unchanged stats.
    pub fn new(stop: &'a dyn Fn() -> bool) -> RecallPolicy<'a> {
        RecallPolicy { stop, verify: false }
    }
}

impl Store {
    /// Looks the recipe up, or makes it and remembers it.
    ///
    /// `make` writes files into the draft's folder and returns the record and the items for the
    /// entry. Of several who want the same, in this process or others, one makes it and the others
    /// wait. Waiting ends with [`Error::Stopped`] when the policy says stop. Not to be called on a
    /// rayon thread.
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

    /// The same. Where somebody else has the claim, `waiting` is called with the wait for it, so
    /// that it can give back meanwhile what others could use.
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
        drop(claim);
        Ok((entry, Recall::Made))
    }

    /// Waits for a claim: tries, sleeps a little, looks at `stop`.
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

    /// The entry, if all its blobs can be read. Call while holding the removal guard.
    pub(crate) fn ready_entry(
        &self,
        fingerprint: &Fingerprint,
        verify: bool,
    ) -> Result<Option<Entry>> {
        let Some(entry) = self.entry_files().get(fingerprint)? else { return Ok(None) };
        if !self.presence(entry.artifact.part(""), CheckDepth::of(verify))?.is_empty() {
            return Ok(None);
        }
        self.pin(fingerprint).map(|()| Some(entry))
    }
}
