//! Native histograms through whole queries: steps, threads and limits.

use std::sync::Arc;

use timberline_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, cell};
use timberline_engine::{BucketSpan, Buckets, Histogram, ResetHint, STALE_NAN};

use super::*;
use crate::histogram::buckets;

const QUERIES: &str = "\
h
-h
h * 2
h / 0
h == h
h </ 3
h >/ 1.5
h + ignoring (kind) group_left h{kind=\"mixed\"}
rate(h[5m])
increase(h[10m] offset 1m)
delta(h[5m])
irate(h[5m])
idelta(h[5m])
sum(h{kind=\"exp\"})
avg by (i) (h{kind!=\"custom\"})
sum by (kind) (rate(h[5m]))
avg by (kind) (h)
count(h)
min by (kind) (h)
topk(2, h)
count_values(\"v\", histogram_count(h))
sum_over_time(h[3m])
avg_over_time(h[10m:1m])
last_over_time(h[3m])
first_over_time(h[3m])
changes(h[10m])
resets(h[10m])
max_over_time(h[5m])
count_over_time(h[5m])
histogram_count(sum by (kind) (h))
histogram_sum(rate(h[5m]))
histogram_avg(h)
histogram_stddev(h)
histogram_quantile(0.9, h)
histogram_quantile(0.5, sum by (kind) (rate(h[5m])))
histogram_fraction(0, 2, h)
histogram_quantiles(h, \"q\", 0.1, 0.9)
increase(h[5m] anchored)
rate(h[5m] smoothed)
h smoothed
h unless histogram_count(h) > 100
scalar(h{kind=\"mixed\", i=\"0\"}) + h
timestamp(h)
absent(h{i=\"9\"})
label_replace(h, \"j\", \"$1\", \"i\", \"(.)\")
";

/// Pseudo-random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn counts(&mut self, offset: i32, length: usize) -> Buckets {
        let counts: Vec<f64> = (0..length).map(|_| self.below(5) as f64).collect();
        Buckets { spans: vec![BucketSpan { offset, length: length as u32 }], counts }
    }

    fn histogram(&mut self, kind: &str, growth: f64) -> Histogram {
        let offset = self.below(4) as i32 - 1;
        let mut histogram = Histogram {
            schema: self.below(3) as i32,
            zero_threshold: [0.001, 0.6][usize::from(self.below(8) == 0)],
            zero_count: growth,
            positive: self.counts(offset, 6),
            negative: self.counts(0, 2),
            sum: growth * 3.5,
            ..Histogram::default()
        };
        match kind {
            "custom" => {
                let all = [1.0, 2.0, 4.0, 8.0];
                let bounds: Arc<[f64]> = if self.below(10) == 0 { all[1..].into() } else { all.into() };
                let positive = self.counts(0, bounds.len() + 1);
                histogram = Histogram {
                    schema: CUSTOM_BUCKETS_SCHEMA,
                    positive,
                    custom_values: bounds,
                    sum: histogram.sum,
                    ..Histogram::default()
                };
            }
            "gauge" => histogram.reset_hint = ResetHint::Gauge,
            _ => {}
        }
        histogram.positive.counts.iter_mut().for_each(|count| *count += growth);
        let sides = histogram.positive.counts.iter().chain(&histogram.negative.counts);
        histogram.count = histogram.zero_count + sides.sum::<f64>();
        histogram
    }
}

/// Four kinds of series with resets, changes of buckets, gaps, staleness markers, and floats between histograms.
fn database() -> (Db, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
    let db = Db::open(directory.path(), options).unwrap();
    let mut random = Random(7);
    let mut appender = db.appender().unwrap();
    for (kind, i) in
        ["exp", "custom", "gauge", "mixed"].into_iter().flat_map(|kind| [(kind, "0"), (kind, "1")])
    {
        let labels = Labels::from_pairs([("__name__", "h"), ("kind", kind), ("i", i)]).unwrap();
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        let (mut time_ms, mut growth) = (random.below(20_000) as i64, 0.0);
        while time_ms < 1_800_000 {
            growth = if random.below(15) == 0 { 0.0 } else { growth + random.below(9) as f64 };
            let time = time_ms * 1_000_000;
            match random.below(30) {
                0 => floats.push((time, STALE_NAN)),
                1..6 if kind == "mixed" => floats.push((time, growth)),
                _ => histograms.push((time, random.histogram(kind, growth))),
            }
            time_ms += if random.below(20) == 0 { 330_000 } else { 20_000 };
        }
        appender.series(&labels, floats).unwrap();
        appender.histogram_series(&labels, histograms).unwrap();
    }
    appender.commit().unwrap();
    (db, directory)
}

/// All numbers of a sample.
fn numbers(value: f64, histogram: Option<&Arc<Histogram>>) -> Vec<f64> {
    let Some(histogram) = histogram else { return vec![value] };
    let buckets = buckets(histogram).into_iter().filter(|bucket| bucket.count != 0.0);
    let parts = buckets.flat_map(|bucket| [bucket.lower, bucket.upper, bucket.count]);
    [histogram.count, histogram.sum].into_iter().chain(parts).collect()
}

/// The samples at `time_ms`, by their labels.
fn at_time(matrix: &[crate::MatrixSeries], time_ms: i64) -> Vec<(String, Vec<f64>)> {
    let sample = |series: &crate::MatrixSeries| {
        let value = series.values[series.timestamps_ms.iter().position(|&t| t == time_ms)?];
        let histogram = cell::histogram_place(value).and_then(|place| series.histograms.get(place as usize));
        Some((series.labels.to_string(), numbers(value, histogram)))
    };
    matrix.iter().filter_map(sample).collect()
}

fn same(a: &[(String, Vec<f64>)], b: &[(String, Vec<f64>)]) -> bool {
    let close =
        |(a, b): (&f64, &f64)| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    a.len() == b.len()
        && a.iter().zip(b).all(|((a, x), (b, y))| a == b && x.len() == y.len() && x.iter().zip(y).all(close))
}

#[test]
fn a_range_query_of_histograms_is_the_instant_queries_of_its_steps() {
    let (db, _directory) = database();
    let (snapshot, executor) = (db.snapshot(), executor(Limits::default(), 2));
    for text in QUERIES.lines() {
        let expr = crate::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let range = Query::range(text, expr.clone(), 0, 1_800_000, 61_000);
        let range =
            executor.execute(&snapshot, &range, &Cancel::new()).unwrap_or_else(|e| panic!("{text}: {e}"));
        let Value::Matrix(matrix) = range.value else { panic!("{text} is not a matrix") };
        assert!(!matrix.is_empty(), "{text} is empty");
        for time_ms in (0..=1_800_000).step_by(61_000) {
            let instant = Query::instant(text, expr.clone(), time_ms);
            let Value::Vector(samples) = executor.execute(&snapshot, &instant, &Cancel::new()).unwrap().value
            else {
                panic!("{text} is not a vector")
            };
            let mut expected: Vec<(String, Vec<f64>)> = samples
                .iter()
                .map(|sample| (sample.labels.to_string(), numbers(sample.value, sample.histogram.as_ref())))
                .collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            let mut got = at_time(&matrix, time_ms);
            got.sort_by(|a, b| a.0.cmp(&b.0));
            assert!(same(&got, &expected), "{text} at {time_ms}: {got:?} is not {expected:?}");
        }
    }
}

#[test]
fn threads_change_neither_histograms_nor_what_is_said_of_them() {
    let (db, _directory) = database();
    let snapshot = db.snapshot();
    for text in QUERIES.lines() {
        let query = range(text, 1_800_000, 61_000);
        let run = |threads| {
            executor(Limits::default(), threads).execute(&snapshot, &query, &Cancel::new()).unwrap()
        };
        let (one, four) = (run(1), run(4));
        let (Value::Matrix(a), Value::Matrix(b)) = (&one.value, &four.value) else { panic!("{text}") };
        for time_ms in (0..=1_800_000).step_by(61_000) {
            assert!(same(&at_time(a, time_ms), &at_time(b, time_ms)), "{text} at {time_ms}");
        }
        assert_eq!((one.warnings, one.infos), (four.warnings, four.infos), "{text}");
    }
}

#[test]
fn histograms_count_as_the_memory_that_they_take() {
    let (db, _directory) = database();
    let limits = Limits { query_memory_bytes_max: 24 << 10, ..Limits::default() };
    let run = |text| {
        executor(limits.clone(), 1).execute(&db.snapshot(), &range(text, 1_800_000, 61_000), &Cancel::new())
    };
    assert!(run("histogram_count(sum(h{kind=\"none\"}))").is_ok());
    let error = run("h").unwrap_err();
    assert!(error.to_string().starts_with("limit query_memory_bytes_max reached"), "{error}");
}

#[test]
fn histograms_are_never_tried_as_short_queries() {
    let (db, _directory) = database();
    let executor = executor(Limits::default(), 1);
    let is_short = |text: &str| {
        let query = Query::instant(text, crate::parse(text).unwrap(), 1_700_000);
        executor.execute_if_short(&db.snapshot(), &query, &Cancel::new()).unwrap().is_some()
    };
    let texts =
        ["h{kind=\"exp\",i=\"0\"}", "histogram_quantile(0.9, h)", "rate(h[5m])", "max_over_time(h[30m])"];
    for place in ["head", "block"] {
        assert!(texts.iter().all(|text| !is_short(text)), "in a {place}");
        db.flush().unwrap();
    }
    // Numbers behind a block of histograms.
    let mut appender = db.appender().unwrap();
    let labels = Labels::from_pairs([("__name__", "h"), ("kind", "exp"), ("i", "0")]).unwrap();
    appender.series(&labels, (1801..1900).map(|second| (second * 1_000_000_000, 1.0))).unwrap();
    appender.commit().unwrap();
    let snapshot = db.snapshot();
    for text in
        ["count_over_time(h{kind=\"exp\",i=\"0\"}[1h])", "first_over_time(h{kind=\"exp\",i=\"0\"}[1h])"]
    {
        let query = Query::instant(text, crate::parse(text).unwrap(), 1_900_000);
        assert!(executor.execute_if_short(&snapshot, &query, &Cancel::new()).unwrap().is_none(), "{text}");
    }
}
