//! Random series, and a database that got their samples in a random order, flushed and merged on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::histogram::CUSTOM_BUCKETS_SCHEMA;
use timberline_engine::{Db, Labels, Matcher, Options, STALE_NAN, TimeRange, WalSync};

use crate::common::Random;
use crate::native::{Native, Value};

const SECOND_MS: i64 = 1000;
const MS: i64 = 1_000_000;

/// One series as it must read: ascending nanoseconds and values, staleness markers included.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, Value)>,
}

/// Some series in memory, and the times that they cover, milliseconds.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) series: Vec<Series>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// Whether there are native histograms, as `n` and, with floats between, as `m`.
    pub(crate) native: bool,
    /// Whether there are info metrics.
    pub(crate) info: bool,
}

/// What the values of a series look like.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Integers,
    Decimals,
    Constant,
    One,
    Histograms,
    Mixed,
}

const NATIVE: [(&str, &[Kind]); 2] = [("n", &[Kind::Histograms]), ("m", &[Kind::Histograms, Kind::Mixed])];
const METRICS: [(&str, &[Kind]); 3] = [
    ("a", &[Kind::Integers, Kind::Decimals, Kind::Constant]),
    ("b", &[Kind::Integers, Kind::Counter]),
    ("c_total", &[Kind::Counter]),
];

/// Makes series and a database that holds them.
pub(crate) fn random(random: &mut Random) -> (Data, Db) {
    let start_ms = random.pick(&[0, 3_600 * SECOND_MS, 1_000_000 * SECOND_MS, -600 * SECOND_MS]);
    let end_ms = start_ms + random.pick(&[600, 2400, 3600]) * SECOND_MS;
    // Some with more series than one task of an aggregation takes.
    let instances: Vec<String> =
        (0..if random.percent(10) { 25 } else { 3 }).map(|i| i.to_string()).collect();
    let (native, info) = (random.percent(35), random.percent(25));
    let mut metrics: Vec<(&str, &[Kind])> = METRICS.to_vec();
    metrics.extend(NATIVE.iter().filter(|_| native));
    let mut series = Vec::new();
    for (name, kinds) in metrics {
        for job in ["x", "y"] {
            for instance in &instances {
                if random.percent(35) {
                    continue;
                }
                let mut pairs = vec![("__name__", name), ("job", job), ("instance", instance.as_str())];
                if random.percent(10) {
                    pairs.retain(|(name, _)| *name != "instance");
                    pairs.push(("zone", "z"));
                }
                let labels = Labels::from_pairs(pairs).unwrap();
                if series.iter().any(|known: &Series| known.labels == labels) {
                    continue;
                }
                let kind = random.pick(kinds);
                series.push(Series { labels, samples: samples(random, kind, start_ms, end_ms) });
            }
        }
    }
    if info {
        series.extend(infos(random, &instances, start_ms, end_ms));
    }
    let db = store(random, &series);
    if random.percent(15) {
        delete(random, &db, &mut series, start_ms..end_ms);
    }
    // A series without a sample is none.
    series.retain(|series| !series.samples.is_empty());
    (Data { series, start_ms, end_ms, native, info }, db)
}

/// Metrics that tell of targets; what they tell changes. No two of them have samples at the same time.
fn infos(random: &mut Random, instances: &[String], start_ms: i64, end_ms: i64) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for (name, label) in [("target_info", "version"), ("build_info", "build")] {
        for (job, instance) in ["x", "y"].into_iter().flat_map(|job| instances.iter().map(move |i| (job, i)))
        {
            for value in ["1", "2"].into_iter().take(random.pick(&[0, 1, 2])) {
                let pairs = [("__name__", name), ("job", job), ("instance", instance), (label, value)];
                let (first, shift) = (random.below(1500) as i64 * SECOND_MS, series.len() as i64);
                let mut samples = samples(random, Kind::One, start_ms + first, end_ms);
                for (time, _) in &mut samples {
                    *time += shift * MS;
                }
                series.push(Series { labels: Labels::from_pairs(pairs).unwrap(), samples });
            }
        }
    }
    series
}

/// Deletes a part of some series.
fn delete(random: &mut Random, db: &Db, series: &mut [Series], times_ms: Range<i64>) {
    let at_ms = times_ms.start + random.below((times_ms.end - times_ms.start) as usize) as i64;
    let range =
        TimeRange::new(at_ms / 15_000 * 15_000 * MS, (at_ms + random.pick(&[0, 60_000, 900_000])) * MS);
    let (label, value) = random.pick(&[("job", "x"), ("instance", "1"), ("__name__", "a")]);
    db.delete(&[vec![Matcher::equal(label, value)]], range).unwrap();
    for series in series.iter_mut().filter(|series| series.labels.get(label) == Some(value)) {
        series.samples.retain(|(time, _)| !(range.start..=range.end).contains(time));
    }
    if random.percent(30) {
        db.compact().unwrap();
    }
}

fn samples(random: &mut Random, kind: Kind, start_ms: i64, end_ms: i64) -> Vec<(i64, Value)> {
    // The short ones give several chunks.
    let interval = random.pick(&[15, 15, 15, 30, 30, 30, 60, 60, 60, 60, 5, 1]) * SECOND_MS;
    let irregular = random.percent(30);
    let untidy = random.percent(30);
    let mut time = start_ms + random.pick(&[0, 0, 5, 100, 300]) * SECOND_MS;
    let mut value = random.pick(&[0.0, 1.0, 10.0, 1000.0]);
    let mut native = empty_histogram(random);
    let mut samples = Vec::new();
    while time < end_ms {
        value = match kind {
            Kind::Counter if random.percent(4) => random.below(5) as f64,
            Kind::Counter => value + random.pick(&[0.0, 1.0, 5.0, 17.0, 60.0]),
            Kind::Integers => random.below(41) as f64 - 20.0,
            Kind::Decimals => random.below(2001) as f64 / 10.0 - 100.0,
            Kind::Constant | Kind::Histograms | Kind::Mixed => value,
            Kind::One => 1.0,
        };
        let stored = match random.below(60) {
            0 => STALE_NAN,
            1 if untidy => f64::NAN,
            2 if untidy => random.pick(&[f64::INFINITY, f64::NEG_INFINITY]),
            _ => value,
        };
        let is_native = match kind {
            Kind::Histograms => true,
            Kind::Mixed => random.percent(80),
            _ => false,
        };
        let stored = if is_native && !timberline_engine::is_stale(stored) {
            observe(random, &mut native, untidy);
            Value::histogram(native.clone())
        } else {
            Value::Float(stored)
        };
        // Just before, on, and just behind what is likely a window's edge.
        let nanos = time * MS + if irregular { random.pick(&[0, 0, -1, 1, 250_000]) } else { 0 };
        if samples.last().is_none_or(|(last, _): &(i64, Value)| *last < nanos) {
            samples.push((nanos, stored));
        }
        time += match random.below(40) {
            0 => 400 * SECOND_MS,
            1 | 2 => 3 * interval,
            3..9 if irregular => interval + random.below(9000) as i64,
            _ => interval,
        };
    }
    samples
}

fn empty_histogram(random: &mut Random) -> Native {
    let gauge = random.percent(20);
    if random.percent(40) {
        let bounds = random.pick(&[
            &[1.0, 5.0, 10.0][..],
            &[1.0, 5.0, 10.0],
            &[1.0, 2.0, 5.0, 20.0],
            &[-1.0, 0.0, 5.0],
        ]);
        return Native { gauge, schema: CUSTOM_BUCKETS_SCHEMA, bounds: bounds.to_vec(), ..Native::default() };
    }
    Native {
        gauge,
        schema: random.pick(&[0, 0, 0, 1, 2, -1]),
        zero_threshold: random.pick(&[0.001, 0.001, 0.0625, 0.25]),
        ..Native::default()
    }
}

/// Counts some observations; sometimes after a reset, or with other buckets from now on.
fn observe(random: &mut Random, native: &mut Native, untidy: bool) {
    if random.percent(5) {
        let fresh = empty_histogram(random);
        let keeps_buckets = random.percent(70);
        *native = if keeps_buckets {
            Native {
                schema: native.schema,
                bounds: native.bounds.clone(),
                zero_threshold: native.zero_threshold,
                ..fresh
            }
        } else {
            fresh
        };
    }
    if random.percent(2) {
        *native = native.coarser(native.schema - 1);
    }
    for _ in 0..random.below(4) {
        let count = random.pick(&[1.0, 2.0, 5.0]);
        native.count += count;
        if untidy && random.percent(2) {
            native.sum += random.pick(&[f64::NAN, f64::INFINITY]);
            continue;
        }
        let is_custom = native.schema == CUSTOM_BUCKETS_SCHEMA;
        native.sum += count * random.pick(&[1.0, 2.5, 7.0, if is_custom { 3.0 } else { -3.0 }]);
        if is_custom {
            *native.positive.entry(random.below(native.bounds.len() + 1) as i32).or_default() += count;
            continue;
        }
        match random.below(6) {
            0 => native.zero_count += count,
            1 => *native.negative.entry(random.below(5) as i32).or_default() += count,
            _ => *native.positive.entry(random.below(7) as i32).or_default() += count,
        }
    }
    if native.gauge && random.percent(30) {
        native.positive.retain(|_, count| {
            *count -= 1.0;
            *count > 0.0
        });
        native.count =
            native.zero_count + native.positive.values().chain(native.negative.values()).sum::<f64>();
    }
}

/// Writes all samples: shuffled a little, some twice with another value first, with flushes and merges between.
fn store(random: &mut Random, series: &[Series]) -> Db {
    let options = Options {
        wal_sync: WalSync::Off,
        background: false,
        block_span: Duration::from_secs(random.pick(&[300, 1200, 7200])),
        ..Options::default()
    };
    let db = Db::open_in(SimulatedDirectory::new(random.next()), options).unwrap();
    let mut batches: Vec<BTreeMap<usize, Vec<(i64, Value)>>> = vec![BTreeMap::new(); 6];
    for (at, series) in series.iter().enumerate() {
        let late = random.percent(30);
        for (i, (time, value)) in series.samples.iter().enumerate() {
            let in_order = 1 + i * 5 / series.samples.len();
            let batch = if late && random.percent(10) { 1 + random.below(5) } else { in_order };
            batches[batch].entry(at).or_default().push((*time, value.clone()));
            if random.percent(5) {
                let before = random.below(batch + 1);
                // In the same batch what stands last wins.
                let samples = batches[before].entry(at).or_default();
                let place = if before == batch { samples.len() - 1 } else { random.below(samples.len() + 1) };
                let other = Value::Float(value.float().map_or(7.0, |value| value + 1.0));
                samples.insert(place, (*time, other));
            }
        }
    }
    for batch in batches {
        let mut appender = db.appender().unwrap();
        for (at, samples) in batch {
            let labels = &series[at].labels;
            for run in samples.chunk_by(|a, b| a.1.native().is_some() == b.1.native().is_some()) {
                let floats = run.iter().filter_map(|(time, value)| Some((*time, value.float()?)));
                appender.series(labels, floats).unwrap();
                let natives = run.iter().filter_map(|(time, value)| Some((*time, value.native()?.stored())));
                appender.histogram_series(labels, natives).unwrap();
            }
        }
        appender.commit().unwrap();
        if random.percent(40) {
            db.flush().unwrap();
        }
        if random.percent(20) {
            db.compact().unwrap();
        }
    }
    db
}
