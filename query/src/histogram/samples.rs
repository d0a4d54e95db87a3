//! Histograms for the tests of this folder.

use timberline_engine::histogram::{BucketSpan, Buckets, CUSTOM_BUCKETS_SCHEMA, Histogram};

/// One run of buckets from `offset` on.
pub(super) fn run(offset: i32, counts: &[f64]) -> Buckets {
    let spans = vec![BucketSpan { offset, length: counts.len() as u32 }];
    Buckets { spans, counts: counts.to_vec() }
}

/// An exponential histogram with buckets on the positive side from index 0 on, whose count they add up to.
pub(super) fn exponential(schema: i32, sum: f64, counts: &[f64]) -> Histogram {
    let count = counts.iter().sum();
    Histogram { schema, count, sum, positive: run(0, counts), ..Histogram::default() }
}

/// A histogram with these bounds, and one more bucket than them at most.
pub(super) fn custom(bounds: &[f64], sum: f64, counts: &[f64]) -> Histogram {
    Histogram { custom_values: bounds.into(), ..exponential(CUSTOM_BUCKETS_SCHEMA, sum, counts) }
}
