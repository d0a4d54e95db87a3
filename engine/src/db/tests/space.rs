//! Disks that are full or read-only.

use std::time::Duration;

use super::*;
use crate::db::clock::machine_ns;
use crate::wal::segment_path;

const DAY: i64 = 24 * HOUR;
const RESERVE: &str = "RESERVE";

fn with_retention() -> Options {
    Options { retention: Some(Duration::from_secs(30 * 86_400)), ..options() }
}

fn is_reserved(machine: &SimulatedDirectory) -> bool {
    machine.files().iter().any(|path| path == Path::new(RESERVE))
}

/// A machine whose database has a block for each of these ages, and is closed by a kill.
fn killed(ages: &[i64]) -> Arc<SimulatedDirectory> {
    let machine = SimulatedDirectory::new(1);
    let times: Vec<i64> = ages.iter().map(|age| machine_ns() - age).collect();
    drop(database_with_blocks(&machine, &times));
    machine.kill()
}

#[test]
fn a_full_disk_is_opened_and_expiry_frees_it_with_what_was_reserved() {
    let machine = killed(&[100 * DAY, 5 * HOUR]);
    assert!(is_reserved(&machine));
    machine.set_capacity(Some(machine.bytes_used()));
    let db = Db::open_in(machine.clone(), with_retention()).unwrap();
    let reason = db.writes_refused().unwrap();
    assert!(reason.contains("0000000004.wal") && reason.contains("free space"), "{reason}");
    assert!(matches!(db.appender(), Err(Error::WritesRefused { .. })));
    assert_eq!(read(&db, &[])[0].1.len(), 2, "queries are answered");
    assert_eq!(db.compact().unwrap().expired, 1);
    assert!(!is_reserved(&machine), "the reserve paid for it");
    assert_eq!(read(&db, &[])[0].1.len(), 1);
    // What was freed is for the reserve first.
    assert!(matches!(db.appender(), Err(Error::WritesRefused { .. })));
    machine.set_capacity(Some(machine.bytes_used() + (8 << 20)));
    write(&db, "a", machine_ns(), &[("user", 1.0)]);
    assert!(is_reserved(&machine) && db.writes_refused().is_none());
    drop(db);
    let db = Db::open_in(machine.kill(), with_retention()).unwrap();
    assert_eq!(read(&db, &[])[0].1.len(), 2);
    assert_eq!(db.stats().wal_corruptions_total, 0);
}

#[test]
fn a_full_disk_lets_deletes_free_it() {
    let machine = killed(&[5 * HOUR]);
    let db = Db::open_in(machine.clone(), options()).unwrap();
    machine.set_capacity(Some(machine.bytes_used()));
    assert_eq!(db.delete(&[vec![]], TimeRange::ALL).unwrap().blocks, 1);
    assert_eq!(db.compact().unwrap().merged, 1);
    assert_eq!(db.stats().blocks, 0);
}

#[test]
fn a_read_only_disk_is_opened_and_taken_into_use_once_it_is_writable() {
    for unfinished in [false, true] {
        let machine = SimulatedDirectory::new(1);
        let db = Db::open_in(machine.clone(), options()).unwrap();
        write(&db, "a", 1, &[("user", 1.0)]);
        db.flush().unwrap();
        write(&db, "a", 2, &[("user", 1.0)]);
        drop(db);
        let machine = machine.kill();
        if unfinished {
            machine.create(&segment_path(3)).unwrap();
        }
        machine.set_read_only(true);
        let db = Db::open_in(machine.clone(), options()).unwrap();
        assert!(db.writes_refused().unwrap().contains("mount its file system writable"));
        assert!(matches!(db.appender(), Err(Error::WritesRefused { .. })));
        assert_eq!(read(&db, &[])[0].1, [(1, 1.0), (2, 1.0)]);
        machine.set_read_only(false);
        write(&db, "a", 3, &[("user", 1.0)]);
        assert_eq!(db.writes_refused(), None);
        drop(db);
        let db = Db::open_in(machine.kill(), options()).unwrap();
        assert_eq!(read(&db, &[])[0].1, [(1, 1.0), (2, 1.0), (3, 1.0)]);
        assert_eq!(db.stats().wal_corruptions_total, 0);
    }
}

#[test]
fn without_space_for_a_merge_blocks_stay_and_expiry_goes_on() {
    let machine = killed(&[100 * DAY, 5 * HOUR]);
    let db = Db::open_in(machine.clone(), with_retention()).unwrap();
    for value in [1.0, 2.0] {
        write(&db, "a", machine_ns() - 2 * DAY, &[("user", value)]);
        write(&db, "a", machine_ns() - 3 * DAY, &[("user", value)]);
        db.flush().unwrap();
    }
    machine.set_capacity(Some(machine.bytes_used() + (1 << 20)));
    let report = db.compact().unwrap();
    assert_eq!((report.expired, report.merged), (1, 0), "a merge needs more than it would leave free");
    assert_eq!(db.stats().compaction_failures_total, 0);
    machine.set_capacity(None);
    assert!(db.compact().unwrap().merged >= 2);
}
