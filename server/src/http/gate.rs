//! Bounded concurrency with a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Histogram;

/// Lets a fixed number of jobs run and a fixed number wait.
#[derive(Debug)]
pub struct Gate {
    places: Arc<Semaphore>,
    places_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    waits: Histogram,
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
        let (waiting, waits) = (AtomicUsize::new(0), Histogram::default());
        Self { places, places_max, waiting, waiting_max, waits }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`Full`] at once when too many wait already.
    pub async fn enter(&self) -> Result<Place, Full> {
        if let Ok(place) = self.try_enter() {
            self.waits.observe(Duration::ZERO);
            return Ok(place);
        }
        let _waiting = Waiting::new(self)?;
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

    /// How long those had to wait who came in, or gave up.
    #[must_use]
    pub(crate) fn waits(&self) -> &Histogram {
        &self.waits
    }
}

/// Counts one who waits and how long, also when its future is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    since: Instant,
}

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Result<Self, Full> {
        if gate.waiting.fetch_add(1, Ordering::Relaxed) >= gate.waiting_max {
            gate.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(Self { gate, since: Instant::now() })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.waiting.fetch_sub(1, Ordering::Relaxed);
        self.gate.waits.observe(self.since.elapsed());
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
        let counted = gate.waits().distribution().cumulative().last();
        assert_eq!(counted, Some((None, 2)), "who was refused did not wait");
    }
}
