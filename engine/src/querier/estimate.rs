//! How many series a selection is going to find: counted from postings, without a look at labels or chunks.

use super::snapshot::Snapshot;
use crate::error::Result;
use crate::matcher::Matcher;
use crate::time::TimeRange;

/// How many series a selection finds, as far as the indexes can tell.
///
/// A head and the blocks mostly have the same series, and only their labels would say which, so there are two numbers. Both
/// count a series whose block touches the range even when none of its own samples does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Series in the head or block that has the most of them: what a selection finds when all places have the same series.
    pub series: u64,
    /// Series of all places added up: what it finds when each place has others.
    pub series_max: u64,
}

impl Snapshot {
    /// Estimates what [`select`](Self::select) finds.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub fn estimate(&self, matchers: &[Matcher], range: TimeRange) -> Result<Estimate> {
        let mut estimate = Estimate::default();
        if range.is_empty() {
            return Ok(estimate);
        }
        let blocks = self.blocks.iter().map(|block| block.count_series(matchers, range));
        for count in blocks.chain(self.heads().map(|head| head.count_series(matchers, range))) {
            let count = count?;
            estimate.series = estimate.series.max(count);
            estimate.series_max += count;
        }
        Ok(estimate)
    }
}
