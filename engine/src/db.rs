//! skeleton: signatures are final, bodies are being written.
#![allow(unused_variables, missing_docs, clippy::all, reason = "skeleton")]
use crate::*;
use std::path::Path;
use std::sync::Arc;

/// An open database.
#[derive(Debug)]
pub struct Db {}
/// What a flush did.
#[derive(Clone, Debug, Default)]
pub struct FlushReport { pub blocks: usize, pub samples: u64 }
/// What compaction did.
#[derive(Clone, Debug, Default)]
pub struct CompactionReport { pub merged: usize, pub created: usize, pub expired: usize }
/// Counters and sizes, for `/metrics` and the demo's status line.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub head_series: u64, pub head_samples: u64, pub head_bytes: u64,
    pub blocks: u64, pub block_samples: u64, pub block_series: u64, pub block_bytes: u64,
    pub wal_bytes: u64, pub wal_segments: u64, pub wal_syncs_total: u64, pub wal_sync_seconds_total: f64,
    pub samples_appended_total: u64, pub out_of_order_samples_total: u64, pub series_created_total: u64,
    pub compactions_total: u64, pub compaction_failures_total: u64, pub flushes_total: u64,
    /// Whether writes are refused since a write to disk failed.
    pub writes_refused: bool,
}

impl Db {
    /// Opens (or creates) the database in a directory of the real file system.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> { unimplemented!() }
    pub fn open_in(directory: Arc<dyn Directory>, options: Options) -> Result<Self> { unimplemented!() }
    /// Starts a batch.
    pub fn appender(&self) -> Result<Appender<'_>> { unimplemented!() }
    pub fn snapshot(&self) -> Snapshot { unimplemented!() }
    pub fn flush(&self) -> Result<FlushReport> { unimplemented!() }
    pub fn compact(&self) -> Result<CompactionReport> { unimplemented!() }
    pub fn stats(&self) -> Stats { unimplemented!() }
    /// Seals the head into blocks, so that nothing is left to replay, and stops the background threads. Later calls fail with `Closed`.
    pub fn close(&self) -> Result<()> { unimplemented!() }
}

/// One field of a row. The name is opaque to the engine: raw bytes as the protocol has them.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> { pub name: &'a [u8], pub value: f64 }
/// Values that share a timestamp and a key: one line of line protocol.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> { pub key: &'a [u8], pub timestamp: i64, pub fields: &'a [Field<'a>] }

/// One batch: nothing of it is durable or visible before `commit` returns.
#[derive(Debug)]
pub struct Appender<'db> { _db: &'db Db }
impl Appender<'_> {
    /// Adds a row. `resolve` is asked for the labels of a (key, field name) that the head does not know yet;
    /// its error stops this row only (nothing of it is added).
    pub fn row(&mut self, row: Row<'_>, resolve: impl FnMut(&[u8]) -> Result<Labels>) -> Result<()> { unimplemented!() }
    /// Adds samples of one series.
    pub fn series(&mut self, labels: &Labels, samples: impl IntoIterator<Item = (i64, f64)>) -> Result<()> { unimplemented!() }
    /// Samples in the batch so far.
    pub fn samples(&self) -> usize { unimplemented!() }
    /// Logs, syncs, applies; returns the number of samples. Dropping the appender instead forgets the batch.
    pub fn commit(self) -> Result<usize> { unimplemented!() }
}

/// One immutable view of head and blocks. Cheap to take; keeps what it sees alive.
#[derive(Clone, Debug)]
pub struct Snapshot {}
impl Snapshot {
    /// The series that satisfy all matchers and have a chunk that touches `range`, sorted by labels.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Series>> { unimplemented!() }
    /// The labels alone; sorted.
    pub fn series_labels(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>> { unimplemented!() }
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> { unimplemented!() }
    pub fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>> { unimplemented!() }
    /// The time range of all stored samples, `None` when there are none.
    pub fn time_range(&self) -> Option<TimeRange> { unimplemented!() }
}

/// One selected series.
#[derive(Clone, Debug)]
pub struct Series {}
impl Series {
    pub fn labels(&self) -> &Labels { unimplemented!() }
    /// Replaces what is in `out` by the samples inside the selected range: timestamps ascending and unique, the last write winning.
    pub fn read(&self, out: &mut Samples) -> Result<()> { unimplemented!() }
}

/// Two columns of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples { pub timestamps: Vec<i64>, pub values: Vec<f64> }
