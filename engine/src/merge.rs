//! Making blocks: from a sealed head, and from several blocks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ulid::Ulid;

use crate::block::{Block, BlockWriter, CHUNK_SAMPLES_MAX, FinishedBlock};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::head::Head;
use crate::index::{ChunkRef, TimesEntry};
use crate::labels::Labels;
use crate::samples::{Samples, sort_last_wins};
use crate::time::TimeRange;
use crate::tombstones::Deleted;
use crate::windows::{Window, Windows};

/// Writes a head as blocks, one for each of the `windows` that has samples. `now_ns` is what the clock says.
///
/// # Errors
/// [`Error::Io`]; [`Error::Limit`] of the index. No block stays then.
pub fn seal(
    directory: &Arc<dyn Directory>,
    head: &Head,
    windows: &Windows,
    now_ns: i64,
) -> Result<Vec<FinishedBlock>> {
    // A sample from the far future would have all others count as old.
    let newest = head.range().end.min(now_ns);
    let mut writers = Writers { directory, windows, newest, writers: BTreeMap::new() };
    writers.write(head)?;
    let generations = (head.generation(), head.generation());
    let finished = writers.writers.into_values().map(|writer| writer.finish(generations, 0));
    finished.filter_map(Result::transpose).collect()
}

/// The blocks that a head becomes.
struct Writers<'a> {
    directory: &'a Arc<dyn Directory>,
    windows: &'a Windows,
    newest: i64,
    writers: BTreeMap<Window, BlockWriter>,
}

impl Writers<'_> {
    fn write(&mut self, head: &Head) -> Result<()> {
        let mut samples = Samples::default();
        for series in head.series_in_order() {
            samples.clear();
            for chunk in &series.chunks {
                chunk
                    .decode(series.column, TimeRange::ALL, &mut samples)
                    .map_err(|e| Error::corruption("(memory)", e.offset as u64, e.reason))?;
            }
            if let Some(buffered) = &series.buffered {
                samples.append(buffered);
            }
            sort_last_wins(&mut samples);
            self.write_series(&series.labels, &samples)?;
        }
        Ok(())
    }

    fn write_series(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        let mut start = 0;
        while let Some(first) = samples.timestamps.get(start) {
            let window_of = |timestamp: i64| self.windows.of(timestamp, self.newest);
            let window = window_of(*first);
            let len = samples.timestamps[start..].partition_point(|t| window_of(*t) == window);
            let writer = match self.writers.entry(window) {
                Entry::Occupied(writer) => writer.into_mut(),
                Entry::Vacant(vacant) => {
                    vacant.insert(BlockWriter::create(Arc::clone(self.directory), Ulid::generate())?)
                }
            };
            let end = start + len;
            writer.samples(samples, start..end)?;
            writer.end_series(labels);
            start = end;
        }
        Ok(())
    }
}

/// Writes one block with everything that `blocks` hold and their tombstones do not hide; they come oldest writes first.
/// `None` when that is nothing. One block alone is written anew without what is deleted, at its level.
///
/// Chunks that do not overlap are moved as they are, unless they are small; then neighbours become one. `go_on` is asked
/// before each series, and its error ends the merge.
///
/// # Errors
/// [`Error::Corruption`] in one of the blocks; [`Error::Io`]; [`Error::Limit`] of the index; what `go_on` returns. No block
/// is written then.
pub fn merge(
    directory: &Arc<dyn Directory>,
    blocks: &[Arc<Block>],
    go_on: impl Fn() -> Result<()>,
) -> Result<Option<FinishedBlock>> {
    let mut writer = BlockWriter::create(Arc::clone(directory), Ulid::generate())?;
    merge_series(blocks, go_on, &mut writer)?;
    let metas = || blocks.iter().map(|block| block.meta());
    let first = metas().map(|meta| meta.generation_first).min().unwrap_or_default();
    let last = metas().map(|meta| meta.generation_last).max().unwrap_or_default();
    let level = metas().map(|meta| meta.level).max().unwrap_or_default() + u32::from(blocks.len() > 1);
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

fn merge_series(
    blocks: &[Arc<Block>],
    go_on: impl Fn() -> Result<()>,
    writer: &mut BlockWriter,
) -> Result<()> {
    let mut cursors: Vec<Cursor<'_>> =
        blocks.iter().map(|block| Cursor { block, next: 0, labels: None }).collect();
    cursors.iter_mut().try_for_each(Cursor::load)?;
    let mut chunks: Vec<SourceChunk<'_>> = Vec::new();
    let mut found = Vec::new();
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.clone()).min() {
        go_on()?;
        chunks.clear();
        for cursor in cursors.iter_mut().filter(|cursor| cursor.labels.as_ref() == Some(&labels)) {
            found.clear();
            cursor.block.index().chunks(cursor.next, &mut found)?;
            let (block, deleted) = (cursor.block, cursor.block.deleted(cursor.next));
            chunks.extend(found.iter().filter_map(|(chunk, times)| {
                let touching = deleted.as_ref().filter(|deleted| deleted.touches(times.range));
                let is_gone = touching.is_some_and(|deleted| deleted.covers(times.range));
                let source = SourceChunk { block, chunk: *chunk, times: *times, deleted: touching.cloned() };
                (!is_gone).then_some(source)
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
    /// What is deleted of it.
    deleted: Option<Deleted>,
}

impl SourceChunk<'_> {
    /// Appends what is left of its samples.
    fn decode(&self, out: &mut Samples) -> Result<()> {
        let before = out.len();
        self.block.decode(self.chunk, &self.times, out)?;
        if let Some(deleted) = &self.deleted {
            deleted.remove_from(out, before);
        }
        Ok(())
    }

    /// Whether it is large enough to stay a chunk of its own, and whole.
    fn moves(&self) -> bool {
        self.deleted.is_none() && self.times.count as usize >= CHUNK_SAMPLES_MAX / 2
    }
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
            source.decode(&mut pending)?;
        }
        sort_last_wins(&mut pending);
        return writer.samples(&pending, 0..pending.len());
    }
    chunks.sort_unstable_by_key(|source| source.times.range.start);
    for source in chunks.iter() {
        let count = source.times.count as usize;
        if pending.len() + count > CHUNK_SAMPLES_MAX || source.moves() {
            writer.samples(&pending, 0..pending.len())?;
            pending.clear();
        }
        if source.moves() {
            writer.encoded(source.block.encoded(source.chunk, &source.times)?)?;
        } else {
            source.decode(&mut pending)?;
        }
    }
    writer.samples(&pending, 0..pending.len())
}
