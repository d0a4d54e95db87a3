//! XOR with the value before: neighbours share sign, exponent and leading bits of the fraction, so a small number remains.
//! Source: Gorilla (VLDB 2015). Where Gorilla writes the count of leading zeros and the bits behind them with a few
//! control bits, here the remaining numbers are [`residuals`], whose coder learns how often each magnitude occurs and
//! decodes without a branch. Zero bits at the end that all of them share are not stored.

use std::fmt;

use super::super::{DecodeError, residuals};
use crate::encoding::bitpack::width_of;
use crate::encoding::{Reader, zigzag};

/// Whether XOR leaves smaller numbers than the difference of the bits as integers, judged by some neighbours.
pub(super) fn beats_difference(bits: &[i64]) -> bool {
    const NEIGHBOURS: usize = 128;
    let (mut xor, mut difference) = (0, 0);
    for [a, b] in bits.array_windows().step_by(bits.len() / NEIGHBOURS + 1) {
        xor += width_of((a ^ b) as u64);
        difference += width_of(zigzag(b.wrapping_sub(*a)));
    }
    xor < difference
}

/// Appends the column of values with these bits, behind its tag.
pub(super) fn encode(bits: &[i64], out: &mut Vec<u8>) {
    let Some(first) = bits.first() else { return };
    let changes = bits.array_windows().map(|[a, b]| (a ^ b) as u64);
    let shift = changes.clone().fold(0, |all, change| all | change).trailing_zeros() % u64::BITS;
    let changes: Vec<i64> = changes.map(|change| (change >> shift) as i64).collect();
    out.extend_from_slice(&first.to_le_bytes());
    out.push(shift as u8);
    residuals::encode(&changes, out);
}

/// A column taken apart, but not decoded.
#[derive(Debug)]
pub(super) struct XorColumn<'a> {
    first: u64,
    shift: u32,
    residuals: residuals::Residuals<'a>,
}

/// Takes apart the column of `count` values that `reader` is at, behind its tag.
pub(super) fn read<'a>(reader: &mut Reader<'a>, count: usize) -> Result<XorColumn<'a>, DecodeError> {
    let Some(changes) = count.checked_sub(1) else {
        return Err(reader.error("XOR needs a sample"));
    };
    let first = reader.u64_le()?;
    let shift = reader.varint_at_most(63, "shift of XOR is out of range")? as u32;
    let residuals = residuals::read(reader, changes)?;
    Ok(XorColumn { first, shift, residuals })
}

impl XorColumn<'_> {
    /// Fills `places` with the bits of the first values.
    pub(super) fn decode(&self, places: &mut [i64]) -> Result<(), DecodeError> {
        let Some((first, changes)) = places.split_first_mut() else { return Ok(()) };
        self.residuals.decode(changes)?;
        let mut bits = self.first;
        *first = bits as i64;
        for change in changes {
            bits ^= (*change as u64) << self.shift;
            *change = bits as i64;
        }
        Ok(())
    }
}

impl fmt::Display for XorColumn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XOR, shift {}, {}", self.shift, self.residuals)
    }
}
