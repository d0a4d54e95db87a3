//! Functions that pick one sample of a window or look at each window anew.

use timberline_engine::Samples;

use super::compensated::Mean;
use super::fold::variance;
use super::quantile::quantile_of;
use crate::exec::grid::Found;
use crate::exec::select::timestamp_seconds;

/// `first_over_time`
pub(super) fn first(windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    windows.walk(|w| cells[w.step] = samples.values[w.lo]);
}

/// `ts_of_first_over_time` and `ts_of_last_over_time`, in seconds.
pub(super) fn time_of_end(last: bool, windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    windows.walk(|w| {
        let at = if last { w.hi - 1 } else { w.lo };
        cells[w.step] = timestamp_seconds(samples.timestamps[at]);
    });
}

/// `ts_of_max_over_time` and `ts_of_min_over_time`, in seconds: of the last sample with the extreme value.
pub(super) fn time_of_extreme(
    windows: Found<'_>,
    samples: &Samples,
    cells: &mut [f64],
    reaches: impl Fn(f64, f64) -> bool,
) {
    windows.walk(|w| {
        let mut best = w.lo;
        for at in w.lo + 1..w.hi {
            let (value, known) = (samples.values[at], samples.values[best]);
            if reaches(value, known) || known.is_nan() {
                best = at;
            }
        }
        cells[w.step] = timestamp_seconds(samples.timestamps[best]);
    });
}

/// `mad_over_time`: the median of the distances from the median; NaN when a sample is NaN.
pub(super) fn median_absolute_deviation(
    windows: Found<'_>,
    samples: &Samples,
    ordered: &mut Vec<f64>,
    cells: &mut [f64],
) {
    windows.walk(|w| {
        ordered.clear();
        ordered.extend_from_slice(&samples.values[w.lo..w.hi]);
        if ordered.iter().any(|value| value.is_nan()) {
            cells[w.step] = f64::NAN;
            return;
        }
        let median = quantile_of(0.5, ordered);
        ordered.iter_mut().for_each(|value| *value = (*value - median).abs());
        cells[w.step] = quantile_of(0.5, ordered);
    });
}

/// `zscore_over_time`: how many standard deviations the last sample is from the mean.
pub(super) fn zscores(windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    windows.walk(|w| {
        let values = &samples.values[w.lo..w.hi];
        let mean = values.iter().copied().collect::<Mean>().value();
        cells[w.step] = (samples.values[w.hi - 1] - mean) / variance(values).sqrt();
    });
}
