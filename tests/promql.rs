//! PromQL scripts: those in `tests/promql`, and Prometheus's own where the conformance suite stands beside the repository.
//!
//! A script loads series into an empty database and says what queries must answer. An instant query is also
//! asked as the middle step of a range query, as Prometheus's own runner does. Where and in which order samples were written must not
//! be seen, so each script runs once for each [`Arrival`].
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

#[path = "promql/compare.rs"]
mod compare;
#[path = "promql/histogram.rs"]
mod histogram;
#[path = "promql/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use script::{At, Command, Eval, Load, Point, Text};
use timberline_engine::{Db, Labels, Options, WalSync, is_stale};
use timberline_query::{Cancel, Executor, ExecutorOptions, Query};

/// Prometheus's scripts.
#[rustfmt::skip]
const CONFORMANCE: &[&str] = &[
    "aggregators",
    "at_modifier",
    "collision",
    "duration_expression",
    "extended_vectors",
    "fill-modifier",
    "functions",
    "histograms",
    "info",
    "literals",
    "name_label_dropping",
    "native_histograms",
    "operators",
    "range_queries",
    "selectors",
    "staleness",
    "subquery",
    "trig_functions",
    "type_and_unit",
];

/// How the samples of a `load` come into the database.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// At once, into the head.
    Head,
    /// At once; then they are made blocks.
    Blocks,
    /// The older half of each series is made blocks, the newer one stays in the head.
    BlocksThenHead,
    /// The newer half comes first and is made blocks; each older sample is late.
    Late,
    /// Every second sample is made blocks, those between them stay in the head.
    Between,
    /// Other numbers were there before at the same times, in blocks.
    Again,
}

impl Arrival {
    const ALL: [Self; 6] =
        [Self::Head, Self::Blocks, Self::BlocksThenHead, Self::Late, Self::Between, Self::Again];

    /// The batch, 0 or 1, in which the point at `index` of `count` comes.
    fn batch(self, index: usize, count: usize) -> usize {
        match self {
            Self::Head | Self::Blocks => 0,
            Self::Again => 1,
            Self::BlocksThenHead => usize::from(index >= count / 2),
            Self::Late => usize::from(index < count / 2),
            Self::Between => index % 2,
        }
    }
}

/// How the evals of some scripts went.
#[derive(Default)]
struct Report {
    passed: usize,
    skipped: BTreeMap<String, usize>,
    failures: Vec<String>,
}

struct Runner {
    executor: Executor,
    arrival: Arrival,
    report: Report,
    db: Option<(Db, tempfile::TempDir)>,
    /// Why the data of this section is incomplete.
    broken: Option<String>,
}

#[test]
fn own_scripts() {
    let scripts = std::fs::read_dir(repository().join("tests/promql")).unwrap();
    let mut files: Vec<PathBuf> = scripts.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    files.sort();
    assert!(!files.is_empty());
    for arrival in Arrival::ALL {
        let report = run(&files, arrival);
        assert!(report.skipped.is_empty(), "skipped: {:?}", report.skipped);
    }
}

#[test]
fn prometheus_scripts() {
    let directory = repository().join("../shared/conformance/promql");
    if !directory.exists() {
        assert!(std::env::var_os("TIMBERLINE_REQUIRE_ALL").is_none(), "{} is missing", directory.display());
        println!("skipped: {} is missing", directory.display());
        return;
    }
    let files: Vec<PathBuf> = CONFORMANCE.iter().map(|name| directory.join(format!("{name}.test"))).collect();
    Arrival::ALL.into_iter().for_each(|arrival| drop(run(&files, arrival)));
}

/// The directory of the workspace: that of the package that owns this test, or its parent.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let owner = package.ancestors().find(|directory| directory.join("tests/promql").exists());
    owner.unwrap_or(package).to_owned()
}

fn run(files: &[PathBuf], arrival: Arrival) -> Report {
    let executor = Executor::new(ExecutorOptions::default()).unwrap();
    let mut runner = Runner { executor, arrival, report: Report::default(), db: None, broken: None };
    for file in files {
        runner.clear();
        let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for command in script::parse(&text) {
            runner.command(&name, command);
        }
    }
    let Report { passed, skipped, failures } = &runner.report;
    let skipped_count: usize = skipped.values().sum();
    println!("{arrival:?}: {passed} passed, {} failed, {skipped_count} skipped", failures.len());
    skipped.iter().for_each(|(reason, count)| println!("  {count} skipped: {reason}"));
    assert!(failures.is_empty(), "{arrival:?}:\n{}", failures.join("\n"));
    runner.report
}

/// Writes what `choose` makes of each point; it gets the point's place in its series and how long that is.
fn write(
    db: &Db,
    step_ms: i64,
    series: &[&(Labels, Vec<Point>)],
    choose: impl Fn(usize, usize, &Point) -> Point,
) {
    let mut appender = db.appender().unwrap();
    for (labels, points) in series {
        let (mut floats, mut histograms) = (Vec::new(), Vec::new());
        for (i, point) in points.iter().enumerate() {
            let time = i as i64 * step_ms * 1_000_000;
            match choose(i, points.len(), point) {
                Point::Gap => {}
                Point::Float(value) => floats.push((time, value)),
                Point::Histogram(histogram) => histograms.push((time, histogram)),
            }
        }
        appender.series(labels, floats).unwrap();
        appender.histogram_series(labels, histograms).unwrap();
    }
    appender.commit().unwrap();
}

impl Runner {
    fn command(&mut self, file: &str, command: Command) {
        match command {
            Command::Clear => self.clear(),
            Command::Load(load) => self.load(&load),
            Command::Unreadable { line, reason } => {
                self.broken = Some("a block of the section cannot be read".to_owned());
                println!("{file}:{line}: {reason}");
            }
            Command::Eval(eval) => {
                if let Some(reason) = &self.broken {
                    *self.report.skipped.entry(reason.clone()).or_default() += 1;
                } else if let Err(reason) = self.eval(&eval) {
                    let Eval { line, query, .. } = *eval;
                    self.report.failures.push(format!("{file}:{line}: {query}\n    {reason}"));
                } else {
                    self.report.passed += 1;
                }
            }
        }
    }

    fn clear(&mut self) {
        self.db = None;
        self.broken = None;
    }

    fn db(&mut self) -> &Db {
        let open = || {
            let directory = tempfile::tempdir().unwrap();
            let options = Options { wal_sync: WalSync::Off, background: false, ..Options::default() };
            (Db::open(directory.path(), options).unwrap(), directory)
        };
        &self.db.get_or_insert_with(open).0
    }

    fn load(&mut self, load: &Load) {
        let native = if load.with_native { histogram::to_native(load) } else { Vec::new() };
        let series: Vec<_> = load.series.iter().chain(&native).collect();
        let arrival = self.arrival;
        let db = self.db();
        if matches!(arrival, Arrival::Again) {
            let others = |point: &Point| if *point == Point::Gap { Point::Gap } else { Point::Float(-7.5) };
            write(db, load.step_ms, &series, |_, _, point| others(point));
            db.flush().unwrap();
        }
        for batch in 0..2 {
            write(db, load.step_ms, &series, |index, count, point| {
                if arrival.batch(index, count) == batch { point.clone() } else { Point::Gap }
            });
            if batch == 0 && !matches!(arrival, Arrival::Head) {
                db.flush().unwrap();
            }
        }
    }

    fn eval(&mut self, eval: &Eval) -> Result<(), String> {
        let snapshot = self.db().snapshot();
        let expr = match timberline_query::parse(&eval.query) {
            Ok(expr) => expr,
            Err(error) => return check_failure(eval, &error.to_string()),
        };
        let run = |start_ms: i64, end_ms: i64, step_ms: i64| {
            let query = Query::range(&*eval.query, expr.clone(), start_ms, end_ms, step_ms);
            self.executor.execute(&snapshot, &query, &Cancel::new())
        };
        let outcome = match eval.at {
            At::Instant(time_ms) => run(time_ms, time_ms, 0),
            At::Range { start_ms, end_ms, step_ms } => run(start_ms, end_ms, step_ms),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return check_failure(eval, &error.to_string()),
        };
        if eval.fail.is_some() {
            return Err(format!("succeeded: {:?}", outcome.value));
        }
        compare::outcome(eval, &outcome)?;
        let At::Instant(time_ms) = eval.at else { return Ok(()) };
        if eval.ordered || eval.range_vector.is_some() || eval.string.is_some() {
            return Ok(());
        }
        // These mean other times in a range query.
        if ["start()", "end()", "step()", "range()"].iter().any(|call| eval.query.contains(call)) {
            return Ok(());
        }
        let outcome = run(time_ms - 60_000, time_ms + 60_000, 60_000).map_err(|error| error.to_string())?;
        compare::middle_step(eval, &outcome.value, time_ms)
    }
}

fn check_failure(eval: &Eval, error: &str) -> Result<(), String> {
    match &eval.fail {
        Some(expected) if compare::text_matches(expected, error) => Ok(()),
        Some(Text::Any) | None => Err(format!("failed: {error}")),
        Some(expected) => Err(format!("failed with {error:?} instead of {expected:?}")),
    }
}

#[test]
fn the_notation_expands_as_documented() {
    let points = |text: &str| {
        let script = format!("load 1m\n  m {text}\n");
        match script::parse(&script).remove(0) {
            Command::Load(load) => load.series[0].1.clone(),
            other => panic!("{other:?}"),
        }
    };
    let floats = |values: &[f64]| values.iter().map(|&v| Point::Float(v)).collect::<Vec<_>>();
    assert_eq!(points("0+10x2 5"), floats(&[0.0, 10.0, 20.0, 5.0]));
    assert_eq!(points("3-1x2"), floats(&[3.0, 2.0, 1.0]));
    assert_eq!(points("1e-6 -2.5e+3x1"), floats(&[1e-6, -2500.0, -2500.0]));
    assert_eq!(points("_ _x2"), [const { Point::Gap }; 3]);
    let sums: Vec<f64> = points("{{schema:0 sum:2 buckets:[1 2] offset:-1}}+{{sum:1}}x1 {{}}")
        .iter()
        .map(|point| if let Point::Histogram(histogram) = point { histogram.sum } else { f64::NAN })
        .collect();
    assert_eq!(sums, [2.0, 3.0, 0.0]);
    assert!(matches!(points("stale")[..], [Point::Float(value)] if is_stale(value)));
}
