//! Places where a test may kill the process: before and after each write, fsync and rename of
//! publishing, and of keeping a checkpoint (in `voxflow-net`). Without debug assertions every call
//! is nothing.

/// The variable that names the site to die at: `blob-after-rename`, or `blob-after-rename:3` for
/// the third time it is passed.
pub const VARIABLE: &str = "VOXFLOW_CRASH_AT";

/// Every site, in the order in which publishing passes them.
pub const SITES: &[&str] = &[
    "draft-after-create",
    "blob-before-sync",
    "blob-after-sync",
    "blob-before-rename",
    "blob-after-rename",
    "blob-folder-before-sync",
    "blob-folder-after-sync",
    "entry-before-write",
    "entry-half-written",
    "entry-after-write",
    "entry-after-sync",
    "entry-before-rename",
    "entry-after-rename",
    "entry-folder-after-sync",
    "unfinished-after-remove",
    "draft-after-remove",
    "index-before-insert",
    "index-after-insert",
    "index-after-flush",
];

/// Every site in the keeping of a checkpoint, in order.
pub const CHECKPOINT_SITES: &[&str] = &[
    "checkpoint-before-write",
    "checkpoint-half-written",
    "checkpoint-before-sync",
    "checkpoint-before-rename",
    "checkpoint-after-rename",
];

/// Aborts the process if [`VARIABLE`] names this site, one of the lists above.
#[cfg(debug_assertions)]
pub fn at(site: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static WANTED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    debug_assert!(
        SITES.contains(&site) || CHECKPOINT_SITES.contains(&site),
        "crash site '{site}' is not listed"
    );
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_string(), count.parse().unwrap_or(1)))
    });
    if let Some((name, count)) = wanted
        && name == site
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}

/// Nothing: crash sites exist in debug builds only.
#[cfg(not(debug_assertions))]
pub fn at(_site: &'static str) {}
