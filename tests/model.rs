//! The engine against a model: random writes, flushes, compactions and reopenings, and after each the same answers as a map.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use common::{
    Cells, Random, SECOND, START, Workload, Write, append_refused_row, for_each_seed, read, read_all,
    read_selection,
};
use timberline_engine::directory::{RealDirectory, SimulatedDirectory};
use timberline_engine::{
    Db, Directory, Found, Labels, MatchOp, Matcher, Options, Series, Snapshot, TimeRange, Watch,
};

mod common;

#[test]
fn answers_as_a_map_does() {
    for_each_seed(150, |seed| {
        let directory = SimulatedDirectory::new(seed);
        Run::new(seed, directory).steps(30);
    });
}

#[test]
fn answers_as_a_map_does_on_the_real_file_system() {
    for_each_seed(8, |seed| {
        let root = tempfile::tempdir().unwrap();
        Run::new(seed, Arc::new(RealDirectory::open(root.path()).unwrap())).steps(30);
    });
}

#[test]
fn concurrent_writers_of_different_series_lose_nothing() {
    for_each_seed(30, |seed| {
        let directory: Arc<dyn Directory> = SimulatedDirectory::new(seed);
        let options = Options { background: false, ..Options::default() };
        let db = Db::open_in(Arc::clone(&directory), options.clone()).unwrap();
        let mut expected = Cells::new();
        let writer = |hosts: std::ops::Range<usize>| {
            let mut workload = Workload { hosts, ..Workload::new(seed) };
            let mut cells = Cells::new();
            for _ in 0..20 {
                let batch = workload.batch(10);
                commit(&db, &batch);
                put(&mut cells, &batch);
            }
            cells
        };
        std::thread::scope(|scope| {
            let writers = [scope.spawn(|| writer(0..3)), scope.spawn(|| writer(3..6))];
            for _ in 0..5 {
                db.flush().unwrap();
                read_all(&db.snapshot()).unwrap();
                db.compact().unwrap();
            }
            for writer in writers {
                expected.extend(writer.join().unwrap());
            }
        });
        assert_same(&read_all(&db.snapshot()).unwrap(), &expected);
        drop(db);
        let db = Db::open_in(directory, options).unwrap();
        assert_same(&read_all(&db.snapshot()).unwrap(), &expected);
    });
}

/// A database, the map that it must equal, and selections with the maps that they must equal for ever.
struct Run {
    directory: Arc<dyn Directory>,
    options: Options,
    /// Always there, except while it is opened anew.
    db: Option<Db>,
    expected: Cells,
    /// The labels of all writes, forgotten ones too.
    placed: BTreeSet<Labels>,
    held: Vec<(Vec<Series>, Cells)>,
    workload: Workload,
    random: Random,
    /// Whether there was a delete; then the range of all samples may be wider than they are.
    has_deleted: bool,
}

impl Run {
    fn new(seed: u64, directory: Arc<dyn Directory>) -> Self {
        let mut random = Random(seed ^ 0x5eed);
        let block_span = Duration::from_secs(random.pick(&[60, 600, 7200]));
        let options = Options { background: false, block_span, ..Options::default() };
        let db = Db::open_in(Arc::clone(&directory), options.clone()).unwrap();
        let workload = Workload { extremes: seed.is_multiple_of(3), ..Workload::new(seed) };
        Self {
            directory,
            options,
            db: Some(db),
            expected: Cells::new(),
            placed: BTreeSet::new(),
            held: Vec::new(),
            workload,
            random,
            has_deleted: false,
        }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn steps(mut self, count: usize) {
        for _ in 0..count {
            match self.random.below(23) {
                0..11 => self.append(),
                20 => self.delete(),
                21 => self.delete_and_write_again(),
                22 => drop(self.db().clean_tombstones().unwrap()),
                11 => self.forget_a_batch(),
                12 | 13 => drop(self.db().flush().unwrap()),
                14 => drop(self.db().compact().unwrap()),
                15 => self.reopen(true),
                16 => self.reopen(false),
                _ => {
                    let selection = self.db().snapshot().select(&[], TimeRange::ALL).unwrap();
                    self.held.push((selection, self.expected.clone()));
                }
            }
            let snapshot = self.db().snapshot();
            check(&snapshot, &self.expected, &self.placed, self.has_deleted, &mut self.random);
            if self.random.percent(20) {
                self.check_held();
            }
        }
        self.reopen(true);
        assert_same(&read_all(&self.db().snapshot()).unwrap(), &self.expected);
        assert_eq!(self.db().stats().head_samples, 0, "a close leaves nothing in the head");
    }

    fn append(&mut self) {
        let batch = self.workload.batch(12);
        let mut appender = self.db.as_ref().unwrap().appender().unwrap();
        for write in &batch {
            write.append(&mut appender).unwrap();
            if self.random.percent(5) {
                append_refused_row(&mut appender, &mut self.random);
            }
        }
        let samples = appender.samples();
        assert_eq!(appender.commit().unwrap(), samples);
        put(&mut self.expected, &batch);
        self.placed.extend(batch.iter().flat_map(Write::cells).map(|(labels, ..)| labels));
    }

    fn forget_a_batch(&mut self) {
        let batch = self.workload.batch(5);
        self.placed.extend(batch.iter().flat_map(Write::cells).map(|(labels, ..)| labels));
        let mut appender = self.db().appender().unwrap();
        for write in batch {
            write.append(&mut appender).unwrap();
        }
    }

    fn delete(&mut self) {
        let selectors: Vec<_> =
            (0..self.random.pick(&[1, 1, 2])).map(|_| random_matchers(&mut self.random)).collect();
        let range = random_range(&mut self.random);
        self.db().delete(&selectors, range).unwrap();
        for (labels, samples) in &mut self.expected {
            if selectors.iter().any(|matchers| satisfies(labels, matchers)) {
                samples.retain(|timestamp, _| !range.contains(*timestamp));
            }
        }
        self.expected.retain(|_, samples| !samples.is_empty());
        self.has_deleted = true;
    }

    /// The same samples come back after a delete, with and without a flush between the two.
    fn delete_and_write_again(&mut self) {
        let batch = self.workload.batch(6);
        for again in [false, true] {
            commit(self.db(), &batch);
            put(&mut self.expected, &batch);
            self.placed.extend(batch.iter().flat_map(Write::cells).map(|(labels, ..)| labels));
            if self.random.percent(50) {
                self.db().flush().unwrap();
            }
            if !again {
                self.delete();
            }
        }
    }

    fn reopen(&mut self, close: bool) {
        self.check_held();
        self.held.clear();
        if close {
            self.db().close().unwrap();
            assert!(self.db().appender().is_err() && self.db().flush().is_err(), "it is closed");
        }
        // The lock of the old one goes before the new one takes it.
        self.db = None;
        self.db = Some(Db::open_in(Arc::clone(&self.directory), self.options.clone()).unwrap());
    }

    fn check_held(&self) {
        for (selection, expected) in &self.held {
            assert_same(&read_selection(selection, TimeRange::ALL).unwrap(), expected);
        }
    }
}

fn commit(db: &Db, batch: &[Write]) {
    let mut appender = db.appender().unwrap();
    for write in batch {
        write.append(&mut appender).unwrap();
    }
    appender.commit().unwrap();
}

fn put(cells: &mut Cells, batch: &[Write]) {
    for (labels, timestamp, bits) in batch.iter().flat_map(Write::cells) {
        cells.entry(labels).or_default().insert(timestamp, bits);
    }
}

#[track_caller]
fn assert_same(got: &Cells, expected: &Cells) {
    for (labels, samples) in expected {
        let found =
            got.get(labels).unwrap_or_else(|| panic!("{labels} is missing, with {} samples", samples.len()));
        for (timestamp, bits) in samples {
            let found = found.get(timestamp).map(|bits| f64::from_bits(*bits));
            let same = found.is_some_and(|found| found.to_bits() == *bits);
            assert!(same, "{labels} at {timestamp} is {found:?}, not {:?}", f64::from_bits(*bits));
        }
        let extra = found.keys().find(|timestamp| !samples.contains_key(timestamp));
        assert!(extra.is_none(), "{labels} has a sample at {extra:?} that nobody wrote");
    }
    let extra = got.keys().find(|labels| !expected.contains_key(labels));
    assert!(extra.is_none(), "{extra:?} was never written");
}

/// Asks random questions of both.
fn check(
    snapshot: &Snapshot,
    all: &Cells,
    placed: &BTreeSet<Labels>,
    has_deleted: bool,
    random: &mut Random,
) {
    for _ in 0..3 {
        let (matchers, range) = (random_matchers(random), random_range(random));
        let matching: Vec<_> = all.iter().filter(|(labels, _)| satisfies(labels, &matchers)).collect();
        let expected: Cells = matching
            .iter()
            .map(|(labels, samples)| {
                let inside = samples.iter().filter(|(timestamp, _)| range.contains(**timestamp));
                ((*labels).clone(), inside.map(|(timestamp, bits)| (*timestamp, *bits)).collect())
            })
            .filter(|(_, samples): &(Labels, std::collections::BTreeMap<_, _>)| !samples.is_empty())
            .collect();
        assert_same(&read(snapshot, &matchers, range).unwrap(), &expected);
        // A series without a sample inside the range may be named, as its neighbours in the head may have one there.
        let inside: BTreeSet<Labels> = expected.into_keys().collect();
        let matching = placed.iter().filter(|labels| satisfies(labels, &matchers)).cloned().collect();
        check_labels(snapshot, &matchers, range, &inside, &matching);
    }
    let timestamps = || all.values().flat_map(|samples| samples.keys().copied());
    let range = timestamps().min().zip(timestamps().max()).map(|(start, end)| TimeRange::new(start, end));
    let found = snapshot.time_range();
    let contains =
        |inner: TimeRange| found.is_some_and(|found| found.start <= inner.start && inner.end <= found.end);
    assert!(found == range || (has_deleted && range.is_none_or(contains)), "{found:?}, not {range:?}");
}

fn check_labels(
    snapshot: &Snapshot,
    matchers: &[Matcher],
    range: TimeRange,
    inside: &BTreeSet<Labels>,
    matching: &BTreeSet<Labels>,
) {
    let assert_between = |got: Vec<String>, of: &dyn Fn(&Labels) -> Vec<String>| {
        assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
        let got: BTreeSet<String> = got.into_iter().collect();
        let least: BTreeSet<String> = inside.iter().flat_map(of).collect();
        let most: BTreeSet<String> = matching.iter().flat_map(of).collect();
        assert!(least.is_subset(&got) && got.is_subset(&most), "{got:?} for {matchers:?} in {range:?}");
    };
    let watch = Watch::default();
    let list = |found: Found<String>| found.into_parts().0.into_iter().collect();
    let names = list(snapshot.label_names(&[matchers], range, watch).unwrap());
    assert_between(names, &|labels| labels.iter().map(|(name, _)| name.to_owned()).collect());
    for name in ["host", "__name__", "größe", "missing"] {
        let values = list(snapshot.label_values(name, &[matchers], range, watch).unwrap());
        assert_between(values, &|labels| labels.get(name).map(str::to_owned).into_iter().collect());
    }
    let (series, _) = snapshot.series_labels(&[matchers], range, watch).unwrap().into_parts();
    let missing: Vec<_> = inside.difference(&series).collect();
    let extra: Vec<_> = series.difference(matching).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:?}, extra {extra:?} for {matchers:?} in {range:?}"
    );
}

fn satisfies(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or_default()))
}

fn random_matchers(random: &mut Random) -> Vec<Matcher> {
    let conditions = [
        ("host", MatchOp::Equal, "h1"),
        ("host", MatchOp::NotEqual, "h1"),
        ("host", MatchOp::Equal, ""),
        ("host", MatchOp::Regex, "h[0-2]|x"),
        ("host", MatchOp::Regex, "h1|h3"),
        ("host", MatchOp::Regex, ".*"),
        ("host", MatchOp::Regex, ".+"),
        ("host", MatchOp::NotRegex, ".+"),
        ("host", MatchOp::NotRegex, "h2|"),
        ("__name__", MatchOp::Equal, "cpu_f1"),
        ("__name__", MatchOp::Equal, "up"),
        ("__name__", MatchOp::Regex, "cpu_.*"),
        ("__name__", MatchOp::NotRegex, "(?i)CPU.*"),
        ("region", MatchOp::NotEqual, "r0"),
        ("größe", MatchOp::Regex, "ü.*"),
        ("missing", MatchOp::Equal, ""),
        ("missing", MatchOp::NotEqual, ""),
        ("missing", MatchOp::Regex, "a|"),
    ];
    let count = random.pick(&[0, 1, 1, 2, 2, 3]);
    (0..count)
        .map(|_| {
            let (name, op, value) = random.pick(&conditions);
            Matcher::new(name, op, value).unwrap()
        })
        .collect()
}

fn random_range(random: &mut Random) -> TimeRange {
    let start = START + random.below(4000) as i64 * SECOND - 600 * SECOND;
    match random.below(8) {
        0..3 => TimeRange::ALL,
        3 => TimeRange::new(start, start),
        4 => TimeRange::new(start, start - 1),
        5 => TimeRange::new(i64::MIN, start),
        6 => TimeRange::new(start, i64::MAX),
        _ => TimeRange::new(start, start + random.below(2000) as i64 * SECOND),
    }
}
