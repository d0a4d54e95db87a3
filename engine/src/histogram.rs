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

/// The most spans, buckets and custom bounds that a histogram may have, all together.
pub const PARTS_MAX: usize = 16_384;

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

    /// How many spans, buckets and custom bounds it has.
    #[must_use]
    pub fn parts(&self) -> usize {
        let side = |buckets: &Buckets| buckets.spans.len() + buckets.counts.len();
        side(&self.positive) + side(&self.negative) + self.custom_values.len()
    }

    /// The bytes of memory that it takes, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.parts() * size_of::<f64>()
    }

    /// Whether both have the same buckets, empty or not, down to the bits of their bounds.
    #[must_use]
    pub fn has_layout_of(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.zero_threshold.to_bits() == other.zero_threshold.to_bits()
            && self.positive.spans == other.positive.spans
            && self.negative.spans == other.negative.spans
            && (Arc::ptr_eq(&self.custom_values, &other.custom_values)
                || self
                    .custom_values
                    .iter()
                    .map(|v| v.to_bits())
                    .eq(other.custom_values.iter().map(|v| v.to_bits())))
    }

    /// Checks what storage takes for granted: each side has as many counts as its spans say.
    ///
    /// # Errors
    /// What is wrong; also when it has more than [`PARTS_MAX`] parts.
    pub fn check(&self) -> Result<(), String> {
        let parts = self.parts();
        if parts > PARTS_MAX {
            return Err(format!("{parts} spans, buckets and bounds, the limit is {PARTS_MAX}"));
        }
        for (side, buckets) in [("positive", &self.positive), ("negative", &self.negative)] {
            let spans: u64 = buckets.spans.iter().map(|span| u64::from(span.length)).sum();
            let counts = buckets.counts.len();
            if spans != counts as u64 {
                return Err(format!("spans need {spans} buckets, have {counts} on the {side} side"));
            }
        }
        Ok(())
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

    /// The same number, unless its bits are those of a cell: then an ordinary NaN.
    #[must_use]
    #[inline]
    pub fn float(value: f64) -> f64 {
        // A comparison of 32 bits, of which any processor does several at once: all values that are written pass here.
        if (value.to_bits() >> 32) as u32 == (TAG >> 32) as u32 { f64::NAN } else { value }
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
            assert_eq!(cell::float(cell::histogram(place)).to_bits(), f64::NAN.to_bits());
        }
        for value in
            [0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::from_bits(0x7ff0_0000_0000_0002), f64::MIN]
        {
            assert_eq!(cell::histogram_place(value), None);
            assert_eq!(cell::float(value).to_bits(), value.to_bits());
            assert!(!cell::is_histogram(value));
        }
    }
}
