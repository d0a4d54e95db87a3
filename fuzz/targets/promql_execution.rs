//! Queries made of any bytes, evaluated over a small database with floats, native histograms and all that is unusual in them: an
//! error or an answer in good order, soon, and the same if it is only to be evaluated as long as it is short.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::{arbitrary, fuzz_target};
use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::histogram::CUSTOM_BUCKETS_SCHEMA;
use timberline_engine::{BucketSpan, Buckets, Db, Histogram, Labels, Options, STALE_NAN, WalSync, is_stale};
use timberline_query::ast::ValueType;
use timberline_query::signature::SIGNATURES;
use timberline_query::{
    Cancel, ErrorKind, Executor, ExecutorOptions, Limits, MatrixSeries, Outcome, Query, Value, VectorSample,
};

/// Long before libFuzzer's own bound, so that what is slow says so.
const TIMEOUT: Duration = Duration::from_secs(10);
const MINUTE_NANOS: i64 = 60_000_000_000;

type Result<T> = arbitrary::Result<T>;

static DATABASE: LazyLock<Db> = LazyLock::new(database);

/// Whether `TIMBERLINE_SHOW` is set: to see the query that one input means.
static SHOWS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("TIMBERLINE_SHOW").is_some());

static EXECUTOR: LazyLock<Executor> = LazyLock::new(|| {
    let limits = Limits {
        query_samples_max: 1_000_000,
        selector_series_max: 1000,
        query_steps_max: 1000,
        query_memory_bytes_max: 8 << 20,
        result_points_max: 1_000_000,
    };
    let options = ExecutorOptions { threads: 1, timeout: TIMEOUT, limits, ..ExecutorOptions::default() };
    Executor::new(options).unwrap()
});

fuzz_target!(|bytes: &[u8]| {
    let mut maker = Maker { bytes: Unstructured::new(bytes) };
    let Ok((text, start_ms, end_ms, step_ms)) = maker.query() else { return };
    if *SHOWS {
        eprintln!("{text}\nfrom {start_ms} to {end_ms} step {step_ms} (ms)");
    }
    let Ok(expr) = timberline_query::parse(&text) else { return };
    let query = Query::range(&*text, expr, start_ms, end_ms, step_ms);
    let snapshot = DATABASE.snapshot();
    let whole = EXECUTOR.execute(&snapshot, &query, &Cancel::new());
    match &whole {
        Ok(outcome) => check(&text, &outcome.value),
        Err(error) => {
            let fault =
                matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Internal | ErrorKind::Canceled);
            assert!(!fault, "{text}: {error}");
        }
    }
    let value = |outcome: Outcome| format!("{:?}", outcome.value);
    if let Some(short) = EXECUTOR.execute_if_short(&snapshot, &query, &Cancel::new()).transpose() {
        let (short, whole) = (short.map(value), whole.map(value));
        assert_eq!(short.map_err(|e| e.to_string()), whole.map_err(|e| e.to_string()), "{text}");
    }
});

/// Distinct series, ascending times, and no cell that only means something inside the executor.
fn check(text: &str, value: &Value) {
    let no_marker = |value: f64| assert!(!is_stale(value), "{text}: a marker in the answer");
    match value {
        Value::Vector(samples) => {
            let mut labels: Vec<&Labels> = samples.iter().map(|VectorSample { labels, .. }| labels).collect();
            labels.sort_unstable();
            assert!(labels.windows(2).all(|pair| pair[0] < pair[1]), "{text}: the same series twice");
            samples.iter().for_each(|sample| no_marker(sample.value));
        }
        Value::Matrix(series) => {
            assert!(series.is_sorted_by(|a, b| a.labels < b.labels), "{text}: series are not in order");
            for MatrixSeries { timestamps_ms, values, .. } in series {
                // Times that nanoseconds do not hold are all the last that they hold.
                let ascends = |a: &i64, b: &i64| a < b || a.abs() >= i64::MAX / 1_000_000;
                assert!(timestamps_ms.is_sorted_by(ascends), "{text}: times are not in order");
                assert!(!values.is_empty() && values.len() == timestamps_ms.len(), "{text}");
                values.iter().copied().for_each(no_marker);
            }
        }
        Value::Scalar { .. } | Value::String { .. } => {}
    }
}

/// Gauges `g`, counters `c_total`, classic buckets `h_bucket`, native histograms `n`, and `target_info`; an hour, one sample a
/// minute, the older half in a block.
fn database() -> Db {
    let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
    let db = Db::open_in(SimulatedDirectory::new(1), options).unwrap();
    for half in [0..30, 30..60] {
        let mut appender = db.appender().unwrap();
        for (name, le) in [
            ("g", ""),
            ("c_total", ""),
            ("h_bucket", "1"),
            ("h_bucket", "+Inf"),
            ("n", ""),
            ("target_info", ""),
        ] {
            for (job, instance) in [("a", "0"), ("a", "1"), ("b", "0")] {
                let pairs = [("__name__", name), ("job", job), ("instance", instance), ("le", le)];
                let labels =
                    Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty())).unwrap();
                let time = |i: i64| i * MINUTE_NANOS;
                if name == "n" {
                    let samples = half.clone().map(|i| (time(i), histogram(i, instance == "1")));
                    appender.histogram_series(&labels, samples).unwrap();
                }
                if name != "n" || job == "b" {
                    // The last native series is of floats every other minute.
                    let step = if name == "n" { 2 } else { 1 };
                    let samples = half.clone().step_by(step).map(|i| (time(i), float(name, i)));
                    appender.series(&labels, samples).unwrap();
                }
            }
        }
        appender.commit().unwrap();
        if half.start == 0 {
            db.flush().unwrap();
        }
    }
    db
}

fn float(name: &str, i: i64) -> f64 {
    match (name, i % 20) {
        ("target_info", _) => 1.0,
        (_, 7) => STALE_NAN,
        ("g", 3) => f64::NAN,
        ("g", 5) => f64::INFINITY,
        ("g", 6) => f64::NEG_INFINITY,
        ("g", _) => (i * 37 % 11) as f64 - 4.5,
        _ => (i % 25) as f64 * 3.0,
    }
}

fn histogram(i: i64, is_custom: bool) -> Histogram {
    let counts = vec![1.0, (i % 25) as f64, 2.0];
    let count = counts.iter().sum::<f64>();
    let buckets = Buckets { spans: vec![BucketSpan { offset: 0, length: 3 }], counts };
    let mut histogram = Histogram { count, sum: i as f64, positive: buckets.clone(), ..Histogram::default() };
    if is_custom {
        histogram.schema = CUSTOM_BUCKETS_SCHEMA;
        histogram.custom_values = [1.0, 5.0, 10.0].into();
    } else {
        histogram.schema = if i < 40 { 0 } else { 1 };
        (histogram.zero_threshold, histogram.zero_count) = (0.001, 1.0);
        histogram.count = 2.0 * count + 1.0;
        histogram.negative = buckets;
    }
    histogram
}

/// Makes queries that are right in most things. Where the bytes end, each choice is the first, which goes no deeper.
struct Maker<'a> {
    bytes: Unstructured<'a>,
}

impl Maker<'_> {
    fn pick<'t>(&mut self, from: &[&'t str]) -> Result<&'t str> {
        self.bytes.choose(from).copied()
    }

    fn query(&mut self) -> Result<(String, i64, i64, i64)> {
        let start_ms = i64::from(self.bytes.int_in_range(-10_i16..=4000)?) * 1000;
        let step_ms = *self.bytes.choose(&[0, 60_000, 1, 15_000, 7_001, 600_000, 1 << 40])?;
        let steps = self.bytes.int_in_range(0..=20)?;
        let kind = [ValueType::Vector, ValueType::Scalar, ValueType::Matrix, ValueType::String];
        let kind = kind[self.bytes.choose_index(if step_ms == 0 { 4 } else { 2 })?];
        Ok((self.of_type(kind, 5)?, start_ms, start_ms + step_ms * steps, step_ms))
    }

    fn of_type(&mut self, kind: ValueType, depth: usize) -> Result<String> {
        match kind {
            ValueType::Scalar => self.scalar(depth),
            ValueType::Vector => self.vector(depth),
            ValueType::Matrix => self.matrix(depth),
            ValueType::String => self.string(),
        }
    }

    fn string(&mut self) -> Result<String> {
        let texts = [
            "job", "instance", "le", "new", "__name__", "", "$1", "${1}-$2", "(.*)", "(a)|b", "a", "-", "é",
            "__type__",
        ];
        Ok(format!("{:?}", self.pick(&texts)?))
    }

    fn scalar(&mut self, depth: usize) -> Result<String> {
        let choices = if depth == 0 { 2 } else { 5 };
        Ok(match self.bytes.choose_index(choices)? {
            0 => {
                let numbers = [
                    "1", "0", "-1", "0.5", "2", "0.9", "NaN", "Inf", "-Inf", "1e300", "-1e300", "5e-324",
                    "1e19", "1e15", "0.3",
                ];
                self.pick(&numbers)?.to_owned()
            }
            1 => self.pick(&["time()", "start()", "end()", "step()", "range()", "pi()"])?.to_owned(),
            2 => format!("scalar({})", self.vector(depth - 1)?),
            3 => {
                let op =
                    self.pick(&["+", "-", "*", "/", "%", "^", "atan2", "== bool", "> bool", "<= bool"])?;
                format!("({} {op} {})", self.scalar(depth - 1)?, self.scalar(depth - 1)?)
            }
            _ => {
                let function = self.pick(&["min_of", "max_of"])?;
                format!("{function}({}, {})", self.scalar(depth - 1)?, self.scalar(depth - 1)?)
            }
        })
    }

    fn selector(&mut self) -> Result<String> {
        let names = [
            "g",
            "c_total",
            "h_bucket",
            "n",
            "target_info",
            r#"{__name__=~"n|g"}"#,
            r#"{__name__=~".+"}"#,
            r#"{job="a"}"#,
            r#"g{instance="0"}"#,
            r#"n{job!="b"}"#,
            r#"h_bucket{le!~"1"}"#,
            "none",
        ];
        self.pick(&names).map(str::to_owned)
    }

    fn duration(&mut self) -> Result<String> {
        let durations = [
            "5m",
            "1m",
            "30s",
            "10m",
            "1h",
            "1ms",
            "7m1s",
            "1y",
            "290y",
            "step()",
            "(step() * 2 + 1m)",
            "(range() - 5m)",
            "max_of(step(), 1m)",
            "-5m",
            "(1m / 0.7)",
            "0",
        ];
        self.pick(&durations).map(str::to_owned)
    }

    fn edges(&mut self) -> Result<&'static str> {
        self.pick(&["", "", "", " anchored", " smoothed"])
    }

    fn shift(&mut self) -> Result<String> {
        let at = self.pick(&["", "", "", "", " @ start()", " @ end()", " @ 1800", " @ -5", " @ 9e15"])?;
        let offset =
            if self.bytes.ratio(1, 5)? { format!(" offset {}", self.duration()?) } else { String::new() };
        Ok(format!("{at}{offset}"))
    }

    fn matrix(&mut self, depth: usize) -> Result<String> {
        if depth == 0 || !self.bytes.ratio(1, 4)? {
            let (selector, range) = (self.selector()?, self.duration()?);
            return Ok(format!("{selector}[{range}]{}{}", self.edges()?, self.shift()?));
        }
        let (inner, range) = (self.vector(depth - 1)?, self.duration()?);
        let step = if self.bytes.ratio(1, 2)? { self.duration()? } else { String::new() };
        Ok(format!("({inner})[{range}:{step}]{}", self.shift()?))
    }

    fn labels(&mut self) -> Result<String> {
        let mut labels = Vec::new();
        for label in ["job", "instance", "le", "__name__", "none"] {
            if self.bytes.ratio(1, 3)? {
                labels.push(label);
            }
        }
        Ok(labels.join(", "))
    }

    fn vector(&mut self, depth: usize) -> Result<String> {
        let choices = if depth == 0 { 1 } else { 12 };
        Ok(match self.bytes.choose_index(choices)? {
            0 => format!("{}{}{}", self.selector()?, self.edges()?, self.shift()?),
            1..5 => self.call(depth)?,
            5..7 => self.aggregate(depth)?,
            7..9 => self.binary(depth)?,
            9 => self.with_scalar(depth)?,
            10 => format!("-({})", self.vector(depth - 1)?),
            _ => {
                let op = self.pick(&["or", "and", "unless"])?;
                format!(
                    "(({}) {op} on({}) ({}))",
                    self.vector(depth - 1)?,
                    self.labels()?,
                    self.vector(depth - 1)?
                )
            }
        })
    }

    fn call(&mut self, depth: usize) -> Result<String> {
        let functions = SIGNATURES.iter().filter(|signature| signature.returns == ValueType::Vector);
        let functions: Vec<_> = functions.collect();
        let function = *self.bytes.choose(&functions)?;
        let mut args = Vec::new();
        for (i, kind) in function.args.iter().enumerate() {
            args.push(match (function.name, i) {
                ("info", 1) => r#"{__name__=~"target_info|g", job=~".+"}"#.to_owned(),
                _ => self.of_type(*kind, depth - 1)?,
            });
        }
        if function.variadic != 0 && self.bytes.ratio(1, 2)? {
            args.pop();
        }
        Ok(format!("{}({})", function.name, args.join(", ")))
    }

    fn aggregate(&mut self, depth: usize) -> Result<String> {
        let ops = [
            "sum",
            "avg",
            "count",
            "min",
            "max",
            "group",
            "stddev",
            "stdvar",
            "topk",
            "bottomk",
            "quantile",
            "limitk",
            "limit_ratio",
            "count_values",
        ];
        let op = self.pick(&ops)?;
        let which = self.pick(&["by", "without"])?;
        let labels = self.labels()?;
        let param = match op {
            "topk" | "bottomk" | "quantile" | "limitk" | "limit_ratio" => self.scalar(depth - 1)? + ", ",
            "count_values" => self.string()? + ", ",
            _ => String::new(),
        };
        Ok(format!("{op} {which} ({labels}) ({param}{})", self.vector(depth - 1)?))
    }

    fn operator(&mut self) -> Result<&'static str> {
        let operators = [
            "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<=", "== bool", "!= bool", "< bool",
            "</", ">/",
        ];
        self.pick(&operators)
    }

    fn binary(&mut self, depth: usize) -> Result<String> {
        let (op, which) = (self.operator()?, self.pick(&["on", "ignoring"])?);
        let labels = self.labels()?;
        let group = self.pick(&["", "", "group_left ()", "group_right (none)", "group_left (le)"])?;
        let fill = self.pick(&["", "", "", "fill(0)", "fill_left(NaN)", "fill_right(-1)"])?;
        let (lhs, rhs) = (self.vector(depth - 1)?, self.vector(depth - 1)?);
        Ok(format!("(({lhs}) {op} {which} ({labels}) {group} {fill} ({rhs}))"))
    }

    fn with_scalar(&mut self, depth: usize) -> Result<String> {
        let (op, vector, scalar) = (self.operator()?, self.vector(depth - 1)?, self.scalar(depth - 1)?);
        Ok(if self.bytes.ratio(1, 2)? {
            format!("(({vector}) {op} {scalar})")
        } else {
            format!("({scalar} {op} ({vector}))")
        })
    }
}
