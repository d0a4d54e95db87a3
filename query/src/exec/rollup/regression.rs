//! Simple linear regression over a window: `deriv` and `predict_linear`.

use timberline_engine::Samples;

use super::compensated::CompensatedSum;
use crate::exec::grid::{Found, millis_to_nanos};

/// `deriv`: the slope per second of each window with at least two samples.
pub(super) fn derivatives(windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    let (timestamps, values) = (samples.timestamps.as_slice(), samples.values.as_slice());
    windows.walk(|w| {
        if w.hi - w.lo >= 2 {
            cells[w.step] = fit(&timestamps[w.lo..w.hi], &values[w.lo..w.hi], timestamps[w.lo]).0;
        }
    });
}

/// `predict_linear`: the value that the regression gives `ahead` seconds after the step.
pub(super) fn predictions(windows: Found<'_>, samples: &Samples, ahead: &[f64], cells: &mut [f64]) {
    let (timestamps, values) = (samples.timestamps.as_slice(), samples.values.as_slice());
    windows.walk(|w| {
        if w.hi - w.lo >= 2 {
            let now = millis_to_nanos(windows.windows.grid.time_ms(w.step));
            let (slope, intercept) = fit(&timestamps[w.lo..w.hi], &values[w.lo..w.hi], now);
            cells[w.step] = slope * ahead.get(w.step).copied().unwrap_or(f64::NAN) + intercept;
        }
    });
}

/// The slope per second, and the value at the time `origin`, by least squares.
fn fit(timestamps: &[i64], values: &[f64], origin: i64) -> (f64, f64) {
    if values.iter().all(|&value| value == values[0]) {
        return if values[0].is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, values[0]) };
    }
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [CompensatedSum::default(); 4];
    for (&timestamp, &y) in timestamps.iter().zip(values) {
        let x = timestamp.saturating_sub(origin) as f64 / 1e9;
        sum_x.add(x);
        sum_y.add(y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let count = values.len() as f64;
    let [x, y, xy, xx] = [sum_x, sum_y, sum_xy, sum_xx].map(|sum| sum.sum + sum.error);
    let slope = (xy - x * y / count) / (xx - x * x / count);
    (slope, y / count - slope * x / count)
}
