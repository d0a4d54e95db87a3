//! Functions of a window of samples of which some are histograms.

use std::sync::Arc;

use timberline_engine::histogram::cell;
use timberline_engine::{Histogram, Labels, ResetHint, Samples};

use super::is_float;
use super::notes::{Doing, Finding};
use super::select::{adopt, leave_out_histograms};
use crate::ast::Span;
use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::grid::{Window, Windows};
use crate::exec::rollup::{self, Buffers, Gaps};
use crate::exec::row::ABSENT;
use crate::histogram::{Incompatible, MEAN_FACTOR, Notes, Sum, is_reset, same};
use crate::plan::{Rollup, RollupPlan};

/// One series, and what is asked of it.
pub(in crate::exec) struct Request<'a> {
    pub(in crate::exec) context: &'a Context<'a>,
    pub(in crate::exec) plan: &'a RollupPlan,
    /// Its labels, for annotations.
    pub(in crate::exec) labels: &'a Labels,
    pub(in crate::exec) windows: &'a Windows,
    /// A number per step for the functions with a scalar argument.
    pub(in crate::exec) param: Option<&'a [f64]>,
    pub(in crate::exec) samples: &'a Samples,
}

/// Sets the cell of each step whose window gives a value.
pub(in crate::exec) fn rollup(request: &Request<'_>, buffers: &mut Buffers, cells: &mut [f64]) -> Result<()> {
    match request.plan.function {
        Rollup::Count
        | Rollup::First
        | Rollup::Last
        | Rollup::Present
        | Rollup::TimeOfFirst
        | Rollup::TimeOfLast => {
            request.evaluate(request.samples, buffers, cells)?;
            adopt(request.context, request.samples, cells)
        }
        Rollup::Changes => request.transitions(cells, |before, after| !same(after, before)),
        Rollup::Resets => request.transitions(cells, |before, after| is_reset(after, before)),
        Rollup::Irate | Rollup::Idelta => request.each_window(buffers, cells, Request::instantaneous),
        Rollup::Sum | Rollup::Avg => request.each_window(buffers, cells, Request::total),
        Rollup::Rate | Rollup::Increase | Rollup::Delta => {
            let resets = request.resets();
            request.each_window(buffers, cells, |request, window| request.extrapolated(window, &resets))
        }
        _ => request.ignore_histograms(buffers, cells),
    }
}

impl Request<'_> {
    fn found(&self, finding: Finding) {
        self.context.found(finding, self.labels, self.span());
    }

    fn span(&self) -> Span {
        self.plan.range.span
    }

    fn evaluate(&self, samples: &Samples, buffers: &mut Buffers, cells: &mut [f64]) -> Result<()> {
        let Self { windows, param, .. } = *self;
        let work = rollup::Work { function: self.plan.function, windows, param, samples };
        rollup::evaluate_in_parts(self.context.cancel(), &work, buffers, cells)
    }

    /// The samples that are numbers.
    fn floats(&self) -> Samples {
        let mut floats = Samples::default();
        for (&timestamp, &value) in self.samples.timestamps.iter().zip(&self.samples.values) {
            if is_float(value) {
                floats.push(timestamp, value);
            }
        }
        floats
    }

    fn histogram(&self, at: usize) -> Option<&Arc<Histogram>> {
        self.samples.histogram(at)
    }

    fn kinds(&self, window: Window) -> Kinds {
        let values = &self.samples.values[window.lo..window.hi];
        let histograms = values.iter().filter(|value| cell::is_histogram(**value)).count();
        match values.len() - histograms {
            _ if histograms == 0 => Kinds::Floats,
            0 => Kinds::Histograms,
            _ => Kinds::Mixed,
        }
    }

    /// A function that only numbers have: of those in the window. If there are others beside them, an annotation says so.
    fn ignore_histograms(&self, buffers: &mut Buffers, cells: &mut [f64]) -> Result<()> {
        let mut floats = self.samples.clone();
        leave_out_histograms(self.context, self.labels, self.span(), self.windows, &mut floats);
        self.evaluate(&floats, buffers, cells)
    }

    /// A function of windows of numbers, and of those of histograms, for which `native` evaluates it. It is also asked for windows
    /// of both.
    fn each_window(
        &self,
        buffers: &mut Buffers,
        cells: &mut [f64],
        native: impl Fn(&Self, Window) -> Result<f64>,
    ) -> Result<()> {
        self.evaluate(&self.floats(), buffers, cells)?;
        let mut outcome = Ok(());
        self.windows.walk(&self.samples.timestamps, |window| {
            if outcome.is_ok() && self.kinds(window) != Kinds::Floats {
                match self.context.check().and_then(|()| native(self, window)) {
                    Ok(value) => cells[window.step] = value,
                    Err(error) => outcome = Err(error),
                }
            }
        });
        outcome
    }

    /// How many neighbours in each window differ in their kind, or, both being histograms, as `counts` says.
    fn transitions(&self, cells: &mut [f64], counts: impl Fn(&Histogram, &Histogram) -> bool) -> Result<()> {
        let is_transition = transitions(self.plan.function, self.samples, counts);
        let cancel = self.context.cancel();
        self.windows.try_walk(cancel, &self.samples.timestamps, |Window { step, lo, hi, .. }| {
            cells[step] = is_transition[lo + 1..hi].iter().filter(|counts| **counts).count() as f64;
            Ok(())
        })
    }

    /// Whether a sample comes after a reset since the one before, for counters.
    fn resets(&self) -> Vec<bool> {
        if self.plan.function == Rollup::Delta {
            return Vec::new();
        }
        let reset = |at: usize| {
            let before = at.checked_sub(1).and_then(|before| self.histogram(before));
            before.zip(self.histogram(at)).is_some_and(|(before, after)| is_reset(after, before))
        };
        (0..self.samples.len()).map(reset).collect()
    }

    /// `sum_over_time` and `avg_over_time`.
    fn total(&self, window: Window) -> Result<f64> {
        if self.kinds(window) == Kinds::Mixed {
            self.found(Finding::MixedWithFloats);
            return Ok(ABSENT);
        }
        let mut total = Total::default();
        let factor = if self.plan.function == Rollup::Avg { MEAN_FACTOR } else { 1.0 };
        for histogram in (window.lo..window.hi).filter_map(|at| self.histogram(at)) {
            if total.add(histogram, factor).is_err() {
                self.found(Finding::MixedSchemas);
                return Ok(ABSENT);
            }
        }
        total.annotate(self.context, self.span());
        let Some(sum) = total.sum else { return Ok(ABSENT) };
        let count = (window.hi - window.lo) as f64;
        self.context.keep(if self.plan.function == Rollup::Avg { sum.mean(count) } else { sum.times(1.0) })
    }

    /// `irate` and `idelta`: the change between the last two samples.
    fn instantaneous(&self, window: Window) -> Result<f64> {
        if window.hi - window.lo < 2 {
            return Ok(ABSENT);
        }
        let per_second = self.plan.function == Rollup::Irate;
        let (before_at, last_at) = (window.hi - 2, window.hi - 1);
        let (timestamps, values) = (&self.samples.timestamps, &self.samples.values);
        let seconds = (timestamps[last_at] - timestamps[before_at]) as f64 / 1e9;
        let (before, last) = match (self.histogram(before_at), self.histogram(last_at)) {
            (Some(before), Some(last)) => (before, last),
            (None, None) => {
                let (before, last) = (values[before_at], values[last_at]);
                let change = if per_second && last < before { last } else { last - before };
                return Ok(if per_second { change / seconds } else { change });
            }
            _ => {
                self.found(Finding::MixedWithFloats);
                return Ok(ABSENT);
            }
        };
        let gauges = [before, last].map(|histogram| histogram.reset_hint == ResetHint::Gauge);
        if per_second && gauges.contains(&true) {
            self.found(Finding::NotACounter);
        }
        if !per_second && gauges.contains(&false) {
            self.found(Finding::NotAGauge);
        }
        let mut change = Sum::of(last, 1.0);
        if !per_second || !is_reset(last, before) {
            match change.add(before, -1.0) {
                Err(Incompatible) => {
                    self.found(Finding::MixedSchemas);
                    return Ok(ABSENT);
                }
                Ok(notes) if notes.bounds_reconciled => {
                    self.context.bounds_reconciled(Doing::Subtraction, self.span());
                }
                Ok(_) => {}
            }
        }
        let change = if per_second { change.over(seconds) } else { change.times(1.0) };
        self.context.keep(Histogram { reset_hint: ResetHint::Gauge, ..change })
    }

    /// `rate`, `increase` and `delta`: the change between the first and the last sample, extrapolated to the window's ends. A counter
    /// is not extrapolated to before its count was zero; single buckets may be.
    fn extrapolated(&self, window: Window, resets: &[bool]) -> Result<f64> {
        if self.kinds(window) == Kinds::Mixed {
            self.found(Finding::MixedWithFloats);
            return Ok(ABSENT);
        }
        let (first, last) = (window.lo, window.hi - 1);
        if first == last {
            return Ok(ABSENT);
        }
        let Ok(change) = self.change(window, resets) else {
            self.found(Finding::MixedSchemas);
            return Ok(ABSENT);
        };
        let timestamps = &self.samples.timestamps;
        let range = self.windows.range_nanos();
        let sampled = (timestamps[last] - timestamps[first]) as f64;
        let counted_before = self.histogram(first).map_or(0.0, |histogram| histogram.count);
        let is_counter = self.plan.function != Rollup::Delta;
        let reaches_zero = is_counter && change.count > 0.0 && counted_before >= 0.0;
        let gaps = Gaps::new(
            sampled,
            last - first,
            (timestamps[first] - window.end.saturating_sub(range)) as f64,
            (window.end - timestamps[last]) as f64,
        );
        let zero_after = if reaches_zero { sampled * (counted_before / change.count) } else { f64::NAN };
        let per_second = if self.plan.function == Rollup::Rate { range as f64 / 1e9 } else { 1.0 };
        self.context.keep(Sum::of(&change, 1.0).times(gaps.factor(zero_after, per_second)))
    }

    /// What was counted between the first and the last of a window's histograms, of which there are two at least.
    fn change(&self, window: Window, resets: &[bool]) -> Result<Histogram, Incompatible> {
        let points: Vec<&Histogram> = (window.lo..window.hi)
            .filter_map(|at| self.histogram(at))
            .map(|histogram| &**histogram)
            .collect();
        let [first, middle @ .., last] = points.as_slice() else { return Err(Incompatible) };
        let is_counter = self.plan.function != Rollup::Delta;
        let is_gauge = |histogram: &Histogram| histogram.reset_hint == ResetHint::Gauge;
        // With a reset between the first two nothing of the first is needed, so it may have any buckets.
        let starts_anew = is_counter && resets[window.lo + 1];
        let compared = if starts_anew { &points[1..] } else { &points[..] };
        let relevant = || {
            compared
                .iter()
                .filter(|_| is_counter)
                .chain([first, last].into_iter().skip(usize::from(starts_anew)))
        };
        if relevant().any(|histogram| histogram.has_custom_buckets() != last.has_custom_buckets()) {
            return Err(Incompatible);
        }
        let mut notes = Notes::default();
        let mut change = Sum::of(last, 1.0);
        change.coarsen(relevant().map(|histogram| histogram.schema).min().unwrap_or(last.schema));
        if !starts_anew {
            notes.merge(change.add(first, -1.0)?);
        }
        if notes.bounds_reconciled {
            self.context.bounds_reconciled(Doing::Subtraction, self.span());
        }
        let mut notes = Notes::default();
        for at in (window.lo + 2..window.hi).filter(|at| is_counter && resets[*at]) {
            notes.merge(change.add(points[at - 1 - window.lo], 1.0)?);
        }
        if notes.bounds_reconciled {
            self.context.bounds_reconciled(Doing::Addition, self.span());
        }
        if is_counter && (is_gauge(first) || is_gauge(last) || middle.iter().any(|point| is_gauge(point))) {
            self.found(Finding::NotACounter);
        }
        let ends_are_gauges = is_gauge(first) && is_gauge(last);
        if !is_counter && !ends_are_gauges {
            self.found(Finding::NotAGauge);
        }
        Ok(Histogram { reset_hint: ResetHint::Gauge, ..change.times(1.0) })
    }
}

/// Whether each sample differs from the one before in its kind, or, both being numbers, as `function` looks at them, or, both being
/// histograms, as `counts` says.
pub(super) fn transitions(
    function: Rollup,
    samples: &Samples,
    counts: impl Fn(&Histogram, &Histogram) -> bool,
) -> Vec<bool> {
    let values = &samples.values;
    let floats_count = |before: f64, after: f64| match function {
        Rollup::Resets => after < before,
        _ => after != before && !(after.is_nan() && before.is_nan()),
    };
    let is_transition = |at: usize| {
        let Some(before) = at.checked_sub(1) else { return false };
        match (samples.histogram(before), samples.histogram(at)) {
            (Some(a), Some(b)) => counts(a, b),
            (None, None) => floats_count(values[before], values[at]),
            _ => true,
        }
    };
    (0..values.len()).map(is_transition).collect()
}

/// What the samples of a window are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kinds {
    Floats,
    Histograms,
    Mixed,
}

/// A sum of histograms, and what is to be said about it.
#[derive(Clone, Debug, Default)]
pub(in crate::exec) struct Total {
    pub(in crate::exec) sum: Option<Sum>,
    reset_seen: bool,
    no_reset_seen: bool,
    bounds_reconciled: bool,
}

impl Total {
    pub(in crate::exec) fn add(&mut self, histogram: &Histogram, factor: f64) -> Result<(), Incompatible> {
        self.reset_seen |= histogram.reset_hint == ResetHint::Reset;
        self.no_reset_seen |= histogram.reset_hint == ResetHint::NotReset;
        match &mut self.sum {
            None => self.sum = Some(Sum::of(histogram, factor)),
            Some(sum) => self.bounds_reconciled |= sum.add(histogram, factor)?.bounds_reconciled,
        }
        Ok(())
    }

    pub(in crate::exec) fn merge(&mut self, other: &Self) -> Result<(), Incompatible> {
        self.reset_seen |= other.reset_seen;
        self.no_reset_seen |= other.no_reset_seen;
        self.bounds_reconciled |= other.bounds_reconciled;
        match (&mut self.sum, &other.sum) {
            (Some(sum), Some(other)) => self.bounds_reconciled |= sum.merge(other.clone())?.bounds_reconciled,
            (sum @ None, other) => sum.clone_from(other),
            (Some(_), None) => {}
        }
        Ok(())
    }

    pub(in crate::exec) fn annotate(&self, context: &Context<'_>, span: Span) {
        if self.reset_seen && self.no_reset_seen {
            context.conflicting_resets(Doing::Aggregation, span);
        }
        if self.bounds_reconciled {
            context.bounds_reconciled(Doing::Aggregation, span);
        }
    }
}
