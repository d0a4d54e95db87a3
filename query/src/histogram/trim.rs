//! `</` and `>/`: a histogram without the observations above or below a value. The bucket that holds the value is split as quantiles
//! are interpolated; if anything was cut off, the sum is estimated anew from the middles of what is left.

use timberline_engine::{Buckets, Histogram};

use super::buckets::{Bucket, from_indexed, indexed, negative_buckets, positive_buckets, zero_bucket};
use super::quantile::exponential_part;

/// How many observations stay, and the value that they are taken to have.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    count: f64,
    middle: f64,
}

/// `histogram` without what is above `limit`, or, not `keep_below`, below it.
pub(crate) fn trim(histogram: &Histogram, limit: f64, keep_below: bool) -> Histogram {
    let linear = histogram.has_custom_buckets();
    let side = |listed: Vec<Bucket>, positive: bool| -> Vec<(f64, Kept)> {
        listed
            .iter()
            .map(|bucket| (bucket.count, keep(bucket, limit, keep_below, positive, linear)))
            .collect()
    };
    let positive = side(positive_buckets(histogram).collect(), true);
    let negative = side(negative_buckets(histogram).collect(), false);
    let filled = |side: &[(f64, Kept)]| side.iter().any(|(count, _)| *count != 0.0);
    let mut zero = Vec::new();
    if histogram.zero_count > 0.0 {
        let kept = keep_of_zero_bucket(histogram, limit, keep_below, filled(&negative), filled(&positive));
        zero.push((histogram.zero_count, kept));
    }
    let all = || positive.iter().chain(&negative).chain(&zero).filter(|(count, _)| *count != 0.0);
    if all().all(|(count, kept)| *count == kept.count) {
        return histogram.clone();
    }
    let counts = |buckets: &Buckets, side: &[(f64, Kept)]| {
        from_indexed(indexed(buckets).zip(side).map(|((index, _), (_, kept))| (index, kept.count)))
    };
    Histogram {
        count: all().map(|(_, kept)| kept.count).sum(),
        sum: all().map(|(_, kept)| kept.count * kept.middle).sum(),
        zero_count: zero.first().map_or(histogram.zero_count, |(_, kept)| kept.count),
        positive: counts(&histogram.positive, &positive),
        negative: counts(&histogram.negative, &negative),
        ..histogram.clone()
    }
}

fn keep(bucket: &Bucket, limit: f64, keep_below: bool, positive: bool, linear: bool) -> Kept {
    let Bucket { lower, upper, count, .. } = *bucket;
    let (inside, cut) =
        if keep_below { (upper <= limit, lower < limit) } else { (lower >= limit, upper > limit) };
    if inside {
        return Kept { count, middle: middle(lower, upper, positive, linear) };
    }
    if !cut {
        return Kept { count: 0.0, middle: 0.0 };
    }
    if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
        return keep_of_infinite(bucket, limit, keep_below);
    }
    let below = count
        * if linear { (limit - lower) / (upper - lower) } else { exponential_part(limit, lower, upper) };
    if keep_below {
        Kept { count: below, middle: middle(lower, limit, positive, linear) }
    } else {
        Kept { count: count - below, middle: middle(limit, upper, positive, linear) }
    }
}

/// A bucket of infinite width that holds the limit. Its observations are at its infinite end, but the first of custom buckets is
/// taken to begin at zero if it ends above. Nothing is known of those of a bucket without any end: none of them stay.
fn keep_of_infinite(bucket: &Bucket, limit: f64, keep_below: bool) -> Kept {
    let Bucket { lower, upper, count, .. } = *bucket;
    if lower == f64::NEG_INFINITY && upper == f64::INFINITY {
        return Kept { count: 0.0, middle: 0.0 };
    }
    if lower == f64::NEG_INFINITY && upper > 0.0 && upper.is_finite() {
        if limit < 0.0 {
            return Kept { count: 0.0, middle: 0.0 };
        }
        let below = count * limit / upper;
        return if keep_below {
            Kept { count: below, middle: limit / 2.0 }
        } else {
            Kept { count: count - below, middle: limit.midpoint(upper) }
        };
    }
    let at_kept_end = if keep_below { lower == f64::NEG_INFINITY } else { lower != f64::NEG_INFINITY };
    Kept { count: if at_kept_end { count } else { 0.0 }, middle: limit }
}

/// The zero bucket is taken to have observations only on the sides that have buckets, if any has.
fn keep_of_zero_bucket(
    histogram: &Histogram,
    limit: f64,
    keep_below: bool,
    has_negative: bool,
    has_positive: bool,
) -> Kept {
    let Bucket { mut lower, mut upper, count, .. } = zero_bucket(histogram);
    match (has_negative, has_positive) {
        (true, false) => upper = 0.0,
        (false, true) => lower = 0.0,
        _ => {}
    }
    let (from, to) = if keep_below { (lower, limit.min(upper)) } else { (limit.max(lower), upper) };
    if from >= to {
        // Nothing is left, unless the bucket has no width and is all on the right side; a limit there leaves what is not below it.
        let whole = lower >= upper && if keep_below { limit > upper } else { limit <= lower };
        return Kept { count: if whole { count } else { 0.0 }, middle: 0.0 };
    }
    let part = if from == lower && to == upper { 1.0 } else { (to - from) / (upper - lower) };
    Kept { count: count * part, middle: from.midpoint(to) }
}

/// Where the observations between two bounds are taken to be.
fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) if upper > 0.0 => upper / 2.0,
        (true, false) => upper,
        (false, true) => lower,
        _ if linear => lower.midpoint(upper),
        _ if positive => (lower * upper).abs().sqrt(),
        _ => -(lower * upper).abs().sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{custom, exponential, run};
    use super::*;

    #[test]
    fn what_is_inside_stays_as_it_is() {
        let histogram = exponential(0, 4.2, &[1.0, 2.0, 1.0]);
        assert_eq!(trim(&histogram, 4.0, true), histogram);
        assert_eq!(trim(&histogram, 0.5, false), histogram);
    }

    #[test]
    fn exponential_buckets_are_split_exponentially() {
        // Up to 1, to 4, and to 16.
        let histogram = exponential(-1, 9.0, &[1.0, 2.0, 4.0]);
        let below = trim(&histogram, 2.0, true);
        assert_eq!(below.positive, run(0, &[1.0, 1.0]));
        assert_eq!((below.count, below.sum), (2.0, 0.5 + 2.0_f64.sqrt()));
        let above = trim(&histogram, 2.0, false);
        assert_eq!((above.count, above.positive), (5.0, run(1, &[1.0, 4.0])));
        let mirrored =
            Histogram { negative: histogram.positive.clone(), positive: Buckets::default(), ..histogram };
        assert_eq!(trim(&mirrored, -2.0, false).negative, run(0, &[1.0, 1.0]));
    }

    #[test]
    fn the_zero_bucket_is_split_evenly_on_the_sides_that_have_buckets() {
        let histogram = Histogram {
            zero_threshold: 0.5,
            zero_count: 4.0,
            count: 5.0,
            ..exponential(0, 1.0, &[0.0, 1.0])
        };
        let below = trim(&histogram, 0.25, true);
        assert_eq!((below.zero_count, below.count, below.sum), (2.0, 2.0, 0.25));
        assert_eq!(trim(&histogram, -0.1, true).count, 0.0);
        assert_eq!(trim(&histogram, 0.0, false).zero_count, 4.0);
        let point = Histogram { zero_threshold: 0.0, ..histogram };
        assert_eq!(trim(&point, 0.0, true).zero_count, 0.0);
        assert_eq!(trim(&point, 0.0, false).zero_count, 4.0);
        assert_eq!(trim(&point, 0.1, true).zero_count, 4.0);
    }

    #[test]
    fn custom_buckets_are_split_evenly() {
        let histogram = custom(&[4.0, 8.0], 20.0, &[2.0, 4.0, 1.0]);
        let below = trim(&histogram, 5.0, true);
        assert_eq!((&below.positive, below.count, below.sum), (&run(0, &[2.0, 1.0]), 3.0, 8.5));
        let above = trim(&histogram, 2.0, false);
        assert_eq!((&above.positive, above.count), (&run(0, &[1.0, 4.0, 1.0]), 6.0));
        assert_eq!(trim(&histogram, 100.0, true).count, 6.0);
        assert_eq!(trim(&histogram, 100.0, false).count, 1.0);
        let nothing = trim(&histogram, f64::NAN, true);
        assert_eq!((nothing.count, nothing.positive), (0.0, Buckets::default()));
        let endless = custom(&[], 30.0, &[6.0]);
        for keep_below in [true, false] {
            let cut = trim(&endless, 2.0, keep_below);
            assert_eq!((cut.count, cut.sum, cut.positive), (0.0, 0.0, Buckets::default()));
        }
        assert_eq!(trim(&endless, f64::INFINITY, true), endless);
        assert_eq!(trim(&endless, f64::NEG_INFINITY, false), endless);
    }
}
