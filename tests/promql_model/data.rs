//! Random series, and a database that got their samples in a random order, flushed and merged on the way.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Labels, Matcher, Options, STALE_NAN, TimeRange, WalSync};

use crate::common::Random;

const SECOND_MS: i64 = 1000;
const MS: i64 = 1_000_000;

/// One series as it must read: ascending nanoseconds and values, staleness markers included.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(i64, f64)>,
}

/// Some series in memory, and the times that they cover, milliseconds.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) series: Vec<Series>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// What the values of a series look like.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Integers,
    Decimals,
    Constant,
}

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
    let mut series = Vec::new();
    for (name, kinds) in METRICS {
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
    let db = store(random, &series);
    if random.percent(15) {
        delete(random, &db, &mut series, start_ms..end_ms);
    }
    // A series without a sample is none.
    series.retain(|series| !series.samples.is_empty());
    (Data { series, start_ms, end_ms }, db)
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

fn samples(random: &mut Random, kind: Kind, start_ms: i64, end_ms: i64) -> Vec<(i64, f64)> {
    // The short ones give several chunks.
    let interval = random.pick(&[15, 15, 15, 30, 30, 30, 60, 60, 60, 60, 5, 1]) * SECOND_MS;
    let irregular = random.percent(30);
    let untidy = random.percent(30);
    let mut time = start_ms + random.pick(&[0, 0, 5, 100, 300]) * SECOND_MS;
    let mut value = random.pick(&[0.0, 1.0, 10.0, 1000.0]);
    let mut samples = Vec::new();
    while time < end_ms {
        value = match kind {
            Kind::Counter if random.percent(4) => random.below(5) as f64,
            Kind::Counter => value + random.pick(&[0.0, 1.0, 5.0, 17.0, 60.0]),
            Kind::Integers => random.below(41) as f64 - 20.0,
            Kind::Decimals => random.below(2001) as f64 / 10.0 - 100.0,
            Kind::Constant => value,
        };
        let stored = match random.below(60) {
            0 => STALE_NAN,
            1 if untidy => f64::NAN,
            2 if untidy => random.pick(&[f64::INFINITY, f64::NEG_INFINITY]),
            _ => value,
        };
        // Just before, on, and just behind what is likely a window's edge.
        let nanos = time * MS + if irregular { random.pick(&[0, 0, -1, 1, 250_000]) } else { 0 };
        if samples.last().is_none_or(|(last, _)| *last < nanos) {
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

/// Writes all samples: shuffled a little, some twice with another value first, with flushes and merges between.
fn store(random: &mut Random, series: &[Series]) -> Db {
    let options = Options {
        wal_sync: WalSync::Off,
        background: false,
        block_span: Duration::from_secs(random.pick(&[300, 1200, 7200])),
        ..Options::default()
    };
    let db = Db::open_in(SimulatedDirectory::new(random.next()), options).unwrap();
    let mut batches: Vec<BTreeMap<usize, Vec<(i64, f64)>>> = vec![BTreeMap::new(); 6];
    for (at, series) in series.iter().enumerate() {
        let late = random.percent(30);
        for (i, &(time, value)) in series.samples.iter().enumerate() {
            let in_order = 1 + i * 5 / series.samples.len();
            let batch = if late && random.percent(10) { 1 + random.below(5) } else { in_order };
            batches[batch].entry(at).or_default().push((time, value));
            if random.percent(5) {
                let before = random.below(batch + 1);
                // In the same batch what stands last wins.
                let samples = batches[before].entry(at).or_default();
                let place = if before == batch { samples.len() - 1 } else { random.below(samples.len() + 1) };
                samples.insert(place, (time, value + 1.0));
            }
        }
    }
    for batch in batches {
        let mut appender = db.appender().unwrap();
        for (at, samples) in batch {
            appender.series(&series[at].labels, samples).unwrap();
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
