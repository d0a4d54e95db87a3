//! Histograms in aggregations with accumulators.

use timberline_engine::{Histogram, Labels};

use super::notes::Finding;
use super::rollup::Total;
use crate::ast::Span;
use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::row::{ABSENT, is_present};
use crate::histogram::{Incompatible, MEAN_FACTOR};
use crate::plan::FoldOp;

/// What an aggregation does with histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exec) enum Kind {
    /// It only counts samples.
    Counts,
    /// It leaves them out.
    Ignores(&'static str),
    /// It adds them up.
    Sums,
    /// It averages them.
    Averages,
}

impl Kind {
    pub(in crate::exec) fn of(op: FoldOp) -> Self {
        match op {
            FoldOp::Count | FoldOp::Group => Self::Counts,
            FoldOp::Min => Self::Ignores("min"),
            FoldOp::Max => Self::Ignores("max"),
            FoldOp::Stddev => Self::Ignores("stddev"),
            FoldOp::Stdvar => Self::Ignores("stdvar"),
            FoldOp::Sum => Self::Sums,
            FoldOp::Avg => Self::Averages,
        }
    }
}

/// The histograms of one group, per step.
#[derive(Clone, Debug, Default)]
pub(in crate::exec) struct Native {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Default)]
struct Step {
    total: Total,
    count: f64,
    /// Exponential and custom buckets met: there is no result.
    incompatible: bool,
}

impl Step {
    fn settle(&mut self, outcome: Result<(), Incompatible>) -> bool {
        let failed = outcome.is_err();
        self.incompatible |= failed;
        failed
    }
}

impl Native {
    /// Adds the histograms of one row, if the aggregation has a use for them. What is left in `cells` is for the accumulators.
    pub(in crate::exec) fn take(
        native: &mut Option<Self>,
        context: &Context<'_>,
        kind: Kind,
        cells: &mut [f64],
        labels: &Labels,
        span: Span,
    ) {
        if kind == Kind::Counts || !context.has_histograms() {
            return;
        }
        let taken = context.take_histograms(cells);
        if taken.is_empty() {
            return;
        }
        if let Kind::Ignores(aggregation) = kind {
            context.ignored_in_aggregation(aggregation, span);
            return;
        }
        let factor = if kind == Kind::Averages { MEAN_FACTOR } else { 1.0 };
        let native = native.get_or_insert_default();
        native.steps.resize(cells.len(), Step::default());
        for (step, histogram) in taken {
            native.add(context, step, histogram, factor, labels, span);
        }
    }

    fn add(
        &mut self,
        context: &Context<'_>,
        step: usize,
        histogram: &Histogram,
        factor: f64,
        labels: &Labels,
        span: Span,
    ) {
        let step = &mut self.steps[step];
        step.count += 1.0;
        if !step.incompatible {
            let outcome = step.total.add(histogram, factor);
            if step.settle(outcome) {
                context.found(Finding::MixedSchemas, labels, span);
            }
        }
    }

    /// Adds those of the same group from other rows. `labels` are of one of the rows.
    pub(in crate::exec) fn merge(
        native: &mut Option<Self>,
        context: &Context<'_>,
        other: Option<&Self>,
        labels: &Labels,
        span: Span,
    ) {
        let Some(other) = other else { return };
        let native = native.get_or_insert_default();
        native.steps.resize(other.steps.len(), Step::default());
        for (step, other) in native.steps.iter_mut().zip(&other.steps) {
            step.count += other.count;
            step.incompatible |= other.incompatible;
            if !step.incompatible {
                let outcome = step.total.merge(&other.total);
                if step.settle(outcome) {
                    context.found(Finding::MixedSchemas, labels, span);
                }
            }
        }
    }

    /// Sets the cells of the steps that had histograms. There is no result for both kinds together.
    pub(in crate::exec) fn finish(
        self,
        context: &Context<'_>,
        kind: Kind,
        cells: &mut [f64],
        span: Span,
    ) -> Result<()> {
        for (value, step) in cells.iter_mut().zip(self.steps) {
            if step.count == 0.0 {
                continue;
            }
            if is_present(*value) {
                context.mixed_aggregation(span);
                *value = ABSENT;
                continue;
            }
            step.total.annotate(context, span);
            let Some(sum) = step.total.sum.filter(|_| !step.incompatible) else { continue };
            let result = if kind == Kind::Averages { sum.mean(step.count) } else { sum.times(1.0) };
            *value = context.keep(result)?;
        }
        Ok(())
    }
}
