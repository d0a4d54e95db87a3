//! What was acknowledged survives: power cuts, kills and failing calls, at every call of a workload and at random ones.
//!
//! Each run writes to a simulated machine that stops, starts it again and compares what the database holds with the history of
//! the writes; [`history`] says what may be there. A run is a function of its seed. A failure names the seed and the command
//! that runs it again. The long run, on all cores, with a line for each twentieth of it:
//!
//! ```sh
//! TIMBERLINE_SEEDS=20000 cargo test --release -p timberline-workspace --test crash random_lives -- --nocapture
//! ```
//!
//! A new operation of the database is a new [`lives::Step`], and what it leaves behind a method of [`history::History`].
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use common::{Random, SECOND, Workload, Write, for_each_seed, read_all};
use history::History;
use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Error, Options};

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod history;
mod lives;

#[test]
fn random_lives_lose_nothing() {
    for_each_seed(500, lives::run);
}

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
            for survivors in 0..2 {
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
        assert!(db.stats().writes_refused.is_some());
        history.check(&read_all(&db.snapshot()).unwrap(), "while writes are refused");
        drop(db);
        recover(&machine.kill(), &options(600), history.clone(), "killed");
        recover(&machine.restart(seed), &options(600), history, "power cut");
    });
}

/// Linux counts pages that a sync could not write as clean: the next sync succeeds without them. A restarted server replayed
/// such pages, showed what they held, and let new rows refer to series that they defined; a power cut took all of that.
#[test]
fn what_a_restart_shows_after_a_failed_sync_survives_the_next_power_cut() {
    for_each_seed(60, |seed| {
        let machine = SimulatedDirectory::new(seed);
        let mut history = History::default();
        let mut workload = Workload::new(seed);
        let db = Db::open_in(machine.clone(), options(600)).unwrap();
        write(&db, workload.batch(5), &mut history).unwrap();
        machine.fail_next_sync();
        write(&db, workload.batch(5), &mut history).unwrap_err();
        drop(db);
        let machine = machine.kill();
        let db = Db::open_in(machine.clone(), options(600)).unwrap();
        let shown = read_all(&db.snapshot()).unwrap();
        history.check(&shown, "killed");
        history.settle(&shown);
        for _ in 0..3 {
            write(&db, workload.batch(5), &mut history).unwrap();
        }
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

/// Opens what survived, checks it, writes on, and checks that too.
fn recover(machine: &Arc<SimulatedDirectory>, options: &Options, mut history: History, context: &str) {
    let open =
        || Db::open_in(machine.clone(), options.clone()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let db = open();
    let recovered = read_all(&db.snapshot()).unwrap_or_else(|error| panic!("{context}: {error}"));
    history.check(&recovered, context);
    history.settle(&recovered);
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
}

/// Every checksum, order and reference of a database that nobody has open.
fn verify(machine: &SimulatedDirectory, context: &str) {
    let report = timberline_engine::verify::verify(machine).unwrap();
    assert!(report.problems.is_empty(), "{context}: {:?}", report.problems);
}
