//! Errors of the store. Each names the thing, the trouble and the way out.

use crate::denied;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The attempted action, as in "cannot *write*".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A person's own file, outside the store, could not be read.
    #[error("{}: cannot {action}: {source}", path.display())]
    Outside {
        /// The attempted action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A person's own file does not hold what was to be made of it.
    #[error("{}: {trouble}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The trouble and the way out.
        trouble: &'static str,
    },
    /// A stored file does not hold what its name promises.
    #[error("{}: {trouble}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The trouble and the way out.
        trouble: String,
    },
    /// The store was written by a newer program. It is left alone.
    #[error("{}: is a store of format {found}, and this program knows format {known}; use a newer program or another store", path.display())]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Content of its format file.
        found: String,
        /// The format of this program.
        known: u32,
    },
    /// It was asked to stop while it waited for somebody else's making.
    #[error("stopped as asked while waiting for another maker")]
    Stopped,
    /// Something else, already in words.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Wraps an I/O error with the file and the action that met it.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// The same error of a file of a store, which may be another user's: where the right is
    /// missing, it says whose the store is and how it can be shared.
    pub(crate) fn in_store(self) -> Error {
        match self {
            Error::Io { action, path, source } => {
                Error::Io { action, source: denied::explained(source, &path), path }
            }
            other => other,
        }
    }

    /// The system's reason of a refused file operation.
    pub fn io_kind(&self) -> Option<ErrorKind> {
        match self {
            Error::Io { source, .. } | Error::Outside { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// True if the store or its disk is at fault, rather than who asked or a person's own file.
    pub fn is_storage(&self) -> bool {
        matches!(self, Error::Io { .. } | Error::Damaged { .. } | Error::Newer { .. })
    }

    /// True if the right to write is missing.
    pub(crate) fn is_denied(&self) -> bool {
        use ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self.io_kind(), Some(PermissionDenied | ReadOnlyFilesystem))
    }

    /// The same trouble, of a file that is none of the store's.
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
