//! The value column. Its length is that of the timestamp column it belongs to, and is not stored again.

mod decimal;
mod xor;

use std::ops::Range;

use super::{CHUNK_SAMPLES_MAX, DecodeError, expect_end, integers, statistics};
use crate::encoding::Reader;
use crate::samples::keep;
use decimal::Decimals;
pub(super) use decimal::{POWERS_OF_TEN, value as decimal_value};

const TAG_RAW: u8 = 0;
const TAG_CONSTANT: u8 = 1;
const TAG_DECIMAL: u8 = 2;
const TAG_BITS: u8 = 3;
const TAG_XOR: u8 = 4;
/// Of a column that has histograms, which other functions write and read.
pub(super) const TAG_HISTOGRAMS: u8 = 5;

/// Decimals that take more bits than this compete with the bits of the doubles.
const DECIMAL_BITS_GOOD: usize = 24;

/// Appends the column of `values` to `out`: every bit pattern comes back.
///
/// # Panics
/// When there are more than [`CHUNK_SAMPLES_MAX`].
pub fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    encode_column(values, out);
}

/// As [`encode_values`]; also appends to `statistics` what [`decode_statistics`](super::decode_statistics) reads, which is
/// nothing for some columns.
///
/// # Panics
/// When there are more than [`CHUNK_SAMPLES_MAX`].
pub fn encode_values_with_statistics(values: &[f64], out: &mut Vec<u8>, statistics: &mut Vec<u8>) {
    match encode_column(values, out).as_ref().and_then(Decimals::all) {
        Some((integers, exponent)) => statistics::encode_decimals(values, integers, exponent, statistics),
        None => statistics::encode_doubles(values, statistics),
    }
}

/// Appends the column; returns the decimals that it is of.
fn encode_column(values: &[f64], out: &mut Vec<u8>) -> Option<Decimals> {
    assert!(values.len() <= CHUNK_SAMPLES_MAX, "a chunk is cut before it has {} samples", values.len());
    let start = out.len();
    let decimals = Decimals::find(values);
    if let Some(decimals) = &decimals {
        out.push(TAG_DECIMAL);
        decimals.encode(out);
    }
    let decimal_len = out.len() - start;
    if decimals.is_some() && decimal_len * 8 <= DECIMAL_BITS_GOOD * values.len() {
        return decimals;
    }
    let mut competitor = Vec::new();
    encode_bits(values, &mut competitor);
    if decimals.is_some() && competitor.len() >= decimal_len {
        return decimals;
    }
    out.truncate(start);
    out.extend_from_slice(&competitor);
    None
}

/// Appends the column of values that are no decimals.
fn encode_bits(values: &[f64], out: &mut Vec<u8>) {
    let bits: Vec<i64> = values.iter().map(|value| value.to_bits() as i64).collect();
    if let [first, rest @ ..] = &bits[..]
        && rest.iter().all(|value| value == first)
    {
        out.push(TAG_CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        return;
    }
    if xor::beats_difference(&bits) {
        out.push(TAG_XOR);
        xor::encode(&bits, out);
    } else {
        out.push(TAG_BITS);
        integers::encode(&bits, out);
    }
    if out.len() > size_of_val(values) {
        out.clear();
        out.push(TAG_RAW);
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

/// Appends those of the `count` values of the column `bytes` to `out` that are at the positions `wanted`. Values behind those
/// are not decoded, and those before them no further than needed.
///
/// # Errors
/// When `bytes` are not what [`encode_values`] writes for `count` values, as far as they are looked at. `out` may have grown
/// then.
///
/// # Panics
/// When positions are wanted that the column does not have.
pub fn decode_values(
    bytes: &[u8],
    count: usize,
    wanted: &Range<usize>,
    out: &mut Vec<f64>,
) -> Result<(), DecodeError> {
    assert!(wanted.start <= wanted.end && wanted.end <= count, "{wanted:?} of a column of {count} values");
    let mut reader = Reader::new(bytes);
    match read_tag(&mut reader, count)? {
        TAG_RAW => {
            let (words, _) = reader.bytes(count * 8)?.as_chunks::<8>();
            out.extend(words[wanted.clone()].iter().map(|word| f64::from_le_bytes(*word)));
        }
        TAG_CONSTANT => {
            let value = f64::from_bits(reader.u64_le()?);
            out.resize(out.len() + wanted.len(), value);
        }
        TAG_DECIMAL => {
            let column = decimal::read(&mut reader, count)?;
            extend_by_bits(out, wanted, |places| column.decode(wanted.start, places))?;
        }
        TAG_BITS => {
            let column = integers::read(&mut reader, count)?;
            extend_by_bits(out, wanted, |places| column.decode(wanted.start, places))?;
        }
        _ => {
            let column = xor::read(&mut reader, count)?;
            extend_by_bits(out, wanted, |places| column.decode(places))?;
        }
    }
    expect_end(&reader)
}

/// Appends values whose bits `decode` fills in. It is given places for all up to the last that is wanted: it needs no memory
/// besides.
#[inline]
fn extend_by_bits(
    out: &mut Vec<f64>,
    wanted: &Range<usize>,
    decode: impl FnOnce(&mut [i64]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let start = out.len();
    out.resize(start + wanted.end, 0.0);
    decode(bytemuck::cast_slice_mut(&mut out[start..]))?;
    keep(wanted, start, out);
    Ok(())
}

/// The encoding of the column `bytes` in words: `decimal × 10^-2, delta, 3 bits, 2 exceptions`.
///
/// # Errors
/// When `bytes` are not what [`encode_values`] writes for `count` values; numbers are not decoded.
pub fn describe_values(bytes: &[u8], count: usize) -> Result<String, DecodeError> {
    let mut reader = Reader::new(bytes);
    Ok(match read_tag(&mut reader, count)? {
        TAG_RAW => "raw".to_owned(),
        TAG_CONSTANT => format!("constant {}", f64::from_bits(reader.u64_le()?)),
        TAG_DECIMAL => decimal::read(&mut reader, count)?.to_string(),
        TAG_BITS => {
            format!(
                "bits as integers, {}",
                integers::read(&mut reader, count)?.describe(|divisor| divisor.to_string())
            )
        }
        _ => xor::read(&mut reader, count)?.to_string(),
    })
}

fn read_tag(reader: &mut Reader<'_>, count: usize) -> Result<u8, DecodeError> {
    if count > CHUNK_SAMPLES_MAX {
        return Err(reader.error("more samples than a chunk may have"));
    }
    let start = reader.offset();
    let tag = reader.u8()?;
    if tag > TAG_XOR {
        return Err(DecodeError { offset: start, reason: "unknown encoding of values" });
    }
    Ok(tag)
}
