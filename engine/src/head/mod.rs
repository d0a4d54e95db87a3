//! The head: the newest samples, in memory and in the WAL, until they are sealed into blocks.
//!
//! A row travels: key → places of its series ([`keys`]) → batch → WAL → its group's buffer ([`group`]) → chunk. Series,
//! postings and groups are split into shards by the labels without the metric name, so that the fields of one line stay
//! together. Rows are applied shard by shard in the order of the log (a [`turnstile`] for each shard), so what readers
//! see is what a replay would give.
//!
//! Lock order: key shard → layouts; key shard → shard → log queue; tickets → log queue; turnstile → shard. A reader holds
//! one shard's lock at a time.

mod group;
mod keys;
mod shard;
mod symbols;
mod turnstile;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use parking_lot::{Mutex, RwLock};

pub use group::GroupChunk;

use crate::error::{Error, Result};
use crate::labels::{Labels, METRIC_NAME};
use crate::matcher::Matcher;
use crate::rows::Row;
use crate::samples::Samples;
use crate::time::TimeRange;
use crate::wal::{
    GROUP_WIDTH_MAX, GroupDefinition, GroupId, PAYLOAD_BYTES_MAX, Replay, Rows, Wal, encode_batch,
};
use keys::{KeyTable, Places, Slot};
use shard::Shard;
use turnstile::Turnstile;

/// The hash that all tables of the head use. A fixed seed keeps runs repeatable.
fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// One series of the head with what it has inside the selected range.
#[derive(Clone, Debug)]
pub struct HeadSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its column in each chunk.
    pub column: usize,
    /// Encoded samples, oldest write first.
    pub chunks: Vec<Arc<GroupChunk>>,
    /// Samples that are not encoded yet, written after all of `chunks`.
    pub buffered: Option<Arc<Samples>>,
}

/// Rows that are placed but not yet logged, split by shard.
#[derive(Debug, Default)]
pub struct Batch {
    shards: [Rows; GroupId::SHARDS],
    /// The cells of the row that is being placed.
    cells: Vec<(Slot, f64)>,
    samples: usize,
    /// The most that the batch can take in the log.
    bytes: usize,
}

/// A batch takes at most this many bytes in the log.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// Group, timestamp, width and position of a row take at most this many bytes in the log, its bitmap apart.
const ROW_BYTES_MAX: usize = 5 + 10 + 3 + 5;
const _: () = assert!(BATCH_BYTES_MAX + (64 << 10) < PAYLOAD_BYTES_MAX, "a full batch fits one record");

/// Rows that are applied before readers get a turn.
const APPLY_ROWS_MAX: usize = 4096;

impl Batch {
    /// How many samples the batch holds.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(Rows::is_empty)
    }
}

/// Sizes and counts of a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadStats {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Samples that came with a timestamp not above the newest of their group's buffer.
    pub out_of_order: u64,
    /// Bytes of memory for samples, keys and index, roughly.
    pub bytes: u64,
}

/// The newest samples. Everything in it is also in the log segments of its generation.
#[derive(Debug)]
pub struct Head {
    generation: u64,
    keys: KeyTable,
    shards: [RwLock<Shard>; GroupId::SHARDS],
    turnstiles: [Turnstile; GroupId::SHARDS],
    /// The next ticket of each shard; held while a batch takes its place in the log.
    tickets: Mutex<[u64; GroupId::SHARDS]>,
    samples: AtomicU64,
    out_of_order: AtomicU64,
    sample_bytes: AtomicI64,
}

impl Head {
    /// An empty head.
    #[must_use]
    pub fn new(generation: u64) -> Self {
        Self {
            generation,
            keys: KeyTable::default(),
            shards: Default::default(),
            turnstiles: Default::default(),
            tickets: Mutex::default(),
            samples: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            sample_bytes: AtomicI64::new(0),
        }
    }

    /// Which head of the log this is.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds a row to a batch, defining in the log what series are new. `resolve` gives the labels for a field name.
    ///
    /// # Errors
    /// What `resolve` returns; [`Error::WritesRefused`]; [`Error::Limit`] when the batch is full. The batch is then as it
    /// was before.
    #[inline]
    pub fn place(
        &self,
        wal: &Wal,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels>,
        batch: &mut Batch,
    ) -> Result<()> {
        let hash = hash_bytes(row.key);
        batch.reserve(row.fields.len())?;
        while !self.place_known(hash, row, batch) {
            self.learn(wal, hash, row, &mut resolve)?;
        }
        batch.samples += row.fields.len();
        Ok(())
    }

    /// Adds a row whose key and fields are all known; false when they are not.
    #[inline]
    fn place_known(&self, hash: u64, row: Row<'_>, batch: &mut Batch) -> bool {
        let keys = self.keys.read(hash);
        let Some(entry) = keys.get(hash, row.key) else { return false };
        if let Places::Group(group) = &entry.fields
            && entry.layout.is(row.fields)
        {
            let values = row.fields.iter().map(|field| field.value);
            batch.shards[group.shard()].push(*group, row.timestamp, values);
            return true;
        }
        batch.cells.clear();
        let mut expected = 0;
        for field in row.fields {
            let Some(at) = entry.layout.position(field.name, expected) else { return false };
            batch.cells.push((entry.slot(at), field.value));
            expected = at + 1;
        }
        batch.place_cells(row.timestamp);
        true
    }

    /// Learns the fields of a key that are not known yet.
    #[cold]
    fn learn(
        &self,
        wal: &Wal,
        hash: u64,
        row: Row<'_>,
        resolve: &mut dyn FnMut(&[u8]) -> Result<Labels>,
    ) -> Result<()> {
        let mut keys = self.keys.write(hash);
        let mut fields = keys.get(hash, row.key).map(keys::KeyEntry::all).unwrap_or_default();
        let mut seen: HashSet<&[u8], FixedState> = HashSet::default();
        seen.extend(fields.iter().map(|(name, _)| &**name));
        let mut unknown: Vec<(&[u8], Labels)> = Vec::new();
        for field in row.fields {
            if field.name.len() > usize::from(u16::MAX) {
                let (limit, got) = (u16::MAX.into(), field.name.len() as u64);
                return Err(Error::Limit { name: "bytes of a field name", limit, got });
            }
            if seen.insert(field.name) {
                unknown.push((field.name, resolve(field.name)?));
            }
        }
        drop(seen);
        for columns in unknown.chunk_by(|a, b| shard_of(&a.1) == shard_of(&b.1)) {
            for columns in columns.chunks(GROUP_WIDTH_MAX) {
                let labels: Vec<Labels> = columns.iter().map(|(_, labels)| labels.clone()).collect();
                let slots = self.slots(wal, &labels)?;
                fields.extend(columns.iter().zip(slots).map(|((name, _), slot)| ((*name).into(), slot)));
            }
        }
        self.keys.set(&mut keys, hash, row.key, &fields);
        Ok(())
    }

    /// The places of series that share a shard; those that are new become one group.
    fn slots(&self, wal: &Wal, labels: &[Labels]) -> Result<Vec<Slot>> {
        let Some(first) = labels.first() else { return Ok(Vec::new()) };
        let number = shard_of(first);
        let mut shard = self.shards[number].write();
        let mut missing: Vec<Labels> = Vec::new();
        for labels in labels {
            if shard.find(labels).is_none() && !missing.contains(labels) {
                missing.push(labels.clone());
            }
        }
        let full = || Error::Limit { name: "groups per shard", limit: 1 << 28, got: 1 << 28 };
        if !missing.is_empty() {
            let group = GroupId::new(number, shard.groups()).ok_or_else(full)?;
            let definition = GroupDefinition { group, series: missing };
            // In the log before it is in the shard: no row can refer to the group before its definition.
            wal.define(&definition)?;
            shard.define(&definition.series);
        }
        let slot = |labels: &Labels| {
            let place = shard.find(labels)?;
            let group = GroupId::new(number, place.group)?;
            Some(Slot { group, column: place.column, width: place.width })
        };
        labels.iter().map(|labels| slot(labels).ok_or_else(full)).collect()
    }

    /// Log, apply, publish: writes the batch to the log, waits until it is safe, and makes it visible.
    ///
    /// # Errors
    /// [`Error::WritesRefused`] when the log failed. Nothing of the batch is visible then.
    pub fn commit(&self, wal: &Wal, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let payload = encode_batch(&batch.shards);
        let mut tickets = [0; GroupId::SHARDS];
        let logged = {
            let mut next = self.tickets.lock();
            let logged = wal.log(payload)?;
            for (shard, rows) in batch.shards.iter().enumerate() {
                tickets[shard] = next[shard];
                next[shard] += u64::from(!rows.is_empty());
            }
            logged
        };
        let safe = wal.wait(logged);
        for (shard, rows) in batch.shards.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            // A batch that the log lost passes as well, or those behind it would wait for ever.
            self.turnstiles[shard]
                .pass(tickets[shard], || if safe.is_ok() { self.apply(shard, rows) } else { 0 });
        }
        safe
    }

    /// Adds rows to a shard, some at a time so that readers are not kept waiting; returns how many samples belong to
    /// groups that are not defined.
    fn apply(&self, shard: usize, rows: &Rows) -> u64 {
        let mut rows = rows.iter().peekable();
        let mut orphaned = 0;
        while rows.peek().is_some() {
            let applied = self.shards[shard].write().apply(rows.by_ref().take(APPLY_ROWS_MAX));
            self.samples.fetch_add(applied.samples, Ordering::Relaxed);
            self.out_of_order.fetch_add(applied.out_of_order, Ordering::Relaxed);
            self.sample_bytes.fetch_add(applied.bytes as i64, Ordering::Relaxed);
            orphaned += applied.orphaned;
        }
        orphaned
    }

    /// The series that satisfy all matchers and have something near `range`; in no order.
    ///
    /// # Errors
    /// None; the result is that of all sources of series.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<HeadSeries>> {
        let mut found = Vec::new();
        self.shards.iter().try_for_each(|shard| shard.read().select(matchers, range, &mut found))?;
        Ok(found)
    }

    /// The labels of these series; in no order.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn labels(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>> {
        let mut found = Vec::new();
        self.shards.iter().try_for_each(|shard| shard.read().labels(matchers, range, &mut found))?;
        Ok(found)
    }

    /// Adds the label names of these series.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        out: &mut BTreeSet<String>,
    ) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.read().label_names(matchers, range, out))
    }

    /// Adds the values of a label among these series.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        out: &mut BTreeSet<String>,
    ) -> Result<()> {
        self.shards.iter().try_for_each(|shard| shard.read().label_values(name, matchers, range, out))
    }

    /// The time range of all samples; empty when there are none.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        let empty = TimeRange::new(i64::MAX, i64::MIN);
        self.shards.iter().fold(empty, |range, shard| range.union(shard.read().range()))
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.load(Ordering::Relaxed) == 0
    }

    /// Bytes of memory for samples alone.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        usize::try_from(self.sample_bytes.load(Ordering::Relaxed)).unwrap_or_default()
    }

    /// Sizes and counts.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        let (series, index_bytes) = self.shards.iter().fold((0, 0), |(series, bytes), shard| {
            let shard = shard.read();
            (series + shard.series(), bytes + shard.index_bytes())
        });
        HeadStats {
            series: series as u64,
            samples: self.samples.load(Ordering::Relaxed),
            out_of_order: self.out_of_order.load(Ordering::Relaxed),
            bytes: (self.sample_bytes() + index_bytes + self.keys.heap_bytes()) as u64,
        }
    }
}

impl Replay for Head {
    fn define(&self, definition: &GroupDefinition) -> Result<(), &'static str> {
        let group = definition.group;
        self.shards[group.shard()].write().define_at(group.index(), &definition.series)
    }

    fn rows(&self, rows: &Rows) -> u64 {
        rows.groups.first().map_or(0, |group| self.apply(group.shard(), rows))
    }
}

impl Batch {
    /// Makes sure that a row with this many fields fits.
    #[inline]
    fn reserve(&mut self, fields: usize) -> Result<()> {
        let bytes = self.bytes + ROW_BYTES_MAX + fields * (size_of::<f64>() + 1) + GROUP_WIDTH_MAX / 8;
        if bytes > BATCH_BYTES_MAX {
            let (limit, got) = (BATCH_BYTES_MAX as u64, bytes as u64);
            return Err(Error::Limit { name: "bytes of a batch", limit, got });
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Turns cells into rows, one for each group.
    fn place_cells(&mut self, timestamp: i64) {
        // Stable, so that of two values for one field the later stays the later.
        self.cells.sort_by_key(|(slot, _)| (slot.group, slot.column));
        self.cells.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        for cells in self.cells.chunk_by(|a, b| a.0.group == b.0.group) {
            let Slot { group, width, .. } = cells[0].0;
            let rows = &mut self.shards[group.shard()];
            let width = usize::from(width);
            if cells.len() == width {
                rows.push(group, timestamp, cells.iter().map(|(_, value)| *value));
            } else {
                let cells = cells.iter().map(|(slot, value)| (usize::from(slot.column), *value));
                rows.push_sparse(group, timestamp, width, cells);
            }
        }
    }
}

/// The shard of a series: by all labels but the metric name.
fn shard_of(labels: &Labels) -> usize {
    let mut hasher = FixedState::default().build_hasher();
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        hasher.write(name.as_bytes());
        hasher.write_u8(0xff);
        hasher.write(value.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish() as usize % GroupId::SHARDS
}
