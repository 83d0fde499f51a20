//! Remembers: recipes, fingerprints, artifacts, and the store on disk.
//!
//! This crate knows bytes and hashes. Images, YAML, stages and networks live in `voxflow-stages`
//! and `voxflow`.
//!
//! Layout below the store's folder:
//!
//! ```text
//! format                   layout version
//! blobs/ab/<digest>        contents, read-only
//! entries/ab/<fingerprint>.json   made artifacts, each with its own digest; the file's
//!                          modification time is its last use
//! unfinished/ab/<fingerprint>/    unfinished state; a `.checkpoint` ends in its own digest
//! drafts/<pid>-<number>/   work in progress; abandoned drafts go at the next opening
//! bad/                     damaged files set aside
//! pins/<number>-<mount>    entries used by a living run, for gc; touched regularly
//! homes/                   homes using the store, written by the engine
//! claims  drafts.lock  gc.lock  index.lock    locks; their contents are irrelevant
//! index/                   file digests by stat, a hint; in the user's cache folder if the store
//!                          is on a network file system
//! index.outside            the same for files outside the store; saves opening the index
//! ```
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod artifact;
mod blobs;
mod claims;
mod clock;
mod denied;
pub mod disk;
mod drafts;
mod entries;
pub mod error;
mod external_digests;
mod format;
mod gc;
pub mod hash;
mod index;
mod index_place;
mod inventory;
mod layout;
mod listed;
mod lower;
mod maintenance;
mod parallel;
mod pins;
mod place;
mod presence;
mod publish;
mod recall;
pub mod recipe;
mod settle;
mod store;
mod usage;
mod watch;

pub use artifact::{Artifact, Blob, FileStat, Reference};
pub use blobs::Presence;
pub use claims::{ByteLock, Claim};
pub use disk::{crash, fault};
pub use drafts::Draft;
pub use entries::Entry;
pub use error::{Error, Result};
pub use format::FORMAT;
pub use gc::{GcLimits, GcReport};
pub use hash::{Digest, Fingerprint};
pub use index::SESSION_THREAD;
pub use index_place::is_shared;
pub use layout::{blob_path, entry_path};
pub use maintenance::{CHECKPOINT, DamagedFile, FileCount, KindSize, StoreSize};
pub use parallel::parallel_map;
pub use presence::CheckDepth;
pub use publish::NewEntry;
pub use recall::{MadeRecord, Recall, RecallPolicy, SettledFolder, WaitForClaim};
pub use recipe::Recipe;
pub use settle::{SettledFile, settle};
pub use store::Store;
pub use usage::{Share, Shares};
pub use watch::{FilesCheck, OwnFile, Watch};
