//! Native histograms as samples: the other kind of value that a series can have.
//!
//! A histogram travels beside the columns of `f64` that everything else works on: where a sample is a histogram, its cell holds a
//! NaN of a form that is kept for this ([`cell`]) and that names the histogram's place in a list next to the column. So
//! whatever moves, sorts, overwrites or drops samples treats both kinds alike.
//!
//! The model is Prometheus's (`model/histogram`, float histograms): counts are `f64`, which holds integers up to 2⁵³ exactly.

use std::sync::Arc;

/// The schema of histograms whose bucket bounds are listed: "native histograms with custom buckets".
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;
/// The coarsest exponential schema: bucket bounds grow by 2¹⁶.
pub const EXPONENTIAL_SCHEMA_MIN: i32 = -4;
/// The finest exponential schema: bucket bounds grow by 2^(2⁻⁸).
pub const EXPONENTIAL_SCHEMA_MAX: i32 = 8;

/// What is known of a counter reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ResetHint {
    /// Nothing: compare the two.
    #[default]
    Unknown = 0,
    /// There was a reset.
    Reset = 1,
    /// There was none.
    NotReset = 2,
    /// It is not a counter.
    Gauge = 3,
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketSpan {
    /// For the first span the index of its first bucket, for others the number of buckets left out before it.
    pub offset: i32,
    /// How many buckets it has.
    pub length: u32,
}

/// The buckets of one side, sparse.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Which buckets there are.
    pub spans: Vec<BucketSpan>,
    /// The number of observations in each of them: as many as the spans' lengths add up to. Not cumulative.
    pub counts: Vec<f64>,
}

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Bucket `i` of the positive side ends at `2^(i × 2^-schema)`; or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// What is known of a counter reset before it.
    pub reset_hint: ResetHint,
    /// The number of observations, NaN among them.
    pub count: f64,
    /// The sum of all observed values.
    pub sum: f64,
    /// Half the width of the zero bucket.
    pub zero_threshold: f64,
    /// The number of observations in the zero bucket.
    pub zero_count: f64,
    /// Buckets of observations above the zero bucket.
    pub positive: Buckets,
    /// Buckets of observations below the zero bucket, by their absolute value.
    pub negative: Buckets,
    /// With custom buckets: the upper bound of each, ascending; a last bucket up to infinity is implied.
    pub custom_values: Arc<[f64]>,
}

impl Histogram {
    /// Whether the bounds of its buckets are listed rather than computed.
    #[must_use]
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }
}

/// The cells that stand for histograms in a column of values.
pub mod cell {
    /// A quiet NaN with the sign set and these bits; the low 32 bits are the place. No processor makes it of other numbers.
    const TAG: u64 = 0xfffc_7469_0000_0000;
    const TAG_MASK: u64 = 0xffff_ffff_0000_0000;

    /// The cell that names the histogram at `place`.
    #[must_use]
    #[inline]
    pub fn histogram(place: u32) -> f64 {
        f64::from_bits(TAG | u64::from(place))
    }

    /// The place of the histogram that `value` names, if it does.
    #[must_use]
    #[inline]
    pub fn histogram_place(value: f64) -> Option<u32> {
        (value.to_bits() & TAG_MASK == TAG).then_some(value.to_bits() as u32)
    }

    /// Whether `value` names a histogram.
    #[must_use]
    #[inline]
    pub fn is_histogram(value: f64) -> bool {
        value.to_bits() & TAG_MASK == TAG
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_cell_is_a_nan_that_no_number_is() {
        for place in [0, 1, u32::MAX] {
            assert!(cell::histogram(place).is_nan());
            assert_eq!(cell::histogram_place(cell::histogram(place)), Some(place));
        }
        for value in
            [0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::from_bits(0x7ff0_0000_0000_0002), f64::MIN]
        {
            assert_eq!(cell::histogram_place(value), None);
            assert!(!cell::is_histogram(value));
        }
    }
}
