//! Execution: a plan and a snapshot in, a value out.
//!
//! Column-wise and in parallel over series: a vector expression evaluates to [rows](row), and expressions that work on
//! each series by itself are fused into [pipelines](pipeline) that need no rows in between. See `docs/execution.md`.

mod aggregate;
mod annotations;
mod binary;
mod condensed;
mod context;
mod eval;
mod explain;
mod finish;
mod functions;
mod grid;
mod histogram;
mod info;
mod native;
mod pipeline;
mod rollup;
mod row;
mod select;
mod shared;
mod short;
mod tally;
mod threads;
mod usage;
mod windowed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use timberline_engine::{Budget, Snapshot};

use crate::ast::Expr;
use crate::error::{QueryError, Result};
use crate::explain::{Analysis, Explanation};
use crate::parser::{default_budget, is_cheap_to_parse};
use crate::plan::{self, Bounds, Plan};
use crate::value::{Outcome, Timings, Value};
use context::Context;
use eval::Evaluator;
use grid::Grid;
use tally::Tally;
use threads::Pool;
use usage::Usage;

pub(crate) use annotations::go_number;
pub(crate) use binary::scalar_binary;
pub use context::Cancel;
pub(crate) use native::Statistic;
pub(crate) use rollup::CompensatedSum;

/// Bounds on what one query may use. Exceeding one is a [`QueryError::Limit`] with the field's name.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Samples held at one time: those of the series that are being read, and the points of all rows.
    pub query_samples_max: u64,
    /// Series that one selector may select.
    pub selector_series_max: u64,
    /// Steps of a range query.
    pub query_steps_max: u64,
    /// Points of the answer.
    pub result_points_max: u64,
    /// Memory of rows, selected series and native histograms at one time, bytes.
    pub query_memory_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            query_samples_max: 50_000_000,
            selector_series_max: 1_000_000,
            query_steps_max: 11_000,
            result_points_max: 20_000_000,
            query_memory_bytes_max: 1 << 30,
        }
    }
}

/// How queries are executed.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// How far back an instant selector looks for a sample, milliseconds.
    pub lookback_delta_ms: i64,
    /// The step of a subquery that does not name one, milliseconds.
    pub subquery_step_ms: i64,
    /// Threads that all queries share; 0 takes one per core.
    pub threads: usize,
    /// How long a query may take.
    pub timeout: Duration,
    /// What a query may use.
    pub limits: Limits,
}

impl Default for ExecutorOptions {
    fn default() -> Self {
        Self {
            lookback_delta_ms: 5 * 60 * 1000,
            subquery_step_ms: 60 * 1000,
            threads: 0,
            timeout: Duration::from_secs(120),
            limits: Limits::default(),
        }
    }
}

/// A parsed query and the times to evaluate it at.
#[derive(Clone, Debug)]
pub struct Query {
    /// The text that `expr` was parsed from; annotations point into it.
    pub text: String,
    /// The expression.
    pub expr: Expr,
    /// The first step, milliseconds since the epoch.
    pub start_ms: i64,
    /// The last step at most, milliseconds since the epoch. An instant query has it equal to `start_ms`.
    pub end_ms: i64,
    /// The distance between steps, milliseconds; 0 makes it an instant query.
    pub step_ms: i64,
    /// Replaces [`ExecutorOptions::lookback_delta_ms`].
    pub lookback_delta_ms: Option<i64>,
    /// Whether to count the samples that each step looks at, which takes time.
    pub count_samples: bool,
    /// What its evaluation counts against, and its regular expressions that are compiled when it is planned.
    pub budget: Arc<Budget>,
}

impl Query {
    /// An instant query at `time_ms`.
    #[must_use]
    pub fn instant(text: impl Into<String>, expr: Expr, time_ms: i64) -> Self {
        Self::range(text, expr, time_ms, time_ms, 0)
    }

    /// A range query.
    #[must_use]
    pub fn range(text: impl Into<String>, expr: Expr, start_ms: i64, end_ms: i64, step_ms: i64) -> Self {
        let text = text.into();
        let budget = default_budget();
        Self { text, expr, start_ms, end_ms, step_ms, lookback_delta_ms: None, count_samples: false, budget }
    }

    fn is_instant(&self) -> bool {
        self.step_ms == 0
    }
}

/// Executes queries: in the thread that asks, and what is worth more on threads that all queries share.
#[derive(Debug)]
pub struct Executor {
    options: ExecutorOptions,
    pool: Pool,
}

impl Executor {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`QueryError::Threads`] when the operating system refuses them.
    pub fn new(options: ExecutorOptions) -> Result<Self> {
        let pool = Pool::new(options.threads)?;
        Ok(Self { options, pool })
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &ExecutorOptions {
        &self.options
    }

    /// Evaluates `query` over `snapshot`. Blocks until the result is there; `cancel` ends it early.
    ///
    /// # Errors
    /// See [`QueryError`]; [`QueryError::kind`] says whose fault it is.
    pub fn execute(&self, snapshot: &Snapshot, query: &Query, cancel: &Cancel) -> Result<Outcome> {
        let started = Instant::now();
        let (grid, plan) = self.plan(query)?;
        let mut context = self.context(snapshot, query, cancel);
        context.tally = query.count_samples.then(|| Tally::new(grid.steps));
        self.run(context, grid, &plan, query, started.elapsed())
    }

    /// Evaluates `query` if that takes about a millisecond at most, for a thread that has other work too: to hand a short query
    /// to another thread and back takes longer than its answer. `None` when it is not short; nothing of it was kept then.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn execute_if_short(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        cancel: &Cancel,
    ) -> Result<Option<Outcome>> {
        if self.grid(query)?.steps > context::SHORT_STEPS || !is_cheap_to_parse(&query.text) {
            return Ok(None);
        }
        match self.execute(snapshot, query, &cancel.if_short()) {
            Err(QueryError::NotShort) => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    /// Explains how `query` is evaluated over `snapshot`; with `analyze` it is evaluated, and the explanation says what that took.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub fn explain(
        &self,
        snapshot: &Snapshot,
        query: &Query,
        cancel: &Cancel,
        analyze: bool,
    ) -> Result<Explanation> {
        let started = Instant::now();
        let (grid, plan) = self.plan(query)?;
        let mut context = self.context(snapshot, query, cancel);
        if !analyze {
            return explain::explain(&context, grid, &plan);
        }
        context.usage = Usage::new(&context.budget, true);
        let planned = started.elapsed();
        let (_, mut timings) = evaluate(&context, grid, &plan, query.is_instant())?;
        timings.preparation += planned;
        let mut explanation = explain::explain(&context, grid, &plan)?;
        let stats = context.stats();
        let (warnings, infos) = context.into_annotations();
        explanation.analysis = Some(Analysis { timings, stats, warnings, infos });
        Ok(explanation)
    }

    fn context<'q>(&'q self, snapshot: &'q Snapshot, query: &'q Query, cancel: &Cancel) -> Context<'q> {
        let lookback_ms = query.lookback_delta_ms.unwrap_or(self.options.lookback_delta_ms);
        let cancel = cancel.with_timeout(self.options.timeout);
        Context::new(
            snapshot,
            &self.pool,
            &self.options.limits,
            lookback_ms,
            &query.text,
            &query.budget,
            cancel,
        )
    }

    fn run(
        &self,
        mut context: Context<'_>,
        grid: Grid,
        plan: &Plan,
        query: &Query,
        planned: Duration,
    ) -> Result<Outcome> {
        let (value, mut timings) = evaluate(&context, grid, plan, query.is_instant())?;
        timings.preparation += planned;
        let stats = context.stats();
        let step_samples = context.tally.take().map(Tally::into_counts);
        let (warnings, infos) = context.into_annotations();
        Ok(Outcome { value, warnings, infos, stats, step_samples, timings })
    }

    fn plan(&self, query: &Query) -> Result<(Grid, Plan)> {
        let grid = self.grid(query)?;
        let bounds = Bounds {
            start_ms: grid.start_ms,
            end_ms: if query.is_instant() { grid.start_ms } else { query.end_ms },
            step_ms: query.step_ms,
            subquery_step_ms: self.options.subquery_step_ms,
        };
        let plan = plan::build(&query.expr, bounds, &query.budget)?;
        if !query.is_instant() && matches!(plan, Plan::Range(_) | Plan::String(_)) {
            let kind = if matches!(plan, Plan::String(_)) { "string" } else { "range vector" };
            return Err(QueryError::Query(format!(
                "invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector"
            )));
        }
        Ok((grid, plan))
    }

    fn grid(&self, query: &Query) -> Result<Grid> {
        if query.is_instant() {
            return Ok(Grid::new(query.start_ms, query.start_ms, 0));
        }
        if query.step_ms < 0 {
            return Err(QueryError::BadData(
                "zero or negative query resolution step widths are not accepted".into(),
            ));
        }
        if query.end_ms < query.start_ms {
            return Err(QueryError::BadData("end timestamp must not be before start time".into()));
        }
        let grid = Grid::new(query.start_ms, query.end_ms, query.step_ms);
        // Prometheus counts the steps after the first one.
        let (got, limit) = (grid.steps.saturating_sub(1) as u64, self.options.limits.query_steps_max);
        if got > limit {
            return Err(QueryError::Resolution { limit, got });
        }
        Ok(grid)
    }
}

fn evaluate(context: &Context<'_>, grid: Grid, plan: &Plan, instant: bool) -> Result<(Value, Timings)> {
    let started = Instant::now();
    context.check()?;
    let evaluator = Evaluator { context, grid };
    let time_evaluation = || {
        let elapsed = started.elapsed();
        let preparation = context.usage.select_time().min(elapsed);
        (Instant::now(), Timings { preparation, evaluation: elapsed - preparation, ..Timings::default() })
    };
    let (value, (finishing, mut timings)) = match plan {
        Plan::String(value) => {
            (Value::String { timestamp_ms: grid.start_ms, value: value.clone() }, time_evaluation())
        }
        Plan::Scalar(plan) => {
            let column = evaluator.scalar(plan)?;
            let times = time_evaluation();
            (finish::scalar(context, column, grid, instant)?, times)
        }
        Plan::Vector(plan) => {
            let rows = evaluator.rows(plan)?;
            let times = time_evaluation();
            let rows = finish::remove_names(context.threads, context.cancel(), rows)?;
            let finish = if instant { finish::vector } else { finish::matrix };
            (finish(context, rows, grid)?, times)
        }
        Plan::Range(plan) => {
            let series = evaluator.samples(plan)?;
            let times = time_evaluation();
            (finish::raw_matrix(context, series)?, times)
        }
    };
    timings.result = finishing.elapsed();
    Ok((value, timings))
}

#[cfg(test)]
mod tests;
