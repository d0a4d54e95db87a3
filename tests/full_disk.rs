//! A real file system that becomes full: writes are refused with the file's name, queries go on, and writes are taken again
//! once there is space, without a restart.
//!
//! It needs the right to mount a file system of a limited size; where that is missing, the test says so and passes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

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

    fn set_read_only(&self, read_only: bool) {
        let mode = if read_only { "ro" } else { "rw" };
        assert!(mount(&["-o", &format!("remount,{mode}")], self.0.path()));
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

/// Takes all the space that is left.
fn fill(folder: &Path) {
    let bytes = vec![1; 1 << 16];
    let mut file = fs::File::create(folder.join("other")).unwrap();
    while std::io::Write::write_all(&mut file, &bytes).is_ok() {}
}

#[test]
fn a_full_disk_is_opened_answers_queries_and_is_freed_by_expiry() {
    let Some(disk) = LimitedDisk::mount("24m") else {
        println!("skipped: this user cannot mount a tmpfs");
        return;
    };
    let options = Options { background: false, ..Options::default() };
    let db = Db::open(disk.0.path(), options.clone()).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let old = now - 100 * 86_400_000_000_000;
    for batch in 0..1000 {
        write(&db, old + batch * 1000).unwrap();
    }
    db.flush().unwrap();
    write(&db, now).unwrap();
    db.flush().unwrap();
    drop(db);
    fill(disk.0.path());
    let with_retention = Options { retention: Some(Duration::from_secs(30 * 86_400)), ..options };
    let db = Db::open(disk.0.path(), with_retention).unwrap();
    assert!(db.writes_refused().unwrap().contains("free space"));
    assert!(write(&db, now + 1000).unwrap_err().to_string().contains("free space"));
    assert_eq!(count(&db), 1_001_000, "queries are answered");
    assert!(db.compact().unwrap().expired >= 1);
    assert_eq!(count(&db), 1000);
    fs::remove_file(disk.0.path().join("other")).unwrap();
    write(&db, now + 1000).unwrap();
    assert!(disk.0.path().join("RESERVE").exists(), "there is something to give up the next time");
    assert_eq!(count(&db), 2000);
    db.close().unwrap();
}

#[test]
fn a_read_only_disk_is_opened_and_answers_queries() {
    let Some(disk) = LimitedDisk::mount("24m") else {
        println!("skipped: this user cannot mount a tmpfs");
        return;
    };
    let options = Options { background: false, ..Options::default() };
    let db = Db::open(disk.0.path(), options.clone()).unwrap();
    write(&db, 0).unwrap();
    drop(db);
    disk.set_read_only(true);
    let db = Db::open(disk.0.path(), options.clone()).unwrap();
    assert!(db.writes_refused().unwrap().contains("mount its file system writable"));
    assert_eq!(count(&db), 1000);
    assert!(write(&db, 1000).is_err());
    disk.set_read_only(false);
    write(&db, 1000).unwrap();
    drop(db);
    assert_eq!(count(&Db::open(disk.0.path(), options).unwrap()), 2000);
}
