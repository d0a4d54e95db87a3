//! Native histograms in an evaluation.
//!
//! A cell whose sample is a histogram names it ([`cell`]), as in the engine's columns, but by its place in one list for the whole
//! query ([`list`]): so rows are moved, filtered and joined without a look at what their cells are. What computes with cells
//! takes histograms out first; as long as a query has met none, that costs one comparison.

mod aggregate;
mod binary;
mod extended;
mod list;
mod notes;
mod rollup;
mod select;

use std::sync::Arc;

pub(super) use timberline_engine::Histogram;
use timberline_engine::histogram::cell;

use super::context::Context;
use super::row::{ABSENT, Row, is_present};
use crate::error::Result;
use crate::histogram::{average, variance};

pub(super) use aggregate::{Kind as AggregateKind, Native};
pub(super) use binary::{Operand, Operation, operate, scale};
pub(super) use extended::{Edges, Extended, Line};
pub(super) use list::List;
pub(super) use notes::Finding;
pub(super) use rollup::{Request as RollupRequest, rollup};
pub(super) use select::{adopt, forget_hints, keep_statistics, leave_out_histograms};

impl<'q> Context<'q> {
    /// Puts a histogram into the query's list: the cell that names it.
    pub(super) fn keep(&self, histogram: Histogram) -> Result<f64> {
        self.keep_shared(&Arc::new(histogram))
    }

    /// The same for a histogram that others hold, too.
    pub(super) fn keep_shared(&self, histogram: &Arc<Histogram>) -> Result<f64> {
        let sides = [&histogram.positive, &histogram.negative];
        let buckets: usize = sides.iter().map(|side| side.spans.len() + side.counts.len()).sum();
        self.charge_kept_bytes(size_of::<Histogram>() + buckets * size_of::<f64>())?;
        Ok(self.histograms.add(Arc::clone(histogram)))
    }

    /// The histogram that `value` names, if it is one.
    #[inline]
    pub(super) fn histogram(&self, value: f64) -> Option<&Arc<Histogram>> {
        self.histograms.get(cell::histogram_place(value)?)
    }

    /// Whether a cell may be a histogram.
    #[inline]
    pub(super) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// Whether one of `cells` is a histogram.
    pub(super) fn any_histogram(&self, cells: &[f64]) -> bool {
        self.has_histograms() && cells.iter().any(|&value| cell::is_histogram(value))
    }

    /// Takes the histograms out of `cells`, each with its step.
    pub(super) fn take_histograms(&self, cells: &mut [f64]) -> Vec<(usize, &Arc<Histogram>)> {
        if !self.has_histograms() {
            return Vec::new();
        }
        let histograms = cells.iter_mut().enumerate().filter_map(|(step, value)| {
            let histogram = self.histogram(*value)?;
            *value = ABSENT;
            Some((step, histogram))
        });
        histograms.collect()
    }

    /// The rows without their histograms, and whether there were any.
    pub(super) fn without_histograms(&self, mut rows: Vec<Row>) -> (Vec<Row>, bool) {
        let mut any = false;
        if self.has_histograms() {
            for row in &mut rows {
                any |= !self.take_histograms(&mut row.values).is_empty();
            }
            rows.retain(|row| !row.is_empty());
        }
        (rows, any)
    }
}

/// Whether `value` is a sample, and not a histogram.
#[inline]
pub(super) fn is_float(value: f64) -> bool {
    is_present(value) && !cell::is_histogram(value)
}

/// A number that describes a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    Average,
    Count,
    Deviation,
    Sum,
    Variance,
}

impl Statistic {
    /// The statistic of a function's name, as `histogram_count`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "histogram_avg" => Self::Average,
            "histogram_count" => Self::Count,
            "histogram_stddev" => Self::Deviation,
            "histogram_stdvar" => Self::Variance,
            "histogram_sum" => Self::Sum,
            _ => return None,
        })
    }

    /// Whether the buckets do not matter for it.
    pub(crate) fn needs_no_buckets(self) -> bool {
        matches!(self, Self::Average | Self::Count | Self::Sum)
    }

    pub(super) fn of(self, histogram: &Histogram) -> f64 {
        match self {
            Self::Average => average(histogram),
            Self::Count => histogram.count,
            Self::Deviation => variance(histogram).sqrt(),
            Self::Sum => histogram.sum,
            Self::Variance => variance(histogram),
        }
    }
}
