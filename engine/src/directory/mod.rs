//! All access to files goes through [`Directory`]: the real one, and a simulated one that loses what was not synced.
//!
//! Paths are relative to the directory's root. The contract is POSIX's, and callers rely on nothing more:
//! a file's bytes are durable after [`WriteFile::sync`], a created, renamed or removed name after
//! [`Directory::sync_dir`] on its parent.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

mod mapped;
mod real;
mod simulated;

pub use mapped::Mapped;
pub use real::RealDirectory;
pub use simulated::{Hold, SimulatedDirectory};

/// A file that is being written, from its start or from where it was opened.
pub trait WriteFile: Send + Debug {
    /// Writes all bytes behind those written before.
    ///
    /// # Errors
    /// What the operating system says. Some of the bytes may have been written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Lengthens the file to `len` bytes with zeros for which space is set aside. What is written next still goes behind what
    /// was written last. After a failure the file may be longer or not.
    ///
    /// # Errors
    /// What the operating system says; `Unsupported` where it cannot.
    fn preallocate(&mut self, len: u64) -> io::Result<()>;

    /// Makes all written bytes durable (`fdatasync`).
    ///
    /// # Errors
    /// What the operating system says. After that, nothing is known about the unsynced bytes, and a second call proves nothing.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory held exclusively; dropping it lets go.
pub trait DirectoryLock: Send + Sync + Debug {}

/// The file system as the engine sees it. Every path is relative to the root.
pub trait Directory: Send + Sync + Debug {
    /// Creates a new file for writing; it must not exist.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;

    /// The whole content of an immutable file, memory-mapped where the system can.
    ///
    /// # Errors
    /// What the operating system says.
    fn map(&self, path: &Path) -> io::Result<Mapped>;

    /// Cuts a file to `len` bytes and makes that durable.
    ///
    /// # Errors
    /// What the operating system says.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Writes the bytes of a file from `from` on over themselves and makes them durable. After a sync that failed this is the only
    /// way: the system counts what it could not write as written, and another sync succeeds without it.
    ///
    /// # Errors
    /// What the operating system says.
    fn rewrite(&self, path: &Path, from: u64) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// What the operating system says; `NotFound` when there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Creates a directory and its parents; fine when it is there.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Renames a file or directory, replacing a file of that name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file that nobody writes to any more a second name, which must not exist. Its bytes are there once; they go
    /// when both names are removed.
    ///
    /// # Errors
    /// What the operating system says.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory with all in it; fine when it is not there.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable (`fsync` on it).
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The bytes that can still be written.
    ///
    /// # Errors
    /// What the operating system says; `Unsupported` where it does not tell.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Takes the directory for this process alone, through the file `path`, which is created where it is not there. On a file system
    /// that nobody can write to a missing file is as good as one.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirectoryLock>>;

    /// The path as a person would name it, for messages.
    fn display_path(&self, path: &Path) -> PathBuf;
}
