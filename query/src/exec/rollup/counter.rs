//! Counters: `rate`, `increase`, `delta`, `irate`, `idelta`, `resets`, `changes`.

use timberline_engine::Samples;

use super::compensated::CompensatedSum;
use crate::exec::grid::{Window, Windows};
use crate::plan::Rollup;

/// A gap between the samples and the window's end is bridged when it is at most this many average intervals long.
const EXTRAPOLATION_INTERVALS_MAX: f64 = 1.1;

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// What a counter had counted before its resets.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// For each sample, the sum of the samples before the resets up to it.
    counted: Vec<CompensatedSum>,
}

impl Resets {
    fn find(&mut self, values: &[f64]) {
        self.counted.clear();
        let mut sum = CompensatedSum::default();
        self.counted.push(sum);
        // Without a branch: a gauge goes down as often as up, and `rate` is asked of gauges too.
        self.counted.extend(values.array_windows().map(|[before, after]| {
            sum.add(if after < before { *before } else { 0.0 });
            sum
        }));
    }

    /// What was counted before the resets behind sample `first`, up to `last`.
    #[inline]
    fn counted_between(&self, first: usize, last: usize, values: &[f64]) -> f64 {
        let (before, after) = (self.counted[first], self.counted[last]);
        if after.sum.is_finite() {
            return (after.sum - before.sum) + (after.error - before.error);
        }
        let resets = values[first..=last].array_windows().filter(|[before, after]| after < before);
        resets.map(|[before, _]| before).sum()
    }
}

/// Memory that is reused from series to series.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    resets: Resets,
    windows: Vec<Change>,
}

/// What happened in one window.
#[derive(Clone, Copy, Debug)]
struct Change {
    step: usize,
    change: f64,
    /// The first sample, or NaN where a counter cannot have begun at zero.
    counted_from: f64,
    gaps: Gaps,
}

/// `rate`, `increase` and `delta`: the change between the first and the last sample of a window, extrapolated to the
/// window's ends as Prometheus does it.
pub(super) fn extrapolated(
    function: Rollup,
    windows: &Windows,
    samples: &Samples,
    buffers: &mut Buffers,
    cells: &mut [f64],
) {
    let (timestamps, values) = (samples.timestamps.as_slice(), samples.values.as_slice());
    let is_counter = function != Rollup::Delta;
    let Buffers { resets, windows: changes } = buffers;
    if is_counter {
        resets.find(values);
    }
    let range = windows.range_nanos();
    changes.clear();
    windows.walk(timestamps, |window| {
        let (first, last) = (window.lo, window.hi - 1);
        if first == last {
            return;
        }
        let mut change = values[last] - values[first];
        if is_counter {
            change += resets.counted_between(first, last, values);
        }
        let reaches_zero = is_counter && change > 0.0 && values[first] >= 0.0;
        let gaps = Gaps {
            sampled: (timestamps[last] - timestamps[first]) as f64,
            intervals: (last - first) as f64,
            to_start: (timestamps[first] - window.end.saturating_sub(range)) as f64,
            to_end: (window.end - timestamps[last]) as f64,
        };
        let counted_from = if reaches_zero { values[first] } else { f64::NAN };
        changes.push(Change { step: window.step, change, counted_from, gaps });
    });
    // The divisions come in a loop of their own, so that those of several windows are under way at once.
    let per_second = if function == Rollup::Rate { seconds(range) } else { 1.0 };
    for Change { step, change, counted_from, gaps } in &*changes {
        let zero_after = gaps.sampled * counted_from / change;
        cells[*step] = change * (gaps.covered(zero_after) / gaps.sampled / per_second);
    }
}

/// How a window's samples lie in it. All times are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) struct Gaps {
    /// From the first to the last sample.
    pub(in crate::exec) sampled: f64,
    /// The number of samples less one.
    pub(in crate::exec) intervals: f64,
    /// From the window's start to the first sample.
    pub(in crate::exec) to_start: f64,
    /// From the last sample to the window's end.
    pub(in crate::exec) to_end: f64,
}

impl Gaps {
    /// The time that the change is taken to stand for: that sampled, and the gaps to the window's ends as far as the series is
    /// likely to have been there. A counter is not extrapolated to before it was zero, which a counter that grew steadily was
    /// `zero_after` before its first sample; NaN when it was not.
    #[inline]
    pub(in crate::exec) fn covered(&self, zero_after: f64) -> f64 {
        let Self { sampled, intervals, to_start, to_end } = *self;
        let interval = sampled / intervals;
        // A gap of exactly so many intervals is common. Prometheus counts in seconds, and so rounds the same way.
        let threshold = sampled / 1e9 / intervals * EXTRAPOLATION_INTERVALS_MAX;
        let to_start = if to_start / 1e9 >= threshold { interval / 2.0 } else { to_start };
        let to_start = if zero_after < to_start { zero_after } else { to_start };
        let to_end = if to_end / 1e9 >= threshold { interval / 2.0 } else { to_end };
        sampled + to_start + to_end
    }
}

/// `irate` (`per_second`) and `idelta`: the change between the last two samples of a window.
pub(super) fn instantaneous(per_second: bool, windows: &Windows, samples: &Samples, cells: &mut [f64]) {
    let (timestamps, values) = (samples.timestamps.as_slice(), samples.values.as_slice());
    windows.walk(timestamps, |window| {
        if window.hi - window.lo < 2 {
            return;
        }
        let (before, last) = (window.hi - 2, window.hi - 1);
        let mut change = values[last] - values[before];
        if per_second {
            if values[last] < values[before] {
                change = values[last];
            }
            change /= seconds(timestamps[last] - timestamps[before]);
        }
        cells[window.step] = change;
    });
}

/// How many neighbours in each window satisfy `counts(before, after)`.
pub(super) fn transitions(
    windows: &Windows,
    samples: &Samples,
    cells: &mut [f64],
    counts: impl Fn(f64, f64) -> bool,
) {
    let values = samples.values.as_slice();
    let is_transition = |at: usize| counts(values[at - 1], values[at]);
    let (mut lo, mut hi, mut count) = (0_usize, 0_usize, 0_usize);
    windows.walk(&samples.timestamps, |Window { step, lo: new_lo, hi: new_hi, .. }| {
        if new_lo >= hi {
            // Nothing is left of the window before.
            (lo, hi, count) = (new_lo, new_lo + 1, 0);
        }
        count += (hi..new_hi).filter(|&at| is_transition(at)).count();
        count -= (lo + 1..=new_lo).filter(|&at| is_transition(at)).count();
        (lo, hi) = (new_lo, new_hi);
        cells[step] = count as f64;
    });
}
