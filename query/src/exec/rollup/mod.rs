//! Functions of a window of samples, evaluated for all steps of a series in one pass.
//!
//! Each function walks the grid with two indexes into the samples. What can be kept up to date while the window slides
//! (counts, sums, extremes, counter resets) costs the same for a window of any length; see [`fold`] for how that is
//! done without ever subtracting. The rest looks at each window anew.

mod compensated;
mod counter;
mod fold;
mod quantile;
mod regression;
mod single;

use std::ops::Range;

use timberline_engine::Samples;

use super::context::{Cancel, SAMPLES_BETWEEN};
use super::grid::{Grid, Window, WindowFinder, Windows};
use crate::error::Result;
use crate::plan::Rollup;

pub(crate) use compensated::CompensatedSum;
pub(super) use compensated::Mean;
pub(super) use counter::Gaps;
pub(super) use quantile::quantile_of;

/// Memory that is reused from series to series.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) windows: WindowFinder,
    counter: counter::Buffers,
    /// Equal for series whose samples have equal timestamps; `None` when nothing is known.
    pub(super) times: Option<u64>,
    sums: fold::Suffixes<CompensatedSum>,
    extremes: fold::Suffixes<f64>,
    /// A window's values, to be put in order.
    ordered: Vec<f64>,
    /// The samples of a part of the steps.
    part: Samples,
}

/// What is to be evaluated over the samples of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work<'a> {
    pub(super) function: Rollup,
    pub(super) windows: &'a Windows,
    /// A number per step for the functions with a scalar argument.
    pub(super) param: Option<&'a [f64]>,
    pub(super) samples: &'a Samples,
}

/// As [`evaluate`]. Where each window is looked at anew, it looks now and then whether the query is to go on.
pub(super) fn evaluate_in_parts(
    cancel: &Cancel,
    work: &Work<'_>,
    buffers: &mut Buffers,
    cells: &mut [f64],
) -> Result<()> {
    let Work { function, windows, param, samples } = *work;
    let is_little = samples.values.len().saturating_mul(cells.len()) <= SAMPLES_BETWEEN;
    let looks_anew = || function.looks_at_whole_windows() || leaves_doubles(function, &samples.values);
    let parts = if is_little || !looks_anew() { Vec::new() } else { parts(windows, samples) };
    if parts.len() <= 1 {
        evaluate(function, windows, param, samples, buffers, cells);
        return Ok(());
    }
    // What is known of the times is not known of those of a part.
    buffers.times = None;
    let mut own = std::mem::take(&mut buffers.part);
    for Part { steps, samples: range } in parts {
        cancel.check()?;
        own.clear();
        own.timestamps.extend_from_slice(&samples.timestamps[range.clone()]);
        own.values.extend_from_slice(&samples.values[range]);
        let start_ms = windows.grid.time_ms(steps.start);
        let grid = Grid { start_ms, steps: steps.len(), ..windows.grid };
        let param = param.and_then(|param| param.get(steps.clone()));
        evaluate(function, &Windows { grid, ..*windows }, param, &own, buffers, &mut cells[steps]);
    }
    buffers.part = own;
    Ok(())
}

/// Some steps, and the samples of their windows.
struct Part {
    steps: Range<usize>,
    samples: Range<usize>,
}

/// The steps with a sample, cut so that a part has one step or looks at [`SAMPLES_BETWEEN`] samples at most.
fn parts(windows: &Windows, samples: &Samples) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut looked_at = 0;
    windows.walk(&samples.timestamps, |Window { step, lo, hi, .. }| {
        looked_at += hi - lo;
        match parts.last_mut() {
            Some(part) if looked_at <= SAMPLES_BETWEEN => {
                (part.steps.end, part.samples.end) = (step + 1, hi);
            }
            _ => {
                looked_at = hi - lo;
                parts.push(Part { steps: step..step + 1, samples: lo..hi });
            }
        }
    });
    parts
}

/// Whether a sum over the samples leaves what a double holds, so that functions that go from window to window by sums have to look at
/// whole windows, too. What is not a number makes no sum overflow.
fn leaves_doubles(function: Rollup, values: &[f64]) -> bool {
    let magnitude = |value: &f64| if value.is_nan() { 0.0 } else { value.abs() };
    matches!(function, Rollup::Avg | Rollup::Rate | Rollup::Increase)
        && values.iter().map(magnitude).sum::<f64>().is_infinite()
}

/// Sets the cell of each step whose window gives a value. `param` has a number per step for the functions with a scalar argument.
pub(super) fn evaluate(
    function: Rollup,
    windows: &Windows,
    param: Option<&[f64]>,
    samples: &Samples,
    buffers: &mut Buffers,
    cells: &mut [f64],
) {
    let values = samples.values.as_slice();
    let Buffers { windows: finder, counter, times, sums, extremes, ordered, part: _ } = buffers;
    let windows = finder.find(windows, &samples.timestamps, *times);
    match function {
        Rollup::Rate | Rollup::Increase | Rollup::Delta => {
            counter::extrapolated(function, windows, samples, *times, counter, cells);
        }
        Rollup::Irate | Rollup::Idelta => {
            counter::instantaneous(function == Rollup::Irate, windows, samples, cells);
        }
        Rollup::Resets => counter::transitions(windows, samples, cells, |before, after| after < before),
        Rollup::Changes => counter::transitions(windows, samples, cells, |before, after| {
            after != before && !(after.is_nan() && before.is_nan())
        }),
        Rollup::Count => windows.walk(|w| cells[w.step] = (w.hi - w.lo) as f64),
        Rollup::Last => windows.walk(|w| cells[w.step] = values[w.hi - 1]),
        Rollup::Present => windows.walk(|w| cells[w.step] = 1.0),
        Rollup::Sum => fold::sums(windows, samples, sums, cells),
        Rollup::Avg => fold::averages(windows, samples, sums, cells),
        Rollup::Min => fold::extremes(windows, samples, extremes, cells, |a, b| b < a),
        Rollup::Max => fold::extremes(windows, samples, extremes, cells, |a, b| b > a),
        Rollup::Stddev => {
            windows.walk(|w| cells[w.step] = fold::variance(&values[w.lo..w.hi]).sqrt());
        }
        Rollup::Stdvar => {
            windows.walk(|w| cells[w.step] = fold::variance(&values[w.lo..w.hi]));
        }
        Rollup::Quantile => {
            let quantiles = param.unwrap_or_default();
            windows.walk(|w| {
                ordered.clear();
                ordered.extend_from_slice(&values[w.lo..w.hi]);
                let quantile = quantiles.get(w.step).copied().unwrap_or(f64::NAN);
                cells[w.step] = quantile_of(quantile, ordered);
            });
        }
        Rollup::First => single::first(windows, samples, cells),
        Rollup::TimeOfFirst => single::time_of_end(false, windows, samples, cells),
        Rollup::TimeOfLast => single::time_of_end(true, windows, samples, cells),
        Rollup::TimeOfMax => single::time_of_extreme(windows, samples, cells, |a, b| a >= b),
        Rollup::TimeOfMin => single::time_of_extreme(windows, samples, cells, |a, b| a <= b),
        Rollup::Mad => single::median_absolute_deviation(windows, samples, ordered, cells),
        Rollup::Zscore => single::zscores(windows, samples, cells),
        Rollup::Deriv => regression::derivatives(windows, samples, cells),
        Rollup::PredictLinear => regression::predictions(windows, samples, param.unwrap_or_default(), cells),
    }
}

#[cfg(test)]
mod tests;
