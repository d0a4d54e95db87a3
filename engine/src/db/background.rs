//! The threads of an open database: one seals, merges and expires; one syncs the log where the user chose an interval.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Core;
use super::maintenance::is_refusal;
use crate::error::Result;
use crate::options::WalSync;

/// How often maintenance looks whether there is something to do.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// The running threads; dropping this stops them.
#[derive(Debug)]
pub(super) struct Background {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits; returns whether to stop.
    fn wait(&self, interval: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, interval);
        }
        *asked
    }
}

impl Background {
    pub(super) fn start(core: &Arc<Core>) -> Self {
        let stop = Arc::new(Stop::default());
        let spawn = |name: &str, run: fn(&Core, &Stop)| {
            let (core, stop) = (Arc::clone(core), Arc::clone(&stop));
            std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&core, &stop))
        };
        let mut threads = vec![spawn("maintenance", maintain)];
        if matches!(core.options.wal_sync, WalSync::Interval(_)) {
            threads.push(spawn("wal-sync", sync_wal));
        }
        let threads = threads.into_iter().filter_map(|thread| {
            thread.inspect_err(|error| tracing::error!(%error, "cannot start a background thread")).ok()
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.asked.lock() = true;
        self.stop.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn maintain(core: &Core, stop: &Stop) {
    let mut head_since = Instant::now();
    while !stop.wait(MAINTENANCE_INTERVAL) {
        let view = core.view.read().clone();
        let too_large = view.active.sample_bytes() > core.options.head_bytes_max;
        if too_large || !view.sealed.is_empty() || head_since.elapsed() > core.options.block_span {
            drop(view);
            log_failure("sealing the head failed and will be tried again", core.flush().map(|_| ()));
            head_since = Instant::now();
        }
        if core.wants_compaction() {
            log_failure("compaction failed and will be tried again", core.compact().map(|_| ()));
        }
    }
}

fn sync_wal(core: &Core, stop: &Stop) {
    let WalSync::Interval(interval) = core.options.wal_sync else { return };
    while !stop.wait(interval) {
        log_failure("syncing the WAL failed", core.wal.sync_all());
    }
    log_failure("syncing the WAL failed", core.wal.sync_all());
}

fn log_failure(what: &str, outcome: Result<()>) {
    match outcome {
        Err(error) if !is_refusal(&error) => tracing::error!(%error, "{what}"),
        _ => {}
    }
}
