//! Quantiles of a set of values.

use std::cmp::Ordering;

/// NaN is smaller than any number.
fn nan_first(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The `quantile` (0 to 1) of `values`, which are reordered: interpolated between the two values next to it. NaN for no values
/// or a NaN quantile, -Inf below 0, +Inf above 1.
pub(in crate::exec) fn quantile_of(quantile: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    let rank = quantile * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    let lower_at = rank.floor() as usize;
    let (_, &mut lower, above) = values.select_nth_unstable_by(lower_at, nan_first);
    let upper = above.iter().copied().min_by(nan_first).unwrap_or(lower);
    lower * (1.0 - weight) + upper * weight
}
