//! Group commit: records that arrive while a sync runs share the next one.
//!
//! A record is first *queued* under a short lock, which gives it its place in the log. Whoever waits for a record and
//! finds nobody writing becomes the *leader*: it takes the whole queue, writes and syncs it outside the lock, and wakes
//! the others.
//!
//! After a failed sync nobody knows what is on disk, so the log refuses all later records until a restart. After a write
//! that failed for lack of space, or because the file system is read-only, it is an *interruption*: the records that were
//! under way are lost and refused, all before them are as safe as they were. [`Wal::resume`] cuts what the write left
//! behind them and goes on in a fresh segment, with the number of the first lost record, so that numbers have no gap.
//! Definitions of groups among the lost records are written again first: the head knows these groups, and later rows
//! refer to them.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::WAL_DIR;
use super::names::segment_path;
use super::record::GroupDefinition;
use super::replay::LogTail;
use super::segment::{
    FRAME_HEADER_BYTES, KIND_GROUP, KIND_ROWS, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader,
    frame_header,
};
use crate::directory::{Directory, WriteFile};
use crate::error::{Error, Result};
use crate::options::WalSync;

/// A segment that has grown past this many bytes is closed at the next write.
pub(super) const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// Space is preallocated for as many bytes as the segment has, but for no more than this many at a time: so the sync of
/// a write need not allocate, which is most of its time on a journaling file system, and a small log stays small.
const PREALLOCATE_BYTES_MAX: u64 = 16 << 20;
/// After an interruption the log goes on once there is room for as many bytes at least.
const RESUME_BYTES_MIN: u64 = 64 << 10;
/// Less is not worth the call.
const PREALLOCATE_BYTES_MIN: u64 = 4 << 10;

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalStats {
    /// Bytes written.
    pub bytes: u64,
    /// Syncs.
    pub syncs: SyncTimes,
}

/// How long syncs took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SyncTimes {
    /// How many took at most as long as each of [`BOUNDS_SECONDS`](Self::BOUNDS_SECONDS), and longer than the one before; the
    /// last counts those that took longer than all.
    pub counts: [u64; Self::BOUNDS_SECONDS.len() + 1],
    /// All of them together.
    pub total: Duration,
}

impl SyncTimes {
    /// From a write cache with a battery to a disk that is failing.
    pub const BOUNDS_SECONDS: [f64; 12] =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 10.0];

    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts[Self::BOUNDS_SECONDS.partition_point(|bound| *bound < seconds)] += 1;
        self.total += took;
    }
}

#[derive(Debug)]
struct Queued {
    kind: u8,
    sequence: u64,
    payload: Vec<u8>,
}

/// A record's place in the log, to be given to [`Wal::wait`].
#[derive(Clone, Copy, Debug)]
pub struct Logged {
    sequence: u64,
    /// How many interruptions there had been.
    interruptions: u64,
}

/// Why records are refused.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// How to go on, when that is safe.
    resume: Option<Resume>,
}

/// Where the log goes on after an interruption.
#[derive(Clone, Copy, Debug)]
struct Resume {
    /// The segment whose tail is unknown.
    interrupted: SegmentHeader,
    /// How much of it is good.
    len: u64,
    /// What the write that failed wanted: the log goes on once there is room for as much, or each try would leave a segment.
    needed: u64,
    is_cut: bool,
}

#[derive(Debug)]
struct Segment {
    file: Box<dyn WriteFile>,
    header: SegmentHeader,
    /// Bytes written.
    len: u64,
    /// Bytes known to be on disk.
    durable: u64,
    /// Bytes that the file has; those behind `len` are zeros.
    allocated: u64,
    /// Whether the file system preallocates.
    preallocates: bool,
}

#[derive(Debug)]
struct State {
    queue: Vec<Queued>,
    /// The number that the next record gets.
    next_sequence: u64,
    /// All records before this one are as safe as the sync policy asks for.
    safe: u64,
    /// Taken by the leader while it writes.
    segment: Option<Segment>,
    /// What is still to be done about the end of the log as it was found.
    tail: Option<LogTail>,
    failed: Option<Failure>,
    interruptions: u64,
    /// The first record that the last interruption lost, and what it was.
    interrupted_at: u64,
    interrupted_by: String,
    stats: WalStats,
}

/// The write-ahead log, open for writing.
#[derive(Debug)]
pub struct Wal {
    directory: Arc<dyn Directory>,
    sync: WalSync,
    state: Mutex<State>,
    progress: Condvar,
}

impl Wal {
    /// Cuts the tail that a replay found and starts a new segment. Where there is no space for that, or the file system is
    /// read-only, the log begins interrupted: records are refused until it can be done.
    ///
    /// # Errors
    /// When the segment cannot be created for another reason.
    pub fn begin(
        directory: Arc<dyn Directory>,
        sync: WalSync,
        header: SegmentHeader,
        tail: Option<LogTail>,
    ) -> Result<Self> {
        let next_sequence = header.sequence;
        let mut state = State {
            queue: Vec::new(),
            next_sequence,
            safe: next_sequence,
            segment: None,
            tail,
            failed: None,
            interruptions: 0,
            interrupted_at: next_sequence,
            interrupted_by: String::new(),
            stats: WalStats::default(),
        };
        match state.cut_tail(&*directory).and_then(|()| create_segment(&*directory, header)) {
            Ok(segment) => state.segment = Some(segment),
            Err(error) if error.is_passing() => {
                let interrupted = SegmentHeader { number: header.number - 1, ..header };
                let resume = Resume { interrupted, len: 0, needed: 0, is_cut: true };
                state.interrupt(&error, Vec::new(), resume);
            }
            Err(error) => return Err(error),
        }
        Ok(Self { directory, sync, state: Mutex::new(state), progress: Condvar::new() })
    }

    /// Queues the definition of a group. Rows of the group that are queued later stand behind it in the log.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] after a failure.
    pub fn define(&self, definition: &GroupDefinition) -> Result<()> {
        let mut payload = Vec::new();
        definition.encode(&mut payload);
        self.queue(KIND_GROUP, payload).map(|_| ())
    }

    /// Queues one batch; returns its place, to be given to [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`Error::WritesRefused`] after a failure.
    pub fn log(&self, payload: Vec<u8>) -> Result<Logged> {
        self.queue(KIND_ROWS, payload)
    }

    fn queue(&self, kind: u8, payload: Vec<u8>) -> Result<Logged> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let (limit, got) = (PAYLOAD_BYTES_MAX as u64, payload.len() as u64);
            return Err(Error::Limit { name: "bytes of a batch", limit, got });
        }
        let mut state = self.state.lock();
        state.check()?;
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        state.queue.push(Queued { kind, sequence, payload });
        Ok(Logged { sequence, interruptions: state.interruptions })
    }

    /// Waits until the record is as safe as the sync policy asks for.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] when it could not be written or synced.
    pub fn wait(&self, logged: Logged) -> Result<()> {
        let sync = self.sync == WalSync::Always;
        let mut state = self.state.lock();
        loop {
            state.check_kept(logged)?;
            if state.safe > logged.sequence {
                return Ok(());
            }
            state.check()?;
            match state.segment.take() {
                Some(segment) => self.lead(&mut state, segment, sync),
                None => self.progress.wait(&mut state),
            }
        }
    }

    /// Makes everything queued so far durable.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] when it could not be written or synced.
    pub fn sync_all(&self) -> Result<()> {
        let mut state = self.state.lock();
        let last = state.next_sequence;
        loop {
            state.check()?;
            let Some(segment) = state.segment.take() else {
                self.progress.wait(&mut state);
                continue;
            };
            if state.safe >= last && segment.durable == segment.len {
                state.segment = Some(segment);
                return Ok(());
            }
            self.lead(&mut state, segment, true);
        }
    }

    /// Writes out the queue as the leader, without holding the lock meanwhile.
    fn lead(&self, state: &mut parking_lot::MutexGuard<'_, State>, mut segment: Segment, sync: bool) {
        let queue = std::mem::take(&mut state.queue);
        let safe = state.next_sequence;
        let mut stats = state.stats;
        let write = AssertUnwindSafe(|| self.write_out(&mut segment, &queue, sync, &mut stats));
        let outcome = parking_lot::MutexGuard::unlocked(state, || catch_unwind(write));
        match outcome {
            Ok(Ok(())) => {
                state.safe = safe;
                state.segment = Some(segment);
            }
            Ok(Err(Interrupted::ByWrite(error))) if error.is_passing() => {
                let needed = queue.iter().map(|q| (q.payload.len() + FRAME_HEADER_BYTES) as u64).sum();
                let resume = Resume { interrupted: segment.header, len: segment.len, needed, is_cut: false };
                state.interrupt(&error, queue, resume);
            }
            Ok(Err(Interrupted::ByWrite(error) | Interrupted::BySync(error))) => state.fail(&error),
            // The message of the panic is on its way already. Unwinding would leave a ticket for those behind to wait for.
            Err(_) => {
                let reason = "the thread that wrote the log panicked; restart".to_owned();
                state.failed = Some(Failure { reason, resume: None });
            }
        }
        state.stats = stats;
        self.progress.notify_all();
    }

    fn write_out(
        &self,
        segment: &mut Segment,
        queue: &[Queued],
        sync: bool,
        stats: &mut WalStats,
    ) -> Result<(), Interrupted> {
        if let Some(first) = queue.first()
            && segment.len >= SEGMENT_BYTES_MAX
        {
            segment.sync(&*self.directory, stats).map_err(Interrupted::BySync)?;
            let SegmentHeader { number, generation, .. } = segment.header;
            let header = SegmentHeader { number: number + 1, generation, sequence: first.sequence };
            match create_segment(&*self.directory, header) {
                Ok(next) => std::mem::replace(segment, next).close(&*self.directory),
                Err(error) => tracing::warn!(%error, "the WAL stays in its old segment"),
            }
        }
        segment.write(&*self.directory, queue, stats).map_err(Interrupted::ByWrite)?;
        if sync {
            segment.sync(&*self.directory, stats).map_err(Interrupted::BySync)?;
        }
        Ok(())
    }

    /// Tries to go on after an interruption; does nothing when there was none.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] when that is not possible yet, or not safe without a restart.
    pub fn resume(&self) -> Result<()> {
        let mut state = self.state.lock();
        let Some(Resume { interrupted, len, needed, is_cut }) = state.failed.as_ref().and_then(|f| f.resume)
        else {
            return state.check();
        };
        if !is_cut {
            let path = segment_path(interrupted.number);
            // Its sync is the proof that what was written before the interruption is on disk.
            if let Err(error) = self.directory.truncate(&path, len) {
                let cannot_change = error.kind() == ErrorKind::ReadOnlyFilesystem;
                let error =
                    Error::io("cut the unfinished write off", self.directory.display_path(&path), error);
                match &mut state.failed {
                    Some(failure) if cannot_change => failure.reason = passing_reason(&error),
                    _ => state.fail(&error),
                }
                return state.check();
            }
        }
        let sequence = state.queue.first().map_or(state.next_sequence, |first| first.sequence);
        let header = SegmentHeader { number: interrupted.number + 1, sequence, ..interrupted };
        let cut = state.cut_tail(&*self.directory);
        let created = cut.and_then(|()| create_segment(&*self.directory, header));
        match created.and_then(|segment| segment.with_room(&*self.directory, needed.max(RESUME_BYTES_MIN))) {
            Ok(segment) => {
                tracing::info!(
                    segment = header.number,
                    "the write-ahead log goes on: writes are taken again"
                );
                state.segment = Some(segment);
                state.failed = None;
                self.progress.notify_all();
            }
            Err(error) => {
                let resume = Some(Resume { interrupted, len, needed, is_cut: true });
                state.failed = Some(Failure { reason: passing_reason(&error), resume });
            }
        }
        state.check()
    }

    /// Closes the segment and starts the next one, for a new head. No record may be queued meanwhile.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] when the old segment cannot be synced or the new one not created.
    pub fn rotate(&self, generation: u64) -> Result<SegmentHeader> {
        self.sync_all()?;
        let mut state = self.state.lock();
        while state.segment.is_none() && state.failed.is_none() {
            self.progress.wait(&mut state);
        }
        state.check()?;
        let number = state.segment.as_ref().map_or(0, |segment| segment.header.number) + 1;
        let header = SegmentHeader { number, generation, sequence: state.next_sequence };
        // Until the new segment exists the old one stays in use, so a full disk here harms nothing.
        let next = create_segment(&*self.directory, header)?;
        if let Some(old) = state.segment.replace(next) {
            old.close(&*self.directory);
        }
        Ok(header)
    }

    /// What the log has done so far.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        self.state.lock().stats
    }

    /// Why records are refused, when they are.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.state.lock().failed.as_ref().map(|failure| failure.reason.clone())
    }
}

/// What stopped a leader.
enum Interrupted {
    /// A write: all before it is as it was.
    ByWrite(Error),
    /// A sync: what was to be synced may be lost, and no later sync would tell.
    BySync(Error),
}

fn passing_reason(error: &Error) -> String {
    format!("{error}; writes are taken again once that is possible, queries go on")
}

impl State {
    fn cut_tail(&mut self, directory: &dyn Directory) -> Result<()> {
        if let Some(tail) = &self.tail {
            tail.cut(directory)?;
            self.tail = None;
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        match &self.failed {
            Some(failure) => Err(Error::WritesRefused { reason: failure.reason.clone() }),
            None => Ok(()),
        }
    }

    /// Whether the record was not lost in an interruption.
    fn check_kept(&self, logged: Logged) -> Result<()> {
        let is_kept = match self.interruptions - logged.interruptions {
            0 => true,
            1 => logged.sequence < self.interrupted_at,
            // Nobody remembers where the first of them was.
            _ => false,
        };
        if is_kept { Ok(()) } else { Err(Error::WritesRefused { reason: self.interrupted_by.clone() }) }
    }

    fn fail(&mut self, error: &Error) {
        let reason = format!(
            "{error}; nobody knows what of the last writes is on disk: free space or repair the disk, then restart"
        );
        tracing::error!(%error, "the write-ahead log failed: writes are refused until a restart");
        self.failed = Some(Failure { reason, resume: None });
    }

    /// Refuses all records that are not safe, which are those that were `taken` from the queue and those queued since.
    /// Definitions stay, to be the first when the log goes on.
    fn interrupt(&mut self, error: &Error, taken: Vec<Queued>, resume: Resume) {
        tracing::error!(%error, "the write-ahead log cannot grow: writes are refused until it can");
        self.next_sequence = taken.first().map_or(self.next_sequence, |first| first.sequence);
        self.safe = self.next_sequence;
        let lost = taken.into_iter().chain(std::mem::take(&mut self.queue));
        for mut definition in lost.filter(|queued| queued.kind == KIND_GROUP) {
            definition.sequence = self.next_sequence;
            self.next_sequence += 1;
            self.queue.push(definition);
        }
        self.interruptions += 1;
        self.interrupted_at = self.safe;
        self.interrupted_by = passing_reason(error);
        self.failed = Some(Failure { reason: passing_reason(error), resume: Some(resume) });
    }
}

impl Segment {
    fn write(&mut self, directory: &dyn Directory, queue: &[Queued], stats: &mut WalStats) -> Result<()> {
        if queue.is_empty() {
            return Ok(());
        }
        let size = queue.iter().map(|q| q.payload.len() + FRAME_HEADER_BYTES).sum();
        let mut bytes = Vec::with_capacity(size);
        let generation = self.header.generation;
        for Queued { kind, sequence, payload } in queue {
            bytes.extend_from_slice(&frame_header(*kind, payload, *sequence, self.durable, generation));
            bytes.extend_from_slice(payload);
        }
        self.preallocate(bytes.len() as u64);
        let path = || directory.display_path(&segment_path(self.header.number));
        self.file.write_all(&bytes).map_err(|e| Error::io("write to", path(), e))?;
        self.len += bytes.len() as u64;
        stats.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Makes sure that the file has room for so many bytes more.
    fn preallocate(&mut self, bytes: u64) {
        let end = self.len + bytes;
        let ahead = end.min(PREALLOCATE_BYTES_MAX);
        if end <= self.allocated || ahead < PREALLOCATE_BYTES_MIN || !self.preallocates {
            return;
        }
        match self.file.preallocate(end + ahead) {
            Ok(()) => self.allocated = end + ahead,
            Err(error) => {
                tracing::debug!(%error, "cannot preallocate the WAL: its file grows with each write");
                self.preallocates = false;
            }
        }
    }

    /// Sets space aside for so many bytes; without it, the segment, which is fresh, is removed.
    fn with_room(mut self, directory: &dyn Directory, bytes: u64) -> Result<Self> {
        match self.file.preallocate(self.len + bytes) {
            Ok(()) => self.allocated = self.len + bytes,
            Err(error) if error.kind() == ErrorKind::Unsupported => self.preallocates = false,
            Err(error) => {
                let path = segment_path(self.header.number);
                let _ = directory.remove_file(&path);
                return Err(Error::io("find space for", directory.display_path(&path), error));
            }
        }
        Ok(self)
    }

    /// Gives back what was preallocated and not used. The segment is synced.
    fn close(self, directory: &dyn Directory) {
        if self.allocated <= self.len {
            return;
        }
        if let Err(error) = directory.truncate(&segment_path(self.header.number), self.len) {
            // A reader takes the zeros for what they are.
            tracing::warn!(segment = self.header.number, %error, "cannot cut what a WAL segment did not use");
        }
    }

    fn sync(&mut self, directory: &dyn Directory, stats: &mut WalStats) -> Result<()> {
        if self.durable == self.len {
            return Ok(());
        }
        let start = Instant::now();
        let path = || directory.display_path(&segment_path(self.header.number));
        self.file.sync().map_err(|e| Error::io("sync", path(), e))?;
        stats.syncs.add(start.elapsed());
        self.durable = self.len;
        Ok(())
    }
}

fn create_segment(directory: &dyn Directory, header: SegmentHeader) -> Result<Segment> {
    let path = segment_path(header.number);
    let failed = |e| Error::io("create", directory.display_path(&path), e);
    let mut file = directory.create(&path).map_err(failed)?;
    let mut begin = || -> std::io::Result<()> {
        file.write_all(&header.encode())?;
        file.sync()?;
        directory.sync_dir(Path::new(WAL_DIR))
    };
    if let Err(error) = begin() {
        // A half-made segment would be in the way of the next attempt.
        let _ = directory.remove_file(&path);
        return Err(failed(error));
    }
    let len = SEGMENT_HEADER_BYTES as u64;
    Ok(Segment { file, header, len, durable: len, allocated: len, preallocates: true })
}
