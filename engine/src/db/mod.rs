//! The database: what [`Db`] offers, on top of everything else.
//!
//! [`Appender`] writes, [`Snapshot`] reads, [`maintenance`] turns heads into blocks and merges those, [`deletes`] hides
//! samples, [`snapshots`] copies the whole, [`recovery`] opens what a crash left behind, [`background`] runs maintenance on
//! its own, [`clock`] says what has expired.
//!
//! Lock order: `compaction` → `flush` → `switch` → `manifest` → `view`. Whoever works under one of the first three looks at
//! `closed` once the lock is taken; [`Db::close`] sets it and then takes all three, so nothing touches the directory after.

mod appender;
mod background;
mod clock;
mod deletes;
mod maintenance;
mod pace;
mod quiet;
mod recovery;
mod reserve;
mod snapshots;
mod stats;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use ulid::Ulid;

pub use appender::Appender;
pub use deletes::DeleteReport;
pub use maintenance::{CompactionReport, FlushReport};
pub use snapshots::SNAPSHOTS_DIR;
pub use stats::Stats;

use crate::budget::Budget;
use crate::directory::{Directory, DirectoryLock, RealDirectory};
use crate::error::{Error, Result};
use crate::head::{Admission, Head};
use crate::manifest::Manifest;
use crate::matcher::Matcher;
use crate::options::Options;
use crate::querier::Snapshot;
use crate::time::TimeRange;
use crate::wal::{ReplayProgress, Wal};
use background::Background;
use clock::Clock;
use pace::Foreground;
use quiet::Quiet;
use reserve::Reserve;
use stats::Counters;

/// The file that a process locks to have the data directory for itself.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// Writes are refused when the heads that take writes or wait to become blocks take this many times [`Options::head_bytes_max`].
const HEAD_BYTES_FACTOR_MAX: usize = 2;

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
    /// Held while blocks are merged or dropped. The blocks of each merge that failed for what is in them: the next attempt
    /// would fail as well.
    compaction: Mutex<Vec<Vec<Ulid>>>,
    counters: Counters,
    foreground: Foreground,
    /// Memory of all heads, also of those that only readers still hold. New series are refused before writes are, so that
    /// known ones go on.
    head_memory: Arc<Budget>,
    /// Memory of merges.
    merge_memory: Arc<Budget>,
    admission: Admission,
    clock: Clock,
    reserve: Reserve,
    /// Says that there is no space for a merge.
    no_space: Quiet,
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
        Self::open_observed(directory, options, &ReplayProgress::default())
    }

    /// As [`open_in`](Self::open_in); other threads can follow in `progress` how far the replay of the log is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_observed(
        directory: Arc<dyn Directory>,
        options: Options,
        progress: &ReplayProgress,
    ) -> Result<Self> {
        let core = Arc::new(recovery::open(directory, options, progress)?);
        let background = core.options.background.then(|| Background::start(&core));
        Ok(Self { core, background: Mutex::new(background) })
    }

    /// Starts a batch. A thread has one at a time: sealing the head waits until all batches are committed or dropped.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::WritesRefused`] while the heads take too much memory because they cannot be sealed as fast
    /// as they fill.
    pub fn appender(&self) -> Result<Appender<'_>> {
        self.core.foreground.asked();
        Appender::new(&self.core)
    }

    /// A view of everything that is committed; see [`Snapshot`] for what in it may still change.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.core.foreground.asked();
        self.core.view.read().clone()
    }

    /// Seals the head into blocks; afterwards there is nothing to replay but what was written meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`]; everything stays in the log, and a later call tries again. [`Error::WritesRefused`], [`Error::Closed`].
    pub fn flush(&self) -> Result<FlushReport> {
        self.core.flush()
    }

    /// Drops expired blocks and merges until the policy has nothing left to do.
    ///
    /// # Errors
    /// [`Error::Corruption`], once for each merge that meets it: the blocks stay as they are and are not tried again before the
    /// database is opened anew, and all other work is done. [`Error::Io`]; [`Error::Closed`], also when it was closed
    /// meanwhile.
    pub fn compact(&self) -> Result<CompactionReport> {
        self.core.compact()
    }

    /// Deletes the samples inside `range`, nanoseconds and both ends included, of the series that satisfy all matchers of any
    /// selector. When this returns they are gone from all later snapshots, and stay gone after a crash. Samples that are
    /// written from then on live, also at the same timestamps. A thread must have no appender when it calls this.
    ///
    /// # Errors
    /// [`Error::Corruption`] while a block cannot be read, since nothing can be deleted from it; [`Error::Io`],
    /// [`Error::WritesRefused`], [`Error::Closed`]. Then nothing is deleted now; whether it is after a restart is open.
    pub fn delete(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Result<DeleteReport> {
        self.core.delete(selectors, range)
    }

    /// Frees the space of all that was deleted before this call: writes the blocks that hold some of it anew.
    ///
    /// # Errors
    /// [`Error::Corruption`] when a block is damaged; it stays as it is, and the others are done. [`Error::Io`],
    /// [`Error::Closed`].
    pub fn clean_tombstones(&self) -> Result<CompactionReport> {
        self.core.clean_tombstones()
    }

    /// Makes a copy of the database in the folder [`SNAPSHOTS_DIR`]/`name` below its own, of hard links, which can be opened
    /// as a database. It holds all that is committed; with `skip_head`, only what is in blocks already.
    ///
    /// # Errors
    /// [`Error::Io`], also when the name is taken or is no name of a folder. Else as [`flush`](Self::flush).
    pub fn create_snapshot(&self, name: &str, skip_head: bool) -> Result<()> {
        self.core.create_snapshot(name, skip_head)
    }

    /// Counters and sizes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Why writes are refused, when they are, and what to do. Queries go on meanwhile.
    #[must_use]
    pub fn writes_refused(&self) -> Option<String> {
        self.core.writes_refused()
    }

    /// Stops the threads and merges, seals the head so that nothing is left to replay, and lets go of the directory.
    /// Later calls fail with [`Error::Closed`], and so does a second `close`.
    ///
    /// # Errors
    /// As [`flush`](Self::flush). The database is closed all the same, and what was answered is in the log.
    pub fn close(&self) -> Result<()> {
        if self.core.closed.swap(true, Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        drop(self.background.lock().take());
        self.core.close()
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

    fn writes_refused(&self) -> Option<String> {
        self.wal.failure().or_else(|| match self.check_room() {
            Err(Error::WritesRefused { reason }) => Some(reason),
            _ => None,
        })
    }

    /// Lets the log go on after an interruption, once there is space for the reserve as well; does nothing when there was none.
    fn resume(&self) -> Result<()> {
        match self.wal.failure() {
            None => Ok(()),
            Some(reason) if !self.reserve.fill() => Err(Error::WritesRefused { reason }),
            Some(_) => self.wal.resume(),
        }
    }

    /// Whether the active head takes more memory than one should.
    fn is_large(&self, head: &Head) -> bool {
        head.bytes() > self.options.head_bytes_max
    }

    /// Whether the heads may take more samples.
    fn check_room(&self) -> Result<()> {
        let view = self.view.read();
        let sealed: usize = view.sealed.iter().map(|sealed| sealed.head.bytes()).sum();
        let bytes = sealed + view.active.bytes();
        let bytes_max = self.options.head_bytes_max.saturating_mul(HEAD_BYTES_FACTOR_MAX);
        if bytes < bytes_max {
            return Ok(());
        }
        let reason = format!(
            "series and samples in memory take {bytes} bytes of at most {bytes_max}, because heads cannot be sealed into blocks as fast \
             as they fill: try again later; if it stays, free space or repair the disk (the log says what failed), or raise \
             head_bytes_max"
        );
        Err(Error::WritesRefused { reason })
    }
}

#[cfg(test)]
mod tests;
