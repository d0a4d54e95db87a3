//! The samples of one group: a buffer of whole rows, and the chunks that were cut from it.
//!
//! A line's fields lie side by side under one timestamp, so that appending a line touches one place in memory. When the
//! buffer is full it is turned into columns, one chunk for each series, all on the same timestamp column.

use std::sync::Arc;

use super::size::allocated;
use crate::chunk::{decode_column, decode_timestamps, encode_column, encode_timestamps, is_histogram_column};
use crate::encoding::DecodeError;
use crate::histogram::{Histogram, cell};
use crate::samples::{Samples, adopt, sort_last_wins};
use crate::time::TimeRange;
use crate::wal::{RowRef, SparseRow};

/// A buffer is cut into chunks at this many rows,
pub(super) const CHUNK_ROWS_MAX: usize = 128;
/// The first chunk of a group has fewer rows, this many at least; see [`first_cut`].
const FIRST_CHUNK_ROWS_MIN: usize = 16;
/// or when its values, histograms included, take this many bytes, so that wide groups do not hold much uncompressed.
pub(super) const CHUNK_BUFFER_BYTES_MAX: usize = 256 << 10;
/// A list of numbers that is no longer empty has room for so many.
const CAPACITY_MIN: usize = 4;

/// Series that are sampled together.
#[derive(Debug)]
pub(super) struct Group {
    /// The shard's id of the first column's series; the others follow.
    pub(super) first_series: u32,
    pub(super) width: u16,
    buffer: RowBuffer,
    chunks: Vec<Arc<GroupChunk>>,
}

/// Rows that are not encoded yet.
#[derive(Debug)]
struct RowBuffer {
    timestamps: Vec<i64>,
    /// Row after row.
    values: Vec<f64>,
    sparse: Vec<SparseRow>,
    /// Few groups have any.
    histograms: Option<Box<Histograms>>,
    range: TimeRange,
    /// Whether timestamps ascend strictly.
    in_order: bool,
}

/// The histograms that values of a buffer name by their place.
#[derive(Debug, Default)]
struct Histograms {
    list: Vec<Arc<Histogram>>,
    /// What they take in memory.
    bytes: usize,
}

impl Default for RowBuffer {
    fn default() -> Self {
        Self {
            timestamps: Vec::new(),
            values: Vec::new(),
            sparse: Vec::new(),
            histograms: None,
            range: TimeRange::new(i64::MAX, i64::MIN),
            in_order: true,
        }
    }
}

/// What appending a row did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Appended {
    /// The row is older than one before it.
    pub(super) out_of_order: bool,
    /// Change in bytes held for samples.
    pub(super) bytes: isize,
}

impl Group {
    pub(super) fn new(first_series: u32, width: u16) -> Self {
        Self { first_series, width, buffer: RowBuffer::default(), chunks: Vec::new() }
    }

    /// What the group takes that has no rows yet: room for the first.
    pub(super) fn first_row_bytes(&self) -> usize {
        self.buffer.heap_bytes(self.width.into())
    }

    /// At how many rows the buffer is cut.
    #[inline]
    fn rows_max(&self) -> usize {
        if self.chunks.is_empty() { first_cut(self.first_series) } else { CHUNK_ROWS_MAX }
    }

    /// Adds a row of samples, of this group and its width.
    #[inline]
    pub(super) fn append(&mut self, row: RowRef<'_>) -> Appended {
        let buffer = &mut self.buffer;
        let before = buffer.heap_bytes(self.width.into());
        let timestamp = row.timestamp;
        let out_of_order = timestamp <= buffer.range.end;
        buffer.in_order &= !out_of_order;
        match row.sparse {
            None => buffer.values.extend_from_slice(row.values),
            Some(sparse) => {
                let mut samples = row.values.iter();
                // A cell without a sample holds a zero that nobody reads.
                let cell = |column| if sparse.has(column) { samples.next().copied() } else { None };
                buffer.values.extend((0..usize::from(self.width)).map(cell).map(Option::unwrap_or_default));
                let row = buffer.timestamps.len();
                buffer.sparse.push(SparseRow { row, present: sparse.present.clone() });
            }
        }
        buffer.timestamps.push(timestamp);
        buffer.range = buffer.range.union(TimeRange::new(timestamp, timestamp));
        if !row.histograms.is_empty() {
            buffer.adopt(self.width.into(), row.histograms);
        }
        let is_full = buffer.value_bytes() >= CHUNK_BUFFER_BYTES_MAX;
        let mut bytes = 0;
        if is_full || self.buffer.timestamps.len() >= self.rows_max() {
            bytes = self.cut();
        }
        bytes += self.buffer.heap_bytes(self.width.into()) as isize - before as isize;
        Appended { out_of_order, bytes }
    }

    /// Turns the buffer into a chunk; returns how many bytes more the chunks take.
    fn cut(&mut self) -> isize {
        let chunk = self.buffer.encode(self.width.into());
        let places = self.chunks.capacity();
        let mut held = chunk.heap_bytes();
        self.chunks.push(Arc::new(chunk));
        held += (self.chunks.capacity() - places) * size_of::<Arc<GroupChunk>>();
        let buffer = std::mem::take(&mut self.buffer);
        // The memory stays for the next rows: a group that fills a chunk will fill another one.
        self.buffer.timestamps = buffer.timestamps;
        self.buffer.values = buffer.values;
        self.buffer.timestamps.clear();
        self.buffer.values.clear();
        held as isize
    }

    /// Whether a sample may lie inside `range`.
    pub(super) fn touches(&self, range: TimeRange) -> bool {
        (!self.buffer.timestamps.is_empty() && self.buffer.range.overlaps(range))
            || self.chunks.iter().any(|chunk| chunk.range.overlaps(range))
    }

    /// How many chunks there are, the one that the buffer will become among them.
    pub(super) fn chunk_count(&self) -> usize {
        self.chunks.len() + usize::from(!self.buffer.timestamps.is_empty())
    }

    /// The chunks that overlap `range`, oldest write first.
    pub(super) fn chunks(&self, range: TimeRange) -> impl Iterator<Item = &Arc<GroupChunk>> {
        self.chunks.iter().filter(move |chunk| chunk.range.overlaps(range))
    }

    /// Appends the samples of a column, oldest write first, from those chunks (the buffer is one) whose range is `wanted`.
    ///
    /// # Errors
    /// Never, unless memory is damaged.
    pub(super) fn read(
        &self,
        column: usize,
        wanted: &mut dyn FnMut(TimeRange) -> bool,
        out: &mut Samples,
    ) -> Result<(), DecodeError> {
        for chunk in &self.chunks {
            if wanted(chunk.range) {
                chunk.decode(column, TimeRange::ALL, out)?;
            }
        }
        if !self.buffer.timestamps.is_empty() && wanted(self.buffer.range) {
            let mut samples = Samples::default();
            self.buffer.column(column, self.width.into(), &mut samples);
            out.append(&samples);
        }
        Ok(())
    }

    /// A copy of one column of the buffer, sorted; `None` when nothing of it is inside `range`.
    pub(super) fn buffered(&self, column: usize, range: TimeRange) -> Option<Samples> {
        if self.buffer.timestamps.is_empty() || !self.buffer.range.overlaps(range) {
            return None;
        }
        let mut samples = Samples::default();
        self.buffer.column(column, self.width.into(), &mut samples);
        (!samples.timestamps.is_empty()).then_some(samples)
    }
}

/// At how many rows a group is cut first. Groups that are sampled together fill their buffers together; were all cut at the
/// same length, one batch in 128 would have to encode everything. So the first cuts are spread evenly over the rows, by
/// the fractional part of the series' number times the golden ratio, and so are all later ones.
fn first_cut(first_series: u32) -> usize {
    const GOLDEN: u32 = 0x9e37_79b9;
    let fraction = u64::from(first_series.wrapping_mul(GOLDEN));
    let spread = (CHUNK_ROWS_MAX - FIRST_CHUNK_ROWS_MIN) as u64;
    FIRST_CHUNK_ROWS_MIN + ((fraction * spread) >> 32) as usize + 1
}

impl RowBuffer {
    /// What values and histograms take.
    #[inline]
    fn value_bytes(&self) -> usize {
        self.values.len() * 8 + self.histograms.as_ref().map_or(0, |histograms| histograms.bytes)
    }

    /// What the buffer takes, with the room that it has for more rows. The room that the first row needs counts before it
    /// comes: a group is made for a row that is under way.
    #[inline]
    fn heap_bytes(&self, width: usize) -> usize {
        let (timestamps, values) = match self.timestamps.capacity() {
            0 => (CAPACITY_MIN, width.max(CAPACITY_MIN)),
            capacity => (capacity, self.values.capacity()),
        };
        let rows = size_of::<i64>() * timestamps + size_of::<f64>() * values;
        let histograms = self.histograms.as_ref().map_or(0, |histograms| histograms.bytes);
        if self.sparse.is_empty() {
            return rows + histograms;
        }
        let present = self.sparse.len() * allocated(width.div_ceil(8));
        rows + histograms + present + self.sparse.capacity() * size_of::<SparseRow>()
    }

    /// Takes over the histograms that the last row names.
    #[cold]
    fn adopt(&mut self, width: usize, histograms: &[Arc<Histogram>]) {
        let start = self.values.len() - width;
        if !self.values[start..].iter().any(|value| cell::is_histogram(*value)) {
            return;
        }
        let own = self.histograms.get_or_insert_default();
        let known = own.list.len();
        adopt(&mut self.values[start..], histograms, &mut own.list);
        let bytes: usize = own.list[known..].iter().map(|histogram| histogram.bytes()).sum();
        own.bytes += bytes;
    }

    /// Collects a column's samples, sorted by time, the last write winning.
    fn column(&self, column: usize, width: usize, out: &mut Samples) {
        out.clear();
        if self.sparse.is_empty() {
            out.timestamps.extend_from_slice(&self.timestamps);
            out.values.extend(self.values.iter().skip(column).step_by(width));
        } else {
            let mut sparse = self.sparse.iter().peekable();
            for (row, &timestamp) in self.timestamps.iter().enumerate() {
                let this = sparse.next_if(|s| s.row == row);
                if this.is_none_or(|s| s.has(column)) {
                    out.timestamps.push(timestamp);
                    out.values.push(self.values[row * width + column]);
                }
            }
        }
        if let Some(histograms) = &self.histograms {
            adopt(&mut out.values, &histograms.list, &mut out.histograms);
        }
        if !self.in_order {
            sort_last_wins(out);
        }
    }

    fn encode(&self, width: usize) -> GroupChunk {
        let mut bytes = Vec::with_capacity(self.values.len() * 2 + 64);
        let mut columns = Vec::with_capacity(width);
        let mut samples = Samples::default();
        let mut encoded_timestamps: Vec<i64> = Vec::new();
        let mut timestamps = Span::default();
        for column in 0..width {
            self.column(column, width, &mut samples);
            if column == 0 || samples.timestamps != encoded_timestamps {
                let start = bytes.len() as u32;
                encode_timestamps(&samples.timestamps, &mut bytes);
                timestamps = Span { start, end: bytes.len() as u32 };
                encoded_timestamps.clone_from(&samples.timestamps);
            }
            let start = bytes.len() as u32;
            encode_column(&samples.values, &samples.histograms, &mut bytes);
            let values = Span { start, end: bytes.len() as u32 };
            columns.push(ChunkColumn { timestamps, values, samples: samples.timestamps.len() as u32 });
        }
        GroupChunk { range: self.range, bytes: bytes.into(), columns: columns.into() }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct ChunkColumn {
    timestamps: Span,
    values: Span,
    samples: u32,
}

/// The chunks of a group's series over the same rows, in memory.
#[derive(Debug)]
pub struct GroupChunk {
    range: TimeRange,
    bytes: Box<[u8]>,
    columns: Box<[ChunkColumn]>,
}

impl GroupChunk {
    /// What the chunk takes.
    fn heap_bytes(&self) -> usize {
        let counts = 2 * size_of::<usize>();
        allocated(counts + size_of::<Self>())
            + allocated(self.bytes.len())
            + allocated(size_of_val(&*self.columns))
    }

    /// Appends one column's samples inside `range`, sorted by time.
    ///
    /// # Errors
    /// Never, unless memory is damaged.
    pub fn decode(&self, column: usize, range: TimeRange, out: &mut Samples) -> Result<(), DecodeError> {
        let ChunkColumn { timestamps, values, samples } = self.columns[column];
        let slice = |span: Span| &self.bytes[span.start as usize..span.end as usize];
        let before = out.timestamps.len();
        decode_timestamps(slice(timestamps), &mut out.timestamps)?;
        let wanted = out.cut_timestamps(before, range);
        decode_column(slice(values), samples as usize, &wanted, out)
    }

    /// The length of a column and its timestamps, bytes.
    #[must_use]
    pub fn encoded_bytes(&self, column: usize) -> usize {
        let ChunkColumn { timestamps, values, .. } = self.columns[column];
        (timestamps.end - timestamps.start + values.end - values.start) as usize
    }

    /// Whether a column has native histograms.
    #[must_use]
    pub fn has_histograms(&self, column: usize) -> bool {
        let Span { start, end } = self.columns[column].values;
        is_histogram_column(&self.bytes[start as usize..end as usize])
    }

    /// How many samples a column has.
    #[must_use]
    pub fn samples(&self, column: usize) -> usize {
        self.columns[column].samples as usize
    }

    /// The time range of the rows.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        self.range
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::GroupId;

    fn row<'a>(timestamp: i64, values: &'a [f64]) -> RowRef<'a> {
        let width = values.len();
        RowRef { group: GroupId(0), timestamp, width, values, sparse: None, histograms: &[] }
    }

    fn read(group: &Group, column: usize) -> Samples {
        let mut all = Samples::default();
        for chunk in group.chunks(TimeRange::ALL) {
            chunk.decode(column, TimeRange::ALL, &mut all).unwrap();
        }
        if let Some(samples) = group.buffered(column, TimeRange::ALL) {
            all.append(&samples);
        }
        sort_last_wins(&mut all);
        all
    }

    #[test]
    fn rows_come_back_across_chunks_sorted_with_the_last_write() {
        let mut group = Group::new(0, 2);
        let mut bytes = 0;
        for i in 0..300 {
            bytes += group.append(row(i * 10, &[i as f64, -(i as f64)])).bytes;
        }
        assert!(group.append(row(50, &[7.0, 8.0])).out_of_order);
        assert_eq!(group.chunks(TimeRange::ALL).count(), 3);
        assert!(bytes < 300 * 24);
        let samples = read(&group, 1);
        assert_eq!(samples.timestamps, (0..300).map(|i| i * 10).collect::<Vec<_>>());
        assert_eq!((samples.values[5], samples.values[6]), (8.0, -6.0));
        assert!(!group.touches(TimeRange::new(2991, 5000)));
    }

    #[test]
    fn absent_cells_give_columns_their_own_timestamps() {
        let mut group = Group::new(0, 2);
        for i in 0..first_cut(0) as i64 {
            let only_first = SparseRow { row: 0, present: Box::new([0b01]) };
            let sparse = i % 2 == 0;
            let values: &[f64] = if sparse { &[1.0] } else { &[1.0, 2.0] };
            group.append(RowRef { sparse: sparse.then_some(&only_first), ..row(i, values) });
        }
        assert_eq!(group.chunks(TimeRange::ALL).count(), 1);
        assert_eq!(read(&group, 0).timestamps.len(), first_cut(0));
        assert_eq!(
            read(&group, 1).timestamps,
            (0..first_cut(0) as i64).filter(|i| i % 2 == 1).collect::<Vec<_>>()
        );
    }

    #[test]
    fn histograms_are_counted_and_cut_by_their_size() {
        let histogram = |count: f64| {
            let custom_values = vec![0.0; 8_000].into();
            Arc::new(Histogram { count, custom_values, ..Histogram::default() })
        };
        let mut group = Group::new(0, 2);
        let mut bytes = 0;
        let present = SparseRow { row: 0, present: Box::new([0b10]) };
        let rows = CHUNK_BUFFER_BYTES_MAX / 64_000 + 1;
        for i in 0..rows {
            assert_eq!(group.chunks(TimeRange::ALL).count(), 0, "row {i}");
            // A batch's list has histograms of other rows and groups, too.
            let histograms = [histogram(0.5), histogram(i as f64)];
            let values = [cell::histogram(1)];
            let row = RowRef {
                width: 2,
                sparse: Some(&present),
                histograms: &histograms,
                ..row(i as i64, &values)
            };
            bytes += group.append(row).bytes;
            let mixed = [2.0, 3.0];
            bytes += group.append(RowRef { histograms: &histograms, ..self::row(-(i as i64), &mixed) }).bytes;
            assert!(i == rows - 1 || bytes > i as isize * 64_000);
        }
        assert_eq!(group.chunks(TimeRange::ALL).count(), 1);
        assert!(bytes < 70_000, "{bytes} bytes are left, mostly of the bounds, once they are encoded");
        let samples = read(&group, 1);
        let counts: Vec<Option<f64>> =
            (0..samples.len()).map(|at| samples.histogram(at).map(|histogram| histogram.count)).collect();
        let expected = (1..rows).map(|_| None).chain([None]).chain((1..rows).map(|i| Some(i as f64)));
        assert_eq!(counts, expected.collect::<Vec<_>>(), "the float at 0 came after the histogram");
        assert!(read(&group, 0).histograms.is_empty(), "a column has its own histograms alone");
    }

    #[test]
    fn groups_that_fill_together_are_cut_at_different_rows() {
        let mut groups: Vec<Group> = (0..4000).map(|i| Group::new(i * 10, 1)).collect();
        for at in 0..4 * CHUNK_ROWS_MAX as i64 {
            let before: usize = groups.iter().map(|group| group.chunks.len()).sum();
            for group in &mut groups {
                group.append(row(at, &[1.0]));
            }
            let cuts = groups.iter().map(|group| group.chunks.len()).sum::<usize>() - before;
            assert!(cuts <= 4000 / CHUNK_ROWS_MAX * 3 / 2, "{cuts} of 4000 groups are cut at row {at}");
        }
    }
}
