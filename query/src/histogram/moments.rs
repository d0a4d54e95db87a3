//! The mean and the variance of a histogram's observations.

use timberline_engine::Histogram;

use super::buckets::buckets;
use crate::exec::CompensatedSum;

/// The mean, exactly.
pub(crate) fn average(histogram: &Histogram) -> f64 {
    histogram.sum / histogram.count
}

/// The variance, estimated: each observation is taken to be in the middle of its bucket. That is the geometric mean of an exponential
/// bucket's bounds, zero in the zero bucket, and the arithmetic mean of custom bounds.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = average(histogram);
    let mut squares = CompensatedSum::default();
    for bucket in buckets(histogram).iter().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_buckets() {
            (bucket.upper + bucket.lower) / 2.0
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let difference = middle - mean;
        squares.add(bucket.count * difference * difference);
    }
    squares.total() / histogram.count
}

#[cfg(test)]
mod tests {
    use timberline_engine::Histogram;

    use super::super::samples::{custom, exponential, run};
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * b.abs()
    }

    #[test]
    fn the_middle_of_an_exponential_bucket_is_geometric() {
        // Of 1, 2, 3, 4.
        let one_to_four = exponential(2, 10.0, &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(average(&one_to_four), 2.5);
        assert!(close(variance(&one_to_four), 1.163807968526718));
        let negative =
            Histogram { negative: run(4, &[10.0]), count: 10.0, sum: -100.0, ..exponential(0, 0.0, &[]) };
        assert!(close(variance(&negative).sqrt(), 1.3137084989848));
    }

    #[test]
    fn infinite_and_no_observations() {
        assert_eq!(variance(&exponential(0, f64::INFINITY, &[1.0])), f64::INFINITY);
        assert!(variance(&Histogram::default()).is_nan());
        assert_eq!(variance(&custom(&[2.0, 4.0], 9.0, &[0.0, 3.0])), 0.0);
    }
}
