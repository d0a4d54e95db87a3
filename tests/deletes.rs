//! Deletes on a simulated disk that loses what was not synced: whatever stops the machine, what was deleted stays deleted,
//! what was written after lives, and the directory checks out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use common::{Cells, Random, SECOND, START, Workload, Write, for_each_seed, read_all};
use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::verify::verify;
use timberline_engine::{Db, Labels, MatchOp, Matcher, Options, TimeRange};

mod common;

#[test]
fn deletes_survive_a_crash_at_each_call() {
    let calls = {
        let machine = SimulatedDirectory::new(0);
        run_script(&machine, &mut History::default());
        machine.calls()
    };
    assert!(calls > 100);
    let stride = std::env::var("TIMBERLINE_SEEDS").map_or(7, |_| 1);
    for call in (0..calls).step_by(stride) {
        let machine = SimulatedDirectory::new(0);
        machine.crash_after(call);
        let mut history = History::default();
        run_script(&machine, &mut history);
        recover(&machine.kill(), history.clone(), &format!("killed at call {call}"));
        for seed in 0..2 {
            let context = format!("power cut {seed} at call {call}");
            recover(&machine.restart(seed), history.clone(), &context);
        }
    }
}

#[test]
fn a_call_that_fails_undoes_no_delete() {
    for_each_seed(60, |seed| {
        let machine = SimulatedDirectory::new(seed);
        let mut random = Random(seed);
        let mut history = History::default();
        for _ in 0..3 {
            let kind = random.pick(&[ErrorKind::StorageFull, ErrorKind::Other]);
            machine.fail_after(random.below(150) as u64, kind);
            run_random(&machine, &mut random, &mut history);
        }
        recover(&machine.kill(), history.clone(), "killed");
        recover(&machine.restart(seed), history, "power cut");
    });
}

#[test]
fn random_runs_with_several_crashes_bring_nothing_back() {
    for_each_seed(80, |seed| {
        let mut machine = SimulatedDirectory::new(seed);
        let mut random = Random(seed);
        let mut history = History::default();
        for life in 0..3 {
            machine.crash_after(20 + random.below(400) as u64);
            run_random(&machine, &mut random, &mut history);
            let power_cut = random.percent(70);
            machine = if power_cut { machine.restart(seed + life) } else { machine.kill() };
            let found = recover_in(&machine, &mut history, "between two lives");
            history.settle(&found);
        }
        recover(&machine, history, "at last");
    });
}

fn options() -> Options {
    Options { background: false, block_span: Duration::from_secs(600), ..Options::default() }
}

fn open(machine: &Arc<SimulatedDirectory>) -> Option<Db> {
    let open = || Db::open_in(machine.clone(), options());
    match open() {
        Ok(db) => Some(db),
        Err(_) if machine.has_crashed() => None,
        Err(first) => {
            Some(open().unwrap_or_else(|second| panic!("cannot open: {first}; and again: {second}")))
        }
    }
}

/// What deletes do, in a fixed order.
fn run_script(machine: &Arc<SimulatedDirectory>, history: &mut History) {
    let mut workload = Workload { hosts: 0..2, ..Workload::new(1) };
    let mut random = Random(1);
    for life in 0..2 {
        let Some(db) = open(machine) else { return };
        for step in 0..5 {
            let batch = workload.batch(4);
            history.write(&db, &batch);
            if step % 2 == life {
                history.delete(&db, &[Matcher::equal("host", "h1")], TimeRange::new(START, workload.now));
                history.write(&db, &batch);
            }
            if step == 3 {
                history.delete(&db, &random_matchers(&mut random), TimeRange::ALL);
                let _ = db.compact();
            }
            workload.now += 200 * SECOND;
        }
        let _ = db.clean_tombstones();
        history.write(&db, &workload.batch(4));
        history.delete(&db, &[Matcher::equal("region", "r0")], TimeRange::new(START, i64::MAX));
        if !machine.has_crashed() {
            history.check(&read_all(&db.snapshot()).unwrap(), "in the running process");
        }
        if life == 1 {
            let _ = db.close();
        }
    }
}

/// Random calls until the machine stops.
fn run_random(machine: &Arc<SimulatedDirectory>, random: &mut Random, history: &mut History) {
    let Some(mut db) = open(machine) else { return };
    let mut workload =
        Workload { now: START + random.below(5000) as i64 * SECOND, ..Workload::new(random.next()) };
    for _ in 0..40 {
        match random.below(20) {
            0 => drop(db.flush()),
            1 | 2 => drop(db.compact()),
            3 => drop(db.clean_tombstones()),
            4..8 => {
                let start = START + random.below(6000) as i64 * SECOND;
                let length = random.pick(&[0, 60 * SECOND, 2000 * SECOND, i64::MAX / 2]);
                history.delete(&db, &random_matchers(random), TimeRange::new(start, start + length));
            }
            8 => {
                drop(db);
                match open(machine) {
                    Some(opened) => db = opened,
                    None => return,
                }
            }
            9 => drop(db.create_snapshot(&format!("s{}", random.next()), random.percent(50))),
            _ => history.write(&db, &workload.batch(8)),
        }
        if machine.has_crashed() {
            return;
        }
        if random.percent(20) {
            history.check(&read_all(&db.snapshot()).unwrap(), "in the running process");
        }
    }
}

fn random_matchers(random: &mut Random) -> Vec<Matcher> {
    let (name, op, value) = random.pick(&[
        ("host", MatchOp::Equal, "h1"),
        ("host", MatchOp::NotEqual, "h0"),
        ("__name__", MatchOp::Regex, "cpu_.*"),
        ("region", MatchOp::Equal, "r0"),
        ("missing", MatchOp::Equal, ""),
    ]);
    vec![Matcher::new(name, op, value).unwrap()]
}

fn recover(machine: &Arc<SimulatedDirectory>, mut history: History, context: &str) {
    recover_in(machine, &mut history, context);
}

/// Opens what survived, checks it, goes on, and checks that too. Returns what is there.
fn recover_in(machine: &Arc<SimulatedDirectory>, history: &mut History, context: &str) -> Cells {
    let open =
        || Db::open_in(machine.clone(), options()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let db = open();
    let check = |db: &Db, history: &History, when: &str| {
        let found = read_all(&db.snapshot()).unwrap_or_else(|error| panic!("{context}: {error}"));
        history.check(&found, &format!("{context}{when}"));
        found
    };
    let found = check(&db, history, "");
    history.settle(&found);
    let mut workload = Workload { hosts: 0..2, ..Workload::new(1) };
    history.write(&db, &workload.batch(4));
    history.delete(&db, &[Matcher::equal("host", "h0")], TimeRange::new(START, START + 30 * SECOND));
    check(&db, history, ", after another delete");
    db.compact().unwrap_or_else(|error| panic!("{context}: {error}"));
    check(&db, history, ", after a compaction");
    db.clean_tombstones().unwrap_or_else(|error| panic!("{context}: {error}"));
    check(&db, history, ", cleaned");
    history.write(&db, &workload.batch(4));
    drop(db);
    let report = verify(&**machine).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(report.problems.is_empty(), "{context}: {:?}", report.problems);
    let leftovers: Vec<_> = machine.files().into_iter().filter(|f| f.starts_with("tombstones")).collect();
    assert!(leftovers.is_empty(), "{context}: all was cleaned, and there is {leftovers:?}");
    check(&open(), history, ", opened again")
}

/// What may be at one timestamp of one series.
#[derive(Clone, Debug, Default)]
struct Cell {
    /// `None` when nothing must be there.
    acknowledged: Option<u64>,
    /// Whether it may be gone all the same, since a delete of it failed.
    may_be_gone: bool,
    /// Values of commits that failed since the last acknowledged write.
    attempted: Vec<u64>,
}

/// What was written and deleted, as far as the caller knows.
#[derive(Clone, Debug, Default)]
struct History {
    cells: BTreeMap<Labels, BTreeMap<i64, Cell>>,
}

impl History {
    fn write(&mut self, db: &Db, batch: &[Write]) {
        let result = db.appender().and_then(|mut appender| {
            batch.iter().try_for_each(|write| write.append(&mut appender))?;
            appender.commit()
        });
        for (labels, timestamp, bits) in batch.iter().flat_map(Write::cells) {
            let cell = self.cells.entry(labels).or_default().entry(timestamp).or_default();
            match &result {
                Ok(_) => *cell = Cell { acknowledged: Some(bits), ..Cell::default() },
                Err(_) => cell.attempted.push(bits),
            }
        }
    }

    fn delete(&mut self, db: &Db, matchers: &[Matcher], range: TimeRange) {
        let result = db.delete(&[matchers.to_vec()], range);
        let matches =
            |labels: &Labels| matchers.iter().all(|m| m.matches(labels.get(m.name()).unwrap_or_default()));
        let series = self.cells.iter_mut().filter(|(labels, _)| matches(labels));
        for (timestamp, cell) in series.flat_map(|(_, cells)| cells) {
            if !range.contains(*timestamp) {
                continue;
            }
            match &result {
                Ok(_) => (cell.acknowledged, cell.may_be_gone) = (None, false),
                Err(_) => cell.may_be_gone = true,
            }
        }
    }

    /// After a restart what was found is there, and what was not found is gone.
    fn settle(&mut self, found: &Cells) {
        for (labels, cells) in &mut self.cells {
            for (timestamp, cell) in cells {
                let bits = found.get(labels).and_then(|samples| samples.get(timestamp));
                *cell = Cell { acknowledged: bits.copied(), ..Cell::default() };
            }
        }
    }

    fn check(&self, found: &Cells, context: &str) {
        for (labels, cells) in &self.cells {
            for (timestamp, cell) in cells {
                let value = found.get(labels).and_then(|samples| samples.get(timestamp)).copied();
                let right = match value {
                    None => cell.acknowledged.is_none() || cell.may_be_gone,
                    Some(bits) => cell.acknowledged == Some(bits) || cell.attempted.contains(&bits),
                };
                assert!(right, "{context}: {labels} at {timestamp} is {value:x?}, not {cell:x?}");
            }
        }
        let known =
            |labels: &Labels, t: &i64| self.cells.get(labels).is_some_and(|cells| cells.contains_key(t));
        for (labels, samples) in found {
            let unknown = samples.keys().find(|timestamp| !known(labels, timestamp));
            assert!(unknown.is_none(), "{context}: {labels} has a sample at {unknown:?} that nobody wrote");
        }
    }
}
