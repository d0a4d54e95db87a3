//! What the model test and the crash test share: seeds, random writes, and reading a whole database.
#![allow(dead_code, reason = "each test that includes this module uses a part of it")]

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use timberline_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, cell};
use timberline_engine::{
    Appender, BucketSpan, Buckets, Error, Field, Histogram, Labels, METRIC_NAME, Matcher, ResetHint, Result,
    Row, STALE_NAN, Samples, Series, Snapshot, TimeRange,
};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, span};

pub(crate) const SECOND: i64 = 1_000_000_000;
/// 2024-01-01, nanoseconds.
pub(crate) const START: i64 = 1_704_067_200 * SECOND;

/// All samples of a database: value bits by timestamp by series. The bits of a histogram are those of its [`fingerprint`].
pub(crate) type Cells = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// Runs a test with the seeds from 0 on, on all cores. `TIMBERLINE_SEEDS=n` runs another number of them and tells how far it
/// is, `TIMBERLINE_SEED=n` that one alone.
pub(crate) fn for_each_seed(default_count: u64, run: impl Fn(u64) + Sync) {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (one, many) = (variable("TIMBERLINE_SEED"), variable("TIMBERLINE_SEEDS"));
    let seeds = one.map_or_else(|| 0..many.unwrap_or(default_count), |seed| seed..seed + 1);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let (next, done, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicBool::new(false));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let progress_every = ((seeds.end - seeds.start) / 20).max(1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    let _announcement = AnnounceOnPanic { seed, test, failed: &failed };
                    run(seed);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if many.is_some() && done.is_multiple_of(progress_every) {
                        eprintln!("{test}: {done} of {} seeds", seeds.end - seeds.start);
                    }
                }
            });
        }
    });
}

struct AnnounceOnPanic<'a> {
    seed: u64,
    test: &'a str,
    failed: &'a AtomicBool,
}

impl Drop for AnnounceOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed.store(true, Ordering::Relaxed);
            let Self { seed, test, .. } = self;
            eprintln!("failed with seed {seed}; to run it again:");
            eprintln!(
                "TIMBERLINE_SEED={seed} cargo test -p timberline-workspace --test {} {test} -- --nocapture",
                env!("CARGO_CRATE_NAME")
            );
        }
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// One call on an appender.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Row { key: Key, timestamp: i64, fields: Vec<(usize, f64)> },
    Series { labels: Labels, samples: Vec<(i64, f64)> },
    Histograms { labels: Labels, samples: Vec<(i64, Histogram)> },
}

/// The key of a row. The alias names the same series by other bytes, as line protocol does with its tags in another order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) host: usize,
    pub(crate) alias: bool,
}

impl Key {
    fn bytes(self) -> String {
        match self.alias {
            false => format!("cpu,host=h{},region=r{}", self.host, self.host % 2),
            true => format!("cpu,region=r{1},host=h{0}", self.host, self.host % 2),
        }
    }

    fn labels(self, field: &str) -> Labels {
        let (name, host, region) =
            (format!("cpu_{field}"), format!("h{}", self.host), format!("r{}", self.host % 2));
        Labels::from_pairs([(METRIC_NAME, name), ("host", host), ("region", region)]).unwrap()
    }
}

fn field_name(field: usize) -> String {
    format!("f{field}")
}

impl Write {
    pub(crate) fn append(&self, appender: &mut Appender<'_>) -> Result<()> {
        match self {
            Self::Row { key, timestamp, fields } => {
                let names: Vec<String> = fields.iter().map(|(field, _)| field_name(*field)).collect();
                let fields: Vec<Field<'_>> = names
                    .iter()
                    .zip(fields)
                    .map(|(name, (_, value))| Field { name: name.as_bytes(), value: *value })
                    .collect();
                let bytes = key.bytes();
                let row = Row { key: bytes.as_bytes(), timestamp: *timestamp, fields: &fields };
                appender.row(row, |name| Ok(key.labels(std::str::from_utf8(name).unwrap())))
            }
            Self::Series { labels, samples } => appender.series(labels, samples.iter().copied()).map(drop),
            Self::Histograms { labels, samples } => {
                appender.histogram_series(labels, samples.iter().cloned()).map(drop)
            }
        }
    }

    /// Other values at the same places.
    pub(crate) fn change_values(&mut self, random: &mut Random) {
        match self {
            Self::Row { fields, .. } => {
                fields.iter_mut().for_each(|(_, value)| *value = random.below(1000) as f64);
            }
            Self::Series { samples, .. } => {
                samples.iter_mut().for_each(|(_, value)| *value = random.below(1000) as f64);
            }
            Self::Histograms { samples, .. } => {
                samples.iter_mut().for_each(|(_, histogram)| histogram.sum = random.below(1000) as f64);
            }
        }
    }

    /// What is written, in order.
    pub(crate) fn cells(&self) -> Vec<(Labels, i64, u64)> {
        match self {
            Self::Row { key, timestamp, fields } => fields
                .iter()
                .map(|(field, value)| (key.labels(&field_name(*field)), *timestamp, value.to_bits()))
                .collect(),
            Self::Series { labels, samples } => samples
                .iter()
                .map(|(timestamp, value)| (labels.clone(), *timestamp, value.to_bits()))
                .collect(),
            Self::Histograms { labels, samples } => samples
                .iter()
                .map(|(timestamp, histogram)| (labels.clone(), *timestamp, fingerprint(histogram)))
                .collect(),
        }
    }
}

/// Bits that stand for all of a histogram's, and that no float has.
fn fingerprint(histogram: &Histogram) -> u64 {
    let sides = [&histogram.positive, &histogram.negative];
    let numbers =
        [histogram.count, histogram.sum, histogram.zero_count, histogram.zero_threshold].into_iter();
    let numbers = numbers.chain(sides.into_iter().flat_map(|side| side.counts.iter().copied()));
    let numbers = numbers.chain(histogram.custom_values.iter().copied()).map(f64::to_bits);
    let spans = sides.map(|side| side.spans.clone());
    let mut hasher = DefaultHasher::new();
    (histogram.schema, histogram.reset_hint, spans, numbers.collect::<Vec<_>>()).hash(&mut hasher);
    cell::histogram(hasher.finish() as u32).to_bits()
}

/// A row that the database must refuse, and nothing else with it.
pub(crate) fn append_refused_row(appender: &mut Appender<'_>, random: &mut Random) {
    let key = format!("refused,n={}", random.next());
    let fields = [Field { name: b"a", value: 1.0 }, Field { name: b"b", value: 2.0 }];
    let row = Row { key: key.as_bytes(), timestamp: START, fields: &fields };
    let refused = appender.row(row, |name| match name {
        b"a" => Labels::from_pairs([(METRIC_NAME, "refused_a")]),
        _ => Err(Error::InvalidSeries { reason: "refused".to_owned() }),
    });
    assert!(matches!(refused, Err(Error::InvalidSeries { .. })), "{refused:?}");
}

/// Makes random writes around a clock that moves on.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) random: Random,
    pub(crate) now: i64,
    pub(crate) hosts: std::ops::Range<usize>,
    /// Whether the ends of the timestamps' type are among the timestamps.
    pub(crate) extremes: bool,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random(seed), now: START, hosts: 0..4, extremes: false }
    }

    pub(crate) fn batch(&mut self, writes_max: usize) -> Vec<Write> {
        let count = 1 + self.random.below(writes_max);
        (0..count).map(|_| self.write()).collect()
    }

    fn write(&mut self) -> Write {
        let host = self.hosts.start + self.random.below(self.hosts.len());
        if self.random.percent(60) {
            let key = Key { host, alias: self.random.percent(15) };
            let count = 1 + self.random.below(5);
            // A field may stand twice: then the later value counts.
            let fields = (0..count).map(|_| (self.random.below(6), self.value())).collect();
            return Write::Row { key, timestamp: self.timestamp(), fields };
        }
        let labels = match self.random.below(3) {
            0 => Key { host, alias: false }.labels(&field_name(self.random.below(6))),
            1 => Labels::from_pairs([(METRIC_NAME, "up"), ("host", &format!("h{host}"))]).unwrap(),
            _ => Labels::from_pairs([("größe", format!("ü{host}")), ("le", "+Inf".to_owned())]).unwrap(),
        };
        let count = if self.random.percent(10) { 300 } else { 1 + self.random.below(8) };
        if self.random.percent(25) {
            let samples = self.histograms(count);
            return Write::Histograms { labels, samples };
        }
        let samples = (0..count).map(|_| (self.timestamp(), self.value())).collect();
        Write::Series { labels, samples }
    }

    fn timestamp(&mut self) -> i64 {
        self.now += self.random.pick(&[0, 1, SECOND, 10 * SECOND, 10 * SECOND, 10 * SECOND, 60 * SECOND]);
        match self.random.below(100) {
            0..80 => self.now,
            80..90 => self.now - self.random.below(600) as i64 * SECOND,
            90..96 => START + self.random.below(50) as i64 * 10 * SECOND,
            96..98 => START - self.random.below(1_000_000) as i64 * SECOND,
            98 => self.random.pick(&[0, -1, 1]),
            _ if self.extremes => self.random.pick(&[i64::MAX - 1, i64::MIN + 2, i64::MAX / 2, i64::MIN / 2]),
            _ => self.now,
        }
    }

    /// A counter whose buckets change now and then.
    fn histograms(&mut self, count: usize) -> Vec<(i64, Histogram)> {
        let mut histogram = self.histogram();
        let mut next = || {
            if self.random.percent(10) {
                histogram = self.histogram();
            }
            for counts in [&mut histogram.positive.counts, &mut histogram.negative.counts] {
                counts.iter_mut().for_each(|count| *count += self.random.below(3) as f64);
            }
            histogram.sum += self.random.below(1000) as f64 / 8.0;
            (self.timestamp(), histogram.clone())
        };
        (0..count).map(|_| next()).collect()
    }

    fn histogram(&mut self) -> Histogram {
        let mut buckets = || {
            let spans: Vec<BucketSpan> = (0..self.random.below(3))
                .map(|_| BucketSpan {
                    offset: self.random.below(9) as i32,
                    length: self.random.below(4) as u32,
                })
                .collect();
            let count: u32 = spans.iter().map(|span| span.length).sum();
            Buckets { spans, counts: (0..count).map(|_| self.random.below(50) as f64).collect() }
        };
        let (positive, negative) = (buckets(), buckets());
        let hints = [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge];
        let (reset_hint, schema) =
            (self.random.pick(&hints), self.random.pick(&[0, 3, CUSTOM_BUCKETS_SCHEMA]));
        let custom_values =
            if schema == CUSTOM_BUCKETS_SCHEMA { vec![0.5, self.value()] } else { Vec::new() };
        let [count, sum, zero_threshold, zero_count] = [(); 4].map(|()| self.value());
        Histogram {
            schema,
            reset_hint,
            count,
            sum,
            zero_threshold,
            zero_count,
            positive,
            negative,
            custom_values: custom_values.into(),
        }
    }

    fn value(&mut self) -> f64 {
        match self.random.below(12) {
            0..4 => self.random.below(100) as f64,
            4..8 => self.random.below(10_000) as f64 / 100.0,
            8 => f64::from_bits(self.random.next()),
            9 => STALE_NAN,
            10 => f64::from_bits(0x7ff8_0000_0000_0000 | self.random.below(1000) as u64),
            _ => self.random.pick(&[
                0.0,
                -0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::MIN_POSITIVE,
                f64::MAX,
                5e-324,
            ]),
        }
    }
}

/// All samples that a query finds. Panics when the answer is not in the order that it promises.
pub(crate) fn read(snapshot: &Snapshot, matchers: &[Matcher], range: TimeRange) -> Result<Cells> {
    read_selection(&snapshot.select(matchers, range)?, range)
}

/// As [`read`], for series that were selected before.
pub(crate) fn read_selection(selection: &[Series], range: TimeRange) -> Result<Cells> {
    let mut cells = Cells::new();
    let mut previous: Option<Labels> = None;
    let mut samples = Samples::default();
    for series in selection {
        assert!(previous.as_ref().is_none_or(|p| p < series.labels()), "series are sorted and unique");
        previous = Some(series.labels().clone());
        series.read(&mut samples)?;
        assert_eq!(samples.timestamps.len(), samples.values.len());
        assert!(samples.timestamps.is_sorted_by(|a, b| a < b), "timestamps are ascending and unique");
        assert!(
            samples.timestamps.iter().all(|timestamp| range.contains(*timestamp)),
            "samples are in range"
        );
        if !samples.timestamps.is_empty() {
            cells.insert(series.labels().clone(), bits(&samples).collect());
        }
    }
    Ok(cells)
}

/// The timestamps and bits of samples, as [`Cells`] have them.
pub(crate) fn bits(samples: &Samples) -> impl Iterator<Item = (i64, u64)> {
    samples.timestamps.iter().enumerate().map(|(at, timestamp)| {
        let value = samples.values[at].to_bits();
        (*timestamp, samples.histogram(at).map_or(value, |histogram| fingerprint(histogram)))
    })
}

/// All samples of the database.
pub(crate) fn read_all(snapshot: &Snapshot) -> Result<Cells> {
    read(snapshot, &[], TimeRange::ALL)
}

/// Counts the warnings and errors that a thread logs.
#[derive(Debug, Default)]
struct CountProblems(Arc<AtomicUsize>);

impl Subscriber for CountProblems {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// What `run` returns, and how many warnings and errors it logged on this thread.
pub(crate) fn with_problems_logged<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let count = Arc::new(AtomicUsize::new(0));
    let result = tracing::subscriber::with_default(CountProblems(Arc::clone(&count)), run);
    (result, count.load(Ordering::Relaxed))
}
