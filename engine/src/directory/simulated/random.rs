//! A seeded generator of random numbers, so that a simulated machine is a pure function of its seed.

/// SplitMix64. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `last`, both included.
    pub(super) fn up_to(&mut self, last: usize) -> usize {
        match (last as u64).checked_add(1) {
            Some(count) => (self.next() % count) as usize,
            None => self.next() as usize,
        }
    }

    /// True half of the time.
    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
