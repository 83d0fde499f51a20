//! Errors of the store: subject, trouble, remedy.

use crate::denied;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// Attempted action, as in "cannot *write*".
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A user's file outside the store could not be read.
    #[error("{}: cannot {action}: {source}", path.display())]
    Outside {
        /// Attempted action.
        action: &'static str,
        /// User's file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A user's file changed, or vanished, while results were computed from it.
    #[error("{}: {trouble}", path.display())]
    Changed {
        /// User's file.
        path: PathBuf,
        /// Trouble and remedy.
        trouble: &'static str,
    },
    /// A stored file differs from its name's digest.
    #[error("{}: {trouble}", path.display())]
    Damaged {
        /// Damaged file.
        path: PathBuf,
        /// Trouble and remedy.
        trouble: String,
    },
    /// A newer program wrote the store; nothing is touched.
    #[error(
        "{}: is a store of format {found}, and this program knows format {known}; use a newer \
         program or another store",
        path.display()
    )]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Content found in the format file.
        found: String,
        /// Format this program supports.
        known: u32,
    },
    /// Stopped on request while waiting for another maker.
    #[error("stopped as asked while waiting for another maker")]
    Stopped,
    /// Any other error, already worded.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Wraps an I/O error with path and action.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// Adds owner and sharing advice to permission errors on store files.
    pub(crate) fn in_store(self) -> Error {
        match self {
            Error::Io { action, path, source } => {
                Error::Io { action, source: denied::explained(source, &path), path }
            }
            other => other,
        }
    }

    /// Kind of the underlying I/O error.
    pub fn io_kind(&self) -> Option<ErrorKind> {
        match self {
            Error::Io { source, .. } | Error::Outside { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// True for faults in the store or its disk, as opposed to user files or requests.
    pub fn is_storage(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Damaged { .. } | Error::Newer { .. })
    }

    /// True if write permission is missing.
    pub(crate) fn is_denied(&self) -> bool {
        use ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self.io_kind(), Some(PermissionDenied | ReadOnlyFilesystem))
    }

    /// Recasts an error about a file outside the store.
    pub(crate) fn outside(self) -> Error {
        match self {
            Error::Io { action, path, source } => Error::Outside { action, path, source },
            Error::Damaged { path, trouble } => {
                Error::Other(format!("{}: {trouble}", path.display()))
            }
            other => other,
        }
    }
}
