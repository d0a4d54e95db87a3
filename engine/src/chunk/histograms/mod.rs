//! The value column of a series that has histograms, or histograms and floats.
//!
//! 1. The floats among them are set apart: where they are, and a value column of their own.
//! 2. Neighbours with the same buckets are a run, which stores their layout once.
//! 3. Each number of a run's histograms is a value column: what one bucket counts changes little from sample to sample.

use std::ops::Range;
use std::sync::Arc;

use super::values::{
    TAG_HISTOGRAMS, decode_values, describe_values, encode_values, encode_values_with_statistics,
};
use super::{CHUNK_SAMPLES_MAX, DecodeError, expect_end, positions};
use crate::encoding::histogram::{Layout, Numbers, read_histograms, reset_hint, write_histograms};
use crate::encoding::{Reader, write_varint};
use crate::histogram::{Histogram, ResetHint, cell};
use crate::samples::{Samples, histogram_of, keep};

/// The most spans and buckets that the histograms of a column may have together. Encoders assert it; decoders check it
/// before they allocate.
pub const COLUMN_PARTS_MAX: usize = 1 << 20;

/// A run of at most this many histograms is stored one by one: columns of so few numbers do not pay.
const SHORT_RUN: usize = 2;

/// So many histograms of a run are put together at a time: their counts of one bucket are a cache line.
const TILE: usize = 8;

const FORM_HINT: u8 = 0b11;
const FORM_HINTS: u8 = 1 << 2;
const FORM_COUNT_IS_TOTAL: u8 = 1 << 3;

/// Appends the column of `values`, whose [cells](cell) name places of `histograms`. Without histograms it is that of
/// [`encode_values`].
///
/// # Panics
/// When there are more than [`CHUNK_SAMPLES_MAX`] samples, or [`COLUMN_PARTS_MAX`] spans and buckets.
pub fn encode_column(values: &[f64], histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    if has_histograms(values, histograms) {
        encode(values, histograms, out);
    } else {
        encode_values(values, out);
    }
}

/// As [`encode_column`]; also appends to `statistics` what [`encode_values_with_statistics`] does. There are none of histograms.
///
/// # Panics
/// As [`encode_column`].
pub fn encode_column_with_statistics(
    values: &[f64],
    histograms: &[Arc<Histogram>],
    out: &mut Vec<u8>,
    statistics: &mut Vec<u8>,
) {
    if has_histograms(values, histograms) {
        encode(values, histograms, out);
    } else {
        encode_values_with_statistics(values, out, statistics);
    }
}

#[inline]
fn has_histograms(values: &[f64], histograms: &[Arc<Histogram>]) -> bool {
    !histograms.is_empty() && values.iter().any(|value| histogram_of(*value, histograms).is_some())
}

fn encode(values: &[f64], histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    assert!(values.len() <= CHUNK_SAMPLES_MAX, "a chunk is cut before it has {} samples", values.len());
    let mut floats = Vec::new();
    let mut places = Vec::new();
    let mut found: Vec<Arc<Histogram>> = Vec::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        if let Some(histogram) = histogram_of(*value, histograms) {
            found.push(Arc::clone(histogram));
        } else {
            places.push(at);
            floats.push(cell::float(*value));
        }
    }
    let parts: usize = found.iter().map(|histogram| histogram.parts()).sum();
    assert!(parts <= COLUMN_PARTS_MAX, "a chunk is cut before its histograms have {parts} parts");
    out.push(TAG_HISTOGRAMS);
    positions::write(&places, out);
    if !floats.is_empty() {
        write_column(&floats, out);
    }
    for run in found.chunk_by(|a, b| a.has_layout_of(b)) {
        write_varint(out, run.len() as u64);
        if run.len() <= SHORT_RUN {
            write_histograms(run, out);
        } else {
            write_run(run, out);
        }
    }
}

/// Appends a value column behind its length.
fn write_column(values: &[f64], out: &mut Vec<u8>) {
    let mut column = Vec::new();
    encode_values(values, &mut column);
    write_varint(out, column.len() as u64);
    out.extend_from_slice(&column);
}

fn write_run(run: &[Arc<Histogram>], out: &mut Vec<u8>) {
    let first = &run[0];
    Layout::write(first, out);
    let hints = run.iter().any(|histogram| histogram.reset_hint != first.reset_hint);
    let is_total = |histogram: &Arc<Histogram>| {
        let counts = [&histogram.positive.counts[..], &histogram.negative.counts];
        total(histogram.zero_count, counts).to_bits() == histogram.count.to_bits()
    };
    let count_is_total = run.iter().all(is_total);
    out.push(
        if hints { FORM_HINTS } else { first.reset_hint as u8 }
            | if count_is_total { FORM_COUNT_IS_TOTAL } else { 0 },
    );
    let mut column: Vec<f64> = Vec::with_capacity(run.len());
    let mut write = |number: &dyn Fn(&Histogram) -> f64| {
        column.clear();
        column.extend(run.iter().map(|histogram| number(histogram)));
        write_column(&column, out);
    };
    if hints {
        write(&|histogram| f64::from(histogram.reset_hint as u8));
    }
    if !count_is_total {
        write(&|histogram| histogram.count);
    }
    write(&|histogram| histogram.zero_count);
    write(&|histogram| histogram.sum);
    for bucket in 0..first.positive.counts.len() {
        write(&|histogram| histogram.positive.counts[bucket]);
    }
    for bucket in 0..first.negative.counts.len() {
        write(&|histogram| histogram.negative.counts[bucket]);
    }
}

/// The number of observations in all buckets, added in this order.
fn total(zero_count: f64, [positive, negative]: [&[f64]; 2]) -> f64 {
    positive.iter().chain(negative).fold(zero_count, |total, count| total + count)
}

/// Appends those of the `count` samples of the column `bytes` that are at the positions `wanted` to the values of `out`, and
/// the column's histograms to those of `out`.
///
/// # Errors
/// When `bytes` are not what [`encode_column`] writes for `count` samples, as far as they are looked at. `out` may have grown
/// then.
#[inline]
pub fn decode_column(
    bytes: &[u8],
    count: usize,
    wanted: &Range<usize>,
    out: &mut Samples,
) -> Result<(), DecodeError> {
    if !is_histogram_column(bytes) {
        return decode_values(bytes, count, wanted, &mut out.values);
    }
    let before = out.values.len();
    decode(bytes, count, out)?;
    keep(wanted, before, &mut out.values);
    Ok(())
}

/// Whether the column `bytes` has native histograms, which take far longer to decode than numbers.
#[must_use]
pub fn is_histogram_column(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TAG_HISTOGRAMS)
}

#[cold]
fn decode(bytes: &[u8], count: usize, out: &mut Samples) -> Result<(), DecodeError> {
    let first = out.histograms.len();
    let mut floats = Vec::new();
    let mut column = Column::open(bytes, count)?;
    if !column.floats.is_empty() {
        column.values(column.floats.len(), &mut floats)?;
    }
    while let Some(run) = column.next_run()? {
        match run {
            Run::Short(samples) => {
                let from = out.histograms.len();
                read_histograms(&mut column.reader, samples, &mut out.histograms)?;
                let parts = out.histograms[from..].iter().map(|histogram| histogram.parts()).sum();
                column.count_parts(parts)?;
            }
            Run::Long { samples, layout, form } => {
                read_run(&mut column, samples, &layout, form, &mut out.histograms)?;
            }
        }
    }
    expect_end(&column.reader)?;
    if u32::try_from(out.histograms.len()).is_err() {
        return Err(column.reader.error("more histograms than cells can name"));
    }
    let mut floats = column.floats.iter().zip(floats).peekable();
    let mut place = first as u32;
    out.values.extend((0..count).map(|at| match floats.next_if(|(float, _)| **float == at) {
        Some((_, value)) => cell::float(value),
        None => {
            place += 1;
            cell::histogram(place - 1)
        }
    }));
    Ok(())
}

fn read_run(
    column: &mut Column<'_>,
    samples: usize,
    layout: &Layout,
    form: u8,
    out: &mut Vec<Arc<Histogram>>,
) -> Result<(), DecodeError> {
    column.count_parts(samples * layout.parts())?;
    let [positive, negative] = layout.buckets();
    let (hints, count_is_total) = (form & FORM_HINTS != 0, form & FORM_COUNT_IS_TOTAL != 0);
    let mut hint_numbers = Vec::new();
    if hints {
        column.values(samples, &mut hint_numbers)?;
    }
    let columns = usize::from(!count_is_total) + 2 + positive + negative;
    let mut numbers = Vec::with_capacity(columns * samples);
    for _ in 0..columns {
        column.values(samples, &mut numbers)?;
    }
    // The columns one after the other: the numbers of sample `i` are each `samples` apart.
    let (counts, rest) = numbers.split_at(if count_is_total { 0 } else { samples });
    for tile in (0..samples).step_by(TILE) {
        let len = TILE.min(samples - tile);
        let empty = || [Vec::with_capacity(positive), Vec::with_capacity(negative)];
        let mut sides: [[Vec<f64>; 2]; TILE] = std::array::from_fn(|_| empty());
        for bucket in 0..positive + negative {
            let side = usize::from(bucket >= positive);
            let from = (2 + bucket) * samples + tile;
            for (sides, count) in sides.iter_mut().zip(&rest[from..from + len]) {
                sides[side].push(*count);
            }
        }
        for (i, sides) in (tile..tile + len).zip(sides) {
            let hint = hint_numbers.get(i).map_or(form & FORM_HINT, |number| *number as u8);
            let reset_hint = reset_hint(hint).unwrap_or(ResetHint::Unknown);
            let (zero_count, sum) = (rest[i], rest[samples + i]);
            let count = counts.get(i).copied().unwrap_or_else(|| total(zero_count, [&sides[0], &sides[1]]));
            let numbers = Numbers { reset_hint, count, zero_count, sum };
            out.push(Arc::new(layout.histogram(numbers, sides)));
        }
    }
    Ok(())
}

/// A column that is being taken apart.
struct Column<'a> {
    reader: Reader<'a>,
    /// The positions of the floats.
    floats: Vec<usize>,
    /// Histograms that are still to come.
    left: usize,
    /// Spans and buckets that may still come.
    parts_left: usize,
}

/// Histograms with the same buckets.
enum Run {
    /// One by one.
    Short(usize),
    /// As columns.
    Long { samples: usize, layout: Layout, form: u8 },
}

impl<'a> Column<'a> {
    fn open(bytes: &'a [u8], count: usize) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if count > CHUNK_SAMPLES_MAX {
            return Err(reader.error("more samples than a chunk may have"));
        }
        reader.u8()?;
        let floats = positions::read(&mut reader, count)?;
        let left = count - floats.len();
        Ok(Self { reader, floats, left, parts_left: COLUMN_PARTS_MAX })
    }

    /// Appends the numbers of the next value column.
    fn values(&mut self, count: usize, out: &mut Vec<f64>) -> Result<(), DecodeError> {
        let bytes = self.reader.prefixed_bytes()?;
        let start = self.reader.offset() - bytes.len();
        decode_values(bytes, count, &(0..count), out)
            .map_err(|e| DecodeError { offset: start + e.offset, reason: e.reason })
    }

    /// The beginning of the next run; `None` behind the last one.
    fn next_run(&mut self) -> Result<Option<Run>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        let samples = self.reader.varint_at_most(self.left, "more histograms than samples")?;
        if samples == 0 {
            return Err(self.reader.error("a run has no histograms"));
        }
        self.left -= samples;
        if samples <= SHORT_RUN {
            return Ok(Some(Run::Short(samples)));
        }
        let layout = Layout::read(&mut self.reader)?;
        let form = self.reader.u8()?;
        if form & !(FORM_HINT | FORM_HINTS | FORM_COUNT_IS_TOTAL) != 0 {
            return Err(self.reader.error("unknown form of a run of histograms"));
        }
        Ok(Some(Run::Long { samples, layout, form }))
    }

    fn count_parts(&mut self, parts: usize) -> Result<(), DecodeError> {
        let left = self.parts_left.checked_sub(parts);
        self.parts_left =
            left.ok_or_else(|| self.reader.error("more spans and buckets than a column may have"))?;
        Ok(())
    }
}

/// The encoding of the column `bytes` in words.
///
/// # Errors
/// When `bytes` are not what [`encode_column`] writes for `count` samples; numbers are not decoded.
pub fn describe_column(bytes: &[u8], count: usize) -> Result<String, DecodeError> {
    if bytes.first() != Some(&TAG_HISTOGRAMS) {
        return describe_values(bytes, count);
    }
    let mut column = Column::open(bytes, count)?;
    let floats = column.floats.len();
    if floats > 0 {
        column.reader.prefixed_bytes()?;
    }
    let (mut runs, mut buckets) = (0, 0);
    while let Some(run) = column.next_run()? {
        runs += 1;
        match run {
            Run::Short(samples) => {
                let mut histograms = Vec::new();
                read_histograms(&mut column.reader, samples, &mut histograms)?;
                let all = |histogram: &Arc<Histogram>| {
                    histogram.positive.counts.len() + histogram.negative.counts.len()
                };
                buckets = histograms.iter().map(all).fold(buckets, usize::max);
            }
            Run::Long { layout, form, .. } => {
                let all: usize = layout.buckets().iter().sum();
                buckets = buckets.max(all);
                let others =
                    2 + usize::from(form & FORM_HINTS != 0) + usize::from(form & FORM_COUNT_IS_TOTAL == 0);
                for _ in 0..others + all {
                    column.reader.prefixed_bytes()?;
                }
            }
        }
    }
    expect_end(&column.reader)?;
    Ok(format!("histograms, {runs} runs, at most {buckets} buckets, {floats} floats"))
}

#[cfg(test)]
mod tests;
