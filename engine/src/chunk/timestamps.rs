//! The timestamp column: how many samples, and when.

use super::{CHUNK_SAMPLES_MAX, DecodeError, expect_end, integers};
use crate::encoding::{Reader, write_varint};

const TAG_RAW: u8 = 0;
const TAG_INTEGERS: u8 = 1;

/// Appends the column of `timestamps` (nanoseconds since the epoch) to `out`.
///
/// Any numbers come back. Regular ones take about 20 bytes however many there are.
///
/// # Panics
/// When there are more than [`CHUNK_SAMPLES_MAX`].
pub fn encode_timestamps(timestamps: &[i64], out: &mut Vec<u8>) {
    assert!(
        timestamps.len() <= CHUNK_SAMPLES_MAX,
        "a chunk is cut before it has {} samples",
        timestamps.len()
    );
    let start = out.len();
    out.push(TAG_INTEGERS);
    write_varint(out, timestamps.len() as u64);
    let body = out.len();
    integers::encode(timestamps, out);
    if out.len() - body > size_of_val(timestamps) {
        out[start] = TAG_RAW;
        out.truncate(body);
        out.extend(timestamps.iter().flat_map(|timestamp| timestamp.to_le_bytes()));
    }
}

/// Appends the timestamps of the column `bytes` to `out`.
///
/// # Errors
/// When `bytes` are not what [`encode_timestamps`] writes. `out` may have grown then.
pub fn decode_timestamps(bytes: &[u8], out: &mut Vec<i64>) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    let (tag, count) = read_header(&mut reader)?;
    match tag {
        TAG_RAW => {
            let (words, _) = reader.bytes(count * 8)?.as_chunks::<8>();
            out.extend(words.iter().map(|word| i64::from_le_bytes(*word)));
        }
        _ => {
            let start = out.len();
            out.resize(start + count, 0);
            integers::read(&mut reader, count)?.decode(0, &mut out[start..])?;
        }
    }
    expect_end(&reader)
}

/// The number of samples in the column `bytes`, from its header alone.
///
/// # Errors
/// When the header is not what [`encode_timestamps`] writes.
pub fn timestamp_count(bytes: &[u8]) -> Result<usize, DecodeError> {
    Ok(read_header(&mut Reader::new(bytes))?.1)
}

/// The encoding of the column `bytes` in words: `360 samples, delta of delta, divisor 1s, 2 bits`.
///
/// # Errors
/// When `bytes` are not what [`encode_timestamps`] writes; numbers are not decoded.
pub fn describe_timestamps(bytes: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (tag, count) = read_header(&mut reader)?;
    if tag == TAG_RAW {
        return Ok(format!("{count} samples, raw"));
    }
    let column = integers::read(&mut reader, count)?;
    Ok(format!("{count} samples, {}", column.describe(duration)))
}

fn read_header(reader: &mut Reader<'_>) -> Result<(u8, usize), DecodeError> {
    let start = reader.offset();
    let tag = reader.u8()?;
    if tag > TAG_INTEGERS {
        return Err(DecodeError { offset: start, reason: "unknown encoding of timestamps" });
    }
    let count = reader.varint_at_most(CHUNK_SAMPLES_MAX, "more samples than a chunk may have")?;
    Ok((tag, count))
}

/// Nanoseconds in the largest unit that leaves no fraction.
fn duration(nanoseconds: u64) -> String {
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)] {
        if nanoseconds.is_multiple_of(size) {
            return format!("{}{unit}", nanoseconds / size);
        }
    }
    format!("{nanoseconds}ns")
}
