//! Builds an index file in memory from series that come sorted by labels.

use std::borrow::Cow;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::layout::{
    BlockMeta, ChunkRef, HEADER_BYTES, MAGIC, SECTION_ENTRY_BYTES, Section, TIMES_ENTRY_BYTES, TimesEntry,
    VERSION,
};
use super::postings;
use crate::encoding::{write_varint, write_zigzag};
use crate::error::{Error, Result};
use crate::labels::{Labels, METRIC_NAME};

/// A label pair in order of appearance; the file numbers them in sorted order.
type Provisional = u32;

#[derive(Debug)]
struct SeriesRow {
    metric: Option<Provisional>,
    set: u32,
    /// Where its chunk list ends in `chunk_lists`.
    chunks_end: usize,
}

/// Builds an index file in memory.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    pairs: HashMap<(Box<str>, Box<str>), Provisional, FixedState>,
    /// The series of each pair.
    postings: Vec<Vec<u32>>,
    /// Label sets without the metric name, by their packed form.
    sets_by_labels: HashMap<Box<[u8]>, u32, FixedState>,
    sets: Vec<Box<[Provisional]>>,
    series: Vec<SeriesRow>,
    chunk_lists: Vec<u8>,
    times: Vec<u8>,
}

impl IndexBuilder {
    /// Adds a timestamp column; returns its position.
    pub fn add_times(&mut self, times: &TimesEntry) -> u32 {
        let position = self.times.len() / TIMES_ENTRY_BYTES;
        times.encode(&mut self.times);
        position as u32
    }

    /// How many series were added.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series.len() as u64
    }

    /// Adds a series, whose labels sort after those of the series before. The statistics of its chunks are spans of
    /// `statistics`.
    pub fn add_series(&mut self, labels: &Labels, chunks: &[ChunkRef], statistics: &[u8]) {
        let id = self.series.len() as u32;
        let metric = labels.metric_name().map(|name| self.pair(METRIC_NAME, name));
        let set = self.set(labels);
        for pair in metric.iter().chain(&self.sets[set as usize]) {
            self.postings[*pair as usize].push(id);
        }
        write_varint(&mut self.chunk_lists, chunks.len() as u64);
        let (mut times, mut values) = (0, 0);
        for chunk in chunks {
            write_zigzag(&mut self.chunk_lists, i64::from(chunk.times) - i64::from(times));
            write_varint(&mut self.chunk_lists, chunk.values - values);
            (times, values) = (chunk.times, chunk.values);
            self.chunk_lists.push(chunk.statistics.len);
            let start = chunk.statistics.start as usize;
            self.chunk_lists.extend_from_slice(&statistics[start..start + usize::from(chunk.statistics.len)]);
        }
        self.series.push(SeriesRow { metric, set, chunks_end: self.chunk_lists.len() });
    }

    fn pair(&mut self, name: &str, value: &str) -> Provisional {
        let next = self.postings.len() as u32;
        let pair = *self.pairs.entry((name.into(), value.into())).or_insert(next);
        if pair == next {
            self.postings.push(Vec::new());
        }
        pair
    }

    fn set(&mut self, labels: &Labels) -> u32 {
        let without_metric = || labels.iter().filter(|(name, _)| *name != METRIC_NAME);
        let packed = Labels::from_sorted(without_metric());
        if let Some(set) = self.sets_by_labels.get(packed.as_packed()) {
            return *set;
        }
        let pairs = without_metric().map(|(name, value)| self.pair(name, value)).collect();
        let set = self.sets.len() as u32;
        self.sets.push(pairs);
        self.sets_by_labels.insert(packed.as_packed().into(), set);
        set
    }

    /// The bytes of the index file.
    ///
    /// # Errors
    /// [`Error::Limit`] when a section would grow past what 32 bits can address.
    pub fn finish(self, meta: &BlockMeta) -> Result<Vec<u8>> {
        let mut file = SectionWriter::default();
        file.section(Section::Meta, |out| meta.encode(out));
        let sorted = self.sorted_pairs();
        let mut final_ids = vec![0_u32; sorted.len()];
        for (id, (_, _, provisional)) in sorted.iter().enumerate() {
            final_ids[*provisional as usize] = id as u32;
        }
        file.section(Section::Names, |out| write_names(&sorted, out));
        file.array(Section::ValueEnds, Section::ValueText, &sorted, |(_, value, _), out| {
            out.extend_from_slice(value.as_bytes());
        })?;
        let mut all: Vec<Cow<'_, [u32]>> = Vec::with_capacity(sorted.len() + 1);
        all.extend(sorted.iter().map(|(_, _, pair)| Cow::Borrowed(&*self.postings[*pair as usize])));
        for pairs in sorted.chunk_by(|a, b| a.0 == b.0) {
            let mut ids: Vec<u32> =
                pairs.iter().flat_map(|(_, _, pair)| &self.postings[*pair as usize]).copied().collect();
            ids.sort_unstable();
            all.push(Cow::Owned(ids));
        }
        file.array(Section::PostingEnds, Section::Postings, &all, |ids, out| postings::write(ids, out))?;
        drop(all);
        file.array(Section::SetEnds, Section::Sets, &self.sets, |pairs, out| {
            pairs.iter().for_each(|pair| write_varint(out, final_ids[*pair as usize].into()));
        })?;
        let mut chunks_start = 0;
        file.array(Section::SeriesEnds, Section::Series, &self.series, |row, out| {
            write_varint(out, row.metric.map_or(0, |pair| u64::from(final_ids[pair as usize]) + 1));
            write_varint(out, row.set.into());
            out.extend_from_slice(&self.chunk_lists[chunks_start..row.chunks_end]);
            chunks_start = row.chunks_end;
        })?;
        file.section(Section::Times, |out| out.extend_from_slice(&self.times));
        Ok(file.finish())
    }

    fn sorted_pairs(&self) -> Vec<(&str, &str, Provisional)> {
        let mut sorted: Vec<_> =
            self.pairs.iter().map(|((name, value), id)| (&**name, &**value, *id)).collect();
        sorted.sort_unstable();
        sorted
    }
}

fn write_names(sorted: &[(&str, &str, Provisional)], out: &mut Vec<u8>) {
    let names: Vec<_> = sorted.chunk_by(|a, b| a.0 == b.0).collect();
    write_varint(out, names.len() as u64);
    for pairs in names {
        let name = pairs[0].0;
        write_varint(out, name.len() as u64);
        out.extend_from_slice(name.as_bytes());
        write_varint(out, pairs.len() as u64);
    }
}

struct SectionWriter {
    bytes: Vec<u8>,
    table: Vec<u8>,
}

impl Default for SectionWriter {
    fn default() -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        Self { bytes, table: Vec::new() }
    }
}

impl SectionWriter {
    fn section(&mut self, section: Section, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert_eq!(self.table.len(), section as usize * SECTION_ENTRY_BYTES, "sections come in order");
        let start = self.bytes.len();
        write(&mut self.bytes);
        let len = self.bytes.len() - start;
        let crc = crc32c::crc32c(&self.bytes[start..]);
        self.table.extend_from_slice(&(start as u64).to_le_bytes());
        self.table.extend_from_slice(&(len as u64).to_le_bytes());
        self.table.extend_from_slice(&crc.to_le_bytes());
    }

    /// Two sections: where each item ends as u32, and the items.
    fn array<T>(
        &mut self,
        ends: Section,
        items: Section,
        all: &[T],
        mut write: impl FnMut(&T, &mut Vec<u8>),
    ) -> Result<()> {
        let mut bytes = Vec::new();
        let mut item_ends = Vec::with_capacity(all.len() * 4);
        for item in all {
            write(item, &mut bytes);
            let (name, limit, got) = ("bytes of an index section", u32::MAX.into(), bytes.len() as u64);
            let end = u32::try_from(got).map_err(|_| Error::Limit { name, limit, got })?;
            item_ends.extend_from_slice(&end.to_le_bytes());
        }
        self.section(ends, |out| out.extend_from_slice(&item_ends));
        self.section(items, |out| out.extend_from_slice(&bytes));
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        let crc = crc32c::crc32c(&self.table);
        self.bytes.extend_from_slice(&self.table);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        self.bytes.extend_from_slice(&MAGIC);
        self.bytes
    }
}
