//! When two histograms are the same.

use timberline_engine::{Buckets, Histogram};

use super::buckets::indexed;

/// Whether they have the same observations, as far as they say. What is known of resets does not count, nor how empty buckets are
/// listed; a NaN is the same as itself.
pub(crate) fn same(a: &Histogram, b: &Histogram) -> bool {
    let same_bits = |a: f64, b: f64| a.to_bits() == b.to_bits();
    a.schema == b.schema
        && same_bits(a.count, b.count)
        && same_bits(a.sum, b.sum)
        && same_bits(a.zero_count, b.zero_count)
        && a.zero_threshold == b.zero_threshold
        && (!a.has_custom_buckets() || a.custom_values == b.custom_values)
        && same_buckets(&a.positive, &b.positive)
        && same_buckets(&a.negative, &b.negative)
}

fn same_buckets(a: &Buckets, b: &Buckets) -> bool {
    let filled = |buckets| indexed(buckets).filter(|(_, count)| *count != 0.0);
    filled(a).map(|(i, count)| (i, count.to_bits())).eq(filled(b).map(|(i, count)| (i, count.to_bits())))
}

#[cfg(test)]
mod tests {
    use timberline_engine::ResetHint;

    use super::super::samples::{custom, exponential, run};
    use super::*;

    #[test]
    fn layout_and_hint_do_not_matter_but_numbers_do() {
        let a = exponential(0, f64::NAN, &[1.0, 0.0, 2.0]);
        let padded =
            Histogram { positive: run(-1, &[0.0, 1.0, 0.0, 2.0]), reset_hint: ResetHint::Gauge, ..a.clone() };
        assert!(same(&a, &padded));
        assert!(!same(&a, &Histogram { sum: 1.0, ..a.clone() }));
        assert!(!same(&a, &Histogram { positive: run(0, &[1.0, 2.0]), ..a.clone() }));
        assert!(!same(&custom(&[1.0], 1.0, &[1.0]), &custom(&[2.0], 1.0, &[1.0])));
    }
}
