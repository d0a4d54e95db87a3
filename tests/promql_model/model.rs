//! PromQL, evaluated one step at a time over a list of series, without a thought for speed.
//!
//! It shares the syntax tree with what it is compared to, and nothing else. A sample carries its metric name to the end, and a
//! mark whether it goes there, as Prometheus does it with delayed removal of names.
//!
//! Where rounding decides (a comparison of two means, the remainder of a rate), no answer is right. So the model can evaluate
//! with noise in all results that are rounded: an answer that changes with it is not worth comparing.

use std::cell::{Cell, RefCell};

use timberline_engine::{Labels, is_stale};
use timberline_query::ast::{
    At, Call, Duration, DurationExpr, Edges, Expr, Subquery, ValueType, VectorSelector,
};

use crate::common::Random;
use crate::data::Series;
use crate::functions::{date, is_date, max, min};
use crate::native::{Native, Value};
use crate::windows::Window;

pub(crate) const MS: i64 = 1_000_000;
pub(crate) const LOOKBACK_MS: i64 = 300_000;
const SUBQUERY_STEP_MS: i64 = 60_000;
const NOISE: f64 = 1e-12;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The query must fail.
    Error,
    /// Several outcomes are right.
    Unknown,
}

/// Series with their samples: milliseconds and values; sorted by labels.
pub(crate) type Answer = Vec<(Labels, Vec<(i64, Value)>)>;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// One sample of an instant vector.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) labels: Labels,
    /// Whether the name is removed at the end.
    pub(crate) drop_name: bool,
    pub(crate) value: Value,
}

/// One series of a range vector: its samples in the window, nanoseconds.
pub(crate) struct Run {
    pub(crate) labels: Labels,
    drop_name: bool,
    pub(crate) samples: Vec<(i64, Value)>,
}

/// The times of a query, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// 0 for an instant query.
    pub(crate) step_ms: i64,
}

impl Bounds {
    pub(crate) fn steps(self) -> impl Iterator<Item = i64> {
        (self.start_ms..=self.end_ms).step_by(self.step_ms.max(1) as usize)
    }
}

/// A step among the steps around it, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    now: i64,
    first: i64,
    last: i64,
}

impl Step {
    pub(crate) fn now(self) -> i64 {
        self.now
    }
}

/// Evaluates queries with the same times.
pub(crate) struct Model<'a> {
    series: &'a [Series],
    bounds: Bounds,
    noise: Option<RefCell<Random>>,
    /// Whether a subquery fails at a time that lies between the windows of the steps. A range query may fail then.
    fails_between: Cell<bool>,
    /// Whether buckets decided about counts and sums: whether there is a result, or of gauges whether there was a reset.
    buckets_decide: Cell<bool>,
}

/// The labels that a computed series does not have.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    labels.retain(|name| name != "__name__")
}

impl<'a> Model<'a> {
    pub(crate) fn new(series: &'a [Series], bounds: Bounds, noise: Option<u64>) -> Self {
        let noise = noise.map(|seed| RefCell::new(Random(seed)));
        Self { series, bounds, noise, fails_between: Cell::new(false), buckets_decide: Cell::new(false) }
    }

    pub(crate) fn series(&self) -> &[Series] {
        self.series
    }

    /// Notes when exponential and custom buckets met.
    pub(crate) fn compatible<T>(&self, result: Option<T>) -> Option<T> {
        self.note_buckets(result.is_none());
        result
    }

    pub(crate) fn note_buckets(&self, decide: bool) {
        self.buckets_decide.set(self.buckets_decide.get() || decide);
    }

    /// The series of the answer with their samples: milliseconds and values, sorted by labels.
    pub(crate) fn evaluate(&self, expr: &Expr) -> Result<Answer> {
        let mut answer: Answer = Vec::new();
        let mut put = |labels: &Labels, time: i64, value: Value| match answer
            .iter_mut()
            .find(|(known, _)| known == labels)
        {
            Some((_, samples)) => samples.push((time, value)),
            None => answer.push((labels.clone(), vec![(time, value)])),
        };
        let mut outcome = Ok(());
        for now in self.bounds.steps() {
            let step = Step { now, first: self.bounds.start_ms, last: self.bounds.end_ms };
            outcome = self.answer_at(expr, step, &mut put);
            if outcome.is_err() {
                break;
            }
        }
        if self.fails_between.get() {
            return Err(Failure::Unknown);
        }
        outcome?;
        answer.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(answer)
    }

    fn answer_at(&self, expr: &Expr, step: Step, put: &mut impl FnMut(&Labels, i64, Value)) -> Result<()> {
        match expr.value_type() {
            ValueType::Scalar => {
                put(&Labels::empty(), step.now, Value::Float(self.scalar(expr, step)?));
            }
            ValueType::Matrix => {
                for run in self.range(expr, step)?.0 {
                    for (time, value) in run.samples {
                        put(&run.labels, time.div_euclid(MS), value);
                    }
                }
            }
            _ => {
                let mut seen: Vec<Labels> = Vec::new();
                for sample in self.vector(expr, step)? {
                    let labels = if sample.drop_name { without_name(&sample.labels) } else { sample.labels };
                    if seen.contains(&labels) {
                        return Err(Failure::Error);
                    }
                    put(&labels, step.now, sample.value);
                    seen.push(labels);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn is_noisy(&self) -> bool {
        self.noise.is_some()
    }

    /// A result that is rounded, computed from numbers up to `scale`.
    pub(crate) fn noisy(&self, value: f64, scale: f64) -> f64 {
        let Some(noise) = self.noise.as_ref().filter(|_| value.is_finite()) else { return value };
        let unit = noise.borrow_mut().below(2001) as f64 / 1000.0 - 1.0;
        if value == 0.0 {
            return self.exact(unit * scale * NOISE);
        }
        value + unit * NOISE * value.abs().max(if scale.is_finite() { scale } else { 0.0 })
    }

    pub(crate) fn rough(&self, value: f64) -> f64 {
        self.noisy(value, 0.0)
    }

    /// A result without rounding; still, nobody promises the sign of a zero.
    pub(crate) fn exact(&self, value: f64) -> f64 {
        let Some(noise) = &self.noise else { return value };
        if value == 0.0 && noise.borrow_mut().percent(50) { -value } else { value }
    }

    /// A result that is taken to be exact if it has few digits.
    pub(crate) fn exact_or_rough(&self, value: f64) -> f64 {
        let few_digits = (value * 1024.0).fract() == 0.0 && value.abs() < 1e12;
        if few_digits { self.exact(value) } else { self.rough(value) }
    }

    /// A histogram whose numbers are rounded.
    pub(crate) fn rough_native(&self, native: Native) -> Native {
        if self.is_noisy() { native.map(|number| self.exact_or_rough(number)) } else { native }
    }

    pub(crate) fn scalar(&self, expr: &Expr, step: Step) -> Result<f64> {
        Ok(match expr {
            Expr::Number(number) => number.value,
            Expr::Paren(paren) => self.scalar(&paren.expr, step)?,
            Expr::Unary(unary) => {
                let value = self.scalar(&unary.expr, step)?;
                if unary.negative { -value } else { value }
            }
            Expr::Binary(binary) => {
                let (l, r) = (self.scalar(&binary.lhs, step)?, self.scalar(&binary.rhs, step)?);
                self.number(binary.op, l, r)
            }
            Expr::Call(call) => match call.function.name {
                "time" => step.now as f64 / 1000.0,
                "start" => self.bounds.start_ms as f64 / 1000.0,
                "end" => self.bounds.end_ms as f64 / 1000.0,
                "pi" => std::f64::consts::PI,
                "step" => self.bounds.step_ms as f64 / 1000.0,
                "range" => (self.bounds.end_ms - self.bounds.start_ms) as f64 / 1000.0,
                "min_of" => min(self.scalar(&call.args[0], step)?, self.scalar(&call.args[1], step)?),
                "max_of" => max(self.scalar(&call.args[0], step)?, self.scalar(&call.args[1], step)?),
                "scalar" => {
                    let samples = self.vector(&call.args[0], step)?;
                    let floats: Vec<f64> = samples.iter().filter_map(|sample| sample.value.float()).collect();
                    if let [one] = floats[..] { one } else { f64::NAN }
                }
                name => panic!("the model has no {name}"),
            },
            other => panic!("{other} is not a scalar"),
        })
    }

    pub(crate) fn vector(&self, expr: &Expr, step: Step) -> Result<Vec<Sample>> {
        match expr {
            Expr::Paren(paren) => self.vector(&paren.expr, step),
            Expr::Selector(selector) => {
                let sample = |(labels, (_, value)): (&Labels, (i64, Value))| Sample {
                    labels: labels.clone(),
                    drop_name: false,
                    value,
                };
                Ok(match selector.edges {
                    Edges::Smoothed => self.smoothed_samples(selector, step),
                    _ => self.newest(selector, step).map(sample).collect(),
                })
            }
            Expr::Unary(unary) => {
                let input = self.vector(&unary.expr, step)?;
                Ok(if unary.negative { input.into_iter().map(negated).collect() } else { input })
            }
            Expr::Binary(binary) => self.binary(binary, step),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, step),
            Expr::Call(call) => self.call(call, step),
            other => panic!("{other} is not a vector"),
        }
    }

    /// The time that a selector looks at, milliseconds.
    pub(crate) fn looked_at(&self, offset: &Duration, at: Option<At>, now: i64) -> i64 {
        let base = match at {
            None => now,
            Some(At::Time(time)) => time,
            Some(At::Start) => self.bounds.start_ms,
            Some(At::End) => self.bounds.end_ms,
        };
        base - self.millis(offset)
    }

    /// A duration in milliseconds.
    fn millis(&self, duration: &Duration) -> i64 {
        match duration {
            Duration::Millis(millis) => *millis,
            Duration::Expr(expr) => (self.seconds(expr) * 1000.0) as i64,
        }
    }

    fn seconds(&self, expr: &DurationExpr) -> f64 {
        match expr {
            DurationExpr::Number(number) => number.value,
            DurationExpr::Step(_) => self.bounds.step_ms as f64 / 1000.0,
            DurationExpr::Range(_) => (self.bounds.end_ms - self.bounds.start_ms) as f64 / 1000.0,
            DurationExpr::Paren { expr, .. } => self.seconds(expr),
            DurationExpr::Unary { negative, expr, .. } => {
                if *negative {
                    -self.seconds(expr)
                } else {
                    self.seconds(expr)
                }
            }
            DurationExpr::Binary { op, lhs, rhs, .. } => {
                self.number(*op, self.seconds(lhs), self.seconds(rhs))
            }
            DurationExpr::Extreme { largest, lhs, rhs, .. } => {
                let (lhs, rhs) = (self.seconds(lhs), self.seconds(rhs));
                if *largest { lhs.max(rhs) } else { lhs.min(rhs) }
            }
        }
    }

    pub(crate) fn selected<'s>(&'s self, selector: &'s VectorSelector) -> impl Iterator<Item = &'s Series> {
        self.series.iter().filter(|series| {
            let value = |name| series.labels.get(name).unwrap_or_default();
            selector.matchers.iter().all(|matcher| matcher.matches(value(matcher.name())))
        })
    }

    /// The newest sample of each series that is not older than the lookback, nor a staleness marker.
    fn newest<'s>(
        &'s self,
        selector: &'s VectorSelector,
        step: Step,
    ) -> impl Iterator<Item = (&'s Labels, (i64, Value))> {
        let end = self.looked_at(&selector.offset, selector.at, step.now);
        self.selected(selector).filter_map(move |series| {
            let newest = newest_within(&series.samples, end - LOOKBACK_MS, end)?;
            Some((&series.labels, newest.clone()))
        })
    }

    /// The series of a range vector with the samples of the window, and the window's ends, milliseconds.
    pub(crate) fn range(&self, expr: &Expr, step: Step) -> Result<(Vec<Run>, i64, i64)> {
        match expr {
            Expr::Paren(paren) => self.range(&paren.expr, step),
            Expr::Matrix(matrix) => {
                let end = self.looked_at(&matrix.selector.offset, matrix.selector.at, step.now);
                let start = end - self.millis(&matrix.range);
                let (before, behind) = match matrix.selector.edges {
                    Edges::Exact => (0, 0),
                    Edges::Anchored => (LOOKBACK_MS, 0),
                    Edges::Smoothed => (LOOKBACK_MS, LOOKBACK_MS),
                };
                let run = |series: &Series| {
                    let samples = without_markers(&series.samples, start - before, end + behind);
                    Run { labels: series.labels.clone(), drop_name: false, samples }
                };
                let mut runs: Vec<Run> = self.selected(&matrix.selector).map(run).collect();
                runs.retain(|run| !run.samples.is_empty());
                Ok((runs, start, end))
            }
            Expr::Subquery(subquery) => self.subquery(subquery, step),
            other => panic!("{other} is not a range vector"),
        }
    }

    fn subquery(&self, subquery: &Subquery, step: Step) -> Result<(Vec<Run>, i64, i64)> {
        let looked_at = |now| self.looked_at(&subquery.offset, subquery.at, now);
        let inner_step = subquery.step.as_ref().map_or(SUBQUERY_STEP_MS, |step| self.millis(step));
        let range = self.millis(&subquery.range);
        // The multiples of the inner step in `(start, end]`.
        let times = |start: i64, end: i64| {
            (start.div_euclid(inner_step) + 1..=end.div_euclid(inner_step)).map(move |i| i * inner_step)
        };
        let (first, last) = (looked_at(step.first) - range, looked_at(step.last));
        let inner = |now| Step { now, first, last };
        if step.now == step.first && step.first != step.last {
            let fails = |now| self.vector(&subquery.expr, inner(now)).is_err();
            if times(first, last).any(fails) {
                self.fails_between.set(true);
            }
        }
        let end = looked_at(step.now);
        let start = end - range;
        let mut runs: Vec<Run> = Vec::new();
        for now in times(start, end) {
            for Sample { labels, drop_name, value } in self.vector(&subquery.expr, inner(now))? {
                match runs.iter_mut().find(|run| run.labels == labels) {
                    Some(run) => run.samples.push((now * MS, value)),
                    None => runs.push(Run { labels, drop_name, samples: vec![(now * MS, value)] }),
                }
            }
        }
        Ok((runs, start, end))
    }

    fn call(&self, call: &Call, step: Step) -> Result<Vec<Sample>> {
        let name = call.function.name;
        let number = |at: usize| self.scalar(&call.args[at], step);
        let input = || self.vector(&call.args[0], step);
        match name {
            "vector" => {
                let value = Value::Float(number(0)?);
                Ok(vec![Sample { labels: Labels::empty(), drop_name: false, value }])
            }
            "absent" => Ok(absent(input()?.is_empty(), &call.args[0])),
            "absent_over_time" => Ok(absent(self.range(&call.args[0], step)?.0.is_empty(), &call.args[0])),
            "sort" | "sort_desc" => {
                Ok(input()?.into_iter().filter(|sample| sample.value.float().is_some()).collect())
            }
            "sort_by_label" | "sort_by_label_desc" => input(),
            "info" => self.info(call, step),
            _ if name.starts_with("histogram_") => {
                let params: Vec<f64> = (0..call.args.len() - 1).map(number).collect::<Result<_>>()?;
                self.buckets_decide.set(false);
                let input = self.vector(&call.args[call.args.len() - 1], step)?;
                // Prometheus reads no buckets then, and so does not see that they do not fit together, or that a gauge fell.
                if ["histogram_count", "histogram_sum", "histogram_avg"].contains(&name)
                    && self.buckets_decide.get()
                {
                    return Err(Failure::Unknown);
                }
                // Negative observations, as in differences, are not in any order.
                let is_negative = |sample: &Sample| sample.value.native().is_some_and(Native::is_negative);
                let ranks = ["histogram_quantile", "histogram_fraction"].contains(&name);
                if ranks && input.iter().any(is_negative) {
                    return Err(Failure::Unknown);
                }
                let estimated = |sample: Sample| {
                    let value = self.estimate(name, &params, sample.value.native()?);
                    Some(Sample { value: Value::Float(value), drop_name: true, ..sample })
                };
                Ok(input.into_iter().filter_map(estimated).collect())
            }
            "timestamp" => self.timestamps(&call.args[0], step),
            "label_replace" | "label_join" => self.relabeled(call, input()?),
            _ if is_date(name) => {
                let now = || {
                    let value = Value::Float(step.now as f64 / 1000.0);
                    vec![Sample { labels: Labels::empty(), drop_name: true, value }]
                };
                let mut samples = if call.args.is_empty() { now() } else { input()? };
                samples.retain(|sample| sample.value.float().is_some());
                for sample in &mut samples {
                    let seconds = sample.value.float().unwrap_or_default();
                    *sample = Sample {
                        drop_name: true,
                        value: Value::Float(date(name, seconds)?),
                        ..sample.clone()
                    };
                }
                Ok(samples)
            }
            _ if call.function.args.contains(&ValueType::Matrix) => self.rolled_up(call, step),
            _ => {
                let params: Vec<f64> = (1..call.args.len()).map(number).collect::<Result<_>>()?;
                Ok(changed(input()?, |value| {
                    self.math(name, value, &params).unwrap_or_else(|| panic!("the model has no {name}"))
                }))
            }
        }
    }

    fn rolled_up(&self, call: &Call, step: Step) -> Result<Vec<Sample>> {
        let name = call.function.name;
        let is_range = |arg: &&Expr| arg.value_type() == ValueType::Matrix;
        let params: Vec<f64> = call
            .args
            .iter()
            .filter(|arg| !is_range(arg))
            .map(|arg| self.scalar(arg, step))
            .collect::<Result<_>>()?;
        let range = call.args.iter().find(is_range).expect("a range vector");
        let edges =
            if let Expr::Matrix(matrix) = unwrapped(range) { matrix.selector.edges } else { Edges::Exact };
        if !takes(name, edges) {
            return Err(Failure::Error);
        }
        let (runs, start, end) = self.range(range, step)?;
        let is_no_factor = |factor: &f64| *factor <= 0.0 || *factor >= 1.0;
        if name == "double_exponential_smoothing" && !runs.is_empty() && params.iter().any(is_no_factor) {
            return Err(Failure::Error);
        }
        let keeps_name = ["last_over_time", "first_over_time"].contains(&name);
        let rolled_up = |run: Run| {
            let window =
                Window { samples: &run.samples, start: start * MS, end: end * MS, now: step.now * MS };
            let value = match edges {
                Edges::Exact => self.rollup(name, &params, &window)?,
                edges => self.extended(name, edges == Edges::Smoothed, &window)?,
            };
            Some(Sample { labels: run.labels, drop_name: run.drop_name || !keeps_name, value })
        };
        Ok(runs.into_iter().filter_map(rolled_up).collect())
    }

    /// Of a selector, the times of its samples; of anything else, the step's.
    fn timestamps(&self, expr: &Expr, step: Step) -> Result<Vec<Sample>> {
        if let Expr::Selector(selector) = unwrapped(expr) {
            let sample = |(labels, (time, _)): (&Labels, (i64, Value))| Sample {
                labels: labels.clone(),
                drop_name: true,
                value: Value::Float(time as f64 / 1e9),
            };
            // Smoothed or not.
            return Ok(self.newest(selector, step).map(sample).collect());
        }
        let now = Value::Float(step.now as f64 / 1000.0);
        let of_step = |sample: Sample| Sample { drop_name: true, value: now.clone(), ..sample };
        Ok(self.vector(expr, step)?.into_iter().map(of_step).collect())
    }
}

/// Whether the function knows what to do with the edges of a window.
fn takes(function: &str, edges: Edges) -> bool {
    match edges {
        Edges::Exact => true,
        Edges::Anchored => ["changes", "delta", "increase", "rate", "resets"].contains(&function),
        Edges::Smoothed => ["delta", "increase", "rate"].contains(&function),
    }
}

pub(crate) fn unwrapped(expr: &Expr) -> &Expr {
    if let Expr::Paren(paren) = expr { unwrapped(&paren.expr) } else { expr }
}

/// The samples in `(start, end]`; the ends are milliseconds.
fn within(samples: &[(i64, Value)], start: i64, end: i64) -> &[(i64, Value)] {
    let from = samples.partition_point(|(time, _)| *time <= start * MS);
    &samples[from..samples.partition_point(|(time, _)| *time <= end * MS).max(from)]
}

fn is_marker(value: &Value) -> bool {
    value.float().is_some_and(is_stale)
}

/// The samples in `(start, end]`, milliseconds, without staleness markers.
pub(crate) fn without_markers(samples: &[(i64, Value)], start: i64, end: i64) -> Vec<(i64, Value)> {
    within(samples, start, end).iter().filter(|(_, value)| !is_marker(value)).cloned().collect()
}

/// The last sample in `(start, end]`, milliseconds, unless it is a staleness marker.
pub(crate) fn newest_within(samples: &[(i64, Value)], start: i64, end: i64) -> Option<&(i64, Value)> {
    within(samples, start, end).last().filter(|(_, value)| !is_marker(value))
}

fn negated(sample: Sample) -> Sample {
    let value = match &sample.value {
        Value::Float(value) => Value::Float(-value),
        Value::Histogram(native) => Value::histogram(native.times(-1.0)),
    };
    Sample { value, drop_name: true, ..sample }
}

/// Other values, which have no metric name. Histograms are left out.
fn changed(samples: Vec<Sample>, value: impl Fn(f64) -> Option<f64>) -> Vec<Sample> {
    let change = |sample: Sample| {
        let value = Value::Float(value(sample.value.float()?)?);
        Some(Sample { value, drop_name: true, ..sample })
    };
    samples.into_iter().filter_map(change).collect()
}

/// One sample where there is none, with the labels that the selector names by `=` alone.
fn absent(is_absent: bool, expr: &Expr) -> Vec<Sample> {
    let matchers = match unwrapped(expr) {
        Expr::Selector(selector) => &selector.matchers[..],
        Expr::Matrix(matrix) => &matrix.selector.matchers[..],
        _ => &[],
    };
    // A second matcher for a label takes the label away; but an `=` that comes after others gives it.
    let (mut pairs, mut seen): (Vec<(&str, &str)>, Vec<&str>) = (Vec::new(), Vec::new());
    for matcher in matchers.iter().filter(|matcher| matcher.name() != "__name__") {
        pairs.retain(|(name, _)| *name != matcher.name());
        if matcher.op().as_str() == "=" && !seen.contains(&matcher.name()) {
            pairs.push((matcher.name(), matcher.value()));
            seen.push(matcher.name());
        }
    }
    let labels = Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
    let sample =
        Sample { labels: labels.expect("distinct labels"), drop_name: false, value: Value::Float(1.0) };
    if is_absent { vec![sample] } else { Vec::new() }
}
