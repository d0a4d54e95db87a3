//! Calls that a test stops until it has seen what it wants to see.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// The calls to stop on one machine.
#[derive(Debug, Default)]
pub(super) struct Holds(Mutex<Vec<Arc<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    path_part: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No call has come.
    Ahead,
    /// A call is stopped.
    Reached,
    /// Calls pass.
    Released,
}

/// Stops one call of a [`SimulatedDirectory`](super::SimulatedDirectory), until it is released or dropped.
#[derive(Debug)]
pub struct Hold(Arc<Waiting>);

impl Holds {
    pub(super) fn add(&self, path_part: &str) -> Hold {
        let waiting = Waiting {
            path_part: path_part.to_owned(),
            state: Mutex::new(State::Ahead),
            changed: Condvar::new(),
        };
        let waiting = Arc::new(waiting);
        self.0.lock().push(Arc::clone(&waiting));
        Hold(waiting)
    }

    /// Returns when no hold stops a call on this path. Each hold stops one call.
    pub(super) fn pass(&self, path: &Path) {
        let matching = {
            let mut holds = self.0.lock();
            let path = path.to_string_lossy();
            let found = holds.iter().position(|hold| path.contains(&hold.path_part));
            found.map(|at| holds.swap_remove(at))
        };
        let Some(hold) = matching else { return };
        let mut state = hold.state.lock();
        if *state == State::Ahead {
            *state = State::Reached;
            hold.changed.notify_all();
        }
        while *state != State::Released {
            hold.changed.wait(&mut state);
        }
    }
}

impl Hold {
    /// Waits until a call is stopped.
    pub fn wait_until_reached(&self) {
        let mut state = self.0.state.lock();
        while *state == State::Ahead {
            self.0.changed.wait(&mut state);
        }
    }

    /// Lets the call go on, or those that come later pass.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.state.lock() = State::Released;
        self.0.changed.notify_all();
    }
}
