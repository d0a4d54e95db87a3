//! Group commit: records that arrive while a sync runs share the next one.
//!
//! A record is first *queued* under a short lock, which gives it its place in the log. Whoever waits for a record and
//! finds nobody writing becomes the *leader*: it takes the whole queue, writes and syncs it outside the lock, and wakes
//! the others. After a failed write or sync nothing is known about the file's tail, so the log refuses all later records.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::WAL_DIR;
use super::record::GroupDefinition;
use super::segment::{
    KIND_GROUP, KIND_ROWS, PAYLOAD_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader, frame_header,
};
use crate::directory::{Directory, WriteFile};
use crate::error::{Error, Result};
use crate::options::WalSync;

/// A segment that has grown past this many bytes is closed at the next write.
pub(super) const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// The file name of a segment.
#[must_use]
pub fn segment_path(number: u64) -> PathBuf {
    Path::new(WAL_DIR).join(format!("{number:010}.wal"))
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct WalStats {
    /// Bytes written.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Time spent in syncs.
    pub sync_time: Duration,
}

#[derive(Debug)]
struct Queued {
    kind: u8,
    sequence: u64,
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    file: Box<dyn WriteFile>,
    header: SegmentHeader,
    /// Bytes written.
    len: u64,
    /// Bytes known to be on disk.
    durable: u64,
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
    failed: Option<String>,
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
    /// Starts a new segment.
    ///
    /// # Errors
    /// When the segment cannot be created.
    pub fn create(
        directory: Arc<dyn Directory>,
        sync: WalSync,
        header: SegmentHeader,
        next_sequence: u64,
    ) -> Result<Self> {
        let segment = create_segment(&*directory, header)?;
        let state = State {
            queue: Vec::new(),
            next_sequence,
            safe: next_sequence,
            segment: Some(segment),
            failed: None,
            stats: WalStats::default(),
        };
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

    /// Queues one batch; returns its sequence number, to be given to [`wait`](Self::wait).
    ///
    /// # Errors
    /// [`Error::WritesRefused`] after a failure.
    pub fn log(&self, payload: Vec<u8>) -> Result<u64> {
        self.queue(KIND_ROWS, payload)
    }

    fn queue(&self, kind: u8, payload: Vec<u8>) -> Result<u64> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let (limit, got) = (PAYLOAD_BYTES_MAX as u64, payload.len() as u64);
            return Err(Error::Limit { name: "bytes of a batch", limit, got });
        }
        let mut state = self.state.lock();
        state.check()?;
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        state.queue.push(Queued { kind, sequence, payload });
        Ok(sequence)
    }

    /// Waits until the record is as safe as the sync policy asks for.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] when it could not be written or synced.
    pub fn wait(&self, sequence: u64) -> Result<()> {
        self.drain(sequence, self.sync == WalSync::Always)
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

    fn drain(&self, sequence: u64, sync: bool) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            if state.safe > sequence {
                return Ok(());
            }
            state.check()?;
            match state.segment.take() {
                Some(segment) => self.lead(&mut state, segment, sync),
                None => self.progress.wait(&mut state),
            }
        }
    }

    /// Writes out the queue as the leader, without holding the lock meanwhile.
    fn lead(&self, state: &mut parking_lot::MutexGuard<'_, State>, mut segment: Segment, sync: bool) {
        let queue = std::mem::take(&mut state.queue);
        let safe = state.next_sequence;
        let mut stats = state.stats;
        let write = AssertUnwindSafe(|| {
            if segment.len >= SEGMENT_BYTES_MAX {
                segment.sync(&mut stats)?;
                let header = SegmentHeader { number: segment.header.number + 1, ..segment.header };
                match create_segment(&*self.directory, header) {
                    Ok(next) => segment = next,
                    Err(error) => tracing::warn!(%error, "the WAL stays in its old segment"),
                }
            }
            segment.write(&queue, &mut stats)?;
            if sync {
                segment.sync(&mut stats)?;
            }
            Ok(segment)
        });
        let outcome = parking_lot::MutexGuard::unlocked(state, || catch_unwind(write));
        match outcome {
            Ok(Ok(segment)) => {
                state.safe = safe;
                state.segment = Some(segment);
            }
            Ok(Err(error)) => state.fail(&error),
            Err(panic) => {
                // The others must not wait for a leader that is gone.
                state.failed = Some("the thread that wrote the log panicked; restart".to_owned());
                self.progress.notify_all();
                resume_unwind(panic);
            }
        }
        state.stats = stats;
        self.progress.notify_all();
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
        let header = SegmentHeader { number, generation };
        // Until the new segment exists the old one stays in use, so a full disk here harms nothing.
        state.segment = Some(create_segment(&*self.directory, header)?);
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
        self.state.lock().failed.clone()
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.failed {
            Some(reason) => Err(Error::WritesRefused { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn fail(&mut self, error: &Error) {
        let reason = format!("{error}; free space or repair the disk, then restart");
        tracing::error!(%error, "the write-ahead log failed: writes are refused until a restart");
        self.failed = Some(reason);
    }
}

impl Segment {
    fn write(&mut self, queue: &[Queued], stats: &mut WalStats) -> Result<()> {
        if queue.is_empty() {
            return Ok(());
        }
        let size = queue.iter().map(|q| q.payload.len() + super::segment::FRAME_HEADER_BYTES).sum();
        let mut bytes = Vec::with_capacity(size);
        for queued in queue {
            let header = frame_header(queued.kind, &queued.payload, queued.sequence, self.durable);
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&queued.payload);
        }
        self.file
            .write_all(&bytes)
            .map_err(|e| Error::io("write to", segment_path(self.header.number), e))?;
        self.len += bytes.len() as u64;
        stats.bytes += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self, stats: &mut WalStats) -> Result<()> {
        if self.durable == self.len {
            return Ok(());
        }
        let start = Instant::now();
        self.file.sync().map_err(|e| Error::io("sync", segment_path(self.header.number), e))?;
        stats.syncs += 1;
        stats.sync_time += start.elapsed();
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
    Ok(Segment { file, header, len, durable: len })
}
