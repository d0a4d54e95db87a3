//! Answers from the mapped bytes of an index file. Everything is verified when the file is opened; what is parsed later
//! is still checked for bounds, so a file that was damaged before its checksum was made is an error, not a panic.

use std::cell::Cell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use croaring::Bitmap;

use super::dictionary::PairSource;
use super::layout::{
    BlockMeta, ChunkRef, FOOTER_BYTES, HEADER_BYTES, MAGIC, SECTION_ENTRY_BYTES, Section, StatisticsRef,
    TIMES_ENTRY_BYTES, TimesEntry, VERSION,
};
use super::matching::LabelIndex;
use super::{automaton, postings};
use crate::directory::Mapped;
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::labels::{Labels, METRIC_NAME, Packer, WantedLabels};
use crate::pattern::Pattern;
use crate::watch::Watch;

/// With fewer values of a label, a regular expression is asked for each.
const WALK_VALUES_MIN: usize = 64;

/// A label name and the ids of its pairs.
#[derive(Debug)]
struct Name {
    pub(super) text: Box<str>,
    pub(super) pairs: Range<u32>,
}

/// An open index file.
#[derive(Debug)]
pub struct Index {
    file: PathBuf,
    bytes: Mapped,
    sections: [Range<usize>; Section::COUNT],
    meta: BlockMeta,
    names: Vec<Name>,
    /// Pairs from this one on stand behind the metric name in a label set.
    behind_metric_names: u64,
}

impl Index {
    /// Verifies and opens the index file `file`, which has these bytes.
    ///
    /// # Errors
    /// [`Error::Corruption`] or [`Error::NewerVersion`].
    pub fn open(file: &Path, bytes: Mapped) -> Result<Self> {
        let corrupt = |offset: usize, reason: &str| Error::corruption(file, offset as u64, reason);
        if bytes.len() < HEADER_BYTES + FOOTER_BYTES {
            return Err(corrupt(bytes.len(), "the file is too short for an index"));
        }
        if bytes[..8] != MAGIC {
            return Err(corrupt(0, "not an index file: the magic bytes differ"));
        }
        let mut version = Reader::new(&bytes[8..]);
        match version.u32_le() {
            Ok(VERSION) => {}
            found => return Err(Error::of_version(file, found.unwrap_or_default(), VERSION)),
        }
        let sections = verified_sections(&bytes).map_err(|e| corrupt(e.offset, e.reason))?;
        let at = |section: Section| sections[section as usize].clone();
        let locate = |section: Section, e: DecodeError| corrupt(at(section).start + e.offset, e.reason);
        let meta = BlockMeta::decode(&bytes[at(Section::Meta)]).map_err(|e| locate(Section::Meta, e))?;
        let names = read_names(&bytes[at(Section::Names)]).map_err(|e| locate(Section::Names, e))?;
        let before = names.iter().take_while(|name| *name.text <= *METRIC_NAME);
        let behind_metric_names = before.last().map_or(0, |name| name.pairs.end.into());
        let index = Self { file: file.to_owned(), sections, bytes, meta, names, behind_metric_names };
        index.check_counts()?;
        Ok(index)
    }

    fn check_counts(&self) -> Result<()> {
        let pairs = self.names.last().map_or(0, |name| name.pairs.end) as usize;
        let counts = [
            (Section::ValueEnds, pairs * 4, "the number of label values differs"),
            (Section::PostingEnds, (pairs + self.names.len()) * 4, "the number of postings differs"),
            (
                Section::SeriesEnds,
                (self.meta.series as usize).saturating_mul(4),
                "the number of series differs",
            ),
        ];
        for (section, expected, reason) in counts {
            if self.sections[section as usize].len() != expected {
                return Err(self.corrupt(section, 0, reason));
            }
        }
        Ok(())
    }

    /// What the block says of itself.
    #[must_use]
    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the block has no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.meta.series == 0
    }

    /// The label names, sorted, with the number of their values.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|name| (&*name.text, name.pairs.len()))
    }

    /// The values of a label, sorted, with the number of series that have each: from the heads of the postings alone.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn series_by_value(&self, name: &str) -> impl Iterator<Item = Result<(&str, u64)>> {
        self.pairs_of(name).map(|pair| {
            let bytes = self.item(Section::PostingEnds, Section::Postings, pair as usize)?;
            let series = postings::count(bytes).map_err(|e| self.corrupt_postings(pair as usize, e))?;
            Ok((self.value(pair)?, series))
        })
    }

    /// The values of a label, sorted.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn values(&self, name: &str) -> impl Iterator<Item = Result<&str>> {
        self.pairs_of(name).map(|pair| self.value(pair))
    }

    /// The labels of a series.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn labels(&self, series: u32) -> Result<Labels> {
        self.pack_labels(series, None, &mut Packer::default())
    }

    /// The ids of the pairs of these labels; `None` when all are wanted.
    pub(crate) fn wanted_pairs(&self, wanted: WantedLabels<'_>) -> Option<Vec<Range<u32>>> {
        match wanted {
            WantedLabels::All => None,
            WantedLabels::Named(names) => Some(names.iter().map(|name| self.pairs_of(name)).collect()),
        }
    }

    /// As [`labels`](Self::labels), those of the `wanted` pairs alone, in memory that is reused for the series of this index.
    pub(crate) fn pack_labels(
        &self,
        series: u32,
        wanted: Option<&[Range<u32>]>,
        packer: &mut Packer,
    ) -> Result<Labels> {
        let is_wanted = |pair: &u64| {
            let is_in = |pairs: &Range<u32>| (pairs.start.into()..pairs.end.into()).contains(pair);
            wanted.is_none_or(|wanted| wanted.iter().any(is_in))
        };
        let mut reader = self.series_reader(series)?;
        let fail = |e: DecodeError| self.corrupt(Section::Series, e.offset, e.reason);
        let (metric, set) = (reader.varint().map_err(fail)?, reader.varint().map_err(fail)?);
        let mut metric = metric.checked_sub(1).filter(is_wanted);
        let mut set = Reader::new(self.item(Section::SetEnds, Section::Sets, set as usize)?);
        packer.clear();
        // Pairs come in the order of their names.
        let mut least = 0;
        while !set.is_empty() {
            let pair = set.varint().map_err(|e| self.corrupt(Section::Sets, e.offset, e.reason))?;
            if pair < least {
                return Err(self.corrupt(Section::Sets, 0, "the label pairs of a series are out of order"));
            }
            if let Some(metric) = metric.take_if(|_| pair >= self.behind_metric_names) {
                self.pack_pair(metric, packer)?;
            }
            if is_wanted(&pair) {
                self.pack_pair(pair, packer)?;
            }
            least = pair.saturating_add(1);
        }
        if let Some(metric) = metric {
            self.pack_pair(metric, packer)?;
        }
        Ok(packer.finish())
    }

    #[inline]
    fn pack_pair(&self, pair: u64, packer: &mut Packer) -> Result<()> {
        let number = u32::try_from(pair).unwrap_or(u32::MAX);
        if !packer.push_known(number) {
            let (name, value) = self.pair(pair)?;
            packer.push_numbered(number, name, value);
        }
        Ok(())
    }

    /// The chunks of a series, in order of time, into `out`.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn chunks(&self, series: u32, out: &mut Vec<(ChunkRef, TimesEntry)>) -> Result<()> {
        let item = self.item_range(Section::SeriesEnds, Section::Series, series as usize)?;
        let mut reader = Reader::new(&self.section(Section::Series)[item.clone()]);
        let fail = |e: DecodeError| self.corrupt(Section::Series, item.start + e.offset, e.reason);
        let count = read_chunk_count(&mut reader).map_err(fail)?;
        let mut chunk = ChunkRef { times: 0, values: 0, statistics: StatisticsRef { start: 0, len: 0 } };
        for _ in 0..count {
            chunk = read_chunk(&mut reader, chunk, item.start).map_err(fail)?;
            out.push((chunk, self.times(chunk.times)?));
        }
        Ok(())
    }

    /// The encoded statistics of a chunk: empty when it has none.
    ///
    /// # Errors
    /// [`Error::Corruption`] when the span is none of this index.
    pub fn statistics(&self, at: StatisticsRef) -> Result<&[u8]> {
        let start = at.start as usize;
        let bytes = self.section(Section::Series).get(start..start + usize::from(at.len));
        bytes.ok_or_else(|| self.corrupt(Section::Series, start, "statistics are out of range"))
    }

    /// The error about statistics that cannot be read.
    pub(crate) fn corrupt_statistics(&self, at: StatisticsRef, error: DecodeError) -> Error {
        self.corrupt(Section::Series, at.start as usize + error.offset, error.reason)
    }

    /// A timestamp column.
    ///
    /// # Errors
    /// [`Error::Corruption`].
    pub fn times(&self, position: u32) -> Result<TimesEntry> {
        let start = position as usize * TIMES_ENTRY_BYTES;
        let entry = self.section(Section::Times).get(start..).map(Reader::new);
        entry
            .and_then(|mut entry| TimesEntry::decode(&mut entry).ok())
            .ok_or_else(|| self.corrupt(Section::Times, start, "a timestamp column is out of range"))
    }

    /// How many timestamp columns there are.
    #[must_use]
    pub fn times_count(&self) -> usize {
        self.section(Section::Times).len() / TIMES_ENTRY_BYTES
    }

    fn series_reader(&self, series: u32) -> Result<Reader<'_>> {
        Ok(Reader::new(self.item(Section::SeriesEnds, Section::Series, series as usize)?))
    }

    fn section(&self, section: Section) -> &[u8] {
        &self.bytes[self.sections[section as usize].clone()]
    }

    /// The item at `index` of an array section.
    fn item(&self, ends: Section, items: Section, index: usize) -> Result<&[u8]> {
        Ok(&self.section(items)[self.item_range(ends, items, index)?])
    }

    /// Where that item lies in its section, which it does.
    fn item_range(&self, ends: Section, items: Section, index: usize) -> Result<Range<usize>> {
        let end_at = |index: usize| {
            let bytes = self.section(ends).get(index * 4..)?.first_chunk::<4>()?;
            Some(u32::from_le_bytes(*bytes) as usize)
        };
        let start = if index == 0 { Some(0) } else { end_at(index - 1) };
        start
            .zip(end_at(index))
            .filter(|(start, end)| start <= end && *end <= self.section(items).len())
            .map(|(start, end)| start..end)
            .ok_or_else(|| self.corrupt(ends, index * 4, "an item is out of range"))
    }

    fn value(&self, pair: u32) -> Result<&str> {
        let bytes = self.item(Section::ValueEnds, Section::ValueText, pair as usize)?;
        std::str::from_utf8(bytes)
            .map_err(|_| self.corrupt(Section::ValueText, 0, "a label value is not UTF-8"))
    }

    /// The name and the value of a pair.
    pub(super) fn pair(&self, pair: u64) -> Result<(&str, &str)> {
        let pair = u32::try_from(pair).unwrap_or(u32::MAX);
        let name = self.names.partition_point(|name| name.pairs.end <= pair);
        let Some(name) = self.names.get(name) else {
            return Err(self.corrupt(Section::Names, 0, "a label pair is out of range"));
        };
        Ok((&name.text, self.value(pair)?))
    }

    fn pairs_of(&self, name: &str) -> Range<u32> {
        let found = self.names.binary_search_by(|n| (*n.text).cmp(name));
        found.map_or(0..0, |at| self.names[at].pairs.clone())
    }

    /// The pair among `pairs`, which are those of one name, that has this value.
    fn find(&self, pairs: &Range<u32>, value: &str) -> Result<Option<usize>> {
        let (mut low, mut high) = (pairs.start, pairs.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.value(middle)?.cmp(value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle as usize)),
            }
        }
        Ok(None)
    }

    /// The series of all these postings: positions are those of pairs, and behind them those of names.
    fn union(&self, all: impl IntoIterator<Item = usize>) -> Result<Bitmap> {
        let mut union = postings::Union::default();
        for position in all {
            let bytes = self.item(Section::PostingEnds, Section::Postings, position)?;
            union.add(bytes).map_err(|e| self.corrupt_postings(position, e))?;
        }
        Ok(union.finish())
    }

    fn corrupt_postings(&self, position: usize, error: DecodeError) -> Error {
        let item = self.item_range(Section::PostingEnds, Section::Postings, position);
        self.corrupt(Section::Postings, item.map_or(0, |item| item.start) + error.offset, error.reason)
    }

    fn corrupt(&self, section: Section, offset: usize, reason: &str) -> Error {
        let offset = self.sections[section as usize].start + offset;
        Error::corruption(&self.file, offset as u64, format!("{reason} (section {section:?})"))
    }
}

impl PairSource for Index {
    fn series_count(&self) -> usize {
        self.meta.series as usize
    }

    fn pair_count(&self) -> usize {
        self.names.last().map_or(0, |name| name.pairs.end) as usize
    }

    fn pairs_in_order(&self) -> Option<Vec<u32>> {
        None
    }

    fn pair_text(&self, pair: u32) -> Result<(&str, &str)> {
        self.pair(pair.into())
    }

    fn pairs_of_series(&self, series: u32, out: &mut Vec<u32>) -> Result<()> {
        let mut reader = self.series_reader(series)?;
        let fail = |e: DecodeError| self.corrupt(Section::Series, e.offset, e.reason);
        let (metric, set) = (reader.varint().map_err(fail)?, reader.varint().map_err(fail)?);
        let number = |pair: u64| u32::try_from(pair).unwrap_or(u32::MAX);
        out.extend(metric.checked_sub(1).map(number));
        let mut set = Reader::new(self.item(Section::SetEnds, Section::Sets, set as usize)?);
        while !set.is_empty() {
            let pair = set.varint().map_err(|e| self.corrupt(Section::Sets, e.offset, e.reason))?;
            out.push(number(pair));
        }
        Ok(())
    }

    fn series_of_pair(&self, pair: u32, out: &mut Vec<u32>) -> Result<()> {
        let bytes = self.item(Section::PostingEnds, Section::Postings, pair as usize)?;
        postings::read(bytes, out).map_err(|e| self.corrupt_postings(pair as usize, e))
    }
}

impl LabelIndex for Index {
    fn all(&self) -> Result<Bitmap> {
        Ok(Bitmap::from_range(0..self.meta.series as u32))
    }

    fn with_value(&self, name: &str, value: &str) -> Result<Bitmap> {
        self.union(self.find(&self.pairs_of(name), value)?)
    }

    fn with_any(
        &self,
        name: &str,
        values: &mut dyn Iterator<Item = &str>,
        watch: Watch<'_>,
    ) -> Result<Bitmap> {
        let pairs = self.pairs_of(name);
        let mut found = Vec::new();
        for (at, value) in values.enumerate() {
            watch.look_value(at)?;
            found.extend(self.find(&pairs, value)?);
        }
        self.union(found)
    }

    fn with_values(&self, name: &str, keep: &dyn Fn(&str) -> bool, watch: Watch<'_>) -> Result<Bitmap> {
        let mut kept = Vec::new();
        for (at, pair) in self.pairs_of(name).enumerate() {
            watch.look_value(at)?;
            if keep(self.value(pair)?) {
                kept.push(pair as usize);
            }
        }
        self.union(kept)
    }

    fn with_label(&self, name: &str) -> Result<Bitmap> {
        let pairs = self.names.last().map_or(0, |name| name.pairs.end) as usize;
        let found = self.names.binary_search_by(|n| (*n.text).cmp(name));
        self.union(found.ok().map(|at| pairs + at))
    }

    fn count_values(&self, name: &str) -> u64 {
        self.pairs_of(name).len() as u64
    }

    fn with_pattern(&self, name: &str, pattern: &Pattern, watch: Watch<'_>) -> Result<Bitmap> {
        let pairs = self.pairs_of(name);
        let mut kept = Vec::new();
        let mut rest = pairs.start;
        if pairs.len() >= WALK_VALUES_MIN
            && let Some(automaton) = pattern.walker()
        {
            let looks = Cell::new(0);
            let value = |pair: u32| {
                watch.look_value(looks.replace(looks.get() + 1))?;
                self.item(Section::ValueEnds, Section::ValueText, pair as usize)
            };
            rest = automaton::walk(automaton, pairs.clone(), value, |pair| {
                kept.push(pair as usize);
                Ok(())
            })?;
        }
        for pair in rest..pairs.end {
            watch.look_value((pair - rest) as usize)?;
            if pattern.rest_matches(self.value(pair)?) {
                kept.push(pair as usize);
            }
        }
        self.union(kept)
    }
}

fn verified_sections(bytes: &[u8]) -> Result<[Range<usize>; Section::COUNT], DecodeError> {
    let footer = bytes.len() - FOOTER_BYTES;
    let mut reader = Reader::new(&bytes[footer..]);
    let at = |offset: usize, reason| DecodeError { offset, reason };
    let table = reader.bytes(Section::COUNT * SECTION_ENTRY_BYTES)?;
    let crc = reader.u32_le()?;
    if reader.remaining() != MAGIC {
        return Err(at(
            bytes.len() - MAGIC.len(),
            "the file does not end like an index: it is cut off or damaged",
        ));
    }
    if crc32c::crc32c(table) != crc {
        return Err(at(footer, "the section table's checksum differs"));
    }
    let mut sections = [const { 0..0 }; Section::COUNT];
    let mut entries = Reader::new(table);
    for section in &mut sections {
        let (start, len, crc) = (entries.u64_le()?, entries.u64_le()?, entries.u32_le()?);
        let range =
            usize::try_from(start).ok().zip(start.checked_add(len).and_then(|end| usize::try_from(end).ok()));
        let (start, end) =
            range.filter(|(_, end)| *end <= footer).ok_or_else(|| at(footer, "a section is out of range"))?;
        let content = bytes.get(start..end).ok_or_else(|| at(footer, "a section is out of range"))?;
        if crc32c::crc32c(content) != crc {
            return Err(at(start, "a section's checksum differs"));
        }
        *section = start..end;
    }
    Ok(sections)
}

fn read_chunk_count(series: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let (_metric, _set) = (series.varint()?, series.varint()?);
    series.varint_at_most(series.remaining().len(), "more chunks than bytes")
}

/// The chunk behind `before`; the reader began at `start` in its section.
fn read_chunk(reader: &mut Reader<'_>, before: ChunkRef, start: usize) -> Result<ChunkRef, DecodeError> {
    let times = i64::from(before.times).wrapping_add(reader.zigzag()?);
    let times = u32::try_from(times).map_err(|_| reader.error("a chunk reference is out of range"))?;
    let values = before.values.wrapping_add(reader.varint()?);
    let len = reader.u8()?;
    let start = (start + reader.offset()) as u32;
    reader.bytes(len.into())?;
    Ok(ChunkRef { times, values, statistics: StatisticsRef { start, len } })
}

fn read_names(bytes: &[u8]) -> Result<Vec<Name>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.varint_at_most(bytes.len(), "more label names than bytes")?;
    let mut names = Vec::with_capacity(count);
    let mut next = 0_u32;
    for _ in 0..count {
        let text = std::str::from_utf8(reader.prefixed_bytes()?)
            .map_err(|_| reader.error("a label name is not UTF-8"))?;
        let values = reader.varint_at_most(u32::MAX as usize, "too many label values")? as u32;
        let end = next.checked_add(values).ok_or_else(|| reader.error("too many label values"))?;
        names.push(Name { text: text.into(), pairs: next..end });
        next = end;
    }
    Ok(names)
}
