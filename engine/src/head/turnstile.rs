//! Lets holders of tickets pass in the order of their numbers.

use parking_lot::{Condvar, Mutex, MutexGuard};

/// Lets holders of tickets 0, 1, 2 … pass in that order.
#[derive(Debug, Default)]
pub(super) struct Turnstile {
    next: Mutex<u64>,
    moved: Condvar,
}

impl Turnstile {
    /// Runs `step` when all earlier tickets have passed. A ticket has passed also when its step panicked.
    pub(super) fn pass<T>(&self, ticket: u64, step: impl FnOnce() -> T) -> T {
        let mut next = self.next.lock();
        while *next != ticket {
            self.moved.wait(&mut next);
        }
        let _passing = Passing { turnstile: self, next };
        step()
    }
}

struct Passing<'a> {
    turnstile: &'a Turnstile,
    next: MutexGuard<'a, u64>,
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        *self.next += 1;
        self.turnstile.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_pass_in_order_and_a_panic_stops_nobody() {
        let turnstile = Turnstile::default();
        let passed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for ticket in (0..4).rev() {
                let (turnstile, passed) = (&turnstile, &passed);
                scope.spawn(move || {
                    let step = std::panic::AssertUnwindSafe(|| {
                        turnstile.pass(ticket, || {
                            assert_ne!(ticket, 1, "one step fails");
                            passed.lock().push(ticket);
                        });
                    });
                    assert_eq!(std::panic::catch_unwind(step).is_err(), ticket == 1);
                });
            }
        });
        assert_eq!(*passed.lock(), [0, 2, 3]);
    }
}
