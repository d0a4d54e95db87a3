//! Bins: classes of residuals by sign and magnitude of their distance from the center, two to an octave. Near the center each
//! number has its own bin (0, ±1, ±2, ±3); then come ±4…5, ±6…7, ±8…11, ±12…15, and so on. A residual is its bin and
//! an offset inside the bin, which takes as many bits as the bin is wide.
//!
//! The steps from the center are the exponent and the first fraction bit of the magnitude as a floating-point number:
//! 0 for 0, 1 for 1, 3 and 4 for 2 and 3, 5 for 4 and 5, 6 for 6 and 7. Step 2 would be 1½: its bins stay empty.

/// The number of bins: 127 on each side of the center's.
pub(super) const BINS: usize = 2 * CENTER_BIN + 1;
const CENTER_BIN: usize = 127;

/// The bin of a distance from the center.
#[inline]
pub(super) fn bin_of(distance: i64) -> u8 {
    let magnitude = distance.unsigned_abs();
    // Without the bits that a double has no room for, the conversion does not round up into the next bin. It takes the
    // place of counting zeros, which is slow on baseline x86-64. 2^63 turns negative, but keeps its exponent.
    let magnitude = (magnitude & !(magnitude >> 53)) as i64;
    const ONE: u64 = 1.0_f64.to_bits() >> 51;
    let step = (((magnitude as f64).to_bits() >> 51) & 0xfff).saturating_sub(ONE - 1) as usize;
    (if distance < 0 { CENTER_BIN - step } else { CENTER_BIN + step }) as u8
}

/// A bin's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bin {
    /// The lowest distance in the bin. It wraps for the bins of the last octave, as do all sums with it.
    pub(super) lowest: i64,
    /// The bits of an offset: 62 at most.
    pub(super) offset_bits: u32,
}

impl Bin {
    /// The highest distance in the bin. It may wrap.
    pub(super) const fn highest(self) -> i64 {
        self.lowest.wrapping_add((1 << self.offset_bits) - 1)
    }
}

/// The place of each bin.
pub(super) static PLACES: [Bin; BINS] = {
    let mut places = [Bin { lowest: 0, offset_bits: 0 }; BINS];
    let mut step = 1;
    while step <= CENTER_BIN {
        let (octave, half) = ((step as u32 - 1) / 2, (step as u64 - 1) % 2);
        let offset_bits = octave.saturating_sub(1);
        let nearest = if octave == 0 { 1 } else { ((2 + half) << (octave - 1)) as i64 };
        let farthest = nearest.wrapping_add((1 << offset_bits) - 1);
        places[CENTER_BIN + step] = Bin { lowest: nearest, offset_bits };
        places[CENTER_BIN - step] = Bin { lowest: farthest.wrapping_neg(), offset_bits };
        step += 1;
    }
    places
};

/// The bins of some residuals.
#[derive(Debug)]
pub(super) struct Histogram {
    /// What distances are measured from.
    pub(super) center: i64,
    /// The least distance from the center.
    pub(super) min: i64,
    /// The greatest distance from the center.
    pub(super) max: i64,
    /// The bin of each residual.
    pub(super) bins: Vec<u8>,
    /// How many residuals each bin has.
    pub(super) counts: [u32; BINS],
}

impl Histogram {
    /// Finds the bins of `residuals` around `center`.
    pub(super) fn new(residuals: &[i64], center: i64) -> Self {
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let bins: Vec<u8> = residuals
            .iter()
            .map(|residual| {
                let distance = residual.wrapping_sub(center);
                min = min.min(distance);
                max = max.max(distance);
                bin_of(distance)
            })
            .collect();
        let mut counts = [0; BINS];
        for &bin in &bins {
            counts[usize::from(bin)] += 1;
        }
        Self { center, min, max, bins, counts }
    }

    /// How many residuals there are.
    pub(super) const fn len(&self) -> usize {
        self.bins.len()
    }

    /// The bins that are not empty, ascending: bin and count.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, u32)> {
        self.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bins_meet_without_gaps() {
        let places: Vec<Bin> =
            (1..BINS - 1).filter(|bin| bin.abs_diff(CENTER_BIN) != 2).map(|bin| PLACES[bin]).collect();
        for [bin, next] in places.array_windows() {
            assert_eq!(bin.highest().wrapping_add(1), next.lowest, "{bin:?} {next:?}");
        }
        assert_eq!(
            [-6, -4, -3, -1, 0, 1, 2, 3, 4, 5, 6, 8, 12].map(|distance| i64::from(bin_of(distance)) - 127),
            [-6, -5, -4, -1, 0, 1, 3, 4, 5, 5, 6, 7, 8]
        );
        assert_eq!(bin_of(i64::MIN), 0);
        assert_eq!(bin_of(i64::MAX), 253);
    }

    proptest! {
        #[test]
        fn a_bin_and_an_offset_make_the_number(number in any::<i64>(), shift in 0..64) {
            for number in [number >> shift, i64::MAX >> shift, i64::MIN >> shift] {
                let place = PLACES[usize::from(bin_of(number))];
                let offset = number.wrapping_sub(place.lowest) as u64;
                prop_assert!(offset < 1 << place.offset_bits);
            }
        }
    }
}
