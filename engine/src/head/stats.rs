//! How much a head holds.

use std::sync::atomic::Ordering;

use super::Head;

/// Sizes and counts of a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadStats {
    /// Series.
    pub series: u64,
    /// Samples.
    pub samples: u64,
    /// Samples that came with a timestamp not above the newest of their group's buffer.
    pub out_of_order: u64,
    /// Bytes of memory for series and samples.
    pub bytes: u64,
    /// The oldest timestamp; `i64::MAX` when there is none.
    pub oldest: i64,
}

impl Head {
    /// Bytes of memory for series and samples.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.held()
    }

    /// Sizes and counts.
    #[must_use]
    pub fn stats(&self) -> HeadStats {
        HeadStats {
            series: self.series.load(Ordering::Relaxed),
            samples: self.samples.load(Ordering::Relaxed),
            out_of_order: self.out_of_order.load(Ordering::Relaxed),
            oldest: self.range().start,
            bytes: self.bytes() as u64,
        }
    }
}
