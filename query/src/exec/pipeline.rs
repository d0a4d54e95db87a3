//! Pipelines: expressions that work on each series by itself, fused. A series is decoded into a thread's own buffer,
//! becomes one row of cells, and passes through the stages; an aggregation adds it up without keeping it.

use std::sync::Arc;

use timberline_engine::{Histogram, KnownTimes, Labels, METRIC_NAME, Samples, Series};

use super::annotations::is_counter_name;
use super::context::Context;
use super::eval::Column;
use super::functions::{apply_date, apply_math, clamp, clamp_max, clamp_min, round};
use super::grid::{Grid, Windows};
use super::native::{self, Operand, Operation, Statistic};
use super::row::{ABSENT, Row, any_present, is_present};
use super::usage::HeldSamples;
use super::{binary, condensed, rollup, select};
use crate::ast::{BinaryOp, Span};
use crate::error::Result;
use crate::plan::{DatePart, Math, Rollup, RollupPlan};

/// Where the rows of a pipeline come from.
pub(super) enum Source<'q> {
    /// Evaluated before.
    Rows(Vec<Row>),
    /// Evaluated before, and wanted by others too.
    Shared(Arc<Vec<Row>>),
    /// An instant selector: values, or the samples' times.
    Instant { series: Vec<Series>, windows: Windows, timestamps: bool, without_buckets: bool },
    /// A function of windows of a selector's samples.
    Rollup { series: Vec<Series>, windows: Windows, plan: &'q RollupPlan, param: Option<Column> },
    /// A function of windows of a subquery's rows, which were evaluated on `grid`.
    SubqueryRollup {
        rows: Vec<Row>,
        grid: Grid,
        windows: Windows,
        plan: &'q RollupPlan,
        param: Option<Column>,
    },
}

/// A function of each cell.
pub(super) enum Stage {
    Negate,
    Math(Math),
    Clamp {
        min: Column,
        max: Column,
    },
    ClampMin(Column),
    ClampMax(Column),
    Round(Column),
    Date(DatePart),
    /// Each present cell becomes the column's value.
    Replace(Column),
    Statistic(Statistic),
    Binary {
        op: BinaryOp,
        scalar: Column,
        scalar_on_left: bool,
        return_bool: bool,
        span: Span,
    },
}

impl Stage {
    fn drops_name(&self) -> bool {
        match self {
            Self::Binary { op, return_bool, .. } => *return_bool || !op.keeps_name(),
            _ => true,
        }
    }

    fn apply(&self, context: &Context<'_>, cells: &mut [f64]) -> Result<()> {
        let histograms = context.take_histograms(cells);
        self.apply_to_floats(context, cells);
        for (step, histogram) in histograms {
            cells[step] = self.apply_to_histogram(context, step, histogram)?;
        }
        Ok(())
    }

    fn apply_to_histogram(
        &self,
        context: &Context<'_>,
        step: usize,
        histogram: &Arc<Histogram>,
    ) -> Result<f64> {
        match self {
            Self::Negate => context.keep(native::scale(histogram, -1.0)),
            Self::Replace(column) => Ok(column[step]),
            Self::Statistic(statistic) => Ok(statistic.of(histogram)),
            Self::Binary { op, scalar, scalar_on_left, return_bool, span } => {
                let operation = Operation { op: *op, return_bool: *return_bool, span: *span };
                let (this, scalar) = (Operand::Histogram(histogram), Operand::Float(scalar[step]));
                let (l, r) = if *scalar_on_left { (scalar, this) } else { (this, scalar) };
                native::operate(context, operation, l, r)
            }
            Self::Math(_)
            | Self::Clamp { .. }
            | Self::ClampMin(_)
            | Self::ClampMax(_)
            | Self::Round(_)
            | Self::Date(_) => Ok(ABSENT),
        }
    }

    fn apply_to_floats(&self, context: &Context<'_>, cells: &mut [f64]) {
        match self {
            Self::Negate => {
                cells.iter_mut().filter(|cell| is_present(**cell)).for_each(|cell| *cell = -*cell);
            }
            Self::Math(math) => apply_math(*math, cells),
            Self::Clamp { min, max } => clamp(cells, min, max),
            Self::ClampMin(min) => clamp_min(cells, min),
            Self::ClampMax(max) => clamp_max(cells, max),
            Self::Round(to_nearest) => round(cells, to_nearest),
            Self::Date(part) => apply_date(*part, cells),
            Self::Replace(column) => {
                cells
                    .iter_mut()
                    .zip(column)
                    .filter(|(cell, _)| is_present(**cell))
                    .for_each(|(cell, &v)| *cell = v);
            }
            Self::Statistic(_) => cells.fill(ABSENT),
            Self::Binary { op, span, .. } if op.is_trim() => {
                if any_present(cells) {
                    cells.fill(ABSENT);
                    context.incompatible_types(*op, "float", "float", *span);
                }
            }
            Self::Binary { op, scalar, scalar_on_left, return_bool, .. } => {
                binary::vector_scalar(*op, cells, scalar, *scalar_on_left, *return_bool);
            }
        }
    }
}

/// What a thread reuses from series to series.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) samples: Samples,
    pub(super) held: HeldSamples,
    pub(super) known: KnownTimes,
    pub(super) rollup: rollup::Buffers,
    pub(super) condensed: condensed::Buffers,
    /// The metric that an annotation was last added for: series of one metric follow each other.
    annotated: Option<String>,
}

pub(super) struct Pipeline<'q> {
    context: &'q Context<'q>,
    grid: Grid,
    source: Source<'q>,
    stages: Vec<Stage>,
}

impl<'q> Pipeline<'q> {
    pub(super) fn new(context: &'q Context<'q>, grid: Grid, source: Source<'q>) -> Result<Self> {
        let pipeline = Self { context, grid, source, stages: Vec::new() };
        pipeline.annotate_quantiles()?;
        Ok(pipeline)
    }

    pub(super) fn push(&mut self, stage: Stage) {
        self.stages.push(stage);
    }

    /// How many rows there are at most.
    pub(super) fn len(&self) -> usize {
        match &self.source {
            Source::Rows(rows) | Source::SubqueryRollup { rows, .. } => rows.len(),
            Source::Shared(rows) => rows.len(),
            Source::Instant { series, .. } | Source::Rollup { series, .. } => series.len(),
        }
    }

    pub(super) fn steps(&self) -> usize {
        self.grid.steps
    }

    pub(super) fn context(&self) -> &'q Context<'q> {
        self.context
    }

    pub(super) fn labels(&self, at: usize) -> &Labels {
        match &self.source {
            Source::Rows(rows) | Source::SubqueryRollup { rows, .. } => &rows[at].labels,
            Source::Shared(rows) => &rows[at].labels,
            Source::Instant { series, .. } | Source::Rollup { series, .. } => series[at].labels(),
        }
    }

    pub(super) fn drop_name(&self, at: usize) -> bool {
        let by_source = match &self.source {
            Source::Rows(rows) => rows[at].drop_name,
            Source::Shared(rows) => rows[at].drop_name,
            Source::Instant { timestamps, .. } => *timestamps,
            Source::Rollup { plan, .. } => !plan.function.keeps_name(),
            Source::SubqueryRollup { rows, plan, .. } => rows[at].drop_name || !plan.function.keeps_name(),
        };
        by_source || self.stages.iter().any(Stage::drops_name)
    }

    /// Computes row `at` into `cells`; whether it has a sample at some step.
    pub(super) fn fill(&self, at: usize, scratch: &mut Scratch, cells: &mut [f64]) -> Result<bool> {
        self.context.cancel().check_series(at)?;
        match &self.source {
            Source::Rows(rows) => cells.copy_from_slice(&rows[at].values),
            Source::Shared(rows) => cells.copy_from_slice(&rows[at].values),
            Source::Instant { series, windows, timestamps, without_buckets } => {
                cells.fill(ABSENT);
                if !condensed::read_newest(self.context, &series[at], windows, scratch)? {
                    let Scratch { samples, held, known, .. } = &mut *scratch;
                    select::read(self.context, &series[at], known, samples, held)?;
                }
                let Scratch { samples, known, rollup, .. } = scratch;
                let times = known.version(&samples.timestamps);
                let windows = rollup.windows.find(windows, &samples.timestamps, times);
                if *timestamps {
                    select::newest_timestamps(windows, samples, cells);
                } else {
                    if *without_buckets {
                        native::keep_statistics(samples);
                    }
                    select::newest_values(windows, samples, cells);
                    if !samples.histograms.is_empty() {
                        native::adopt(self.context, samples, cells)?;
                    }
                }
            }
            Source::Rollup { series, windows, plan, param } => {
                cells.fill(ABSENT);
                if condensed::roll_up(self.context, &series[at], windows, plan.function, scratch, cells)? {
                    self.annotate_counter(plan, at, scratch, cells);
                } else {
                    let Scratch { samples, held, known, .. } = &mut *scratch;
                    select::read_without_markers(self.context, &series[at], known, samples, held)?;
                    if plan.range.without_buckets {
                        native::keep_statistics(&mut scratch.samples);
                    }
                    self.roll_up(plan, windows, param.as_deref(), at, scratch, cells)?;
                }
            }
            Source::SubqueryRollup { rows, grid, windows, plan, param } => {
                cells.fill(ABSENT);
                select::samples_of_row(self.context, &rows[at].values, *grid, &mut scratch.samples);
                self.context.charge_samples(&mut scratch.held, scratch.samples.values.len())?;
                self.roll_up(plan, windows, param.as_deref(), at, scratch, cells)?;
            }
        }
        self.count_samples(scratch, cells);
        for stage in &self.stages {
            stage.apply(self.context, cells)?;
        }
        Ok(any_present(cells))
    }

    /// Counts what each step looked at, for those who want to know.
    fn count_samples(&self, scratch: &Scratch, cells: &[f64]) {
        let Some(tally) = &self.context.tally else { return };
        match &self.source {
            Source::Rows(_) | Source::Shared(_) => {}
            Source::Instant { .. } => tally.add_cells(cells),
            Source::Rollup { windows, .. } | Source::SubqueryRollup { windows, .. } => {
                tally.add_windows(windows, &scratch.samples.timestamps);
            }
        }
    }

    /// Evaluates a function of windows of the samples in `scratch`, which are those of row `at`.
    fn roll_up(
        &self,
        plan: &RollupPlan,
        windows: &Windows,
        param: Option<&[f64]>,
        at: usize,
        scratch: &mut Scratch,
        cells: &mut [f64],
    ) -> Result<()> {
        let Scratch { samples, known, rollup, .. } = scratch;
        let is_read = matches!(self.source, Source::Rollup { .. });
        let floats = samples.histograms.is_empty();
        rollup.times = known.version(&samples.timestamps).filter(|_| is_read && floats);
        if floats {
            let work = rollup::Work { function: plan.function, windows, param, samples };
            rollup::evaluate_in_parts(self.context.cancel(), &work, rollup, cells)?;
        } else {
            let (context, labels) = (self.context, self.labels(at));
            let request = native::RollupRequest { context, plan, labels, windows, param, samples };
            native::rollup(&request, rollup, cells)?;
        }
        self.annotate_counter(plan, at, scratch, cells);
        Ok(())
    }

    /// Computes all rows.
    pub(super) fn collect(mut self) -> Result<Vec<Row>> {
        if let Source::Rows(rows) = &mut self.source {
            let mut rows = std::mem::take(rows);
            let drops_name = self.stages.iter().any(Stage::drops_name);
            self.context.threads.map_mut(&mut rows, |row| {
                self.context.check()?;
                row.drop_name |= drops_name;
                self.stages.iter().try_for_each(|stage| stage.apply(self.context, &mut row.values))
            })?;
            rows.retain(|row| !row.is_empty());
            return Ok(rows);
        }
        self.context.charge_points(self.len(), self.steps())?;
        let rows = self.context.threads.map(self.len(), Scratch::default, |scratch, at| {
            let mut values = vec![ABSENT; self.steps()];
            let any = self.fill(at, scratch, &mut values)?;
            Ok(any.then(|| Row { labels: self.labels(at).clone(), drop_name: self.drop_name(at), values }))
        });
        Ok(rows?.into_iter().flatten().collect())
    }

    /// `rate` and `increase` of something that is not called like a counter are likely a mistake.
    fn annotate_counter(&self, plan: &RollupPlan, at: usize, scratch: &mut Scratch, cells: &[f64]) {
        if !plan.function.wants_counter() {
            return;
        }
        let Some(name) = self.labels(at).get(METRIC_NAME) else { return };
        let any_float = || cells.iter().any(|&value| native::is_float(value));
        if is_counter_name(name) || scratch.annotated.as_deref() == Some(name) || !any_float() {
            return;
        }
        self.context.annotate(plan.range.span, |annotations, position| {
            annotations.possible_non_counter(name, position);
        });
        scratch.annotated = Some(name.to_owned());
    }

    fn annotate_quantiles(&self) -> Result<()> {
        let (Source::Rollup { plan, param: Some(quantiles), .. }
        | Source::SubqueryRollup { plan, param: Some(quantiles), .. }) = &self.source
        else {
            return Ok(());
        };
        if plan.function == Rollup::Quantile && self.len() > 0 {
            annotate_invalid_quantiles(self.context, quantiles, plan.param_span)?;
        }
        Ok(())
    }
}

/// Warns of each quantile that is not one.
pub(super) fn annotate_invalid_quantiles(context: &Context<'_>, quantiles: &[f64], span: Span) -> Result<()> {
    let mut warned: Option<u64> = None;
    for &quantile in quantiles.iter().filter(|quantile| !(0.0..=1.0).contains(*quantile)) {
        if warned.replace(quantile.to_bits()) != Some(quantile.to_bits()) {
            context.check()?;
            context.annotate(span, |annotations, position| annotations.invalid_quantile(quantile, position));
        }
    }
    Ok(())
}
