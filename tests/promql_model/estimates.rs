//! What is estimated of a native histogram: quantiles, fractions, deviations.

use crate::model::Model;
use crate::native::{Bucket, Native};

/// A bucket as far as it is taken to have observations: one around zero only on the sides on which there are buckets.
fn occupied(native: &Native, bucket: Bucket) -> Bucket {
    if bucket.lower > 0.0 || bucket.upper < 0.0 {
        return bucket;
    }
    match (native.negative.is_empty(), native.positive.is_empty()) {
        (true, false) => Bucket { lower: 0.0, ..bucket },
        (false, true) => Bucket { upper: 0.0, ..bucket },
        _ => bucket,
    }
}

/// The part of a bucket's observations that is below `value`, which is inside: exponential unless the bucket is custom or around zero.
fn part_below(native: &Native, bucket: Bucket, value: f64) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if native.is_custom() || lower <= 0.0 && upper >= 0.0 {
        return (value - lower) / (upper - lower);
    }
    if lower > 0.0 {
        return (value / lower).ln() / (upper / lower).ln();
    }
    1.0 - (value / upper).ln() / (lower / upper).ln()
}

/// The value below which `part` of a bucket's observations are.
fn value_at(native: &Native, bucket: Bucket, part: f64) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if native.is_custom() || lower <= 0.0 && upper >= 0.0 {
        return lower + (upper - lower) * part;
    }
    if lower > 0.0 { lower * (upper / lower).powf(part) } else { upper * (lower / upper).powf(1.0 - part) }
}

impl Model<'_> {
    /// A function of a native histogram that gives a number.
    pub(crate) fn estimate(&self, name: &str, params: &[f64], native: &Native) -> f64 {
        match name {
            "histogram_count" => native.count,
            "histogram_sum" => native.sum,
            "histogram_avg" => self.exact_or_rough(native.sum / native.count),
            "histogram_stdvar" => self.histogram_variance(native),
            "histogram_stddev" => self.histogram_variance(native).sqrt(),
            "histogram_quantile" => self.rough(self.histogram_quantile(params[0], native)),
            "histogram_fraction" => self.rough(self.histogram_fraction(params[0], params[1], native)),
            _ => panic!("the model has no {name}"),
        }
    }

    /// All observations of a bucket are in its middle: geometric for exponential buckets, 0 around zero, arithmetic for custom ones.
    fn histogram_variance(&self, native: &Native) -> f64 {
        let mean = native.sum / native.count;
        let square = |bucket: &Bucket| {
            let Bucket { lower, upper, count } = *bucket;
            let middle = match bucket {
                _ if native.is_custom() => (lower + upper) / 2.0,
                _ if lower <= 0.0 && upper >= 0.0 => 0.0,
                _ if upper < 0.0 => -(lower * upper).sqrt(),
                _ => (lower * upper).sqrt(),
            };
            count * (middle - mean) * (middle - mean)
        };
        let squares: Vec<f64> = native.buckets().iter().map(square).collect();
        // Of differences, some may be negative, and cancel others out.
        let scale: f64 = squares.iter().map(|square| square.abs()).sum();
        self.noisy(squares.iter().sum::<f64>(), scale) / native.count
    }

    fn histogram_quantile(&self, quantile: f64, native: &Native) -> f64 {
        if quantile < 0.0 {
            return f64::NEG_INFINITY;
        }
        if quantile > 1.0 {
            return f64::INFINITY;
        }
        if quantile.is_nan() || native.count == 0.0 {
            return f64::NAN;
        }
        // From the nearer end. Observations of NaN are in no bucket and count as the largest.
        let from_below = quantile < 0.5 || native.sum.is_nan();
        let mut buckets = native.buckets();
        if !from_below {
            buckets.reverse();
        }
        let part = if from_below { quantile } else { 1.0 - quantile };
        let rank = self.noisy(part * native.count, native.count);
        let mut counted = 0.0;
        for (i, &bucket) in buckets.iter().enumerate() {
            counted = self.exact_or_rough(counted + bucket.count);
            if counted < rank && (i + 1 < buckets.len() || native.sum.is_nan()) {
                continue;
            }
            if native.is_custom() && bucket.upper == f64::INFINITY {
                return bucket.lower;
            }
            if native.is_custom() && bucket.lower == f64::NEG_INFINITY && bucket.upper <= 0.0 {
                return bucket.upper;
            }
            let bucket = match bucket.lower {
                f64::NEG_INFINITY => Bucket { lower: 0.0, ..bucket },
                _ if native.is_custom() => bucket,
                _ => occupied(native, bucket),
            };
            let into = (rank - (counted - bucket.count)) / bucket.count;
            // What the buckets do not have is beyond them.
            let into = into.min(1.0);
            return value_at(native, bucket, if from_below { into } else { 1.0 - into });
        }
        f64::NAN
    }

    fn histogram_fraction(&self, lower: f64, upper: f64, native: &Native) -> f64 {
        if native.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let buckets: Vec<Bucket> =
            native.buckets().into_iter().map(|bucket| occupied(native, bucket)).collect();
        let in_buckets: f64 = buckets.iter().map(|bucket| bucket.count).sum();
        let all = if native.sum.is_nan() { in_buckets } else { native.count };
        let rank = |value: f64| -> f64 {
            let below = |bucket: &Bucket| match bucket {
                _ if bucket.lower >= value => 0.0,
                _ if bucket.upper <= value => bucket.count,
                // Those of an infinitely wide bucket are at its infinite end.
                _ if bucket.lower == f64::NEG_INFINITY => bucket.count,
                _ => bucket.count * part_below(native, *bucket, value),
            };
            if buckets.last().is_none_or(|last| last.upper <= value) {
                return all;
            }
            buckets.iter().map(below).sum::<f64>().min(all)
        };
        self.noisy(rank(upper) - rank(lower), all) / native.count
    }
}
