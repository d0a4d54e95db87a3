//! Windows that hold whole chunks: what their statistics say is what their samples say.

use timberline_engine::{Matcher, TimeRange};

use super::*;

const STEP_NS: i64 = 10_000_000_000;

/// Series of many chunks: counters with and without resets, a gauge, one that ends with a marker, one with a gap, few samples.
fn write(db: &Db, is_there: impl Fn(i64) -> bool) {
    let value = |name: &str, at: i64| match name {
        "steady" => Some(at as f64 * 2.0),
        "reset" => Some((at % 700) as f64),
        "gauge" => Some((at * 7_919 % 1_009) as f64 / 8.0 - 50.0),
        "thirds" => Some((at * 7_919 % 1_009) as f64 / 3.0),
        "marker" => Some(if at == 1_500 { timberline_engine::STALE_NAN } else { at as f64 }),
        "gap" => (!(800..1_800).contains(&at)).then_some(1.0),
        _ => (at % 1_000 == 0).then_some(at as f64),
    };
    let mut appender = db.appender().unwrap();
    for name in ["steady", "reset", "gauge", "thirds", "marker", "gap", "few"] {
        let labels = Labels::from_pairs([("__name__", "c_total"), ("kind", name)]).unwrap();
        let samples = (0..3_000).filter(|&at| is_there(at));
        let samples = samples.filter_map(|at| Some((at * STEP_NS, value(name, at)?)));
        appender.series(&labels, samples).unwrap();
    }
    appender.commit().unwrap();
}

fn open(flushed: bool) -> (Db, TempDir) {
    let (db, directory) = open_empty();
    write(&db, |_| true);
    if flushed {
        db.flush().unwrap();
    }
    (db, directory)
}

fn open_empty() -> (Db, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let block_span = Duration::from_secs(3_600);
    let options = Options { wal_sync: WalSync::Off, background: false, block_span, ..Options::default() };
    (Db::open(directory.path(), options).unwrap(), directory)
}

/// Rows as text, with numbers rounded to where another order of additions makes no difference.
fn shown(value: &Value) -> Vec<String> {
    let round = |value: f64| format!("{value:.9e}");
    let mut rows: Vec<String> = match value {
        Value::Vector(samples) => {
            samples.iter().map(|sample| format!("{} {}", sample.labels, round(sample.value))).collect()
        }
        Value::Matrix(series) => series
            .iter()
            .map(|series| {
                let values: Vec<String> = series.values.iter().copied().map(round).collect();
                format!("{} {:?} {values:?}", series.labels, series.timestamps_ms)
            })
            .collect(),
        _ => Vec::new(),
    };
    rows.sort();
    rows
}

const FUNCTIONS: [&str; 11] = [
    "first_over_time",
    "last_over_time",
    "present_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "avg_over_time",
    "delta",
    "increase",
    "rate",
];

/// Asks both for all functions over windows of many lengths; returns how many samples each of them read.
fn compare(condensed: &Db, decoded: &Db) -> (u64, u64) {
    let executor = executor(Limits::default(), 1);
    let run = |db: &Db, query: &Query| executor.execute(&db.snapshot(), query, &Cancel::new()).unwrap();
    let (mut fewer, mut all) = (0, 0);
    for function in FUNCTIONS {
        for (window, end_ms, step_ms) in [
            ("9h", 29_990_000, 0),
            ("9h", 30_200_000, 0),
            ("8h", 29_000_500, 0),
            ("5h", 30_000_000, 0),
            ("4h", 30_000_000, 3_600_000),
            ("2h", 30_000_000, 7_200_000),
            ("90m", 30_100_000, 1_000_000),
        ] {
            let text = format!("{function}(c_total[{window}])");
            let query = if step_ms == 0 {
                Query::instant(text.clone(), crate::parse(&text).unwrap(), end_ms)
            } else {
                range(&text, end_ms, step_ms)
            };
            let (a, b) = (run(condensed, &query), run(decoded, &query));
            assert_eq!(shown(&a.value), shown(&b.value), "{text} to {end_ms} by {step_ms}");
            fewer += a.stats.samples;
            all += b.stats.samples;
        }
    }
    (fewer, all)
}

#[test]
fn statistics_give_what_samples_give() {
    let ((condensed, _a), (decoded, _b)) = (open(true), open(false));
    let (fewer, all) = compare(&condensed, &decoded);
    assert!(fewer * 4 < all * 3, "{fewer} of {all} samples were read");
}

#[test]
fn what_is_deleted_from_a_chunk_is_not_in_its_statistics() {
    // The first and the last sample of chunks, some in the middle, a whole chunk, and what a counter had before a reset.
    for deleted in [0..=5, 300..=320, 355..=365, 690..=700, 1_000..=1_500] {
        let (condensed, _a) = open(true);
        let range = TimeRange::new(deleted.start() * STEP_NS, deleted.end() * STEP_NS);
        condensed.delete(&[vec![Matcher::equal("__name__", "c_total")]], range).unwrap();
        let (decoded, _b) = open_empty();
        write(&decoded, |at| !deleted.contains(&at));
        let (fewer, all) = compare(&condensed, &decoded);
        assert!(fewer < all, "{fewer} of {all} samples were read");
    }
}

#[test]
fn what_is_written_late_counts_beside_the_statistics() {
    let (decoded, _a) = open(false);
    let is_late = |at: i64| (350..400).contains(&at) || at == 1_000 || at % 97 == 0;
    for again in [false, true] {
        let (condensed, _b) = open_empty();
        write(&condensed, |at| again || !is_late(at));
        condensed.flush().unwrap();
        write(&condensed, is_late);
        compare(&condensed, &decoded);
        condensed.flush().unwrap();
        compare(&condensed, &decoded);
        condensed.compact().unwrap();
        compare(&condensed, &decoded);
    }
}

#[test]
fn an_instant_selector_behind_the_last_sample_decodes_nothing() {
    let ((condensed, _a), (decoded, _b)) = (open(true), open(false));
    let executor = executor(Limits::default(), 1);
    for text in ["c_total", "timestamp(c_total)", "last_over_time(c_total[1h])", "c_total offset 4h"] {
        let query = Query::instant(text, crate::parse(text).unwrap(), 30_000_000);
        let run = |db: &Db| executor.execute(&db.snapshot(), &query, &Cancel::new()).unwrap();
        let (a, b) = (run(&condensed), run(&decoded));
        assert_eq!(shown(&a.value), shown(&b.value), "{text}");
        assert!(a.stats.samples <= b.stats.samples, "{text}");
    }
}
