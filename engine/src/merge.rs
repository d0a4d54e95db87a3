//! Making blocks: from a sealed head, and from several blocks.

use std::sync::Arc;

use ulid::Ulid;

use crate::block::{Block, BlockWriter, CHUNK_SAMPLES_MAX, FinishedBlock};
use crate::budget::Budget;
use crate::directory::Directory;
use crate::error::Result;
use crate::head::{FrozenHead, Head};
use crate::index::{ChunkRef, Dictionary, PairSource, SHARED_SET_BYTES_MAX, TimesEntry};
use crate::samples::{Samples, sort_last_wins};
use crate::time::TimeRange;
use crate::tombstones::Deleted;
use crate::windows::Windows;

/// Bytes that a merge takes for each series of each block: a number.
const SERIES_BYTES: usize = 4;
/// Bytes that it takes for each label pair: two numbers, and whether a series has it.
const PAIR_BYTES: usize = 9;

/// Writes a head as blocks, one for each of the `windows` that has samples. `now_ns` is what the clock says.
///
/// The blocks are written one after the other, each straight to the disk. So sealing needs little memory besides the head's: some
/// bytes for each series and each label pair.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io); [`Error::Limit`](crate::Error::Limit) of the index. No block stays then.
pub fn seal(
    directory: &Arc<dyn Directory>,
    head: &Head,
    windows: &Windows,
    now_ns: i64,
) -> Result<Vec<FinishedBlock>> {
    let range = head.range();
    if range.start > range.end {
        return Ok(Vec::new());
    }
    let head = Seal {
        directory,
        generation: head.generation(),
        head: &head.frozen(),
        windows,
        // A sample from the far future would have all others count as old.
        newest: range.end.min(now_ns),
    };
    let dictionary = Dictionary::new(head.head.sources())?;
    let mut series = head.head.order(&dictionary)?;
    let mut blocks = Vec::new();
    let mut start = range.start;
    while series.iter().any(|shard| !shard.is_empty()) {
        let mut rest = Rest { start: i64::MAX, series: vec![Vec::new(); series.len()] };
        blocks.extend(head.block(start, &dictionary, &series, &mut rest)?);
        Rest { start, series } = rest;
    }
    Ok(blocks)
}

/// What is left of a head after some of its blocks.
struct Rest {
    /// Where the next window begins, or a bit before that.
    start: i64,
    /// The series of each shard that have something from there on, in the order of their labels.
    series: Vec<Vec<u32>>,
}

/// A head that becomes blocks.
struct Seal<'a> {
    directory: &'a Arc<dyn Directory>,
    generation: u64,
    head: &'a FrozenHead<'a>,
    windows: &'a Windows,
    newest: i64,
}

impl Seal<'_> {
    /// Writes the block of the window that `start` is in, from `start` on, of these series.
    fn block(
        &self,
        start: i64,
        dictionary: &Dictionary<'_>,
        series: &[Vec<u32>],
        rest: &mut Rest,
    ) -> Result<Option<FinishedBlock>> {
        let this = self.windows.of(start, self.newest);
        let is_inside = |timestamp: i64| self.windows.of(timestamp, self.newest) == this;
        let mut writer = BlockWriter::create(Arc::clone(self.directory), Ulid::generate(), dictionary)?;
        let mut samples = Samples::default();
        for place in self.head.series_in_order(dictionary, series)? {
            let place = place?;
            let mut later: Option<i64> = None;
            samples.clear();
            let mut is_wanted = |range: TimeRange| {
                let begins_inside = is_inside(range.start.max(start));
                if !begins_inside {
                    later = Some(later.map_or(range.start, |later| later.min(range.start)));
                }
                begins_inside && range.end >= start
            };
            self.head.read(place, &mut is_wanted, &mut samples)?;
            sort_last_wins(&mut samples);
            let from = samples.timestamps.partition_point(|timestamp| *timestamp < start);
            let len = samples.timestamps[from..].partition_point(|timestamp| is_inside(*timestamp));
            writer.samples(&samples, from..from + len)?;
            writer.end_series(&[place])?;
            if let Some(timestamp) =
                later.into_iter().chain(samples.timestamps.get(from + len).copied()).min()
            {
                rest.start = rest.start.min(timestamp);
                rest.series[place.0].push(place.1);
            }
        }
        writer.finish((self.generation, self.generation), 0)
    }
}

/// Writes one block with everything that `blocks` hold and their tombstones do not hide; they come oldest writes first.
/// `None` when that is nothing. One block alone is written anew without what is deleted, at its level.
///
/// Chunks that do not overlap are moved as they are, unless they are small; then neighbours become one. `go_on` is asked
/// before each series, and its error ends the merge. What is left of `memory` is for label sets that series share: when there
/// are more, those are written once for each series.
///
/// # Errors
/// [`Error::Corruption`](crate::Error::Corruption) in one of the blocks; [`Error::Io`](crate::Error::Io); [`Error::Limit`](crate::Error::Limit) of the index, and when the blocks have more
/// series than `memory` is enough for; what `go_on` returns. No block is written then.
pub fn merge(
    directory: &Arc<dyn Directory>,
    blocks: &[Arc<Block>],
    memory: &Arc<Budget>,
    go_on: impl Fn() -> Result<()>,
) -> Result<Option<FinishedBlock>> {
    let mut held = memory.take(blocks.iter().map(|block| memory_bytes(block)).sum())?;
    let series: usize = blocks.iter().map(|block| block.index().series_count()).sum();
    let left = memory.limit().saturating_sub(memory.held());
    let shared_sets = (left / SHARED_SET_BYTES_MAX).min(series);
    held.add(shared_sets * SHARED_SET_BYTES_MAX)?;
    let dictionary = Dictionary::new(blocks.iter().map(|block| block.index() as &dyn PairSource))?;
    let mut writer = BlockWriter::create(Arc::clone(directory), Ulid::generate(), &dictionary)?;
    writer.share_sets(shared_sets);
    merge_series(blocks, &dictionary, go_on, &mut writer)?;
    let metas = || blocks.iter().map(|block| block.meta());
    let first = metas().map(|meta| meta.generation_first).min().unwrap_or_default();
    let last = metas().map(|meta| meta.generation_last).max().unwrap_or_default();
    let level = metas().map(|meta| meta.level).max().unwrap_or_default() + u32::from(blocks.len() > 1);
    writer.finish((first, last), level)
}

/// What a merge keeps in memory for a block of its sources: a number for each pair and each series.
fn memory_bytes(block: &Block) -> usize {
    let (series, pairs) = (block.index().series_count(), block.index().pair_count());
    series.saturating_mul(SERIES_BYTES).saturating_add(pairs.saturating_mul(PAIR_BYTES))
}

/// The next series of a block.
struct Cursor<'a> {
    /// The position of the block among the sources.
    source: usize,
    block: &'a Block,
    next: u32,
    /// Its pairs, which compare as its labels do.
    pairs: Vec<u32>,
    is_there: bool,
}

impl Cursor<'_> {
    fn load(&mut self, dictionary: &Dictionary<'_>) -> Result<()> {
        self.is_there = u64::from(self.next) < self.block.meta().series;
        if self.is_there { dictionary.pairs_of(self.source, self.next, &mut self.pairs) } else { Ok(()) }
    }
}

fn merge_series(
    blocks: &[Arc<Block>],
    dictionary: &Dictionary<'_>,
    go_on: impl Fn() -> Result<()>,
    writer: &mut BlockWriter<'_>,
) -> Result<()> {
    let cursor =
        |(source, block): (usize, _)| Cursor { source, block, next: 0, pairs: Vec::new(), is_there: false };
    let mut cursors: Vec<Cursor<'_>> = blocks.iter().map(|block| &**block).enumerate().map(cursor).collect();
    cursors.iter_mut().try_for_each(|cursor| cursor.load(dictionary))?;
    let mut chunks: Vec<SourceChunk<'_>> = Vec::new();
    let (mut found, mut pairs, mut places) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(first) = cursors.iter().filter(|cursor| cursor.is_there).map(|cursor| &cursor.pairs).min()
    {
        pairs.clone_from(first);
        go_on()?;
        chunks.clear();
        places.clear();
        for cursor in cursors.iter_mut().filter(|cursor| cursor.is_there && cursor.pairs == pairs) {
            found.clear();
            cursor.block.index().chunks(cursor.next, &mut found)?;
            let (block, deleted) = (cursor.block, cursor.block.deleted(cursor.next));
            chunks.extend(found.iter().filter_map(|(chunk, times)| {
                let touching = deleted.as_ref().filter(|deleted| deleted.touches(times.range));
                let is_gone = touching.is_some_and(|deleted| deleted.covers(times.range));
                let source = SourceChunk { block, chunk: *chunk, times: *times, deleted: touching.cloned() };
                (!is_gone).then_some(source)
            }));
            places.push((cursor.source, cursor.next));
            cursor.next += 1;
            cursor.load(dictionary)?;
        }
        write_merged(&mut chunks, writer)?;
        writer.end_series(&places)?;
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
fn write_merged(chunks: &mut [SourceChunk<'_>], writer: &mut BlockWriter<'_>) -> Result<()> {
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
