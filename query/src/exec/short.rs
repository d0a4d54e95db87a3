//! How long a query may keep a thread that has other work.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Processor time that a short query takes.
const WORK: Duration = Duration::from_millis(1);
/// How long it may take with all waits, be it for a processor or for a disk.
const WAIT: Duration = Duration::from_millis(20);

/// An attempt at a query that is hoped to be short, in the thread that began it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    began: Instant,
    /// The processor time of the thread then.
    worked: Duration,
}

impl Short {
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), worked: thread_time() }
    }

    /// Whether it is not short after all. To wait for a processor is no work: where many queries run, one that were to begin anew
    /// behind them for that would wait for them all.
    pub(super) fn is_over(self, now: Instant) -> bool {
        let took = now.saturating_duration_since(self.began);
        took >= WORK && (took >= WAIT || thread_time().saturating_sub(self.worked) >= WORK)
    }
}

/// The processor time that this thread has taken.
fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Short {
        /// An attempt whose time is over.
        pub(in super::super) fn over() -> Self {
            Self { began: Instant::now() - WAIT, worked: Duration::ZERO }
        }

        /// An attempt that is short for an hour.
        pub(in super::super) fn endless() -> Self {
            Self { began: Instant::now() + Duration::from_secs(3600), worked: Duration::ZERO }
        }
    }

    #[test]
    fn work_counts_and_waits_only_when_they_are_long() {
        let begun = Short::begin();
        let worked = Short { worked: begun.worked.saturating_sub(WORK), ..begun };
        let idle = Short { worked: begun.worked + Duration::from_secs(3600), ..begun };
        let (soon, later, late) = (begun.began, begun.began + WORK, begun.began + WAIT);
        assert_eq!([soon, later, late].map(|now| idle.is_over(now)), [false, false, true]);
        if thread_time() >= WORK {
            assert_eq!([soon, later, late].map(|now| worked.is_over(now)), [false, true, true]);
        }
        assert!(Short::over().is_over(Instant::now()));
    }
}
