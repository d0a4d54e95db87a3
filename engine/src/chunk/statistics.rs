//! What a chunk's values amount to, so that a query over all of them need not decode the column.
//!
//! 1. The encoder of the values knows whether they are decimals. Then the statistics are integers, too, and so small that
//!    most take one or two bytes; their sum is exact.
//! 2. Other values have statistics of doubles.
//! 3. A chunk with a NaN (a staleness marker is one) or with few samples has none: what a NaN means for a minimum is for the
//!    query to say, and few samples are decoded as fast.

use super::values::{POWERS_OF_TEN, decimal_value};
use super::{DecodeError, expect_end};
use crate::encoding::{Reader, write_varint, write_zigzag};

/// Chunks with fewer samples have no statistics: these would take as much room as the samples.
pub const STATISTICS_SAMPLES_MIN: usize = 16;

/// One reset in so many samples is still a counter; with more of them, resets are not stored.
const RESETS_SHARE: usize = 16;

const DOUBLES: u8 = 31;
const FORM_MASK: u8 = 31;
const FLAG_RESETS: u8 = 1 << 5;
const FLAG_RESETS_UNKNOWN: u8 = 1 << 6;
const FLAG_EQUAL: u8 = 1 << 7;

/// What the values of one chunk amount to. None of them is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// The value at the first timestamp.
    pub first: f64,
    /// The value at the last timestamp.
    pub last: f64,
    /// The least value: of zeros of both signs, the first.
    pub min: f64,
    /// The greatest value: of zeros of both signs, the first.
    pub max: f64,
    /// The sum, as the format page says: exact for decimals, compensated for the rest.
    pub sum: f64,
    /// Resets as a counter; `None` when there are so many that it is no counter.
    pub resets: Option<Resets>,
}

/// The resets of a counter inside a chunk: values less than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resets {
    /// How many.
    pub count: u32,
    /// The sum of the values right before them: what to add to `last - first` for the increase.
    pub lost: f64,
}

impl Statistics {
    /// Whether `values` have these extremes and ends.
    #[must_use]
    pub fn fit(&self, values: &[f64]) -> bool {
        let least = values.iter().copied().reduce(|a, b| if b < a { b } else { a });
        let greatest = values.iter().copied().reduce(|a, b| if b > a { b } else { a });
        let found = [values.first().copied(), values.last().copied(), least, greatest];
        let stored = [self.first, self.last, self.min, self.max];
        found.iter().zip(stored).all(|(found, stored)| found.is_some_and(|f| f.to_bits() == stored.to_bits()))
    }
}

/// Appends the statistics of a column of `values`, which are `integers` × 10^-`exponent`, if it has any.
pub(super) fn encode_decimals(values: &[f64], integers: &[i64], exponent: usize, out: &mut Vec<u8>) {
    if integers.len() < STATISTICS_SAMPLES_MIN {
        return;
    }
    match Integers::of(integers) {
        Some(summary) => summary.encode(exponent as u8, out),
        None => encode_doubles(values, out),
    }
}

/// Statistics as integers.
struct Integers {
    first: i64,
    min: i64,
    span: u64,
    last: i64,
    /// The sum of the distances from the least, less the half of what it is at most.
    sum: i64,
    resets: u32,
    lost: i64,
    count: usize,
}

/// Half of the most that `count` distances of at most `span` add up to.
const fn middle(span: u64, count: usize) -> i64 {
    (span.wrapping_mul(count as u64) / 2) as i64
}

impl Integers {
    /// `None` when 62 bits do not hold a sum.
    fn of(integers: &[i64]) -> Option<Self> {
        let (&first, &last) = integers.first().zip(integers.last())?;
        let (min, max) =
            integers.iter().fold((first, first), |(min, max), &integer| (min.min(integer), max.max(integer)));
        let span = max.wrapping_sub(min) as u64;
        let magnitude = span.max(min.unsigned_abs()).max(max.unsigned_abs());
        if u128::from(magnitude) * integers.len() as u128 >= 1 << 62 {
            return None;
        }
        let distances: i64 = integers.iter().map(|integer| integer - min).sum();
        let (mut resets, mut lost) = (0, 0);
        if min < max {
            for [before, after] in integers.array_windows() {
                let reset = after < before;
                resets += u32::from(reset);
                lost += if reset { *before } else { 0 };
            }
        }
        let count = integers.len();
        Some(Self { first, min, span, last, sum: distances - middle(span, count), resets, lost, count })
    }

    fn encode(&self, exponent: u8, out: &mut Vec<u8>) {
        let resets = resets_flag(self.resets, self.count);
        if self.span == 0 {
            out.push(exponent | FLAG_EQUAL);
            return write_zigzag(out, self.first);
        }
        out.push(exponent | resets);
        write_zigzag(out, self.first);
        write_varint(out, (self.first - self.min) as u64);
        write_varint(out, self.span);
        write_varint(out, (self.last - self.min) as u64);
        write_zigzag(out, self.sum);
        if resets == FLAG_RESETS {
            write_varint(out, self.resets.into());
            write_zigzag(out, self.lost);
        }
    }
}

fn resets_flag(resets: u32, count: usize) -> u8 {
    match resets as usize {
        0 => 0,
        resets if resets * RESETS_SHARE <= count => FLAG_RESETS,
        _ => FLAG_RESETS_UNKNOWN,
    }
}

/// Appends the statistics of a column of `values`, if it has any.
pub(super) fn encode_doubles(values: &[f64], out: &mut Vec<u8>) {
    if values.len() < STATISTICS_SAMPLES_MIN {
        return;
    }
    let Some(statistics) = of_doubles(values) else { return };
    let Statistics { first, last, min, max, sum, resets } = statistics;
    let resets = resets.unwrap_or_default();
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.push(DOUBLES | FLAG_EQUAL);
        return out.extend_from_slice(&first.to_le_bytes());
    }
    let flag = resets_flag(resets.count, values.len());
    out.push(DOUBLES | flag);
    for number in [first, min, max, last, sum] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    if flag == FLAG_RESETS {
        write_varint(out, resets.count.into());
        out.extend_from_slice(&resets.lost.to_le_bytes());
    }
}

/// The statistics of any values, with the resets counted; `None` when there are none, or one is NaN.
fn of_doubles(values: &[f64]) -> Option<Statistics> {
    let &first = values.first()?;
    let (mut min, mut max, mut last) = (first, first, first);
    let mut resets = Resets::default();
    // The zero that keeps the sign of others.
    let (mut sum, mut compensation) = (-0.0_f64, 0.0_f64);
    for &value in values {
        if value.is_nan() {
            return None;
        }
        min = if value < min { value } else { min };
        max = if value > max { value } else { max };
        if value < last {
            resets.count += 1;
            resets.lost += last;
        }
        last = value;
        // Source: A. Neumaier (1974): what the addition lost of the smaller summand.
        let next = sum + value;
        compensation += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
        sum = next;
    }
    // With an infinite sum, nothing was lost that counts.
    let sum = if sum.is_finite() && compensation != 0.0 { sum + compensation } else { sum };
    Some(Statistics { first, last, min, max, sum, resets: Some(resets) })
}

/// Reads the statistics of a chunk of `count` samples; `None` when it has none.
///
/// # Errors
/// When `bytes` are not what [`encode_values_with_statistics`](super::encode_values_with_statistics) writes.
pub fn decode_statistics(bytes: &[u8], count: usize) -> Result<Option<Statistics>, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.is_empty() {
        return Ok(None);
    }
    let form = reader.u8()?;
    let statistics = match usize::from(form & FORM_MASK) {
        exponent if exponent < POWERS_OF_TEN.len() => read_decimals(&mut reader, form, exponent, count)?,
        form_ if form_ == usize::from(DOUBLES) => read_doubles(&mut reader, form, count)?,
        _ => return Err(DecodeError { offset: 0, reason: "unknown form of statistics" }),
    };
    expect_end(&reader)?;
    Ok(Some(statistics))
}

fn read_decimals(
    reader: &mut Reader<'_>,
    form: u8,
    exponent: usize,
    count: usize,
) -> Result<Statistics, DecodeError> {
    let value = |integer: i64| decimal_value(integer, exponent);
    let first = reader.zigzag()?;
    let (mut min, mut span, mut last, mut distances) = (first, 0, first, 0);
    if form & FLAG_EQUAL == 0 {
        min = first.wrapping_sub(reader.varint()? as i64);
        span = reader.varint()?;
        last = min.wrapping_add(reader.varint()? as i64);
        distances = reader.zigzag()?.wrapping_add(middle(span, count));
    }
    let resets = read_resets(reader, form, |reader| Ok(value(reader.zigzag()?)))?;
    Ok(Statistics {
        first: value(first),
        last: value(last),
        min: value(min),
        max: value(min.wrapping_add(span as i64)),
        sum: value(min.wrapping_mul(count as i64).wrapping_add(distances)),
        resets,
    })
}

fn read_doubles(reader: &mut Reader<'_>, form: u8, count: usize) -> Result<Statistics, DecodeError> {
    let double = |reader: &mut Reader<'_>| Ok::<_, DecodeError>(f64::from_bits(reader.u64_le()?));
    let first = double(reader)?;
    if form & FLAG_EQUAL != 0 {
        let resets = Some(Resets::default());
        return Ok(Statistics {
            first,
            last: first,
            min: first,
            max: first,
            sum: first * count as f64,
            resets,
        });
    }
    let (min, max, last, sum) = (double(reader)?, double(reader)?, double(reader)?, double(reader)?);
    let resets = read_resets(reader, form, double)?;
    Ok(Statistics { first, last, min, max, sum, resets })
}

fn read_resets<'a>(
    reader: &mut Reader<'a>,
    form: u8,
    lost: impl FnOnce(&mut Reader<'a>) -> Result<f64, DecodeError>,
) -> Result<Option<Resets>, DecodeError> {
    if form & FLAG_RESETS_UNKNOWN != 0 {
        return Ok(None);
    }
    if form & FLAG_RESETS == 0 {
        return Ok(Some(Resets::default()));
    }
    let count = reader.varint_at_most(u32::MAX as usize, "more resets than samples")? as u32;
    Ok(Some(Resets { count, lost: lost(reader)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STALE_NAN;
    use crate::chunk::encode_values_with_statistics;
    use proptest::prelude::*;

    fn encoded(values: &[f64]) -> Vec<u8> {
        let mut statistics = Vec::new();
        encode_values_with_statistics(values, &mut Vec::new(), &mut statistics);
        statistics
    }

    fn decoded(values: &[f64]) -> Option<Statistics> {
        decode_statistics(&encoded(values), values.len()).unwrap()
    }

    fn golden(values: &[f64]) -> String {
        encoded(values).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keep_their_golden_bytes() {
        let ramp = |from: i32| (0..20).map(move |index| f64::from(from + index) / 10.0);
        assert_eq!(golden(&ramp(5).collect::<Vec<_>>()), "010a00131300");
        // One reset, which loses 2.4.
        let counter: Vec<f64> = ramp(5).chain(ramp(0)).collect();
        assert_eq!(golden(&counter), "210a051813000130");
        let gauge: Vec<f64> = (0..20).map(|index| f64::from(index % 2)).collect();
        assert_eq!(golden(&gauge), "400000010100");
        assert_eq!(golden(&[2.5; 16]), "8132");
        assert_eq!(golden(&[1.0_f64 / 3.0; 16]), "9f555555555555d53f");
        assert_eq!(golden(&[1.0; 15]), "");
    }

    #[test]
    fn no_number_is_no_statistics_and_infinities_are_numbers() {
        for odd in [STALE_NAN, f64::NAN] {
            let mut values = vec![1.0; 100];
            values[50] = odd;
            assert_eq!(decoded(&values), None);
        }
        let mut values = vec![1.0; 100];
        values[50] = f64::NEG_INFINITY;
        let statistics = decoded(&values).unwrap();
        assert_eq!(
            (statistics.min, statistics.max, statistics.sum),
            (f64::NEG_INFINITY, 1.0, f64::NEG_INFINITY)
        );
        values[51] = f64::INFINITY;
        assert!(decoded(&values).unwrap().sum.is_nan());
    }

    #[test]
    fn zeros_keep_their_sign() {
        let mut values = vec![-0.0; 20];
        assert!(decoded(&values).unwrap().sum.is_sign_negative());
        values[7] = 0.0;
        let statistics = decoded(&values).unwrap();
        for zero in [statistics.first, statistics.last, statistics.min, statistics.max] {
            assert_eq!(zero.to_bits(), (-0.0_f64).to_bits());
        }
    }

    /// What statistics are, by their description: from the values alone, one after the other.
    fn model(values: &[f64]) -> Option<Statistics> {
        if values.len() < STATISTICS_SAMPLES_MIN || values.iter().any(|value| value.is_nan()) {
            return None;
        }
        let least = |a: f64, b: f64| if b < a { b } else { a };
        let greatest = |a: f64, b: f64| if b > a { b } else { a };
        let falls = || values.windows(2).filter(|pair| pair[1] < pair[0]);
        let (count, lost) = (falls().count(), falls().map(|pair| pair[0]).sum());
        Some(Statistics {
            first: values[0],
            last: values[values.len() - 1],
            min: values.iter().copied().reduce(least)?,
            max: values.iter().copied().reduce(greatest)?,
            sum: values.iter().sum(),
            resets: (count * 16 <= values.len()).then_some(Resets { count: count as u32, lost }),
        })
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let decimal =
            (0_i32..4, any::<i32>()).prop_map(|(digits, number)| f64::from(number) / 10_f64.powi(digits));
        let odd = prop_oneof![Just(-0.0), Just(f64::INFINITY), Just(STALE_NAN), Just(f64::MAX), Just(1e300)];
        prop_oneof![
            prop::collection::vec(decimal.clone(), 0..100),
            prop::collection::vec(prop_oneof![99 => decimal, 1 => odd], 0..100),
            prop::collection::vec(any::<f64>(), 0..100),
            prop::collection::vec(any::<i64>().prop_map(|number| number as f64), 0..100),
            prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..40),
            (any::<u32>(), prop::collection::vec(0_u32..1000, 0..300), any::<u8>()).prop_map(
                |(first, steps, reset)| {
                    let mut at = f64::from(first);
                    let step = |(index, step): (usize, u32)| {
                        at = if index == usize::from(reset) { 0.0 } else { at + f64::from(step) };
                        at
                    };
                    steps.into_iter().enumerate().map(step).collect()
                }
            ),
            (any::<f64>(), 0_usize..50).prop_map(|(value, count)| vec![value; count]),
        ]
    }

    /// Equal but for what rounding may do to numbers of this size.
    fn near(a: f64, b: f64, magnitude: f64) -> bool {
        a.to_bits() == b.to_bits()
            || a == b
            || (a.is_nan() && b.is_nan())
            || (a - b).abs() <= magnitude * 1e-13
    }

    proptest! {
        #[test]
        fn equal_what_the_values_give(values in values()) {
            let (stored, expected) = (decoded(&values), model(&values));
            prop_assert_eq!(stored.is_some(), expected.is_some());
            let Some((stored, expected)) = stored.zip(expected) else { return Ok(()) };
            for (a, b) in [
                (stored.first, expected.first),
                (stored.last, expected.last),
                (stored.min, expected.min),
                (stored.max, expected.max),
            ] {
                prop_assert_eq!(a.to_bits(), b.to_bits());
            }
            let magnitude: f64 = values.iter().map(|value| value.abs()).sum();
            if magnitude.is_finite() || values.iter().any(|value| value.is_infinite()) {
                prop_assert!(near(stored.sum, expected.sum, magnitude), "{stored:?} {expected:?}");
            }
            prop_assert_eq!(stored.resets.map(|r| r.count), expected.resets.map(|r| r.count));
            if let Some((a, b)) = stored.resets.zip(expected.resets) {
                prop_assert!(near(a.lost, b.lost, magnitude), "{a:?} {b:?}");
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0..70_000_usize) {
            let _ = decode_statistics(&bytes, count);
        }
    }
}
