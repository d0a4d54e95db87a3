//! Making blocks: from a sealed head, and from several blocks.

use std::collections::BTreeMap;
use std::sync::Arc;

use ulid::Ulid;

use crate::block::{Block, BlockMeta, BlockWriter, CHUNK_SAMPLES_MAX};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::head::Head;
use crate::index::{ChunkRef, TimesEntry};
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::samples::{Samples, sort_last_wins};
use crate::time::TimeRange;

/// A head becomes at most about this many blocks, however far apart its samples are.
const WINDOWS_MAX: i128 = 64;

/// Writes a head as blocks, one for each window of `span_ns` that has samples. Windows are aligned to the epoch. A head
/// whose samples are far apart, as after a backfill, gets wider windows.
///
/// # Errors
/// [`Error::Io`]. The blocks that were finished are not listed in any manifest.
pub fn seal(directory: &Arc<dyn Directory>, head: &Head, span_ns: i64) -> Result<Vec<BlockMeta>> {
    let range = head.range();
    let mut span = span_ns.max(1);
    while (i128::from(range.end) - i128::from(range.start)) / i128::from(span) >= WINDOWS_MAX {
        span = span.saturating_mul(4);
    }
    let mut writers = Windows { directory, span, writers: BTreeMap::new() };
    let outcome = writers.write(head);
    if let Err(error) = outcome {
        writers.writers.into_values().for_each(BlockWriter::abandon);
        return Err(error);
    }
    let generations = (head.generation(), head.generation());
    let finished = writers.writers.into_values().map(|writer| writer.finish(generations, 0));
    finished.filter_map(Result::transpose).collect()
}

struct Windows<'a> {
    directory: &'a Arc<dyn Directory>,
    span: i64,
    writers: BTreeMap<i64, BlockWriter>,
}

impl Windows<'_> {
    fn write(&mut self, head: &Head) -> Result<()> {
        let everything: &[Matcher] = &[];
        let mut series = head.select(everything, TimeRange::ALL)?;
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        let mut samples = Samples::default();
        for series in series {
            samples.clear();
            for chunk in &series.chunks {
                chunk
                    .decode(series.column, &mut samples)
                    .map_err(|e| Error::corruption("(memory)", e.offset as u64, e.reason))?;
            }
            if let Some(buffered) = &series.buffered {
                samples.timestamps.extend_from_slice(&buffered.timestamps);
                samples.values.extend_from_slice(&buffered.values);
            }
            sort_last_wins(&mut samples);
            self.write_series(&series.labels, &samples)?;
        }
        Ok(())
    }

    fn write_series(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        let mut start = 0;
        while let Some(first) = samples.timestamps.get(start) {
            let window = first.div_euclid(self.span);
            let len = samples.timestamps[start..].partition_point(|t| t.div_euclid(self.span) == window);
            let writer = match self.writers.entry(window) {
                std::collections::btree_map::Entry::Occupied(writer) => writer.into_mut(),
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(BlockWriter::create(Arc::clone(self.directory), Ulid::generate())?)
                }
            };
            let end = start + len;
            writer.samples(&samples.timestamps[start..end], &samples.values[start..end])?;
            writer.end_series(labels);
            start = end;
        }
        Ok(())
    }
}

/// Writes one block with everything that `blocks` hold; they come oldest writes first. `None` when that is nothing.
///
/// Chunks that do not overlap are moved as they are, unless they are small; then neighbours become one.
///
/// # Errors
/// [`Error::Corruption`] in one of the blocks, [`Error::Io`].
pub fn merge(directory: &Arc<dyn Directory>, blocks: &[Arc<Block>]) -> Result<Option<BlockMeta>> {
    let mut writer = BlockWriter::create(Arc::clone(directory), Ulid::generate())?;
    if let Err(error) = merge_series(blocks, &mut writer) {
        writer.abandon();
        return Err(error);
    }
    let metas = || blocks.iter().map(|block| block.meta());
    let first = metas().map(|meta| meta.generation_first).min().unwrap_or_default();
    let last = metas().map(|meta| meta.generation_last).max().unwrap_or_default();
    let level = metas().map(|meta| meta.level).max().unwrap_or_default() + 1;
    writer.finish((first, last), level)
}

/// The next series of a block.
struct Cursor<'a> {
    block: &'a Block,
    next: u32,
    labels: Option<Labels>,
}

impl Cursor<'_> {
    fn load(&mut self) -> Result<()> {
        let more = u64::from(self.next) < self.block.meta().series;
        self.labels = if more { Some(self.block.index().labels(self.next)?) } else { None };
        Ok(())
    }
}

fn merge_series(blocks: &[Arc<Block>], writer: &mut BlockWriter) -> Result<()> {
    let mut cursors: Vec<Cursor<'_>> =
        blocks.iter().map(|block| Cursor { block, next: 0, labels: None }).collect();
    cursors.iter_mut().try_for_each(Cursor::load)?;
    let mut chunks: Vec<SourceChunk<'_>> = Vec::new();
    let mut found = Vec::new();
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.clone()).min() {
        chunks.clear();
        for cursor in cursors.iter_mut().filter(|cursor| cursor.labels.as_ref() == Some(&labels)) {
            found.clear();
            cursor.block.index().chunks(cursor.next, &mut found)?;
            let block = cursor.block;
            chunks.extend(found.iter().map(|(chunk, times)| SourceChunk {
                block,
                chunk: *chunk,
                times: *times,
            }));
            cursor.next += 1;
            cursor.load()?;
        }
        write_merged(&mut chunks, writer)?;
        writer.end_series(&labels);
    }
    Ok(())
}

/// A chunk of one of the blocks.
struct SourceChunk<'a> {
    block: &'a Block,
    chunk: ChunkRef,
    times: TimesEntry,
}

/// Writes the chunks of one series, which come oldest writes first.
fn write_merged(chunks: &mut [SourceChunk<'_>], writer: &mut BlockWriter) -> Result<()> {
    let mut pending = Samples::default();
    let overlap = {
        let mut ranges: Vec<TimeRange> = chunks.iter().map(|chunk| chunk.times.range).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.windows(2).any(|pair| pair[0].overlaps(pair[1]))
    };
    if overlap {
        for source in chunks.iter() {
            source.block.decode(source.chunk, &source.times, &mut pending)?;
        }
        sort_last_wins(&mut pending);
        return writer.samples(&pending.timestamps, &pending.values);
    }
    chunks.sort_unstable_by_key(|source| source.times.range.start);
    for source in chunks.iter() {
        let count = source.times.count as usize;
        if pending.len() + count > CHUNK_SAMPLES_MAX || count >= CHUNK_SAMPLES_MAX / 2 {
            writer.samples(&pending.timestamps, &pending.values)?;
            pending.clear();
        }
        if count >= CHUNK_SAMPLES_MAX / 2 {
            writer.encoded(source.block.encoded(source.chunk, &source.times)?)?;
        } else {
            source.block.decode(source.chunk, &source.times, &mut pending)?;
        }
    }
    writer.samples(&pending.timestamps, &pending.values)
}
