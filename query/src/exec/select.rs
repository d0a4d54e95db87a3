//! Reading series: an instant selector's cells, and the samples that range functions work on.

use std::sync::Arc;

use timberline_engine::{Error, KnownTimes, Part, Samples, Series, is_stale};

use super::context::Context;
use super::grid::{Found, Grid, millis_to_nanos};
use super::native;
use super::row::is_present;
use super::usage::HeldSamples;
use crate::error::Result;

/// Reads the samples of `series` and counts them. A damaged series has none, and a warning says so: the others still answer.
pub(super) fn read(
    context: &Context<'_>,
    series: &Series,
    known: &mut KnownTimes,
    samples: &mut Samples,
    held: &mut HeldSamples,
) -> Result<()> {
    series.parts().iter().try_for_each(|part| refuse_histograms_if_short(context, part))?;
    let outcome = series.read_after(known, samples);
    leave_out_if_damaged(context, series, outcome, samples)?;
    if !samples.histograms.is_empty() {
        native::forget_hints(samples);
    }
    if context.usage.has_profile() {
        // A part that does not check out was told of above.
        let bytes: usize = series.parts().iter().filter_map(|part| part.encoded_bytes().ok()).sum();
        context.usage.add_encoded_bytes(bytes as u64);
    }
    context.charge_samples(held, samples.values.len())
}

/// Ends a query that only goes on as long as it is short, before histograms are decoded.
pub(super) fn refuse_histograms_if_short(context: &Context<'_>, part: &Part) -> Result<()> {
    // A damaged part has none, and is told of when it is decoded.
    if context.cancel().is_if_short() && part.has_histograms().unwrap_or(false) {
        return context.refuse_if_short();
    }
    Ok(())
}

/// Warns of a damaged series, and makes its samples none.
pub(super) fn leave_out_if_damaged(
    context: &Context<'_>,
    series: &Series,
    outcome: timberline_engine::Result<()>,
    samples: &mut Samples,
) -> Result<()> {
    match outcome {
        Err(error @ Error::Corruption { .. }) => {
            samples.clear();
            context.warn(format!("{error}: the series {} is left out", series.labels()));
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}

/// As [`read`] without staleness markers, which range vectors do not contain.
pub(super) fn read_without_markers(
    context: &Context<'_>,
    series: &Series,
    known: &mut KnownTimes,
    samples: &mut Samples,
    held: &mut HeldSamples,
) -> Result<()> {
    read(context, series, known, samples, held)?;
    remove_markers(samples);
    Ok(())
}

/// Removes staleness markers.
pub(super) fn remove_markers(samples: &mut Samples) {
    // Without an early end, so that several values are looked at at once.
    if !samples.values.iter().fold(false, |any, &value| any | is_stale(value)) {
        return;
    }
    let Some(first) = samples.values.iter().position(|&value| is_stale(value)) else { return };
    let mut kept = first;
    for i in first..samples.values.len() {
        if !is_stale(samples.values[i]) {
            samples.values[kept] = samples.values[i];
            samples.timestamps[kept] = samples.timestamps[i];
            kept += 1;
        }
    }
    samples.values.truncate(kept);
    samples.timestamps.truncate(kept);
}

/// A subquery's row as the samples that the range function around it sees.
pub(super) fn samples_of_row(context: &Context<'_>, values: &[f64], grid: Grid, samples: &mut Samples) {
    samples.clear();
    for (step, &value) in values.iter().enumerate() {
        if is_present(value) {
            let timestamp = millis_to_nanos(grid.time_ms(step));
            match context.histogram(value) {
                None => samples.push(timestamp, value),
                Some(histogram) => samples.push_histogram(timestamp, Arc::clone(histogram)),
            }
        }
    }
}

/// Sets each cell to the newest sample of its window. A staleness marker ends the series, which is just
/// what its bits mean in a row: [`ABSENT`](super::row::ABSENT).
pub(super) fn newest_values(windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    windows.walk(|window| cells[window.step] = samples.values[window.hi - 1]);
}

/// Sets each cell to the time, in seconds, of the newest sample of its window.
pub(super) fn newest_timestamps(windows: Found<'_>, samples: &Samples, cells: &mut [f64]) {
    windows.walk(|window| {
        let newest = window.hi - 1;
        if !is_stale(samples.values[newest]) {
            cells[window.step] = timestamp_seconds(samples.timestamps[newest]);
        }
    });
}

/// Nanoseconds as the nearest number of seconds. An `f64` holds no nanoseconds of today, so the parts are converted apart.
pub(super) fn timestamp_seconds(nanos: i64) -> f64 {
    const NANOS_PER_SECOND: i64 = 1_000_000_000;
    (nanos / NANOS_PER_SECOND) as f64 + (nanos % NANOS_PER_SECOND) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use timberline_engine::STALE_NAN;

    use super::super::grid::{WindowFinder, Windows};
    use super::super::row::{ABSENT, is_absent};
    use super::*;
    use crate::plan::Shift;

    fn samples() -> Samples {
        let seconds = [0, 10, 20, 30];
        let timestamps = seconds.iter().map(|&s| millis_to_nanos(s * 1000)).collect();
        Samples::floats(timestamps, vec![0.0, 1.0, STALE_NAN, 2.0])
    }

    #[test]
    fn a_marker_ends_a_series_until_the_next_sample() {
        let shift = Shift { offset_ms: 0, at_ms: None };
        let windows = Windows { grid: Grid::new(10_000, 330_000, 10_000), range_ms: 300_000, shift };
        let mut cells = vec![ABSENT; windows.grid.steps];
        let samples = samples();
        let mut finder = WindowFinder::default();
        newest_values(finder.find(&windows, &samples.timestamps, None), &samples, &mut cells);
        assert_eq!(cells[0], 1.0);
        assert!(is_absent(cells[1]));
        assert_eq!(cells[2], 2.0);
        assert_eq!(cells[31], 2.0);
        assert!(is_absent(cells[32]));
    }

    #[test]
    fn a_timestamp_in_seconds_is_what_its_milliseconds_give() {
        for millis in (1_700_000_000_000..1_700_000_002_000).chain([-1, -1500]) {
            assert_eq!(timestamp_seconds(millis_to_nanos(millis)), millis as f64 / 1000.0);
        }
    }

    #[test]
    fn range_vectors_have_no_markers() {
        let mut samples = samples();
        remove_markers(&mut samples);
        assert_eq!(samples.values, [0.0, 1.0, 2.0]);
        assert_eq!(samples.timestamps[2], millis_to_nanos(30_000));
    }
}
