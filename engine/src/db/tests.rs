//! The database as its users see it, on a real directory; and what it does when maintenance fails, on a simulated one.

mod cardinality;
mod foreign;
mod late;
mod retention;
mod space;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::block::{BLOCKS_DIR, block_id};
use crate::budget::Budget;
use crate::directory::SimulatedDirectory;
use crate::labels::Labels;
use crate::matcher::{MatchOp, Matcher};
use crate::rows::{Field, Row};
use crate::samples::Samples;
use crate::time::TimeRange;
use crate::watch::Watch;

fn options() -> Options {
    Options { background: false, ..Options::default() }
}

fn labels(field: &[u8], host: &str) -> Labels {
    let name = format!("cpu_{}", String::from_utf8_lossy(field));
    Labels::from_pairs([("__name__", name.as_str()), ("host", host)]).unwrap()
}

/// Writes one row of fields for a host.
fn write(db: &Db, host: &str, timestamp: i64, fields: &[(&str, f64)]) {
    let fields: Vec<Field<'_>> =
        fields.iter().map(|(name, value)| Field { name: name.as_bytes(), value: *value }).collect();
    let mut batch = db.appender().unwrap();
    let key = format!("k{host}");
    batch
        .row(Row { key: key.as_bytes(), timestamp, fields: &fields }, |field| Ok(labels(field, host)))
        .unwrap();
    assert_eq!(batch.commit().unwrap(), fields.len());
}

/// Everything that the matchers select, as text.
fn read(db: &Db, matchers: &[Matcher]) -> Vec<(String, Vec<(i64, f64)>)> {
    let mut samples = Samples::default();
    let selected = db.snapshot().select(matchers, TimeRange::ALL).unwrap();
    selected
        .iter()
        .map(|series| {
            series.read(&mut samples).unwrap();
            let pairs = samples.timestamps.iter().copied().zip(samples.values.iter().copied());
            (series.labels().to_string(), pairs.collect())
        })
        .collect()
}

#[test]
fn rows_are_visible_through_flush_compaction_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Db::open(folder.path(), options()).unwrap();
    for i in 0..500 {
        write(&db, "a", i * 1_000_000_000, &[("user", i as f64), ("idle", -(i as f64))]);
        write(&db, "b", i * 1_000_000_000, &[("idle", 0.5)]);
    }
    let before = read(&db, &[]);
    assert_eq!(before.len(), 3);
    assert_eq!(before[0].0, r#"cpu_idle{host="a"}"#);
    assert_eq!(before[0].1[499], (499_000_000_000, -499.0));
    for step in 0..4 {
        match step {
            0 => assert_eq!(db.flush().unwrap().samples, 1500),
            1 => {
                drop(db);
                db = Db::open(folder.path(), options()).unwrap();
            }
            2 => assert_eq!(db.compact().unwrap(), CompactionReport::default()),
            _ => {
                db.close().unwrap();
                assert!(matches!(db.appender(), Err(Error::Closed)));
                db = Db::open(folder.path(), options()).unwrap();
                assert_eq!(db.stats().head_samples, 0);
            }
        }
        assert_eq!(read(&db, &[]), before, "step {step}");
    }
}

#[test]
fn the_last_write_wins_across_heads_and_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut db = Db::open(folder.path(), options()).unwrap();
    for round in 0..6 {
        write(&db, "a", 5, &[("user", f64::from(round))]);
        write(&db, "a", 10 + i64::from(round), &[("user", 0.0)]);
        match round {
            0 | 3 => assert_eq!(db.flush().unwrap().blocks, 1),
            1 => {
                drop(db);
                db = Db::open(folder.path(), options()).unwrap();
            }
            4 => {
                db.flush().unwrap();
                assert_eq!(db.compact().unwrap(), CompactionReport { merged: 3, created: 1, expired: 0 });
            }
            _ => {}
        }
        let all = read(&db, &[]);
        assert_eq!(all[0].1[0], (5, f64::from(round)), "round {round}");
        assert_eq!(all[0].1.len(), 2 + round as usize);
    }
}

#[test]
fn fields_may_come_and_go_and_series_may_have_two_keys() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    write(&db, "a", 1, &[("user", 1.0), ("idle", 2.0)]);
    write(&db, "a", 2, &[("idle", 3.0)]);
    write(&db, "a", 3, &[("idle", 4.0), ("nice", 5.0), ("user", 6.0), ("nice", 7.0)][..3]);
    let mut batch = db.appender().unwrap();
    batch.series(&labels(b"nice", "a"), [(4, 8.0), (5, f64::NAN)]).unwrap();
    batch.commit().unwrap();
    let expect = |db: &Db| {
        let all = read(db, &[]);
        assert_eq!(all[0].1, [(1, 2.0), (2, 3.0), (3, 4.0)]);
        assert_eq!(all[1].1[..2], [(3, 5.0), (4, 8.0)]);
        assert!(all[1].1[2].1.is_nan());
        assert_eq!(all[2].1, [(1, 1.0), (3, 6.0)]);
    };
    expect(&db);
    drop(db);
    let db = Db::open(folder.path(), options()).unwrap();
    expect(&db);
    db.flush().unwrap();
    expect(&db);
}

#[test]
fn matchers_select_in_the_head_and_in_blocks_alike() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    for host in ["a", "b", "c"] {
        write(&db, host, 1, &[("user", 1.0), ("idle", 2.0)]);
    }
    let mut batch = db.appender().unwrap();
    batch.series(&Labels::from_pairs([("__name__", "up")]).unwrap(), [(1, 1.0)]).unwrap();
    batch.commit().unwrap();
    for place in ["head", "block"] {
        let count = |name: &str, op, value: &str| read(&db, &[Matcher::new(name, op, value).unwrap()]).len();
        assert_eq!(count("host", MatchOp::Equal, "a"), 2, "{place}");
        assert_eq!(count("host", MatchOp::Equal, ""), 1, "{place}");
        assert_eq!(count("host", MatchOp::NotEqual, "a"), 5, "{place}");
        assert_eq!(count("host", MatchOp::NotEqual, ""), 6, "{place}");
        assert_eq!(count("host", MatchOp::Regex, "a|c|x"), 4, "{place}");
        assert_eq!(count("host", MatchOp::Regex, "[ab]|"), 5, "{place}");
        assert_eq!(count("host", MatchOp::NotRegex, "[ab]"), 3, "{place}");
        assert_eq!(count("host", MatchOp::Regex, ".*"), 7, "{place}");
        assert_eq!(count("host", MatchOp::Regex, ".+"), 6, "{place}");
        let view = db.snapshot();
        let names = |selector: &[Matcher]| {
            let names = view.label_names(&[selector], TimeRange::ALL, Watch::default()).unwrap();
            names.into_parts().0.into_iter().collect::<Vec<_>>()
        };
        let values = |name: &str, selector: &[Matcher]| {
            let values = view.label_values(name, &[selector], TimeRange::ALL, Watch::default()).unwrap();
            values.into_parts().0.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["__name__", "host"]);
        assert_eq!(values("host", &[]), ["a", "b", "c"]);
        let up = [Matcher::equal("__name__", "up")];
        assert_eq!(names(&up), ["__name__"]);
        assert_eq!(values("__name__", &up), ["up"]);
        assert!(view.select(&[], TimeRange::new(2, 9)).unwrap().is_empty(), "{place}");
        db.flush().unwrap();
    }
}

#[test]
fn what_several_selectors_find_comes_once_within_a_budget_and_as_long_as_somebody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    for part in 0..2 {
        let mut batch = db.appender().unwrap();
        for host in 0..3000 {
            let host = format!("h{host:04}");
            batch.series(&labels(b"f", &host), [(part, 1.0)]).unwrap();
        }
        batch.commit().unwrap();
        if part == 0 {
            db.flush().unwrap();
        }
    }
    let view = db.snapshot();
    let (one, all) = ([Matcher::equal("host", "h0001")], [Matcher::equal("__name__", "cpu_f")]);
    let selectors: [&[Matcher]; 4] = [&all, &one, &all, &one];
    let budget = Budget::new("bytes_max", 4 << 20);
    let goes_on = AtomicBool::new(true);
    let ask = |_| goes_on.load(Ordering::Relaxed);
    let watch = Watch::new(&ask).within(&budget);
    let of_all = TimeRange::ALL;
    let found = view.series_labels(&selectors, of_all, watch).unwrap();
    assert!(found.len() == 3000 && found.bytes() <= budget.held(), "{} {}", found.len(), budget.held());
    drop(found);
    assert_eq!(view.select_any(&selectors, of_all, watch).unwrap().len(), 3000);
    assert_eq!(view.select_any(&[&one, &one], of_all, watch).unwrap().len(), 1);
    assert_eq!(view.label_values("host", &selectors, of_all, watch).unwrap().len(), 3000);
    assert_eq!(budget.held(), 0);

    let small = Budget::new("bytes_max", 100_000);
    let within = Watch::default().within(&small);
    let is_refused =
        |found: Result<usize, Error>| matches!(found, Err(Error::Limit { name: "bytes_max", .. }));
    assert!(is_refused(view.series_labels(&selectors, of_all, within).map(|found| found.len())));
    assert!(is_refused(view.select_any(&selectors, of_all, within).map(|found| found.len())));
    assert!(is_refused(view.label_values("host", &[&[]], of_all, within).map(|found| found.len())));
    assert!(is_refused(view.cardinality(10, true, within).map(|found| found.series as usize)));
    assert_eq!(small.held(), 0);

    goes_on.store(false, Ordering::Relaxed);
    let is_broken_off = |found: Result<usize, Error>| matches!(found, Err(Error::BrokenOff { .. }));
    assert!(is_broken_off(view.series_labels(&selectors, of_all, watch).map(|found| found.len())));
    assert!(is_broken_off(view.select_any(&selectors, of_all, watch).map(|found| found.len())));
    assert!(is_broken_off(view.label_names(&selectors, of_all, watch).map(|found| found.len())));
    assert!(is_broken_off(view.label_values("host", &[&[]], of_all, watch).map(|found| found.len())));
    assert!(is_broken_off(view.cardinality(10, true, watch).map(|found| found.series as usize)));
}

#[test]
fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let second = Db::open(folder.path(), options());
    assert!(matches!(second, Err(Error::Locked { .. })));
    db.close().unwrap();
    Db::open(folder.path(), options()).unwrap();
}

#[test]
fn concurrent_writers_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let db = &db;
            scope.spawn(move || {
                (0..20).for_each(|i| write(db, &format!("{writer}"), i, &[("user", 1.0), ("idle", 2.0)]));
            });
        }
    });
    let all = read(&db, &[]);
    assert_eq!(all.len(), 16);
    assert!(all.iter().all(|(_, samples)| samples.len() == 20));
    drop(db);
    assert_eq!(read(&Db::open(folder.path(), options()).unwrap(), &[]), all);
}

#[test]
fn a_row_whose_series_cannot_be_resolved_leaves_the_batch_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let mut batch = db.appender().unwrap();
    let fields = [Field { name: b"user", value: 1.0 }, Field { name: b"bad", value: 2.0 }];
    let refuse = |field: &[u8]| match field {
        b"bad" => Err(Error::InvalidSeries { reason: "bad".to_owned() }),
        good => Ok(labels(good, "a")),
    };
    assert!(batch.row(Row { key: b"k", timestamp: 1, fields: &fields }, refuse).is_err());
    batch.row(Row { key: b"k", timestamp: 2, fields: &fields[..1] }, refuse).unwrap();
    assert_eq!(batch.commit().unwrap(), 1);
    assert_eq!(read(&db, &[])[0].1, [(2, 1.0)]);
}

const HOUR: i64 = 3_600_000_000_000;

/// A database on a simulated machine with a block for each of these times, all in different windows of a fresh block.
fn database_with_blocks(machine: &Arc<SimulatedDirectory>, times: &[i64]) -> Db {
    let db = Db::open_in(machine.clone(), options()).unwrap();
    for time in times {
        write(&db, "a", *time, &[("user", 1.0)]);
        assert_eq!(db.flush().unwrap().blocks, 1);
    }
    db
}

#[test]
fn a_flush_that_keeps_failing_seals_one_head_and_no_more() {
    let machine = SimulatedDirectory::new(1);
    let db = Db::open_in(machine.clone(), options()).unwrap();
    write(&db, "a", 0, &[("user", 1.0)]);
    for call in 0.. {
        machine.fail_after(call, ErrorKind::StorageFull);
        assert!(db.flush().is_err());
        if !db.core.view.read().sealed.is_empty() {
            break;
        }
    }
    let segments = db.stats().wal_segments;
    for i in 1..5 {
        write(&db, "a", i, &[("user", 1.0)]);
        machine.fail_after(5, ErrorKind::StorageFull);
        assert!(db.flush().is_err());
        assert_eq!(db.core.view.read().sealed.len(), 1, "attempt {i}");
        assert_eq!(db.stats().wal_segments, segments, "attempt {i}");
    }
    assert_eq!(db.flush().unwrap(), FlushReport { blocks: 2, samples: 5 });
    assert_eq!(read(&db, &[])[0].1.len(), 5);
}

#[test]
fn writes_are_refused_while_the_heads_are_too_large_and_no_longer() {
    let machine = SimulatedDirectory::new(1);
    let db = Db::open_in(machine.clone(), Options { head_bytes_max: 6_000, ..options() }).unwrap();
    let mut timestamp = 0;
    let refused = loop {
        match db.appender() {
            Ok(appender) => drop(appender),
            Err(error) => break error,
        }
        write(&db, "a", timestamp, &[("user", timestamp as f64), ("idle", 0.1 * timestamp as f64)]);
        timestamp += 1;
        assert!(timestamp < 10_000);
    };
    assert!(matches!(refused, Error::WritesRefused { .. }), "{refused}");
    assert!(refused.to_string().contains("head_bytes_max"), "{refused}");
    assert!(db.stats().writes_refused.is_some());
    machine.fail_after(8, ErrorKind::StorageFull);
    db.flush().unwrap_err();
    assert!(matches!(db.appender(), Err(Error::WritesRefused { .. })), "a sealed head counts as well");
    db.flush().unwrap();
    assert_eq!(db.stats().writes_refused, None);
    write(&db, "a", timestamp, &[("user", 1.0)]);
}

#[test]
fn a_failed_flush_or_merge_leaves_nothing_on_the_disk() {
    type Job = fn(&Db) -> Result<()>;
    // A merge that finds no space is put off, and is no failure.
    let jobs: [(&str, Job, ErrorKind); 2] = [
        ("flush", |db| db.flush().map(|_| ()), ErrorKind::StorageFull),
        ("compact", |db| db.compact().map(|_| ()), ErrorKind::PermissionDenied),
    ];
    for (what, job, kind) in jobs {
        let mut failures = 0;
        for call in 0.. {
            let machine = SimulatedDirectory::new(call);
            let db = database_with_blocks(&machine, &[0, 1]);
            for hour in [0, 3, 5, 7] {
                write(&db, "a", hour * HOUR, &[("user", 1.0)]);
            }
            if what == "compact" {
                db.flush().unwrap();
            }
            let before = machine.calls();
            machine.fail_after(call, kind);
            let outcome = job(&db);
            if machine.calls() - before <= call {
                break;
            }
            if outcome.is_err() {
                failures += 1;
                let stored = Manifest::load(&*machine).unwrap().unwrap();
                let mut listed =
                    BTreeSet::from_iter(db.core.manifest.lock().blocks.iter().map(|block| block.id));
                listed.extend(stored.blocks.iter().map(|block| block.id));
                for name in machine.list(Path::new(BLOCKS_DIR)).unwrap() {
                    let is_listed = block_id(&name).is_some_and(|id| listed.contains(&id));
                    assert!(is_listed, "{name} after call {call} of {what} failed");
                }
            }
            let expected = read(&db, &[]);
            job(&db).unwrap();
            assert_eq!(read(&db, &[]), expected, "after call {call} of {what} failed");
        }
        assert!(failures > 10, "{failures} failures of {what}");
    }
}

#[test]
fn a_damaged_chunk_stops_one_merge_once_and_no_other() {
    let machine = SimulatedDirectory::new(1);
    let db = database_with_blocks(&machine, &[0, 0, 9 * HOUR, 9 * HOUR]);
    let damaged = db.core.view.read().blocks[0].meta().id;
    db.close().unwrap();
    machine.flip_bit(crate::block::block_path(damaged).join(crate::block::CHUNKS_FILE), 8 * 14).unwrap();
    let db = Db::open_in(machine, options()).unwrap();
    let error = db.compact().unwrap_err();
    assert!(error.to_string().contains(&damaged.to_string()), "{error}");
    assert_eq!(db.stats().blocks, 3, "the other two are one");
    assert_eq!(db.compact().unwrap(), CompactionReport::default());
    let stats = db.stats();
    assert_eq!((stats.compactions_total, stats.compaction_failures_total), (2, 1));
}

/// A thread and what Linux calls it.
#[cfg(target_os = "linux")]
struct Watched<'scope, T> {
    thread: std::thread::ScopedJoinHandle<'scope, T>,
    status: std::path::PathBuf,
}

#[cfg(target_os = "linux")]
impl<'scope, T: Send + 'scope> Watched<'scope, T> {
    fn spawn<'env>(
        scope: &'scope std::thread::Scope<'scope, 'env>,
        run: impl FnOnce() -> T + Send + 'scope,
    ) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = scope.spawn(move || {
            sender.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            run()
        });
        let status = Path::new("/proc").join(receiver.recv().unwrap()).join("stat");
        Self { thread, status }
    }

    /// Waits until the thread has ended, or sleeps because of a lock that somebody else holds.
    fn wait_until_it_cannot_go_on(&self) {
        let mut asleep = 0;
        while !self.thread.is_finished() && asleep < 100 {
            let status = std::fs::read_to_string(&self.status).unwrap_or_default();
            asleep = if status.contains(") S ") { asleep + 1 } else { 0 };
            std::thread::yield_now();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_close_ends_a_merge_and_waits_for_it() {
    let machine = SimulatedDirectory::new(1);
    let db = database_with_blocks(&machine, &[0, 0]);
    let swap = machine.hold("MANIFEST.tmp");
    std::thread::scope(|scope| {
        let compaction = scope.spawn(|| db.compact());
        swap.wait_until_reached();
        let close = Watched::spawn(scope, || db.close());
        close.wait_until_it_cannot_go_on();
        assert!(db.core.closed.load(Ordering::SeqCst));
        assert!(!close.thread.is_finished(), "the merge swaps the manifest");
        assert!(Db::open_in(machine.clone(), options()).is_err(), "so the directory stays locked");
        swap.release();
        close.thread.join().unwrap().unwrap();
        assert!(matches!(compaction.join().unwrap(), Err(Error::Closed)));
    });
    assert_eq!(Manifest::load(&*machine).unwrap().unwrap().blocks.len(), 1, "the merge was done");
    let merge = db.core.view.read().blocks.clone();
    let stopped =
        crate::merge::merge(&db.core.directory, &merge, &db.core.merge_memory, || db.core.check_open());
    assert!(matches!(stopped, Err(Error::Closed)));
    assert!(matches!(db.flush(), Err(Error::Closed)));
    let stats = db.stats();
    assert_eq!((stats.compactions_total, stats.blocks), (1, 1));
    Db::open_in(machine, options()).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn no_batch_begins_once_a_close_has_waited_for_the_last() {
    let machine = SimulatedDirectory::new(1);
    let db = Db::open_in(machine, options()).unwrap();
    let sealing = db.core.switch.write();
    std::thread::scope(|scope| {
        let late = Watched::spawn(scope, || db.appender().map(drop));
        late.wait_until_it_cannot_go_on();
        db.core.closed.store(true, Ordering::SeqCst);
        drop(sealing);
        assert!(matches!(late.thread.join().unwrap(), Err(Error::Closed)));
    });
}

#[test]
fn a_long_merge_keeps_neither_sealing_nor_a_close_waiting() {
    let machine = SimulatedDirectory::new(1);
    drop(database_with_blocks(&machine, &[0, 0]));
    let options = Options { background: true, head_bytes_max: 600, ..Options::default() };
    let db = Db::open_in(machine, options).unwrap();
    let merging = db.core.compaction.lock();
    write(&db, "a", 1, &[("user", 1.0), ("idle", 1.0)]);
    while db.stats().flushes_total == 0 {
        std::thread::yield_now();
    }
    drop(merging);
    db.close().unwrap();
}

#[test]
fn what_is_no_block_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Db::open(folder.path(), options()).unwrap());
    let blocks = folder.path().join(BLOCKS_DIR);
    let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let unfinished = format!("{id}.tmp");
    for name in ["keep", "keep.tmp", ".snapshot", id, &unfinished] {
        std::fs::create_dir(blocks.join(name)).unwrap();
    }
    std::fs::write(blocks.join("notes.txt"), "").unwrap();
    drop(Db::open(folder.path(), options()).unwrap());
    let left = RealDirectory::open(blocks).unwrap().list(Path::new("")).unwrap();
    assert_eq!(left, [".snapshot", "keep", "keep.tmp", "notes.txt"]);
}

#[test]
fn samples_out_of_order_stay_counted() {
    let db = Db::open_in(SimulatedDirectory::new(1), options()).unwrap();
    for timestamp in [5, 3, 4, 9] {
        write(&db, "a", timestamp, &[("user", 1.0)]);
    }
    let before = db.stats().out_of_order_samples_total;
    assert!(before > 0);
    db.flush().unwrap();
    assert_eq!(db.stats().out_of_order_samples_total, before);
    write(&db, "a", 12, &[("user", 1.0)]);
    write(&db, "a", 11, &[("user", 1.0)]);
    assert_eq!(db.stats().out_of_order_samples_total, before + 1);
}

#[test]
fn a_damaged_manifest_is_an_error_that_says_what_to_do() {
    let machine = SimulatedDirectory::new(1);
    drop(Db::open_in(machine.clone(), options()).unwrap());
    machine.flip_bit("MANIFEST", 100).unwrap();
    let error = Db::open_in(machine, options()).unwrap_err().to_string();
    assert!(error.contains("MANIFEST") && error.contains("restore it from a backup"), "{error}");
}

#[test]
fn an_old_manifest_costs_no_block_that_was_finished_since() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let manifest = folder.path().join("MANIFEST");
    write(&db, "a", 1, &[("user", 1.0)]);
    db.flush().unwrap();
    let backup = std::fs::read(&manifest).unwrap();
    write(&db, "a", 2, &[("user", 2.0)]);
    db.close().unwrap();
    drop(db);
    std::fs::write(&manifest, backup).unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    assert_eq!(db.stats().wal_corruptions_total, 1);
    assert_eq!(read(&db, &[])[0].1, [(1, 1.0)]);
    let blocks = std::fs::read_dir(folder.path().join("blocks")).unwrap();
    let names = blocks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.ends_with(".unlisted")).count(), 1);
}

#[test]
fn short_rows_of_a_wide_group_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), options()).unwrap();
    let names: Vec<String> = (0..256).map(|i| format!("f{i:03}")).collect();
    let all: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    write(&db, "a", 0, &all);
    let mut batch = db.appender().unwrap();
    for timestamp in 1..20_000 {
        let fields = [Field { name: b"f000", value: 2.0 }];
        batch.row(Row { key: b"ka", timestamp, fields: &fields }, |field| Ok(labels(field, "a"))).unwrap();
    }
    batch.commit().unwrap();
    assert!(db.stats().wal_written_bytes_total < 1 << 20, "a row costs the samples that it has");
    drop(db);
    let db = Db::open(folder.path(), options()).unwrap();
    let all = read(&db, &[]);
    assert_eq!((all.len(), all[0].1.len(), all[255].1.len()), (256, 20_000, 1));
}
