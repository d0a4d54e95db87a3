//! What an evaluation uses: memory and samples against the limits, and for a profile what each plan node took.
//!
//! Nodes are evaluated one after the other, each on all threads, so what was held when a node began and what it returned is all
//! that is held when it ends. The profile is only kept when somebody asks for it.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use timberline_engine::{Budget, Held};

use super::row::Row;
use crate::explain::Reads;

pub(super) const CELL_BYTES: u64 = size_of::<f64>() as u64;

/// So many cells of a node's rows count as samples, whether they have one or not.
const CELLS_UNSEEN: u64 = 1 << 16;

/// An amount that rises and falls, and the most that it was.
#[derive(Debug, Default)]
struct Level {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Level {
    /// The level with `amount` more. A refused amount stops the query, so it may stay as it is.
    fn add(&self, amount: u64) -> u64 {
        // Far from an overflow, and far above all limits that are not "none".
        let amount = amount.min(u64::MAX >> 16);
        let now = self.now.fetch_add(amount, Relaxed).saturating_add(amount);
        self.peak.fetch_max(now, Relaxed);
        now
    }

    fn set(&self, amount: u64) {
        self.now.store(amount, Relaxed);
        self.peak.fetch_max(amount, Relaxed);
    }
}

/// A budget is asked for so much at a time.
const STEP_BYTES: u64 = 256 << 10;

/// Counters of one evaluation.
#[derive(Debug)]
pub(super) struct Usage {
    /// What the memory in use is charged to, and how much of it is.
    charged: Mutex<Held>,
    charged_bytes: AtomicU64,
    /// Bytes that nodes hold: rows, selected series.
    held: Level,
    /// Cells of the rows among them.
    cells: Level,
    /// Bytes that stay until the query ends: its native histograms.
    kept_bytes: AtomicU64,
    /// Samples that are held: decoded ones of the series that threads are at, and points of rows.
    held_samples: AtomicU64,
    samples: AtomicU64,
    series: AtomicU64,
    encoded_bytes: AtomicU64,
    condensed_chunks: AtomicU64,
    result_points: AtomicU64,
    select_nanoseconds: AtomicU64,
    profile: Option<Mutex<HashMap<NodeId, Spent>>>,
}

/// What one node took, with all below it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) runs: u64,
    pub(super) time: Duration,
    /// Rows that it gave.
    pub(super) rows: u64,
    pub(super) reads: Reads,
}

/// How many samples a thread's buffer holds, of one series after the other.
#[derive(Debug, Default)]
pub(super) struct HeldSamples(u64);

/// The counters when a node began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    held: u64,
    cells: u64,
    held_samples: u64,
    started: Option<(Instant, Reads)>,
}

impl Usage {
    pub(super) fn new(budget: &Arc<Budget>, with_profile: bool) -> Self {
        Self {
            charged: Mutex::new(budget.hold()),
            charged_bytes: AtomicU64::new(0),
            held: Level::default(),
            cells: Level::default(),
            kept_bytes: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            held_samples: AtomicU64::new(0),
            series: AtomicU64::new(0),
            encoded_bytes: AtomicU64::new(0),
            condensed_chunks: AtomicU64::new(0),
            result_points: AtomicU64::new(0),
            select_nanoseconds: AtomicU64::new(0),
            profile: with_profile.then(Mutex::default),
        }
    }

    /// Charges the memory in use, which is `bytes` now, to the budget: in steps, so that most calls cost a comparison.
    pub(super) fn charge(&self, bytes: u64) -> timberline_engine::Result<()> {
        if bytes <= self.charged_bytes.load(Relaxed) {
            return Ok(());
        }
        let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
        let all = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let in_steps = bytes.div_ceil(STEP_BYTES).saturating_mul(STEP_BYTES);
        charged.grow(all(in_steps)).or_else(|_| charged.grow(all(bytes)))?;
        self.charged_bytes.store(charged.bytes() as u64, Relaxed);
        Ok(())
    }

    /// Gives back what is charged beyond the memory in use.
    fn discharge(&self) {
        let bytes = self.held.now.load(Relaxed).saturating_add(self.kept_bytes.load(Relaxed));
        if bytes.saturating_add(STEP_BYTES) < self.charged_bytes.load(Relaxed) {
            let mut charged = self.charged.lock().unwrap_or_else(PoisonError::into_inner);
            charged.shrink(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.charged_bytes.store(charged.bytes() as u64, Relaxed);
        }
    }

    pub(super) fn has_profile(&self) -> bool {
        self.profile.is_some()
    }

    /// Adds cells of rows; gives the bytes of memory in use.
    pub(super) fn add_cells(&self, cells: u64) -> u64 {
        self.cells.add(cells);
        self.add_bytes(cells.saturating_mul(CELL_BYTES))
    }

    /// Adds bytes that the running node holds; gives those in use.
    pub(super) fn add_bytes(&self, bytes: u64) -> u64 {
        self.held.add(bytes).saturating_add(self.kept_bytes.load(Relaxed))
    }

    /// Adds bytes that stay; gives those in use.
    pub(super) fn keep_bytes(&self, bytes: u64) -> u64 {
        let kept = self.kept_bytes.fetch_add(bytes, Relaxed) + bytes;
        kept.saturating_add(self.held.now.load(Relaxed))
    }

    /// Counts samples that were read in place of those that a buffer held; gives all that are held.
    pub(super) fn add_samples(&self, held: &mut HeldSamples, count: u64) -> u64 {
        self.samples.fetch_add(count, Relaxed);
        let more = count.wrapping_sub(std::mem::replace(&mut held.0, count));
        self.held_samples.fetch_add(more, Relaxed).wrapping_add(more)
    }

    /// Counts points of the answer; gives all so far.
    pub(super) fn add_result_points(&self, count: u64) -> u64 {
        self.result_points.fetch_add(count, Relaxed) + count
    }

    pub(super) fn add_condensed_chunks(&self, count: u64) {
        self.condensed_chunks.fetch_add(count, Relaxed);
    }

    pub(super) fn add_encoded_bytes(&self, bytes: u64) {
        self.encoded_bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts series that a selector found in `time`.
    pub(super) fn add_series(&self, count: u64, time: Duration) {
        self.series.fetch_add(count, Relaxed);
        self.select_nanoseconds.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn reads(&self) -> Reads {
        Reads {
            series: self.series.load(Relaxed),
            samples: self.samples.load(Relaxed),
            encoded_bytes: self.encoded_bytes.load(Relaxed),
            condensed_chunks: self.condensed_chunks.load(Relaxed),
        }
    }

    /// Time spent finding series.
    pub(super) fn select_time(&self) -> Duration {
        Duration::from_nanos(self.select_nanoseconds.load(Relaxed))
    }

    pub(super) fn cells_peak(&self) -> u64 {
        self.cells.peak.load(Relaxed)
    }

    pub(super) fn bytes_peak(&self) -> u64 {
        self.held.peak.load(Relaxed).saturating_add(self.kept_bytes.load(Relaxed))
    }

    /// A node begins.
    pub(super) fn begin(&self) -> Mark {
        let started = self.has_profile().then(|| (Instant::now(), self.reads()));
        let held_samples = self.held_samples.load(Relaxed);
        Mark { held: self.held.now.load(Relaxed), cells: self.cells.now.load(Relaxed), held_samples, started }
    }

    /// A node ends with these rows, and holds nothing else; gives the samples that are held.
    pub(super) fn end(&self, mark: Mark, node: NodeId, rows: &[Row]) -> u64 {
        let cells: u64 = rows.iter().map(|row| row.values.len() as u64).sum();
        self.cells.set(mark.cells.saturating_add(cells));
        self.held.set(mark.held.saturating_add(cells.saturating_mul(CELL_BYTES)));
        self.discharge();
        self.record(mark, node, rows.len());
        // Few cells are not worth a look whether they have a sample.
        let points = if cells <= CELLS_UNSEEN { cells } else { rows.iter().map(Row::points).sum() };
        let held = mark.held_samples.saturating_add(points);
        self.held_samples.store(held, Relaxed);
        held
    }

    /// Puts down what a node took since `mark`.
    pub(super) fn record(&self, mark: Mark, node: NodeId, rows: usize) {
        let (Some(profile), Some((started, before))) = (&self.profile, mark.started) else { return };
        let mut profile = profile.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = profile.entry(node).or_default();
        spent.runs += 1;
        spent.time += started.elapsed();
        spent.rows += rows as u64;
        spent.reads = spent.reads.plus(self.reads().minus(before));
    }

    /// What the node took; `None` when it was not evaluated by itself.
    pub(super) fn spent(&self, node: NodeId) -> Option<Spent> {
        let profile = self.profile.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        profile.get(&node).copied()
    }
}

/// What a node is known by in the profile: plans do not move while they are evaluated. A part of a node may have its address, but not
/// its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize, TypeId);

pub(super) fn node_id<T: 'static>(plan: &T) -> NodeId {
    NodeId(std::ptr::from_ref(plan).addr(), TypeId::of::<T>())
}

#[cfg(test)]
mod tests {
    use timberline_engine::Labels;

    use super::super::row::ABSENT;
    use super::*;

    #[test]
    fn a_node_that_ends_holds_its_rows_only() {
        let usage = Usage::new(&Budget::unlimited(), true);
        let nodes = [1, 2, 3];
        let (outer, inner) = (usage.begin(), usage.begin());
        assert_eq!(usage.add_cells(100), 800);
        let row = Row { labels: Labels::empty(), drop_name: false, values: vec![0.0; 10] };
        assert_eq!(usage.end(inner, node_id(&nodes[0]), std::slice::from_ref(&row)), 10);
        assert_eq!(usage.add_bytes(0), 80);
        assert_eq!(usage.keep_bytes(1000), 1080);
        usage.end(outer, node_id(&nodes[1]), &[]);
        assert_eq!(usage.add_bytes(0), 1000);
        assert_eq!((usage.cells_peak(), usage.bytes_peak()), (100, 1800));
        assert_eq!(usage.spent(node_id(&nodes[0])).map(|spent| (spent.runs, spent.rows)), Some((1, 1)));
        assert!(usage.spent(node_id(&nodes[2])).is_none());
    }

    #[test]
    fn samples_count_while_they_are_held() {
        let usage = Usage::new(&Budget::unlimited(), false);
        let (mut one, mut other) = (HeldSamples::default(), HeldSamples::default());
        let mark = usage.begin();
        let held: Vec<u64> = [100, 300, 50].map(|count| usage.add_samples(&mut one, count)).into();
        assert_eq!(held, [100, 300, 50]);
        assert_eq!(usage.add_samples(&mut other, 7), 57);
        let absent = Row { labels: Labels::empty(), drop_name: false, values: vec![ABSENT; 1 << 20] };
        let mut present = absent.clone();
        present.values[3..6].fill(1.0);
        assert_eq!(usage.end(mark, node_id(&1), &[absent, present]), 3);
        assert_eq!(usage.reads().samples, 457);
    }

    #[test]
    fn memory_in_use_is_charged_in_steps_and_given_back_when_a_node_ends() {
        let budget = Budget::new("bytes_max", 3 * STEP_BYTES as usize + 8);
        let usage = Usage::new(&budget, false);
        let (node, mark) = (1, usage.begin());
        usage.charge(usage.add_bytes(8)).unwrap();
        assert_eq!(budget.held() as u64, STEP_BYTES);
        usage.charge(usage.add_bytes(3 * STEP_BYTES)).unwrap();
        assert_eq!(budget.held() as u64, 3 * STEP_BYTES + 8);
        assert!(usage.charge(usage.add_bytes(1)).is_err());
        usage.end(mark, node_id(&node), &[]);
        assert_eq!(budget.held(), 0);
        usage.charge(usage.keep_bytes(1)).unwrap();
        assert_eq!(budget.held() as u64, STEP_BYTES);
        drop(usage);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn without_a_profile_nothing_is_put_down() {
        let usage = Usage::new(&Budget::unlimited(), false);
        let (node, mark) = (1, usage.begin());
        usage.end(mark, node_id(&node), &[]);
        assert!(usage.spent(node_id(&node)).is_none());
        assert_eq!(usage.add_cells(u64::MAX), CELL_BYTES.saturating_mul(u64::MAX).min(u64::MAX >> 16));
    }
}
