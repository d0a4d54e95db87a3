//! Native histograms through all of a database: head, log, blocks, merges, deletes and copies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::path::Path;
use std::sync::Arc;

use timberline_engine::directory::RealDirectory;
use timberline_engine::histogram::{PARTS_MAX, cell};
use timberline_engine::{
    BucketSpan, Buckets, Db, Directory, Error, Field, Histogram, HistogramRow, Labels, Matcher, Options, Row,
    SNAPSHOTS_DIR, Samples, TimeRange, inspect, repair, verify,
};

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)]).unwrap()
}

/// A counter of `buckets` buckets after `i` scrapes.
fn histogram(i: u32, buckets: u32) -> Histogram {
    let counts: Vec<f64> = (0..buckets).map(|bucket| f64::from(i * (bucket % 7))).collect();
    Histogram {
        schema: 3,
        count: counts.iter().sum(),
        sum: f64::from(i) * 1.5,
        positive: Buckets { spans: vec![BucketSpan { offset: -4, length: buckets }], counts },
        ..Histogram::default()
    }
}

fn write(db: &Db, name: &str, samples: impl IntoIterator<Item = (i64, Histogram)>) {
    let mut batch = db.appender().unwrap();
    batch.histogram_series(&labels(name), samples).unwrap();
    batch.commit().unwrap();
}

fn write_floats(db: &Db, name: &str, samples: impl IntoIterator<Item = (i64, f64)>) {
    let mut batch = db.appender().unwrap();
    batch.series(&labels(name), samples).unwrap();
    batch.commit().unwrap();
}

fn read(db: &Db, name: &str) -> Samples {
    let mut samples = Samples::default();
    if let [series] = &db.snapshot().select(&[Matcher::equal("__name__", name)], TimeRange::ALL).unwrap()[..]
    {
        series.read(&mut samples).unwrap();
    }
    samples
}

#[test]
fn histograms_are_visible_through_everything_that_moves_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Db::open(folder.path(), options()).unwrap();
    let at = |i: u32| i64::from(i) * 1_000_000_000;
    let mut expected = Samples::default();
    for i in 0..700 {
        if i % 50 == 7 {
            write_floats(&db, "mixed", [(at(i), f64::from(i))]);
            expected.push(at(i), f64::from(i));
        } else {
            let histogram = histogram(i, if i < 300 { 20 } else { 24 });
            write(&db, "mixed", [(at(i), histogram.clone())]);
            expected.push_histogram(at(i), histogram.into());
        }
        write_floats(&db, "floats", [(at(i), 1.0)]);
    }
    assert!(db.stats().head_bytes > 10_000);
    for step in 0..6 {
        match step {
            0 | 3 => {
                drop(db);
                db = Db::open(folder.path(), options()).unwrap();
            }
            1 => assert_eq!(db.flush().unwrap().samples, 1400),
            2 => {
                // Over a block: a float over a histogram, a histogram over a float, and both anew.
                write_floats(&db, "mixed", [(at(100), 5.0)]);
                write(&db, "mixed", [(at(7), histogram(9, 3)), (at(8), histogram(1, 2))]);
                let mut changed = Samples::default();
                for i in 0..expected.len() {
                    match (i, expected.histogram(i)) {
                        (100, _) => changed.push(at(100), 5.0),
                        (7, _) => changed.push_histogram(at(7), histogram(9, 3).into()),
                        (8, _) => changed.push_histogram(at(8), histogram(1, 2).into()),
                        (_, Some(histogram)) => {
                            changed.push_histogram(expected.timestamps[i], histogram.clone());
                        }
                        (_, None) => changed.push(expected.timestamps[i], expected.values[i]),
                    }
                }
                expected = changed;
            }
            4 => {
                db.flush().unwrap();
                db.compact().unwrap();
            }
            _ => {
                db.delete(&[vec![Matcher::equal("__name__", "mixed")]], TimeRange::new(at(10), at(650)))
                    .unwrap();
                let mut left = Samples::default();
                for i in (0..10).chain(651..700) {
                    match expected.histogram(i) {
                        Some(histogram) => left.push_histogram(expected.timestamps[i], histogram.clone()),
                        None => left.push(expected.timestamps[i], expected.values[i]),
                    }
                }
                expected = left;
                assert_eq!(read(&db, "mixed"), expected);
                db.clean_tombstones().unwrap();
            }
        }
        assert_eq!(read(&db, "mixed"), expected, "step {step}");
        assert_eq!(read(&db, "floats").len(), 700, "step {step}");
        assert!(read(&db, "floats").histograms.is_empty());
    }
    write(&db, "mixed", [(at(1000), histogram(3, 5))]);
    expected.push_histogram(at(1000), histogram(3, 5).into());
    db.create_snapshot("copy", false).unwrap();
    let copy = folder.path().join(SNAPSHOTS_DIR).join("copy");
    check_from_outside(&copy, &expected);
    assert_eq!(read(&Db::open(&copy, options()).unwrap(), "mixed"), expected);
}

/// What reads a data directory without a database finds nothing wrong, and can save all of it.
fn check_from_outside(folder: &Path, expected: &Samples) {
    let directory = RealDirectory::open(folder).unwrap();
    let report = verify::verify(&directory).unwrap();
    assert!(report.problems.is_empty() && report.samples > 0, "{report:?}");
    let mut text = Vec::new();
    assert_eq!(inspect::describe(folder, &mut text).unwrap(), 0);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("values: histograms"), "{text}");
    let saved = tempfile::tempdir().unwrap();
    let into: Arc<dyn Directory> = Arc::new(RealDirectory::open(saved.path()).unwrap());
    assert!(repair::repair(&directory, &into).unwrap().lost.is_empty());
    drop(into);
    assert_eq!(read(&Db::open(saved.path(), options()).unwrap(), "mixed"), *expected);
}

#[test]
fn statistics_are_of_floats_alone() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    write_floats(&db, "a", (0..100).map(|i| (i, i as f64)));
    write(&db, "b", (0..100).map(|i| (i64::from(i), histogram(i, 2))));
    db.flush().unwrap();
    for (name, has) in [("a", true), ("b", false)] {
        let selected = db.snapshot().select(&[Matcher::equal("__name__", name)], TimeRange::ALL).unwrap();
        assert_eq!(selected[0].parts()[0].statistics().unwrap().is_some(), has);
    }
}

#[test]
fn large_histograms_are_cut_into_chunks_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let large = |i: u32| histogram(i, PARTS_MAX as u32 - 1);
    write(&db, "large", (0..40).map(|i| (i64::from(i), large(i))));
    db.flush().unwrap();
    let selected = db.snapshot().select(&[], TimeRange::ALL).unwrap();
    assert_eq!(selected[0].parts().len(), 2, "32 are a chunk");
    let samples = read(&db, "large");
    assert_eq!(samples.len(), 40);
    assert_eq!(**samples.histogram(39).unwrap(), large(39));
    let mut batch = db.appender().unwrap();
    let refused = batch.histogram_series(&labels("large"), [(0, histogram(1, PARTS_MAX as u32))]);
    assert!(matches!(refused, Err(Error::InvalidHistogram { .. })), "{refused:?}");
    let mut short = histogram(1, 4);
    short.positive.counts.pop();
    let refused = batch.histogram_series(&labels("large"), [(0, short)]).unwrap_err().to_string();
    assert_eq!(refused, "invalid histogram: spans need 4 buckets, have 3 on the positive side");
}

#[test]
fn a_float_whose_bits_are_those_of_a_cell_is_an_ordinary_nan() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let cell = cell::histogram(0);
    let mut batch = db.appender().unwrap();
    batch.series(&labels("x"), [(1, cell)]).unwrap();
    let resolve = |name: &[u8]| Ok(labels(std::str::from_utf8(name).unwrap()));
    fn row<'a>(timestamp: i64, fields: &'a [Field<'a>]) -> Row<'a> {
        Row { key: b"k", timestamp, fields }
    }
    batch
        .row(row(1, &[Field { name: b"a", value: cell }, Field { name: b"b", value: 1.0 }]), resolve)
        .unwrap();
    batch.row(row(2, &[Field { name: b"b", value: cell }]), resolve).unwrap();
    let histogram_row =
        HistogramRow { key: b"k", name: b"b", timestamp: 3, histogram: histogram(5, 3).into() };
    batch.histogram(histogram_row, resolve).unwrap();
    assert_eq!(batch.commit().unwrap(), 5);
    for name in ["x", "a"] {
        assert_eq!(read(&db, name).values[0].to_bits(), f64::NAN.to_bits());
    }
    let b = read(&db, "b");
    assert_eq!((b.values[1].to_bits(), b.histogram(1)), (f64::NAN.to_bits(), None));
    assert_eq!(**b.histogram(2).unwrap(), histogram(5, 3));
}
