//! A real file system that becomes full: writes are refused with the file's name, queries go on, and writes are taken again
//! once there is space, without a restart.
//!
//! It needs the right to mount a file system of a limited size; where that is missing, the test says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::path::Path;
use std::process::Command;

use timberline_engine::{Db, Error, Labels, Options, Samples, TimeRange};

/// A tmpfs of a limited size; dropping this unmounts it.
struct LimitedDisk(tempfile::TempDir);

impl LimitedDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path());
        mounted.then_some(Self(folder))
    }

    fn resize(&self, size: &str) {
        assert!(mount(&["-o", &format!("remount,size={size}")], self.0.path()));
    }
}

impl Drop for LimitedDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    Command::new("mount").args(arguments).arg(at).output().is_ok_and(|output| output.status.success())
}

/// Commits a thousand samples from `start` on.
fn write(db: &Db, start: i64) -> Result<(), Error> {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "x")]).unwrap();
    let mut batch = db.appender()?;
    batch.series(&labels, (start..start + 1000).map(|i| (i, i as f64 * 0.7)))?;
    batch.commit().map(drop)
}

fn count(db: &Db) -> usize {
    let mut samples = Samples::default();
    let mut count = 0;
    for series in db.snapshot().select(&[], TimeRange::ALL).unwrap() {
        series.read(&mut samples).unwrap();
        count += samples.timestamps.len();
    }
    count
}

#[test]
fn writes_to_a_full_disk_are_refused_until_there_is_space() {
    let Some(disk) = LimitedDisk::mount("4m") else {
        println!("skipped: this user cannot mount a tmpfs");
        return;
    };
    let options = Options { background: false, ..Options::default() };
    let db = Db::open(disk.0.path(), options.clone()).unwrap();
    let mut next = 0;
    let error = loop {
        match write(&db, next) {
            Ok(()) => next += 1000,
            Err(error) => break error.to_string(),
        }
        assert!(next < 4_000_000, "4 MB hold less than that");
    };
    assert!(error.contains("0000000001.wal") && error.contains("free space"), "{error}");
    assert!(db.writes_refused().is_some());
    assert_eq!(count(&db), next as usize, "queries go on");
    disk.resize("64m");
    write(&db, next).unwrap();
    next += 1000;
    assert_eq!(db.writes_refused(), None);
    drop(db);
    let db = Db::open(disk.0.path(), options).unwrap();
    assert_eq!(count(&db), next as usize);
    assert_eq!(db.stats().wal_corruptions_total, 0);
    db.flush().unwrap();
    assert_eq!(count(&db), next as usize);
    db.close().unwrap();
}
