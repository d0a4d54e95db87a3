//! The head: the newest samples, in memory and in the WAL, until they are sealed into blocks.
//!
//! A row travels: key → places of its series ([`keys`]) → batch → WAL → its group's buffer ([`group`]) → chunk. Series,
//! postings and groups are split into shards by the labels without the metric name, so that the fields of one line stay
//! together. Rows are applied shard by shard in the order of the log (a [`turnstile`] for each shard), so what readers
//! see is what a replay would give.
//!
//! Lock order: key shard → layouts; key shard → shard → log queue; tickets → log queue; turnstile → shard. A reader holds
//! one shard's lock at a time.

mod admission;
mod frozen;
mod group;
mod keys;
mod pages;
mod pairs;
mod postings;
mod scan;
mod shard;
mod size;
mod stats;
mod turnstile;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};

pub use admission::Admission;
pub use frozen::{FrozenHead, SeriesInOrder};
pub use group::GroupChunk;
pub use stats::HeadStats;

use crate::budget::{Budget, Found};
use crate::encoding::histogram::histogram_bytes_max;
use crate::error::{Error, Result};
use crate::histogram::{Histogram, cell};
use crate::labels::{Labels, METRIC_NAME};
use crate::matcher::Matcher;
use crate::rows::{Field, HistogramRow, Row};
use crate::samples::Samples;
use crate::time::TimeRange;
use crate::wal::{
    GROUP_WIDTH_MAX, Generations, GroupDefinition, GroupId, PAYLOAD_BYTES_MAX, Replay, Rows, Wal,
    encode_batch,
};
use crate::watch::Watch;
use keys::{KeyTable, Places, Slot};
use scan::Scan;
use shard::{Place, Shard};
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

/// A shard of a head numbers its groups with 28 bits, and its label texts with 32.
const FULL: Error = Error::Limit { name: "groups per shard", limit: 1 << 28, got: 1 << 28 };

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

/// The newest samples. Everything in it is also in the log segments of its generation.
#[derive(Debug)]
pub struct Head {
    generation: u64,
    keys: KeyTable,
    shards: [RwLock<Shard>; GroupId::SHARDS],
    turnstiles: [Turnstile; GroupId::SHARDS],
    /// The next ticket of each shard; held while a batch takes its place in the log.
    tickets: Mutex<[u64; GroupId::SHARDS]>,
    series: AtomicU64,
    samples: AtomicU64,
    out_of_order: AtomicU64,
    /// What series and samples take.
    memory: Arc<Budget>,
}

impl Head {
    /// An empty head. What it takes is a part of `memory`, and where that is used up, new series are refused.
    #[must_use]
    pub fn new(generation: u64, memory: &Arc<Budget>) -> Self {
        let memory = memory.part("none", usize::MAX);
        Self {
            generation,
            keys: KeyTable::new(&memory),
            shards: std::array::from_fn(|_| RwLock::new(Shard::new(&memory))),
            turnstiles: Default::default(),
            tickets: Mutex::default(),
            series: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            memory,
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
    /// What `resolve` returns; [`Error::WritesRefused`]; [`Error::Limit`] when the batch is full, or when `admission` or the
    /// memory lets no more series in. The batch is then as it was before.
    #[inline]
    pub fn place(
        &self,
        wal: &Wal,
        admission: &Admission,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels>,
        batch: &mut Batch,
    ) -> Result<()> {
        let hash = hash_bytes(row.key);
        batch.reserve(row.fields.len())?;
        while !self.place_known(hash, row, batch) {
            self.learn((wal, admission), hash, row, &mut resolve)?;
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
            let values = row.fields.iter().map(|field| cell::float(field.value));
            batch.shards[group.shard()].push(*group, row.timestamp, values);
            return true;
        }
        batch.cells.clear();
        let mut expected = 0;
        for field in row.fields {
            let Some(at) = entry.layout.position(field.name, expected) else { return false };
            batch.cells.push((entry.slot(at), cell::float(field.value)));
            expected = at + 1;
        }
        batch.place_cells(row.timestamp);
        true
    }

    /// As [`place`](Self::place), for a histogram.
    ///
    /// # Errors
    /// As [`place`](Self::place); also [`Error::InvalidHistogram`].
    pub fn place_histogram(
        &self,
        wal: &Wal,
        admission: &Admission,
        row: HistogramRow<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels>,
        batch: &mut Batch,
    ) -> Result<()> {
        let HistogramRow { key, name, timestamp, histogram } = row;
        histogram.check().map_err(|reason| Error::InvalidHistogram { reason })?;
        let hash = hash_bytes(key);
        batch.reserve_histogram(&histogram)?;
        let slot = loop {
            if let Some(slot) = self.keys.read(hash).get(hash, key).and_then(|entry| entry.find(name)) {
                break slot;
            }
            let row = Row { key, timestamp, fields: &[Field { name, value: 0.0 }] };
            self.learn((wal, admission), hash, row, &mut resolve)?;
        };
        let place = (usize::from(slot.column), usize::from(slot.width));
        batch.shards[slot.group.shard()].push_histogram(slot.group, timestamp, place, histogram);
        batch.samples += 1;
        Ok(())
    }

    /// Learns the fields of a key that are not known yet.
    #[cold]
    fn learn(
        &self,
        into: (&Wal, &Admission),
        hash: u64,
        row: Row<'_>,
        resolve: &mut dyn FnMut(&[u8]) -> Result<Labels>,
    ) -> Result<()> {
        let mut keys = self.keys.write(hash);
        let known = keys.get(hash, row.key);
        let mut slots: Vec<Slot> = known.into_iter().flat_map(|entry| entry.slots()).collect();
        let layout = known.map(|entry| Arc::clone(&entry.layout));
        let mut names: Vec<&[u8]> = layout.iter().flat_map(|layout| layout.names()).collect();
        let mut seen: HashSet<&[u8], FixedState> = names.iter().copied().collect();
        let mut unknown: Vec<Labels> = Vec::with_capacity(row.fields.len());
        for field in row.fields {
            if field.name.len() > usize::from(u16::MAX) {
                let (limit, got) = (u16::MAX.into(), field.name.len() as u64);
                return Err(Error::Limit { name: "bytes of a field name", limit, got });
            }
            if seen.insert(field.name) {
                names.push(field.name);
                unknown.push(resolve(field.name)?);
            }
        }
        let shards: Vec<usize> = unknown.iter().map(shard_of).collect();
        let mut unknown = unknown.as_slice();
        for shard in shards.chunk_by(|a, b| a == b) {
            let (columns, rest) = unknown.split_at(shard.len());
            unknown = rest;
            for columns in columns.chunks(GROUP_WIDTH_MAX) {
                slots.extend(self.slots(into, shard[0], columns)?);
            }
        }
        let fields: Vec<(&[u8], Slot)> = names.into_iter().zip(slots).collect();
        self.keys.set(&mut keys, hash, row.key, &fields);
        Ok(())
    }

    /// The places of series of one shard; those that are new become one group.
    fn slots(
        &self,
        (wal, admission): (&Wal, &Admission),
        number: usize,
        labels: &[Labels],
    ) -> Result<Vec<Slot>> {
        let mut shard = self.shards[number].write();
        let mut columns: HashMap<&Labels, u16, FixedState> = HashMap::default();
        let mut missing: Vec<Labels> = Vec::with_capacity(labels.len());
        let find = |labels| match shard.find(labels) {
            Some(place) => Ok(place),
            None => Err(*columns.entry(labels).or_insert_with(|| {
                missing.push(labels.clone());
                missing.len() as u16 - 1
            })),
        };
        let found: Vec<Result<Place, u16>> = labels.iter().map(find).collect();
        let position = shard.groups();
        let width = missing.len() as u16;
        if width > 0 {
            self.define_group(wal, admission, number, &mut shard, missing)?;
        }
        let slot = |found: Result<Place, u16>| {
            let place = found.unwrap_or_else(|column| Place { group: position, column, width });
            let group = GroupId::new(number, place.group).ok_or(FULL)?;
            Ok(Slot { group, column: place.column, width: place.width })
        };
        found.into_iter().map(slot).collect()
    }

    /// Makes a group of new series: in the log first, so that no row can refer to it before its definition.
    fn define_group(
        &self,
        wal: &Wal,
        admission: &Admission,
        number: usize,
        shard: &mut Shard,
        series: Vec<Labels>,
    ) -> Result<()> {
        let group = GroupId::new(number, shard.groups()).filter(|_| shard.has_room(&series)).ok_or(FULL)?;
        let count = series.len() as u64;
        shard.ask(&series)?;
        let definition = GroupDefinition { group, series };
        let logged = admission.admit(&self.series, count).and_then(|()| {
            wal.define(&definition).inspect_err(|_| {
                self.series.fetch_sub(count, Ordering::Relaxed);
            })
        });
        match &logged {
            Ok(()) => drop(shard.define(&definition.series)),
            Err(_) => shard.count(),
        }
        logged
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
            orphaned += applied.orphaned;
        }
        orphaned
    }

    /// Calls `each` with the series that satisfy all matchers of one of the selectors and have something near `range`; in no order.
    ///
    /// # Errors
    /// [`Error::BrokenOff`] when `watch` says so; those of `each`.
    pub fn select(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        mut each: impl FnMut(HeadSeries) -> Result<()>,
    ) -> Result<()> {
        let mut found = 0;
        let mut each = |series| {
            found += 1;
            watch.look(found)?;
            each(series)
        };
        self.scan(selectors, watch, |shard, scan| shard.select(scan, range, watch, &mut each))
    }

    /// Does `work` with each shard, and the values of the selectors' labels looked at.
    fn scan(
        &self,
        selectors: &[&[Matcher]],
        watch: Watch<'_>,
        mut work: impl FnMut(&Shard, &Scan<'_>) -> Result<()>,
    ) -> Result<()> {
        self.shards.iter().try_for_each(|shard| {
            let (shard, scan) = Scan::begin(shard, selectors, watch)?;
            work(&shard, &scan)
        })
    }

    /// How many series these are; their samples are not looked at.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn count_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<u64> {
        let mut count = 0;
        self.scan(&[matchers], Watch::default(), |shard, scan| {
            shard.count_series(scan, range).map(|series| count += series)
        })?;
        Ok(count)
    }

    /// Calls `each` with the labels of these series; in no order.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn labels(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        mut each: impl FnMut(Labels) -> Result<()>,
    ) -> Result<()> {
        self.scan(selectors, watch, |shard, scan| shard.labels(scan, range, watch, &mut each))
    }

    /// Adds the label names of these series.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn label_names(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        out: &mut Found<String>,
    ) -> Result<()> {
        self.scan(selectors, watch, |shard, scan| shard.label_names(scan, range, watch, out))
    }

    /// Adds the values of a label among these series.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        out: &mut Found<String>,
    ) -> Result<()> {
        self.scan(selectors, watch, |shard, scan| shard.label_values(name, scan, range, watch, out))
    }

    /// Adds the names of all labels.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn all_label_names(&self, out: &mut Found<String>) -> Result<()> {
        self.shards.iter().try_for_each(|shard| {
            shard.read().pairs().names().try_for_each(|name| out.add(name, name.len(), || name.to_owned()))
        })
    }

    /// Calls `visit` with the values of a label and the number of series that carry it; a value comes once for each shard
    /// that has it, and no series counts twice.
    ///
    /// # Errors
    /// Those of `visit`.
    pub fn count_values(&self, name: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.shards.iter().try_for_each(|shard| {
            shard.read().pairs().values(name).try_for_each(|(value, postings)| visit(value, postings.count()))
        })
    }

    /// How many chunks there are, those that are being filled among them.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.shards.iter().map(|shard| shard.read().chunks()).sum()
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
}

impl Replay for Head {
    fn define(&self, definition: &GroupDefinition) -> Result<(), &'static str> {
        let group = definition.group;
        self.shards[group.shard()].write().define_at(group.index(), &definition.series)?;
        self.series.fetch_add(definition.series.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn rows(&self, rows: &Rows) -> u64 {
        rows.groups.first().map_or(0, |group| self.apply(group.shard(), rows))
    }
}

/// The heads that a replay fills.
#[derive(Debug)]
pub struct Replayed {
    /// What their memory is a part of. Nothing that the log holds is refused.
    memory: Arc<Budget>,
    /// The heads by their generation.
    pub by_generation: BTreeMap<u64, Head>,
}

impl Replayed {
    /// None yet.
    #[must_use]
    pub fn new(memory: &Arc<Budget>) -> Self {
        Self { memory: Arc::clone(memory), by_generation: BTreeMap::new() }
    }
}

impl Generations for Replayed {
    type Head = Head;

    fn generation(&mut self, generation: u64) -> &Head {
        let Self { memory, by_generation } = self;
        by_generation.entry(generation).or_insert_with(|| Head::new(generation, memory))
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

    /// Makes sure that a row with this histogram fits.
    fn reserve_histogram(&mut self, histogram: &Histogram) -> Result<()> {
        self.reserve(1 + histogram_bytes_max(histogram).div_ceil(size_of::<f64>()))
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
