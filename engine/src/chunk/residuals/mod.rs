//! Packing of residuals: what is left of a column when its trend is taken away. Three packings compete by estimate:
//! all equal; bit-packed with exceptions ([`packed`]); and entropy-coded ([`entropy`]), which takes fewer bytes and more
//! time. Residuals are the last part of their column, so none of them stores its length.
//!
//! The estimates, and the bins of the entropy coder, come from one [`Histogram`].

mod bins;
mod entropy;
mod packed;

use std::fmt;

use super::DecodeError;
use crate::encoding::{Reader, write_zigzag};
use bins::Histogram;
use entropy::Entropy;
use packed::Packed;

const TAG_EQUAL: u8 = 0;
const TAG_PACKED: u8 = 1;
const TAG_PACKED_WITH_EXCEPTIONS: u8 = 2;
const TAG_ENTROPY: u8 = 3;

/// Appends residuals that all equal `residual`.
pub(super) fn encode_equal(residual: i64, out: &mut Vec<u8>) {
    out.push(TAG_EQUAL);
    write_zigzag(out, residual);
}

/// Appends `residuals` in the packing that is estimated to be the smallest.
pub(super) fn encode(residuals: &[i64], out: &mut Vec<u8>) {
    let center = typical(residuals);
    if residuals.iter().all(|&residual| residual == center) {
        return encode_equal(center, out);
    }
    let histogram = Histogram::new(residuals, center);
    let window = packed::Window::cheapest(&histogram);
    match entropy::plan(window.estimated_bits(), &histogram) {
        Some(frequencies) => {
            out.push(TAG_ENTROPY);
            entropy::encode(residuals, &histogram, &frequencies, out);
        }
        None => packed::encode(residuals, &window, out),
    }
}

/// The median of a few residuals; zero when there are none.
pub(super) fn typical(residuals: &[i64]) -> i64 {
    const SAMPLES: usize = 15;
    let Some(last) = residuals.len().checked_sub(1) else { return 0 };
    let mut sample = [0; SAMPLES];
    for (index, sample) in sample.iter_mut().enumerate() {
        *sample = residuals[index * last / (SAMPLES - 1)];
    }
    sample.sort_unstable();
    sample[SAMPLES / 2]
}

/// Residuals taken apart, but not decoded.
#[derive(Debug)]
pub(super) enum Residuals<'a> {
    Equal(i64),
    Packed(Packed<'a>),
    Entropy(Entropy<'a>),
}

/// Takes apart the `count` residuals that `reader` is at. Only for constant and packed ones it knows where they end; entropy
/// coded ones reach to the end of the bytes.
pub(super) fn read<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Residuals<'a>, DecodeError> {
    let start = reader.clone();
    match reader.u8()? {
        TAG_EQUAL => Ok(Residuals::Equal(reader.zigzag()?)),
        TAG_PACKED => Ok(Residuals::Packed(packed::read(reader, count, false)?)),
        TAG_PACKED_WITH_EXCEPTIONS => Ok(Residuals::Packed(packed::read(reader, count, true)?)),
        TAG_ENTROPY => Ok(Residuals::Entropy(entropy::read(reader, count)?)),
        _ => Err(start.error("unknown packing of residuals")),
    }
}

impl Residuals<'_> {
    /// Fills `out`, which has as many places as [`read`] was told or fewer, with the first residuals.
    pub(super) fn decode(&self, out: &mut [i64]) -> Result<(), DecodeError> {
        match self {
            Self::Equal(residual) => out.fill(*residual),
            Self::Packed(packed) => packed.decode(out),
            Self::Entropy(entropy) => entropy.decode(out)?,
        }
        Ok(())
    }
}

impl fmt::Display for Residuals<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(residual) => write!(f, "all {residual}"),
            Self::Packed(packed) => packed.fmt(f),
            Self::Entropy(entropy) => entropy.fmt(f),
        }
    }
}
