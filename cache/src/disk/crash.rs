//! Places where a test may kill the process: before and after each step of publishing, and of
//! keeping a checkpoint (in `voxflow-net`). Without debug assertions every call is nothing.

/// The variable that names the site to die at: `blob-after-rename`, or `blob-after-rename:3` for
/// the third time it is passed.
pub const VARIABLE: &str = "VOXFLOW_CRASH_AT";

/// Every state that publishing passes on disk, in order.
pub const SITES: &[&str] = &[
    "draft-before-create",
    "draft-after-create",
    "blob-before-protect",
    "blob-before-sync",
    "blob-after-sync",
    "blob-before-rename",
    "blob-after-rename",
    "blob-folder-before-sync",
    "blob-folder-after-sync",
    "entry-before-create",
    "entry-before-first-half",
    "entry-after-first-half",
    "entry-after-write",
    "entry-after-sync",
    "entry-before-rename",
    "entry-after-rename",
    "entry-folder-before-sync",
    "entry-folder-after-sync",
    "unfinished-before-remove",
    "unfinished-after-remove",
    "draft-before-remove",
    "draft-after-remove",
    "index-before-insert",
    "index-after-insert",
    "index-after-flush",
];

/// Every state in the keeping of a checkpoint, in order.
pub const CHECKPOINT_SITES: &[&str] = &[
    "checkpoint-before-create",
    "checkpoint-before-first-half",
    "checkpoint-after-first-half",
    "checkpoint-before-sync",
    "checkpoint-before-rename",
    "checkpoint-after-rename",
    "checkpoint-folder-after-sync",
    "checkpoint-before-remove",
    "checkpoint-after-remove",
];

/// Aborts the process if [`VARIABLE`] names this site: the files, and the moment of the step.
#[cfg(debug_assertions)]
pub(super) fn at(files: &str, moment: &str, step: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static WANTED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_string(), count.parse().unwrap_or(1)))
    });
    if let Some((name, count)) = wanted
        && *name == format!("{files}-{moment}-{step}")
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}

/// Nothing: crash sites exist in debug builds only.
#[cfg(not(debug_assertions))]
pub(super) fn at(_files: &str, _moment: &str, _step: &str) {}
