//! Writes an index file from series that come sorted by labels.
//!
//! While series come, what says where their chunks and label sets are goes to files ([`spill`](super::spill)). A number for each
//! series of the sources stays in memory, and the label sets that are remembered to be shared. At the end the sections are
//! written one after the other: texts and postings come from the sources once more, pair by pair, so that nobody holds all
//! of them.

use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use croaring::Bitmap;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::dictionary::{Dictionary, contradiction};
use super::layout::{BlockMeta, ChunkRef, Section, TIMES_ENTRY_BYTES, TimesEntry};
use super::postings;
use super::sections::SectionWriter;
use super::spill::{Spill, Spilled};
use crate::directory::Directory;
use crate::encoding::{Reader, write_varint, write_zigzag};
use crate::error::Result;

/// In place of an id: the series is not in the index.
const NO_ID: u32 = u32::MAX;
/// Bytes that a label set takes that is remembered to be shared, at most: a table that has just grown is less than half full, and
/// the one before is still there.
pub const SHARED_SET_BYTES_MAX: usize = 3 * (size_of::<SharedSet>() + 1);
/// Postings of fewer series are collected in a list, and of more in a bitmap.
const LIST_IDS_MAX: usize = 4096;

/// Writes an index file.
#[derive(Debug)]
pub struct IndexBuilder<'a> {
    dictionary: &'a Dictionary<'a>,
    directory: Arc<dyn Directory>,
    /// Whether a series has the pair.
    used: Vec<bool>,
    /// The ids of the series of each source.
    ids: Vec<Vec<u32>>,
    /// Label sets without the metric name.
    shared_sets: HashTable<SharedSet>,
    shared_sets_max: usize,
    /// Where the first series of each set is: source and number there.
    sets: Spill,
    sets_count: u32,
    series: u32,
    /// Of each series: pair of its metric name + 1 (0: none), set, length of its chunk list, chunk list.
    rows: Spill,
    times: Spill,
    times_count: u32,
    /// Used again for each series.
    pairs: Vec<u32>,
    chunk_list: Vec<u8>,
}

/// A label set that later series may have too.
#[derive(Clone, Copy, Debug)]
struct SharedSet {
    hash: u32,
    /// Its number.
    set: u32,
    /// A series that has it: source and number there.
    place: (u32, u32),
}

impl<'a> IndexBuilder<'a> {
    /// An index of series of the dictionary's sources. Files that are needed meanwhile are put into `folder`, which is removed
    /// by the caller if this is not finished.
    #[must_use]
    pub fn new(dictionary: &'a Dictionary<'a>, directory: &Arc<dyn Directory>, folder: &Path) -> Self {
        let spill = |name: &str| -> Spill {
            let path: PathBuf = folder.join(name);
            Spill::new(directory, path)
        };
        Self {
            dictionary,
            directory: Arc::clone(directory),
            used: vec![false; dictionary.pair_count()],
            ids: dictionary.series_counts().map(|series| vec![NO_ID; series]).collect(),
            shared_sets: HashTable::new(),
            shared_sets_max: usize::MAX,
            sets: spill("index.sets"),
            sets_count: 0,
            series: 0,
            rows: spill("index.rows"),
            times: spill("index.times"),
            times_count: 0,
            pairs: Vec::new(),
            chunk_list: Vec::new(),
        }
    }

    /// Remembers only so many label sets: of those that come later, each series gets its own. Each takes up to
    /// [`SHARED_SET_BYTES_MAX`].
    pub fn share_sets(&mut self, count_max: usize) {
        self.shared_sets_max = count_max;
    }

    /// Adds a timestamp column; returns its position.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn add_times(&mut self, times: &TimesEntry) -> Result<u32> {
        self.times.push(|out| times.encode(out))?;
        self.times_count += 1;
        Ok(self.times_count - 1)
    }

    /// How many series were added.
    #[must_use]
    pub fn series(&self) -> u64 {
        self.series.into()
    }

    /// Adds a series, which is at these `places`: sources, and its numbers there. Its labels sort after those of the series
    /// before. The statistics of its chunks are spans of `statistics`.
    ///
    /// # Errors
    /// [`Error::Corruption`](crate::Error::Corruption) in the source, [`Error::Io`](crate::Error::Io).
    pub fn add_series(
        &mut self,
        places: &[(usize, u32)],
        chunks: &[ChunkRef],
        statistics: &[u8],
    ) -> Result<()> {
        let &(source, number) = places.first().ok_or_else(contradiction)?;
        let mut pairs = std::mem::take(&mut self.pairs);
        self.dictionary.pairs_of(source, number, &mut pairs)?;
        for &(source, number) in places {
            *self.ids[source].get_mut(number as usize).ok_or_else(contradiction)? = self.series;
        }
        self.series += 1;
        pairs.iter().for_each(|pair| self.used[*pair as usize] = true);
        let metric = take_metric(self.dictionary, &mut pairs);
        let set = self.set(&pairs, (source as u32, number))?;
        self.pairs = pairs;
        let list = &mut self.chunk_list;
        list.clear();
        write_varint(list, chunks.len() as u64);
        let (mut times, mut values) = (0, 0);
        for chunk in chunks {
            write_zigzag(list, i64::from(chunk.times) - i64::from(times));
            write_varint(list, chunk.values - values);
            (times, values) = (chunk.times, chunk.values);
            list.push(chunk.statistics.len);
            let start = chunk.statistics.start as usize;
            list.extend_from_slice(&statistics[start..start + usize::from(chunk.statistics.len)]);
        }
        let row = |out: &mut Vec<u8>| {
            write_varint(out, metric.map_or(0, |pair| u64::from(pair) + 1));
            write_varint(out, set.into());
            write_varint(out, list.len() as u64);
            out.extend_from_slice(list);
        };
        self.rows.push(row)
    }

    /// The number of a label set, which has a series at `place`.
    fn set(&mut self, pairs: &[u32], place: (u32, u32)) -> Result<u32> {
        let mut hasher = FixedState::default().build_hasher();
        pairs.iter().for_each(|pair| hasher.write_u32(*pair));
        let hash = (hasher.finish() >> 16) as u32;
        let spread = |hash: u32| u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let dictionary = self.dictionary;
        let (mut other, mut failed) = (Vec::new(), Ok(()));
        let same = |known: &SharedSet| {
            known.hash == hash && {
                match dictionary.pairs_of(known.place.0 as usize, known.place.1, &mut other) {
                    Ok(()) => drop(take_metric(dictionary, &mut other)),
                    Err(error) => failed = Err(error),
                }
                other == pairs
            }
        };
        let found = self.shared_sets.find(spread(hash), same).map(|known| known.set);
        failed?;
        if let Some(set) = found {
            return Ok(set);
        }
        let set = self.sets_count;
        self.sets_count += 1;
        self.sets.push(|out| {
            out.extend_from_slice(&place.0.to_le_bytes());
            out.extend_from_slice(&place.1.to_le_bytes());
        })?;
        if self.shared_sets.len() < self.shared_sets_max {
            let known = SharedSet { hash, set, place };
            self.shared_sets.insert_unique(spread(hash), known, |known| spread(known.hash));
        }
        Ok(set)
    }

    /// Writes the index file `path`, and makes it durable.
    ///
    /// # Errors
    /// [`Error::Limit`](crate::Error::Limit) when a section would grow past what 32 bits can address;
    /// [`Error::Io`](crate::Error::Io), [`Error::Corruption`](crate::Error::Corruption) in a source.
    pub fn finish(mut self, meta: &BlockMeta, path: &Path) -> Result<()> {
        // It can be large, and all sets are known.
        self.shared_sets = HashTable::new();
        let spills = [&mut self.rows, &mut self.sets, &mut self.times];
        let spilled = spills
            .map(|spill| std::mem::replace(spill, Spill::new(&self.directory, PathBuf::new())).finish());
        let [rows, sets, times] = spilled;
        let (rows, sets, times) = (rows?, sets?, times?);
        let written = self.write(meta, path, &rows, &sets, &times);
        rows.remove().and(sets.remove()).and(times.remove()).and(written)
    }

    fn write(
        &self,
        meta: &BlockMeta,
        path: &Path,
        rows: &Spilled,
        sets: &Spilled,
        times: &Spilled,
    ) -> Result<()> {
        debug_assert_eq!(times.bytes.len(), self.times_count as usize * TIMES_ENTRY_BYTES, "all columns");
        let mut file = SectionWriter::create(&*self.directory, path)?;
        let mut scratch = Vec::new();
        meta.encode(&mut scratch);
        file.section(Section::Meta, &scratch)?;
        let numbers = self.final_numbers();
        scratch.clear();
        self.write_names(&mut scratch);
        file.section(Section::Names, &scratch)?;
        file.array(Section::ValueEnds, Section::ValueText, |item| self.values(item))?;
        file.array(Section::PostingEnds, Section::Postings, |item| self.postings(item))?;
        file.array(Section::SetEnds, Section::Sets, |item| self.label_sets(&sets.bytes, &numbers, item))?;
        file.array(Section::SeriesEnds, Section::Series, |item| series_rows(&rows.bytes, &numbers, item))?;
        file.section(Section::Times, &times.bytes)?;
        file.finish()
    }

    /// The numbers of the pairs without those that no series has.
    fn final_numbers(&self) -> Vec<u32> {
        let mut next = 0;
        let number = |used: &bool| {
            next += u32::from(*used);
            next.wrapping_sub(1)
        };
        self.used.iter().map(number).collect()
    }

    fn write_names(&self, out: &mut Vec<u8>) {
        let used = |pairs: std::ops::Range<u32>| {
            self.used[pairs.start as usize..pairs.end as usize].iter().filter(|used| **used).count()
        };
        let names = self.dictionary.names().map(|(name, pairs)| (name, used(pairs)));
        let names: Vec<(&str, usize)> = names.filter(|(_, values)| *values > 0).collect();
        write_varint(out, names.len() as u64);
        for (name, values) in names {
            write_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            write_varint(out, values as u64);
        }
    }

    fn values(&self, item: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut pairs = self.dictionary.in_order();
        let mut places = Vec::new();
        while let Some(pair) = pairs.next(&mut places) {
            if self.used[pair as usize] {
                let &place = places.first().ok_or_else(contradiction)?;
                item(self.dictionary.text(place)?.1.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The postings of all pairs, and then of all names.
    fn postings(&self, item: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut pairs = self.dictionary.in_order();
        let (mut places, mut numbers, mut list, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut of_names: Vec<Bitmap> = Vec::new();
        for (_, range) in self.dictionary.names() {
            let mut of_name = Bitmap::new();
            for _ in range {
                let pair = pairs.next(&mut places).ok_or_else(contradiction)?;
                if !self.used[pair as usize] {
                    continue;
                }
                list.clear();
                let mut many = None;
                for &place in &places {
                    numbers.clear();
                    self.dictionary.series_of(place, &mut numbers)?;
                    let ids = &self.ids[place.0];
                    for number in &mut numbers {
                        *number = *ids.get(*number as usize).ok_or_else(contradiction)?;
                    }
                    numbers.retain(|id| *id != NO_ID);
                    if list.len() + numbers.len() > LIST_IDS_MAX {
                        let many = many.get_or_insert_with(Bitmap::new);
                        many.add_many(&list);
                        many.add_many(&numbers);
                        list.clear();
                    } else {
                        list.extend_from_slice(&numbers);
                    }
                }
                out.clear();
                if let Some(mut many) = many {
                    many.add_many(&list);
                    of_name.or_inplace(&many);
                    postings::write_bitmap(many, &mut out);
                } else {
                    list.sort_unstable();
                    // A series that several sources have comes from each.
                    list.dedup();
                    of_name.add_many(&list);
                    postings::write(&list, &mut out);
                }
                item(&out)?;
            }
            of_name.run_optimize();
            of_names.push(of_name);
        }
        for of_name in of_names.into_iter().filter(|of_name| !of_name.is_empty()) {
            out.clear();
            postings::write_bitmap(of_name, &mut out);
            item(&out)?;
        }
        Ok(())
    }

    fn label_sets(
        &self,
        sets: &[u8],
        numbers: &[u32],
        item: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let (mut pairs, mut out) = (Vec::new(), Vec::new());
        let (places, _) = sets.as_chunks::<4>();
        for place in places.chunks_exact(2) {
            let (source, number) = (u32::from_le_bytes(place[0]), u32::from_le_bytes(place[1]));
            self.dictionary.pairs_of(source as usize, number, &mut pairs)?;
            take_metric(self.dictionary, &mut pairs);
            out.clear();
            pairs.iter().for_each(|pair| write_varint(&mut out, numbers[*pair as usize].into()));
            item(&out)?;
        }
        Ok(())
    }
}

/// Takes the metric name out of the pairs of a series, if it has one.
fn take_metric(dictionary: &Dictionary<'_>, pairs: &mut Vec<u32>) -> Option<u32> {
    let names = dictionary.metric_names();
    let at = pairs.iter().position(|pair| names.contains(pair))?;
    Some(pairs.remove(at))
}

/// The rows of all series, with the final numbers of their metric names.
fn series_rows(rows: &[u8], numbers: &[u32], item: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut rows = Reader::new(rows);
    let mut out = Vec::new();
    while !rows.is_empty() {
        let mut next = || rows.varint().map_err(|_| contradiction());
        let (metric, set, len) = (next()?, next()?, next()?);
        out.clear();
        write_varint(&mut out, metric.checked_sub(1).map_or(0, |pair| u64::from(numbers[pair as usize]) + 1));
        write_varint(&mut out, set);
        out.extend_from_slice(rows.bytes(len as usize).map_err(|_| contradiction())?);
        item(&out)?;
    }
    Ok(())
}
