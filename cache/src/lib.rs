//! Remembers: recipes, fingerprints, artifacts, and the store on disk that keeps them.
//!
//! This crate knows bytes and hashes. It knows nothing of images, YAML, stages or networks:
//! those live in `voxflow-stages` and `voxflow`.
//!
//! On disk, below the store's folder:
//!
//! ```text
//! format                   which layout this is
//! blobs/ab/<digest>        contents, read-only
//! entries/ab/<fingerprint>.json   what was made under a recipe, with a digest of itself;
//!                          the file's time of modification is its last use
//! unfinished/ab/<fingerprint>/    what a making has so far; a `.checkpoint` ends in its own digest
//! drafts/<pid>-<number>/   what is being made; left-overs go at the next opening
//! bad/                     what was found damaged
//! pins/<number>-<place>    what a living run uses, for gc; its file's time is the last beat
//! homes/                   who uses the store: the engine's matter
//! claims  drafts.lock  gc.lock  index.lock    locks; their contents do not matter
//! index/                   digests of files by their stat: a hint; on a network file system it
//!                          lies in the user's cache folder
//! index.outside            the same of files outside the store: spares opening the index
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
pub use layout::blob_path;
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
