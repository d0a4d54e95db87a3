//! The threads of an open database: one seals; one merges and expires, so that a long merge keeps no head waiting; one
//! syncs the log where the user chose an interval.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Core;
use crate::error::{Error, Result};
use crate::options::WalSync;

/// How often maintenance looks whether there is something to do.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// What keeps failing is tried this often at least.
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(60);

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
        let mut threads = vec![spawn("seal", seal_heads), spawn("compact", compact_blocks)];
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

/// When to try again what failed: after twice as long each time.
#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
    last: Option<Instant>,
}

impl BackOff {
    fn interval(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        MAINTENANCE_INTERVAL.saturating_mul(factor).min(RETRY_INTERVAL_MAX)
    }

    fn is_over(&self) -> bool {
        self.failures == 0 || self.last.is_none_or(|last| last.elapsed() >= self.interval())
    }

    fn note(&mut self, succeeded: bool) {
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
        self.last = Some(Instant::now());
    }
}

fn seal_heads(core: &Core, stop: &Stop) {
    let mut head_since = Instant::now();
    let mut back_off = BackOff::default();
    while !stop.wait(MAINTENANCE_INTERVAL) {
        log_failure("the retention clock cannot be stored", core.keep_clock());
        // A write tries as well; without one, the server would go on telling that it refuses them.
        core.reserve.fill();
        log_failure("the WAL cannot go on", core.resume());
        let is_old = head_since.elapsed() > core.options.block_span;
        if back_off.is_over() && (is_old || core.wants_flush()) {
            let outcome = core.flush();
            back_off.note(outcome.is_ok());
            if outcome.is_ok() {
                head_since = Instant::now();
            }
            log_failure("sealing the head failed and will be tried again", outcome.map(|_| ()));
        }
    }
}

fn compact_blocks(core: &Core, stop: &Stop) {
    let mut back_off = BackOff::default();
    while !stop.wait(MAINTENANCE_INTERVAL) {
        if back_off.is_over() {
            let outcome = core.compact();
            back_off.note(outcome.is_ok());
            log_failure("compaction failed", outcome.map(|_| ()));
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

/// Logs what failed, unless that is in the log already, as a failure of the WAL is, or no failure, as a close.
fn log_failure(what: &str, outcome: Result<()>) {
    match outcome {
        Ok(()) | Err(Error::WritesRefused { .. } | Error::Closed) => {}
        Err(error) => tracing::error!(%error, "{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_after_a_while_that_grows_up_to_a_minute() {
        let mut back_off = BackOff::default();
        assert!(back_off.is_over());
        let mut intervals = Vec::new();
        for _ in 0..40 {
            back_off.note(false);
            assert!(!back_off.is_over());
            intervals.push(back_off.interval().as_secs());
        }
        assert_eq!(intervals[..7], [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(intervals[39], 60);
        back_off.note(true);
        assert!(back_off.is_over());
    }
}
