//! Native histograms as bytes: the layout that many have in common, and a whole one. `docs/format/chunk.md` draws the first,
//! `docs/format/wal.md` the second.

use std::sync::Arc;

use super::{DecodeError, Reader, write_varint, write_zigzag};
use crate::histogram::{BucketSpan, Buckets, Histogram, PARTS_MAX, ResetHint};

const FORM_HINT: u8 = 0b11;
const FORM_SAME_LAYOUT: u8 = 1 << 2;
const FORM_INTEGERS: u8 = 1 << 3;

/// The least integer that stands for more than one number of observations.
const INTEGER_END: f64 = 9_007_199_254_740_992.0;

const TOO_LARGE: &str = "a histogram has more spans, buckets and bounds than one may have";

/// All of a histogram but its numbers: which buckets it has.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    schema: i32,
    zero_threshold: f64,
    positive: Vec<BucketSpan>,
    negative: Vec<BucketSpan>,
    custom_values: Arc<[f64]>,
    /// How many buckets the spans of each side have.
    buckets: [usize; 2],
}

/// The numbers of a histogram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Numbers {
    /// What is known of a counter reset.
    pub reset_hint: ResetHint,
    /// Number of observations.
    pub count: f64,
    /// Number of observations in the zero bucket.
    pub zero_count: f64,
    /// Sum of the observations.
    pub sum: f64,
}

impl Layout {
    /// Appends the layout of `histogram`.
    pub fn write(histogram: &Histogram, out: &mut Vec<u8>) {
        write_zigzag(out, histogram.schema.into());
        out.extend_from_slice(&histogram.zero_threshold.to_le_bytes());
        for side in [&histogram.positive, &histogram.negative] {
            write_varint(out, side.spans.len() as u64);
            for span in &side.spans {
                write_zigzag(out, span.offset.into());
                write_varint(out, span.length.into());
            }
        }
        write_varint(out, histogram.custom_values.len() as u64);
        out.extend(histogram.custom_values.iter().flat_map(|bound| bound.to_le_bytes()));
    }

    /// Reads a layout.
    ///
    /// # Errors
    /// Where the bytes do not fit; also when it has more than [`PARTS_MAX`] parts.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let schema = i32::try_from(reader.zigzag()?).map_err(|_| reader.error("a schema is out of range"))?;
        let zero_threshold = f64::from_bits(reader.u64_le()?);
        let mut parts = 0;
        let (positive, positive_buckets) = read_spans(reader, &mut parts)?;
        let (negative, negative_buckets) = read_spans(reader, &mut parts)?;
        let bounds = reader.varint_at_most(PARTS_MAX - parts, TOO_LARGE)?;
        let custom_values = read_doubles(reader, bounds)?.into();
        let buckets = [positive_buckets, negative_buckets];
        Ok(Self { schema, zero_threshold, positive, negative, custom_values, buckets })
    }

    /// How many buckets there are on the positive and on the negative side.
    #[must_use]
    pub fn buckets(&self) -> [usize; 2] {
        self.buckets
    }

    /// How many spans and buckets there are: what each histogram of this layout holds for itself.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.positive.len() + self.negative.len() + self.buckets[0] + self.buckets[1]
    }

    /// A histogram of this layout; each side has as many counts as [`buckets`](Self::buckets) says.
    #[must_use]
    pub fn histogram(&self, numbers: Numbers, [positive, negative]: [Vec<f64>; 2]) -> Histogram {
        Histogram {
            schema: self.schema,
            reset_hint: numbers.reset_hint,
            count: numbers.count,
            sum: numbers.sum,
            zero_threshold: self.zero_threshold,
            zero_count: numbers.zero_count,
            positive: Buckets { spans: self.positive.clone(), counts: positive },
            negative: Buckets { spans: self.negative.clone(), counts: negative },
            custom_values: Arc::clone(&self.custom_values),
        }
    }
}

fn read_spans(reader: &mut Reader<'_>, parts: &mut usize) -> Result<(Vec<BucketSpan>, usize), DecodeError> {
    let count = reader.varint_at_most(PARTS_MAX - *parts, TOO_LARGE)?;
    *parts += count;
    let mut spans = Vec::with_capacity(count.min(reader.remaining().len()));
    let mut buckets = 0;
    for _ in 0..count {
        let offset = reader.zigzag()?;
        let offset = i32::try_from(offset).map_err(|_| reader.error("a span's offset is out of range"))?;
        let length = reader.varint_at_most(PARTS_MAX - *parts, TOO_LARGE)?;
        *parts += length;
        buckets += length;
        spans.push(BucketSpan { offset, length: length as u32 });
    }
    Ok((spans, buckets))
}

fn read_doubles(reader: &mut Reader<'_>, count: usize) -> Result<Vec<f64>, DecodeError> {
    let (words, _) = reader.bytes(count * 8)?.as_chunks::<8>();
    Ok(words.iter().map(|word| f64::from_le_bytes(*word)).collect())
}

/// The hint with the number `number`.
#[must_use]
pub fn reset_hint(number: u8) -> Option<ResetHint> {
    [ResetHint::Unknown, ResetHint::Reset, ResetHint::NotReset, ResetHint::Gauge]
        .get(usize::from(number))
        .copied()
}

/// Appends `histograms`, the number of which the reader has to know. A layout is written where it differs from the one before.
pub fn write_histograms(histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    let mut previous: Option<&Histogram> = None;
    for histogram in histograms {
        let same = previous.is_some_and(|previous| previous.has_layout_of(histogram));
        let counts = || {
            let buckets = histogram.positive.counts.iter().chain(&histogram.negative.counts);
            [histogram.count, histogram.zero_count].into_iter().chain(buckets.copied())
        };
        let integers = counts().all(is_integer);
        let form = histogram.reset_hint as u8
            | if same { FORM_SAME_LAYOUT } else { 0 }
            | if integers { FORM_INTEGERS } else { 0 };
        out.push(form);
        if !same {
            Layout::write(histogram, out);
        }
        out.extend_from_slice(&histogram.sum.to_le_bytes());
        for count in counts() {
            if integers {
                write_varint(out, count as u64);
            } else {
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
        previous = Some(histogram);
    }
}

/// The most bytes that [`write_histograms`] appends for a histogram.
#[must_use]
pub fn histogram_bytes_max(histogram: &Histogram) -> usize {
    // Form, schema, zero threshold, three numbers of parts, sum, count and zero count; then each span, bucket and bound.
    1 + 5 + 8 + 3 * 3 + 3 * 8 + histogram.parts() * 8
}

/// Whether a varint can stand for all of a count's bits.
fn is_integer(count: f64) -> bool {
    count < INTEGER_END && (count as u64 as f64).to_bits() == count.to_bits()
}

/// Reads `count` histograms.
///
/// # Errors
/// Where the bytes do not fit.
pub fn read_histograms(
    reader: &mut Reader<'_>,
    count: usize,
    out: &mut Vec<Arc<Histogram>>,
) -> Result<(), DecodeError> {
    let mut layout: Option<Layout> = None;
    for _ in 0..count {
        let form = reader.u8()?;
        if form & !(FORM_HINT | FORM_SAME_LAYOUT | FORM_INTEGERS) != 0 {
            return Err(reader.error("unknown form of a histogram"));
        }
        if form & FORM_SAME_LAYOUT == 0 {
            layout = Some(Layout::read(reader)?);
        }
        let Some(layout) = &layout else {
            return Err(reader.error("the first histogram has no layout"));
        };
        let sum = f64::from_bits(reader.u64_le()?);
        let integers = form & FORM_INTEGERS != 0;
        let [all, zero] = read_counts(reader, integers, 2)?[..] else {
            return Err(reader.error("bytes end too early"));
        };
        let [positive, negative] = layout.buckets;
        let counts = [read_counts(reader, integers, positive)?, read_counts(reader, integers, negative)?];
        let reset_hint = reset_hint(form & FORM_HINT).unwrap_or_default();
        let numbers = Numbers { reset_hint, count: all, zero_count: zero, sum };
        out.push(Arc::new(layout.histogram(numbers, counts)));
    }
    Ok(())
}

fn read_counts(reader: &mut Reader<'_>, integers: bool, count: usize) -> Result<Vec<f64>, DecodeError> {
    if !integers {
        return read_doubles(reader, count);
    }
    if count > reader.remaining().len() {
        return Err(reader.error("bytes end too early"));
    }
    (0..count).map(|_| reader.varint().map(|count| count as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(count: f64, parts: usize) -> Arc<Histogram> {
        // As many bytes as each part can take: offsets of five bytes, lengths of three.
        let span = BucketSpan { offset: i32::MIN, length: (parts - 4) as u32 };
        let empty = BucketSpan { offset: i32::MAX, length: 0 };
        Arc::new(Histogram {
            schema: i32::MIN,
            count,
            zero_count: count,
            positive: Buckets { spans: vec![span], counts: vec![count; parts - 4] },
            negative: Buckets { spans: vec![empty; 2], counts: Vec::new() },
            custom_values: [0.1].into(),
            ..Histogram::default()
        })
    }

    #[test]
    fn no_histogram_takes_more_bytes_than_were_reserved() {
        for count in [0.5, INTEGER_END - 1.0, INTEGER_END, 0.0] {
            for parts in [5, PARTS_MAX] {
                let histogram = largest(count, parts);
                assert_eq!((histogram.parts(), histogram.check()), (parts, Ok(())));
                let mut bytes = Vec::new();
                write_histograms(std::slice::from_ref(&histogram), &mut bytes);
                assert!(bytes.len() <= histogram_bytes_max(&histogram), "{} bytes", bytes.len());
                let mut read = Vec::new();
                read_histograms(&mut Reader::new(&bytes), 1, &mut read).unwrap();
                assert_eq!(read, [histogram]);
            }
        }
    }

    #[test]
    fn counts_are_varints_where_no_bit_is_lost() {
        for (count, integer) in [(0.0, true), (-0.0, false), (-1.0, false), (0.5, false), (f64::NAN, false)] {
            assert_eq!(is_integer(count), integer, "{count}");
        }
        assert!(is_integer(INTEGER_END - 1.0) && !is_integer(INTEGER_END) && !is_integer(f64::INFINITY));
    }

    #[test]
    fn a_layout_larger_than_any_is_refused_before_it_takes_memory() {
        let mut bytes = Vec::new();
        Layout::write(&largest(1.0, PARTS_MAX), &mut bytes);
        assert!(Layout::read(&mut Reader::new(&bytes)).is_ok());
        // One more bound, then a number of spans that no bytes follow.
        let bounds = bytes.len() - 9;
        bytes[bounds] = 2;
        assert_eq!(Layout::read(&mut Reader::new(&bytes)).unwrap_err().reason, TOO_LARGE);
        let spans = [&[0; 9][..], &[0x80, 0x80, 0x01]].concat();
        assert_eq!(Layout::read(&mut Reader::new(&spans)).unwrap_err().offset, spans.len());
    }
}
