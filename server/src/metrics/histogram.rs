//! A histogram of durations with fixed buckets, updated without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use timberline_engine::SyncTimes;

/// Upper bounds, seconds; the last bucket has none.
const BOUNDS_SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counts of durations by bucket, and their sum.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    sum_nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS_SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn distribution(&self) -> Distribution {
        Distribution {
            bounds_seconds: &BOUNDS_SECONDS,
            counts: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            sum_seconds: self.sum_nanoseconds.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

/// How long things took, as they were counted at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Distribution {
    /// Upper bounds of the buckets but the last.
    bounds_seconds: &'static [f64],
    /// Durations in each bucket.
    counts: Vec<u64>,
    sum_seconds: f64,
}

impl Distribution {
    /// How many durations are at most each bound; the last is how many there are.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (Option<f64>, u64)> {
        let bounds = self.bounds_seconds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        }))
    }

    /// The sum of all durations, seconds.
    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum_seconds
    }
}

impl From<&SyncTimes> for Distribution {
    fn from(times: &SyncTimes) -> Self {
        Self {
            bounds_seconds: &SyncTimes::BOUNDS_SECONDS,
            counts: times.counts.to_vec(),
            sum_seconds: times.total.as_secs_f64(),
        }
    }
}
