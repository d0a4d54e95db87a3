//! Anchored and smoothed windows, and smoothed selectors, of samples of which some are histograms.

use std::ops::Range;
use std::sync::Arc;

use timberline_engine::histogram::cell;
use timberline_engine::{Histogram, Labels, ResetHint, Samples};

use super::notes::{Doing, Finding};
use super::rollup::transitions;
use crate::ast::Span;
use crate::error::Result;
use crate::exec::context::Context;
use crate::histogram::{Incompatible, Notes, Sum, is_reset, same};
use crate::plan::Rollup;

/// A series whose values between samples are on a line.
pub(in crate::exec) struct Line<'a> {
    pub(in crate::exec) context: &'a Context<'a>,
    /// Its labels, for annotations.
    pub(in crate::exec) labels: &'a Labels,
    pub(in crate::exec) span: Span,
    pub(in crate::exec) samples: &'a Samples,
}

impl Line<'_> {
    fn found(&self, finding: Finding) {
        self.context.found(finding, self.labels, self.span);
    }

    /// Notes that a window, or what is around it, has both kinds of samples.
    pub(in crate::exec) fn found_mixed(&self) {
        self.found(Finding::MixedWithFloats);
    }

    /// Whether one of the samples is a histogram.
    pub(in crate::exec) fn has_histogram(&self, samples: Range<usize>) -> bool {
        self.samples.values[samples].iter().any(|value| cell::is_histogram(*value))
    }

    /// The histogram at `time` between the samples `before` and the next. A counter that was reset between them began at zero.
    fn interpolate(&self, before: usize, time: i64, is_counter: bool) -> Result<Sum, Incompatible> {
        let (Some(from), Some(to)) = (self.samples.histogram(before), self.samples.histogram(before + 1))
        else {
            return Err(Incompatible);
        };
        if from.has_custom_buckets() != to.has_custom_buckets() {
            return Err(Incompatible);
        }
        let (start, end) = (self.samples.timestamps[before], self.samples.timestamps[before + 1]);
        let part = time.saturating_sub(start) as f64 / end.saturating_sub(start) as f64;
        if is_counter && is_reset(to, from) {
            return Ok(Sum::of(to, part));
        }
        let mut sum = Sum::of(from, 1.0 - part);
        sum.add(to, part)?;
        Ok(sum)
    }

    /// `selector smoothed`: the value at `time`, which is between the samples `before` and the next.
    pub(in crate::exec) fn at(&self, before: usize, time: i64) -> Result<Option<f64>> {
        let (Some(from), Some(to)) = (self.samples.histogram(before), self.samples.histogram(before + 1))
        else {
            return Ok(None);
        };
        let is_counter = ![from, to].iter().any(|histogram| histogram.reset_hint == ResetHint::Gauge);
        match self.interpolate(before, time, is_counter) {
            Ok(sum) => self.context.keep(sum.times(1.0)).map(Some),
            Err(Incompatible) => {
                self.found(Finding::MixedSchemas);
                Ok(None)
            }
        }
    }

    /// The sample itself.
    pub(in crate::exec) fn sample(&self, at: usize) -> Result<f64> {
        match self.samples.histogram(at) {
            Some(histogram) => self.context.keep_shared(histogram),
            None => Ok(self.samples.values[at]),
        }
    }
}

/// A function of a line's windows.
pub(in crate::exec) struct Extended<'a> {
    line: Line<'a>,
    function: Rollup,
    /// Whether each sample comes after a reset, or differs from the one before.
    marked: Vec<bool>,
}

/// The samples that a window looks at, and where it begins and ends.
#[derive(Clone, Debug)]
pub(in crate::exec) struct Edges {
    pub(in crate::exec) samples: Range<usize>,
    pub(in crate::exec) start: i64,
    pub(in crate::exec) end: i64,
    /// Whether the values at the edges are interpolated; else they are those of the samples.
    pub(in crate::exec) smoothed: bool,
    /// What the change is divided by.
    pub(in crate::exec) seconds: f64,
}

impl<'a> Extended<'a> {
    pub(in crate::exec) fn new(line: Line<'a>, function: Rollup) -> Self {
        let marked = match function {
            Rollup::Changes => transitions(function, line.samples, |before, after| !same(after, before)),
            Rollup::Delta => Vec::new(),
            // What is a reset does not depend on the function: two kinds meet in none but `resets`.
            _ => transitions(Rollup::Resets, line.samples, |before, after| is_reset(after, before)),
        };
        Self { line, function, marked }
    }

    pub(in crate::exec) fn line(&self) -> &Line<'a> {
        &self.line
    }

    /// The value of a window that looks at one histogram at least.
    pub(in crate::exec) fn value(&self, edges: &Edges) -> Result<Option<f64>> {
        let (first, last) = (edges.samples.start, edges.samples.end - 1);
        let timestamps = &self.line.samples.timestamps;
        if timestamps[last] <= edges.start || timestamps[first] > edges.end {
            return Ok(None);
        }
        if matches!(self.function, Rollup::Changes | Rollup::Resets) {
            return Ok(Some(self.marked[first + 1..=last].iter().filter(|marked| **marked).count() as f64));
        }
        let points: Vec<&Arc<Histogram>> =
            edges.samples.clone().filter_map(|at| self.line.samples.histogram(at)).collect();
        if points.len() < edges.samples.len() {
            self.line.found(Finding::MixedWithFloats);
            return Ok(None);
        }
        let Ok(change) = self.change(edges, &points) else {
            self.line.found(Finding::MixedSchemas);
            return Ok(None);
        };
        self.annotate_kind(&points);
        let change = Histogram { reset_hint: ResetHint::Gauge, ..change.over(edges.seconds) };
        self.line.context.keep(change).map(Some)
    }

    fn is_counter(&self) -> bool {
        self.function != Rollup::Delta
    }

    fn annotate_kind(&self, points: &[&Arc<Histogram>]) {
        let is_gauge = |point: &&Arc<Histogram>| point.reset_hint == ResetHint::Gauge;
        if self.is_counter() && points.iter().any(is_gauge) {
            self.line.found(Finding::NotACounter);
        }
        if !self.is_counter() && ![points.first(), points.last()].into_iter().flatten().all(is_gauge) {
            self.line.found(Finding::NotAGauge);
        }
    }

    /// The change between the values at the edges; of a counter also what was counted before resets.
    fn change(&self, edges: &Edges, points: &[&Arc<Histogram>]) -> Result<Sum, Incompatible> {
        let (first, last) = (edges.samples.start, edges.samples.end - 1);
        let timestamps = &self.line.samples.timestamps;
        let custom = |point: &&Arc<Histogram>| point.has_custom_buckets();
        if points.iter().any(|point| custom(point) != custom(&points[0])) {
            return Err(Incompatible);
        }
        let from_line = edges.smoothed && timestamps[first] < edges.start;
        let to_line = edges.smoothed && last > first && timestamps[last] > edges.end;
        let left = if from_line {
            self.line.interpolate(first, edges.start, self.is_counter())?
        } else {
            Sum::of(points[0], 1.0)
        };
        let mut change = if to_line {
            self.line.interpolate(last - 1, edges.end, self.is_counter())?
        } else {
            Sum::of(points[last - first], 1.0)
        };
        if change.merge(left.negated())?.bounds_reconciled {
            self.line.context.bounds_reconciled(Doing::Subtraction, self.line.span);
        }
        if !self.is_counter() {
            return Ok(change);
        }
        // An interpolated value after a reset began at zero: there is nothing to add between it and the next sample.
        let compared = first + 1 + usize::from(from_line)..=last;
        let mut notes = Notes::default();
        for at in compared.filter(|at| self.marked[*at]) {
            notes.merge(change.add(points[at - 1 - first], 1.0)?);
        }
        if notes.bounds_reconciled {
            self.line.context.bounds_reconciled(Doing::Addition, self.line.span);
        }
        Ok(change)
    }
}
