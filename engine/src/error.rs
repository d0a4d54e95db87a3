//! What can go wrong in the engine. Every error says where, and what to do where a person can do something.

use std::io;
use std::path::{Path, PathBuf};

/// A file's version may be this far ahead of what the program reads.
const NEWER_VERSIONS_MAX: u32 = 4;

/// The engine's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {}: {source}{}", file.display(), advice(source.kind()))]
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
    #[error("{} has format version {found}, and this Timberline, {}, reads up to {supported}: start the newer Timberline again that wrote it, or restore an older backup", file.display(), env!("CARGO_PKG_VERSION"))]
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
    /// Writes are refused since an earlier write to disk failed, or since heads cannot be sealed as fast as they fill;
    /// what was answered before is safe.
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
    /// A native histogram that contradicts itself.
    #[error("invalid histogram: {reason}")]
    InvalidHistogram {
        /// What does not fit.
        reason: String,
    },
    /// A sample is older than the retention; it is not stored. InfluxDB's words, which its clients look for.
    #[error("points beyond retention policy: {} is older than {}", utc(*timestamp), utc(*oldest))]
    BeyondRetention {
        /// Its time, nanoseconds since the epoch.
        timestamp: i64,
        /// The oldest time that is kept, by the retention clock.
        oldest: i64,
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
    /// Whoever asked for series wants no more of them.
    #[error("the selection was broken off after {found} series")]
    BrokenOff {
        /// The series that it had found in one head or block, or joined of all of them.
        found: u64,
    },
    /// The database was closed.
    #[error("the database is closed")]
    Closed,
}

impl Error {
    /// For a version that this program does not read, at byte 8 of a file, where no checksum covers it. Versions are counted
    /// one by one: one that is far off is damage, and what else there is goes on.
    pub(crate) fn of_version(file: &Path, found: u32, supported: u32) -> Self {
        if (supported + 1..=supported + NEWER_VERSIONS_MAX).contains(&found) {
            return Self::NewerVersion { file: file.to_owned(), found, supported };
        }
        Self::corruption(file, 8, "the version is unknown")
    }

    /// An [`Error::Io`] with its context.
    pub fn io(operation: &'static str, file: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { operation, file: file.as_ref().to_owned(), source }
    }

    /// Whether there was no space.
    pub(crate) fn is_no_space(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Whether there was no space, or the file system is read-only: the disk is sound, and the same call may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        let is_read_only = |source: &io::Error| source.kind() == io::ErrorKind::ReadOnlyFilesystem;
        self.is_no_space() || matches!(self, Self::Io { source, .. } if is_read_only(source))
    }

    /// An [`Error::Corruption`] with its context.
    pub fn corruption(file: impl AsRef<Path>, offset: u64, reason: impl Into<String>) -> Self {
        Self::Corruption { file: file.as_ref().to_owned(), offset, reason: reason.into() }
    }
}

/// A time, nanoseconds since the epoch, as a person reads it.
fn utc(time_ns: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(time_ns.into()).unwrap_or_default()
}

/// What a person can do about it; empty when the operating system's reason has to be enough.
fn advice(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind;
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free space there or enlarge the disk",
        ErrorKind::ReadOnlyFilesystem => "; mount its file system writable, or choose another data directory",
        ErrorKind::PermissionDenied => {
            "; make it readable and writable for the user that runs this, or choose another data directory"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_mend_comes_with_advice() {
        let cases = [
            (io::ErrorKind::StorageFull, "free space"),
            (io::ErrorKind::QuotaExceeded, "free space"),
            (io::ErrorKind::ReadOnlyFilesystem, "mount"),
            (io::ErrorKind::PermissionDenied, "make it readable and writable"),
        ];
        for (kind, advice) in cases {
            let text = Error::io("create", "data/LOCK", kind.into()).to_string();
            assert!(text.starts_with("cannot create data/LOCK: ") && text.contains(advice), "{text}");
        }
        let other = Error::io("open", "x", io::ErrorKind::NotFound.into()).to_string();
        assert_eq!(other, "cannot open x: entity not found");
    }
}
