//! Timestamps and ranges of them. A timestamp is an `i64`: nanoseconds since the Unix epoch.

use std::ops::Range;
use std::time::Duration;

/// A range of timestamps, both ends included, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First timestamp, nanoseconds.
    pub start: i64,
    /// Last timestamp, nanoseconds.
    pub end: i64,
}

impl TimeRange {
    /// Everything.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// The range from `start` to `end`, both included.
    #[must_use]
    pub const fn new(start: i64, end: i64) -> Self {
        Self { start, end }
    }

    /// Whether `timestamp` is inside.
    #[must_use]
    pub const fn contains(self, timestamp: i64) -> bool {
        self.start <= timestamp && timestamp <= self.end
    }

    /// The positions of the timestamps that are inside, among some that ascend.
    #[must_use]
    pub fn positions(self, ascending: &[i64]) -> Range<usize> {
        let end = ascending.partition_point(|timestamp| *timestamp <= self.end);
        let start = ascending[..end].partition_point(|timestamp| *timestamp < self.start);
        start..end
    }

    /// Whether the two share a timestamp.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The smallest range that covers both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// What is inside both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self { start: self.start.max(other.start), end: self.end.min(other.end) }
    }

    /// Whether no timestamp is inside.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start > self.end
    }
}

/// A duration in nanoseconds; what is longer than 292 years counts as that.
#[must_use]
pub(crate) fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
