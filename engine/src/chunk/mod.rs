//! Chunks: the columns of timestamps and of values, encoded and decoded.
//!
#![doc = include_str!("../../docs/format/chunk.md")]

mod histograms;
mod integers;
mod positions;
mod residuals;
mod statistics;
#[cfg(test)]
mod tests;
mod timestamps;
mod values;

pub use crate::encoding::DecodeError;
pub use histograms::{
    COLUMN_PARTS_MAX, decode_column, describe_column, encode_column, encode_column_with_statistics,
    is_histogram_column,
};
pub use statistics::{Resets, STATISTICS_SAMPLES_MIN, Statistics, decode_statistics};
pub use timestamps::{decode_timestamps, describe_timestamps, encode_timestamps, timestamp_count};
pub use values::{decode_values, describe_values, encode_values, encode_values_with_statistics};

/// The most samples in a chunk. Encoders assert it; decoders check it before they allocate.
pub const CHUNK_SAMPLES_MAX: usize = 65_536;

/// Compares everything that a decoder has taken with what there is: a longer column is not what an encoder wrote.
fn expect_end(reader: &crate::encoding::Reader<'_>) -> Result<(), DecodeError> {
    if reader.is_empty() { Ok(()) } else { Err(reader.error("bytes follow the end of the column")) }
}
