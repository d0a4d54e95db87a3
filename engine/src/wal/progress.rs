//! How far a replay is, for whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How far the replay of a log is. Shared between the thread that opens the database and those that tell of it.
#[derive(Debug, Default)]
pub struct ReplayProgress {
    segments: AtomicU64,
    segments_total: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    samples: AtomicU64,
    times: Mutex<(Option<Instant>, Option<Duration>)>,
}

/// [`ReplayProgress`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplayState {
    /// Segments replayed.
    pub segments: u64,
    /// Segments to replay; 0 before the log is listed, and when it is empty.
    pub segments_total: u64,
    /// Bytes replayed.
    pub bytes: u64,
    /// Bytes to replay; what was preallocated or torn counts, though nothing of it is replayed.
    pub bytes_total: u64,
    /// Samples of the segments that have been replayed.
    pub samples: u64,
    /// Time since the replay began, or what it took.
    pub took: Duration,
    /// Whether it is over.
    pub is_done: bool,
}

impl ReplayProgress {
    pub(super) fn begin(&self, segments: u64, bytes: u64) {
        self.segments_total.store(segments, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.times.lock().0 = Some(Instant::now());
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A segment is replayed; `samples` are those of all so far.
    pub(super) fn end_segment(&self, samples: u64) {
        self.segments.fetch_add(1, Ordering::Relaxed);
        self.samples.store(samples, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        let mut times = self.times.lock();
        times.1 = times.0.map(|began| began.elapsed());
    }

    /// How far it is now.
    #[must_use]
    pub fn state(&self) -> ReplayState {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (began, took) = *self.times.lock();
        ReplayState {
            segments: get(&self.segments),
            segments_total: get(&self.segments_total),
            bytes: get(&self.bytes),
            bytes_total: get(&self.bytes_total),
            samples: get(&self.samples),
            took: took.or_else(|| began.map(|began| began.elapsed())).unwrap_or_default(),
            is_done: took.is_some(),
        }
    }
}
