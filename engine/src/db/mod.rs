//! The database: what [`Db`] offers, on top of everything else.
//!
//! [`Appender`] writes, [`Snapshot`] reads, [`maintenance`] turns heads into blocks and merges those,
//! [`recovery`] opens what a crash left behind, [`background`] runs maintenance on its own.
//!
//! Lock order: `flush` → `switch` → `manifest` → `view`; `compaction` → `manifest` → `view`.

mod appender;
mod background;
mod maintenance;
mod recovery;
mod stats;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

pub use appender::Appender;
pub use maintenance::{CompactionReport, FlushReport};
pub use stats::Stats;

use crate::directory::{Directory, DirectoryLock, RealDirectory};
use crate::error::{Error, Result};
use crate::manifest::Manifest;
use crate::options::Options;
use crate::querier::Snapshot;
use crate::wal::Wal;
use background::Background;
use stats::Counters;

/// The file that a process locks to have the data directory for itself.
const LOCK_FILE: &str = "LOCK";

/// An open database. Dropping it stops its threads and leaves the log to be replayed; [`close`](Db::close) seals the head first.
#[derive(Debug)]
pub struct Db {
    core: Arc<Core>,
    background: Mutex<Option<Background>>,
}

/// What the threads of a database share.
#[derive(Debug)]
struct Core {
    directory: Arc<dyn Directory>,
    options: Options,
    wal: Wal,
    view: RwLock<Snapshot>,
    /// Held shared while a batch is made and committed, exclusively while the active head is replaced.
    switch: RwLock<()>,
    manifest: Mutex<Manifest>,
    /// Held while heads become blocks.
    flush: Mutex<()>,
    /// Held while blocks are merged or dropped.
    compaction: Mutex<()>,
    counters: Counters,
    closed: AtomicBool,
    lock: Mutex<Option<Box<dyn DirectoryLock>>>,
}

impl Db {
    /// Opens, or creates, the database in a directory of the real file system.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NewerVersion`], [`Error::Corruption`] of the manifest, [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        let directory = RealDirectory::open(path).map_err(|e| Error::io("open", path, e))?;
        Self::open_in(Arc::new(directory), options)
    }

    /// Opens, or creates, the database in any directory.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(directory: Arc<dyn Directory>, options: Options) -> Result<Self> {
        let core = Arc::new(recovery::open(directory, options)?);
        let background = core.options.background.then(|| Background::start(&core));
        Ok(Self { core, background: Mutex::new(background) })
    }

    /// Starts a batch. A thread has one at a time: sealing the head waits until all batches are committed or dropped.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn appender(&self) -> Result<Appender<'_>> {
        self.core.check_open()?;
        Ok(Appender::new(&self.core))
    }

    /// One immutable view of everything that is committed.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.core.view.read().clone()
    }

    /// Seals the head into blocks; afterwards there is nothing to replay but what was written meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`]; everything stays in the log, and a later call tries again. [`Error::WritesRefused`], [`Error::Closed`].
    pub fn flush(&self) -> Result<FlushReport> {
        self.core.check_open()?;
        self.core.flush()
    }

    /// Drops expired blocks and merges until the policy has nothing left to do.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::Io`]; the blocks stay as they were. [`Error::Closed`].
    pub fn compact(&self) -> Result<CompactionReport> {
        self.core.check_open()?;
        self.core.compact()
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Stops the threads, seals the head so that nothing is left to replay, and lets go of the directory.
    /// Later calls fail with [`Error::Closed`], and so does a second `close`.
    ///
    /// # Errors
    /// As [`flush`](Self::flush). The database is closed all the same, and what was answered is in the log.
    pub fn close(&self) -> Result<()> {
        if self.core.closed.swap(true, Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        drop(self.background.lock().take());
        let outcome = self.core.flush().map(|_| ());
        self.core.lock.lock().take();
        outcome
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.core.closed.store(true, Ordering::SeqCst);
        drop(self.background.lock().take());
    }
}

impl Core {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
