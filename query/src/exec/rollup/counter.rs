//! Counters: `rate`, `increase`, `delta`, `irate`, `idelta`, `resets`, `changes`.

use timberline_engine::Samples;

use super::compensated::CompensatedSum;
use crate::exec::grid::{Found, Window};
use crate::plan::Rollup;

/// A gap between the samples and the window's end is bridged when it is at most this many average intervals long.
const EXTRAPOLATION_INTERVALS_MAX: f64 = 1.1;

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

/// What a counter had counted before its resets.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// For each sample, the sum of the samples before the resets up to it. Empty where nothing was reset.
    counted: Vec<CompensatedSum>,
}

impl Resets {
    fn find(&mut self, values: &[f64]) {
        self.counted.clear();
        if !values.array_windows().any(|[before, after]| after < before) {
            return;
        }
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
        if self.counted.is_empty() {
            return 0.0;
        }
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
    spans: Vec<Span>,
    /// Which timestamps `spans` are of.
    spans_of: Option<u64>,
}

/// A window with two samples at least: what of its extrapolation follows from timestamps alone.
#[derive(Clone, Copy, Debug)]
struct Span {
    step: usize,
    first: usize,
    last: usize,
    gaps: Gaps,
    /// What to multiply the change by, unless a counter was zero in the window.
    factor: f64,
}

/// `rate`, `increase` and `delta`: the change between the first and the last sample of a window, extrapolated to the
/// window's ends as Prometheus does it. `times` is equal for series with equal timestamps, and `None` when nothing is known.
pub(super) fn extrapolated(
    function: Rollup,
    windows: Found<'_>,
    samples: &Samples,
    times: Option<u64>,
    buffers: &mut Buffers,
    cells: &mut [f64],
) {
    let values = samples.values.as_slice();
    let Buffers { resets, spans, spans_of } = buffers;
    let per_second = if function == Rollup::Rate { seconds(windows.windows.range_nanos()) } else { 1.0 };
    if times.is_none() || *spans_of != times {
        find_spans(windows, &samples.timestamps, per_second, spans);
        *spans_of = times;
    }
    if function == Rollup::Delta {
        for span in &*spans {
            cells[span.step] = (values[span.last] - values[span.first]) * span.factor;
        }
        return;
    }
    resets.find(values);
    for &Span { step, first, last, gaps, factor } in &*spans {
        let change = (values[last] - values[first]) + resets.counted_between(first, last, values);
        let zero = gaps.reach_zero(change, values[first]);
        cells[step] = if zero {
            change * gaps.factor_from_zero(values[first], change, per_second)
        } else {
            change * factor
        };
    }
}

fn find_spans(windows: Found<'_>, timestamps: &[i64], per_second: f64, spans: &mut Vec<Span>) {
    let range = windows.windows.range_nanos();
    spans.clear();
    windows.walk(|window| {
        let (first, last) = (window.lo, window.hi - 1);
        if first < last {
            // Only ratios of these durations matter, so they stay in nanoseconds.
            let gaps = Gaps::new(
                (timestamps[last] - timestamps[first]) as f64,
                last - first,
                (timestamps[first] - window.end.saturating_sub(range)) as f64,
                (window.end - timestamps[last]) as f64,
            );
            let factor = gaps.factor(f64::NAN, per_second);
            spans.push(Span { step: window.step, first, last, gaps, factor });
        }
    });
}

/// How far a window's change is extrapolated: to the window's ends, as far as the series is likely to have been there. All times
/// are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(in crate::exec) struct Gaps {
    /// From the first to the last sample.
    pub(in crate::exec) sampled: f64,
    /// Before the first sample.
    pub(in crate::exec) to_start: f64,
    /// Behind the last sample.
    pub(in crate::exec) to_end: f64,
}

impl Gaps {
    /// From the time from the first to the last sample, how many intervals that is, and how far the window's ends are.
    #[inline]
    pub(in crate::exec) fn new(sampled: f64, intervals: usize, to_start: f64, to_end: f64) -> Self {
        let interval = sampled / intervals as f64;
        // A gap of exactly so many intervals is common. Prometheus counts in seconds, and so rounds the same way.
        let threshold = sampled / 1e9 / intervals as f64 * EXTRAPOLATION_INTERVALS_MAX;
        let bridged = |gap: f64| if gap / 1e9 >= threshold { interval / 2.0 } else { gap };
        Self { sampled, to_start: bridged(to_start), to_end: bridged(to_end) }
    }

    /// The change of a window with two samples at least, extrapolated.
    pub(in crate::exec) fn extrapolate(
        &self,
        change: f64,
        counted_before: f64,
        is_counter: bool,
        per_second: f64,
    ) -> f64 {
        if is_counter && self.reach_zero(change, counted_before) {
            change * self.factor_from_zero(counted_before, change, per_second)
        } else {
            change * self.factor(f64::NAN, per_second)
        }
    }

    /// Whether a counter that grew steadily was zero in the window, before its first sample.
    #[inline]
    fn reach_zero(&self, change: f64, counted_before: f64) -> bool {
        // What `sampled * counted_before / change < to_start` says, without the division that few windows need.
        change > 0.0 && counted_before >= 0.0 && self.sampled * counted_before < self.to_start * change
    }

    /// What the change of a counter is to be multiplied by that was zero in the window, before its first sample.
    #[cold]
    #[inline(never)]
    fn factor_from_zero(&self, counted_before: f64, change: f64, per_second: f64) -> f64 {
        self.factor(self.sampled * counted_before / change, per_second)
    }

    /// What a change is to be multiplied by. A counter is not extrapolated to before it was zero, which one that grew steadily was
    /// `zero_after` before its first sample; NaN when it was not.
    #[inline]
    pub(in crate::exec) fn factor(&self, zero_after: f64, per_second: f64) -> f64 {
        let Self { sampled, to_start, to_end } = *self;
        let to_start = if zero_after < to_start { zero_after } else { to_start };
        (sampled + to_start + to_end) / sampled / per_second
    }
}

/// `irate` (`per_second`) and `idelta`: the change between the last two samples of a window.
pub(super) fn instantaneous(per_second: bool, windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    let (timestamps, values) = (samples.timestamps.as_slice(), samples.values.as_slice());
    windows.walk(|window| {
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
    windows: Found<'_>,
    samples: &Samples,
    cells: &mut [f64],
    counts: impl Fn(f64, f64) -> bool,
) {
    let values = samples.values.as_slice();
    let is_transition = |at: usize| counts(values[at - 1], values[at]);
    let (mut lo, mut hi, mut count) = (0_usize, 0_usize, 0_usize);
    windows.walk(|Window { step, lo: new_lo, hi: new_hi, .. }| {
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
