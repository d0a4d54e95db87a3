//! Evaluates plan nodes on a grid: vectors to rows, scalars to one column.

use timberline_engine::{KnownTimes, Labels, METRIC_NAME, Samples, Series, TimeRange, WantedLabels};

use super::context::Context;
use super::grid::{Grid, Windows, millis_to_nanos};
use super::native::is_float;
use super::pipeline::{Pipeline, Source, Stage};
use super::row::{ABSENT, Row, is_absent};
use super::usage::{HeldSamples, node_id};
use super::{aggregate, binary, finish, functions, histogram, info, select, shared, windowed};
use crate::ast::Span;
use crate::deep::on_enough_stack;
use crate::error::Result;
use crate::plan::{MapOp, RangeInput, RangePlan, RollupPlan, ScalarPlan, SetOp, Shift, VectorPlan};

/// The value of a scalar expression: one number per step, none absent.
pub(super) type Column = Vec<f64>;

/// Evaluates expressions at the steps of one grid. A subquery has an evaluator of its own.
#[derive(Clone, Copy)]
pub(super) struct Evaluator<'q> {
    pub(super) context: &'q Context<'q>,
    pub(super) grid: Grid,
}

impl<'q> Evaluator<'q> {
    /// The rows of a vector expression; each has a sample at some step.
    pub(super) fn rows(&self, plan: &'q VectorPlan) -> Result<Vec<Row>> {
        self.context.check()?;
        let mark = self.context.usage.begin();
        let rows = on_enough_stack(|| self.evaluate(plan))?;
        self.context.end_node(mark, node_id(plan), &rows)?;
        Ok(rows)
    }

    fn evaluate(&self, plan: &'q VectorPlan) -> Result<Vec<Row>> {
        match plan {
            VectorPlan::Select { .. }
            | VectorPlan::SelectTimestamps { .. }
            | VectorPlan::Rollup(_)
            | VectorPlan::Map { .. }
            | VectorPlan::Shared(_) => self.pipeline(plan)?.collect(),
            VectorPlan::FromScalar(scalar) => {
                Ok(vec![Row { labels: Labels::empty(), drop_name: false, values: self.scalar(scalar)? }])
            }
            VectorPlan::SelectSmoothed(plan) => windowed::smoothed_selector(self, plan),
            VectorPlan::Extended(plan) => windowed::extended(self, plan),
            VectorPlan::Smoothing(plan) => windowed::smoothing(self, plan),
            VectorPlan::Info(plan) => info::evaluate(self, plan),
            VectorPlan::Aggregate(plan) => aggregate::evaluate(self, plan),
            VectorPlan::Binary(plan) => binary::evaluate(self, plan),
            VectorPlan::Set { op: SetOp::Or, matching, lhs, rhs } => {
                binary::evaluate_or(self, matching, lhs, rhs)
            }
            VectorPlan::Set { op, matching, lhs, rhs } => {
                let (lhs, rhs) = (self.rows(lhs)?, self.rows(rhs)?);
                binary::evaluate_set(self.context.cancel(), *op, matching, lhs, &rhs)
            }
            VectorPlan::Absent { input, labels } => {
                functions::absent(&self.pipeline_with(input, WantedLabels::Named(&[METRIC_NAME]))?, labels)
            }
            VectorPlan::LabelReplace { input, target, replacement, source, pattern } => {
                functions::label_replace(
                    self.context,
                    self.rows(input)?,
                    target,
                    replacement,
                    source,
                    pattern,
                )
            }
            VectorPlan::LabelJoin { input, target, separator, sources } => {
                functions::label_join(self.context, self.rows(input)?, target, separator, sources)
            }
            VectorPlan::Sort { input, descending, span } => {
                self.annotate_sort(*span);
                let (mut rows, _) = self.context.without_histograms(self.rows(input)?);
                // A range query's series are sorted by labels, whatever their values.
                if self.grid.steps == 1 {
                    rows.sort_by(|a, b| aggregate::rank_order(a.values[0], b.values[0], !descending));
                }
                Ok(rows)
            }
            VectorPlan::SortByLabel { input, labels, descending, span } => {
                self.annotate_sort(*span);
                let mut rows = self.rows(input)?;
                functions::sort_by_label(&mut rows, labels, *descending);
                Ok(rows)
            }
            VectorPlan::HistogramQuantiles { label, quantiles, input, input_span } => {
                let rows = self.rows(input)?;
                let mut results = Vec::new();
                for (quantile, span) in quantiles {
                    let column = self.scalar(quantile)?;
                    let rows = histogram::quantile(self, &column, *span, &rows, *input_span)?;
                    results.extend(functions::label_with_numbers(self.context, rows, label, &column)?);
                }
                finish::merge(self.context.cancel(), results)
            }
            VectorPlan::HistogramFraction { lower, upper, input, input_span } => {
                let (lower, upper) = (self.scalar(lower)?, self.scalar(upper)?);
                histogram::fraction(self, &lower, &upper, &self.rows(input)?, *input_span)
            }
            VectorPlan::HistogramQuantile { quantile, quantile_span, input, input_span } => {
                let quantiles = self.scalar(quantile)?;
                histogram::quantile(self, &quantiles, *quantile_span, &self.rows(input)?, *input_span)
            }
            VectorPlan::Invariant(plan) => {
                let mut rows = self.once(|first| first.rows(plan))?;
                self.context.charge_points(rows.len(), self.grid.steps)?;
                for row in &mut rows {
                    row.values.resize(self.grid.steps, row.values[0]);
                }
                Ok(rows)
            }
        }
    }

    /// Warns that the series of several steps are sorted by their labels in any case.
    fn annotate_sort(&self, span: Span) {
        if self.grid.steps > 1 {
            self.context.annotate(span, |annotations, position| annotations.sort_in_range_query(position));
        }
    }

    /// Evaluates what is the same at each step at the first.
    fn once<T>(&self, evaluate: impl FnOnce(Self) -> Result<T>) -> Result<T> {
        let first = Self { grid: self.grid.first(), ..*self };
        let Some(tally) = &self.context.tally else { return evaluate(first) };
        tally.begin_grid(first.grid.steps);
        let value = evaluate(first);
        let samples = tally.end_grid().into_iter().sum();
        tally.add_at_each_step(samples);
        value
    }

    /// The numbers of a scalar expression.
    pub(super) fn scalar(&self, plan: &'q ScalarPlan) -> Result<Column> {
        on_enough_stack(|| self.scalar_inside(plan))
    }

    fn scalar_inside(&self, plan: &'q ScalarPlan) -> Result<Column> {
        self.context.check()?;
        let steps = self.grid.steps;
        Ok(match plan {
            ScalarPlan::Constant(value) => vec![*value; steps],
            ScalarPlan::Time => (0..steps).map(|step| self.grid.time_seconds(step)).collect(),
            ScalarPlan::Of(vector) => single_values(&self.rows(vector)?, steps),
            ScalarPlan::Negate(input) => self.scalar(input)?.into_iter().map(|value| -value).collect(),
            ScalarPlan::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.scalar(lhs)?, self.scalar(rhs)?);
                lhs.into_iter().zip(rhs).map(|(l, r)| binary::scalar_binary(*op, l, r)).collect()
            }
            ScalarPlan::Extreme { largest, lhs, rhs } => {
                let pairs = self.scalar(lhs)?.into_iter().zip(self.scalar(rhs)?);
                let extreme = if *largest { functions::max } else { functions::min };
                pairs.map(|(a, b)| extreme(a, b)).collect()
            }
            ScalarPlan::Invariant(plan) => {
                let mut column = self.once(|first| first.scalar(plan))?;
                if let Some(&value) = column.first() {
                    column.resize(steps, value);
                }
                column
            }
        })
    }

    /// The expression as work per series, fused as far as it goes.
    pub(super) fn pipeline(&self, plan: &'q VectorPlan) -> Result<Pipeline<'q>> {
        self.pipeline_with(plan, WantedLabels::All)
    }

    /// The same for something that needs some labels of the series only.
    pub(super) fn pipeline_with(
        &self,
        plan: &'q VectorPlan,
        labels: WantedLabels<'_>,
    ) -> Result<Pipeline<'q>> {
        on_enough_stack(|| self.pipeline_inside(plan, labels))
    }

    fn pipeline_inside(&self, plan: &'q VectorPlan, labels: WantedLabels<'_>) -> Result<Pipeline<'q>> {
        let source = match plan {
            VectorPlan::Select { matchers, shift, without_buckets } => {
                let windows = self.windows(self.context.lookback_ms, *shift);
                let needed = self.needed(&windows, *without_buckets);
                let series = self.context.select_labels(matchers, needed, labels)?;
                Source::Instant { series, windows, timestamps: false, without_buckets: *without_buckets }
            }
            VectorPlan::SelectTimestamps { matchers, shift } => {
                let windows = self.windows(self.context.lookback_ms, *shift);
                let series = self.context.select_labels(matchers, windows.needed(), labels)?;
                Source::Instant { series, windows, timestamps: true, without_buckets: false }
            }
            VectorPlan::Rollup(plan) => self.rollup_source(plan, labels)?,
            VectorPlan::Shared(plan) => return shared::pipeline(self, plan),
            VectorPlan::Map { input, op } => {
                let mut pipeline = self.pipeline_with(input, labels)?;
                pipeline.push(self.stage(op)?);
                return Ok(pipeline);
            }
            _ => Source::Rows(self.rows(plan)?),
        };
        Pipeline::new(self.context, self.grid, source)
    }

    pub(super) fn windows(&self, range_ms: i64, shift: Shift) -> Windows {
        Windows { grid: self.grid, range_ms, shift }
    }

    /// The times that are read for `windows`. Histograms without buckets are compared to the one before, also to one that is before
    /// the first window.
    pub(super) fn needed(&self, windows: &Windows, without_buckets: bool) -> TimeRange {
        let mut needed = windows.needed();
        if without_buckets && !needed.is_empty() {
            needed.start = needed.start.saturating_sub(millis_to_nanos(self.context.lookback_ms));
        }
        needed
    }

    fn rollup_source(&self, plan: &'q RollupPlan, labels: WantedLabels<'_>) -> Result<Source<'q>> {
        let param = plan.param.as_deref().map(|param| self.scalar(param)).transpose()?;
        let windows = self.windows(plan.range.range_ms, plan.range.shift);
        Ok(match &plan.range.input {
            RangeInput::Series(matchers) => {
                let needed = self.needed(&windows, plan.range.without_buckets);
                let series = self.context.select_labels(matchers, needed, labels)?;
                Source::Rollup { series, windows, plan, param }
            }
            RangeInput::Subquery { plan: inner, step_ms } => {
                let (rows, grid) = self.subquery(&plan.range, inner, *step_ms)?;
                Source::SubqueryRollup { rows, grid, windows, plan, param }
            }
        })
    }

    pub(super) fn subquery(
        &self,
        range: &RangePlan,
        inner: &'q VectorPlan,
        step_ms: i64,
    ) -> Result<(Vec<Row>, Grid)> {
        let grid = self.grid.subquery(range.range_ms, range.shift, step_ms);
        if grid.steps == 0 {
            return Ok((Vec::new(), grid));
        }
        self.context.charge_points(1, grid.steps)?;
        let inside = Self { grid, ..*self };
        let Some(tally) = &self.context.tally else { return Ok((inside.rows(inner)?, grid)) };
        tally.begin_grid(grid.steps);
        let rows = inside.rows(inner);
        tally.end_grid();
        Ok((rows?, grid))
    }

    /// The numbers of a scalar expression that a pipeline holds until it is over.
    fn column(&self, plan: &'q ScalarPlan) -> Result<Column> {
        self.context.charge_bytes(self.grid.steps * size_of::<f64>())?;
        self.scalar(plan)
    }

    fn stage(&self, op: &'q MapOp) -> Result<Stage> {
        Ok(match op {
            MapOp::Negate => Stage::Negate,
            MapOp::Math(math) => Stage::Math(*math),
            MapOp::Clamp { min, max } => Stage::Clamp { min: self.column(min)?, max: self.column(max)? },
            MapOp::ClampMin(min) => Stage::ClampMin(self.column(min)?),
            MapOp::ClampMax(max) => Stage::ClampMax(self.column(max)?),
            MapOp::Round(to_nearest) => Stage::Round(self.column(to_nearest)?),
            MapOp::Date(part) => Stage::Date(*part),
            MapOp::StepTime => Stage::Replace(self.column(&ScalarPlan::Time)?),
            MapOp::Statistic(statistic) => Stage::Statistic(*statistic),
            MapOp::StartTime { known } => {
                Stage::Replace(vec![if *known { 0.0 } else { ABSENT }; self.grid.steps])
            }
            MapOp::Binary { op, scalar, scalar_on_left, return_bool, span } => Stage::Binary {
                op: *op,
                scalar: self.column(scalar)?,
                scalar_on_left: *scalar_on_left,
                return_bool: *return_bool,
                span: *span,
            },
        })
    }

    /// The samples of a range vector at the first step, for a query that asks for just them.
    pub(super) fn samples(&self, plan: &'q RangePlan) -> Result<Vec<(Labels, Samples)>> {
        let mark = self.context.usage.begin();
        let series = self.read_range(plan)?;
        self.context.usage.record(mark, node_id(plan), series.len());
        Ok(series)
    }

    fn read_range(&self, plan: &'q RangePlan) -> Result<Vec<(Labels, Samples)>> {
        let count = |samples: &Samples| {
            if let Some(tally) = &self.context.tally {
                tally.add(samples.values.len());
            }
        };
        match &plan.input {
            RangeInput::Series(matchers) => {
                let windows = self.windows(plan.range_ms, plan.shift);
                let series = self.context.select(matchers, windows.needed())?;
                let read = |(): &mut (), at: usize| {
                    let series: &Series = &series[at];
                    self.context.check()?;
                    let mut samples = Samples::default();
                    select::read_without_markers(
                        self.context,
                        series,
                        &mut KnownTimes::default(),
                        &mut samples,
                        // All of them are kept.
                        &mut HeldSamples::default(),
                    )?;
                    count(&samples);
                    // A timestamp and a value each.
                    self.context.charge_points(2, samples.values.len())?;
                    Ok((series.labels().clone(), samples))
                };
                self.context.threads.map(series.len(), || (), read)
            }
            RangeInput::Subquery { plan: inner, step_ms } => {
                let (rows, grid) = self.subquery(plan, inner, *step_ms)?;
                let rows = finish::remove_names(self.context.threads, self.context.cancel(), rows)?;
                let to_samples = |row: Row| {
                    let mut samples = Samples::default();
                    select::samples_of_row(self.context, &row.values, grid, &mut samples);
                    count(&samples);
                    (row.labels, samples)
                };
                Ok(rows.into_iter().map(to_samples).collect())
            }
        }
    }
}

/// `scalar()`: the float of each step that has exactly one, NaN elsewhere.
fn single_values(rows: &[Row], steps: usize) -> Column {
    let mut column = vec![ABSENT; steps];
    for row in rows {
        for (cell, &value) in column.iter_mut().zip(&row.values) {
            if is_float(value) {
                *cell = if is_absent(*cell) { value } else { f64::NAN };
            }
        }
    }
    // A second sample made the cell a plain NaN, which a third sample leaves as it is.
    column.into_iter().map(|cell| if is_absent(cell) { f64::NAN } else { cell }).collect()
}
