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

/// Where a counter was reset, and what was counted before.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// The indexes of the samples that are smaller than the one before.
    positions: Vec<usize>,
    /// The sum of the samples before the first `i` resets.
    counted: Vec<CompensatedSum>,
}

impl Resets {
    fn find(&mut self, values: &[f64]) {
        self.positions.clear();
        self.positions.resize(values.len(), 0);
        let mut found = 0;
        // Without a branch: a gauge goes down as often as up, and `rate` is asked of gauges too.
        for (i, pair) in values.windows(2).enumerate() {
            self.positions[found] = i + 1;
            found += usize::from(pair[1] < pair[0]);
        }
        self.positions.truncate(found);
        self.counted.clear();
        let mut sum = CompensatedSum::default();
        self.counted.push(sum);
        for &position in &self.positions {
            sum.add(values[position - 1]);
            self.counted.push(sum);
        }
    }

    /// What was counted before the resets `from..to`.
    fn counted_between(&self, from: usize, to: usize, values: &[f64]) -> f64 {
        let (before, after) = (self.counted[from], self.counted[to]);
        if after.sum.is_finite() {
            return (after.sum - before.sum) + (after.error - before.error);
        }
        self.positions[from..to].iter().map(|&position| values[position - 1]).sum()
    }
}

/// `rate`, `increase` and `delta`: the change between the first and the last sample of a window, extrapolated to the
/// window's ends as Prometheus does it. `resets` is a buffer.
pub(super) fn extrapolated(
    function: Rollup,
    windows: &Windows,
    samples: &Samples,
    resets: &mut Resets,
    cells: &mut [f64],
) {
    let (timestamps, values) = (samples.timestamps.as_slice(), samples.values.as_slice());
    let is_counter = function != Rollup::Delta;
    resets.find(if is_counter { values } else { &[] });
    let range = windows.range_nanos();
    let per_second = if function == Rollup::Rate { seconds(range) } else { 1.0 };
    let (mut from, mut to) = (0, 0);
    windows.walk(timestamps, |window| {
        let (first, last) = (window.lo, window.hi - 1);
        if first == last {
            return;
        }
        let mut change = values[last] - values[first];
        while to < resets.positions.len() && resets.positions[to] <= last {
            to += 1;
        }
        while from < to && resets.positions[from] <= first {
            from += 1;
        }
        if from < to {
            change += resets.counted_between(from, to, values);
        }
        // Only ratios of these durations matter, so they stay in nanoseconds.
        let sampled = (timestamps[last] - timestamps[first]) as f64;
        let reaches_zero = is_counter && change > 0.0 && values[first] >= 0.0;
        let gaps = Gaps {
            sampled,
            intervals: last - first,
            to_start: (timestamps[first] - window.end.saturating_sub(range)) as f64,
            to_end: (window.end - timestamps[last]) as f64,
            zero_after: reaches_zero.then(|| sampled * values[first] / change),
        };
        cells[window.step] = change * (gaps.covered() / sampled / per_second);
    });
}

/// How a window's samples lie in it. All times are in the same unit.
pub(in crate::exec) struct Gaps {
    /// From the first to the last sample.
    pub(in crate::exec) sampled: f64,
    /// The number of samples less one.
    pub(in crate::exec) intervals: usize,
    /// From the window's start to the first sample.
    pub(in crate::exec) to_start: f64,
    /// From the last sample to the window's end.
    pub(in crate::exec) to_end: f64,
    /// How long before its first sample a counter that grew steadily was zero.
    pub(in crate::exec) zero_after: Option<f64>,
}

impl Gaps {
    /// The time that the change is taken to stand for: that sampled, and the gaps to the window's ends as far as the series is
    /// likely to have been there. A counter is not extrapolated to before it was zero.
    #[inline]
    pub(in crate::exec) fn covered(self) -> f64 {
        let Self { sampled, intervals, mut to_start, mut to_end, zero_after } = self;
        let interval = sampled / intervals as f64;
        let threshold = interval * EXTRAPOLATION_INTERVALS_MAX;
        if to_start >= threshold {
            to_start = interval / 2.0;
        }
        if let Some(zero_after) = zero_after.filter(|&zero_after| zero_after < to_start) {
            to_start = zero_after;
        }
        if to_end >= threshold {
            to_end = interval / 2.0;
        }
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
