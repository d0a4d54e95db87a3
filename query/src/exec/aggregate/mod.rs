//! Aggregations. Those with an accumulator of fixed size add up rows as a pipeline computes them, per thread and group, and
//! merge the partial results; the others need the rows.

mod accumulator;
mod count_values;
mod groups;
mod limit;
mod rank;

use hashbrown::HashMap;
use timberline_engine::{Labels, WantedLabels};

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
        AggregateKind::Fold(op) => {
            let names = groups::needed_labels(grouping);
            let labels = names.as_deref().map_or(WantedLabels::All, WantedLabels::Named);
            fold(*op, &evaluator.pipeline_with(&plan.input, labels)?, grouping, span)
        }
        AggregateKind::Rank { bottom, k } => {
            let counts = rank::counts(&evaluator.scalar(k)?)?;
            let rows = floats(if *bottom { "bottomk" } else { "topk" })?;
            let context = evaluator.context;
            rank::evaluate(rows, *bottom, &counts, grouping, context.threads, context.cancel())
        }
        AggregateKind::Quantile { quantile, span } => {
            let quantiles = evaluator.scalar(quantile)?;
            annotate_extreme_quantiles(evaluator.context, &quantiles, *span)?;
            let rows = floats("quantile")?;
            evaluate_quantile(evaluator, &quantiles, &rows, grouping)
        }
        AggregateKind::Limit { k } => {
            let counts = rank::counts(&evaluator.scalar(k)?)?;
            limit::first(evaluator.context.cancel(), evaluator.rows(&plan.input)?, &counts, grouping)
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

/// What a group has besides its accumulators.
#[derive(Default)]
struct Partial {
    histograms: Option<Native>,
    /// The name goes when it goes from any of the group's series.
    drop_name: bool,
}

/// The accumulators of groups, one for each step.
struct Accumulators<A> {
    steps: usize,
    /// Those of one group behind those of another.
    all: Vec<A>,
}

impl<A: Accumulator> Accumulators<A> {
    fn of(&self, slot: usize) -> &[A] {
        &self.all[slot * self.steps..][..self.steps]
    }

    fn of_mut(&mut self, slot: usize) -> &mut [A] {
        &mut self.all[slot * self.steps..][..self.steps]
    }

    /// Makes room for `groups` groups more.
    fn add(&mut self, groups: usize, context: &Context<'_>) -> Result<()> {
        context.charge_points(groups * size_of::<A>().div_ceil(size_of::<f64>()), self.steps)?;
        self.all.resize(self.all.len() + groups * self.steps, A::default());
        Ok(())
    }
}

fn fold_with<A: Accumulator>(fold: &Fold<'_>, grouping: &Grouping) -> Result<Vec<Row>> {
    let (pipeline, steps) = (fold.pipeline, fold.pipeline.steps());
    let context = pipeline.context();
    let groups = Groups::of(context.cancel(), pipeline.len(), |at| pipeline.labels(at), grouping)?;
    let begin = |_| Folded::<A>::new(steps);
    let tasks = context.threads.fold(pipeline.len(), begin, |task, at| task.take(fold, &groups, at))?;
    // In the order of the rows, so that the same query gives the same bits each time.
    let mut merged: Vec<Option<Partial>> = (0..groups.len()).map(|_| None).collect();
    let mut accumulators = Accumulators::<A> { steps, all: Vec::new() };
    accumulators.add(groups.len(), context)?;
    for task in tasks {
        for (slot, (group, partial)) in task.partials.into_iter().enumerate() {
            let (own, all) = (task.accumulators.of(slot), accumulators.of_mut(group as usize));
            match &mut merged[group as usize] {
                Some(known) => {
                    known.drop_name |= partial.drop_name;
                    let (labels, histograms) = (groups.labels(group), partial.histograms.as_ref());
                    Native::merge(&mut known.histograms, context, histograms, labels, fold.span);
                    all.iter_mut().zip(own).for_each(|(all, own)| all.merge(own));
                }
                empty => {
                    *empty = Some(partial);
                    all.clone_from_slice(own);
                }
            }
        }
    }
    let mut rows = Vec::with_capacity(merged.len());
    for (group, (partial, labels)) in merged.into_iter().zip(groups.into_labels()).enumerate() {
        let Some(Partial { histograms, drop_name }) = partial else { continue };
        let mut values: Vec<f64> = accumulators.of(group).iter().map(Accumulator::value).collect();
        if let Some(histograms) = histograms {
            histograms.finish(context, fold.native, &mut values, fold.span)?;
        }
        rows.push(Row { labels, drop_name, values });
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

/// The rows of one task, folded so far.
struct Folded<A> {
    scratch: Scratch,
    cells: Vec<f64>,
    /// The groups, each with the accumulators at its place here.
    partials: Vec<(u32, Partial)>,
    accumulators: Accumulators<A>,
    by_group: HashMap<u32, usize, foldhash::fast::RandomState>,
}

impl<A: Accumulator> Folded<A> {
    fn new(steps: usize) -> Self {
        Self {
            scratch: Scratch::default(),
            cells: vec![ABSENT; steps],
            partials: Vec::new(),
            accumulators: Accumulators { steps, all: Vec::new() },
            by_group: HashMap::default(),
        }
    }

    /// Computes row `at` and adds it to its group.
    fn take(&mut self, fold: &Fold<'_>, groups: &Groups, at: usize) -> Result<()> {
        let Self { scratch, cells, partials, accumulators, by_group } = self;
        let (pipeline, context) = (fold.pipeline, fold.pipeline.context());
        if !pipeline.fill(at, scratch, cells)? {
            return Ok(());
        }
        let group = groups.of_row(at);
        let slot = match by_group.get(&group) {
            Some(&slot) => slot,
            None => {
                accumulators.add(1, context)?;
                partials.push((group, Partial::default()));
                by_group.insert(group, partials.len() - 1);
                partials.len() - 1
            }
        };
        let partial = &mut partials[slot].1;
        partial.drop_name |= pipeline.drop_name(at);
        Native::take(&mut partial.histograms, context, fold.native, cells, pipeline.labels(at), fold.span);
        for (accumulator, &value) in accumulators.of_mut(slot).iter_mut().zip(cells.iter()) {
            if is_present(value) {
                accumulator.add(value);
            }
        }
        Ok(())
    }
}

/// Warns of the smallest and the largest quantile that is not one, and of NaN.
fn annotate_extreme_quantiles(context: &Context<'_>, quantiles: &[f64], span: Span) -> Result<()> {
    let smallest = quantiles.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = quantiles.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let nan = quantiles.iter().copied().find(|quantile| quantile.is_nan());
    let invalid: Vec<f64> = nan
        .into_iter()
        .chain(Some(largest).filter(|&largest| largest > 1.0))
        .chain(Some(smallest).filter(|&smallest| smallest < 0.0))
        .collect();
    annotate_invalid_quantiles(context, &invalid, span)
}

fn evaluate_quantile(
    evaluator: &Evaluator<'_>,
    quantiles: &[f64],
    rows: &[Row],
    grouping: &Grouping,
) -> Result<Vec<Row>> {
    let groups = Groups::of(evaluator.context.cancel(), rows.len(), |at| &rows[at].labels, grouping)?;
    let (members, steps, context) = (groups.members(), quantiles.len(), evaluator.context);
    context.charge_points(members.len(), 2 * steps)?;
    let cells = context.threads.map(members.len() * steps, Vec::new, |ordered, at| {
        let (group, step) = (at / steps, at % steps);
        context.check()?;
        ordered.clear();
        ordered.extend(
            members[group].iter().map(|&at| rows[at].values[step]).filter(|&value| is_present(value)),
        );
        Ok(if ordered.is_empty() { ABSENT } else { quantile_of(quantiles[step], ordered) })
    })?;
    let results = members.iter().zip(groups.into_labels()).zip(cells.chunks(steps.max(1)));
    let result = |((members, labels), cells): ((&Vec<usize>, Labels), &[f64])| {
        let drop_name = members.iter().any(|&at| rows[at].drop_name);
        Row { labels, drop_name, values: cells.to_vec() }
    };
    Ok(results.map(result).collect())
}
