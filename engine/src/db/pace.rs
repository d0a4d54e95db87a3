//! The pace of a merge: while somebody writes or reads, it works half of the time, so that it takes neither all of a core nor
//! all of the disk from them; when nobody does, it does not wait.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A merge works as long as this, and then looks whether it has to wait.
const SLICE: Duration = Duration::from_millis(2);
/// It never waits longer at once: a step that took long (a large series, a slow disk) is no reason to.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Counts what is asked of the database in the foreground.
#[derive(Debug, Default)]
pub(super) struct Foreground(AtomicU64);

impl Foreground {
    /// Somebody writes or reads.
    pub(super) fn asked(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The pace of one merge.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    foreground: &'a Foreground,
    seen: Cell<u64>,
    since: Cell<Instant>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(foreground: &'a Foreground) -> Self {
        Self { foreground, seen: Cell::new(foreground.count()), since: Cell::new(Instant::now()) }
    }

    /// To be called between small steps of work: waits when that is due.
    pub(super) fn step(&self) {
        let worked = self.since.get().elapsed();
        if worked >= SLICE {
            if let Some(pause) = self.pause(worked) {
                std::thread::sleep(pause);
            }
            self.since.set(Instant::now());
        }
    }

    /// How long to wait after so much work: as long as it took, if anybody asked for something meanwhile.
    fn pause(&self, worked: Duration) -> Option<Duration> {
        let count = self.foreground.count();
        (self.seen.replace(count) != count).then(|| worked.min(PAUSE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_waits_only_while_somebody_asks() {
        let foreground = Foreground::default();
        let pace = Pace::new(&foreground);
        let worked = Duration::from_millis(3);
        assert_eq!(pace.pause(worked), None);
        foreground.asked();
        assert_eq!(pace.pause(worked), Some(worked));
        assert_eq!(pace.pause(worked), None, "nobody asked since");
        foreground.asked();
        assert_eq!(pace.pause(Duration::from_secs(1)), Some(PAUSE_MAX));
    }
}
