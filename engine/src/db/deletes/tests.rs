//! Deletes as users see them, and what they leave on the disk.

use super::*;
use crate::block::INDEX_FILE;
use crate::db::{Db, SNAPSHOTS_DIR};
use crate::directory::SimulatedDirectory;
use crate::manifest::Manifest;
use crate::merge::merge;
use crate::options::Options;
use crate::samples::Samples;

const SECOND: i64 = 1_000_000_000;

fn open(machine: &Arc<SimulatedDirectory>) -> Db {
    Db::open_in(machine.clone(), Options { background: false, ..Options::default() }).unwrap()
}

fn labels(host: &str) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("host", host)]).unwrap()
}

/// Writes a sample at each of these seconds.
fn write(db: &Db, host: &str, seconds: impl IntoIterator<Item = i64>, value: f64) {
    let mut batch = db.appender().unwrap();
    batch.series(&labels(host), seconds.into_iter().map(|second| (second * SECOND, value))).unwrap();
    batch.commit().unwrap();
}

fn delete(db: &Db, host: &str, start: i64, end: i64) -> usize {
    let range = TimeRange::new(start * SECOND, end * SECOND);
    db.delete(&[vec![Matcher::equal("host", host)]], range).unwrap().blocks
}

/// The seconds at which a host has this value.
fn seconds(db: &Db, host: &str, value: f64) -> Vec<i64> {
    let mut samples = Samples::default();
    let selected = db.snapshot().select(&[Matcher::equal("host", host)], TimeRange::ALL).unwrap();
    assert!(selected.len() < 2);
    let Some(series) = selected.first() else { return Vec::new() };
    series.read(&mut samples).unwrap();
    let all = samples.timestamps.iter().zip(&samples.values);
    all.filter(|(_, found)| **found == value).map(|(timestamp, _)| timestamp / SECOND).collect()
}

fn hosts(db: &Db, range: TimeRange) -> Vec<String> {
    let snapshot = db.snapshot();
    let (values, _) = snapshot.label_values("host", &[&[]], range, Watch::default()).unwrap().into_parts();
    let values: Vec<String> = values.into_iter().collect();
    let of_series: Vec<String> = snapshot
        .series_labels(&[&[]], range, Watch::default())
        .unwrap()
        .iter()
        .filter_map(|labels| labels.get("host").map(str::to_owned))
        .collect();
    assert_eq!(values, of_series);
    let has_names = !snapshot.label_names(&[&[]], range, Watch::default()).unwrap().is_empty();
    assert_eq!(has_names, !values.is_empty());
    values
}

fn tombstone_files(machine: &SimulatedDirectory) -> usize {
    machine.files().iter().filter(|file| file.starts_with(TOMBSTONES_DIR)).count()
}

#[test]
fn what_is_deleted_stays_deleted_and_what_is_written_after_lives() {
    let mut machine = SimulatedDirectory::new(1);
    let mut db = open(&machine);
    write(&db, "a", 0..100, 1.0);
    write(&db, "b", 0..100, 1.0);
    db.flush().unwrap();
    write(&db, "a", 50..150, 2.0);
    assert_eq!(delete(&db, "a", 20, 119), 2, "one block of before, and one of what was in the head");
    for step in 0..6 {
        match step {
            1 => drop(db.flush().unwrap()),
            2 => {
                drop(db);
                machine = machine.kill();
                db = open(&machine);
            }
            3 => drop(db.compact().unwrap()),
            4 => drop(db.clean_tombstones().unwrap()),
            5 => {
                db.close().unwrap();
                drop(db);
                machine = machine.restart(7);
                db = open(&machine);
            }
            _ => write(&db, "a", 60..70, 3.0),
        }
        assert_eq!(seconds(&db, "a", 1.0), (0..20).collect::<Vec<_>>(), "step {step}");
        assert_eq!(seconds(&db, "a", 2.0), (120..150).collect::<Vec<_>>(), "step {step}");
        assert_eq!(seconds(&db, "a", 3.0), (60..70).collect::<Vec<_>>(), "step {step}");
        assert_eq!(seconds(&db, "b", 1.0), (0..100).collect::<Vec<_>>(), "step {step}");
    }
}

#[test]
fn labels_go_where_nothing_is_left_and_stay_where_something_is() {
    let machine = SimulatedDirectory::new(1);
    let db = open(&machine);
    write(&db, "a", 0..100, 1.0);
    write(&db, "b", 0..100, 1.0);
    delete(&db, "a", 50, 99);
    let seconds = |start: i64, end: i64| TimeRange::new(start * SECOND, end * SECOND);
    assert_eq!(hosts(&db, TimeRange::ALL), ["a", "b"]);
    assert_eq!(hosts(&db, seconds(50, 70)), ["b"]);
    assert_eq!(hosts(&db, seconds(40, 70)), ["a", "b"]);
    delete(&db, "a", 0, 49);
    assert_eq!(hosts(&db, TimeRange::ALL), ["b"]);
    delete(&db, "b", i64::MIN / SECOND, i64::MAX / SECOND);
    assert!(hosts(&db, TimeRange::ALL).is_empty());
    write(&db, "a", 3..4, 2.0);
    assert_eq!(hosts(&db, TimeRange::ALL), ["a"]);
}

#[test]
fn cleaning_frees_the_space_and_takes_series_out_of_the_index() {
    let machine = SimulatedDirectory::new(1);
    let db = open(&machine);
    for host in ["a", "b", "c"] {
        write(&db, host, 0..1000, 1.5);
    }
    write(&db, "gone", 20_000..20_100, 2.0);
    assert_eq!(delete(&db, "gone", 0, 30_000), 1);
    assert_eq!(delete(&db, "a", 0, 499), 1);
    assert_eq!(delete(&db, "a", 0, 499), 0, "there is nothing to delete");
    let before = db.stats();
    assert_eq!(tombstone_files(&machine), 2);
    assert!((590..=600).contains(&before.block_deleted_samples), "{}", before.block_deleted_samples);
    let report = db.clean_tombstones().unwrap();
    assert_eq!((report.merged, report.created), (2, 1));
    let after = db.stats();
    assert_eq!((after.blocks, after.block_series, after.block_samples), (1, 3, 2500));
    assert!(after.block_bytes < before.block_bytes && after.block_deleted_samples == 0);
    assert_eq!(tombstone_files(&machine), 0);
    assert_eq!(seconds(&db, "a", 1.5), (500..1000).collect::<Vec<_>>());
    assert_eq!(db.clean_tombstones().unwrap(), CompactionReport::default());
}

#[test]
fn compaction_rewrites_a_block_of_which_a_good_share_is_deleted() {
    let machine = SimulatedDirectory::new(1);
    let db = open(&machine);
    for host in ["a", "b", "c", "d", "e", "f"] {
        write(&db, host, 0..1000, 1.5);
    }
    delete(&db, "a", 0, 1000);
    assert_eq!(db.compact().unwrap(), CompactionReport::default(), "a sixth is not worth it");
    delete(&db, "b", 0, 1000);
    assert_eq!(db.compact().unwrap(), CompactionReport { merged: 1, created: 1, expired: 0 });
    let stats = db.stats();
    assert_eq!((stats.block_series, stats.block_samples, stats.block_deleted_samples), (4, 4000, 0));
}

#[test]
fn a_delete_that_arrives_during_a_merge_holds_for_its_block_too() {
    let machine = SimulatedDirectory::new(1);
    let mut db = open(&machine);
    write(&db, "a", 0..100, 1.0);
    write(&db, "b", 0..100, 1.0);
    delete(&db, "a", 0, 9);
    write(&db, "a", 5..105, 2.0);
    db.flush().unwrap();
    let ids: Vec<Ulid> = db.snapshot().blocks.iter().map(|block| block.meta().id).collect();
    let sources = db.core.blocks(&ids);
    let merged = merge(&db.core.directory, &sources, &db.core.merge_memory, || Ok(())).unwrap();
    delete(&db, "b", 0, 49);
    delete(&db, "a", 7, 8);
    db.core.replace_blocks(&sources, merged).unwrap();
    for reopened in [false, true] {
        if reopened {
            drop(db);
            db = open(&machine.restart(3));
        }
        assert_eq!(db.stats().blocks, 1);
        assert_eq!(seconds(&db, "b", 1.0), (50..100).collect::<Vec<_>>());
        let expected: Vec<i64> = (5..105).filter(|second| !(7..9).contains(second)).collect();
        assert_eq!(seconds(&db, "a", 2.0), expected, "the first delete of `a` does not hold for these");
        assert!(seconds(&db, "a", 1.0).is_empty());
    }
    assert!((48..=53).contains(&db.stats().block_deleted_samples));
    db.clean_tombstones().unwrap();
    assert_eq!(db.stats().block_samples, 148);
}

#[test]
fn a_delete_of_what_no_head_holds_seals_nothing() {
    let machine = SimulatedDirectory::new(1);
    let db = open(&machine);
    write(&db, "old", 0..10, 1.0);
    db.flush().unwrap();
    write(&db, "new", 1000..1010, 1.0);
    assert_eq!(delete(&db, "old", 0, 5000), 1);
    assert_eq!(delete(&db, "new", 0, 999), 0);
    assert_eq!((db.stats().head_samples, db.stats().flushes_total, db.stats().deletes_total), (10, 1, 2));
    assert_eq!(delete(&db, "new", 0, 1000), 1);
    assert_eq!((db.stats().head_samples, db.stats().flushes_total), (0, 2));
}

#[test]
fn many_deletes_with_one_range_are_one_entry() {
    let machine = SimulatedDirectory::new(1);
    let db = open(&machine);
    for host in 0..20 {
        write(&db, &format!("h{host}"), 0..10, 1.0);
    }
    for host in 0..10 {
        delete(&db, &format!("h{host}"), -host, 100 + host);
    }
    let snapshot = db.snapshot();
    assert_eq!(snapshot.blocks[0].tombstones().unwrap().iter().count(), 1);
    assert_eq!(tombstone_files(&machine), 1, "each replaces the one before");
    assert_eq!(hosts(&db, TimeRange::ALL).len(), 10);
}

/// A database with one block, of which something is deleted.
fn with_tombstones() -> Arc<SimulatedDirectory> {
    let machine = SimulatedDirectory::new(1);
    let db = open(&machine);
    write(&db, "a", 0..10, 1.0);
    write(&db, "b", 0..10, 1.0);
    delete(&db, "a", 0, 10);
    db.close().unwrap();
    drop(db);
    machine
}

#[test]
fn a_block_with_damaged_or_missing_tombstones_is_left_out_and_named() {
    for flip in [true, false] {
        let machine = with_tombstones();
        let file = machine.files().into_iter().find(|file| file.starts_with(TOMBSTONES_DIR)).unwrap();
        if flip {
            machine.flip_bit(&file, 300).unwrap();
        } else {
            machine.remove_file(&file).unwrap();
        }
        let db = open(&machine);
        assert_eq!(db.stats().blocks_unreadable, 1);
        assert!(hosts(&db, TimeRange::ALL).is_empty(), "what was deleted does not come back");
        let error = db.delete(&[vec![Matcher::equal("host", "b")]], TimeRange::ALL).unwrap_err().to_string();
        assert!(error.contains("restore its folder") && error.contains(BLOCKS), "{error}");
    }
}

const BLOCKS: &str = crate::block::BLOCKS_DIR;

#[test]
fn what_cannot_be_deleted_or_cleaned_is_an_error_and_the_rest_goes_on() {
    let machine = with_tombstones();
    let db = open(&machine);
    assert_eq!(db.delete(&[], TimeRange::ALL).unwrap(), DeleteReport::default());
    assert_eq!(db.delete(&[vec![]], TimeRange::new(1, 0)).unwrap(), DeleteReport::default());
    drop(db);
    let index = machine.files().into_iter().find(|file| file.ends_with(INDEX_FILE)).unwrap();
    machine.flip_bit(&index, 1000).unwrap();
    let db = open(&machine);
    assert!(matches!(db.delete(&[vec![]], TimeRange::ALL), Err(Error::Corruption { .. })));
    db.close().unwrap();
    assert!(matches!(db.delete(&[vec![]], TimeRange::ALL), Err(Error::Closed)));
    assert!(matches!(db.clean_tombstones(), Err(Error::Closed)));
    assert!(matches!(db.create_snapshot("x", false), Err(Error::Closed)));
}

#[test]
fn a_failed_delete_hides_nothing_and_leaves_nothing_behind() {
    let machine = with_tombstones();
    let calls = {
        let machine = machine.kill();
        let db = open(&machine);
        let before = machine.calls();
        delete(&db, "b", 0, 5);
        machine.calls() - before
    };
    assert!(calls > 5);
    for call in 0..calls {
        let machine = machine.kill();
        let db = open(&machine);
        machine.fail_after(call, std::io::ErrorKind::Other);
        let outcome = db.delete(&[vec![Matcher::equal("host", "b")]], TimeRange::new(0, 5 * SECOND));
        let left = if outcome.is_ok() { 6..10 } else { 0..10 };
        assert_eq!(seconds(&db, "b", 1.0), left.collect::<Vec<_>>(), "call {call}: {outcome:?}");
        assert_eq!(delete(&db, "b", 0, 5), usize::from(outcome.is_err()));
        drop(db);
        let machine = machine.restart(call);
        let db = open(&machine);
        assert_eq!(seconds(&db, "b", 1.0), (6..10).collect::<Vec<_>>(), "call {call}");
        let listed = Manifest::load(&*machine).unwrap().unwrap();
        assert_eq!(tombstone_files(&machine), listed.tombstones().count());
    }
}

#[test]
fn a_snapshot_is_a_database_of_its_own() {
    let machine = with_tombstones();
    let db = open(&machine);
    write(&db, "head", 0..10, 1.0);
    db.create_snapshot("blocks", true).unwrap();
    assert_eq!(db.stats().head_samples, 10);
    db.create_snapshot("all", false).unwrap();
    for name in ["all", "", "a/b", "..", "x.tmp"] {
        assert!(matches!(db.create_snapshot(name, false), Err(Error::Io { .. })), "{name:?}");
    }
    write(&db, "head", 0..10, 2.0);
    db.clean_tombstones().unwrap();
    drop(db);
    for (name, expected) in [("all", vec!["b", "head"]), ("blocks", vec!["b"])] {
        let copy = below(&machine.restart(1), &Path::new(SNAPSHOTS_DIR).join(name));
        let db = open(&copy);
        assert_eq!(hosts(&db, TimeRange::ALL), expected);
        assert_eq!(seconds(&db, "head", 1.0).len(), if expected.len() == 2 { 10 } else { 0 });
        assert_eq!(db.stats().blocks_unreadable, 0);
    }
}

/// What is below a folder, as a machine of its own.
fn below(machine: &SimulatedDirectory, folder: &Path) -> Arc<SimulatedDirectory> {
    let copy = SimulatedDirectory::new(2);
    for file in machine.files() {
        let Ok(inside) = file.strip_prefix(folder) else { continue };
        copy.create_dir_all(inside.parent().unwrap()).unwrap();
        copy.create(inside).unwrap().write_all(&machine.read(&file).unwrap()).unwrap();
    }
    copy
}
