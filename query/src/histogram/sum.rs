//! Sums and differences of histograms. All numbers carry the rounding errors of what was added, so that the order hardly matters.

use std::sync::Arc;

use timberline_engine::{Buckets, Histogram, ResetHint};

use super::bounds::{coarser_index, exponential_bound};
use super::buckets::{from_indexed, indexed};
use crate::exec::CompensatedSum;

/// Buckets of one side by their index, ascending.
type Side = Vec<(i32, CompensatedSum)>;

/// One of them has exponential buckets and the other has custom ones: they cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What is worth a note about a sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// A counter that is known to have been reset met one that is known not to have been.
    pub(crate) conflicting_resets: bool,
    /// Custom buckets had different bounds: only those that all have are left.
    pub(crate) bounds_reconciled: bool,
}

impl Notes {
    pub(crate) fn merge(&mut self, other: Self) {
        self.conflicting_resets |= other.conflicting_resets;
        self.bounds_reconciled |= other.bounds_reconciled;
    }
}

/// What each part of a mean is multiplied by when it is added: exact, and no sum of what this leaves overflows.
pub(crate) const MEAN_FACTOR: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// A sum of histograms.
#[derive(Clone, Debug)]
pub(crate) struct Sum {
    schema: i32,
    reset_hint: ResetHint,
    count: CompensatedSum,
    sum: CompensatedSum,
    zero_threshold: f64,
    zero_count: CompensatedSum,
    positive: Side,
    negative: Side,
    custom_values: Arc<[f64]>,
}

impl Sum {
    /// `histogram` times `factor`.
    pub(crate) fn of(histogram: &Histogram, factor: f64) -> Self {
        let number = |value: f64| CompensatedSum { sum: value * factor, error: 0.0 };
        let side = |buckets: &Buckets| {
            indexed(buckets).map(|(index, count)| (index, number(count))).collect::<Side>()
        };
        Self {
            schema: histogram.schema,
            reset_hint: histogram.reset_hint,
            count: number(histogram.count),
            sum: number(histogram.sum),
            zero_threshold: histogram.zero_threshold,
            zero_count: number(histogram.zero_count),
            positive: side(&histogram.positive),
            negative: side(&histogram.negative),
            custom_values: Arc::clone(&histogram.custom_values),
        }
    }

    /// Adds `histogram` times `factor`.
    pub(crate) fn add(&mut self, histogram: &Histogram, factor: f64) -> Result<Notes, Incompatible> {
        if !self.has_layout_of(histogram) {
            return self.merge(Self::of(histogram, factor));
        }
        let conflicting_resets = self.add_hint(histogram.reset_hint);
        self.count.add(histogram.count * factor);
        self.sum.add(histogram.sum * factor);
        self.zero_count.add(histogram.zero_count * factor);
        let scaled = |(index, count)| (index, CompensatedSum { sum: count * factor, error: 0.0 });
        add_side(&mut self.positive, indexed(&histogram.positive).map(scaled));
        add_side(&mut self.negative, indexed(&histogram.negative).map(scaled));
        Ok(Notes { conflicting_resets, bounds_reconciled: false })
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, mut other: Self) -> Result<Notes, Incompatible> {
        if self.has_custom_buckets() != other.has_custom_buckets() {
            return Err(Incompatible);
        }
        let bounds_reconciled = if self.has_custom_buckets() {
            self.reconcile_bounds(&mut other)
        } else {
            self.reconcile_zero_buckets(&mut other);
            let schema = self.schema.min(other.schema);
            self.coarsen(schema);
            other.coarsen(schema);
            false
        };
        let conflicting_resets = self.add_hint(other.reset_hint);
        self.count.merge(other.count);
        self.sum.merge(other.sum);
        self.zero_count.merge(other.zero_count);
        add_side(&mut self.positive, other.positive.into_iter());
        add_side(&mut self.negative, other.negative.into_iter());
        Ok(Notes { conflicting_resets, bounds_reconciled })
    }

    /// The sum with all its numbers negated.
    pub(crate) fn negated(mut self) -> Self {
        let negate = |number: CompensatedSum| CompensatedSum { sum: -number.sum, error: -number.error };
        for number in [&mut self.count, &mut self.sum, &mut self.zero_count] {
            *number = negate(*number);
        }
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = negate(*count);
        }
        self
    }

    /// The sum times `factor`, as a histogram without empty buckets.
    pub(crate) fn times(self, factor: f64) -> Histogram {
        self.map(|number| number * factor, factor < 0.0)
    }

    /// The sum divided by `divisor`, as a histogram without empty buckets; dividing by zero takes all buckets away.
    pub(crate) fn over(mut self, divisor: f64) -> Histogram {
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        self.map(|number| number / divisor, divisor < 0.0)
    }

    /// The mean of `count` histograms that were added times [`MEAN_FACTOR`].
    pub(crate) fn mean(self, count: f64) -> Histogram {
        self.map(|number| number / count / MEAN_FACTOR, false)
    }

    fn map(self, f: impl Fn(f64) -> f64, becomes_gauge: bool) -> Histogram {
        let number = |number: CompensatedSum| {
            let (sum, error) = (f(number.sum), f(number.error));
            if sum.is_finite() && error.is_finite() { sum + error } else { sum }
        };
        let side = |side: Side| from_indexed(side.into_iter().map(|(index, count)| (index, number(count))));
        Histogram {
            schema: self.schema,
            reset_hint: if becomes_gauge { ResetHint::Gauge } else { self.reset_hint },
            count: number(self.count),
            sum: number(self.sum),
            zero_threshold: self.zero_threshold,
            zero_count: number(self.zero_count),
            positive: side(self.positive),
            negative: side(self.negative),
            custom_values: self.custom_values,
        }
    }

    /// Merges buckets until the schema is `schema`, unless it is that coarse already.
    pub(crate) fn coarsen(&mut self, schema: i32) {
        if self.has_custom_buckets() || schema >= self.schema {
            return;
        }
        let difference = self.schema.abs_diff(schema);
        for side in [&mut self.positive, &mut self.negative] {
            relabel(side, |index| coarser_index(index, difference));
        }
        self.schema = schema;
    }

    fn has_custom_buckets(&self) -> bool {
        self.schema == timberline_engine::histogram::CUSTOM_BUCKETS_SCHEMA
    }

    /// Whether buckets with the same index are the same.
    fn has_layout_of(&self, other: &Histogram) -> bool {
        self.schema == other.schema
            && self.zero_threshold == other.zero_threshold
            && (!self.has_custom_buckets() || self.custom_values == other.custom_values)
    }

    /// What is known of resets of the sum: the least that is known of its parts, but a gauge makes it a gauge. Whether the parts
    /// contradict each other.
    fn add_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, Unknown};
        let (hint, conflict) = match (self.reset_hint, other) {
            (a, b) if a == b => (a, false),
            (Gauge, _) | (_, Gauge) => (Gauge, false),
            (Unknown, _) | (_, Unknown) => (Unknown, false),
            _ => (Unknown, true),
        };
        self.reset_hint = hint;
        conflict
    }

    /// Reduces both to the bounds that both have; whether that changed anything.
    fn reconcile_bounds(&mut self, other: &mut Self) -> bool {
        if self.custom_values == other.custom_values {
            return false;
        }
        let common: Arc<[f64]> =
            self.custom_values.iter().copied().filter(|bound| other.custom_values.contains(bound)).collect();
        for histogram in [self, other] {
            let old = Arc::clone(&histogram.custom_values);
            let new_index = |index| reconciled_index(index, &old, &common);
            relabel(&mut histogram.positive, new_index);
            histogram.custom_values = Arc::clone(&common);
        }
        true
    }

    fn reconcile_zero_buckets(&mut self, other: &mut Self) {
        // A wider zero bucket may end inside another bucket, which it then takes in: the other one may have to follow.
        loop {
            if self.zero_threshold > other.zero_threshold {
                other.widen_zero_bucket(self.zero_threshold);
            }
            if other.zero_threshold > self.zero_threshold {
                self.widen_zero_bucket(other.zero_threshold);
            } else if self.zero_threshold >= other.zero_threshold || self.zero_threshold.is_nan() {
                return;
            }
            if self.zero_threshold == other.zero_threshold || other.zero_threshold.is_nan() {
                return;
            }
        }
    }

    fn widen_zero_bucket(&mut self, threshold: f64) {
        let counts = |side: &Side| side.iter().map(|(index, count)| (*index, count.sum)).collect::<Vec<_>>();
        let (positive, negative) = (counts(&self.positive), counts(&self.negative));
        let threshold =
            wider_threshold(self.schema, || positive.iter().copied(), || negative.iter().copied(), threshold);
        for side in [&mut self.positive, &mut self.negative] {
            let inside = |index: i32| exponential_bound(index.wrapping_sub(1), self.schema) < threshold;
            let taken = side.partition_point(|(index, _)| inside(*index));
            side.drain(..taken).for_each(|(_, count)| self.zero_count.merge(count));
        }
        self.zero_threshold = threshold;
    }
}

/// The least threshold from `threshold` on that does not cut through a bucket with observations. The sides list buckets by index.
pub(super) fn wider_threshold<I: Iterator<Item = (i32, f64)>>(
    schema: i32,
    positive: impl Fn() -> I,
    negative: impl Fn() -> I,
    mut threshold: f64,
) -> f64 {
    loop {
        let before = threshold;
        for side in [positive(), negative()] {
            let cut = side
                .filter(|(_, count)| *count != 0.0)
                .map(|(index, _)| (exponential_bound(index.wrapping_sub(1), schema), index))
                .find(|(lower, index)| *lower < threshold && exponential_bound(*index, schema) > threshold);
            if let Some((_, index)) = cut {
                threshold = exponential_bound(index, schema);
            }
        }
        if threshold == before || threshold.is_nan() {
            return threshold;
        }
    }
}

/// The bucket of `new` bounds that holds bucket `index` of `old` ones. `new` bounds are among the old ones.
pub(super) fn reconciled_index(index: i32, old: &[f64], new: &[f64]) -> i32 {
    let upper = usize::try_from(index).ok().and_then(|at| old.get(at)).copied();
    upper.map_or(new.len(), |upper| new.partition_point(|bound| *bound < upper)) as i32
}

/// Gives buckets new indexes, which ascend as the old ones do, and merges those that get the same.
fn relabel(side: &mut Side, new_index: impl Fn(i32) -> i32) {
    let mut merged: Side = Vec::with_capacity(side.len());
    for (index, count) in side.drain(..) {
        let index = new_index(index);
        match merged.last_mut() {
            Some((last, sum)) if *last == index => sum.merge(count),
            _ => merged.push((index, count)),
        }
    }
    *side = merged;
}

fn add_side(side: &mut Side, other: impl Iterator<Item = (i32, CompensatedSum)>) {
    let (mut at, known) = (0, side.len());
    for (index, count) in other {
        while at < known && side[at].0 < index {
            at += 1;
        }
        if at < known && side[at].0 == index {
            side[at].1.merge(count);
        } else {
            side.push((index, count));
        }
    }
    if side.len() > known {
        side.sort_by_key(|(index, _)| *index);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{custom, exponential, run};
    use super::*;

    fn add(a: &Histogram, b: &Histogram, factor: f64) -> (Histogram, Notes) {
        let mut sum = Sum::of(a, 1.0);
        let notes = sum.add(b, factor).unwrap();
        (sum.times(1.0), notes)
    }

    #[test]
    fn buckets_add_up_by_index() {
        let a = exponential(0, 4.0, &[1.0, 2.0, 1.0]);
        let b = Histogram { positive: run(1, &[1.0, 0.0, 5.0]), ..exponential(0, 2.0, &[1.0, 5.0]) };
        let (sum, notes) = add(&a, &b, 1.0);
        assert_eq!(sum.positive, run(0, &[1.0, 3.0, 1.0, 5.0]));
        assert_eq!((sum.count, sum.sum, notes), (10.0, 6.0, Notes::default()));
        assert_eq!(add(&a, &a, -1.0).0.positive, Buckets::default());
    }

    #[test]
    fn the_coarser_schema_counts() {
        let low = Histogram { positive: run(1, &[1.0]), ..exponential(-1, 4.0, &[1.0]) };
        let high = Histogram { positive: run(1, &[2.0, 2.0]), ..exponential(0, 4.0, &[2.0, 2.0]) };
        for (a, b) in [(&low, &high), (&high, &low)] {
            let (sum, _) = add(a, b, 1.0);
            assert_eq!((sum.schema, &sum.positive), (-1, &run(1, &[5.0])));
        }
    }

    #[test]
    fn a_wider_zero_bucket_takes_in_what_it_cuts() {
        let narrow = exponential(0, 10.0, &[1.0, 2.0, 4.0]);
        let wide = Histogram { zero_threshold: 1.5, zero_count: 8.0, count: 8.0, ..Histogram::default() };
        for (a, b) in [(&narrow, &wide), (&wide, &narrow)] {
            let (sum, _) = add(a, b, 1.0);
            // 1.5 is inside the bucket up to 2.
            assert_eq!((sum.zero_threshold, sum.zero_count), (2.0, 11.0));
            assert_eq!(sum.positive, run(2, &[4.0]));
        }
        let empty_there = Histogram { positive: run(0, &[1.0, 0.0, 4.0]), ..narrow };
        assert_eq!(add(&empty_there, &wide, 1.0).0.zero_threshold, 1.5);
    }

    #[test]
    fn custom_buckets_keep_their_common_bounds() {
        let (a, b) = (custom(&[2.0, 5.0, 10.0], 1.0, &[1.0, 2.0, 3.0, 4.0]), custom(&[5.0], 1.0, &[10.0]));
        let (sum, notes) = add(&a, &b, 1.0);
        assert!(notes.bounds_reconciled);
        assert_eq!((&*sum.custom_values, &sum.positive), (&[5.0][..], &run(0, &[13.0, 7.0])));
        let (all, _) = add(&a, &custom(&[3.0], 0.0, &[1.0]), 1.0);
        assert_eq!((all.custom_values.len(), all.positive), (0, run(0, &[11.0])));
        assert_eq!(Sum::of(&a, 1.0).add(&exponential(0, 1.0, &[1.0]), 1.0), Err(Incompatible));
    }

    #[test]
    fn hints_combine_to_what_is_known_of_all() {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let hint = |a, b| {
            let of = |reset_hint| Histogram { reset_hint, ..exponential(0, 1.0, &[1.0]) };
            let (sum, notes) = add(&of(a), &of(b), 1.0);
            (sum.reset_hint, notes.conflicting_resets)
        };
        assert_eq!(hint(Reset, Reset), (Reset, false));
        assert_eq!(hint(NotReset, Gauge), (Gauge, false));
        assert_eq!(hint(NotReset, Unknown), (Unknown, false));
        assert_eq!(hint(Reset, NotReset), (Unknown, true));
    }

    #[test]
    fn large_numbers_that_cancel_leave_the_small_ones() {
        let of = |sum| exponential(0, sum, &[1.0]);
        let mut sum = Sum::of(&of(5.3), 1.0);
        for value in [1e100, 1.0, -1e100, 2.0] {
            sum.add(&of(value), 1.0).unwrap();
        }
        assert_eq!(sum.clone().times(1.0).sum, 8.3);
        assert_eq!(sum.over(5.0).positive, run(0, &[1.0]));
        let mut mean = Sum::of(&of(f64::MAX), MEAN_FACTOR);
        mean.add(&of(f64::MAX), MEAN_FACTOR).unwrap();
        assert_eq!(mean.mean(2.0).sum, f64::MAX);
    }

    #[test]
    fn dividing_by_zero_leaves_no_buckets() {
        let histogram = Sum::of(&exponential(0, 3.0, &[1.0]), 1.0).over(0.0);
        assert_eq!((histogram.count, histogram.positive), (f64::INFINITY, Buckets::default()));
        let negative = Sum::of(&exponential(0, 3.0, &[1.0]), 1.0).times(-1.0);
        assert_eq!((negative.count, negative.reset_hint), (-1.0, ResetHint::Gauge));
    }
}
