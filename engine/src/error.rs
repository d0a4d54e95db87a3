//! What can go wrong in the engine. Every error says where.

use std::io;
use std::path::{Path, PathBuf};

/// The engine's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}", file.display())]
    Io {
        /// What was tried, an infinitive: `open`, `sync`.
        operation: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Bytes on disk are not what was written.
    #[error("{} is corrupt at byte {offset}: {reason}", file.display())]
    Corruption {
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What does not fit.
        reason: String,
    },
    /// A file was written by a version of Timberline that this one does not know.
    #[error("{} has format version {found}, this Timberline reads up to {supported}: start the newer version again, or restore a backup", file.display())]
    NewerVersion {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version this program reads.
        supported: u32,
    },
    /// Another process has the data directory open.
    #[error("{} is locked by another process: stop it first, or choose another data directory", file.display())]
    Locked {
        /// The lock file.
        file: PathBuf,
    },
    /// Writes are refused since an earlier write to disk failed; what was answered before is safe.
    #[error("writes are refused: {reason}")]
    WritesRefused {
        /// Why, and what to do.
        reason: String,
    },
    /// A label set that the engine cannot store.
    #[error("invalid series: {reason}")]
    InvalidSeries {
        /// What is wrong with it.
        reason: String,
    },
    /// A configured bound was reached.
    #[error("limit {name} reached: {got} is more than {limit}")]
    Limit {
        /// The limit's configuration name.
        name: &'static str,
        /// Its value.
        limit: u64,
        /// What was asked for.
        got: u64,
    },
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// An [`Error::Io`] with its context.
    pub fn io(operation: &'static str, file: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { operation, file: file.as_ref().to_owned(), source }
    }

    /// An [`Error::Corruption`] with its context.
    pub fn corruption(file: impl AsRef<Path>, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corruption { file: file.as_ref().to_owned(), offset, reason: reason.into() }
    }
}
