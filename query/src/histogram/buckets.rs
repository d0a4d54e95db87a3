//! The buckets of a histogram in the order of their bounds.

use timberline_engine::{BucketSpan, Buckets, Histogram};

use super::bounds::upper_bound;

/// One bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Where it begins.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether `lower` belongs to it.
    pub lower_inclusive: bool,
    /// Whether `upper` belongs to it.
    pub upper_inclusive: bool,
    /// How many observations it has.
    pub count: f64,
}

impl Bucket {
    /// Whether it is cut off at the edges of the zero bucket, which it overlaps.
    fn outside_zero_bucket(self, zero_threshold: f64) -> Self {
        if self.upper < 0.0 && self.upper > -zero_threshold {
            return Self { upper: -zero_threshold, ..self };
        }
        if self.lower > 0.0 && self.lower < zero_threshold {
            return Self { lower: zero_threshold, ..self };
        }
        self
    }
}

/// All buckets that `histogram` lists, ascending: negative ones, the zero bucket if it has observations, positive ones. Some may be
/// empty.
#[must_use]
pub fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let mut all = Vec::with_capacity(histogram.negative.counts.len() + 1 + histogram.positive.counts.len());
    all.extend(
        negative_buckets(histogram).map(|bucket| bucket.outside_zero_bucket(histogram.zero_threshold)),
    );
    all.reverse();
    if histogram.zero_count > 0.0 {
        all.push(zero_bucket(histogram));
    }
    all.extend(
        positive_buckets(histogram).map(|bucket| bucket.outside_zero_bucket(histogram.zero_threshold)),
    );
    all
}

pub(super) fn zero_bucket(histogram: &Histogram) -> Bucket {
    Bucket {
        lower: -histogram.zero_threshold,
        upper: histogram.zero_threshold,
        lower_inclusive: true,
        upper_inclusive: true,
        count: histogram.zero_count,
    }
}

/// The positive buckets, ascending, where their schema has them.
pub(super) fn positive_buckets(histogram: &Histogram) -> impl Iterator<Item = Bucket> {
    let bound = |index| upper_bound(index, histogram.schema, &histogram.custom_values);
    indexed(&histogram.positive).map(move |(index, count)| {
        let (lower, upper) = (bound(index.wrapping_sub(1)), bound(index));
        let custom = histogram.has_custom_buckets();
        Bucket {
            lower,
            upper,
            lower_inclusive: if custom { index == 0 } else { lower < 0.0 },
            upper_inclusive: custom || upper > 0.0,
            count,
        }
    })
}

/// The negative buckets from zero downwards.
pub(super) fn negative_buckets(histogram: &Histogram) -> impl Iterator<Item = Bucket> {
    let bound = |index| upper_bound(index, histogram.schema, &histogram.custom_values);
    indexed(&histogram.negative).map(move |(index, count)| {
        let (lower, upper) = (-bound(index), -bound(index.wrapping_sub(1)));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    })
}

/// Each listed bucket's index and count, ascending by index.
pub(super) fn indexed(buckets: &Buckets) -> impl Iterator<Item = (i32, f64)> + Clone {
    let mut next = 0_i32;
    let indexes = buckets.spans.iter().flat_map(move |span| {
        let start = next.wrapping_add(span.offset);
        next = start.wrapping_add_unsigned(span.length);
        (0..span.length).map(move |i| start.wrapping_add_unsigned(i))
    });
    indexes.zip(buckets.counts.iter().copied())
}

/// Buckets in spans, without the empty ones. `counts` ascend by index.
pub(super) fn from_indexed(counts: impl Iterator<Item = (i32, f64)>) -> Buckets {
    let mut buckets = Buckets::default();
    let mut next: Option<i32> = None;
    for (index, count) in counts.filter(|(_, count)| *count != 0.0) {
        match buckets.spans.last_mut() {
            Some(span) if next == Some(index) => span.length += 1,
            _ => {
                let offset = index.wrapping_sub(next.unwrap_or(0));
                buckets.spans.push(BucketSpan { offset, length: 1 });
            }
        }
        next = Some(index.wrapping_add(1));
        buckets.counts.push(count);
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::super::samples::{custom, exponential, run};
    use super::*;

    fn bounds(histogram: &Histogram) -> Vec<(f64, f64, f64)> {
        buckets(histogram).iter().map(|bucket| (bucket.lower, bucket.upper, bucket.count)).collect()
    }

    #[test]
    fn buckets_ascend_from_negative_to_positive() {
        let histogram = Histogram {
            zero_threshold: 0.001,
            zero_count: 2.0,
            negative: run(0, &[1.0, 2.0]),
            ..exponential(0, 10.0, &[1.0, 2.0])
        };
        let expected =
            [(-2.0, -1.0, 2.0), (-1.0, -0.5, 1.0), (-0.001, 0.001, 2.0), (0.5, 1.0, 1.0), (1.0, 2.0, 2.0)];
        assert_eq!(bounds(&histogram), expected);
        let closed: Vec<(bool, bool)> =
            buckets(&histogram).iter().map(|b| (b.lower_inclusive, b.upper_inclusive)).collect();
        assert_eq!(closed, [(true, false), (true, false), (true, true), (false, true), (false, true)]);
    }

    #[test]
    fn buckets_do_not_reach_into_the_zero_bucket() {
        let histogram =
            Histogram { zero_threshold: 0.75, negative: run(0, &[1.0]), ..exponential(0, 1.0, &[1.0]) };
        assert_eq!(bounds(&histogram), [(-1.0, -0.75, 1.0), (0.75, 1.0, 1.0)]);
    }

    #[test]
    fn custom_buckets_reach_to_infinity() {
        let histogram = custom(&[5.0, 10.0], 5.0, &[1.0, 2.0, 1.0]);
        let inf = f64::INFINITY;
        assert_eq!(bounds(&histogram), [(-inf, 5.0, 1.0), (5.0, 10.0, 2.0), (10.0, inf, 1.0)]);
        assert!(buckets(&histogram)[0].lower_inclusive && !buckets(&histogram)[1].lower_inclusive);
    }

    #[test]
    fn spans_are_the_runs_of_buckets_with_observations() {
        let counts = [(-3, 1.0), (-2, 2.0), (0, 0.0), (4, 3.0), (5, f64::NAN)];
        let buckets = from_indexed(counts.into_iter());
        let span = |offset, length| BucketSpan { offset, length };
        assert_eq!(buckets.spans, [span(-3, 2), span(5, 2)]);
        let read: Vec<i32> = indexed(&buckets).map(|(index, _)| index).collect();
        assert_eq!(read, [-3, -2, 4, 5]);
    }
}
