//! Errors in a stage: one line naming the thing, the trouble and the way out.

use crate::case_errors;
use std::fmt;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The failure of a stage.
#[derive(Debug)]
pub enum Error {
    /// Stopped on request; finished work is kept.
    Stopped,
    /// Other shards' items were left to them; this shard's are made.
    Elsewhere,
    /// Some cases could not be done; all were tried. Each with its reason.
    Cases(Vec<(String, String)>),
    /// The operating system refused a file operation.
    Io {
        /// The attempted action, as in "cannot *write*".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The store could not give or keep something.
    Store(voxflow_cache::Error),
    /// The disk or the store is at fault, as another process told it in words.
    Storage(String),
    /// The device failed: nothing more can be computed on it in this process. In words.
    Device(String),
    /// Anything else, already in words.
    Failed(String),
}

impl Error {
    /// Wraps an I/O error with the file and the failed action.
    pub fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }

    /// An error in words.
    pub fn failed(words: impl Into<String>) -> Error {
        Error::Failed(words.into())
    }

    /// The error with its case. A device's failure may come from earlier work, so the case is not
    /// blamed.
    pub fn at_case(self, case: &str) -> Error {
        match self {
            Error::Device(words) => Error::Device(format!("{words}; it was seen at case '{case}'")),
            error => Error::Failed(format!("case '{case}': {error}")),
        }
    }

    /// The error of a file whose name comes from foreign data: only a full or broken disk is the
    /// storage's fault, a name that cannot be made is the data's.
    pub(crate) fn of_foreign_name(error: voxflow_cache::Error) -> Error {
        match error {
            voxflow_cache::Error::Io { action, path, source } => Error::Io { action, path, source },
            error => error.into(),
        }
    }

    /// True if the disk or the store is at fault rather than the stage (exit code 3).
    pub fn is_storage(&self) -> bool {
        match self {
            Error::Io { source, .. } => storage_is_at_fault(source),
            Error::Store(voxflow_cache::Error::Outside { source, .. }) => {
                storage_is_at_fault(source)
            }
            Error::Store(error) => error.is_storage(),
            Error::Storage(_) => true,
            _ => false,
        }
    }
}

fn storage_is_at_fault(source: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    const EIO: i32 = 5;
    matches!(source.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
        || source.raw_os_error() == Some(EIO)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Stopped => f.write_str("stopped as asked; what was finished is kept"),
            Error::Elsewhere => f.write_str("other items are made elsewhere"),
            Error::Cases(cases) => {
                write!(
                    f,
                    "{} {} could not be done:",
                    cases.len(),
                    if cases.len() == 1 { "case" } else { "cases" }
                )?;
                f.write_str(&case_errors::lines(cases))
            }
            Error::Io { action, path, source } => {
                write!(f, "{}: cannot {action}: {source}", path.display())
            }
            Error::Store(error) => error.fmt(f),
            Error::Storage(words) | Error::Device(words) | Error::Failed(words) => {
                f.write_str(words)
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<voxflow_cache::Error> for Error {
    fn from(error: voxflow_cache::Error) -> Self {
        match error {
            voxflow_cache::Error::Stopped => Error::Stopped,
            error => Error::Store(error),
        }
    }
}

/// Names the thing affected by a library's error.
pub trait Trouble<T> {
    /// `Err(e)` becomes "{thing}: {e}".
    fn trouble(self, thing: impl fmt::Display) -> Result<T>;
    /// `Err(e)` becomes "{path}: {e}".
    fn trouble_at(self, path: &Path) -> Result<T>;
}

impl<T, E: fmt::Display> Trouble<T> for std::result::Result<T, E> {
    fn trouble(self, thing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Error::Failed(format!("{thing}: {error}")))
    }

    fn trouble_at(self, path: &Path) -> Result<T> {
        self.trouble(path.display())
    }
}
