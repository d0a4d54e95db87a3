//! Reads a block: its index, and its chunks where the index says they are.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use croaring::Bitmap;
use ulid::Ulid;

use super::{CHUNKS_FILE, EncodedColumns, HEADER_BYTES, INDEX_FILE, MAGIC, VERSION, block_path};
use crate::budget::Found;
use crate::chunk::{
    Statistics, decode_column, decode_statistics, decode_timestamps, is_histogram_column, timestamp_count,
};
use crate::directory::{Directory, Mapped};
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::index::{
    BlockMeta, ChunkRef, Index, LabelIndex, TimesEntry, matching, matching_any, values_to_look_at,
};
use crate::labels::{Labels, Packer, WantedLabels};
use crate::matcher::Matcher;
use crate::samples::Samples;
use crate::time::TimeRange;
use crate::tombstones::{Deleted, Tombstones};
use crate::watch::Watch;

/// An open block, less what its tombstones hide. Only the names of its labels and its metadata are on the heap.
#[derive(Clone, Debug)]
pub struct Block {
    index: Arc<Index>,
    chunks_file: PathBuf,
    chunks: Mapped,
    /// What was deleted since the block was written; `None` when that is nothing.
    tombstones: Option<Arc<Tombstones>>,
}

/// A series of a block, with its chunks that overlap the selected range.
#[derive(Clone, Debug)]
pub struct BlockSeries<'a> {
    /// Its labels, as far as they are wanted.
    pub labels: Labels,
    /// Its chunks in order of time, without those of which nothing is left.
    pub chunks: &'a [(ChunkRef, TimesEntry)],
    /// What is deleted of those that are left; `None` when that is nothing.
    pub deleted: Option<Deleted>,
}

/// A series by its id, with its chunks that overlap a range.
struct Touching<'a> {
    id: u32,
    chunks: &'a [(ChunkRef, TimesEntry)],
    deleted: Option<Deleted>,
}

impl Block {
    /// Opens a block and verifies its index; chunks are verified when they are read.
    ///
    /// # Errors
    /// [`Error::Corruption`], [`Error::NewerVersion`], [`Error::Io`].
    pub fn open(directory: &dyn Directory, id: Ulid) -> Result<Self> {
        let (index, chunks_file, chunks) = Self::parts(directory, id)?;
        Self::from_parts(index, chunks_file, chunks)
    }

    /// As [`open`](Self::open), with a chunk file that may be cut off or damaged at its front: its chunks carry checksums of
    /// their own, and the index says where they are.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn salvage(directory: &dyn Directory, id: Ulid) -> Result<Self> {
        let (index, chunks_file, chunks) = Self::parts(directory, id)?;
        Ok(Self { index: Arc::new(index), chunks_file, chunks, tombstones: None })
    }

    fn parts(directory: &dyn Directory, id: Ulid) -> Result<(Index, PathBuf, Mapped)> {
        let folder = block_path(id);
        let map = |name: &str| -> Result<(PathBuf, Mapped)> {
            let path = folder.join(name);
            let shown = directory.display_path(&path);
            let bytes = directory.map(&path).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => Error::corruption(&shown, 0, "the file is missing"),
                _ => Error::io("read", &shown, e),
            })?;
            Ok((shown, bytes))
        };
        let (index_file, index) = map(INDEX_FILE)?;
        let index = Index::open(&index_file, index)?;
        let (chunks_file, chunks) = map(CHUNKS_FILE)?;
        if index.meta().id != id {
            return Err(Error::corruption(index_file, 0, "the index belongs to another block"));
        }
        Ok((index, chunks_file, chunks))
    }

    /// A block from its open index and the bytes of its chunk file.
    ///
    /// # Errors
    /// [`Error::Corruption`] when they do not belong together.
    pub fn from_parts(index: Index, chunks_file: PathBuf, chunks: Mapped) -> Result<Self> {
        check_header(&chunks_file, &chunks)?;
        if chunks.len() as u64 != index.meta().chunk_bytes {
            let reason = "the file's length differs from what the index says";
            return Err(Error::corruption(chunks_file, chunks.len() as u64, reason));
        }
        Ok(Self { index: Arc::new(index), chunks_file, chunks, tombstones: None })
    }

    /// What the block says of itself.
    #[must_use]
    pub fn meta(&self) -> &BlockMeta {
        self.index.meta()
    }

    /// The same block with these tombstones in place of those that it has.
    #[must_use]
    pub fn with_tombstones(&self, tombstones: Tombstones) -> Self {
        Self { tombstones: (!tombstones.is_empty()).then(|| Arc::new(tombstones)), ..self.clone() }
    }

    /// What was deleted from it; `None` when that is nothing.
    #[must_use]
    pub fn tombstones(&self) -> Option<&Tombstones> {
        self.tombstones.as_deref()
    }

    /// What was deleted of a series; `None` when that is nothing.
    #[must_use]
    pub fn deleted(&self, series: u32) -> Option<Deleted> {
        self.tombstones()?.of(series)
    }

    /// The bytes of its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.index.len() + self.chunks.len()) as u64
    }

    /// The path of its chunk file, for messages.
    #[must_use]
    pub fn chunks_file(&self) -> &Path {
        &self.chunks_file
    }

    /// Its index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Calls `each` with the series that satisfy all matchers of one of the selectors and have a chunk that overlaps `range`,
    /// sorted by labels.
    ///
    /// # Errors
    /// [`Error::Corruption`]; [`Error::BrokenOff`] when `watch` says so; those of `each`.
    pub fn select(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        labels: WantedLabels<'_>,
        watch: Watch<'_>,
        mut each: impl FnMut(BlockSeries<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut packer = Packer::default();
        let wanted = self.index.wanted_pairs(labels);
        self.touching(selectors, range, watch, |Touching { id, chunks, deleted }| {
            let labels = self.index.pack_labels(id, wanted.as_deref(), &mut packer)?;
            each(BlockSeries { labels, chunks, deleted })
        })
    }

    /// The ids of these series.
    ///
    /// # Errors
    /// [`Error::Corruption`]; [`Error::BrokenOff`] when `watch` says so.
    pub fn series_ids(&self, selectors: &[&[Matcher]], range: TimeRange, watch: Watch<'_>) -> Result<Bitmap> {
        let mut ids = Bitmap::new();
        self.left(selectors, range, watch, |id| {
            ids.add(id);
            Ok(())
        })?;
        Ok(ids)
    }

    /// How many series satisfy the matchers, if the block has samples in `range`; their own samples are not looked at.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn count_series(&self, matchers: &[Matcher], range: TimeRange) -> Result<u64> {
        if !self.meta().range.overlaps(range) {
            return Ok(0);
        }
        Ok(matching(&*self.index, matchers, Watch::default())?.cardinality())
    }

    /// As [`touching`](Self::touching), the ids without the series of which nothing is left inside `range`.
    fn left(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        mut each: impl FnMut(u32) -> Result<()>,
    ) -> Result<()> {
        self.touching(selectors, range, watch, |series| {
            let is_left = match &series.deleted {
                None => true,
                Some(deleted) => series.chunks.iter().any(|(_, times)| self.is_left(times, deleted, range)),
            };
            if is_left { each(series.id) } else { Ok(()) }
        })
    }

    /// Whether some of a chunk is left inside `range`. A chunk that cannot be read may have something.
    fn is_left(&self, times: &TimesEntry, deleted: &Deleted, range: TimeRange) -> bool {
        if !deleted.touches(times.range) {
            return true;
        }
        let mut timestamps = Vec::new();
        let decoded = self.unit(times.offset).map(|unit| decode_timestamps(unit, &mut timestamps));
        let is_left = |t: &i64| range.contains(*t) && !deleted.touches(TimeRange::new(*t, *t));
        !matches!(decoded, Ok(Ok(()))) || timestamps.iter().any(is_left)
    }

    /// Calls `each` with the labels of these series, sorted.
    ///
    /// # Errors
    /// [`Error::Corruption`]; [`Error::BrokenOff`] when `watch` says so; those of `each`.
    pub fn labels(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        mut each: impl FnMut(Labels) -> Result<()>,
    ) -> Result<()> {
        let mut packer = Packer::default();
        self.left(selectors, range, watch, |id| each(self.index.pack_labels(id, None, &mut packer)?))
    }

    /// Calls `each` with the series that satisfy all matchers of one of the selectors and have a chunk that overlaps `range`.
    fn touching(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        mut each: impl FnMut(Touching<'_>) -> Result<()>,
    ) -> Result<()> {
        if !self.meta().range.overlaps(range) {
            return Ok(());
        }
        let mut chunks = Vec::new();
        let mut looked_at = 0;
        watch.expect_values(|| selectors.iter().map(|m| values_to_look_at(&*self.index, m)).sum())?;
        let ids = matching_any(&*self.index, selectors, watch)?;
        watch.expect_series(ids.cardinality())?;
        for id in ids.iter() {
            chunks.clear();
            self.index.chunks(id, &mut chunks)?;
            chunks.retain(|(_, times)| times.range.overlaps(range));
            let mut deleted = self.deleted(id);
            if let Some(ranges) = &deleted {
                chunks.retain(|(_, times)| !ranges.covers(times.range.intersection(range)));
                if !chunks.iter().any(|(_, times)| ranges.touches(times.range)) {
                    deleted = None;
                }
            }
            if !chunks.is_empty() {
                looked_at += 1;
                watch.look(looked_at)?;
                each(Touching { id, chunks: &chunks, deleted })?;
            }
        }
        Ok(())
    }

    /// Adds the label names of the series near `range`.
    ///
    /// # Errors
    /// [`Error::Corruption`]; [`Error::BrokenOff`] when `watch` says so; those of `out`.
    pub fn label_names(
        &self,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        out: &mut Found<String>,
    ) -> Result<()> {
        if !self.meta().range.overlaps(range) {
            return Ok(());
        }
        let mut add = |name: &str| out.add(name, name.len(), || name.to_owned());
        if self.has_all(selectors) {
            return self.index.names().try_for_each(|(name, _)| add(name));
        }
        self.labels(selectors, range, watch, |labels| labels.iter().try_for_each(|(name, _)| add(name)))
    }

    /// Whether these are all series as the index has them.
    fn has_all(&self, selectors: &[&[Matcher]]) -> bool {
        self.tombstones.is_none() && selectors.iter().any(|matchers| matchers.is_empty())
    }

    /// Adds the values of a label among the series near `range`.
    ///
    /// # Errors
    /// As [`label_names`](Self::label_names).
    pub fn label_values(
        &self,
        name: &str,
        selectors: &[&[Matcher]],
        range: TimeRange,
        watch: Watch<'_>,
        out: &mut Found<String>,
    ) -> Result<()> {
        if !self.meta().range.overlaps(range) {
            return Ok(());
        }
        let series = match self.has_all(selectors) {
            true => None,
            false => Some(self.series_ids(selectors, range, watch)?),
        };
        for (at, value) in self.index.values(name).enumerate() {
            watch.look(at)?;
            let value = value?;
            let is_theirs = match &series {
                None => true,
                Some(series) => self.index.with_value(name, value)?.intersect(series),
            };
            if is_theirs {
                out.add(value, value.len(), || value.to_owned())?;
            }
        }
        Ok(())
    }

    /// Appends the samples of a chunk.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn decode(&self, chunk: ChunkRef, times: &TimesEntry, out: &mut Samples) -> Result<()> {
        self.decode_within(chunk, times, TimeRange::ALL, out).map(drop)
    }

    /// Appends the samples of a chunk that are inside `range`. Returns the positions that they have in the chunk.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn decode_within(
        &self,
        chunk: ChunkRef,
        times: &TimesEntry,
        range: TimeRange,
        out: &mut Samples,
    ) -> Result<Range<usize>> {
        let columns = self.encoded(chunk, times)?;
        let before = out.timestamps.len();
        let located = |at: u64| move |e: DecodeError| self.corrupt(at, e.offset, e.reason);
        decode_timestamps(columns.timestamps, &mut out.timestamps).map_err(located(times.offset))?;
        let count = out.timestamps.len() - before;
        let wanted = out.cut_timestamps(before, range);
        decode_column(columns.values, count, &wanted, out).map_err(located(chunk.values))?;
        Ok(wanted)
    }

    /// Appends the values of a chunk of `count` samples that are at the positions `wanted`, but not their timestamps.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn decode_values(
        &self,
        chunk: ChunkRef,
        count: usize,
        wanted: &Range<usize>,
        out: &mut Samples,
    ) -> Result<()> {
        let values = self.unit(chunk.values)?;
        decode_column(values, count, wanted, out).map_err(|e| self.corrupt(chunk.values, e.offset, e.reason))
    }

    /// What the values of a chunk amount to, if the index says it: the chunk itself is not touched.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn statistics(&self, chunk: ChunkRef, times: &TimesEntry) -> Result<Option<Statistics>> {
        let bytes = self.index.statistics(chunk.statistics)?;
        decode_statistics(bytes, times.count as usize)
            .map_err(|e| self.index.corrupt_statistics(chunk.statistics, e))
    }

    /// The encoded columns of a chunk, verified.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn encoded(&self, chunk: ChunkRef, times: &TimesEntry) -> Result<EncodedColumns<'_>> {
        let timestamps = self.unit(times.offset)?;
        let values = self.unit(chunk.values)?;
        if timestamp_count(timestamps).ok() != Some(times.count as usize) {
            return Err(self.corrupt(
                times.offset,
                0,
                "the number of timestamps differs from what the index says",
            ));
        }
        let statistics = self.index.statistics(chunk.statistics)?;
        Ok(EncodedColumns { timestamps, values, statistics, range: times.range, count: times.count })
    }

    /// The length of a chunk's two columns as they are stored, bytes.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn encoded_bytes(&self, chunk: ChunkRef, times: &TimesEntry) -> Result<usize> {
        Ok(self.unit(times.offset)?.len() + self.unit(chunk.values)?.len())
    }

    /// Whether a chunk has native histograms.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn has_histograms(&self, chunk: ChunkRef) -> Result<bool> {
        Ok(is_histogram_column(self.unit(chunk.values)?))
    }

    fn unit(&self, offset: u64) -> Result<&[u8]> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.chunks.get(at..)).unwrap_or_default();
        read_unit(&mut Reader::new(rest)).map_err(|e| self.corrupt(offset, e.offset, e.reason))
    }

    fn corrupt(&self, at: u64, offset: usize, reason: &str) -> Error {
        Error::corruption(&self.chunks_file, at + offset as u64, reason)
    }
}

/// Walks over all units of a chunk file and checks their checksums; returns how many there are.
///
/// # Errors
/// [`Error::Corruption`] at the first unit that does not check out.
pub fn verify_units(file: &Path, bytes: &[u8]) -> Result<usize> {
    check_header(file, bytes)?;
    let mut reader = Reader::new(&bytes[HEADER_BYTES..]);
    let mut units = 0;
    while !reader.is_empty() {
        let at = HEADER_BYTES + reader.offset();
        read_unit(&mut reader).map_err(|e| Error::corruption(file, at as u64, e.reason))?;
        units += 1;
    }
    Ok(units)
}

fn check_header(file: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Err(Error::corruption(file, 0, "not a chunk file: the magic bytes differ"));
    }
    match Reader::new(&bytes[8..]).u32_le() {
        Ok(VERSION) => Ok(()),
        found => Err(Error::of_version(file, found.unwrap_or_default(), VERSION)),
    }
}

fn read_unit<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let column = reader.prefixed_bytes()?;
    let crc = reader.u32_le()?;
    if crc32c::crc32c(column) == crc {
        Ok(column)
    } else {
        Err(reader.error("the column's checksum differs"))
    }
}
