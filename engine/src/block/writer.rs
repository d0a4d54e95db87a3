//! Writes a block: chunks as they come, the index at the end, and then one rename that makes it exist.

use std::path::Path;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ulid::Ulid;

use super::{
    BLOCKS_DIR, CHUNK_PARTS_MAX, CHUNK_SAMPLES_MAX, CHUNKS_FILE, HEADER_BYTES, INDEX_FILE, MAGIC, VERSION,
    block_path, temporary_path,
};
use std::ops::Range;

use crate::chunk::{encode_column_with_statistics, encode_timestamps};
use crate::directory::{Directory, WriteFile};
use crate::encoding::write_varint;
use crate::error::{Error, Result};
use crate::histogram::Histogram;
use crate::index::{BlockMeta, ChunkRef, Dictionary, IndexBuilder, StatisticsRef, TimesEntry};
use crate::samples::{Samples, histogram_of};
use crate::time::TimeRange;

/// Bytes collected before they are written to the file.
const WRITE_BUFFER_BYTES: usize = 1 << 20;
/// Timestamp columns remembered to be shared, in bytes that they take,
const SHARED_TIMES_BYTES_MAX: usize = 24 << 20;
/// each this many besides its encoding.
const SHARED_TIMES_ENTRY_BYTES: usize = 48;

/// The encoded columns of one chunk, as another block holds them.
#[derive(Clone, Copy, Debug)]
pub struct EncodedColumns<'a> {
    /// The timestamp column.
    pub timestamps: &'a [u8],
    /// The value column.
    pub values: &'a [u8],
    /// What the values amount to; empty when there is nothing.
    pub statistics: &'a [u8],
    /// First and last timestamp.
    pub range: TimeRange,
    /// How many samples.
    pub count: u32,
}

/// Writes one block. Dropping it unfinished removes what it wrote.
#[derive(Debug)]
pub struct BlockWriter<'a> {
    folder: Folder,
    file: Box<dyn WriteFile>,
    buffer: Vec<u8>,
    /// Bytes before the buffer.
    flushed: u64,
    index: IndexBuilder<'a>,
    /// Encoded timestamp columns that a later chunk may share.
    shared_times: HashMap<Box<[u8]>, u32, FixedState>,
    shared_times_bytes: usize,
    /// The timestamps encoded last, which the next series often has too.
    last_times: Option<(Vec<i64>, u32)>,
    /// The chunks of the current series.
    chunks: Vec<ChunkRef>,
    /// The statistics of these chunks.
    statistics: Vec<u8>,
    scratch: Vec<u8>,
    range: TimeRange,
    samples: u64,
}

/// The folder of a block, under its temporary name or its own: removed when dropped, unless it is kept.
#[derive(Debug)]
struct Folder {
    directory: Arc<dyn Directory>,
    id: Ulid,
    kept: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for path in [temporary_path(self.id), block_path(self.id)] {
            if let Err(error) = self.directory.remove_dir_all(&path) {
                let path = self.directory.display_path(&path);
                tracing::warn!(folder = %path.display(), %error, "what was written of a block stays until the next start");
            }
        }
    }
}

/// A block that is durable but that no manifest lists yet. Dropping it removes it from the disk.
#[derive(Debug)]
pub struct FinishedBlock {
    meta: BlockMeta,
    folder: Folder,
}

impl FinishedBlock {
    /// What the block says of itself.
    #[must_use]
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// Leaves the block on the disk: a manifest lists it, or may do so.
    pub fn keep(mut self) {
        self.folder.kept = true;
    }
}

/// How many of `values` the next chunk takes: as many as it may have, fewer when they are large histograms.
fn chunk_len(values: &[f64], histograms: &[Arc<Histogram>]) -> usize {
    let len = values.len().min(CHUNK_SAMPLES_MAX);
    if histograms.is_empty() {
        return len;
    }
    let mut parts = 0;
    let full = values[..len].iter().position(|value| {
        parts += histogram_of(*value, histograms).map_or(0, |histogram| histogram.parts());
        parts > CHUNK_PARTS_MAX
    });
    full.map_or(len, |full| full.max(1))
}

impl<'a> BlockWriter<'a> {
    /// Starts a block in a temporary folder, of series of the dictionary's sources.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(directory: Arc<dyn Directory>, id: Ulid, dictionary: &'a Dictionary<'a>) -> Result<Self> {
        let folder = Folder { directory, id, kept: false };
        let path = temporary_path(id).join(CHUNKS_FILE);
        let file = folder
            .directory
            .create_dir_all(&temporary_path(id))
            .and_then(|()| folder.directory.create(&path))
            .map_err(|e| Error::io("create", folder.directory.display_path(&path), e))?;
        let mut buffer = Vec::with_capacity(WRITE_BUFFER_BYTES);
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&VERSION.to_le_bytes());
        debug_assert_eq!(buffer.len(), HEADER_BYTES);
        let index = IndexBuilder::new(dictionary, &folder.directory, &temporary_path(id));
        Ok(Self {
            folder,
            file,
            buffer,
            flushed: 0,
            index,
            shared_times: HashMap::default(),
            shared_times_bytes: 0,
            last_times: None,
            chunks: Vec::new(),
            statistics: Vec::new(),
            scratch: Vec::new(),
            range: TimeRange::new(i64::MAX, i64::MIN),
            samples: 0,
        })
    }

    /// Remembers only so many label sets to share them ([`IndexBuilder::share_sets`]).
    pub fn share_sets(&mut self, count_max: usize) {
        self.index.share_sets(count_max);
    }

    /// Adds the samples at some positions to the current series: sorted by time, after those that it has.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn samples(&mut self, samples: &Samples, mut positions: Range<usize>) -> Result<()> {
        while !positions.is_empty() {
            let len = chunk_len(&samples.values[positions.clone()], &samples.histograms);
            let these = positions.start..positions.start + len;
            positions.start += len;
            let (timestamps, values) = (&samples.timestamps[these.clone()], &samples.values[these]);
            let (Some(&start), Some(&end)) = (timestamps.first(), timestamps.last()) else { continue };
            let range = TimeRange::new(start, end);
            let times = match &self.last_times {
                Some((last, times)) if last == timestamps => *times,
                _ => {
                    let mut bytes = std::mem::take(&mut self.scratch);
                    bytes.clear();
                    encode_timestamps(timestamps, &mut bytes);
                    let times = self.times(&bytes, range, timestamps.len() as u32)?;
                    self.scratch = bytes;
                    self.last_times = Some((timestamps.to_vec(), times));
                    times
                }
            };
            let mut bytes = std::mem::take(&mut self.scratch);
            bytes.clear();
            let start = self.statistics.len();
            encode_column_with_statistics(values, &samples.histograms, &mut bytes, &mut self.statistics);
            let values_at = self.unit(&bytes)?;
            self.scratch = bytes;
            self.chunk(times, values_at, start, range, timestamps.len() as u64);
        }
        Ok(())
    }

    /// Adds a chunk to the current series without decoding it: sorted by time, after those that it has.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn encoded(&mut self, columns: EncodedColumns<'_>) -> Result<()> {
        let times = self.times(columns.timestamps, columns.range, columns.count)?;
        let values = self.unit(columns.values)?;
        let start = self.statistics.len();
        self.statistics.extend_from_slice(columns.statistics);
        self.chunk(times, values, start, columns.range, columns.count.into());
        Ok(())
    }

    /// Ends the current series, which is at these places of the sources. Its labels sort after those of the series before. A
    /// series without samples is left out.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Corruption`] in a source.
    pub fn end_series(&mut self, places: &[(usize, u32)]) -> Result<()> {
        if !self.chunks.is_empty() {
            self.index.add_series(places, &self.chunks, &self.statistics)?;
            self.chunks.clear();
            self.statistics.clear();
        }
        Ok(())
    }

    /// Adds a chunk whose statistics are those from `start` on.
    fn chunk(&mut self, times: u32, values: u64, start: usize, range: TimeRange, samples: u64) {
        let statistics = StatisticsRef { start: start as u32, len: (self.statistics.len() - start) as u8 };
        self.chunks.push(ChunkRef { times, values, statistics });
        self.range = self.range.union(range);
        self.samples += samples;
    }

    fn times(&mut self, encoded: &[u8], range: TimeRange, count: u32) -> Result<u32> {
        if let Some(times) = self.shared_times.get(encoded) {
            return Ok(*times);
        }
        let offset = self.unit(encoded)?;
        let times = self.index.add_times(&TimesEntry { offset, range, count })?;
        let bytes = encoded.len() + SHARED_TIMES_ENTRY_BYTES;
        self.shared_times_bytes += bytes;
        if self.shared_times_bytes > SHARED_TIMES_BYTES_MAX {
            self.shared_times.clear();
            self.shared_times_bytes = bytes;
        }
        self.shared_times.insert(encoded.into(), times);
        Ok(times)
    }

    /// Writes one column behind its length and before its checksum; returns where it starts.
    fn unit(&mut self, column: &[u8]) -> Result<u64> {
        let at = self.flushed + self.buffer.len() as u64;
        write_varint(&mut self.buffer, column.len() as u64);
        self.buffer.extend_from_slice(column);
        self.buffer.extend_from_slice(&crc32c::crc32c(column).to_le_bytes());
        if self.buffer.len() >= WRITE_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(at)
    }

    fn flush(&mut self) -> Result<()> {
        let path = temporary_path(self.folder.id).join(CHUNKS_FILE);
        self.file
            .write_all(&self.buffer)
            .map_err(|e| Error::io("write to", self.folder.directory.display_path(&path), e))?;
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the block durable and gives it its name. Returns `None`, and leaves nothing behind, when no series was added.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Limit`] when the index would be too large; [`Error::Corruption`] in a source. What was written
    /// is removed.
    pub fn finish(mut self, generations: (u64, u64), level: u32) -> Result<Option<FinishedBlock>> {
        if self.index.series() == 0 {
            return Ok(None);
        }
        self.flush()?;
        let id = self.folder.id;
        let meta = BlockMeta {
            id,
            range: self.range,
            generation_first: generations.0,
            generation_last: generations.1,
            level,
            series: self.index.series(),
            samples: self.samples,
            chunk_bytes: self.flushed,
        };
        let (directory, temporary) = (&self.folder.directory, temporary_path(id));
        let synced = self.file.sync();
        synced.map_err(|e| Error::io("finish", directory.display_path(&temporary), e))?;
        self.index.finish(&meta, &temporary.join(INDEX_FILE))?;
        let publish = || -> std::io::Result<()> {
            directory.sync_dir(&temporary)?;
            directory.rename(&temporary, &block_path(id))?;
            directory.sync_dir(Path::new(BLOCKS_DIR))
        };
        publish().map_err(|e| Error::io("finish", directory.display_path(&temporary), e))?;
        Ok(Some(FinishedBlock { meta, folder: self.folder }))
    }
}
