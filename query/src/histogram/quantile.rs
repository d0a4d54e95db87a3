//! Quantiles and fractions. Observations are taken to be spread over their bucket exponentially, and evenly where the bucket is
//! the zero bucket or a custom one.

use timberline_engine::Histogram;

use super::buckets::{Bucket, buckets};

/// What NaN among the observations, which are in no bucket, does to a quantile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanObservations {
    /// The quantile is one of them.
    Result,
    /// It is higher than it would be without them.
    Skew,
}

/// The estimated quantile.
pub(crate) fn quantile(quantile: f64, histogram: &Histogram) -> (f64, Option<NanObservations>) {
    if quantile < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if quantile > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || quantile.is_nan() {
        return (f64::NAN, None);
    }
    let has_nan = histogram.sum.is_nan();
    // From the nearer end, for precision; NaN count as the largest, so with them the rank is one from below.
    let forward = has_nan || quantile < 0.5;
    let rank = if forward { quantile } else { 1.0 - quantile } * histogram.count;
    let all = buckets(histogram);
    let (bucket, count) =
        if forward { bucket_at(all.iter(), rank) } else { bucket_at(all.iter().rev(), rank) };
    let count = count.min(histogram.count);
    if has_nan && count < rank {
        return (f64::NAN, Some(NanObservations::Result));
    }
    let nan = has_nan.then_some(NanObservations::Skew);
    let bucket = match limited(bucket, histogram) {
        Ok(bucket) => bucket,
        Err(value) => return (value, nan),
    };
    if count < rank {
        // The buckets have less observations than the histogram says.
        return (if forward { bucket.upper } else { bucket.lower }, nan);
    }
    let into = if forward { rank - (count - bucket.count) } else { count - rank };
    let value = interpolate(bucket, into / bucket.count, histogram);
    (value, nan)
}

/// The bucket at which the counts add up to `rank`, and what they add up to; the last one when they do not.
fn bucket_at<'b>(buckets: impl Iterator<Item = &'b Bucket>, rank: f64) -> (Bucket, f64) {
    let mut count = 0.0;
    let mut last =
        Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
    for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
        count += bucket.count;
        last = *bucket;
        if count >= rank {
            break;
        }
    }
    (last, count)
}

/// The part of the bucket that has the observations, or the quantile where there is nothing to interpolate between.
fn limited(bucket: Bucket, histogram: &Histogram) -> Result<Bucket, f64> {
    if !histogram.has_custom_buckets() {
        return Ok(if bucket.lower < 0.0 && bucket.upper > 0.0 {
            one_sided(bucket, histogram)
        } else {
            bucket
        });
    }
    if bucket.lower == f64::NEG_INFINITY {
        return if bucket.upper <= 0.0 { Err(bucket.upper) } else { Ok(Bucket { lower: 0.0, ..bucket }) };
    }
    if bucket.upper == f64::INFINITY { Err(bucket.lower) } else { Ok(bucket) }
}

/// A bucket around zero, without the side on which the histogram has no buckets.
fn one_sided(bucket: Bucket, histogram: &Histogram) -> Bucket {
    match (histogram.negative.counts.is_empty(), histogram.positive.counts.is_empty()) {
        (true, false) => Bucket { lower: 0.0, ..bucket },
        (false, true) => Bucket { upper: 0.0, ..bucket },
        _ => bucket,
    }
}

/// The value that `fraction` of the bucket's observations are at most.
fn interpolate(bucket: Bucket, fraction: f64, histogram: &Histogram) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if histogram.has_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
        return lower + (upper - lower) * fraction;
    }
    let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        return (log_lower + (log_upper - log_lower) * fraction).exp2();
    }
    -(log_upper + (log_lower - log_upper) * (1.0 - fraction)).exp2()
}

/// The estimated fraction of observations between `lower` and `upper`; NaN are among the observations, but not between.
pub(crate) fn fraction(lower: f64, upper: f64, histogram: &Histogram) -> f64 {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let mut all = buckets(histogram);
    for bucket in &mut all {
        if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            *bucket = one_sided(*bucket, histogram);
        }
    }
    let count =
        if histogram.sum.is_nan() { all.iter().map(|bucket| bucket.count).sum() } else { histogram.count };
    (rank_of(upper, &all, count, histogram) - rank_of(lower, &all, count, histogram)) / histogram.count
}

/// How many observations are at most `value`.
fn rank_of(value: f64, buckets: &[Bucket], count: f64, histogram: &Histogram) -> f64 {
    let mut rank = 0.0;
    for bucket in buckets {
        if bucket.lower >= value {
            return if rank > count { count } else { rank };
        }
        if bucket.upper > value {
            let rank = rank + part_below(value, bucket, histogram);
            return if rank > count { count } else { rank };
        }
        rank += bucket.count;
    }
    count
}

/// How many of the bucket's observations are at most `value`, which is inside it.
fn part_below(value: f64, bucket: &Bucket, histogram: &Histogram) -> f64 {
    let Bucket { lower, upper, count, .. } = *bucket;
    if histogram.has_custom_buckets() || (lower <= 0.0 && upper >= 0.0) {
        // A bucket of infinite width has its observations at the infinite end.
        return if lower == f64::NEG_INFINITY { count } else { count * (value - lower) / (upper - lower) };
    }
    count * exponential_part(value, lower, upper)
}

/// The part of an exponential bucket's observations that is at most `value`.
pub(super) fn exponential_part(value: f64, lower: f64, upper: f64) -> f64 {
    let (log_lower, log_upper, log) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    if value > 0.0 {
        (log - log_lower) / (log_upper - log_lower)
    } else {
        1.0 - (log - log_upper) / (log_lower - log_upper)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{custom, exponential, run};
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        a == b || (a - b).abs() <= 1e-9 * b.abs()
    }

    /// Two observations in the zero bucket and ten in buckets up to 16, on one side.
    fn one_side(negative: bool) -> Histogram {
        let side = run(0, &[2.0, 3.0, 0.0, 1.0, 4.0]);
        let base = Histogram {
            count: 12.0,
            sum: 100.0,
            zero_count: 2.0,
            zero_threshold: 0.001,
            ..Histogram::default()
        };
        if negative { Histogram { negative: side, ..base } } else { Histogram { positive: side, ..base } }
    }

    #[test]
    fn quantiles_interpolate_exponentially_and_linearly_in_the_zero_bucket() {
        let negative = one_side(true);
        for (q, expected) in [
            (1.001, f64::INFINITY),
            (1.0, 0.0),
            (0.99, -0.00006),
            (0.9, -0.0006),
            (0.5, -1.5874010519681996),
            (0.1, -12.996038341699768),
            (0.0, -16.0),
            (-1.0, f64::NEG_INFINITY),
        ] {
            let (got, note) = quantile(q, &negative);
            assert!(close(got, expected) && note.is_none(), "{q}: {got}");
            if q > 0.0 && q < 1.0 {
                assert!(close(quantile(1.0 - q, &one_side(false)).0, -expected));
            }
        }
        assert!(quantile(0.5, &Histogram::default()).0.is_nan());
        assert!(quantile(f64::NAN, &negative).0.is_nan());
    }

    #[test]
    fn custom_buckets_interpolate_linearly_between_finite_bounds() {
        let histogram = custom(&[5.0, 10.0], 5.0, &[1.0, 2.0, 1.0]);
        assert_eq!(quantile(0.5, &histogram).0, 7.5);
        assert_eq!(quantile(0.125, &histogram).0, 2.5);
        assert_eq!(quantile(1.0, &histogram).0, 10.0);
        assert_eq!(quantile(0.1, &custom(&[-5.0, 10.0], 5.0, &[1.0])).0, -5.0);
        assert_eq!(fraction(5.0, 10.0, &histogram), 0.5);
        assert_eq!(fraction(0.0, 2.5, &histogram), 0.125);
        assert_eq!(fraction(-f64::INFINITY, 1e9, &histogram), 0.75);
        assert_eq!(fraction(-f64::INFINITY, f64::INFINITY, &histogram), 1.0);
    }

    #[test]
    fn nan_among_the_observations_skews_quantiles_and_is_no_fraction() {
        let histogram = Histogram { count: 15.0, ..exponential(0, f64::NAN, &[12.0]) };
        assert_eq!(quantile(0.8, &histogram), (1.0, Some(NanObservations::Skew)));
        let (value, note) = quantile(0.81, &histogram);
        assert!(value.is_nan() && note == Some(NanObservations::Result));
        assert_eq!(fraction(-f64::INFINITY, f64::INFINITY, &histogram), 0.8);
        assert!(close(fraction(-f64::INFINITY, 0.5_f64.sqrt(), &histogram), 0.4));
        let only = Histogram { count: 3.0, sum: f64::NAN, ..Histogram::default() };
        assert_eq!(fraction(-f64::INFINITY, f64::INFINITY, &only), 0.0);
        assert!(quantile(0.4, &only).0.is_nan());
    }

    #[test]
    fn fractions_are_the_inverse_of_quantiles() {
        let inf = f64::INFINITY;
        let positive = one_side(false);
        for (lower, upper, expected) in [
            (0.0, inf, 1.0),
            (-inf, 0.0, 0.0),
            (0.0, 0.0005, 0.08333333333333333),
            (1.0, 2.0, 0.25),
            (0.0, 1.5, 0.4795739585136224),
            (1.5, 6.0, 0.15250624987980724),
            (42.0, 3.0, 0.0),
            (-inf, inf, 1.0),
        ] {
            let got = fraction(lower, upper, &positive);
            assert!(close(got, expected), "{lower} to {upper}: {got}");
            assert!(close(fraction(-upper, -lower, &one_side(true)), expected));
        }
        assert!(fraction(f64::NAN, 1.0, &positive).is_nan());
        assert!(fraction(0.0, 1.0, &Histogram::default()).is_nan());
    }
}
