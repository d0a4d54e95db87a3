//! Histograms as they come from storage and from subqueries.

use std::sync::Arc;

use timberline_engine::histogram::cell;
use timberline_engine::{Histogram, Labels, ResetHint, Samples};

use super::notes::Finding;
use crate::ast::Span;
use crate::error::Result;
use crate::exec::context::Context;
use crate::exec::grid::Windows;
use crate::histogram::is_reset;

/// Has `cells`, which name histograms of `samples`, name those of the query's list.
pub(in crate::exec) fn adopt(context: &Context<'_>, samples: &Samples, cells: &mut [f64]) -> Result<()> {
    // A sample stands for all steps until the next one.
    let mut last: Option<(u32, f64)> = None;
    for value in cells {
        let Some(place) = cell::histogram_place(*value) else { continue };
        *value = match (last, samples.histograms.get(place as usize)) {
            (Some((known, adopted)), _) if known == place => adopted,
            (_, Some(histogram)) => context.keep_shared(histogram)?,
            (_, None) => f64::NAN,
        };
        last = Some((place, *value));
    }
    Ok(())
}

/// A histogram of which only that is known which every read tells: whether it is a gauge. Samples are written, deleted and read in
/// parts, so what was once known of a reset since the sample before says nothing about the sample before of this read.
fn counter_or_gauge(histogram: &Arc<Histogram>) -> Arc<Histogram> {
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
        ResetHint::Reset | ResetHint::NotReset => {
            Arc::new(Histogram { reset_hint: ResetHint::Unknown, ..Histogram::clone(histogram) })
        }
    }
}

/// Brings the histograms of `samples` into the form that functions of windows work on: no stored hint but that of a gauge.
pub(in crate::exec) fn forget_hints(samples: &mut Samples) {
    for histogram in &mut samples.histograms {
        *histogram = counter_or_gauge(histogram);
    }
}

/// Reduces histograms to their count and sum. Resets cannot be seen in those, so they are looked for before. The schema and custom
/// bounds stay: which histograms go together is seen in them.
pub(in crate::exec) fn keep_statistics(samples: &mut Samples) {
    if samples.histograms.is_empty() {
        return;
    }
    let full = std::mem::take(&mut samples.histograms);
    let mut previous: Option<&Histogram> = None;
    for value in &mut samples.values {
        let Some(histogram) = cell::histogram_place(*value).and_then(|place| full.get(place as usize)) else {
            continue;
        };
        let reset_hint = match previous {
            _ if histogram.reset_hint == ResetHint::Gauge => ResetHint::Gauge,
            None => ResetHint::Unknown,
            Some(previous) => {
                let unhinted = counter_or_gauge(histogram);
                if is_reset(&unhinted, previous) { ResetHint::Reset } else { ResetHint::NotReset }
            }
        };
        let Histogram { schema, count, sum, .. } = **histogram;
        let custom_values = Arc::clone(&histogram.custom_values);
        let place = samples.histograms.len() as u32;
        let reduced = Histogram { reset_hint, schema, count, sum, custom_values, ..Histogram::default() };
        samples.histograms.push(Arc::new(reduced));
        *value = cell::histogram(place);
        previous = Some(histogram);
    }
}

/// Leaves the histograms of `samples` out, for a function that only numbers have. If a window has both, an annotation says so.
pub(in crate::exec) fn leave_out_histograms(
    context: &Context<'_>,
    labels: &Labels,
    span: Span,
    windows: &Windows,
    samples: &mut Samples,
) {
    let mut mixed = false;
    windows.walk(&samples.timestamps, |window| {
        let values = &samples.values[window.lo..window.hi];
        let histograms = values.iter().filter(|value| cell::is_histogram(**value)).count();
        mixed |= histograms > 0 && histograms < values.len();
    });
    if mixed {
        context.found(Finding::IgnoredInMixedRange, labels, span);
    }
    let mut floats = Samples::default();
    for (&timestamp, &value) in samples.timestamps.iter().zip(&samples.values) {
        if !cell::is_histogram(value) {
            floats.push(timestamp, value);
        }
    }
    *samples = floats;
}
