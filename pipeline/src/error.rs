//! Exit codes, and the error type of this crate, which chooses them.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: a stage failed.
    Failed,
    /// 2: the command line or the workflow is wrong.
    Usage,
    /// 3: the store or the disk.
    Storage,
    /// 130: interrupted.
    Interrupted,
}

impl Exit {
    /// The number.
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

/// The failure of a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or a workflow is wrong.
    #[error("{0}")]
    Usage(String),
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
    /// The store could not give or keep something.
    #[error("{0}")]
    Storage(String),
    /// A stage failed, or anything else went wrong; already in words.
    #[error("{0}")]
    Failed(String),
    /// Stopped by a signal.
    #[error("interrupted; what was finished is kept, and the same command goes on from there")]
    Interrupted,
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

    /// A wrong command line or workflow, in words.
    pub fn usage(words: impl Into<String>) -> Error {
        Error::Usage(words.into())
    }

    /// The exit code.
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
