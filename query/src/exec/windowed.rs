//! Functions of windows that do not fit a [pipeline](super::pipeline): they look beyond the window's edges, fail on the data, or
//! have several parameters.

use std::ops::Range;

use timberline_engine::histogram::cell;
use timberline_engine::{KnownTimes, Labels, METRIC_NAME, Samples, Series, TimeRange};

use super::annotations::is_counter_name;
use super::context::Cancel;
use super::eval::Evaluator;
use super::grid::{Windows, millis_to_nanos};
use super::native;
use super::row::{ABSENT, Row, any_present, is_present};
use super::select;
use super::usage::HeldSamples;
use crate::ast::Edges;
use crate::error::{QueryError, Result};
use crate::plan::{ExtendedPlan, RangeInput, Rollup, Shift, SmoothedPlan, Smoothing, SmoothingPlan};

/// One row per series with the cells that `fill` sets.
fn rows_of_series(
    evaluator: &Evaluator<'_>,
    series: &[Series],
    windows: &Windows,
    drop_name: bool,
    fill: impl Fn(&Labels, &mut Samples, &mut [f64]) -> Result<()> + Sync,
) -> Result<Vec<Row>> {
    let (context, steps) = (evaluator.context, evaluator.grid.steps);
    context.charge_points(series.len(), steps)?;
    let row = |(samples, held): &mut (Samples, HeldSamples), at: usize| {
        let series = &series[at];
        context.check()?;
        select::read_without_markers(context, series, &mut KnownTimes::default(), samples, held)?;
        let mut values = vec![ABSENT; steps];
        fill(series.labels(), samples, &mut values)?;
        if let Some(tally) = &context.tally {
            tally.add_windows(windows, &samples.timestamps);
        }
        Ok(any_present(&values).then(|| Row { labels: series.labels().clone(), drop_name, values }))
    };
    let rows = context.threads.map(series.len(), Default::default, row);
    Ok(rows?.into_iter().flatten().collect())
}

/// A selector's windows with the samples next to them.
struct Widened {
    windows: Windows,
    range: i64,
    /// How much later than the actual window this one ends.
    ahead: i64,
}

impl Widened {
    fn new(evaluator: &Evaluator<'_>, range_ms: i64, shift: Shift, edges: Edges) -> Self {
        let lookback_ms = evaluator.context.lookback_ms;
        let ahead_ms = if edges == Edges::Smoothed { lookback_ms } else { 0 };
        let range = range_ms.saturating_add(lookback_ms).saturating_add(ahead_ms);
        let shift = Shift { offset_ms: shift.offset_ms.saturating_sub(ahead_ms), ..shift };
        let windows = Windows { grid: evaluator.grid, range_ms: range, shift };
        Self { windows, range: millis_to_nanos(range_ms), ahead: millis_to_nanos(ahead_ms) }
    }

    /// Sets the cell of each step for which `value` has one.
    fn fill(
        &self,
        cancel: &Cancel,
        samples: &Samples,
        cells: &mut [f64],
        value: impl Fn(&Wide<'_>) -> Result<Option<f64>>,
    ) -> Result<()> {
        self.windows.try_walk(cancel, &samples.timestamps, |w| {
            let end = w.end.saturating_sub(self.ahead);
            let wide = Wide {
                times: &samples.timestamps[w.lo..w.hi],
                values: &samples.values[w.lo..w.hi],
                lo: w.lo,
                start: end.saturating_sub(self.range),
                end,
            };
            if let Some(value) = value(&wide)? {
                cells[w.step] = value;
            }
            Ok(())
        })
    }
}

/// The times that are read for windows with such edges.
pub(super) fn needed(evaluator: &Evaluator<'_>, range_ms: i64, shift: Shift, edges: Edges) -> TimeRange {
    Widened::new(evaluator, range_ms, shift, edges).windows.needed()
}

/// The samples in and around the window `(start, end]`; at least one.
struct Wide<'a> {
    /// Nanoseconds, ascending.
    times: &'a [i64],
    values: &'a [f64],
    /// Where they begin among the samples of the series.
    lo: usize,
    start: i64,
    end: i64,
}

impl Wide<'_> {
    /// The newest sample at or before the window's start, or else the oldest inside.
    fn first(&self) -> usize {
        let last = self.times.len() - 1;
        self.times[..last].partition_point(|&time| time <= self.start).saturating_sub(1)
    }

    /// Whether there are numbers and histograms in and around the window.
    fn is_mixed(&self) -> bool {
        let histograms = self.values.iter().filter(|value| cell::is_histogram(**value)).count();
        histograms > 0 && histograms < self.values.len()
    }

    /// Those of the series' samples that a function looks at.
    fn used(&self, smoothed: bool) -> Range<usize> {
        let (first, mut last) = (self.first(), self.times.len() - 1);
        if smoothed {
            last = self.times[..last].partition_point(|&time| time < self.end).max(first);
        }
        self.lo + first..self.lo + last + 1
    }

    /// `rate`, `increase` and `delta`: the change between the values at the edges.
    fn change(&self, is_counter: bool, smoothed: bool) -> Option<f64> {
        let (mut first, mut last) = (self.first(), self.times.len() - 1);
        if smoothed {
            last = self.times[..last].partition_point(|&time| time < self.end);
        }
        if self.times[last] <= self.start || self.times[first] > self.end {
            return None;
        }
        let left = if smoothed && self.times[first] < self.start {
            self.interpolate(first, self.start, is_counter)
        } else {
            self.values[first]
        };
        let right = if smoothed && last > 0 && self.times[last] > self.end {
            self.interpolate(last - 1, self.end, is_counter)
        } else {
            self.values[last]
        };
        if !is_counter {
            return Some(right - left);
        }
        // Resets at the edges are in the values there already.
        first += usize::from(self.times[first] <= self.start);
        let inside_end = last + usize::from(self.times[last] < self.end);
        let inside = self.values.get(first..inside_end).unwrap_or_default();
        Some(right - left + counted_before_resets(left, inside, right))
    }

    /// The value at `time` on the line from sample `before` to the next. A counter that was reset between them began at zero.
    fn interpolate(&self, before: usize, time: i64, is_counter: bool) -> f64 {
        let (mut from, to) = (self.values[before], self.values[before + 1]);
        if is_counter && to < from {
            from = 0.0;
        }
        let (start, end) = (self.times[before], self.times[before + 1]);
        from + (to - from) * (time.saturating_sub(start) as f64) / (end.saturating_sub(start) as f64)
    }

    /// `changes` and `resets`: how many neighbours satisfy `counts(before, after)`, from the anchor on.
    fn transitions(&self, counts: impl Fn(f64, f64) -> bool) -> Option<f64> {
        if self.times[self.times.len() - 1] <= self.start {
            return None;
        }
        let pairs = self.values[self.first()..].windows(2);
        Some(pairs.filter(|pair| counts(pair[0], pair[1])).count() as f64)
    }
}

fn counted_before_resets(left: f64, inside: &[f64], right: f64) -> f64 {
    let (mut counted, mut before) = (0.0, left);
    for &value in inside.iter().chain([&right]) {
        if value < before {
            counted += before;
        }
        before = value;
    }
    counted
}

/// A function of anchored or smoothed windows.
pub(super) fn extended(evaluator: &Evaluator<'_>, plan: &ExtendedPlan) -> Result<Vec<Row>> {
    let widened = Widened::new(evaluator, plan.range_ms, plan.shift, plan.edges);
    let series = evaluator.context.select(&plan.matchers, widened.windows.needed())?;
    let smoothed = plan.edges == Edges::Smoothed;
    let per_second = widened.range as f64 / 1e9;
    let of_floats = |wide: &Wide<'_>| match plan.function {
        Rollup::Changes => wide.transitions(|a, b| a != b && !(a.is_nan() && b.is_nan())),
        Rollup::Resets => wide.transitions(|a, b| b < a),
        Rollup::Delta => wide.change(false, smoothed),
        Rollup::Rate => wide.change(true, smoothed).map(|change| change / per_second),
        _ => wide.change(true, smoothed),
    };
    let context = evaluator.context;
    let rows = rows_of_series(evaluator, &series, &widened.windows, true, |labels, samples, cells| {
        if samples.histograms.is_empty() {
            return widened.fill(context.cancel(), samples, cells, |wide| Ok(of_floats(wide)));
        }
        if plan.without_buckets {
            native::keep_statistics(samples);
        }
        let line = native::Line { context, labels, span: plan.span, samples };
        let native = native::Extended::new(line, plan.function);
        let seconds = if plan.function == Rollup::Rate { per_second } else { 1.0 };
        let counts_changes = matches!(plan.function, Rollup::Changes | Rollup::Resets);
        widened.fill(context.cancel(), samples, cells, |wide| {
            if !counts_changes && wide.is_mixed() {
                native.line().found_mixed();
                return Ok(None);
            }
            let used = wide.used(smoothed);
            if !native.line().has_histogram(used.clone()) {
                return Ok(of_floats(wide));
            }
            let (start, end) = (wide.start, wide.end);
            native.value(&native::Edges { samples: used, start, end, smoothed, seconds })
        })
    })?;
    if plan.function.wants_counter() {
        let has_floats = |row: &&Row| row.values.iter().any(|&value| native::is_float(value));
        for name in rows.iter().filter(has_floats).filter_map(|row| row.labels.get(METRIC_NAME)) {
            if !is_counter_name(name) {
                evaluator.context.annotate(plan.span, |annotations, position| {
                    annotations.possible_non_counter(name, position);
                });
            }
        }
    }
    Ok(rows)
}

/// `selector smoothed`: on the line between the samples around each step; after the last sample, that sample.
pub(super) fn smoothed_selector(evaluator: &Evaluator<'_>, plan: &SmoothedPlan) -> Result<Vec<Row>> {
    let widened = Widened::new(evaluator, 0, plan.shift, Edges::Smoothed);
    let context = evaluator.context;
    let series = context.select(&plan.matchers, widened.windows.needed())?;
    rows_of_series(evaluator, &series, &widened.windows, false, |labels, samples, cells| {
        if plan.without_buckets {
            native::keep_statistics(samples);
        }
        let line = native::Line { context, labels, span: plan.span, samples };
        let any_histogram = !samples.histograms.is_empty();
        widened.fill(context.cancel(), samples, cells, |wide| {
            if any_histogram && wide.is_mixed() {
                line.found_mixed();
                return Ok(None);
            }
            let after = wide.times.partition_point(|&time| time <= wide.end);
            let Some(before) = after.checked_sub(1) else { return Ok(None) };
            let is_between = wide.times[before] < wide.end && after < wide.times.len();
            let at = wide.lo + before;
            if is_between && line.has_histogram(at..at + 2) {
                return line.at(at, wide.end);
            }
            if is_between {
                return Ok(Some(wide.interpolate(before, wide.end, false)));
            }
            line.sample(at).map(Some)
        })
    })
}

/// `double_exponential_smoothing` and `ema_over_time`.
pub(super) fn smoothing<'q>(evaluator: &Evaluator<'q>, plan: &'q SmoothingPlan) -> Result<Vec<Row>> {
    let windows = evaluator.windows(plan.range.range_ms, plan.range.shift);
    let method = Method::new(evaluator, &plan.method)?;
    let fill = |labels: &Labels, samples: &mut Samples, cells: &mut [f64]| {
        let cancel = evaluator.context.cancel();
        if !samples.histograms.is_empty() {
            windows.try_walk(cancel, &samples.timestamps, |w| method.check(w.step))?;
            native::leave_out_histograms(evaluator.context, labels, plan.range.span, &windows, samples);
        }
        windows.try_walk(cancel, &samples.timestamps, |w| {
            cells[w.step] = method.smooth(w.step, &samples.values[w.lo..w.hi])?;
            Ok(())
        })
    };
    let rows = match &plan.range.input {
        RangeInput::Series(matchers) => {
            let series = evaluator.context.select(matchers, windows.needed())?;
            rows_of_series(evaluator, &series, &windows, true, fill)?
        }
        RangeInput::Subquery { plan: inner, step_ms } => {
            let (rows, grid) = evaluator.subquery(&plan.range, inner, *step_ms)?;
            evaluator.context.charge_points(rows.len(), evaluator.grid.steps)?;
            let threads = evaluator.context.threads;
            let rows = threads.map(rows.len(), Default::default, |(samples, held), at| {
                let row = &rows[at];
                evaluator.context.check()?;
                select::samples_of_row(evaluator.context, &row.values, grid, samples);
                evaluator.context.charge_samples(held, samples.values.len())?;
                let mut values = vec![ABSENT; evaluator.grid.steps];
                fill(&row.labels, samples, &mut values)?;
                if let Some(tally) = &evaluator.context.tally {
                    tally.add_windows(&windows, &samples.timestamps);
                }
                Ok(Row { labels: row.labels.clone(), drop_name: true, values })
            });
            rows?.into_iter().filter(|row| !row.is_empty()).collect()
        }
    };
    method.annotate(evaluator, &rows)?;
    Ok(rows)
}

/// A [`Smoothing`] with its parameters of each step.
enum Method<'q> {
    Double { level: Vec<f64>, trend: Vec<f64> },
    Average { alpha: Vec<f64>, plan: &'q Smoothing },
}

impl<'q> Method<'q> {
    fn new(evaluator: &Evaluator<'q>, plan: &'q Smoothing) -> Result<Self> {
        Ok(match plan {
            Smoothing::Double { level, trend } => {
                Self::Double { level: evaluator.scalar(level)?, trend: evaluator.scalar(trend)? }
            }
            Smoothing::Average { alpha, .. } => Self::Average { alpha: evaluator.scalar(alpha)?, plan },
        })
    }

    /// The smoothed value of a window, absent when it needs more samples.
    fn smooth(&self, step: usize, values: &[f64]) -> Result<f64> {
        match self {
            Self::Double { level, trend } => {
                self.check(step)?;
                Ok(double_smoothed(values, level[step], trend[step]))
            }
            Self::Average { alpha, .. } if is_weight(alpha[step]) => Ok(moving_average(values, alpha[step])),
            Self::Average { .. } => Ok(f64::NAN),
        }
    }

    /// Fails at a step whose factors no window, of whatever samples, can be smoothed by.
    fn check(&self, step: usize) -> Result<()> {
        let Self::Double { level, trend } = self else { return Ok(()) };
        check_factor("smoothing", "sf", level[step])?;
        check_factor("trend", "tf", trend[step])
    }

    /// Warns of each weight that is not one, at the steps that have a result.
    fn annotate(&self, evaluator: &Evaluator<'_>, rows: &[Row]) -> Result<()> {
        let Self::Average { alpha, plan: Smoothing::Average { span, .. } } = self else { return Ok(()) };
        for (step, &alpha) in alpha.iter().enumerate() {
            evaluator.context.cancel().look(step)?;
            if !is_weight(alpha) && rows.iter().any(|row| is_present(row.values[step])) {
                evaluator.context.annotate(*span, |annotations, position| {
                    annotations.invalid_smoothing(alpha, position);
                });
            }
        }
        Ok(())
    }
}

fn is_weight(alpha: f64) -> bool {
    alpha > 0.0 && alpha <= 1.0
}

fn check_factor(name: &str, short: &str, factor: f64) -> Result<()> {
    // As in Prometheus, what is not a number is not wrong either: neither is the result.
    if factor.is_nan() || (factor > 0.0 && factor < 1.0) {
        return Ok(());
    }
    let got = super::annotations::go_fixed(factor);
    Err(QueryError::execution(format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {got}")))
}

/// Holt's linear method: a level and a trend, each smoothed by its own factor. Absent with less than two samples.
fn double_smoothed(values: &[f64], level: f64, trend: f64) -> f64 {
    let [first, second, ..] = *values else { return ABSENT };
    let (mut before, mut smoothed, mut slope) = (0.0, first, second - first);
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (smoothed - before) + (1.0 - trend) * slope;
        }
        let next = level * value + (1.0 - level) * (smoothed + slope);
        (before, smoothed) = (smoothed, next);
    }
    smoothed
}

/// The exponential moving average, which begins with the first sample.
fn moving_average(values: &[f64], alpha: f64) -> f64 {
    let step = |average: f64, value: &f64| alpha * value + (1.0 - alpha) * average;
    values.split_first().map_or(ABSENT, |(first, rest)| rest.iter().fold(*first, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide<'a>(times: &'a [i64], values: &'a [f64], start: i64, end: i64) -> Wide<'a> {
        Wide { times, values, lo: 0, start, end }
    }

    #[test]
    fn the_anchor_is_the_newest_sample_at_the_start_or_before() {
        let (times, values) = ([0, 10, 20, 30], [1.0, 4.0, 2.0, 3.0]);
        assert_eq!(wide(&times, &values, 15, 30).change(false, false), Some(-1.0));
        assert_eq!(wide(&times, &values, 15, 30).change(true, false), Some(3.0));
        assert_eq!(wide(&times, &values, 10, 30).transitions(|a, b| b < a), Some(1.0));
        assert_eq!(wide(&times, &values, 30, 40).change(true, false), None);
        assert_eq!(wide(&times[3..], &values[3..], 20, 40).change(true, false), Some(0.0));
    }

    #[test]
    fn smoothed_edges_lie_on_lines_and_resets_begin_at_zero() {
        let (times, values) = ([0, 10, 20, 30], [1.0, 4.0, 2.0, 3.0]);
        assert_eq!(wide(&times, &values, 5, 25).change(false, true), Some(0.0));
        assert_eq!(wide(&times, &values, 5, 25).change(true, true), Some(4.0));
        assert_eq!(wide(&[0, 20], &[10.0, 5.0], 5, 15).change(true, true), Some(2.5));
        assert_eq!(wide(&[10, 20], &[5.0, 6.0], 0, 5).change(true, true), None);
    }

    #[test]
    fn smoothing_follows_the_trend_and_averages_forget() {
        assert_eq!(double_smoothed(&[1.0, 2.0, 3.0, 4.0], 0.5, 0.1), 4.0);
        assert!(!is_present(double_smoothed(&[1.0], 0.5, 0.1)));
        assert_eq!(moving_average(&[1.0, 3.0, 5.0], 0.5), 3.5);
        assert_eq!(moving_average(&[1.0, 3.0], 1.0), 3.0);
        let error = check_factor("trend", "tf", 2.0).unwrap_err();
        assert_eq!(error.to_string(), "invalid trend factor. Expected: 0 < tf < 1, got: 2.000000");
    }
}
