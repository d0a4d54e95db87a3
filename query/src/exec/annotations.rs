//! Annotations: what a query's author should know about a result that is not an error. The texts are Prometheus's.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::ast::Span;
use crate::print::Quoted;

/// How many annotations of each kind are listed before they are only counted.
const LISTED_MAX: usize = 10;

/// The annotations of one query. The same text is kept once.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
    monotonicity: BTreeMap<(String, String), MonotonicityFix>,
}

/// By how much the buckets of a classic histogram had to be corrected.
#[derive(Clone, Copy, Debug)]
pub(super) struct MonotonicityFix {
    pub(super) bucket_min: f64,
    pub(super) bucket_max: f64,
    pub(super) difference_max: f64,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) samples: u64,
}

impl MonotonicityFix {
    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            bucket_min: self.bucket_min.min(other.bucket_min),
            bucket_max: self.bucket_max.max(other.bucket_max),
            difference_max: self.difference_max.max(other.difference_max),
            first_ms: self.first_ms.min(other.first_ms),
            last_ms: self.last_ms.max(other.last_ms),
            samples: self.samples + other.samples,
        }
    }
}

impl Annotations {
    pub(super) fn invalid_quantile(&mut self, quantile: f64, position: &str) {
        let got = go_number(quantile);
        let text = format!("quantile value should be between 0 and 1, got {got} ({position})");
        self.warnings.insert(format!("PromQL warning: {text}"));
    }

    pub(super) fn invalid_ratio(&mut self, ratio: f64, used: f64, position: &str) {
        let (got, used) = (go_number(ratio), go_number(used));
        let text = format!("ratio value should be between -1 and 1, got {got}, capping to {used}");
        self.warnings.insert(format!("PromQL warning: {text} ({position})"));
    }

    pub(super) fn invalid_smoothing(&mut self, alpha: f64, position: &str) {
        let got = go_number(alpha);
        let text = format!("smoothing factor should be above 0 and at most 1, got {got} ({position})");
        self.warnings.insert(format!("PromQL warning: {text}"));
    }

    pub(super) fn sort_in_range_query(&mut self, position: &str) {
        let text = "sort is ineffective for range queries since results are always ordered by labels";
        self.warnings.insert(format!("PromQL warning: {text} ({position})"));
    }

    pub(super) fn bad_bucket_label(&mut self, value: &str, metric: &str, position: &str) {
        let text = format!(r#"bucket label "le" is missing or has a malformed value of {}"#, Quoted(value));
        self.warnings.insert(format!("PromQL warning: {text}{} ({position})", for_metric(metric)));
    }

    pub(super) fn possible_non_counter(&mut self, metric: &str, position: &str) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.infos.insert(format!("PromQL info: {text} {} ({position})", Quoted(metric)));
    }

    pub(super) fn forced_monotonicity(&mut self, metric: &str, position: &str, fix: MonotonicityFix) {
        let key = (metric.to_owned(), position.to_owned());
        self.monotonicity.entry(key).and_modify(|known| *known = known.merge(fix)).or_insert(fix);
    }

    /// A warning, such as one that is not about the query but about the data.
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.insert(text);
    }

    pub(super) fn inform(&mut self, text: String) {
        self.infos.insert(text);
    }

    /// The texts of the warnings and of the infos.
    pub(super) fn into_texts(mut self) -> (Vec<String>, Vec<String>) {
        for ((metric, position), fix) in std::mem::take(&mut self.monotonicity) {
            self.infos.insert(monotonicity_text(&metric, &position, &fix));
        }
        (listed(self.warnings, "warning"), listed(self.infos, "info"))
    }
}

fn monotonicity_text(metric: &str, position: &str, fix: &MonotonicityFix) -> String {
    const SEE: &str = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
    let (metric, count) = (for_metric(metric), fix.samples);
    let (min, max) = (go_number(fix.bucket_min), go_number(fix.bucket_max));
    let difference = go_two_digits(fix.difference_max);
    let (first, last) = (rfc3339(fix.first_ms), rfc3339(fix.last_ms));
    format!(
        "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see {SEE}){metric}, \
         from buckets {min} to {max}, with a max diff of {difference}, over {count} samples from {first} to {last} \
         ({position})"
    )
}

pub(super) fn for_metric(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {}", Quoted(metric)) }
}

fn rfc3339(time_ms: i64) -> String {
    Timestamp::from_second(time_ms.div_euclid(1000))
        .map_or_else(|_| format!("{time_ms} ms"), |time| time.to_string())
}

fn listed(texts: BTreeSet<String>, kind: &str) -> Vec<String> {
    let omitted = texts.len().saturating_sub(LISTED_MAX);
    let mut list: Vec<String> = texts.into_iter().take(LISTED_MAX).collect();
    if omitted > 0 {
        list.push(format!("{omitted} more {kind} annotations omitted"));
    }
    list
}

/// Whether a metric is called like a counter.
pub(super) fn is_counter_name(name: &str) -> bool {
    ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

/// A number as Go's `%g` prints it: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn go_number(value: f64) -> String {
    if let Some(text) = not_finite(value) {
        return text.to_owned();
    }
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e6).contains(&magnitude) {
        return value.to_string();
    }
    go_exponent(&format!("{value:e}"))
}

/// A number as Go's `%.2g` prints it: two digits, without trailing zeros.
fn go_two_digits(value: f64) -> String {
    let text = format!("{value:.1e}");
    match text.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()) {
        // Rounded by way of the text: the nearest number to it prints as its digits.
        Some(-4..2) => go_number(text.parse().unwrap_or(value)),
        Some(_) => go_exponent(&text.replace(".0e", "e")),
        None => go_number(value),
    }
}

/// Rust writes `1e-9`, Go `1e-09`.
fn go_exponent(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A number as Go's `%f` prints it.
pub(super) fn go_fixed(value: f64) -> String {
    not_finite(value).map_or_else(|| format!("{value:.6}"), str::to_owned)
}

fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Where `span` starts in `text`, as `line:column`, both counted from one, the column in bytes.
pub(super) fn position(text: &str, span: Span) -> String {
    let before = &text.as_bytes()[..span.start.min(text.len())];
    let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    format!("{line}:{}", before.len() - line_start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_columns_from_one() {
        let at = |start| position("sum(\n rate(x[5m]))", Span { start, end: start });
        assert_eq!(at(0), "1:1");
        assert_eq!(at(6), "2:2");
        assert_eq!(at(1000), "2:14");
    }

    #[test]
    fn numbers_print_as_in_go() {
        let values = [0.0, 1.5, 999_999.0, 1e6, 1.25e21, 1e-4, 0.000_012, f64::NAN, f64::NEG_INFINITY];
        let expected = ["0", "1.5", "999999", "1e+06", "1.25e+21", "0.0001", "1.2e-05", "NaN", "-Inf"];
        assert_eq!(values.map(go_number), expected);
        let values = [10.0, 12.345, 0.126, 99.6, 1234.0, 100.0, 0.0, 1e-9, f64::INFINITY];
        let expected = ["10", "12", "0.13", "1e+02", "1.2e+03", "1e+02", "0", "1e-09", "+Inf"];
        assert_eq!(values.map(go_two_digits), expected);
        assert_eq!([2.0, f64::NAN].map(go_fixed), ["2.000000", "NaN"]);
    }

    #[test]
    fn names_are_quoted_as_in_go() {
        let mut annotations = Annotations::default();
        annotations.possible_non_counter("a\"\u{7}é\u{a0}", "1:1");
        annotations.bad_bucket_label("\u{7f}", "日本", "1:2");
        let (warnings, infos) = annotations.into_texts();
        assert!(infos[0].ends_with(r#": "a\"\aé\u00a0" (1:1)"#), "{infos:?}");
        assert!(warnings[0].ends_with(r#" value of "\x7f" for metric name "日本" (1:2)"#), "{warnings:?}");
    }

    #[test]
    fn lists_ten_and_counts_the_rest() {
        let mut annotations = Annotations::default();
        for i in 0..13 {
            annotations.invalid_quantile(f64::from(i) + 2.0, "1:10");
        }
        let (warnings, infos) = annotations.into_texts();
        assert_eq!(warnings.len(), 11);
        assert_eq!(warnings[10], "3 more warning annotations omitted");
        assert!(
            warnings.contains(
                &"PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)".to_owned()
            )
        );
        assert!(infos.is_empty());
    }
}
