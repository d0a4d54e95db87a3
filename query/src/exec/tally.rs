//! Samples per step, as Prometheus counts them for `stats=all`: a sample counts at each step that looks at it. The samples of a
//! subquery's own selectors do not count, its points do; what is evaluated once counts at each step.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::grid::Windows;
use super::row::is_present;

/// A count per step for each grid that is being evaluated, the innermost last.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Vec<Vec<u64>>>);

impl Tally {
    pub(super) fn new(steps: usize) -> Self {
        Self(Mutex::new(vec![vec![0; steps]]))
    }

    fn grids(&self) -> MutexGuard<'_, Vec<Vec<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The samples of the windows over one series.
    pub(super) fn add_windows(&self, windows: &Windows, timestamps: &[i64]) {
        if let Some(counts) = self.grids().last_mut() {
            windows.walk(timestamps, |window| {
                if let Some(count) = counts.get_mut(window.step) {
                    *count += (window.hi - window.lo) as u64;
                }
            });
        }
    }

    /// One sample at each step that has a cell.
    pub(super) fn add_cells(&self, cells: &[f64]) {
        if let Some(counts) = self.grids().last_mut() {
            let present = cells.iter().map(|&cell| u64::from(is_present(cell)));
            counts.iter_mut().zip(present).for_each(|(count, present)| *count += present);
        }
    }

    /// Samples that are looked at from the only step.
    pub(super) fn add(&self, samples: usize) {
        if let Some(count) = self.grids().last_mut().and_then(|counts| counts.last_mut()) {
            *count += samples as u64;
        }
    }

    /// A grid inside the current one begins.
    pub(super) fn begin_grid(&self, steps: usize) {
        self.grids().push(vec![0; steps]);
    }

    /// It ends: its counts.
    pub(super) fn end_grid(&self) -> Vec<u64> {
        self.grids().pop().unwrap_or_default()
    }

    /// The same samples at each step.
    pub(super) fn add_at_each_step(&self, samples: u64) {
        if let Some(counts) = self.grids().last_mut() {
            counts.iter_mut().for_each(|count| *count += samples);
        }
    }

    /// The counts of the query's own steps.
    pub(super) fn into_counts(self) -> Vec<u64> {
        let grids = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        grids.into_iter().next().unwrap_or_default()
    }
}
