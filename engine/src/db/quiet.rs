//! Says what keeps being so once in a while, and not each time.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one through, and the next after some time.
#[derive(Debug)]
pub(super) struct Quiet {
    interval: Duration,
    last: Mutex<Option<Instant>>,
}

impl Quiet {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, last: Mutex::new(None) }
    }

    /// Whether it is time to say it; from then on it is not, for a while.
    pub(super) fn is_due(&self) -> bool {
        let mut last = self.last.lock();
        let is_due = last.is_none_or(|last| last.elapsed() >= self.interval);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_let_through_in_each_interval() {
        let (never_again, always) = (Quiet::new(Duration::MAX), Quiet::new(Duration::ZERO));
        assert_eq!([never_again.is_due(), never_again.is_due()], [true, false]);
        assert_eq!([always.is_due(), always.is_due()], [true, true]);
    }
}
