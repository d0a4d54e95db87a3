//! Random lives of a database, one after the other on one machine, each with its own options, work, faults and end; all of it
//! from one seed.
//!
//! Only [`Step::Concurrent`] leaves something to chance: which of its threads comes first. What must hold holds in any order.

use std::io::ErrorKind;
use std::sync::Arc;

use timberline_engine::directory::SimulatedDirectory;
use timberline_engine::{Db, Options, WalSync};

use crate::common::{Random, SECOND, START, Workload, Write, read_all};
use crate::history::History;
use crate::{options, recover, verify, write};

const HOSTS_MAX: usize = 8;

/// One thing that is done to an open database.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write,
    /// A batch that was committed or tried before, once more.
    Repeat,
    /// The timestamps of an earlier batch with other values.
    Rewrite,
    /// Two batches of one thread at the same time, with the same series.
    Interleave,
    /// Several threads that write to series of their own.
    Concurrent,
    NewSeries,
    Flush,
    Compact,
    Reopen,
    FailNextSync,
    Check,
}

/// How often each step comes.
const STEPS: &[(usize, Step)] = &[
    (40, Step::Write),
    (6, Step::Repeat),
    (8, Step::Rewrite),
    (8, Step::Interleave),
    (2, Step::Concurrent),
    (3, Step::NewSeries),
    (10, Step::Flush),
    (8, Step::Compact),
    (6, Step::Reopen),
    (1, Step::FailNextSync),
    (8, Step::Check),
];

/// Runs the lives of one seed.
pub(crate) fn run(seed: u64) {
    let mut random = Random(seed ^ 0x11fe);
    let wal_sync = if random.percent(10) { WalSync::Off } else { WalSync::Always };
    let options = Options { wal_sync, ..options(random.pick(&[60, 600, 7200])) };
    let workload = Workload { hosts: 0..2, ..Workload::new(random.next()) };
    let (history, recent) = (History::default(), Vec::new());
    let mut lives = Lives { random, options, workload, history, recent, lost_syncs: false };
    let mut machine = SimulatedDirectory::new(seed);
    for life in 0..2 + lives.random.below(4) {
        machine = lives.live(&machine, &format!("life {life}"));
    }
    lives.doubt();
    recover(&machine, &lives.options, lives.history, "in the end");
    verify(&machine, "in the end");
}

struct Lives {
    random: Random,
    options: Options,
    workload: Workload,
    history: History,
    /// Batches to repeat and to rewrite.
    recent: Vec<Vec<Write>>,
    /// Whether what was not synced may be lost: the power was cut, or syncs may fail.
    lost_syncs: bool,
}

impl Lives {
    /// From opening the database to the end of the process or the machine. Returns what comes after.
    fn live(&mut self, machine: &Arc<SimulatedDirectory>, context: &str) -> Arc<SimulatedDirectory> {
        self.plan_faults(machine);
        if let Some(db) = self.open(machine, context) {
            let db = self.work(machine, db, context);
            match self.random.below(4) {
                0 => drop(db.map(|db| db.close())),
                1 => drop(db),
                // The end takes it by surprise.
                _ => drop(machine.kill()),
            }
        }
        if self.random.percent(35) {
            say(&format!("{context}: killed"));
            machine.kill()
        } else {
            say(&format!("{context}: power cut"));
            self.lost_syncs = true;
            machine.restart(self.random.next())
        }
    }

    fn plan_faults(&mut self, machine: &SimulatedDirectory) {
        let kind = self.random.pick(&[ErrorKind::Other, ErrorKind::StorageFull]);
        let fault = self.random.below(20);
        self.lost_syncs |= (12..15).contains(&fault);
        match fault {
            // In the recovery, mostly.
            0..4 => machine.crash_after(self.random.below(25) as u64),
            4..12 => machine.crash_after(self.random.below(200) as u64),
            12 => machine.fail_after(self.random.below(25) as u64, kind),
            13 => machine.fail_after(self.random.below(150) as u64, kind),
            14 => {
                let count = 1 + self.random.below(8) as u64;
                machine.fail_calls_after(self.random.below(150) as u64, count, kind);
            }
            15 => machine.set_capacity(Some(machine.bytes_used() + self.random.below(20_000) as u64)),
            _ => {}
        }
    }

    /// Opens the database; what it shows is settled from then on. `None` when the machine stops meanwhile.
    fn open(&mut self, machine: &Arc<SimulatedDirectory>, context: &str) -> Option<Db> {
        let open = || Db::open_in(machine.clone(), self.options.clone());
        let db = match open() {
            Ok(db) => db,
            Err(_) if machine.has_crashed() => return None,
            Err(first) => {
                say(&format!("{context}: {first}"));
                machine.mend();
                match open() {
                    Err(_) if machine.has_crashed() => return None,
                    second => second.unwrap_or_else(|second| {
                        panic!("{context}: cannot open: {first}; and again: {second}")
                    }),
                }
            }
        };
        self.doubt();
        let found = read_all(&db.snapshot()).unwrap();
        self.history.check(&found, &format!("{context}, opened"));
        self.history.settle(&found);
        Some(db)
    }

    /// Without syncs, nothing is promised when the power is cut or a sync fails.
    fn doubt(&mut self) {
        if self.options.wal_sync == WalSync::Off && self.lost_syncs {
            self.history.doubt_all();
        }
    }

    /// Some steps, until they are done or the machine stops.
    fn work(&mut self, machine: &Arc<SimulatedDirectory>, db: Db, context: &str) -> Option<Db> {
        self.workload.now = START + self.random.below(5000) as i64 * SECOND;
        let mut db = db;
        for _ in 0..3 + self.random.below(25) {
            let step = self.choose();
            say(&format!("{context}: call {}, {step:?}", machine.calls()));
            if let Step::Reopen = step {
                drop(db);
                db = self.open(machine, context)?;
            } else {
                self.step(machine, &db, step, context);
            }
            if machine.has_crashed() {
                return Some(db);
            }
        }
        self.history.check(&read_all(&db.snapshot()).unwrap(), context);
        Some(db)
    }

    fn choose(&mut self) -> Step {
        let mut left = self.random.below(STEPS.iter().map(|(weight, _)| weight).sum());
        let chosen = STEPS.iter().find(|(weight, _)| match left.checked_sub(*weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        chosen.unwrap().1
    }

    /// Does it, and notes what became of it; what fails is left to the checks.
    fn step(&mut self, machine: &SimulatedDirectory, db: &Db, step: Step, context: &str) {
        match step {
            Step::Write => {
                let batch = self.batch();
                let _ = write(db, batch, &mut self.history);
            }
            Step::Repeat | Step::Rewrite if self.recent.is_empty() => {}
            Step::Repeat => {
                let batch = self.recent[self.random.below(self.recent.len())].clone();
                let _ = write(db, batch, &mut self.history);
            }
            Step::Rewrite => {
                let mut batch = self.recent[self.random.below(self.recent.len())].clone();
                batch.iter_mut().for_each(|write| write.change_values(&mut self.random));
                let _ = write(db, batch, &mut self.history);
            }
            Step::Interleave => self.interleave(db),
            Step::Concurrent => self.concurrent(db),
            Step::NewSeries => {
                self.workload.hosts.end = (self.workload.hosts.end + 1).min(HOSTS_MAX);
            }
            Step::Flush => drop(db.flush()),
            Step::Compact => drop(db.compact()),
            Step::Reopen => {}
            Step::FailNextSync => {
                machine.fail_next_sync();
                self.lost_syncs = true;
            }
            Step::Check => self.history.check(&read_all(&db.snapshot()).unwrap(), context),
        }
    }

    fn batch(&mut self) -> Vec<Write> {
        let batch = self.workload.batch(6);
        if self.recent.len() < 4 {
            self.recent.push(batch.clone());
        } else {
            let at = self.random.below(self.recent.len());
            self.recent[at].clone_from(&batch);
        }
        batch
    }

    /// Row by row into one of two batches, which are committed in any order: that is the order that counts.
    fn interleave(&mut self, db: &Db) {
        let (Ok(first), Ok(second)) = (db.appender(), db.appender()) else { return };
        let mut appenders = [Some(first), Some(second)];
        let mut batches = [Vec::new(), Vec::new()];
        for write in self.batch().into_iter().chain(self.batch()) {
            let at = self.random.below(2);
            let appended = appenders[at].as_mut().map(|appender| write.append(appender));
            batches[at].push(write);
            if !matches!(appended, Some(Ok(()))) {
                // Neither of them is committed.
                return;
            }
        }
        let first = self.random.below(2);
        for at in [first, 1 - first] {
            let committed = appenders[at].take().map(|appender| appender.commit());
            let batch = std::mem::take(&mut batches[at]);
            match committed {
                Some(Ok(_)) => self.history.acknowledged(&batch),
                _ => self.history.attempted(batch),
            }
        }
    }

    fn concurrent(&mut self, db: &Db) {
        let writers: Vec<Workload> = (1..=2 + self.random.below(2))
            .map(|writer| {
                let workload = Workload::new(self.random.next());
                Workload { hosts: 100 * writer..100 * writer + 2, now: self.workload.now, ..workload }
            })
            .collect();
        let maintain = self.random.below(3);
        let outcomes: Vec<(Vec<Write>, bool)> = std::thread::scope(|scope| {
            let threads: Vec<_> = writers
                .into_iter()
                .map(|mut workload| {
                    scope.spawn(move || {
                        let batches = (0..3).map(|_| workload.batch(4));
                        batches.map(|batch| (commit(db, &batch), batch)).collect::<Vec<_>>()
                    })
                })
                .collect();
            match maintain {
                0 => drop(db.flush()),
                1 => drop(db.compact()),
                _ => {}
            }
            let joined = threads.into_iter().flat_map(|thread| thread.join().unwrap());
            joined.map(|(committed, batch)| (batch, committed)).collect()
        });
        for (batch, committed) in outcomes {
            match committed {
                true => self.history.acknowledged(&batch),
                false => self.history.attempted(batch),
            }
        }
    }
}

fn commit(db: &Db, batch: &[Write]) -> bool {
    let outcome = db.appender().and_then(|mut appender| {
        batch.iter().try_for_each(|write| write.append(&mut appender))?;
        appender.commit()
    });
    outcome.is_ok()
}

/// Tells the story of a seed that runs alone.
fn say(what: &str) {
    if std::env::var_os("TIMBERLINE_SEED").is_some() {
        eprintln!("{what}");
    }
}
