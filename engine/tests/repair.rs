//! A repair saves at least what the database itself would still answer, whatever byte of whatever file is damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Directory, Error, Labels, Matcher, Options, Samples, TimeRange, repair, verify};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000 * SECOND;
/// Each byte of a file's head is damaged, and so many places of the rest.
const HEAD_BYTES: usize = 64;
const PLACES: usize = 60;

/// What there is: a value for each series and timestamp.
type Cells = BTreeMap<(Labels, i64), u64>;

fn open(directory: &Arc<SimulatedDirectory>) -> timberline_engine::Result<Db> {
    Db::open_in(directory.clone(), Options { background: false, ..Options::default() })
}

fn write(db: &Db, host: &str, seconds: std::ops::Range<i64>) {
    let mut batch = db.appender().unwrap();
    for metric in ["cpu", "mem"] {
        let labels = Labels::from_pairs([("__name__", metric), ("host", host)]).unwrap();
        let samples = seconds.clone().map(|t| (START + t * SECOND, (t * 7 % 13) as f64));
        batch.series(&labels, samples).unwrap();
    }
    batch.commit().unwrap();
}

/// A database with blocks, tombstones of one of them, and a log of several segments that is not in blocks yet.
fn database() -> Arc<SimulatedDirectory> {
    let directory = SimulatedDirectory::new(7);
    let db = open(&directory).unwrap();
    write(&db, "a", 0..300);
    db.flush().unwrap();
    write(&db, "b", 10_000..10_300);
    db.flush().unwrap();
    let matchers = vec![Matcher::equal("host", "a"), Matcher::equal("__name__", "cpu")];
    db.delete(&[matchers], TimeRange::new(START + 10 * SECOND, START + 20 * SECOND)).unwrap();
    write(&db, "c", 20_000..20_100);
    drop(db);
    // The log goes on in another segment; the head is the same.
    let directory = directory.kill();
    let db = open(&directory).unwrap();
    for part in 0..5 {
        write(&db, "c", 20_100 + part * 50..20_150 + part * 50);
    }
    drop(db);
    directory.kill()
}

/// What a database answers, part by part: a query of another time does not meet a damaged chunk.
fn answered(db: &Db) -> Cells {
    let mut cells = Cells::new();
    let mut samples = Samples::default();
    let Ok(series) = db.snapshot().select(&[], TimeRange::ALL) else { return cells };
    for series in series {
        for part in series.parts() {
            samples.clear();
            if part.decode(TimeRange::ALL, &mut samples).is_ok() {
                let values = samples.values.iter().map(|value| value.to_bits());
                let keys = samples.timestamps.iter().map(|timestamp| (series.labels().clone(), *timestamp));
                cells.extend(keys.zip(values));
            }
        }
    }
    cells
}

/// What is in the directory that a repair makes, and how much it says is lost.
fn repaired(directory: &Arc<SimulatedDirectory>) -> (Cells, Vec<String>) {
    try_repair(directory).unwrap()
}

fn try_repair(directory: &Arc<SimulatedDirectory>) -> timberline_engine::Result<(Cells, Vec<String>)> {
    let into = SimulatedDirectory::new(8);
    let target: Arc<dyn Directory> = into.clone();
    let report = repair::repair(&**directory, &target)?;
    assert!(verify::verify(&*into).unwrap().problems.is_empty());
    Ok((answered(&open(&into).unwrap()), report.lost))
}

fn places(len: usize) -> BTreeSet<usize> {
    (0..len.min(HEAD_BYTES)).chain((0..PLACES).map(|place| place * len / PLACES)).collect()
}

#[test]
fn whatever_byte_is_damaged_a_repair_saves_what_is_answered() {
    let whole = database();
    let written = answered(&open(&whole.kill()).unwrap());
    assert_eq!(repaired(&whole.kill()), (written.clone(), Vec::new()));
    let mut kinds = BTreeSet::new();
    for file in whole.files() {
        let len = whole.read(&file).unwrap().len();
        kinds.extend(file.iter().next().map(|kind| kind.to_os_string()).filter(|_| len > 0));
        for place in places(len).into_iter().filter(|place| *place < len) {
            let context = format!("byte {place} of {}", file.display());
            let damaged = whole.kill();
            damaged.flip_bit(&file, place * 8 + place % 8).unwrap();
            check(&damaged, &written, &context);
        }
    }
    let expected = ["MANIFEST", "blocks", "tombstones", "wal"];
    assert!(expected.iter().all(|kind| kinds.contains(std::ffi::OsStr::new(kind))), "{kinds:?}");
}

fn check(damaged: &Arc<SimulatedDirectory>, written: &Cells, context: &str) {
    let (saved, lost) = match try_repair(damaged) {
        Ok(repaired) => repaired,
        // A version that nobody knows yet looks like a newer program's: it is told to a person and nothing is guessed.
        Err(error) => {
            assert!(matches!(error, Error::NewerVersion { .. }), "{context}: {error}");
            assert!(matches!(open(&damaged.kill()), Err(Error::NewerVersion { .. })), "{context}: {error}");
            return;
        }
    };
    // A database that does not open answers nothing.
    let served = open(&damaged.kill()).map(|db| answered(&db)).unwrap_or_default();
    for (cell, value) in &served {
        assert_eq!(saved.get(cell), Some(value), "{context}: {} at {}; lost: {lost:?}", cell.0, cell.1);
    }
    let is_deleted = |cell: &(Labels, i64)| cell.1 <= START + 20 * SECOND;
    for (cell, value) in &saved {
        let right = written.get(cell);
        assert!(right == Some(value) || (right.is_none() && is_deleted(cell)), "{context}: {cell:?}");
    }
    let missing = written.keys().filter(|cell| !saved.contains_key(*cell)).count();
    // The end of the log may be what a crash left of a write that nobody was promised.
    assert!(missing <= 100 || !lost.is_empty(), "{context}: {missing} are missing, and nobody said so");
}

#[test]
fn the_records_behind_a_damaged_header_of_a_segment_are_saved() {
    let whole = database();
    let written = answered(&open(&whole.kill()).unwrap());
    for file in whole.files().iter().filter(|file| file.starts_with("wal")) {
        let damaged = whole.kill();
        damaged.flip_bit(file, 8 * 21).unwrap();
        let (saved, lost) = repaired(&damaged);
        assert_eq!(saved, written, "{}", file.display());
        assert!(lost.iter().any(|lost| lost.contains("read all the same")), "{lost:?}");
    }
}

#[test]
fn a_repair_leaves_its_source_as_it_was() {
    let whole = database();
    let content = |directory: &Arc<SimulatedDirectory>| -> Vec<_> {
        let files = directory.files().into_iter().filter(|file| file != Path::new("LOCK"));
        files.map(|file| (directory.read(&file).unwrap(), file)).collect()
    };
    let before = content(&whole);
    repaired(&whole);
    assert_eq!(content(&whole), before);
}
