//! What expires, and by which clock.

use std::time::Duration;

use super::*;
use crate::db::clock::machine_ns;
use crate::histogram::Histogram;

const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

fn with_retention(days: u64) -> Options {
    Options { retention: Some(Duration::from_secs(days * 86_400)), ..options() }
}

/// A database with a block for each of these ages, whose retention clock is `behind` the machine's when it is opened again.
fn reopened(ages: &[i64], behind: Option<i64>, options: Options) -> (Arc<SimulatedDirectory>, Db) {
    let machine = SimulatedDirectory::new(1);
    let now = machine_ns();
    let times: Vec<i64> = ages.iter().map(|age| now - age).collect();
    drop(database_with_blocks(&machine, &times));
    let machine = machine.kill();
    let mut manifest = Manifest::load(&*machine).unwrap().unwrap();
    assert!((now..now + HOUR).contains(&manifest.clock_ns.unwrap()), "each manifest keeps the clock");
    manifest.clock_ns = behind.map(|behind| now - behind);
    manifest.store(&*machine).unwrap();
    let db = Db::open_in(machine.clone(), options).unwrap();
    (machine, db)
}

#[test]
fn a_clock_that_is_years_ahead_expires_nothing() {
    // The machine's clock says now; by the retention clock the samples are hours old.
    let (_, db) = reopened(&[3 * YEAR + 5 * HOUR, 3 * YEAR], Some(3 * YEAR), with_retention(30));
    assert_eq!(db.compact().unwrap().expired, 0);
    let stats = db.stats();
    assert!(stats.retention_clock_behind_ns > 3 * YEAR - DAY, "{stats:?}");
    let warning = stats.retention_clock_warning.unwrap();
    assert!(warning.contains("1095.0 days ahead of the retention clock"), "{warning}");
    // Nor is it a reason to refuse what the right clock would take.
    write(&db, "a", machine_ns() - 3 * YEAR - DAY, &[("user", 1.0)]);
    write(&db, "a", machine_ns(), &[("user", 1.0)]);
}

#[test]
fn a_clock_that_is_years_behind_expires_nothing_either() {
    let (_, db) = reopened(&[5 * HOUR, 40 * DAY], Some(-3 * YEAR), with_retention(60));
    assert_eq!(db.compact().unwrap().expired, 0);
    let warning = db.stats().retention_clock_warning.unwrap();
    assert!(warning.contains("1095.0 days behind the retention clock"), "{warning}");
}

#[test]
fn what_is_too_old_expires_and_is_counted() {
    let (machine, db) = reopened(&[100 * DAY, 40 * DAY, 5 * HOUR], Some(0), with_retention(30));
    assert_eq!(db.compact().unwrap().expired, 2);
    let stats = db.stats();
    assert_eq!((stats.blocks, stats.expired_blocks_total, stats.expired_samples_total), (1, 2, 2));
    assert_eq!(stats.retention_clock_warning, None);
    assert_eq!(Manifest::load(&*machine).unwrap().unwrap().blocks.len(), 1);
}

#[test]
fn a_database_that_does_not_know_the_time_begins_at_its_newest_sample() {
    let cases: [(&str, &[i64], i64, usize); 4] = [
        ("written to until yesterday", &[DAY, 40 * DAY], DAY, 1),
        ("idle for a year", &[YEAR, YEAR + 20 * DAY, YEAR + 40 * DAY], YEAR, 1),
        ("a sample of the future", &[-YEAR, 40 * DAY], 0, 1),
        ("no sample", &[], 0, 0),
    ];
    for (name, ages, behind, expired) in cases {
        let (_, db) = reopened(ages, None, with_retention(30));
        let found = db.stats().retention_clock_behind_ns;
        assert!((behind - HOUR..=behind + HOUR).contains(&found), "{name}: {found}");
        assert_eq!(db.compact().unwrap().expired, expired, "{name}");
    }
}

#[test]
fn a_database_without_samples_begins_at_the_machines_clock() {
    let (_, db) = reopened(&[], Some(YEAR), with_retention(30));
    assert!(db.stats().retention_clock_behind_ns < HOUR);
    write(&db, "a", machine_ns(), &[("user", 1.0)]);
    let mut batch = db.appender().unwrap();
    assert_eq!(batch.series(&labels(b"user", "a"), [(machine_ns() - 31 * DAY, 1.0)]).unwrap(), 1);
}

#[test]
fn rows_that_are_older_than_the_retention_are_refused_and_the_others_stored() {
    let db = Db::open_in(SimulatedDirectory::new(1), with_retention(30)).unwrap();
    let (old, new) = (machine_ns() - 31 * DAY, machine_ns() - 29 * DAY);
    let mut batch = db.appender().unwrap();
    let row = |timestamp| Row { key: b"k", timestamp, fields: &[Field { name: b"user", value: 1.0 }] };
    let error = batch.row(row(old), |_| panic!("nobody asks for the labels")).unwrap_err();
    assert!(matches!(error, Error::BeyondRetention { timestamp, .. } if timestamp == old), "{error}");
    assert!(error.to_string().starts_with("points beyond retention policy: "), "{error}");
    batch.row(row(new), |field| Ok(labels(field, "a"))).unwrap();
    let samples = [(old, 1.0), (new, 2.0), (old - YEAR, 3.0), (i64::MIN, 4.0), (new + 1, 5.0)];
    assert_eq!(batch.series(&labels(b"idle", "a"), samples).unwrap(), 3);
    let histograms = [old, new].map(|time| (time, Histogram::default()));
    assert_eq!(batch.histogram_series(&labels(b"load", "a"), histograms).unwrap(), 1);
    assert_eq!(batch.commit().unwrap(), 4);
    let found: Vec<Vec<i64>> =
        read(&db, &[]).iter().map(|(_, samples)| samples.iter().map(|(time, _)| *time).collect()).collect();
    assert_eq!(found, [vec![new, new + 1], vec![new], vec![new]]);
    let stats = db.stats();
    assert_eq!(stats.head_series, 3, "nothing of a series that is too old begins");
}
