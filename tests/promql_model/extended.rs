//! Anchored and smoothed: windows that begin and end with a value at their edges.

use timberline_query::ast::VectorSelector;

use crate::model::{LOOKBACK_MS, MS, Model, Sample, Step, without_markers};
use crate::native::{Native, Value};
use crate::windows::{Window, is_change, is_reset, seconds, transitions};

/// The value at `time` on the line between two samples. A counter that was reset between them began at zero.
fn between(
    (from_time, from): &(i64, Value),
    (to_time, to): &(i64, Value),
    time: i64,
    is_counter: bool,
) -> Option<Value> {
    let part = seconds(time - from_time) / seconds(to_time - from_time);
    let anew = is_counter && is_reset(from, to);
    match (from, to) {
        (Value::Float(from), Value::Float(to)) => {
            let from = if anew { 0.0 } else { *from };
            Some(Value::Float(from + (to - from) * part))
        }
        (Value::Histogram(from), Value::Histogram(to)) if from.is_custom() == to.is_custom() => {
            let to = to.times(part);
            if anew {
                Some(Value::histogram(to))
            } else {
                from.times(1.0 - part).plus(&to, 1.0).map(Value::histogram)
            }
        }
        _ => None,
    }
}

fn values_have_gauge(samples: &[(i64, Value)]) -> bool {
    samples.iter().any(|(_, value)| value.native().is_some_and(|native| native.gauge))
}

/// Whether there are numbers and histograms.
fn are_mixed(samples: &[(i64, Value)]) -> bool {
    let histograms = samples.iter().filter(|(_, value)| value.native().is_some()).count();
    histograms > 0 && histograms < samples.len()
}

impl Model<'_> {
    /// `selector smoothed`: the sample at the step, or what is between the samples around it, or the last one.
    pub(crate) fn smoothed_samples(&self, selector: &VectorSelector, step: Step) -> Vec<Sample> {
        let now_ms = self.looked_at(&selector.offset, selector.at, step.now());
        let now = now_ms * MS;
        let mut results = Vec::new();
        for series in self.selected(selector) {
            let samples = without_markers(&series.samples, now_ms - LOOKBACK_MS, now_ms + LOOKBACK_MS);
            if are_mixed(&samples) {
                continue;
            }
            let before = samples.iter().rev().find(|(time, _)| *time <= now);
            let after = samples.iter().find(|(time, _)| *time > now);
            let value = match (before, after) {
                (None, _) => None,
                (Some((time, value)), _) if *time == now => Some(value.clone()),
                (Some((_, value)), None) => Some(value.clone()),
                (Some(before), Some(after)) => {
                    let gauge = |value: &Value| value.native().is_none_or(|native| native.gauge);
                    let is_counter = !gauge(&before.1) && !gauge(&after.1);
                    self.compatible(between(before, after, now, is_counter))
                        .map(|value| self.rough_value(value))
                }
            };
            if let Some(value) = value {
                results.push(Sample { labels: series.labels.clone(), drop_name: false, value });
            }
        }
        results
    }

    fn rough_value(&self, value: Value) -> Value {
        match value {
            Value::Float(value) => Value::Float(self.rough(value)),
            Value::Histogram(native) => Value::histogram(native.map(|number| self.rough(number))),
        }
    }

    /// A function of an anchored or smoothed window, of which the samples around it are there too.
    pub(crate) fn extended(&self, name: &str, smoothed: bool, window: &Window<'_, Value>) -> Option<Value> {
        let (start, end) = (window.start, window.end);
        // Numbers and histograms around the window count, too.
        if !["changes", "resets"].contains(&name) && are_mixed(window.samples) {
            return None;
        }
        // From the newest sample at the start or before, else from the first one inside.
        let first = window.samples.iter().rposition(|(time, _)| *time <= start).unwrap_or(0);
        let mut used = &window.samples[first..];
        if smoothed {
            // Up to the first sample at the end or behind it.
            let count = used.iter().position(|(time, _)| *time >= end).map_or(used.len(), |last| last + 1);
            used = &used[..count];
        }
        let (first_time, last_time) = (used[0].0, used[used.len() - 1].0);
        if last_time <= start || first_time > end {
            return None;
        }
        match name {
            "changes" => return Some(Value::Float(transitions(used, is_change))),
            "resets" => return Some(Value::Float(transitions(used, is_reset))),
            _ => {}
        }
        let is_custom = |value: &Value| value.native().map(Native::is_custom);
        if used.iter().any(|(_, value)| is_custom(value) != is_custom(&used[0].1)) {
            return self.compatible(None);
        }
        // The values at the edges take the place of samples that are beyond them.
        let is_counter = name != "delta";
        self.note_buckets(is_counter && values_have_gauge(used));
        let from_line = smoothed && first_time < start;
        let to_line = smoothed && last_time > end;
        let mut values: Vec<Value> = used.iter().map(|(_, value)| value.clone()).collect();
        let last = used.len() - 1;
        if to_line {
            values[last] = self.rough_value(between(&used[last - 1], &used[last], end, is_counter)?);
        }
        if from_line {
            values[0] = self.rough_value(between(&used[0], &used[1], start, is_counter)?);
        }
        let span = if name == "rate" { seconds(end - start) } else { 1.0 };
        if let (Value::Float(from), Value::Float(to)) = (&values[0], &values[last]) {
            let numbers: Vec<f64> = values.iter().filter_map(Value::float).collect();
            let drops = numbers.windows(2).filter(|pair| is_counter && pair[1] < pair[0]);
            let lost: f64 = drops.map(|pair| pair[0]).sum();
            let scale = from.abs().max(to.abs()).max(lost.abs()) / span;
            return Some(Value::Float(self.noisy((to - from + lost) / span, scale)));
        }
        // What was counted before a reset counts too; but an edge that is on the line of a reset began at zero.
        let reset = |at: &usize| is_counter && is_reset(&used[*at].1, &used[*at + 1].1);
        let lost = (0..last).filter(reset).filter(|at| *at > 0 || !from_line);
        let native = |at: usize| values[at].native();
        let mut change = native(last)?.plus(native(0)?, -1.0)?;
        for at in lost {
            change = change.plus(native(at)?, 1.0)?;
        }
        Some(Value::histogram(self.rough_native(Native { gauge: true, ..change.over(span) })))
    }
}
