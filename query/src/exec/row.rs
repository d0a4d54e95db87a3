//! Rows: what a vector expression evaluates to. One row is one series with one cell per step.

use timberline_engine::{Labels, METRIC_NAME, STALE_NAN, is_stale};

use crate::parser::is_bare_matcher_label;
use crate::print::Quoted;

/// The cell of a step at which the series has no sample. The bits are those of a staleness marker, which
/// is never a value: selectors leave markers out, and arithmetic turns a signalling NaN into a quiet one.
pub(super) const ABSENT: f64 = STALE_NAN;

#[inline]
pub(super) fn is_absent(value: f64) -> bool {
    is_stale(value)
}

#[inline]
pub(super) fn is_present(value: f64) -> bool {
    !is_stale(value)
}

/// One series over the steps of a grid.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// Whether the metric name is to be removed once the whole query is evaluated.
    pub(super) drop_name: bool,
    /// One cell per step.
    pub(super) values: Vec<f64>,
}

impl Row {
    pub(super) fn is_empty(&self) -> bool {
        !any_present(&self.values)
    }

    /// The number of steps at which it has a sample.
    pub(super) fn points(&self) -> u64 {
        self.values.iter().map(|&value| u64::from(is_present(value))).sum()
    }
}

pub(super) fn any_present(values: &[f64]) -> bool {
    values.iter().any(|&v| is_present(v))
}

/// The labels that describe the metric itself: a computed series does not carry them.
pub(super) fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Appends a form of the labels whose names `keep` wants that is equal for equal label sets only.
pub(super) fn write_key(labels: &Labels, key: &mut Vec<u8>, keep: impl Fn(&str) -> bool) {
    // No UTF-8 text has this byte.
    const SEPARATOR: u8 = 0xff;
    for (name, value) in labels.iter().filter(|(name, _)| keep(name)) {
        key.extend_from_slice(name.as_bytes());
        key.push(SEPARATOR);
        key.extend_from_slice(value.as_bytes());
        key.push(SEPARATOR);
    }
}

/// The labels as Prometheus writes them in messages: `{__name__="up", job="a"}`.
pub(super) fn format_labels(labels: &Labels) -> String {
    let name = |name: &str| {
        if is_bare_matcher_label(name) { name.to_owned() } else { Quoted(name).to_string() }
    };
    let pairs: Vec<String> =
        labels.iter().map(|(label, value)| format!("{}={}", name(label), Quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
