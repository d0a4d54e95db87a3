//! Aggregations. Those with an accumulator of fixed size add up rows as a pipeline computes them, per thread and group, and
//! merge the partial results; the others need the rows.

mod accumulator;
mod count_values;
mod groups;
mod limit;
mod rank;

use hashbrown::HashMap;
use rayon::prelude::*;
use timberline_engine::Labels;

use super::context::Context;
use super::eval::Evaluator;
use super::native::{self, Native};
use super::pipeline::{Pipeline, Scratch, annotate_invalid_quantiles};
use super::rollup::quantile_of;
use super::row::{ABSENT, Row, is_present};
use crate::ast::{Grouping, Span};
use crate::error::{QueryError, Result};
use crate::plan::{AggregateKind, AggregatePlan, FoldOp};
use accumulator::{Accumulator, Average, Count, Deviation, Largest, Presence, Smallest, Total, Variance};
use groups::Groups;

pub(super) use rank::rank_order;

/// Fewer rows than this are not worth a task of their own.
const TASK_ROWS_MIN: usize = 16;
/// Tasks per thread: enough that a slow one does not make the others wait.
const TASKS_PER_THREAD: usize = 4;

pub(super) fn evaluate<'q>(evaluator: &Evaluator<'q>, plan: &'q AggregatePlan) -> Result<Vec<Row>> {
    let (grouping, span) = (&plan.grouping, plan.input_span);
    let floats = |aggregation: &str| {
        let (rows, any_histogram) = evaluator.context.without_histograms(evaluator.rows(&plan.input)?);
        if any_histogram {
            evaluator.context.ignored_in_aggregation(aggregation, span);
        }
        Ok::<_, QueryError>(rows)
    };
    match &plan.kind {
        AggregateKind::Fold(op) => fold(*op, &evaluator.pipeline(&plan.input)?, grouping, span),
        AggregateKind::Rank { bottom, k } => {
            let counts = rank::counts(&evaluator.scalar(k)?)?;
            rank::evaluate(floats(if *bottom { "bottomk" } else { "topk" })?, *bottom, &counts, grouping)
        }
        AggregateKind::Quantile { quantile, span } => {
            let quantiles = evaluator.scalar(quantile)?;
            annotate_extreme_quantiles(evaluator.context, &quantiles, *span);
            let rows = floats("quantile")?;
            evaluate_quantile(evaluator, &quantiles, &rows, grouping)
        }
        AggregateKind::Limit { k } => {
            let counts = rank::counts(&evaluator.scalar(k)?)?;
            Ok(limit::first(evaluator.rows(&plan.input)?, &counts, grouping))
        }
        AggregateKind::LimitRatio { ratio, span } => {
            let ratios = evaluator.scalar(ratio)?;
            limit::ratio(evaluator.context, evaluator.rows(&plan.input)?, &ratios, *span)
        }
        AggregateKind::CountValues { label } => {
            count_values::evaluate(evaluator, &evaluator.rows(&plan.input)?, label, grouping)
        }
    }
}

/// Whether the input has a sample at each step.
pub(super) fn presence(pipeline: &Pipeline<'_>) -> Result<Vec<bool>> {
    let rows = fold(FoldOp::Group, pipeline, &Grouping::default(), Span::default())?;
    let mut present = vec![false; pipeline.steps()];
    for row in rows {
        present.iter_mut().zip(row.values).for_each(|(present, value)| *present |= is_present(value));
    }
    Ok(present)
}

fn fold(op: FoldOp, pipeline: &Pipeline<'_>, grouping: &Grouping, span: Span) -> Result<Vec<Row>> {
    let fold = Fold { pipeline, native: native::AggregateKind::of(op), span };
    match op {
        FoldOp::Sum => fold_with::<Total>(&fold, grouping),
        FoldOp::Avg => fold_with::<Average>(&fold, grouping),
        FoldOp::Count => fold_with::<Count>(&fold, grouping),
        FoldOp::Min => fold_with::<Smallest>(&fold, grouping),
        FoldOp::Max => fold_with::<Largest>(&fold, grouping),
        FoldOp::Group => fold_with::<Presence>(&fold, grouping),
        FoldOp::Stddev => fold_with::<Deviation>(&fold, grouping),
        FoldOp::Stdvar => fold_with::<Variance>(&fold, grouping),
    }
}

/// What is folded, and what becomes of native histograms in it.
struct Fold<'a> {
    pipeline: &'a Pipeline<'a>,
    native: native::AggregateKind,
    span: Span,
}

/// One group's accumulators, one per step.
struct Partial<A> {
    accumulators: Vec<A>,
    histograms: Option<Native>,
    /// The name goes when it goes from any of the group's series.
    drop_name: bool,
}

impl<A: Accumulator> Partial<A> {
    fn merge(&mut self, other: &Self, fold: &Fold<'_>, labels: &Labels) {
        self.drop_name |= other.drop_name;
        let context = fold.pipeline.context();
        Native::merge(&mut self.histograms, context, other.histograms.as_ref(), labels, fold.span);
        self.accumulators.iter_mut().zip(&other.accumulators).for_each(|(a, b)| a.merge(b));
    }
}

fn fold_with<A: Accumulator>(fold: &Fold<'_>, grouping: &Grouping) -> Result<Vec<Row>> {
    let pipeline = fold.pipeline;
    let groups = Groups::of(pipeline.len(), |at| pipeline.labels(at), grouping);
    let tasks = rayon::current_num_threads() * TASKS_PER_THREAD;
    let task_rows = pipeline.len().div_ceil(tasks).max(TASK_ROWS_MIN);
    let starts: Vec<usize> = (0..pipeline.len()).step_by(task_rows).collect();
    let partials: Result<Vec<_>> = starts
        .into_par_iter()
        .map(|start| fold_rows::<A>(fold, &groups, start..pipeline.len().min(start + task_rows)))
        .collect();
    // In the order of the rows, so that the same query gives the same bits each time.
    let mut merged: Vec<Option<Partial<A>>> = (0..groups.len()).map(|_| None).collect();
    for (group, partial) in partials?.into_iter().flatten() {
        match &mut merged[group as usize] {
            Some(known) => known.merge(&partial, fold, groups.labels(group)),
            empty => *empty = Some(partial),
        }
    }
    let mut rows = Vec::with_capacity(merged.len());
    for (partial, labels) in merged.into_iter().zip(groups.into_labels()) {
        let Some(Partial { accumulators, histograms, drop_name }) = partial else { continue };
        let mut values: Vec<f64> = accumulators.iter().map(Accumulator::value).collect();
        if let Some(histograms) = histograms {
            histograms.finish(pipeline.context(), fold.native, &mut values, fold.span)?;
        }
        rows.push(Row { labels, drop_name, values });
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

fn fold_rows<A: Accumulator>(
    fold: &Fold<'_>,
    groups: &Groups,
    rows: std::ops::Range<usize>,
) -> Result<Vec<(u32, Partial<A>)>> {
    let pipeline = fold.pipeline;
    let mut scratch = Scratch::default();
    let mut cells = vec![ABSENT; pipeline.steps()];
    let mut partials: Vec<(u32, Partial<A>)> = Vec::new();
    let mut by_group: HashMap<u32, usize, foldhash::fast::RandomState> = HashMap::default();
    for at in rows {
        if !pipeline.fill(at, &mut scratch, &mut cells)? {
            continue;
        }
        let group = groups.of_row(at);
        let slot = match by_group.get(&group) {
            Some(&slot) => slot,
            None => {
                pipeline.context().charge_points(size_of::<A>().div_ceil(size_of::<f64>()), cells.len())?;
                let accumulators = vec![A::default(); cells.len()];
                partials.push((group, Partial { accumulators, histograms: None, drop_name: false }));
                by_group.insert(group, partials.len() - 1);
                partials.len() - 1
            }
        };
        let partial = &mut partials[slot].1;
        partial.drop_name |= pipeline.drop_name(at);
        let (context, labels) = (pipeline.context(), pipeline.labels(at));
        Native::take(&mut partial.histograms, context, fold.native, &mut cells, labels, fold.span);
        for (accumulator, &value) in partial.accumulators.iter_mut().zip(&cells) {
            if is_present(value) {
                accumulator.add(value);
            }
        }
    }
    Ok(partials)
}

/// Warns of the smallest and the largest quantile that is not one, and of NaN.
fn annotate_extreme_quantiles(context: &Context<'_>, quantiles: &[f64], span: Span) {
    let smallest = quantiles.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = quantiles.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let nan = quantiles.iter().copied().find(|quantile| quantile.is_nan());
    let invalid: Vec<f64> = nan
        .into_iter()
        .chain(Some(largest).filter(|&largest| largest > 1.0))
        .chain(Some(smallest).filter(|&smallest| smallest < 0.0))
        .collect();
    annotate_invalid_quantiles(context, &invalid, span);
}

fn evaluate_quantile(
    evaluator: &Evaluator<'_>,
    quantiles: &[f64],
    rows: &[Row],
    grouping: &Grouping,
) -> Result<Vec<Row>> {
    let groups = Groups::of(rows.len(), |at| &rows[at].labels, grouping);
    let members = groups.members();
    evaluator.context.charge_points(members.len(), quantiles.len())?;
    let results = members.into_par_iter().zip(groups.into_labels()).map(|(members, labels)| {
        evaluator.context.check()?;
        let values = (0..quantiles.len())
            .into_par_iter()
            .with_min_len(TASK_ROWS_MIN)
            .map_init(Vec::new, |ordered, step| {
                ordered.clear();
                ordered.extend(
                    members.iter().map(|&at| rows[at].values[step]).filter(|&value| is_present(value)),
                );
                if ordered.is_empty() { ABSENT } else { quantile_of(quantiles[step], ordered) }
            })
            .collect();
        let drop_name = members.iter().any(|&at| rows[at].drop_name);
        Ok(Row { labels, drop_name, values })
    });
    results.collect()
}
