//! Exit codes, and the crate's error type mapping to them.

use std::path::PathBuf;

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: success.
    Done,
    /// 1: a stage failed.
    Failed,
    /// 2: wrong command line or workflow.
    Usage,
    /// 3: store or disk error.
    Storage,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Storage => 3,
            Exit::Interrupted => 130,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong command line or workflow.
    #[error("{0}")]
    Usage(String),
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// Attempted action, as in "cannot *write*".
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// The store could not read or write.
    #[error("{0}")]
    Storage(String),
    /// A stage failed, or any other error, already worded.
    #[error("{0}")]
    Failed(String),
    #[error("interrupted; what was finished is kept, and the same command resumes from there")]
    Interrupted,
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

    pub fn usage(words: impl Into<String>) -> Error {
        Error::Usage(words.into())
    }

    pub fn exit(&self) -> Exit {
        match self {
            Error::Usage(_) => Exit::Usage,
            Error::Io { .. } | Error::Storage(_) => Exit::Storage,
            Error::Failed(_) => Exit::Failed,
            Error::Interrupted => Exit::Interrupted,
        }
    }
}

impl From<voxflow_cache::Error> for Error {
    fn from(error: voxflow_cache::Error) -> Self {
        match error {
            voxflow_cache::Error::Stopped => Error::Interrupted,
            voxflow_cache::Error::Outside { .. } => Error::Failed(error.to_string()),
            error => Error::Storage(error.to_string()),
        }
    }
}

impl From<voxflow_stages::Error> for Error {
    fn from(error: voxflow_stages::Error) -> Self {
        match error {
            voxflow_stages::Error::Stopped => Error::Interrupted,
            error if error.is_storage() => Error::Storage(error.to_string()),
            error => Error::Failed(error.to_string()),
        }
    }
}
