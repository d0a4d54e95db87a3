//! What was acknowledged survives: power cuts, kills and failing calls, at every call of a workload and at random ones.
//!
//! Each run writes to a simulated machine that stops, starts it again and compares what the database holds with the history of
//! the writes. An acknowledged write must be there. A write whose commit failed may be there, but a row only as a whole. Nothing
//! else may be there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use common::{Cells, Random, SECOND, START, Workload, Write, for_each_seed, read_all, with_problems_logged};
use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Error, Options, WalSync};

mod common;

#[test]
fn a_crash_at_any_call_loses_nothing() {
    for_each_seed(2, |seed| {
        let options = options(600);
        let whole = SimulatedDirectory::new(seed);
        run_script(&whole, &options, seed, &mut History::default());
        assert!(!whole.has_crashed());
        for call in 0..whole.calls() {
            let machine = SimulatedDirectory::new(seed);
            let mut history = History::default();
            machine.crash_after(call);
            run_script(&machine, &options, seed, &mut history);
            assert!(machine.has_crashed(), "the run is the same up to call {call}");
            recover(&machine.kill(), &options, history.clone(), &format!("killed at call {call}"));
            for survivors in 0..4 {
                let context = format!("power cut at call {call}, survivors {survivors}");
                recover(&machine.restart(survivors), &options, history.clone(), &context);
            }
        }
    });
}

#[test]
fn a_crash_during_recovery_loses_nothing() {
    for_each_seed(20, |seed| {
        let options = options(600);
        let mut random = Random(seed);
        let first = SimulatedDirectory::new(seed);
        let mut history = History::default();
        first.crash_after(30 + random.below(150) as u64);
        run_script(&first, &options, seed, &mut history);
        let second = first.restart(seed);
        drop(Db::open_in(second.clone(), options.clone()).unwrap());
        for call in 0..second.calls() {
            let machine = first.restart(seed);
            machine.crash_after(call);
            drop(Db::open_in(machine.clone(), options.clone()));
            recover(
                &machine.restart(call),
                &options,
                history.clone(),
                &format!("at call {call} of the recovery"),
            );
        }
    });
}

#[test]
fn crashes_in_a_row_lose_nothing() {
    for_each_seed(200, |seed| {
        let mut random = Random(seed ^ 0xc4a5);
        let options = options(random.pick(&[60, 600, 7200]));
        let mut machine = SimulatedDirectory::new(seed);
        let mut history = History::default();
        for life in 0..4 {
            let context = format!("life {life}");
            machine.crash_after(20 + random.below(300) as u64);
            run_random(&machine, &options, &mut random, &mut history, &context);
            let survivors = random.next();
            if random.percent(30) {
                machine = machine.kill();
            } else {
                let survivor = machine.restart(survivors);
                machine = survivor.kill();
                history.settle(&recover(&survivor.kill(), &options, history.clone(), &context));
            }
        }
        recover(&machine, &options, history, "in the end");
    });
}

#[test]
fn one_failing_call_loses_nothing() {
    for_each_seed(2, |seed| {
        let options = options(600);
        let whole = SimulatedDirectory::new(seed);
        run_script(&whole, &options, seed, &mut History::default());
        for call in 0..whole.calls() {
            let machine = SimulatedDirectory::new(seed);
            let mut history = History::default();
            machine.fail_after(call, ErrorKind::Other);
            run_script(&machine, &options, seed, &mut history);
            recover(&machine.kill(), &options, history.clone(), &format!("killed after call {call} failed"));
            recover(
                &machine.restart(call),
                &options,
                history,
                &format!("power cut after call {call} failed"),
            );
        }
    });
}

#[test]
fn after_a_failed_sync_writes_are_refused_and_reads_go_on() {
    for_each_seed(20, |seed| {
        let machine = SimulatedDirectory::new(seed);
        let mut history = History::default();
        let mut workload = Workload::new(seed);
        let db = Db::open_in(machine.clone(), options(600)).unwrap();
        for _ in 0..5 {
            assert!(write(&db, workload.batch(5), &mut history).is_ok());
        }
        machine.fail_next_sync();
        let failed = write(&db, workload.batch(5), &mut history);
        assert!(failed.is_err(), "{failed:?}");
        for _ in 0..3 {
            let refused = write(&db, workload.batch(5), &mut history);
            assert!(matches!(refused, Err(Error::WritesRefused { .. })), "{refused:?}");
        }
        assert!(db.stats().writes_refused);
        history.check(&read_all(&db.snapshot()).unwrap(), "while writes are refused");
        drop(db);
        recover(&machine.kill(), &options(600), history.clone(), "killed");
        recover(&machine.restart(seed), &options(600), history, "power cut");
    });
}

#[test]
fn a_full_disk_loses_nothing() {
    for_each_seed(40, |seed| {
        let machine = SimulatedDirectory::new(seed);
        let mut random = Random(seed);
        let mut history = History::default();
        let mut workload = Workload::new(seed);
        let db = Db::open_in(machine.clone(), options(600)).unwrap();
        for _ in 0..5 {
            write(&db, workload.batch(5), &mut history).unwrap();
        }
        machine.set_capacity(Some(machine.bytes_used() + random.below(20_000) as u64));
        for step in 0..40 {
            let _ = write(&db, workload.batch(10), &mut history);
            if step % 10 == 9 {
                let _ = db.flush();
                let _ = db.compact();
            }
            history.check(&read_all(&db.snapshot()).unwrap(), "while the disk is full");
        }
        drop(db);
        machine.set_capacity(None);
        recover(&machine.kill(), &options(600), history.clone(), "killed");
        recover(&machine.restart(seed), &options(600), history, "power cut");
    });
}

#[test]
fn writes_are_taken_again_once_a_full_disk_has_space() {
    for_each_seed(100, |seed| {
        let machine = SimulatedDirectory::new(seed);
        let mut random = Random(seed ^ 0xf011);
        let mut history = History::default();
        let mut workload = Workload::new(seed);
        let db = Db::open_in(machine.clone(), options(600)).unwrap();
        for _ in 0..4 {
            machine.set_capacity(Some(machine.bytes_used() + random.below(6_000) as u64));
            for _ in 0..15 {
                let _ = write(&db, workload.batch(10), &mut history);
                if random.percent(5) {
                    let _ = db.flush();
                }
            }
            history.check(&read_all(&db.snapshot()).unwrap(), "while the disk is full");
            machine.set_capacity(None);
            write(&db, workload.batch(10), &mut history).expect("there is space again");
            history.check(&read_all(&db.snapshot()).unwrap(), "once there is space");
        }
        drop(db);
        recover(&machine.kill(), &options(600), history.clone(), "killed");
        recover(&machine.restart(seed), &options(600), history, "power cut");
    });
}

#[test]
fn without_syncs_a_killed_process_loses_nothing_and_a_power_cut_only_recent_writes() {
    for_each_seed(60, |seed| {
        let machine = SimulatedDirectory::new(seed);
        let mut random = Random(seed);
        let options = Options { wal_sync: WalSync::Off, ..options(600) };
        let mut history = History::default();
        machine.crash_after(30 + random.below(200) as u64);
        run_random(&machine, &options, &mut random, &mut history, "the first life");
        recover(&machine.kill(), &options, history.clone(), "killed");
        history.doubt_all();
        recover(&machine.restart(seed), &options, history, "power cut");
    });
}

#[test]
fn a_read_only_file_system_is_an_error_that_names_the_file() {
    let machine = SimulatedDirectory::new(0);
    machine.set_read_only(true);
    let error = Db::open_in(machine, options(600)).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("simulated"), "{error}");
}

#[test]
fn a_locked_database_is_an_error_that_names_the_file() {
    let machine = SimulatedDirectory::new(0);
    let db = Db::open_in(machine.clone(), options(600)).unwrap();
    let error = Db::open_in(machine.clone(), options(600)).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }) && error.to_string().contains("simulated"), "{error}");
    drop(db);
    Db::open_in(machine, options(600)).unwrap();
}

#[test]
fn a_flipped_bit_is_never_a_wrong_value() {
    for_each_seed(4, |seed| {
        let (machine, written, last) = database_with_every_kind_of_file(seed);
        let mut random = Random(seed);
        for file in machine.files() {
            let bits = machine.read(&file).unwrap().len() * 8;
            // The head of a file, where its structure is, and places all over it.
            let places: BTreeSet<usize> = (0..bits.min(256))
                .chain((0..60).filter(|_| bits > 0).map(|_| random.below(bits.max(1))))
                .collect();
            for bit in places {
                let damaged = machine.kill();
                damaged.flip_bit(&file, bit).unwrap();
                let context = format!("bit {bit} of {}", file.display());
                let name = file.file_name().unwrap().to_str().unwrap();
                // Damage to the last record cannot be told from a write that a crash stopped, which nobody was promised.
                let lost_max = if name.ends_with(".wal") { last } else { 0 };
                check_damaged(&damaged, &written, name, lost_max, &context);
            }
        }
    });
}

/// A database with blocks of each kind and a log that is not yet in blocks, each timestamp of a series written once.
/// Returns what was written, and the number of samples in the last batch.
fn database_with_every_kind_of_file(seed: u64) -> (Arc<SimulatedDirectory>, Cells, usize) {
    let machine = SimulatedDirectory::new(seed);
    let mut written = Cells::new();
    let mut last = 0;
    let mut workload = Workload { hosts: 0..3, ..Workload::new(seed) };
    let db = Db::open_in(machine.clone(), options(600)).unwrap();
    for step in 0..40 {
        let batch: Vec<Write> =
            workload.batch(6).into_iter().filter(|write| is_new(write, &mut written)).collect();
        let mut appender = db.appender().unwrap();
        for write in &batch {
            write.append(&mut appender).unwrap();
        }
        last = match appender.commit().unwrap() {
            0 => last,
            samples => samples,
        };
        if step % 8 == 7 && step < 35 {
            db.flush().unwrap();
        }
        if step == 20 {
            db.compact().unwrap();
        }
    }
    assert_eq!(read_all(&db.snapshot()).unwrap(), written);
    (machine.kill(), written, last)
}

/// Notes what is written and says whether none of it was there.
fn is_new(write: &Write, written: &mut Cells) -> bool {
    let cells = write.cells();
    let places: BTreeSet<_> = cells.iter().map(|(labels, timestamp, _)| (labels, *timestamp)).collect();
    let taken = |(labels, timestamp): &(_, i64)| {
        written.get(*labels).is_some_and(|cells| cells.contains_key(timestamp))
    };
    if places.len() < cells.len() || places.iter().any(taken) {
        return false;
    }
    for (labels, timestamp, bits) in cells {
        written.entry(labels).or_default().insert(timestamp, bits);
    }
    true
}

/// A damaged database opens and tells of what is missing, or fails and names the file.
fn check_damaged(
    machine: &Arc<SimulatedDirectory>,
    written: &Cells,
    file: &str,
    lost_max: usize,
    context: &str,
) {
    let assert_named = |error: &Error| {
        let text = error.to_string();
        assert!(text.contains(file), "{context}: the error does not name the file: {text}");
    };
    let (opened, problems) = with_problems_logged(|| Db::open_in(machine.clone(), options(600)));
    let db = match opened {
        Ok(db) => db,
        Err(error) => return assert_named(&error),
    };
    let snapshot = db.snapshot();
    let series = match snapshot.select(&[], timberline_engine::TimeRange::ALL) {
        Ok(series) => series,
        Err(error) => return assert_named(&error),
    };
    let mut samples = timberline_engine::Samples::default();
    let (mut found, mut failed) = (0, 0);
    for series in series {
        if let Err(error) = series.read(&mut samples) {
            assert_named(&error);
            failed += 1;
            continue;
        }
        let expected =
            written.get(series.labels()).unwrap_or_else(|| panic!("{context}: {:?}", series.labels()));
        for (timestamp, value) in samples.timestamps.iter().zip(&samples.values) {
            let bits = expected.get(timestamp);
            assert_eq!(bits, Some(&value.to_bits()), "{context}: {} at {timestamp}", series.labels());
            found += 1;
        }
    }
    let total: usize = written.values().map(BTreeMap::len).sum();
    assert!(
        found + lost_max >= total || failed + problems > 0,
        "{context}: {found} of {total} samples, and nobody said so"
    );
    // The log of this workload is a small part of the whole, and a block is one of several.
    assert!(found > 0, "{context}: nothing is left");
}

fn options(block_span_seconds: u64) -> Options {
    Options { background: false, block_span: Duration::from_secs(block_span_seconds), ..Options::default() }
}

/// Opens the database; a planned failure may hit the opening, and then it works the second time.
fn open(machine: &Arc<SimulatedDirectory>, options: &Options) -> Option<Db> {
    match Db::open_in(machine.clone(), options.clone()) {
        Ok(db) => Some(db),
        Err(_) if machine.has_crashed() => None,
        Err(first) => {
            let second = Db::open_in(machine.clone(), options.clone());
            Some(second.unwrap_or_else(|second| panic!("cannot open: {first}; and again: {second}")))
        }
    }
}

/// Everything that a database does, in a fixed order; what fails is noted and the rest goes on.
fn run_script(machine: &Arc<SimulatedDirectory>, options: &Options, seed: u64, history: &mut History) {
    let mut workload = Workload { hosts: 0..2, ..Workload::new(seed) };
    for _ in 0..2 {
        let Some(db) = open(machine, options) else { return };
        for step in 0..6 {
            let batch = workload.batch(4);
            let _ = write(&db, batch, history);
            workload.now += 200 * SECOND;
            if step % 2 == 1 {
                let _ = db.flush();
            }
        }
        let _ = db.compact();
        let _ = write(&db, workload.batch(4), history);
        if !machine.has_crashed() {
            history.check(&read_all(&db.snapshot()).unwrap(), "in the running process");
        }
        if seed.is_multiple_of(2) {
            let _ = db.close();
        }
    }
}

/// Random calls until the machine stops, checking what is there before and in between.
fn run_random(
    machine: &Arc<SimulatedDirectory>,
    options: &Options,
    random: &mut Random,
    history: &mut History,
    context: &str,
) {
    let Some(mut db) = open(machine, options) else { return };
    history.check(&read_all(&db.snapshot()).unwrap(), context);
    let mut workload =
        Workload { now: START + random.below(5000) as i64 * SECOND, ..Workload::new(random.next()) };
    for _ in 0..60 {
        match random.below(20) {
            0 | 1 => drop(db.flush()),
            2 => drop(db.compact()),
            3 => {
                drop(db);
                match open(machine, options) {
                    Some(opened) => db = opened,
                    None => return,
                }
            }
            _ => drop(write(&db, workload.batch(8), history)),
        }
        if machine.has_crashed() {
            return;
        }
    }
    history.check(&read_all(&db.snapshot()).unwrap(), context);
}

/// Commits a batch and notes whether it was acknowledged.
fn write(db: &Db, batch: Vec<Write>, history: &mut History) -> Result<(), Error> {
    let result = db.appender().and_then(|mut appender| {
        for write in &batch {
            write.append(&mut appender)?;
        }
        appender.commit()
    });
    match result {
        Ok(_) => history.acknowledged(&batch),
        Err(_) => history.attempted(batch),
    }
    result.map(drop)
}

/// Opens what survived, checks it, writes on, and checks that too. Returns what was there at first.
fn recover(
    machine: &Arc<SimulatedDirectory>,
    options: &Options,
    mut history: History,
    context: &str,
) -> Cells {
    let open =
        || Db::open_in(machine.clone(), options.clone()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let db = open();
    let recovered = read_all(&db.snapshot()).unwrap_or_else(|error| panic!("{context}: {error}"));
    history.check(&recovered, context);
    let mut workload = Workload { hosts: 0..2, ..Workload::new(1) };
    for _ in 0..2 {
        write(&db, workload.batch(4), &mut history).unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    history.check(&read_all(&db.snapshot()).unwrap(), &format!("{context}, after more writes"));
    db.flush().unwrap_or_else(|error| panic!("{context}: {error}"));
    db.compact().unwrap_or_else(|error| panic!("{context}: {error}"));
    history.check(&read_all(&db.snapshot()).unwrap(), &format!("{context}, after a compaction"));
    drop(db);
    history.check(&read_all(&open().snapshot()).unwrap(), &format!("{context}, opened again"));
    recovered
}

/// What may be at one timestamp of one series.
#[derive(Clone, Debug, Default)]
struct Cell {
    acknowledged: Option<u64>,
    /// Values of commits that failed since then.
    attempted: Vec<u64>,
    /// Values that were written before the acknowledged one.
    overwritten: Vec<u64>,
}

/// What was written, as far as the writer knows.
#[derive(Clone, Debug, Default)]
struct History {
    cells: BTreeMap<timberline_engine::Labels, BTreeMap<i64, Cell>>,
    /// The batches whose commit failed.
    failed: Vec<Write>,
}

impl History {
    fn cell(&mut self, labels: timberline_engine::Labels, timestamp: i64) -> &mut Cell {
        self.cells.entry(labels).or_default().entry(timestamp).or_default()
    }

    fn acknowledged(&mut self, batch: &[Write]) {
        for (labels, timestamp, bits) in batch.iter().flat_map(Write::cells) {
            let cell = self.cell(labels, timestamp);
            cell.overwritten.append(&mut cell.attempted);
            cell.overwritten.extend(cell.acknowledged.replace(bits));
        }
    }

    fn attempted(&mut self, batch: Vec<Write>) {
        for (labels, timestamp, bits) in batch.iter().flat_map(Write::cells) {
            self.cell(labels, timestamp).attempted.push(bits);
        }
        self.failed.extend(batch);
    }

    /// After a power cut, what was found is on disk, and what was not found is gone.
    fn settle(&mut self, found: &Cells) {
        self.failed.clear();
        self.cells.clear();
        for (labels, samples) in found {
            for (timestamp, bits) in samples {
                self.cell(labels.clone(), *timestamp).acknowledged = Some(*bits);
            }
        }
    }

    /// Nothing was promised: each write may be lost.
    fn doubt_all(&mut self) {
        for cell in self.cells.values_mut().flat_map(BTreeMap::values_mut) {
            cell.attempted.append(&mut cell.overwritten);
            cell.attempted.extend(cell.acknowledged.take());
        }
    }

    fn check(&self, found: &Cells, context: &str) {
        for (labels, cells) in &self.cells {
            for (timestamp, cell) in cells {
                let value = found.get(labels).and_then(|samples| samples.get(timestamp)).copied();
                let right = match value {
                    None => cell.acknowledged.is_none(),
                    Some(bits) => cell.acknowledged == Some(bits) || cell.attempted.contains(&bits),
                };
                assert!(right, "{context}: {labels} at {timestamp} is {value:x?}, not {cell:x?}");
            }
        }
        for (labels, samples) in found {
            for timestamp in samples.keys() {
                let known = self.cells.get(labels).is_some_and(|cells| cells.contains_key(timestamp));
                assert!(known, "{context}: {labels} has a sample at {timestamp} that nobody wrote");
            }
        }
        self.check_rows_are_whole(found, context);
    }

    /// Of a row whose commit failed, all fields are there or none.
    fn check_rows_are_whole(&self, found: &Cells, context: &str) {
        let mut touched = BTreeMap::new();
        for (labels, timestamp, _) in self.failed.iter().flat_map(Write::cells) {
            *touched.entry((labels, timestamp)).or_insert(0) += 1;
        }
        for row in self.failed.iter().filter(|write| matches!(write, Write::Row { .. })) {
            let visible: BTreeSet<bool> = row
                .cells()
                .into_iter()
                .filter(|(labels, timestamp, bits)| {
                    let cell = &self.cells[labels][timestamp];
                    let tells = cell.acknowledged != Some(*bits) && cell.attempted == [*bits];
                    tells && touched[&(labels.clone(), *timestamp)] == 1
                })
                .map(|(labels, timestamp, bits)| {
                    found.get(&labels).and_then(|samples| samples.get(&timestamp)) == Some(&bits)
                })
                .collect();
            assert!(visible.len() < 2, "{context}: a part of the row {row:?} is there");
        }
    }
}
