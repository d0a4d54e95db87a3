//! Lets holders of tickets pass in the order of their numbers.

use parking_lot::{Condvar, Mutex};

/// Lets holders of tickets 0, 1, 2 … pass in that order.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    next: Mutex<u64>,
    moved: Condvar,
}

impl Turnstile {
    /// Runs `step` when all earlier tickets have passed.
    pub(super) fn pass<T>(&self, ticket: u64, step: impl FnOnce() -> T) -> T {
        let mut next = self.next.lock();
        while *next != ticket {
            self.moved.wait(&mut next);
        }
        let result = step();
        *next += 1;
        self.moved.notify_all();
        result
    }
}
