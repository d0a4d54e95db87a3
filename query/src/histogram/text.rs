//! A histogram as text: the value of a label that `count_values` makes of one.

use std::fmt::Write;

use timberline_engine::Histogram;

use super::buckets::{Bucket, negative_buckets, positive_buckets, zero_bucket};
use crate::exec::go_number;

/// `{count:20, sum:10, [-0.001,0.001]:2, (0.5,1]:1}`: the buckets with observations, ascending.
pub(crate) fn describe(histogram: &Histogram) -> String {
    let mut buckets: Vec<Bucket> = negative_buckets(histogram).collect();
    buckets.reverse();
    buckets.push(zero_bucket(histogram));
    buckets.extend(positive_buckets(histogram));
    let mut text = format!("{{count:{}, sum:{}", go_number(histogram.count), go_number(histogram.sum));
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(go_number);
        // Writing to a string does not fail.
        let _ = write!(text, ", {open}{lower},{upper}{close}:{count}");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples::{exponential, run};
    use super::*;

    #[test]
    fn buckets_are_listed_with_their_bounds() {
        let histogram = Histogram {
            count: 20.0,
            zero_threshold: 0.001,
            zero_count: 2.0,
            negative: run(0, &[1.0, 2.0]),
            ..exponential(0, 10.0, &[1.0, 0.0, 2.0])
        };
        let expected = "{count:20, sum:10, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:2, (0.5,1]:1, (2,4]:2}";
        assert_eq!(describe(&histogram), expected);
    }
}
