//! The steps that an expression is evaluated at, and the windows of time that a selector looks at from each step.

use timberline_engine::TimeRange;

use super::context::{Cancel, SAMPLES_BETWEEN};
use crate::error::Result;
use crate::plan::Shift;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// Milliseconds as nanoseconds, clamped to what an `i64` holds.
pub(super) fn millis_to_nanos(millis: i64) -> i64 {
    millis.saturating_mul(NANOS_PER_MILLI)
}

/// Nanoseconds as milliseconds, rounded down.
pub(super) fn nanos_to_millis(nanos: i64) -> i64 {
    nanos.div_euclid(NANOS_PER_MILLI)
}

/// Evenly spaced evaluation times. There is at least one step, except in a subquery that covers none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start_ms: i64,
    pub(super) step_ms: i64,
    pub(super) steps: usize,
}

impl Grid {
    /// The grid from `start_ms` to at most `end_ms`.
    pub(super) fn new(start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let span = i128::from(end_ms) - i128::from(start_ms);
        let step_ms = step_ms.max(1);
        let steps =
            if span < 0 { 0 } else { usize::try_from(span / i128::from(step_ms) + 1).unwrap_or(usize::MAX) };
        Self { start_ms, step_ms, steps }
    }

    /// The first step alone.
    pub(super) fn first(self) -> Self {
        Self { steps: self.steps.min(1), ..self }
    }

    pub(super) fn time_ms(self, step: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(step as i64))
    }

    pub(super) fn end_ms(self) -> i64 {
        self.time_ms(self.steps.saturating_sub(1))
    }

    /// The step's time in seconds, as PromQL's functions see it.
    pub(super) fn time_seconds(self, step: usize) -> f64 {
        self.time_ms(step) as f64 / 1000.0
    }

    /// The grid of the absolute multiples of `step_ms` that the windows of a subquery over this grid cover.
    pub(super) fn subquery(self, range_ms: i64, shift: Shift, step_ms: i64) -> Self {
        let (first, last) = (shift.time_ms(self.start_ms), shift.time_ms(self.end_ms()));
        let open_end = first.saturating_sub(range_ms);
        let start = open_end.div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
        Self::new(start, last, step_ms)
    }
}

impl Shift {
    /// The time looked at from the step at `time_ms`.
    pub(super) fn time_ms(self, time_ms: i64) -> i64 {
        self.at_ms.unwrap_or(time_ms).saturating_sub(self.offset_ms)
    }
}

/// For each step of a grid, the window `(end - range, end]` in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    pub(super) grid: Grid,
    pub(super) range_ms: i64,
    pub(super) shift: Shift,
}

/// The windows of a series that hold samples. Those of series with equal timestamps are equal, and found once.
#[derive(Debug, Default)]
pub(super) struct WindowFinder {
    found: Vec<Window>,
    found_for: Option<(Windows, u64)>,
}

/// Windows that hold samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) windows: &'a Windows,
    found: &'a [Window],
}

impl WindowFinder {
    /// The windows that hold some of `timestamps`, which ascend. `times` is equal for equal timestamps; `None` when nothing is known.
    pub(super) fn find<'a>(
        &'a mut self,
        windows: &'a Windows,
        timestamps: &[i64],
        times: Option<u64>,
    ) -> Found<'a> {
        let wanted = times.map(|times| (*windows, times));
        if wanted.is_none() || self.found_for != wanted {
            self.found.clear();
            windows.walk(timestamps, |window| self.found.push(window));
            self.found_for = wanted;
        }
        Found { windows, found: &self.found }
    }
}

impl Found<'_> {
    /// Calls `each` with each window.
    #[inline]
    pub(super) fn walk(&self, each: impl FnMut(Window)) {
        self.found.iter().copied().for_each(each);
    }
}

/// One step's window over the samples of a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) step: usize,
    /// The samples are those at `lo..hi`.
    pub(super) lo: usize,
    pub(super) hi: usize,
    /// The window's closed end, nanoseconds.
    pub(super) end: i64,
}

impl Windows {
    fn end(&self, step: usize) -> i64 {
        millis_to_nanos(self.shift.time_ms(self.grid.time_ms(step)))
    }

    /// The distance between the ends of neighbouring windows, unless some are beyond what an `i64` holds.
    fn stride(&self) -> Option<i64> {
        let stride = if self.shift.at_ms.is_some() { 0 } else { millis_to_nanos(self.grid.step_ms) };
        let last = self.grid.steps.saturating_sub(1);
        let end = stride.checked_mul(last as i64)?.checked_add(self.end(0))?;
        (end == self.end(last)).then_some(stride)
    }

    /// Whether a window ends behind a time in `range` and not behind its last.
    pub(super) fn end_in(&self, range: TimeRange) -> bool {
        self.edge_in(self.end(0), range)
    }

    /// Whether a window begins behind a time in `range` and not behind its last.
    pub(super) fn begin_in(&self, range: TimeRange) -> bool {
        self.edge_in(self.end(0).saturating_sub(self.range_nanos()), range)
    }

    /// Whether one of the edges that begin with `first` lies in `range`, its end excluded.
    fn edge_in(&self, first: i64, range: TimeRange) -> bool {
        let Some(stride) = self.stride() else { return true };
        let from_first = |time: i64| i128::from(time) - i128::from(first);
        let mut edge = 0;
        if stride > 0 && from_first(range.start) > 0 {
            let steps = (from_first(range.start) - 1) / i128::from(stride) + 1;
            edge = steps.min(self.grid.steps.saturating_sub(1) as i128) * i128::from(stride);
        }
        from_first(range.start) <= edge && edge < from_first(range.end)
    }

    pub(super) fn range_nanos(&self) -> i64 {
        millis_to_nanos(self.range_ms)
    }

    /// All times that the windows cover.
    pub(super) fn needed(&self) -> TimeRange {
        let last = self.end(self.grid.steps.saturating_sub(1));
        TimeRange::new(self.end(0).saturating_sub(self.range_nanos()).saturating_add(1), last)
    }

    /// Calls `each` with each step whose window holds a sample. `timestamps` ascend.
    #[inline]
    pub(super) fn walk(&self, timestamps: &[i64], mut each: impl FnMut(Window)) {
        let range = self.range_nanos();
        let (first, stride) = (self.end(0), self.stride());
        let (mut lo, mut hi) = (0, 0);
        for step in 0..self.grid.steps {
            let end = match stride {
                Some(stride) => first + stride * step as i64,
                None => self.end(step),
            };
            let open_start = end.saturating_sub(range);
            while hi < timestamps.len() && timestamps[hi] <= end {
                hi += 1;
            }
            while lo < hi && timestamps[lo] <= open_start {
                lo += 1;
            }
            if lo < hi {
                each(Window { step, lo, hi, end });
            }
        }
    }

    /// As [`walk`](Self::walk), where `each` looks at all samples of its window, which takes steps × samples: it is looked at now and
    /// then whether the query is to go on. Ends with the first error.
    pub(super) fn try_walk(
        &self,
        cancel: &Cancel,
        timestamps: &[i64],
        mut each: impl FnMut(Window) -> Result<()>,
    ) -> Result<()> {
        let (mut outcome, mut looked_at) = (Ok(()), 0);
        self.walk(timestamps, |window| {
            if outcome.is_ok() {
                outcome = each(window);
                looked_at += window.hi - window.lo;
                if looked_at >= SAMPLES_BETWEEN && outcome.is_ok() {
                    looked_at = 0;
                    outcome = cancel.check();
                }
            }
        });
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::QueryError;

    const UNSHIFTED: Shift = Shift { offset_ms: 0, at_ms: None };

    #[test]
    fn a_subquery_grid_holds_the_multiples_inside_the_open_window() {
        let at = |time_ms, range_ms, step_ms| {
            Grid::new(time_ms, time_ms, 0).subquery(range_ms, UNSHIFTED, step_ms)
        };
        assert_eq!(at(100, 50, 10), Grid { start_ms: 60, step_ms: 10, steps: 5 });
        assert_eq!(at(105, 50, 10), Grid { start_ms: 60, step_ms: 10, steps: 5 });
        assert_eq!(at(0, 50, 10), Grid { start_ms: -40, step_ms: 10, steps: 5 });
        assert_eq!(at(5, 3, 10).steps, 0);
    }

    #[test]
    fn windows_are_open_on_the_left() {
        let windows = Windows { grid: Grid::new(1000, 3000, 1000), range_ms: 1000, shift: UNSHIFTED };
        let timestamps: Vec<i64> = [0, 1, 1000, 1001, 3000].iter().map(|&t| millis_to_nanos(t)).collect();
        let mut seen = Vec::new();
        windows.walk(&timestamps, |w| seen.push((w.step, w.lo, w.hi)));
        assert_eq!(seen, [(0, 1, 3), (1, 3, 4), (2, 4, 5)]);
        assert_eq!(windows.needed(), TimeRange::new(1, 3_000_000_000));
    }

    #[test]
    fn windows_at_the_ends_of_time_do_not_overflow() {
        let windows =
            Windows { grid: Grid::new(0, i64::MAX, i64::MAX / 3), range_ms: 1000, shift: UNSHIFTED };
        let mut seen = Vec::new();
        windows.walk(&[0, i64::MAX], |w| seen.push((w.step, w.lo, w.hi, w.end)));
        assert_eq!(seen, [(0, 0, 1, 0), (1, 1, 2, i64::MAX), (2, 1, 2, i64::MAX), (3, 1, 2, i64::MAX)]);
    }

    #[test]
    fn edges_are_found_in_a_range() {
        let range = |start_ms, end_ms| TimeRange::new(millis_to_nanos(start_ms), millis_to_nanos(end_ms));
        for (first, last, step, range_ms) in
            [(0, 100, 10, 30), (0, 0, 0, 50), (-20, 95, 23, 7), (0, 50, 50, 1)]
        {
            let windows = Windows { grid: Grid::new(first, last, step), range_ms, shift: UNSHIFTED };
            for start in -60..120 {
                for end in start..start + 40 {
                    let has = |edge: i64| (start..end).contains(&edge);
                    let ends = || (0..windows.grid.steps).map(|at| windows.grid.time_ms(at));
                    assert_eq!(windows.end_in(range(start, end)), ends().any(has), "{start} {end}");
                    let begins = ends().any(|end| has(end - range_ms));
                    assert_eq!(windows.begin_in(range(start, end)), begins, "{start} {end}");
                }
            }
        }
    }

    #[test]
    fn a_fixed_time_gives_the_same_window_at_each_step() {
        let shift = Shift { offset_ms: 500, at_ms: Some(2000) };
        let windows = Windows { grid: Grid::new(0, 2, 1), range_ms: 1000, shift };
        let mut seen = Vec::new();
        windows.walk(&[millis_to_nanos(1000)], |w| seen.push((w.step, w.lo, w.hi, w.end)));
        assert_eq!(seen, [(0, 0, 1, 1_500_000_000), (1, 0, 1, 1_500_000_000), (2, 0, 1, 1_500_000_000)]);
    }

    #[test]
    fn a_walk_that_may_fail_ends_when_the_query_does() {
        let samples = SAMPLES_BETWEEN / 4;
        let timestamps: Vec<i64> = (0..samples as i64).map(millis_to_nanos).collect();
        let grid = Grid::new(samples as i64, samples as i64 + 99, 1);
        let windows = Windows { grid, range_ms: 1 << 20, shift: UNSHIFTED };
        let (cancel, mut walked) = (Cancel::new(), 0);
        let outcome = windows.try_walk(&cancel, &timestamps, |_| {
            walked += 1;
            cancel.cancel();
            Ok(())
        });
        assert!(matches!(outcome, Err(QueryError::Canceled)) && walked == 4, "{walked} windows");
        let outcome = windows.try_walk(&Cancel::new(), &timestamps, |window| {
            if window.step == 7 { Err(QueryError::NotShort) } else { Ok(()) }
        });
        assert!(matches!(outcome, Err(QueryError::NotShort)));
    }
}
