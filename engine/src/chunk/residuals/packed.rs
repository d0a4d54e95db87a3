//! Bit-packed residuals with patched exceptions: most residuals lie in a window of `2^width` numbers from a base on, and
//! are stored as their distance from it. The few others are stored aside with their positions. Width 0 is the sparse form: all
//! residuals equal the base, except those listed.

use std::fmt;

use super::super::{DecodeError, positions};
use super::bins::{Histogram, PLACES};
use super::{TAG_PACKED, TAG_PACKED_WITH_EXCEPTIONS};
use crate::encoding::bitpack::{pack, packed_len, unpack, width_of};
use crate::encoding::{Reader, unzigzag, write_zigzag, zigzag};

/// Tag, base, width.
const HEADER_BITS: usize = 24;
/// Count and widths of the exceptions.
const EXCEPTIONS_HEADER_BITS: usize = 24;

/// Where most residuals lie.
#[derive(Debug)]
pub(super) struct Window {
    base: i64,
    width: u32,
    estimated_bits: usize,
}

impl Window {
    /// The window that takes the fewest bits with its exceptions, at the resolution of the histogram's bins.
    pub(super) fn cheapest(histogram: &Histogram) -> Self {
        let count = histogram.len();
        let ranges = bin_ranges(histogram);
        let farthest = histogram.min.unsigned_abs().max(histogram.max.unsigned_abs());
        let exception_width = width_of(farthest) as usize + 1;
        let mut cheapest = Self { base: 0, width: 64, estimated_bits: usize::MAX };
        for width in 0..=64 {
            // Both ends of the window move through the bins: for each first bin, to the last one that is covered.
            let (mut end, mut inside) = (0, 0);
            for (begin, first) in ranges.iter().enumerate() {
                while let Some(next) = ranges.get(end)
                    && width_of(next.highest.wrapping_sub(first.lowest) as u64) <= width
                {
                    inside += next.count;
                    end += 1;
                }
                let exceptions = exceptions_bits(count - inside, count, exception_width);
                let bits = HEADER_BITS + count * width as usize + exceptions;
                if bits < cheapest.estimated_bits {
                    cheapest = Self { base: first.lowest, width, estimated_bits: bits };
                }
                if end > begin {
                    inside -= first.count;
                } else {
                    end = begin + 1;
                }
            }
            if cheapest.estimated_bits <= HEADER_BITS + count * (width as usize + 1) {
                break;
            }
        }
        cheapest.base = cheapest.base.wrapping_add(histogram.center);
        cheapest
    }

    /// What the packed residuals are expected to take.
    pub(super) const fn estimated_bits(&self) -> usize {
        self.estimated_bits
    }

    #[inline]
    fn covers(&self, residual: i64) -> bool {
        width_of(residual.wrapping_sub(self.base) as u64) <= self.width
    }
}

/// A bin that is not empty: its distances from the center, and how many residuals have them.
struct BinRange {
    lowest: i64,
    highest: i64,
    count: usize,
}

fn bin_ranges(histogram: &Histogram) -> Vec<BinRange> {
    let mut ranges: Vec<BinRange> = histogram
        .used()
        .map(|(bin, count)| BinRange {
            lowest: PLACES[bin].lowest,
            highest: PLACES[bin].highest(),
            count: count as usize,
        })
        .collect();
    if let Some(first) = ranges.first_mut() {
        first.lowest = histogram.min;
    }
    if let Some(last) = ranges.last_mut() {
        last.highest = histogram.max;
    }
    ranges
}

fn exceptions_bits(exceptions: usize, count: usize, width: usize) -> usize {
    if exceptions == 0 {
        return 0;
    }
    // The largest gap is about three times the mean one.
    let gap_width = (3 * count / exceptions + 1).ilog2() as usize + 1;
    EXCEPTIONS_HEADER_BITS + exceptions * (gap_width + width)
}

/// Appends `residuals` with their tag.
pub(super) fn encode(residuals: &[i64], window: &Window, out: &mut Vec<u8>) {
    let exceptions: Vec<usize> =
        (0..residuals.len()).filter(|&position| !window.covers(residuals[position])).collect();
    let distance = |residual: i64| residual.wrapping_sub(window.base);
    out.push(if exceptions.is_empty() { TAG_PACKED } else { TAG_PACKED_WITH_EXCEPTIONS });
    write_zigzag(out, window.base);
    out.push(window.width as u8);
    let in_window = |&residual: &i64| if window.covers(residual) { distance(residual) as u64 } else { 0 };
    pack(residuals.iter().map(in_window), window.width, out);
    if !exceptions.is_empty() {
        positions::write(&exceptions, out);
        let far: Vec<u64> =
            exceptions.iter().map(|&position| zigzag(distance(residuals[position]))).collect();
        let width = width_of(far.iter().copied().max().unwrap_or(0));
        out.push(width as u8);
        pack(far.into_iter(), width, out);
    }
}

/// Packed residuals taken apart, but not decoded.
#[derive(Debug)]
pub(in crate::chunk) struct Packed<'a> {
    base: i64,
    width: u32,
    packed: &'a [u8],
    exceptions: Vec<(usize, i64)>,
}

/// Takes apart the `count` residuals that `reader` is at, behind their tag.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    count: usize,
    with_exceptions: bool,
) -> Result<Packed<'a>, DecodeError> {
    let base = reader.zigzag()?;
    let width = reader.varint_at_most(64, "packed residuals are wider than 64 bits")? as u32;
    let packed = reader.bytes(packed_len(count, width))?;
    if !with_exceptions {
        return Ok(Packed { base, width, packed, exceptions: Vec::new() });
    }
    let positions = positions::read(reader, count)?;
    let exception_width = reader.varint_at_most(64, "exceptions are wider than 64 bits")? as u32;
    let mut distances = vec![0; positions.len()];
    unpack(reader.bytes(packed_len(positions.len(), exception_width))?, exception_width, 0, &mut distances);
    let values = distances.into_iter().map(|distance| base.wrapping_add(unzigzag(distance as u64)));
    Ok(Packed { base, width, packed, exceptions: positions.into_iter().zip(values).collect() })
}

impl Packed<'_> {
    /// Fills `out`, which has as many places as [`read`] was told or fewer, with the first residuals.
    pub(super) fn decode(&self, out: &mut [i64]) {
        unpack(self.packed, self.width, self.base, out);
        for &(position, residual) in &self.exceptions {
            let Some(place) = out.get_mut(position) else { break };
            *place = residual;
        }
    }
}

impl fmt::Display for Packed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{} bit{}", self.width, plural(self.width as usize))?;
        match self.exceptions.len() {
            0 => Ok(()),
            count => write!(f, ", {count} exception{}", plural(count)),
        }
    }
}
