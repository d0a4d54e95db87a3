//! What all parts of one evaluation share: the data, the limits, and what is counted against them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use timberline_engine::{Matcher, Series, Snapshot, TimeRange};

use super::Limits;
use super::annotations::{Annotations, position};
use super::native;
use super::shared::SharedRows;
use crate::ast::Span;
use crate::error::{QueryError, Result};
use crate::value::QueryStats;

/// A handle that ends a running query from outside. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    canceled: Arc<AtomicBool>,
    deadline: Option<Instant>,
}

impl Cancel {
    /// A handle without a deadline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same handle with a deadline `timeout` from now, if that is sooner than the one it has.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let deadline = Instant::now().checked_add(timeout);
        let deadline = match (self.deadline, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { canceled: Arc::clone(&self.canceled), deadline }
    }

    /// Ends the query: it fails with [`QueryError::Canceled`] as soon as it looks.
    pub fn cancel(&self) {
        self.canceled.store(true, Relaxed);
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`QueryError::Canceled`] or [`QueryError::Timeout`].
    pub fn check(&self) -> Result<()> {
        if self.canceled.load(Relaxed) {
            return Err(QueryError::Canceled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(QueryError::Timeout),
            _ => Ok(()),
        }
    }
}

/// The shared state of one evaluation.
pub(super) struct Context<'q> {
    pub(super) snapshot: &'q Snapshot,
    pub(super) limits: &'q Limits,
    pub(super) lookback_ms: i64,
    /// The native histograms that cells name.
    pub(super) histograms: native::List,
    /// What stands in the query more than once.
    pub(super) shared: SharedRows,
    cancel: Cancel,
    text: &'q str,
    annotations: Mutex<Annotations>,
    annotations_made: AtomicU64,
    samples: AtomicU64,
    series: AtomicU64,
    points: AtomicU64,
}

impl<'q> Context<'q> {
    pub(super) fn new(
        snapshot: &'q Snapshot,
        limits: &'q Limits,
        lookback_ms: i64,
        text: &'q str,
        cancel: Cancel,
    ) -> Self {
        Self {
            snapshot,
            limits,
            lookback_ms,
            histograms: native::List::default(),
            shared: SharedRows::default(),
            cancel,
            text,
            annotations: Mutex::default(),
            annotations_made: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            series: AtomicU64::new(0),
            points: AtomicU64::new(0),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.cancel.check()
    }

    pub(super) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Series>> {
        self.check()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let series = self.snapshot.select(matchers, range)?;
        self.snapshot.damage().for_each(|text| self.warn(text));
        let (got, limit) = (series.len() as u64, self.limits.selector_series_max);
        if got > limit {
            return Err(QueryError::Limit { name: "selector_series_max", limit, got });
        }
        self.series.fetch_add(got, Relaxed);
        Ok(series)
    }

    /// Counts samples that were read.
    pub(super) fn charge_samples(&self, count: usize) -> Result<()> {
        let got = self.samples.fetch_add(count as u64, Relaxed) + count as u64;
        let limit = self.limits.query_samples_max;
        if got > limit {
            return Err(QueryError::Limit { name: "query_samples_max", limit, got });
        }
        Ok(())
    }

    /// Counts cells before memory is taken for them.
    pub(super) fn charge_points(&self, rows: usize, steps: usize) -> Result<()> {
        let count = (rows as u64).saturating_mul(steps as u64);
        let limit = self.limits.query_points_max;
        let before = self.points.fetch_add(count.min(limit.saturating_add(1)), Relaxed);
        let got = before.saturating_add(count);
        if got > limit {
            return Err(QueryError::Limit { name: "query_points_max", limit, got });
        }
        Ok(())
    }

    /// Adds an annotation; `add` gets the position of `span` in the query text.
    pub(super) fn annotate(&self, span: Span, add: impl FnOnce(&mut Annotations, &str)) {
        let position = position(self.text, span);
        add(&mut self.annotations(), &position);
    }

    /// Adds a warning about the data.
    pub(super) fn warn(&self, text: String) {
        self.annotations().warn(text);
    }

    /// How often something was annotated so far.
    pub(super) fn annotations_made(&self) -> u64 {
        self.annotations_made.load(Relaxed)
    }

    fn annotations(&self) -> MutexGuard<'_, Annotations> {
        self.annotations_made.fetch_add(1, Relaxed);
        self.annotations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> QueryStats {
        QueryStats { samples: self.samples.load(Relaxed), series: self.series.load(Relaxed) }
    }

    /// The texts of the warnings and of the infos.
    pub(super) fn into_annotations(self) -> (Vec<String>, Vec<String>) {
        self.annotations.into_inner().unwrap_or_else(PoisonError::into_inner).into_texts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_stops_its_clones_and_keeps_the_nearer_deadline() {
        let cancel = Cancel::new();
        let clone = cancel.with_timeout(Duration::from_secs(3600));
        assert!(clone.check().is_ok());
        cancel.cancel();
        assert!(matches!(clone.check(), Err(QueryError::Canceled)));
        let late = Cancel::new().with_timeout(Duration::ZERO).with_timeout(Duration::from_secs(3600));
        assert!(matches!(late.check(), Err(QueryError::Timeout)));
    }
}
