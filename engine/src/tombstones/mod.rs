#![doc = include_str!("../../docs/format/tombstones.md")]
//!
//! # The module
//! [`Tombstones`] are those of one block, [`Deleted`] those of one series; [`file`](mod@file) reads and writes them.

mod deleted;
mod file;

use std::collections::BTreeMap;

use croaring::Bitmap;

use crate::time::TimeRange;

pub use deleted::Deleted;
pub use file::{TOMBSTONES_DIR, tombstones_id, tombstones_path};

/// What was deleted from one block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tombstones {
    /// The series of each range, by its start and end.
    ranges: BTreeMap<(i64, i64), Bitmap>,
    /// All series that have a tombstone.
    series: Bitmap,
    samples: u64,
}

impl Tombstones {
    /// Whether nothing is deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many series have a tombstone.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series.cardinality()
    }

    /// The highest id of a series that has a tombstone.
    #[must_use]
    pub fn series_last(&self) -> Option<u32> {
        self.series.maximum()
    }

    /// How many samples are hidden, estimated.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Changes the estimate of the hidden samples.
    pub fn set_samples(&mut self, samples: u64) {
        self.samples = samples;
    }

    /// What is deleted of a series; `None`, at the cost of one look into a bitmap, when that is nothing.
    #[must_use]
    pub fn of(&self, series: u32) -> Option<Deleted> {
        if !self.series.contains(series) {
            return None;
        }
        let with = self.ranges.iter().filter(|(_, ids)| ids.contains(series));
        Some(Deleted::new(with.map(|((start, end), _)| TimeRange::new(*start, *end))))
    }

    /// Deletes a range of these series; returns whether some of it was not there as such.
    pub fn add(&mut self, range: TimeRange, series: &Bitmap) -> bool {
        if range.is_empty() || series.is_empty() {
            return false;
        }
        let known = self.ranges.entry((range.start, range.end)).or_default();
        if series.is_subset(known) {
            return false;
        }
        known.or_inplace(series);
        self.series.or_inplace(series);
        true
    }

    /// What these tombstones have and `earlier` ones of the same block did not have. The estimate of samples is 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self::default();
        for (&(start, end), ids) in &self.ranges {
            let new = earlier.ranges.get(&(start, end)).map(|known| ids.andnot(known));
            since.add(TimeRange::new(start, end), new.as_ref().unwrap_or(ids));
        }
        since
    }

    /// Each range with its series.
    pub fn iter(&self) -> impl Iterator<Item = (TimeRange, &Bitmap)> {
        self.ranges.iter().map(|((start, end), ids)| (TimeRange::new(*start, *end), ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tombstones_add_up_and_tell_what_came_since() {
        let ids = |ids: &[u32]| Bitmap::of(ids);
        let mut all = Tombstones::default();
        assert!(all.add(TimeRange::new(0, 9), &ids(&[1, 2])));
        assert!(!all.add(TimeRange::new(0, 9), &ids(&[2])), "known");
        assert!(!all.add(TimeRange::new(9, 0), &ids(&[2])) && !all.add(TimeRange::ALL, &ids(&[])), "nothing");
        let earlier = all.clone();
        assert!(all.add(TimeRange::new(0, 9), &ids(&[2, 3])));
        assert!(all.add(TimeRange::new(5, 20), &ids(&[2])));
        assert_eq!((all.series(), all.series_last()), (3, Some(3)));
        assert!(all.of(4).is_none());
        assert_eq!(all.of(1), Some(Deleted::new([TimeRange::new(0, 9)])));
        assert_eq!(all.of(2), Some(Deleted::new([TimeRange::new(0, 20)])));
        let since = all.since(&earlier);
        assert_eq!(since.of(1), None);
        assert_eq!(since.of(2), Some(Deleted::new([TimeRange::new(5, 20)])));
        assert_eq!(since.of(3), Some(Deleted::new([TimeRange::new(0, 9)])));
        assert!(all.since(&all).is_empty());
    }
}
