//! Sums, means, extremes and variances over sliding windows.
//!
//! A sliding sum that subtracts what leaves the window keeps the rounding errors of what has left. So a window is kept as
//! two parts instead: for its older samples a fold from each of them to the part's end ([`Suffixes`]), for its newer ones one
//! running fold. When the older part is used up, the whole window becomes the older part. Each sample is folded at most
//! twice, whatever the window's length. (The "two stacks" method; Tangwongsan et al., "In-Order Sliding-Window
//! Aggregation in Worst-Case Constant Time", 2021.)

use timberline_engine::Samples;

use super::compensated::{CompensatedSum, Mean};
use crate::exec::grid::{Found, Window};

/// The older part of a window: `folds[i]` covers the samples from `start + i` to `start + folds.len()`.
#[derive(Debug)]
pub(super) struct Suffixes<A> {
    folds: Vec<A>,
    start: usize,
}

impl<A> Default for Suffixes<A> {
    fn default() -> Self {
        Self { folds: Vec::new(), start: 0 }
    }
}

/// Calls `each` with every window and the fold of its values. `merge` is associative; `of` is the fold of one value.
#[inline]
fn slide<A: Copy>(
    windows: Found<'_>,
    samples: &Samples,
    older: &mut Suffixes<A>,
    of: impl Fn(f64) -> A,
    merge: impl Fn(A, A) -> A,
    mut each: impl FnMut(Window, A),
) {
    let values = samples.values.as_slice();
    let mut newer: Option<A> = None;
    let mut folded = 0;
    older.folds.clear();
    older.start = 0;
    windows.walk(|window| {
        let boundary = older.start + older.folds.len();
        if window.lo >= boundary {
            let window_values = &values[window.lo..window.hi];
            older.folds.clear();
            older.folds.resize(window_values.len(), of(0.0));
            older.start = window.lo;
            let mut suffix: Option<A> = None;
            for (fold, &value) in older.folds.iter_mut().zip(window_values).rev() {
                *fold = suffix.map_or_else(|| of(value), |suffix| merge(of(value), suffix));
                suffix = Some(*fold);
            }
            newer = None;
        } else {
            for &value in &values[folded..window.hi] {
                newer = Some(newer.map_or_else(|| of(value), |newer| merge(newer, of(value))));
            }
        }
        folded = window.hi;
        let front = older.folds[window.lo - older.start];
        each(window, newer.map_or(front, |newer| merge(front, newer)));
    });
}

/// Whether windows overlap so little that folding each by itself is cheaper, and exact to the last bit.
fn barely_overlap(windows: Found<'_>) -> bool {
    windows.windows.grid.steps <= 2
        || windows.windows.range_ms <= windows.windows.grid.step_ms.saturating_mul(2)
}

fn slide_sums(
    windows: Found<'_>,
    samples: &Samples,
    older: &mut Suffixes<CompensatedSum>,
    each: impl FnMut(Window, CompensatedSum),
) {
    let of = |value| CompensatedSum { sum: value, error: 0.0 };
    let merge = |mut a: CompensatedSum, b| {
        a.merge(b);
        a
    };
    slide(windows, samples, older, of, merge, each);
}

pub(super) fn sums(
    windows: Found<'_>,
    samples: &Samples,
    older: &mut Suffixes<CompensatedSum>,
    cells: &mut [f64],
) {
    let values = samples.values.as_slice();
    if barely_overlap(windows) {
        let sum = |w: Window| values[w.lo..w.hi].iter().copied().collect::<CompensatedSum>().total();
        windows.walk(|w| cells[w.step] = sum(w));
        return;
    }
    slide_sums(windows, samples, older, |w, sum| cells[w.step] = sum.total());
}

pub(super) fn averages(
    windows: Found<'_>,
    samples: &Samples,
    older: &mut Suffixes<CompensatedSum>,
    cells: &mut [f64],
) {
    let values = samples.values.as_slice();
    let mean = |w: Window, sum: CompensatedSum| {
        if sum.sum.is_infinite() {
            // It may have overflowed on the way to a finite mean.
            return values[w.lo..w.hi].iter().copied().collect::<Mean>().value();
        }
        sum.mean((w.hi - w.lo) as f64)
    };
    if barely_overlap(windows) {
        windows.walk(|w| {
            cells[w.step] = mean(w, values[w.lo..w.hi].iter().copied().collect());
        });
        return;
    }
    slide_sums(windows, samples, older, |w, sum| cells[w.step] = mean(w, sum));
}

/// The extreme value of each window. `beats(a, b)` says whether `b` is more extreme than `a`; a NaN loses to any number.
pub(super) fn extremes(
    windows: Found<'_>,
    samples: &Samples,
    older: &mut Suffixes<f64>,
    cells: &mut [f64],
    beats: impl Fn(f64, f64) -> bool,
) {
    let merge = |a: f64, b: f64| if beats(a, b) || a.is_nan() { b } else { a };
    if barely_overlap(windows) {
        let values = samples.values.as_slice();
        windows.walk(|w| {
            cells[w.step] = values[w.lo + 1..w.hi].iter().fold(values[w.lo], |a, &b| merge(a, b));
        });
        return;
    }
    slide(windows, samples, older, |value| value, merge, |w, extreme| cells[w.step] = extreme);
}

/// The population variance by Welford's method, compensated.
pub(super) fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (CompensatedSum::default(), CompensatedSum::default());
    let mut count = 0.0;
    for &value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.error);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.error)));
    }
    (squares.sum + squares.error) / count
}
