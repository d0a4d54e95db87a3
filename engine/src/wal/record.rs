//! What a WAL record holds: the definition of a group of series, or rows of samples as columns.

use std::sync::Arc;

use crate::encoding::histogram::{read_histograms, write_histograms};
use crate::encoding::{DecodeError, Reader, write_varint, write_zigzag};
use crate::histogram::{Histogram, cell};
use crate::labels::Labels;

/// Columns in one group at most; a row with more fields spans several groups.
pub const GROUP_WIDTH_MAX: usize = 256;

/// The number of a group within one head. The low [`SHARD_BITS`](Self::SHARD_BITS) bits are its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub u32);

impl GroupId {
    /// How many low bits name the shard.
    pub const SHARD_BITS: u32 = 4;
    /// How many shards there are.
    pub const SHARDS: usize = 1 << Self::SHARD_BITS;

    /// The group at `index` of `shard`; `None` when the shard is full.
    #[must_use]
    pub fn new(shard: usize, index: usize) -> Option<Self> {
        let index = u32::try_from(index).ok().filter(|i| *i < 1 << (32 - Self::SHARD_BITS))?;
        Some(Self(index << Self::SHARD_BITS | shard as u32))
    }

    /// The shard.
    #[must_use]
    pub fn shard(self) -> usize {
        (self.0 as usize) & (Self::SHARDS - 1)
    }

    /// The position in the shard.
    #[must_use]
    pub fn index(self) -> usize {
        (self.0 >> Self::SHARD_BITS) as usize
    }
}

/// A group of series that are sampled together, and so share a timestamp column: the fields of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDefinition {
    /// Its number.
    pub group: GroupId,
    /// The labels of its series, one for each column.
    pub series: Vec<Labels>,
}

impl GroupDefinition {
    /// Appends the record's payload. Each series after the first gives only the bytes by which its packed labels
    /// differ from those before it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_varint(out, u64::from(self.group.0));
        write_varint(out, self.series.len() as u64);
        let mut previous: &[u8] = &[];
        for labels in &self.series {
            let packed = labels.as_packed();
            let shortest = packed.len().min(previous.len());
            let prefix = packed.iter().zip(previous).take_while(|(a, b)| a == b).count();
            let suffix = packed.iter().rev().zip(previous.iter().rev()).take_while(|(a, b)| a == b).count();
            let suffix = suffix.min(shortest - prefix);
            write_varint(out, prefix as u64);
            write_varint(out, suffix as u64);
            let middle = &packed[prefix..packed.len() - suffix];
            write_varint(out, middle.len() as u64);
            out.extend_from_slice(middle);
            previous = packed;
        }
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Where the bytes do not fit.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let group = GroupId(
            u32::try_from(reader.varint()?).map_err(|_| reader.error("the group's number is too large"))?,
        );
        let count = reader.varint_at_most(GROUP_WIDTH_MAX, "the group has too many columns")?;
        let mut series = Vec::with_capacity(count);
        let mut packed: Vec<u8> = Vec::new();
        for _ in 0..count {
            let prefix = reader.varint_at_most(packed.len(), "the shared prefix is too long")?;
            let suffix = reader.varint_at_most(packed.len() - prefix, "the shared suffix is too long")?;
            let middle = reader.prefixed_bytes()?;
            let tail = packed.split_off(packed.len() - suffix);
            packed.truncate(prefix);
            packed.extend_from_slice(middle);
            packed.extend_from_slice(&tail);
            series.push(
                Labels::from_packed(&packed).map_err(|_| reader.error("the labels are not well formed"))?,
            );
        }
        if !reader.is_empty() {
            return Err(reader.error("bytes follow the definition"));
        }
        Ok(Self { group, series })
    }
}

/// A row in which some columns of the group have no sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseRow {
    /// The row's position.
    pub row: usize,
    /// One bit for each column, lowest first: whether there is a sample.
    pub present: Box<[u8]>,
}

impl SparseRow {
    /// Whether the column has a sample.
    #[must_use]
    pub fn has(&self, column: usize) -> bool {
        self.present.get(column / 8).is_some_and(|byte| byte >> (column % 8) & 1 == 1)
    }

    /// How many columns have a sample.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.present.iter().map(|byte| byte.count_ones() as usize).sum()
    }
}

/// Rows of samples, as columns. A row is one timestamp and the values of its group's columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The group of each row.
    pub groups: Vec<GroupId>,
    /// The timestamp of each row, nanoseconds.
    pub timestamps: Vec<i64>,
    /// The number of columns of each row's group.
    pub widths: Vec<u16>,
    /// The values of all samples, row after row, in order of their columns.
    pub values: Vec<f64>,
    /// The rows that do not have a sample in every column, ascending.
    pub sparse: Vec<SparseRow>,
    /// The histograms that values name by their place.
    pub histograms: Vec<Arc<Histogram>>,
}

/// One row of [`Rows`].
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'a> {
    /// Its group.
    pub group: GroupId,
    /// Nanoseconds.
    pub timestamp: i64,
    /// The number of columns of its group.
    pub width: usize,
    /// The values of its samples in order of their columns.
    pub values: &'a [f64],
    /// Which columns have a sample, when not all have.
    pub sparse: Option<&'a SparseRow>,
    /// The histograms that values name by their place; they are those of all rows.
    pub histograms: &'a [Arc<Histogram>],
}

impl Rows {
    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many samples the rows hold.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.values.len()
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        let mut sparse = self.sparse.iter().peekable();
        let mut values = &self.values[..];
        self.groups.iter().enumerate().map(move |(row, group)| {
            let width = usize::from(self.widths[row]);
            let sparse = sparse.next_if(|s| s.row == row);
            let samples = sparse.map_or(width, SparseRow::samples);
            let (these, rest) = values.split_at(samples.min(values.len()));
            values = rest;
            let (timestamp, histograms) = (self.timestamps[row], &self.histograms[..]);
            RowRef { group: *group, timestamp, width, values: these, sparse, histograms }
        })
    }

    /// Adds a row with a sample in every column.
    #[inline]
    pub fn push(&mut self, group: GroupId, timestamp: i64, values: impl ExactSizeIterator<Item = f64>) {
        self.groups.push(group);
        self.timestamps.push(timestamp);
        self.widths.push(values.len() as u16);
        self.values.extend(values);
    }

    /// Adds a row with samples in some of `width` columns; `cells` gives column and value, columns ascending strictly.
    pub fn push_sparse(
        &mut self,
        group: GroupId,
        timestamp: i64,
        width: usize,
        cells: impl IntoIterator<Item = (usize, f64)>,
    ) {
        let row = self.groups.len();
        self.groups.push(group);
        self.timestamps.push(timestamp);
        self.widths.push(width as u16);
        let mut present = vec![0_u8; width.div_ceil(8)];
        for (column, value) in cells {
            self.values.push(value);
            present[column / 8] |= 1 << (column % 8);
        }
        self.sparse.push(SparseRow { row, present: present.into() });
    }

    /// Adds a row with a histogram in one of `width` columns.
    pub fn push_histogram(
        &mut self,
        group: GroupId,
        timestamp: i64,
        (column, width): (usize, usize),
        histogram: Arc<Histogram>,
    ) {
        let value = cell::histogram(self.histograms.len() as u32);
        self.histograms.push(histogram);
        match width {
            1 => self.push(group, timestamp, [value].into_iter()),
            _ => self.push_sparse(group, timestamp, width, [(column, value)]),
        }
    }

    /// Appends the rows' encoding: the columns one after the other.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.values.len() * 8 + self.groups.len() * 4 + 32);
        write_varint(out, self.groups.len() as u64);
        let mut previous = 0_i64;
        for group in &self.groups {
            write_zigzag(out, i64::from(group.0) - previous);
            previous = i64::from(group.0);
        }
        let mut previous = 0_i64;
        for &timestamp in &self.timestamps {
            write_zigzag(out, timestamp.wrapping_sub(previous));
            previous = timestamp;
        }
        for &width in &self.widths {
            write_varint(out, u64::from(width));
        }
        write_varint(out, self.sparse.len() as u64);
        let mut previous = 0;
        for sparse in &self.sparse {
            write_varint(out, (sparse.row - previous) as u64);
            out.extend_from_slice(&sparse.present);
            previous = sparse.row;
        }
        for value in &self.values {
            out.extend_from_slice(&value.to_le_bytes());
        }
        if !self.histograms.is_empty() {
            write_varint(out, self.histograms.len() as u64);
            write_histograms(&self.histograms, out);
        }
    }

    /// Reads an encoding.
    ///
    /// # Errors
    /// Where the bytes do not fit.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut rows = Self::default();
        rows.decode_into(payload)?;
        Ok(rows)
    }

    /// Reads an encoding into these rows, whose memory is used again.
    ///
    /// # Errors
    /// Where the bytes do not fit; the rows are of no use then.
    pub fn decode_into(&mut self, payload: &[u8]) -> Result<(), DecodeError> {
        let rows = self;
        rows.groups.clear();
        rows.timestamps.clear();
        rows.widths.clear();
        rows.values.clear();
        rows.sparse.clear();
        rows.histograms.clear();
        let mut reader = Reader::new(payload);
        let count = reader.varint_at_most(payload.len(), "more rows than bytes")?;
        rows.groups.reserve(count);
        rows.timestamps.reserve(count);
        rows.widths.reserve(count);
        let mut group = 0_i64;
        for _ in 0..count {
            group = group.wrapping_add(reader.zigzag()?);
            let id = u32::try_from(group).map_err(|_| reader.error("a group's number is out of range"))?;
            rows.groups.push(GroupId(id));
        }
        let mut timestamp = 0_i64;
        for _ in 0..count {
            timestamp = timestamp.wrapping_add(reader.zigzag()?);
            rows.timestamps.push(timestamp);
        }
        let mut samples = 0;
        for _ in 0..count {
            let width = reader.varint_at_most(GROUP_WIDTH_MAX, "a row is too wide")?;
            rows.widths.push(width as u16);
            samples += width;
        }
        let sparse = reader.varint_at_most(count, "more sparse rows than rows")?;
        let mut row = 0;
        for i in 0..sparse {
            let step = reader.varint_at_most(count, "a sparse row is out of range")?;
            row += step;
            if row >= count || (i > 0 && step == 0) {
                return Err(reader.error("a sparse row is out of range"));
            }
            let width = usize::from(rows.widths[row]);
            let present = reader.bytes(width.div_ceil(8))?;
            if width % 8 > 0 && present.last().is_some_and(|byte| byte >> (width % 8) > 0) {
                return Err(reader.error("a sparse row has a sample behind its last column"));
            }
            let sparse = SparseRow { row, present: present.into() };
            samples -= width - sparse.samples();
            rows.sparse.push(sparse);
        }
        let values = reader.bytes(samples * 8)?;
        let mut has_histograms = false;
        rows.values.extend(values.as_chunks::<8>().0.iter().map(|bytes| {
            let value = f64::from_le_bytes(*bytes);
            has_histograms |= cell::is_histogram(value);
            value
        }));
        if has_histograms {
            rows.read_histograms(&mut reader)?;
        }
        if !reader.is_empty() {
            return Err(reader.error("bytes follow the rows"));
        }
        Ok(())
    }

    /// Reads the histograms that the values name.
    #[cold]
    fn read_histograms(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let count = reader.varint_at_most(self.values.len(), "more histograms than samples")?;
        read_histograms(reader, count, &mut self.histograms)?;
        let places = self.values.iter().filter_map(|value| cell::histogram_place(*value));
        if places.into_iter().any(|place| place as usize >= count) {
            return Err(reader.error("a value names a histogram that is not there"));
        }
        Ok(())
    }
}

/// Encodes one batch: the rows of each shard, length-prefixed.
#[must_use]
pub fn encode_batch<'a>(shards: impl IntoIterator<Item = &'a Rows>) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut rows_bytes = Vec::new();
    for rows in shards {
        if !rows.is_empty() {
            rows_bytes.clear();
            rows.encode(&mut rows_bytes);
            write_varint(&mut payload, rows_bytes.len() as u64);
            payload.extend_from_slice(&rows_bytes);
        }
    }
    payload
}

/// Reads the rows of each shard from a batch.
pub fn batch_rows(payload: &[u8]) -> impl Iterator<Item = Result<Rows, DecodeError>> {
    batch_parts(payload).map(|part| part.and_then(|(_, bytes)| Rows::decode(bytes)))
}

/// Splits a batch into shards: the shard and the encoded [`Rows`] of each.
pub(super) fn batch_parts(payload: &[u8]) -> impl Iterator<Item = Result<(usize, &[u8]), DecodeError>> {
    let mut reader = Reader::new(payload);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let part = reader.prefixed_bytes().and_then(|bytes| Ok((shard_of_rows(bytes)?, bytes)));
        if part.is_err() {
            // What follows cannot be told apart any more.
            reader = Reader::new(&[]);
        }
        Some(part)
    })
}

/// The shard of encoded rows: that of the first one.
fn shard_of_rows(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.varint()?;
    Ok(if count == 0 { 0 } else { GroupId(reader.zigzag()? as u32).shard() })
}

/// The shard of an encoded definition.
pub(super) fn shard_of_definition(payload: &[u8]) -> Result<usize, DecodeError> {
    Ok(GroupId(Reader::new(payload).varint()? as u32).shard())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{BucketSpan, Buckets, ResetHint};
    use crate::value::STALE_NAN;
    use proptest::prelude::*;

    fn example() -> Rows {
        let mut rows = Rows::default();
        rows.push(GroupId(0x21), 1_000_000_000, [1.5, -0.0].into_iter());
        rows.push_sparse(GroupId(0x31), 2_000_000_000, 3, [(0, 1.0), (2, STALE_NAN)]);
        rows
    }

    #[test]
    fn rows_keep_their_golden_bytes() {
        let mut bytes = Vec::new();
        example().encode(&mut bytes);
        let columns: &[u8] = &[
            2, // rows
            0x42, 0x20, // groups 0x21, +0x10
            0x80, 0xa8, 0xd6, 0xb9, 0x07, 0x80, 0xa8, 0xd6, 0xb9, 0x07, // timestamps
            2, 3, // widths
            1, 1, 0b101, // one sparse row: row 1, columns 0 and 2
        ];
        assert_eq!(bytes[..columns.len()], *columns);
        assert_eq!(bytes.len(), columns.len() + 4 * 8);
        let decoded = Rows::decode(&bytes).unwrap();
        assert_eq!(decoded.sparse, example().sparse);
        let rows: Vec<_> = decoded.iter().map(|row| (row.timestamp, row.width, row.values.len())).collect();
        assert_eq!(rows, [(1_000_000_000, 2, 2), (2_000_000_000, 3, 2)]);
        assert_eq!(decoded.samples(), 4);
        assert!(decoded.sparse[0].has(2) && !decoded.sparse[0].has(1) && !decoded.sparse[0].has(99));
    }

    fn histogram(count: f64) -> Arc<Histogram> {
        let spans = vec![BucketSpan { offset: 3, length: 2 }];
        let positive = Buckets { spans, counts: vec![1.0, 300.0] };
        let reset_hint = ResetHint::Gauge;
        Arc::new(Histogram { schema: 1, reset_hint, count, sum: 1.0, positive, ..Histogram::default() })
    }

    #[test]
    fn histograms_keep_their_golden_bytes() {
        let mut rows = Rows::default();
        rows.push_histogram(GroupId(1), 1, (0, 1), histogram(301.0));
        rows.push_histogram(GroupId(1), 2, (1, 2), histogram(0.5));
        let mut bytes = Vec::new();
        rows.encode(&mut bytes);
        let golden: &[u8] = &[
            2, 2, 0, 2, 2, 1, 2, // rows, groups, timestamps, widths
            1, 1, 0b10, // one sparse row: row 1, column 1
            0, 0, 0, 0, 0x69, 0x74, 0xfc, 0xff, 1, 0, 0, 0, 0x69, 0x74, 0xfc, 0xff, // values
            2,    // histograms
            0b1011, 2, 0, 0, 0, 0, 0, 0, 0, 0, // gauge, integers; schema, zero threshold
            1, 6, 2, 0, 0, // a positive span, no negative one, no bounds
            0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0xad, 0x02, 0, 1, 0xac,
            0x02, // sum, count, zero count, buckets
            0b0111, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // gauge, same layout; sum
            0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, // count, zero count
            0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0xc0, 0x72, 0x40, // buckets
        ];
        assert_eq!(bytes, golden);
        let decoded = Rows::decode(&bytes).unwrap();
        assert_eq!(decoded.histograms, rows.histograms);
        assert_eq!(decoded.sparse, rows.sparse);
        let last = bytes.len() - 1;
        assert!(Rows::decode(&bytes[..last]).is_err());
        bytes[18] = 2;
        let error = Rows::decode(&bytes).unwrap_err();
        assert_eq!(error.reason, "a value names a histogram that is not there");
    }

    #[test]
    fn a_definition_keeps_its_golden_bytes() {
        let of = |name| Labels::from_pairs([("__name__", name), ("host", "a")]).unwrap();
        let definition = GroupDefinition { group: GroupId(5), series: vec![of("cpu_user"), of("cpu_idle")] };
        let mut bytes = Vec::new();
        definition.encode(&mut bytes);
        assert_eq!(bytes[..5], [5, 2, 0, 0, 25]);
        assert_eq!(bytes[bytes.len() - 7..], *b"\x0e\x07\x04idle");
        assert_eq!(GroupDefinition::decode(&bytes).unwrap(), definition);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Rows::decode(&bytes);
            let _ = GroupDefinition::decode(&bytes);
        }

        #[test]
        fn damaged_rows_never_panic(at in 0_usize..120, with in any::<u8>()) {
            let mut bytes = Vec::new();
            let mut rows = example();
            rows.push_histogram(GroupId(1), 3, (1, 2), histogram(301.0));
            rows.push_histogram(GroupId(1), 3, (1, 2), histogram(0.5));
            rows.encode(&mut bytes);
            bytes[at] = with;
            if let Ok(rows) = Rows::decode(&bytes) {
                prop_assert!(rows.iter().map(|row| row.values.len()).sum::<usize>() == rows.samples());
            }
        }
    }
}
