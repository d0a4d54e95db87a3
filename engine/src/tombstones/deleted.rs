//! What is deleted of one series: ranges of time, and what they do to its chunks.

use std::sync::Arc;

use crate::samples::Samples;
use crate::time::TimeRange;

/// Ranges of time that are deleted of a series: ascending, and with something between each two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted(Arc<[TimeRange]>);

impl Deleted {
    /// What any ranges delete together.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = TimeRange>) -> Self {
        let mut ranges: Vec<TimeRange> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| (range.start, range.end));
        ranges.dedup_by(|later, earlier| {
            let joins = later.start <= earlier.end.saturating_add(1);
            if joins {
                earlier.end = earlier.end.max(later.end);
            }
            joins
        });
        Self(ranges.into())
    }

    /// The ranges that share a timestamp with `range`.
    fn touching(&self, range: TimeRange) -> &[TimeRange] {
        let first = self.0.partition_point(|deleted| deleted.end < range.start);
        let last = self.0.partition_point(|deleted| deleted.start <= range.end);
        self.0.get(first..last).unwrap_or_default()
    }

    /// Whether a timestamp of `range` is deleted.
    #[must_use]
    pub fn touches(&self, range: TimeRange) -> bool {
        !self.touching(range).is_empty()
    }

    /// Whether every timestamp of `range` is deleted.
    #[must_use]
    pub fn covers(&self, range: TimeRange) -> bool {
        // Two ranges have something between them, so one alone must do.
        self.touching(range).iter().any(|deleted| deleted.start <= range.start && range.end <= deleted.end)
    }

    /// How many of `count` samples, spread evenly over `range`, are deleted.
    #[must_use]
    pub fn estimate(&self, range: TimeRange, count: u64) -> u64 {
        let len = |range: TimeRange| i128::from(range.end) - i128::from(range.start) + 1;
        let inside = |deleted: &TimeRange| {
            len(TimeRange::new(deleted.start.max(range.start), deleted.end.min(range.end)))
        };
        let hidden: i128 = self.touching(range).iter().map(inside).sum();
        let share = hidden as f64 / len(range).max(1) as f64;
        ((count as f64 * share).round() as u64).min(count)
    }

    /// Takes out what is deleted of the samples from position `from` on, which ascend in time.
    pub fn remove_from(&self, samples: &mut Samples, from: usize) {
        let mut kept = from;
        let mut ranges = self.0.iter().peekable();
        for at in from..samples.timestamps.len() {
            let timestamp = samples.timestamps[at];
            while ranges.next_if(|range| range.end < timestamp).is_some() {}
            if ranges.peek().is_none_or(|range| timestamp < range.start) {
                samples.timestamps[kept] = timestamp;
                samples.values[kept] = samples.values[at];
                kept += 1;
            }
        }
        samples.timestamps.truncate(kept);
        samples.values.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_join_where_nothing_is_between_them() {
        let range = TimeRange::new;
        let deleted = Deleted::new([range(20, 30), range(0, 4), range(5, 9), range(25, 26), range(9, 1)]);
        assert_eq!(*deleted.0, [range(0, 9), range(20, 30)]);
        let cases = [
            (range(0, 9), true, true),
            (range(9, 10), true, false),
            (range(10, 19), false, false),
            (range(5, 25), true, false),
            (range(20, 20), true, true),
            (range(31, i64::MAX), false, false),
            (TimeRange::ALL, true, false),
        ];
        for (range, touches, covers) in cases {
            assert_eq!((deleted.touches(range), deleted.covers(range)), (touches, covers), "{range:?}");
        }
        assert!(Deleted::new([TimeRange::ALL, range(3, 4)]).covers(TimeRange::ALL));
        assert!(Deleted::new([range(i64::MIN, 0), range(1, i64::MAX)]).covers(TimeRange::ALL));
    }

    #[test]
    fn hidden_samples_are_estimated_by_time() {
        let deleted = Deleted::new([TimeRange::new(0, 49), TimeRange::new(90, 1000)]);
        assert_eq!(deleted.estimate(TimeRange::new(0, 99), 10), 6);
        assert_eq!(deleted.estimate(TimeRange::new(5, 5), 1), 1);
        assert_eq!(deleted.estimate(TimeRange::new(50, 89), 40), 0);
        assert_eq!(Deleted::new([TimeRange::ALL]).estimate(TimeRange::ALL, 7), 7);
    }

    proptest! {
        #[test]
        fn samples_go_that_a_range_contains(
            ranges in prop::collection::vec((-30_i64..30, 0_i64..10), 0..6),
            mut timestamps in prop::collection::vec(-40_i64..40, 0..40),
            from in 0_usize..10,
        ) {
            timestamps.sort_unstable();
            timestamps.dedup();
            let from = from.min(timestamps.len());
            let ranges: Vec<TimeRange> =
                ranges.into_iter().map(|(start, len)| TimeRange::new(start, start + len - 1)).collect();
            let is_deleted = |t: i64| ranges.iter().any(|range| range.contains(t));
            let mut samples =
                Samples::floats(timestamps.clone(), timestamps.iter().map(|t| *t as f64).collect());
            let deleted = Deleted::new(ranges.clone());
            deleted.remove_from(&mut samples, from);
            let (before, after) = timestamps.split_at(from);
            let expected: Vec<i64> =
                before.iter().chain(after.iter().filter(|t| !is_deleted(**t))).copied().collect();
            prop_assert_eq!(samples.values, expected.iter().map(|t| *t as f64).collect::<Vec<_>>());
            prop_assert_eq!(samples.timestamps, expected);
            for start in -35..35 {
                let range = TimeRange::new(start, start + 3);
                let all: Vec<bool> = (start..=start + 3).map(is_deleted).collect();
                prop_assert_eq!(deleted.touches(range), all.contains(&true));
                prop_assert_eq!(deleted.covers(range), !all.contains(&false));
            }
        }
    }
}
