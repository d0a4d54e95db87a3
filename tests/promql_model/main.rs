//! The executor against a deliberately naive evaluator ([`model`]): random data, random queries, the same answers.
//!
//! A query must fail in both or give the same series, with the same times and values. And each step of a range query must be the
//! answer to the instant query at its time. What fails is made smaller before it is shown: expressions inside it, fewer steps.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

#[path = "../common/mod.rs"]
mod common;
mod data;
mod estimates;
mod extended;
mod functions;
mod info;
mod model;
mod native;
mod properties;
mod queries;
mod vectors;
mod windows;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Random, for_each_seed};
use data::{Data, Series};
use model::{Answer, Bounds, Failure, Model};
use native::{Native, Value as Cell};
use queries::Maker;
use timberline_engine::histogram::cell;
use timberline_engine::{Labels, Snapshot};
use timberline_query::ast::Expr;
use timberline_query::{Cancel, Executor, ExecutorOptions, MatrixSeries, Query, Value};

const DATABASES: u64 = 200;
const QUERIES_PER_DATABASE: u64 = 40;
const TOLERANCE: f64 = 1e-9;
/// How far around a query's times samples are shown.
const SHOWN_MS: i64 = 1_200_000;
/// How often the model evaluates with noise before a difference counts.
const NOISES: u64 = 4;

/// How often what came out, so that a test that compares nothing does not pass.
#[derive(Default)]
struct Tally {
    values: AtomicU64,
    empty: AtomicU64,
    errors: AtomicU64,
    unknown: AtomicU64,
    unstable: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn answers_as_the_model_does() {
    let tally = Tally::default();
    let options = ExecutorOptions { threads: 2, ..ExecutorOptions::default() };
    let executor = Executor::new(options).unwrap();
    for_each_seed(DATABASES, |seed| {
        let mut random = Random(seed);
        let (data, db) = data::random(&mut random);
        let snapshot = db.snapshot();
        let case = Case { data: &data, snapshot: &snapshot, executor: &executor, tally: &tally };
        for _ in 0..QUERIES_PER_DATABASE {
            let (text, bounds) = Maker { random: &mut random, data: &data }.query();
            let expr = timberline_query::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            if let Err(difference) = case.check(&expr, bounds) {
                panic!("{}", case.smaller(&expr, bounds, difference));
            }
        }
    });
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let Tally { values, empty, errors, unknown, unstable } = &tally;
    let [values, empty, errors, unknown, unstable] = [values, empty, errors, unknown, unstable].map(of);
    println!("{values} answers, {empty} empty ones, {errors} errors");
    println!("not compared: {unknown} with several right outcomes, {unstable} in which rounding decides");
    let all = values + empty + errors + unknown + unstable;
    // Of one seed's queries it does not say much.
    assert!(values * 2 > all || all < 1000, "too few queries give something to compare");
    assert!(unstable * 50 <= all, "too many differences are put down to rounding");
}

/// A database and what is asked of it.
struct Case<'a> {
    data: &'a Data,
    snapshot: &'a Snapshot,
    executor: &'a Executor,
    tally: &'a Tally,
}

impl Case<'_> {
    fn execute(&self, expr: &Expr, bounds: Bounds) -> Result<Value, String> {
        let Bounds { start_ms, end_ms, step_ms } = bounds;
        let query = Query::range(expr.to_string(), expr.clone(), start_ms, end_ms, step_ms);
        let outcome = self.executor.execute(self.snapshot, &query, &Cancel::new());
        let answer = outcome.map(|outcome| outcome.value).map_err(|error| error.to_string());
        // What answers at all as a short query answers alike.
        let short = self.executor.execute_if_short(self.snapshot, &query, &Cancel::new());
        if let Some(short) = short.map_err(|error| error.to_string()).transpose() {
            let short = short.map(|outcome| outcome.value);
            assert_eq!(format!("{short:?}"), format!("{answer:?}"), "{expr} as a short query");
        }
        answer
    }

    fn model(&self, expr: &Expr, bounds: Bounds, noise: Option<u64>) -> Result<Answer, Failure> {
        Model::new(&self.data.series, bounds, noise).evaluate(expr)
    }

    /// Says how the two answers to a query differ.
    fn check(&self, expr: &Expr, bounds: Bounds) -> Result<(), String> {
        let expected = self.model(expr, bounds, None);
        if matches!(expected, Err(Failure::Unknown)) {
            Tally::count(&self.tally.unknown);
            return Ok(());
        }
        let value = self.execute(expr, bounds);
        if let Ok(value) = &value {
            properties::check_order(expr, value)?;
        }
        let got = value.map(answer);
        let same = match (&got, &expected) {
            (Ok(got), Ok(expected)) => same(got, expected),
            (got, expected) => got.is_err() == expected.is_err(),
        };
        if !same {
            if self.is_unstable(expr, bounds, &expected) {
                Tally::count(&self.tally.unstable);
                return Ok(());
            }
            return Err(format!("the executor gives {}\nthe model    {}", shown(&got), shown(&expected)));
        }
        Tally::count(match &expected {
            Err(_) => &self.tally.errors,
            Ok(answer) if answer.is_empty() => &self.tally.empty,
            Ok(_) => &self.tally.values,
        });
        match got {
            Ok(got) => self.check_steps(expr, bounds, &got),
            Err(_) => Ok(()),
        }
    }

    /// Whether rounding decides the answer.
    fn is_unstable(&self, expr: &Expr, bounds: Bounds, expected: &Result<Answer, Failure>) -> bool {
        (0..NOISES).any(|noise| match (self.model(expr, bounds, Some(noise)), expected) {
            (Ok(noisy), Ok(expected)) => !same(&noisy, expected),
            (noisy, expected) => noisy.is_ok() != expected.is_ok(),
        })
    }

    /// Compares some steps of a range query with the instant queries at their times.
    fn check_steps(&self, expr: &Expr, bounds: Bounds, range: &Answer) -> Result<(), String> {
        let text = expr.to_string();
        if bounds.step_ms == 0
            || ["start()", "end()", "step()", "range()"].iter().any(|call| text.contains(call))
        {
            return Ok(());
        }
        let times: Vec<i64> = bounds.steps().collect();
        for now in [times[0], times[times.len() / 2], times[times.len() - 1]] {
            let at = Bounds { start_ms: now, end_ms: now, step_ms: 0 };
            let of_step = |(labels, samples): &(Labels, Vec<(i64, Cell)>)| {
                let sample = samples.iter().find(|(time, _)| *time == now)?;
                Some((labels.clone(), vec![sample.clone()]))
            };
            let step: Answer = range.iter().filter_map(of_step).collect();
            let instant = self.execute(expr, at).map(answer);
            let same = instant.as_ref().is_ok_and(|instant| same(instant, &step));
            if !same && !self.is_unstable(expr, at, &self.model(expr, at, None)) {
                let (instant, step) = (shown(&instant), shown(&Ok::<_, String>(step)));
                return Err(format!("the instant query at {now} gives {instant}\nthe range query {step}"));
            }
        }
        Ok(())
    }

    /// Looks for a part of the query, or for one step of it, that differs too.
    fn smaller(&self, expr: &Expr, bounds: Bounds, difference: String) -> String {
        let (mut expr, mut bounds, mut difference) = (expr.clone(), bounds, difference);
        'smaller: loop {
            let instants = bounds.steps().map(|now| Bounds { start_ms: now, end_ms: now, step_ms: 0 });
            let instants: Vec<Bounds> = if bounds.step_ms > 0 { instants.collect() } else { Vec::new() };
            for part in parts(&expr) {
                if let Err(other) = self.check(part, bounds) {
                    (expr, difference) = (part.clone(), other);
                    continue 'smaller;
                }
            }
            for at in instants {
                if let Err(other) = self.check(&expr, at) {
                    (bounds, difference) = (at, other);
                    continue 'smaller;
                }
            }
            let Bounds { start_ms, end_ms, step_ms } = bounds;
            let times = format!("from {start_ms} to {end_ms} step {step_ms} (ms)");
            return format!("{expr}\n{times}\n{difference}\n{}", self.samples_of(&expr, bounds));
        }
    }

    /// The samples that the selectors of a small query may read, as long as it does not look far back.
    fn samples_of(&self, expr: &Expr, bounds: Bounds) -> String {
        let mut selectors = Vec::new();
        let mut left = vec![expr];
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Selector(selector) => selectors.push(selector),
                Expr::Matrix(matrix) => selectors.push(&matrix.selector),
                other => left.extend(children(other)),
            }
        }
        let reads = |labels: &Labels| {
            selectors.iter().any(|selector| {
                selector.matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()))
            })
        };
        let series = self.data.series.iter().filter(|series| reads(&series.labels));
        let near = |time_ms: i64| (bounds.start_ms - SHOWN_MS..bounds.end_ms + SHOWN_MS).contains(&time_ms);
        let shown = |series: &Series| {
            let samples = series.samples.iter().filter(|(time, _)| near(time / 1_000_000));
            format!("{} {:?}\n", series.labels, samples.collect::<Vec<_>>())
        };
        series.map(shown).collect()
    }
}

/// The expressions directly inside `expr`.
fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Selector(_) | Expr::Matrix(_) => Vec::new(),
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Aggregate(aggregate) => vec![&aggregate.expr],
        Expr::Call(call) => call.args.iter().collect(),
    }
}

/// The same that are queries of their own.
fn parts(expr: &Expr) -> Vec<&Expr> {
    let is_query = |part: &&Expr| {
        !matches!(part, Expr::Number(_) | Expr::String(_) | Expr::Matrix(_) | Expr::Subquery(_))
    };
    let inside = children(expr).into_iter().flat_map(|child| match child {
        Expr::Subquery(subquery) => vec![&*subquery.expr],
        child => vec![child],
    });
    inside.filter(is_query).collect()
}

fn answer(value: Value) -> Answer {
    let mut answer: Answer = match value {
        Value::Scalar { timestamp_ms, value } => {
            vec![(Labels::empty(), vec![(timestamp_ms, Cell::Float(value))])]
        }
        Value::Vector(samples) => samples
            .into_iter()
            .map(|sample| {
                let native = sample.histogram.map(|histogram| Cell::histogram(Native::of(&histogram)));
                (sample.labels, vec![(sample.timestamp_ms, native.unwrap_or(Cell::Float(sample.value)))])
            })
            .collect(),
        Value::Matrix(series) => {
            let samples = |s: MatrixSeries| {
                let cell = |value: f64| match cell::histogram_place(value) {
                    Some(place) => Cell::histogram(Native::of(&s.histograms[place as usize])),
                    None => Cell::Float(value),
                };
                (s.labels, s.timestamps_ms.into_iter().zip(s.values.into_iter().map(cell)).collect())
            };
            series.into_iter().map(samples).collect()
        }
        Value::String { value, .. } => panic!("a string: {value}"),
    };
    answer.sort_by(|a, b| a.0.cmp(&b.0));
    answer
}

fn close(a: f64, b: f64, scale: f64) -> bool {
    a == b
        || a.is_nan() && b.is_nan()
        || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(scale).min(f64::MAX)
}

/// The same up to rounding; a bucket that is listed with what rounding left of it is empty.
fn same_native(a: &Native, b: &Native) -> bool {
    let scale = a.count.abs().max(a.sum.abs()).max(1.0);
    let scale = if scale.is_finite() { scale } else { 1.0 };
    let counts = |a: &BTreeMap<i32, f64>, b: &BTreeMap<i32, f64>| {
        let count = |of: &BTreeMap<i32, f64>, index| of.get(index).copied().unwrap_or(0.0);
        a.keys().chain(b.keys()).all(|index| close(count(a, index), count(b, index), scale))
    };
    let numbers = |native: &Native| [native.count, native.sum, native.zero_count];
    a.schema == b.schema
        && a.gauge == b.gauge
        && a.bounds == b.bounds
        && a.zero_threshold == b.zero_threshold
        && numbers(a).into_iter().zip(numbers(b)).all(|(a, b)| close(a, b, scale))
        && counts(&a.positive, &b.positive)
        && counts(&a.negative, &b.negative)
}

fn same_cell(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Float(a), Cell::Float(b)) => close(*a, *b, 0.0),
        (Cell::Histogram(a), Cell::Histogram(b)) => same_native(a, b),
        _ => false,
    }
}

fn same(a: &Answer, b: &Answer) -> bool {
    let same_samples = |a: &[(i64, Cell)], b: &[(i64, Cell)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same_cell(&a.1, &b.1))
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same_samples(&a.1, &b.1))
}

fn shown<E: std::fmt::Debug>(answer: &Result<Answer, E>) -> String {
    match answer {
        Ok(answer) => answer.iter().map(|(labels, samples)| format!("\n    {labels} {samples:?}")).collect(),
        Err(error) => format!("{error:?}"),
    }
}
