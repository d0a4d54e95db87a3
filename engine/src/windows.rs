//! Windows of time: how samples are cut into blocks, and which blocks may become one.
//!
//! Windows are aligned to the epoch. They are 1, 4, 16, 64 … times as wide as the span of a fresh block, up to a widest one. A head
//! is cut into windows that are narrow near its newest samples and wider further away; blocks are merged into windows of the
//! same widths. So a late sample goes to a block that lies in one window, and what it has to be merged with is in that window too.

use std::time::Duration;

use crate::time::nanoseconds;

/// A window is this many times as wide as the one of the level below.
const LEVEL_FACTOR: i64 = 4;
/// Windows grow up to this many levels above a fresh block: 4⁵ × 2 h is 85 days.
const LEVELS_MAX: u32 = 5;
/// A window is at most the retention divided by this, so that no sample outlives it by more.
const RETENTION_PARTS: i64 = 10;

/// Samples further away than this many of the widest windows, with the defaults 60 years, are cut into wider ones yet: only stray
/// timestamps are so far off, and no head may become any number of blocks.
const FAR_WINDOWS: i64 = 256;
/// How much wider windows become with each step further away than that.
const FAR_FACTOR: i64 = 16;

/// A window: its width in nanoseconds, and its number among those of that width.
pub(crate) type Window = (i64, i64);

/// The widths of windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The span of a fresh block, nanoseconds.
    span: i64,
    /// Widths above that, ascending, nanoseconds.
    widths: Vec<i64>,
}

impl Windows {
    /// The windows of a database whose fresh blocks have this span.
    #[must_use]
    pub fn new(block_span: Duration, retention: Option<Duration>) -> Self {
        let widest = retention.map_or(i64::MAX, |retention| nanoseconds(retention) / RETENTION_PARTS);
        let span = nanoseconds(block_span).max(1);
        let width = |level| LEVEL_FACTOR.checked_pow(level)?.checked_mul(span);
        let widths = (1..=LEVELS_MAX).map_while(width).take_while(|width| *width <= widest).collect();
        Self { span, widths }
    }

    /// The widths into which blocks are merged, ascending: that of a fresh block where all others are too wide.
    #[must_use]
    pub fn widths(&self) -> &[i64] {
        if self.widths.is_empty() { std::slice::from_ref(&self.span) } else { &self.widths }
    }

    /// The window of a sample in a head whose newest one is at `newest`: the widest that is not above the distance, in spans of
    /// a fresh block, between the two. So a window that is wider than a fresh block is complete, and one window's samples are one
    /// run of time.
    #[must_use]
    pub fn of(&self, timestamp: i64, newest: i64) -> Window {
        let slot = timestamp.div_euclid(self.span);
        let distance = slot.abs_diff(newest.div_euclid(self.span));
        let fits = |width: &i64| width.unsigned_abs() / self.span.unsigned_abs() <= distance;
        let width = self.widths.iter().copied().rfind(fits).unwrap_or(self.span);
        let width = self.far_width(width, distance).unwrap_or(i64::MAX);
        (width, timestamp.div_euclid(width))
    }

    /// The width so many spans away, where `width` is the one for samples that are not far; `None` when it overflows.
    fn far_width(&self, width: i64, distance: u64) -> Option<i64> {
        let widest = self.widths.last().map_or(1, |widest| widest / self.span);
        let windows = i64::try_from(distance).unwrap_or(i64::MAX) / widest;
        if windows < FAR_WINDOWS {
            return Some(width);
        }
        FAR_FACTOR.checked_pow(windows.ilog(FAR_FACTOR))?.checked_mul(widest)?.checked_mul(self.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(span: u64, retention: Option<u64>) -> Windows {
        Windows::new(Duration::from_nanos(span), retention.map(Duration::from_nanos))
    }

    #[test]
    fn widths_stay_narrow_against_the_retention() {
        let cases: &[(Option<u64>, &[i64])] = &[
            (None, &[40, 160, 640, 2_560, 10_240]),
            (Some(6_400), &[40, 160, 640]),
            (Some(6_399), &[40, 160]),
            (Some(399), &[10]),
            (Some(0), &[10]),
        ];
        for (retention, widths) in cases {
            assert_eq!(windows(10, *retention).widths(), *widths, "{retention:?}");
        }
    }

    #[test]
    fn windows_are_narrow_near_the_newest_samples_and_wide_far_away() {
        let newest = 100_005;
        let cases = [
            (100_005, 10),
            (99_970, 10),
            (99_969, 40),
            (99_850, 40),
            (99_849, 160),
            (97_450, 640),
            (97_449, 2_560),
            (89_760, 10_240),
            (0, 10_240),
            (-1, 10_240),
            (100_039, 10),
            (100_040, 40),
            (100_005 - 10_240 * 256, 10_240 * 256),
            (100_005 - 10_240 * 255, 10_240),
        ];
        for (timestamp, width) in cases {
            let expected = (width, i64::div_euclid(timestamp, width));
            assert_eq!(windows(10, None).of(timestamp, newest), expected, "{timestamp}");
        }
        for retention in [None, Some(100), Some(u64::MAX)] {
            for extreme in [i64::MIN, i64::MAX] {
                for newest in [i64::MIN, 0, i64::MAX] {
                    for span in [0, 1, i64::MAX as u64, u64::MAX] {
                        let _ = windows(span, retention).of(extreme, newest);
                    }
                }
            }
        }
    }

    #[test]
    fn a_wide_window_of_a_head_is_complete_and_one_that_blocks_are_merged_into() {
        let windows = windows(10, Some(100_000));
        let newest = 100_005;
        for timestamp in 0..newest {
            let (width, number) = windows.of(timestamp, newest);
            assert!(width == 10 || windows.widths().contains(&width), "{timestamp}");
            assert!(width == 10 || number < newest.div_euclid(width), "{timestamp}");
        }
    }

    #[test]
    fn windows_never_interleave_and_are_few() {
        let (hours, minute) = (7_200_000_000_000, 60_000_000_000);
        for (span, retention, newest) in [
            (10, None, 3_i64),
            (10, Some(1), 3),
            (hours, None, 1_704_067_200_000_000_000),
            (hours, Some(hours * 12 * 30), 1_704_067_200_000_000_000),
            (minute, None, 0),
        ] {
            let windows = windows(span, retention);
            // Times that get ever closer together towards the newest, from both sides.
            let distances =
                (0..63).flat_map(|bits| (0..1024).map(move |i| ((1_i128 << bits) * (1024 + i)) >> 10));
            let sides = distances.flat_map(|d| [i128::from(newest) - d, i128::from(newest) + d]);
            let mut times: Vec<i64> = sides.filter_map(|time| i64::try_from(time).ok()).collect();
            times.sort_unstable();
            let mut found: Vec<Window> = times.iter().map(|time| windows.of(*time, newest)).collect();
            found.dedup();
            let in_order = found.len();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found.len(), in_order, "each window is one run of times");
            assert!(in_order < 1_000, "{in_order}");
        }
    }
}
