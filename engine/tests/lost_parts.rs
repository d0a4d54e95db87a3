//! What is read of a series of which a chunk is damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::path::PathBuf;
use std::sync::Arc;

use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Labels, Matcher, Options, Samples, Series, TimeRange};

fn open(directory: &Arc<SimulatedDirectory>) -> Db {
    Db::open_in(directory.clone(), Options { background: false, ..Options::default() }).unwrap()
}

/// Writes a sample at each of these times into a block of its own.
fn write(db: &Db, times: std::ops::Range<i64>, value: f64) {
    let labels = Labels::from_pairs([("__name__", "up")]).unwrap();
    let mut batch = db.appender().unwrap();
    batch.series(&labels, times.map(|t| (t, value))).unwrap();
    batch.commit().unwrap();
    db.flush().unwrap();
}

fn select(db: &Db, range: TimeRange) -> Series {
    db.snapshot().select(&[Matcher::equal("__name__", "up")], range).unwrap().remove(0)
}

#[test]
fn a_lost_part_hides_what_it_may_have_replaced_and_nothing_else() {
    let directory = SimulatedDirectory::new(1);
    let db = open(&directory);
    write(&db, 0..100, 1.0);
    let before = directory.files();
    write(&db, 40..60, 2.0);
    let damaged = |file: &PathBuf| !before.contains(file) && file.ends_with("chunks");
    let chunks = directory.files().into_iter().find(damaged).unwrap();
    write(&db, 50..55, 3.0);
    drop(db);
    let directory = directory.kill();
    let last_bit = directory.read(&chunks).unwrap().len() * 8 - 1;
    directory.flip_bit(&chunks, last_bit).unwrap();
    let db = open(&directory);

    let (mut samples, mut lost) = (Samples::default(), Vec::new());
    let series = select(&db, TimeRange::new(10, 52));
    assert!(series.read(&mut samples).is_err());
    series.read_sound(&mut samples, |range, error| lost.push((range, error.to_string())));
    let expected: Vec<(i64, f64)> = (10..40).map(|t| (t, 1.0)).chain((50..=52).map(|t| (t, 3.0))).collect();
    let found: Vec<(i64, f64)> = samples.timestamps.iter().copied().zip(samples.values.clone()).collect();
    assert_eq!(found, expected);
    let [(range, reason)] = &lost[..] else { panic!("{lost:?}") };
    assert_eq!(*range, TimeRange::new(40, 52));
    assert!(reason.contains("chunks is corrupt at byte "), "{reason}");

    lost.clear();
    let whole = select(&db, TimeRange::new(0, 39));
    whole.read_sound(&mut samples, |range, error| lost.push((range, error.to_string())));
    assert_eq!((samples.len(), lost.len()), (40, 0));
}
