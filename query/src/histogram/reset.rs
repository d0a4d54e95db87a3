//! Whether a counter was reset between two histograms.

use timberline_engine::{Buckets, Histogram, ResetHint};

use super::bounds::{coarser_index, exponential_bound};
use super::buckets::indexed;
use super::sum::{reconciled_index, wider_threshold};

/// Whether something that `previous` counted is gone in `current`; what `current` knows by itself goes first.
pub(crate) fn is_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count || current.has_custom_buckets() != previous.has_custom_buckets() {
        return true;
    }
    if current.has_custom_buckets() {
        return custom_buckets_shrank(current, previous);
    }
    if current.schema > previous.schema || current.zero_threshold < previous.zero_threshold {
        return true;
    }
    if current.zero_threshold == previous.zero_threshold {
        return current.zero_count < previous.zero_count || sides_shrank(current, previous, |_| false);
    }
    let threshold = current.zero_threshold;
    let wider = wider_threshold(
        previous.schema,
        || indexed(&previous.positive),
        || indexed(&previous.negative),
        threshold,
    );
    if wider != threshold {
        // The zero bucket ends inside a bucket that had observations.
        return true;
    }
    let inside = |index: i32| exponential_bound(index.wrapping_sub(1), previous.schema) < threshold;
    let swallowed = |buckets: &Buckets| -> f64 {
        indexed(buckets).filter(|(index, _)| inside(*index)).map(|(_, count)| count).sum()
    };
    if current.zero_count
        < previous.zero_count + swallowed(&previous.positive) + swallowed(&previous.negative)
    {
        return true;
    }
    sides_shrank(current, previous, inside)
}

/// Whether a bucket of `previous` has less in `current`, but for those that are `swallowed` by the zero bucket.
fn sides_shrank(current: &Histogram, previous: &Histogram, swallowed: impl Fn(i32) -> bool) -> bool {
    let difference = previous.schema.abs_diff(current.schema);
    let sides = [(&current.positive, &previous.positive), (&current.negative, &previous.negative)];
    sides.into_iter().any(|(current, previous)| {
        let outside = indexed(previous).filter(|(index, _)| !swallowed(*index));
        let before = merged(outside.map(|(index, count)| (coarser_index_of(index, difference), count)));
        shrank(&indexed(current).collect::<Vec<_>>(), &before)
    })
}

fn coarser_index_of(index: i32, difference: u32) -> i32 {
    if difference == 0 { index } else { coarser_index(index, difference) }
}

/// With custom bounds that differ, those that both have are compared.
fn custom_buckets_shrank(current: &Histogram, previous: &Histogram) -> bool {
    let (new, old) = (&current.custom_values, &previous.custom_values);
    if new == old {
        let all = |buckets| indexed(buckets).collect::<Vec<_>>();
        return shrank(&all(&current.positive), &all(&previous.positive));
    }
    let common: Vec<f64> = new.iter().copied().filter(|bound| old.contains(bound)).collect();
    let reduced = |histogram: &Histogram| {
        let bounds = &histogram.custom_values;
        merged(
            indexed(&histogram.positive)
                .map(|(index, count)| (reconciled_index(index, bounds, &common), count)),
        )
    };
    shrank(&reduced(current), &reduced(previous))
}

/// Adds up buckets with the same index; indexes ascend.
fn merged(buckets: impl Iterator<Item = (i32, f64)>) -> Vec<(i32, f64)> {
    let mut merged: Vec<(i32, f64)> = Vec::new();
    for (index, count) in buckets {
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// Whether a bucket has less than before. One that is not listed any more has nothing.
fn shrank(current: &[(i32, f64)], previous: &[(i32, f64)]) -> bool {
    let mut at = 0;
    previous.iter().any(|&(index, before)| {
        while at < current.len() && current[at].0 < index {
            at += 1;
        }
        match current.get(at) {
            Some(&(same, count)) if same == index => count < before,
            _ => before != 0.0,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{custom, exponential, run};
    use super::*;

    #[test]
    fn a_smaller_count_anywhere_is_a_reset() {
        let before = exponential(0, 5.0, &[1.0, 2.0, 1.0]);
        assert!(!is_reset(&exponential(0, 6.0, &[1.0, 2.0, 3.0]), &before));
        assert!(!is_reset(&exponential(0, 1.0, &[1.0, 2.0, 1.0]), &before));
        assert!(is_reset(&exponential(0, 6.0, &[1.0, 1.0, 3.0]), &before));
        assert!(is_reset(&exponential(0, 6.0, &[4.0, 2.0]), &before));
        assert!(is_reset(&exponential(0, 6.0, &[1.0]), &before));
    }

    #[test]
    fn a_hint_is_believed() {
        let before = exponential(0, 5.0, &[2.0]);
        let with = |reset_hint, count| Histogram { reset_hint, ..exponential(0, 5.0, &[count]) };
        assert!(is_reset(&with(ResetHint::Reset, 3.0), &before));
        assert!(!is_reset(&with(ResetHint::NotReset, 1.0), &before));
        assert!(is_reset(&with(ResetHint::Gauge, 1.0), &before));
    }

    #[test]
    fn a_coarser_schema_is_none_but_a_finer_one_is() {
        let before = exponential(1, 5.0, &[1.0, 1.0, 1.0]);
        // Indexes 0, 1 and 2 of schema 1 are 0 and 1 of schema 0.
        assert!(!is_reset(&exponential(0, 5.0, &[1.0, 2.0]), &before));
        assert!(is_reset(&exponential(0, 5.0, &[2.0, 1.0]), &before));
        assert!(is_reset(&exponential(2, 5.0, &[9.0, 9.0, 9.0]), &before));
    }

    #[test]
    fn a_zero_bucket_may_grow_over_whole_buckets_only() {
        let before = exponential(0, 5.0, &[1.0, 2.0]);
        let with = |zero_threshold, zero_count, counts: &[f64]| Histogram {
            zero_threshold,
            zero_count,
            count: 9.0,
            positive: run(1, counts),
            ..Histogram::default()
        };
        assert!(!is_reset(&with(1.0, 1.0, &[2.0]), &before));
        assert!(is_reset(&with(1.0, 0.0, &[2.0]), &before));
        assert!(is_reset(&with(1.5, 9.0, &[2.0]), &before));
        assert!(is_reset(&before, &Histogram { zero_threshold: 0.1, ..Histogram::default() }));
        // A zero bucket of the same width may overlap others.
        assert!(!is_reset(&with(1.5, 9.0, &[2.0]), &with(1.5, 9.0, &[2.0])));
        assert!(is_reset(&with(1.5, 9.0, &[2.0]), &with(1.5, 9.0, &[3.0])));
    }

    #[test]
    fn custom_buckets_are_compared_by_their_common_bounds() {
        let before = custom(&[5.0], 1.0, &[1.0]);
        assert!(!is_reset(&custom(&[5.0, 10.0], 1.0, &[1.0]), &before));
        assert!(is_reset(&custom(&[5.0, 10.0], 1.0, &[0.0, 1.0]), &before));
        assert!(is_reset(&exponential(0, 1.0, &[1.0]), &before));
    }
}
