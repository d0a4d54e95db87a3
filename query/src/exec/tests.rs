//! The executor over small databases: limits, cancellation, threads, and range queries against instant ones.

mod deep;
mod explain;

use tempfile::TempDir;
use timberline_engine::{Db, Labels, Options, WalSync};

use super::*;
use crate::error::ErrorKind;

/// A database with 100 counters `c_total{dc, i}` of 100 samples, one each 15 s from 0.
fn database() -> (Db, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
    let db = Db::open(directory.path(), options).unwrap();
    let mut appender = db.appender().unwrap();
    for i in 0..100_i64 {
        let (dc, name) = ((i % 4).to_string(), i.to_string());
        let labels = Labels::from_pairs([("__name__", "c_total"), ("dc", &dc), ("i", &name)]).unwrap();
        let samples = (0..100).map(|k| (k * 15_000_000_000, (k * (i + 1)) as f64));
        appender.series(&labels, samples).unwrap();
    }
    appender.commit().unwrap();
    (db, directory)
}

fn executor(limits: Limits, threads: usize) -> Executor {
    Executor::new(ExecutorOptions { limits, threads, ..ExecutorOptions::default() }).unwrap()
}

fn range(text: &str, end_ms: i64, step_ms: i64) -> Query {
    Query::range(text, crate::parse(text).unwrap(), 0, end_ms, step_ms)
}

fn error(limits: Limits, query: &Query) -> QueryError {
    let (db, _directory) = database();
    executor(limits, 1).execute(&db.snapshot(), query, &Cancel::new()).unwrap_err()
}

#[test]
fn a_limit_names_itself() {
    let check = |limits: Limits, query: &Query, name: &str| {
        let error = error(limits, query);
        assert_eq!(error.kind(), ErrorKind::Execution);
        assert!(error.to_string().starts_with(&format!("limit {name} reached")), "{error}");
    };
    let all = range("c_total", 60_000, 15_000);
    check(Limits { query_samples_max: 50, ..Limits::default() }, &all, "query_samples_max");
    check(Limits { selector_series_max: 99, ..Limits::default() }, &all, "selector_series_max");
    check(Limits { query_memory_bytes_max: 4000, ..Limits::default() }, &all, "query_memory_bytes_max");
    check(Limits { result_points_max: 499, ..Limits::default() }, &all, "result_points_max");
    let long = range("vector(1)", 11_001, 1);
    assert!(matches!(error(Limits::default(), &long), QueryError::Resolution { limit: 11_000, got: 11_001 }));
}

/// The limit once counted all samples that passed by: a week of some hundred series was too much.
#[test]
fn samples_that_pass_by_are_not_held() {
    let (db, _directory) = database();
    let limits = Limits { query_samples_max: 50, ..Limits::default() };
    let executor = executor(limits, 1);
    for text in ["sum(c_total)", "max(max_over_time(c_total[1m]))", "count(info(sum by (x) (c_total)))"] {
        let query = range(text, 60_000, 15_000);
        let outcome = executor.execute(&db.snapshot(), &query, &Cancel::new()).unwrap();
        assert!(outcome.stats.samples >= 500, "{text}: {:?}", outcome.stats);
    }
    for text in ["c_total", "sum(c_total offset 0s + c_total)", "c_total[1m]", "topk(1, c_total)"] {
        let query = Query::instant(text, crate::parse(text).unwrap(), 60_000);
        let outcome = executor.execute(&db.snapshot(), &query, &Cancel::new());
        let is_refused = matches!(outcome, Err(QueryError::Limit { name: "query_samples_max", .. }));
        assert!(is_refused, "{text}");
    }
}

/// Each step may give each histogram a series of its own. Those were once made before they were counted.
#[test]
fn quantiles_that_differ_from_step_to_step_are_points_too() {
    let query = range(
        r#"histogram_quantiles(label_replace(c_total, "le", "+Inf", "", ""), "q", time())"#,
        60_000,
        1000,
    );
    let limits = Limits { query_memory_bytes_max: 800_000, ..Limits::default() };
    let error = error(limits, &query);
    assert!(error.to_string().starts_with("limit query_memory_bytes_max reached"), "{error}");
}

#[test]
fn range_queries_refuse_what_has_no_steps() {
    for text in ["c_total[5m]", "\"text\""] {
        let error = error(Limits::default(), &range(text, 1000, 1000));
        assert_eq!(error.kind(), ErrorKind::BadData);
        assert!(error.to_string().contains("for range query, must be Scalar or instant Vector"), "{error}");
    }
    assert_eq!(error(Limits::default(), &range("c_total", -1, 1000)).kind(), ErrorKind::BadData);
}

#[test]
fn a_canceled_query_stops() {
    let (db, _directory) = database();
    let (snapshot, executor) = (db.snapshot(), executor(Limits::default(), 1));
    let query = range("sum(rate(c_total[5m]))", 1_000_000, 1000);
    let cancel = Cancel::new();
    cancel.cancel();
    assert_eq!(executor.execute(&snapshot, &query, &cancel).unwrap_err().kind(), ErrorKind::Canceled);
    let late = Cancel::new().with_timeout(Duration::ZERO);
    assert_eq!(executor.execute(&snapshot, &query, &late).unwrap_err().kind(), ErrorKind::Timeout);
}

/// Whatever the machine is doing, the answer is either there or it is the same.
#[test]
fn a_query_that_only_runs_if_it_is_short_answers_as_ever_or_not_at_all() {
    let (db, _directory) = database();
    let mut appender = db.appender().unwrap();
    for i in 0..1_100 {
        let labels = Labels::from_pairs([("__name__", "wide"), ("i", &i.to_string())]).unwrap();
        appender.series(&labels, [(15_000_000_000, 1.0)]).unwrap();
    }
    appender.commit().unwrap();
    db.flush().unwrap();
    let (snapshot, executor) = (db.snapshot(), executor(Limits::default(), 1));
    let never = ["count(wide)", "c_total{i=~\"1.*\"} + on () group_left () count(wide)"];
    for text in ["c_total{i=\"7\"}", "sum(c_total)", "sum(nothing)", "1 + 2"].iter().chain(&never) {
        let query = range(text, 60_000, 15_000);
        let expected = executor.execute(&snapshot, &query, &Cancel::new()).unwrap();
        let short = executor.execute_if_short(&snapshot, &query, &Cancel::new()).unwrap();
        assert!(short.is_none() || !never.contains(text), "{text}");
        if let Some(short) = short {
            assert_eq!((short.value, short.stats), (expected.value, expected.stats), "{text}");
        }
    }
    // Many cells, and one series that takes long by itself.
    for query in [
        range("c_total", 1_500_000, 1_000),
        range("quantile_over_time(0.5, c_total{i=\"7\"}[1500s:100ms])", 1_500_000, 1_000),
        // Windows that are looked at as a whole, some because of what is in them.
        range("double_exponential_smoothing(vector(time())[28000s:1s], 0.5, 0.5)", 1_999_000, 1_000),
        range("avg_over_time(vector(1e308)[28000s:1s])", 1_999_000, 1_000),
    ] {
        assert!(executor.execute_if_short(&snapshot, &query, &Cancel::new()).unwrap().is_none());
    }
    let canceled = Cancel::new();
    canceled.cancel();
    let error =
        executor.execute_if_short(&snapshot, &range("c_total", 60_000, 15_000), &canceled).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Canceled);
}

#[test]
fn the_number_of_threads_does_not_change_the_answer() {
    let (db, _directory) = database();
    let snapshot = db.snapshot();
    let texts = [
        "c_total",
        "sum by (dc) (rate(c_total[5m]))",
        "avg without (i) (c_total) > 100",
        "stddev(c_total)",
        "topk by (dc) (2, c_total)",
        "quantile(0.9, c_total)",
        "c_total / on (dc) group_left sum by (dc) (c_total)",
        "count_values(\"v\", c_total % 3)",
        "max_over_time(sum by (dc) (c_total)[5m:1m])",
    ];
    for text in texts {
        let query = range(text, 1_500_000, 60_000);
        let run = |threads| {
            executor(Limits::default(), threads).execute(&snapshot, &query, &Cancel::new()).unwrap()
        };
        let (one, four) = (run(1), run(4));
        let (Value::Matrix(one_value), Value::Matrix(four_value)) = (&one.value, &four.value) else {
            panic!("{text} is not a matrix")
        };
        assert!(!one_value.is_empty(), "{text}");
        assert_eq!(one_value.len(), four_value.len());
        for (a, b) in one_value.iter().zip(four_value) {
            assert_eq!((&a.labels, &a.timestamps_ms), (&b.labels, &b.timestamps_ms), "{text}");
            let close = |(a, b): (&f64, &f64)| a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * b.abs();
            assert!(a.values.iter().zip(&b.values).all(close), "{text}");
        }
        assert_eq!((one.stats.samples, one.stats.series), (four.stats.samples, four.stats.series));
        assert_eq!(one.stats.series % 100, 0);
    }
}

#[test]
fn what_stands_twice_is_evaluated_once() {
    let (db, _directory) = database();
    let (snapshot, executor) = (db.snapshot(), executor(Limits::default(), 2));
    let run =
        |text: &str| executor.execute(&snapshot, &range(text, 1_000_000, 100_000), &Cancel::new()).unwrap();
    let once = run("sum by (dc) (rate(c_total[5m]))");
    for twice in [
        "sum by (dc) (rate(c_total[5m])) + sum by (dc) (rate(c_total[5m])) - sum by (dc) (rate(c_total[5m]))",
        "(sum by (dc) (rate(c_total[5m])) / sum by (dc) (rate(c_total[5m]))) * sum by (dc) (rate(c_total[5m]))",
    ] {
        let twice = run(twice);
        assert_eq!(once.value, twice.value);
        assert_eq!(once.stats.samples, twice.stats.samples);
    }
    let mean = run("sum by (dc) (rate(c_total[5m])) / count by (dc) (rate(c_total[5m]))");
    assert_eq!(mean.stats.samples, once.stats.samples);
}

#[test]
fn what_stands_twice_is_annotated_twice() {
    let (db, _directory) = database();
    let (snapshot, executor) = (db.snapshot(), executor(Limits::default(), 2));
    let query = range(
        "rate({i='1',__name__=~'c.*'}[5m]) + quantile_over_time(2, c_total{i='1'}[5m]) \
                       + quantile_over_time(2, c_total{i='1'}[5m])",
        600_000,
        100_000,
    );
    let warnings = executor.execute(&snapshot, &query, &Cancel::new()).unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
}

#[test]
fn an_instant_query_of_a_range_selector_gives_the_samples() {
    let (db, _directory) = database();
    let text = "c_total{i=\"1\"}[30s]";
    let query = Query::instant(text, crate::parse(text).unwrap(), 60_000);
    let outcome = executor(Limits::default(), 1).execute(&db.snapshot(), &query, &Cancel::new()).unwrap();
    let Value::Matrix(series) = outcome.value else { panic!("not a matrix") };
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].timestamps_ms, [45_000, 60_000]);
    assert_eq!(series[0].values, [6.0, 8.0]);
}

#[test]
fn samples_between_milliseconds_count_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
    let db = Db::open(directory.path(), options).unwrap();
    let mut appender = db.appender().unwrap();
    let labels = Labels::from_pairs([("__name__", "m")]).unwrap();
    // One nanosecond before, at, and one after the millisecond 1000.
    let samples = [(999_999_999, 1.0), (1_000_000_000, 2.0), (1_000_000_001, 3.0)];
    appender.series(&labels, samples).unwrap();
    appender.commit().unwrap();
    let value = |text: &str, time_ms| {
        let query = Query::instant(text, crate::parse(text).unwrap(), time_ms);
        match executor(Limits::default(), 1).execute(&db.snapshot(), &query, &Cancel::new()).unwrap().value {
            Value::Vector(samples) => samples.first().map(|sample| sample.value),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(value("m", 1000), Some(2.0));
    assert_eq!(value("count_over_time(m[1s])", 1000), Some(2.0));
    assert_eq!(value("count_over_time(m[1s])", 2000), Some(1.0));
    assert_eq!(value("timestamp(m)", 2000), Some(1.000_000_001));
}

/// A database with irregular samples, gaps, staleness markers, NaN, infinities and counter resets.
fn untidy_database() -> (Db, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
    let db = Db::open(directory.path(), options).unwrap();
    let mut state = 42_u64;
    let mut next = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut appender = db.appender().unwrap();
    for i in 0..12_u64 {
        let name = if i % 3 == 0 { "g" } else { "c_total" };
        let (dc, i) = ((i % 2).to_string(), i.to_string());
        let labels = Labels::from_pairs([("__name__", name), ("dc", &dc), ("i", &i), ("le", &i)]).unwrap();
        let (mut time, mut value) = (next(30_000) as i64, 0.0);
        let mut samples = Vec::new();
        while time < 3_600_000 {
            value = if next(20) == 0 { 0.0 } else { value + next(100) as f64 / 4.0 };
            let stored = match next(40) {
                0 => timberline_engine::STALE_NAN,
                1 => f64::NAN,
                2 => f64::INFINITY,
                _ => value,
            };
            samples.push((time * 1_000_000, stored));
            time += if next(25) == 0 { 400_000 } else { 10_000 + next(9) as i64 };
        }
        appender.series(&labels, samples).unwrap();
    }
    appender.commit().unwrap();
    (db, directory)
}

#[test]
fn a_range_query_is_the_instant_queries_of_its_steps() {
    let (db, _directory) = untidy_database();
    let (snapshot, executor) = (db.snapshot(), executor(Limits::default(), 2));
    for text in include_str!("tests/queries.txt").lines() {
        let expr = crate::parse(text).unwrap();
        let range = Query::range(text, expr.clone(), 0, 3_600_000, 97_000);
        let range =
            executor.execute(&snapshot, &range, &Cancel::new()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let Value::Matrix(matrix) = range.value else { panic!("{text} is not a matrix") };
        assert!(!matrix.is_empty(), "{text} is empty");
        for time_ms in (0..=3_600_000).step_by(97_000) {
            let instant = Query::instant(text, expr.clone(), time_ms);
            let outcome = executor.execute(&snapshot, &instant, &Cancel::new()).unwrap();
            let mut expected: Vec<(Labels, f64)> = match outcome.value {
                Value::Vector(samples) => samples.into_iter().map(|s| (s.labels, s.value)).collect(),
                Value::Scalar { value, .. } => vec![(Labels::empty(), value)],
                other => panic!("{text}: {other:?}"),
            };
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            let at_time = |series: &crate::MatrixSeries| {
                let at = series.timestamps_ms.iter().position(|&t| t == time_ms)?;
                Some((series.labels.clone(), series.values[at]))
            };
            let got: Vec<(Labels, f64)> = matrix.iter().filter_map(at_time).collect();
            let close =
                |a: f64, b: f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * b.abs();
            let same = got.len() == expected.len()
                && got.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && close(a.1, b.1));
            assert!(same, "{text} at {time_ms}: {got:?} is not {expected:?}");
        }
    }
}

mod condensed;
mod native;
