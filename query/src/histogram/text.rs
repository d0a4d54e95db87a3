//! A histogram as text: the value of a label that `count_values` makes of one.

use std::fmt::Write;

use timberline_engine::Histogram;

use super::buckets::{Bucket, negative_buckets, positive_buckets, zero_bucket};

/// `{count:20, sum:10, [-0.001,0.001]:2, (0.5,1]:1}`: the buckets with observations, ascending.
pub(crate) fn describe(histogram: &Histogram) -> String {
    let mut buckets: Vec<Bucket> = negative_buckets(histogram).collect();
    buckets.reverse();
    buckets.push(zero_bucket(histogram));
    buckets.extend(positive_buckets(histogram));
    let mut text = format!("{{count:{}, sum:{}", general(histogram.count), general(histogram.sum));
    for bucket in buckets.iter().filter(|bucket| bucket.count != 0.0) {
        let open = if bucket.lower_inclusive { '[' } else { '(' };
        let close = if bucket.upper_inclusive { ']' } else { ')' };
        let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(general);
        // Writing to a string does not fail.
        let _ = write!(text, ", {open}{lower},{upper}{close}:{count}");
    }
    text.push('}');
    text
}

/// A number as the value of a label, by which OpenMetrics knows it for one: with a point or an exponent.
pub(crate) fn open_metrics_number(value: f64) -> String {
    let mut text = general(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// The fewest digits that read back as `value`, with an exponent below 1e-4 and from a million on: Go's `%g`.
fn general(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    match scientific.split_once('e').map(|(digits, exponent)| (digits, exponent.parse::<i32>())) {
        Some((digits, Ok(exponent))) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => value.to_string(),
    }
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

    #[test]
    fn numbers_have_an_exponent_where_they_get_long() {
        for (value, expected) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (0.0001, "0.0001"),
            (0.000012, "1.2e-05"),
            (-2.5e300, "-2.5e+300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(general(value), expected);
        }
        let labels = [0.0, 1.0, 0.25, -1.0, 1e6, f64::NAN, f64::INFINITY].map(open_metrics_number);
        assert_eq!(labels, ["0.0", "1.0", "0.25", "-1.0", "1e+06", "NaN", "+Inf"]);
    }
}
