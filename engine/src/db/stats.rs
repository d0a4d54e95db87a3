//! Counters and sizes of an open database.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Core;
use crate::head::Head;
use crate::wal::{ReplayReport, SyncTimes, segment_numbers, segment_path};

/// Counters and sizes, for a metrics page. Counters start at zero when the database is opened.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Series of the active head.
    pub head_series: u64,
    /// Series that began in a head. One that stops and comes back in a later head counts again.
    pub series_created_total: u64,
    /// Samples of all heads.
    pub head_samples: u64,
    /// Bytes of memory that the heads take, roughly.
    pub head_bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Blocks that are listed but could not be read.
    pub blocks_unreadable: u64,
    /// The oldest timestamp of all samples, those that are deleted and not yet cleaned up among them; `None` when there are no
    /// samples.
    pub oldest_sample_ns: Option<i64>,
    /// Samples in blocks.
    pub block_samples: u64,
    /// Series in blocks; one that is in several counts several times.
    pub block_series: u64,
    /// Bytes of the blocks on disk.
    pub block_bytes: u64,
    /// Bytes of the log on disk, with what is preallocated.
    pub wal_bytes: u64,
    /// Segments of the log on disk.
    pub wal_segments: u64,
    /// Bytes written to the log.
    pub wal_written_bytes_total: u64,
    /// How long syncs of the log took.
    pub wal_syncs: SyncTimes,
    /// Damaged places that the replay found.
    pub wal_corruptions_total: u64,
    /// Samples committed.
    pub samples_appended_total: u64,
    /// Samples that came out of order, those that were replayed among them.
    pub out_of_order_samples_total: u64,
    /// Samples in blocks that are deleted and not yet cleaned up, estimated.
    pub block_deleted_samples: u64,
    /// Deletes.
    pub deletes_total: u64,
    /// Blocks that were dropped because they were older than the retention.
    pub expired_blocks_total: u64,
    /// Samples in them.
    pub expired_samples_total: u64,
    /// What the clock shows by which samples expire, nanoseconds since the epoch.
    pub retention_clock_ns: i64,
    /// How far the machine's clock is ahead of that, nanoseconds; negative when it is behind.
    pub retention_clock_behind_ns: i64,
    /// What to say of that: when samples expire, and the two are so far apart that one of them is probably wrong.
    pub retention_clock_warning: Option<String>,
    /// Heads that became blocks.
    pub flushes_total: u64,
    /// Steps of compaction.
    pub compactions_total: u64,
    /// Steps of compaction that failed.
    pub compaction_failures_total: u64,
    /// Why writes are refused, when they are, and what to do: a write to disk failed, or the heads cannot be sealed as fast as
    /// they fill.
    pub writes_refused: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    appended: AtomicU64,
    /// Samples that came out of order to heads that are blocks by now.
    out_of_order: AtomicU64,
    flushes: AtomicU64,
    deletes: AtomicU64,
    expired_blocks: AtomicU64,
    expired_samples: AtomicU64,
    compactions: AtomicU64,
    compaction_failures: AtomicU64,
    wal_corruptions: u64,
}

impl Counters {
    pub(super) fn new(report: &ReplayReport) -> Self {
        Self { wal_corruptions: report.corruptions.len() as u64, ..Self::default() }
    }

    pub(super) fn appended(&self, samples: u64) {
        self.appended.fetch_add(samples, Ordering::Relaxed);
    }

    /// Takes over what a head counted. The caller holds `view`, so that no reader counts the head twice, or not at all.
    pub(super) fn published(&self, head: &Head) {
        self.out_of_order.fetch_add(head.stats().out_of_order, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn deleted(&self) {
        self.deletes.fetch_add(1, Ordering::Relaxed);
    }

    /// A block with so many samples was dropped for its age.
    pub(super) fn expired(&self, samples: u64) {
        self.expired_blocks.fetch_add(1, Ordering::Relaxed);
        self.expired_samples.fetch_add(samples, Ordering::Relaxed);
    }

    pub(super) fn compacted(&self, succeeded: bool) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.compaction_failures.fetch_add(u64::from(!succeeded), Ordering::Relaxed);
    }
}

impl Core {
    pub(super) fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (view, out_of_order) = {
            let view = self.view.read();
            (view.clone(), get(&self.counters.out_of_order))
        };
        let (wal, times) = (self.wal.stats(), self.clock.times());
        let segments = segment_numbers(&*self.directory).unwrap_or_default();
        let segment_bytes = |number: &u64| self.directory.len(&segment_path(*number)).unwrap_or_default();
        let mut stats = Stats {
            head_series: view.active.stats().series,
            series_created_total: self.admission.created(),
            blocks: view.blocks.len() as u64,
            blocks_unreadable: view.unreadable.len() as u64,
            wal_bytes: segments.iter().map(segment_bytes).sum(),
            wal_segments: segments.len() as u64,
            wal_written_bytes_total: wal.bytes,
            wal_syncs: wal.syncs,
            wal_corruptions_total: self.counters.wal_corruptions,
            samples_appended_total: get(&self.counters.appended),
            flushes_total: get(&self.counters.flushes),
            deletes_total: get(&self.counters.deletes),
            expired_blocks_total: get(&self.counters.expired_blocks),
            expired_samples_total: get(&self.counters.expired_samples),
            retention_clock_ns: times.kept_ns,
            retention_clock_behind_ns: times.ahead_ns(),
            retention_clock_warning: self.clock_warning(times),
            compactions_total: get(&self.counters.compactions),
            compaction_failures_total: get(&self.counters.compaction_failures),
            out_of_order_samples_total: out_of_order,
            writes_refused: self.writes_refused(),
            ..Stats::default()
        };
        let mut oldest = i64::MAX;
        for head in view.sealed.iter().map(|sealed| &sealed.head).chain([&view.active]) {
            let head = head.stats();
            stats.head_samples += head.samples;
            stats.head_bytes += head.bytes;
            stats.out_of_order_samples_total += head.out_of_order;
            oldest = oldest.min(head.oldest);
        }
        for block in &view.blocks {
            oldest = oldest.min(block.meta().range.start);
            stats.block_samples += block.meta().samples;
            stats.block_series += block.meta().series;
            stats.block_bytes += block.bytes();
            stats.block_deleted_samples += block.tombstones().map_or(0, |tombstones| tombstones.samples());
        }
        let samples = stats.head_samples + stats.block_samples;
        stats.oldest_sample_ns = (samples > 0).then_some(oldest);
        stats
    }
}
