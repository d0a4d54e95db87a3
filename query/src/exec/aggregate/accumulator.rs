//! Accumulators of fixed size. Two of them merge into what one would have been, so parts of the rows can be added up apart.

use crate::exec::rollup::{CompensatedSum, Mean};
use crate::exec::row::{ABSENT, is_absent};

/// The state of one group at one step.
pub(super) trait Accumulator: Copy + Default + Send + Sync {
    /// Adds a sample.
    fn add(&mut self, value: f64);
    /// Adds all samples of `other`, which come after those of `self`.
    fn merge(&mut self, other: &Self);
    /// The aggregate, absent without samples.
    fn value(&self) -> f64;
}

/// `sum`
#[derive(Clone, Copy, Default)]
pub(super) struct Total {
    sum: CompensatedSum,
    any: bool,
}

impl Accumulator for Total {
    #[inline]
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.any = true;
    }

    fn merge(&mut self, other: &Self) {
        if other.any {
            self.sum.merge(other.sum);
            self.any = true;
        }
    }

    fn value(&self) -> f64 {
        if self.any { self.sum.total() } else { ABSENT }
    }
}

/// `avg`
#[derive(Clone, Copy, Default)]
pub(super) struct Average(Mean);

impl Accumulator for Average {
    #[inline]
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(other.0);
    }

    fn value(&self) -> f64 {
        if self.0.is_empty() { ABSENT } else { self.0.value() }
    }
}

/// `count`
#[derive(Clone, Copy, Default)]
pub(super) struct Count(f64);

impl Accumulator for Count {
    #[inline]
    fn add(&mut self, _: f64) {
        self.0 += 1.0;
    }

    fn merge(&mut self, other: &Self) {
        self.0 += other.0;
    }

    fn value(&self) -> f64 {
        if self.0 == 0.0 { ABSENT } else { self.0 }
    }
}

/// `group`
#[derive(Clone, Copy, Default)]
pub(super) struct Presence(bool);

impl Accumulator for Presence {
    #[inline]
    fn add(&mut self, _: f64) {
        self.0 = true;
    }

    fn merge(&mut self, other: &Self) {
        self.0 |= other.0;
    }

    fn value(&self) -> f64 {
        if self.0 { 1.0 } else { ABSENT }
    }
}

/// `min`: a NaN only when there is nothing else.
#[derive(Clone, Copy)]
pub(super) struct Smallest(f64);

impl Default for Smallest {
    fn default() -> Self {
        Self(ABSENT)
    }
}

impl Accumulator for Smallest {
    #[inline]
    fn add(&mut self, value: f64) {
        if value < self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn merge(&mut self, other: &Self) {
        if !is_absent(other.0) {
            self.add(other.0);
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// `max`: a NaN only when there is nothing else.
#[derive(Clone, Copy)]
pub(super) struct Largest(f64);

impl Default for Largest {
    fn default() -> Self {
        Self(ABSENT)
    }
}

impl Accumulator for Largest {
    #[inline]
    fn add(&mut self, value: f64) {
        if value > self.0 || self.0.is_nan() {
            self.0 = value;
        }
    }

    fn merge(&mut self, other: &Self) {
        if !is_absent(other.0) {
            self.add(other.0);
        }
    }

    fn value(&self) -> f64 {
        self.0
    }
}

/// `stdvar`, by Welford's method; merged as in Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing
/// Sample Variances" (1979).
#[derive(Clone, Copy, Default)]
pub(super) struct Variance {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator for Variance {
    #[inline]
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = *other;
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.mean += delta * (other.count / count);
        self.squares += other.squares + delta * delta * (self.count * other.count / count);
        self.count = count;
    }

    fn value(&self) -> f64 {
        if self.count == 0.0 { ABSENT } else { self.squares / self.count }
    }
}

/// `stddev`
#[derive(Clone, Copy, Default)]
pub(super) struct Deviation(Variance);

impl Accumulator for Deviation {
    #[inline]
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    fn value(&self) -> f64 {
        let variance = self.0.value();
        if is_absent(variance) { ABSENT } else { variance.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_parts<A: Accumulator>(values: &[f64], cut: usize) -> (f64, f64) {
        let of = |values: &[f64]| {
            let mut accumulator = A::default();
            values.iter().for_each(|&value| accumulator.add(value));
            accumulator
        };
        let mut merged = of(&values[..cut]);
        merged.merge(&of(&values[cut..]));
        (of(values).value(), merged.value())
    }

    fn check<A: Accumulator>() {
        let values = [2.0, 8.0, f64::NAN, 1e10, -1e10, 0.1, 77.0];
        for end in 0..=values.len() {
            for cut in 0..=end {
                let (whole, merged) = in_parts::<A>(&values[..end], cut);
                let both_nan = whole.is_nan() && merged.is_nan() && is_absent(whole) == is_absent(merged);
                let close = (whole - merged).abs() <= 1e-9 * whole.abs().max(1e-300);
                assert!(whole == merged || both_nan || close, "{whole} is not {merged}");
            }
        }
    }

    #[test]
    fn parts_merge_into_the_whole() {
        check::<Total>();
        check::<Average>();
        check::<Count>();
        check::<Presence>();
        check::<Smallest>();
        check::<Largest>();
        check::<Variance>();
        check::<Deviation>();
    }

    #[test]
    fn the_variance_of_one_sample_is_zero_unless_it_is_not_finite() {
        let of = |value| {
            let mut variance = Variance::default();
            variance.add(value);
            variance.value()
        };
        assert_eq!(of(5.0), 0.0);
        assert!(of(f64::INFINITY).is_nan());
        assert!(of(f64::NAN).is_nan());
    }
}
