//! What all parts of one evaluation share: the data, the limits, and what is counted against them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use timberline_engine::{Budget, Matcher, Part, Series, Snapshot, TimeRange, WantedLabels, Watch};

use super::Limits;
use super::annotations::{Annotations, position};
use super::native;
use super::row::Row;
use super::shared::SharedRows;
use super::short::Short;
use super::tally::Tally;
use super::threads::{Pool, Threads};
use super::usage::{HeldSamples, Mark, NodeId, Usage};
use crate::ast::Span;
use crate::error::{QueryError, Result};
use crate::explain::Reads;
use crate::value::QueryStats;

/// A handle that ends a running query from outside. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    canceled: Arc<AtomicBool>,
    deadline: Option<Instant>,
    /// A query that takes longer ends as well, to run again on another thread.
    short: Option<Short>,
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
        Self { deadline, ..self.clone() }
    }

    /// The same handle for a query that only goes on as long as it is short.
    pub(super) fn if_short(&self) -> Self {
        Self { short: Some(Short::begin()), ..self.clone() }
    }

    /// Whether the query only goes on as long as it is short.
    pub(super) fn is_if_short(&self) -> bool {
        self.short.is_some()
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
        if self.deadline.is_none() && self.short.is_none() {
            return Ok(());
        }
        let now = Instant::now();
        match (self.deadline, self.short) {
            (Some(deadline), _) if now >= deadline => Err(QueryError::Timeout),
            (_, Some(short)) if short.is_over(now) => Err(QueryError::NotShort),
            _ => Ok(()),
        }
    }

    /// As [`check`](Self::check), to be called for each of many series. Most take a microsecond or few, of which to look at the
    /// time each time would be a part: it is looked at behind every few.
    pub(super) fn check_series(&self, at: usize) -> Result<()> {
        if at.is_multiple_of(SERIES_BETWEEN) || self.is_if_short() {
            self.check()
        } else if self.canceled.load(Relaxed) {
            Err(QueryError::Canceled)
        } else {
            Ok(())
        }
    }

    /// As [`check`](Self::check), to be called for each of many rows: looks now and then.
    pub(super) fn look(&self, row: usize) -> Result<()> {
        if row.is_multiple_of(ROWS_BETWEEN) || self.is_if_short() { self.check() } else { Ok(()) }
    }
}

/// What keeps the parts of a short query between two looks at the time short: steps,
/// chunks of a series (which may have to come from a disk), samples of the series of one selector, memory, and points of the answer.
/// Native histograms are never short.
pub(super) const SHORT_STEPS: usize = 2_000;
const SHORT_PARTS: usize = 32;
const SHORT_SAMPLES: usize = 128 << 10;
const SHORT_BYTES: u64 = 512 << 10;
const SHORT_RESULT_POINTS: u64 = 12 << 10;

/// So many rows are grouped or joined in less than a millisecond.
const ROWS_BETWEEN: usize = 1024;

/// So many samples are looked at in a millisecond or less.
pub(super) const SAMPLES_BETWEEN: usize = 1 << 17;

/// So many series are read between two looks at the time. Series whose windows take long look by themselves.
const SERIES_BETWEEN: usize = 8;

/// The shared state of one evaluation.
pub(super) struct Context<'q> {
    pub(super) snapshot: &'q Snapshot,
    pub(super) threads: Threads<'q>,
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
    /// What the memory of the evaluation is charged to.
    pub(super) budget: Arc<Budget>,
    /// What was used so far.
    pub(super) usage: Usage,
    /// The samples that each step looks at, if somebody wants to know.
    pub(super) tally: Option<Tally>,
}

impl<'q> Context<'q> {
    pub(super) fn new(
        snapshot: &'q Snapshot,
        pool: &'q Pool,
        limits: &'q Limits,
        lookback_ms: i64,
        text: &'q str,
        budget: &Arc<Budget>,
        cancel: Cancel,
    ) -> Self {
        let memory_max = usize::try_from(limits.query_memory_bytes_max).unwrap_or(usize::MAX);
        let budget = budget.part("query_memory_bytes_max", memory_max);
        Self {
            snapshot,
            threads: pool.threads(cancel.short),
            limits,
            lookback_ms,
            histograms: native::List::default(),
            shared: SharedRows::default(),
            cancel,
            text,
            annotations: Mutex::default(),
            annotations_made: AtomicU64::new(0),
            usage: Usage::new(&budget, false),
            budget,
            tally: None,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.cancel.check()
    }

    /// What ends the query from outside.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(super) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Series>> {
        self.select_labels(matchers, range, WantedLabels::All)
    }

    /// The series, with the wanted labels at least.
    pub(super) fn select_labels(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        labels: WantedLabels<'_>,
    ) -> Result<Vec<Series>> {
        self.check()?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let limit = self.limits.selector_series_max;
        let too_many = |got| QueryError::Limit { name: "selector_series_max", limit, got };
        let goes_on = |found| found <= limit && self.check().is_ok();
        let watch = Watch::new(&goes_on).within(&self.budget);
        let watch = if self.cancel.is_if_short() { watch.if_short() } else { watch };
        let series = match self.snapshot.select_watched(matchers, range, labels, watch) {
            Err(timberline_engine::Error::BrokenOff { found }) => {
                self.check()?;
                // Where it is looked at more often, another number would be told.
                self.refuse_if_short()?;
                return Err(too_many(found));
            }
            selected => selected?,
        };
        if self.cancel.is_if_short() {
            let samples: usize = series.iter().flat_map(Series::parts).map(Part::samples).sum();
            if samples > SHORT_SAMPLES || series.iter().any(|series| series.parts().len() > SHORT_PARTS) {
                return Err(QueryError::NotShort);
            }
        }
        self.snapshot.damage().for_each(|text| self.warn(text));
        if series.len() as u64 > limit {
            return Err(too_many(series.len() as u64));
        }
        self.usage.add_series(series.len() as u64, started.elapsed());
        let bytes: usize = series.iter().map(Series::memory_bytes).sum();
        self.check_memory(self.usage.add_bytes(bytes as u64))?;
        Ok(series)
    }

    /// Counts samples that were read in place of those that a buffer held.
    pub(super) fn charge_samples(&self, held: &mut HeldSamples, count: usize) -> Result<()> {
        self.check_samples(self.usage.add_samples(held, count as u64))
    }

    /// A node that began at `mark` ends with these rows.
    pub(super) fn end_node(&self, mark: Mark, node: NodeId, rows: &[Row]) -> Result<()> {
        self.check_samples(self.usage.end(mark, node, rows))
    }

    fn check_samples(&self, got: u64) -> Result<()> {
        let limit = self.limits.query_samples_max;
        if got > limit {
            return Err(QueryError::Limit { name: "query_samples_max", limit, got });
        }
        Ok(())
    }

    /// Counts cells before memory is taken for them.
    pub(super) fn charge_points(&self, rows: usize, steps: usize) -> Result<()> {
        self.check_memory(self.usage.add_cells((rows as u64).saturating_mul(steps as u64)))
    }

    /// Counts memory of the running node that is not of rows.
    pub(super) fn charge_bytes(&self, bytes: usize) -> Result<()> {
        self.check_memory(self.usage.add_bytes(bytes as u64))
    }

    /// Counts memory that is only freed when the query ends.
    pub(super) fn charge_kept_bytes(&self, bytes: usize) -> Result<()> {
        self.check_memory(self.usage.keep_bytes(bytes as u64))
    }

    /// Counts points of the answer before it is made.
    pub(super) fn charge_result(&self, points: usize) -> Result<()> {
        let got = self.usage.add_result_points(points as u64);
        if got > SHORT_RESULT_POINTS {
            self.refuse_if_short()?;
        }
        let limit = self.limits.result_points_max;
        if got > limit {
            return Err(QueryError::Limit { name: "result_points_max", limit, got });
        }
        // Each has a time and a value, of which the value is there already.
        self.check_memory(self.usage.add_bytes((points * size_of::<i64>()) as u64))
    }

    /// Ends a query that only goes on as long as it is short.
    pub(super) fn refuse_if_short(&self) -> Result<()> {
        if self.cancel.is_if_short() { Err(QueryError::NotShort) } else { Ok(()) }
    }

    fn check_memory(&self, got: u64) -> Result<()> {
        if got > SHORT_BYTES {
            self.refuse_if_short()?;
        }
        Ok(self.usage.charge(got)?)
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
        let Reads { samples, series, .. } = self.usage.reads();
        let (points_peak, memory_bytes_peak) = (self.usage.cells_peak(), self.usage.bytes_peak());
        QueryStats { samples, series, points_peak, memory_bytes_peak }
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
        assert!((0..20).all(|at| matches!(clone.check_series(at), Err(QueryError::Canceled))));
        let late = Cancel::new().with_timeout(Duration::ZERO).with_timeout(Duration::from_secs(3600));
        assert!(matches!(late.check(), Err(QueryError::Timeout)));
        assert!(matches!(late.check_series(0), Err(QueryError::Timeout)));
        let short = Cancel { short: Some(Short::over()), ..Cancel::new() };
        let short = short.with_timeout(Duration::from_secs(3600));
        assert!((0..20).all(|at| matches!(short.check_series(at), Err(QueryError::NotShort))));
        short.cancel();
        assert!(matches!(short.check(), Err(QueryError::Canceled)));
    }
}
