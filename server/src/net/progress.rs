//! What a connection is doing: told by its own task, read by the listener, which may close it while it does nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing has come yet.
    New = 0,
    /// The head of a request has begun to arrive.
    Head = 1,
    /// A request is being answered.
    Answering = 2,
    /// All requests so far are answered.
    Idle = 3,
    /// The listener closed it.
    Closed = 4,
}

impl Phase {
    const ALL: [Self; 5] = [Self::New, Self::Head, Self::Answering, Self::Idle, Self::Closed];
    const BITS: u32 = 3;
}

/// A [`Phase`] and the millisecond in which it began, as one number that is swapped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Moment {
    fn new(phase: Phase, since_ms: u64) -> Self {
        Self(since_ms << Phase::BITS | phase as u64)
    }

    pub(super) fn phase(self) -> Phase {
        Phase::ALL[(self.0 as usize & ((1 << Phase::BITS) - 1)).min(Phase::ALL.len() - 1)]
    }

    /// Milliseconds from the start of the listener.
    pub(super) fn since_ms(self) -> u64 {
        self.0 >> Phase::BITS
    }
}

/// What a connection is doing and since when.
#[derive(Debug)]
pub(super) struct Progress {
    moment: AtomicU64,
    /// Whether the whole answer is on its way to the socket.
    is_answered: AtomicBool,
    /// Whether the connection ends with the present answer.
    is_last: AtomicBool,
    /// Whether the client understands answers that come before the answer.
    takes_interim: AtomicBool,
    /// When the listener started.
    epoch: Instant,
}

impl Progress {
    pub(super) fn new(epoch: Instant) -> Self {
        let opened = Moment::new(Phase::New, ms_since(epoch));
        Self {
            moment: AtomicU64::new(opened.0),
            is_answered: AtomicBool::new(false),
            is_last: AtomicBool::new(false),
            takes_interim: AtomicBool::new(false),
            epoch,
        }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.moment.load(Ordering::Acquire))
    }

    /// When the present phase began.
    pub(super) fn since(&self) -> Instant {
        self.epoch + std::time::Duration::from_millis(self.moment().since_ms())
    }

    /// Begins a phase, unless the listener has closed the connection: then it is `false`.
    pub(super) fn begin(&self, phase: Phase) -> bool {
        let next = Moment::new(phase, ms_since(self.epoch)).0;
        let unless_closed = |now| (Moment(now).phase() != Phase::Closed).then_some(next);
        self.moment.fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_closed).is_ok()
    }

    /// Closes a connection that still is as it was `seen`.
    pub(super) fn close(&self, seen: Moment) -> bool {
        let closed = Moment::new(Phase::Closed, seen.since_ms()).0;
        self.moment.compare_exchange(seen.0, closed, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A request is handed over; `false` when the listener has closed the connection.
    pub(super) fn begin_answer(&self, takes_interim: bool) -> bool {
        self.is_answered.store(false, Ordering::Release);
        self.takes_interim.store(takes_interim, Ordering::Release);
        self.begin(Phase::Answering)
    }

    /// The last byte of an answer is handed over.
    pub(super) fn set_answered(&self) {
        self.is_answered.store(true, Ordering::Release);
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }

    /// The connection is to end with the present answer.
    pub(super) fn set_last(&self) {
        self.is_last.store(true, Ordering::Release);
    }

    pub(super) fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Acquire)
    }

    pub(super) fn takes_interim(&self) -> bool {
        self.takes_interim.load(Ordering::Acquire)
    }
}

fn ms_since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX >> Phase::BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_it_was_seen_is_closed_and_stays_closed() {
        let progress = Progress::new(Instant::now());
        let seen = progress.moment();
        assert_eq!(seen.phase(), Phase::New);
        assert!(progress.begin_answer(true));
        assert!(!progress.close(seen), "a request has come in between");
        progress.set_answered();
        assert!(progress.is_answered() && progress.begin(Phase::Idle));
        let seen = progress.moment();
        assert!(progress.close(seen) && !progress.begin(Phase::Head) && !progress.begin_answer(true));
        assert_eq!(
            (progress.moment().phase(), progress.moment().since_ms()),
            (Phase::Closed, seen.since_ms())
        );
    }
}
