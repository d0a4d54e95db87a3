//! Bounded concurrency with a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets a fixed number of jobs run and a fixed number wait.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    places_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// A place in a [`Gate`]; dropping it lets the next one in.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// The queue of a [`Gate`] is full.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Gate {
    /// A gate with `places_max` jobs inside and `waiting_max` in front of it.
    #[must_use]
    pub fn new(places_max: usize, waiting_max: usize) -> Self {
        let places_max = places_max.min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places_max));
        Self { places, places_max, waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`Full`] at once when too many wait already.
    pub async fn enter(&self) -> Result<Place, Full> {
        if let Ok(place) = self.try_enter() {
            return Ok(place);
        }
        let _waiting = Waiting::new(&self.waiting, self.waiting_max)?;
        // The semaphore is never closed.
        Arc::clone(&self.places).acquire_owned().await.map(Place).map_err(|_| Full)
    }

    /// Takes a place if one is free.
    ///
    /// # Errors
    /// [`Full`] when none is.
    pub fn try_enter(&self) -> Result<Place, Full> {
        Arc::clone(&self.places).try_acquire_owned().map(Place).map_err(|_| Full)
    }

    /// How many are inside.
    #[must_use]
    pub fn running(&self) -> usize {
        self.places_max - self.places.available_permits()
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts one who waits, also when its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, max: usize) -> Result<Self, Full> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let guard = Self(waiting);
        if before >= max { Err(Full) } else { Ok(guard) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn admits_queues_and_refuses() {
        let gate = Arc::new(Gate::new(1, 1));
        let inside = gate.enter().await.unwrap();
        let queued = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_ok() }
        });
        while gate.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter().await.unwrap_err(), Full);
        assert_eq!(gate.try_enter().unwrap_err(), Full);
        assert_eq!((gate.running(), gate.waiting()), (1, 1));
        drop(inside);
        assert!(queued.await.unwrap());
        assert_eq!((gate.running(), gate.waiting()), (0, 0));
    }
}
