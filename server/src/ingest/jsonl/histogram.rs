//! A native histogram as a JSON value: an object that leaves out what is zero or empty.

use std::io::Write as _;

use serde::Deserialize;
use serde::de::Error as _;
use timberline_engine::{BucketSpan, Buckets, Histogram, ResetHint};

use super::{JsonNumber, append_list, append_value};

/// What stands for a reset hint; nothing does for an unknown one.
const RESET_HINTS: [(&str, ResetHint); 3] =
    [("reset", ResetHint::Reset), ("not_reset", ResetHint::NotReset), ("gauge", ResetHint::Gauge)];

/// The object as it stands.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JsonHistogram<'a> {
    schema: i32,
    reset_hint: Option<&'a str>,
    count: JsonNumber,
    sum: JsonNumber,
    zero_threshold: JsonNumber,
    zero_count: JsonNumber,
    positive: JsonBuckets,
    negative: JsonBuckets,
    custom_values: Vec<JsonNumber>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JsonBuckets {
    /// Offset and length.
    spans: Vec<(i32, u32)>,
    counts: Vec<JsonNumber>,
}

impl From<JsonBuckets> for Buckets {
    fn from(json: JsonBuckets) -> Self {
        let span = |(offset, length)| BucketSpan { offset, length };
        Self {
            spans: json.spans.into_iter().map(span).collect(),
            counts: json.counts.into_iter().map(|count| count.0).collect(),
        }
    }
}

/// Reads the object that `deserializer` is at.
pub(super) fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Histogram, D::Error> {
    let json = JsonHistogram::deserialize(deserializer)?;
    let reset_hint = match json.reset_hint {
        None => ResetHint::Unknown,
        Some(text) => {
            let known = RESET_HINTS.iter().find(|(name, _)| *name == text);
            known.ok_or_else(|| D::Error::custom("reset_hint is reset, not_reset or gauge"))?.1
        }
    };
    let histogram = Histogram {
        schema: json.schema,
        reset_hint,
        count: json.count.0,
        sum: json.sum.0,
        zero_threshold: json.zero_threshold.0,
        zero_count: json.zero_count.0,
        positive: json.positive.into(),
        negative: json.negative.into(),
        custom_values: json.custom_values.into_iter().map(|bound| bound.0).collect(),
    };
    let checked = histogram.check();
    checked.map(|()| histogram).map_err(|reason| D::Error::custom(format!("invalid histogram: {reason}")))
}

/// Appends the object.
pub(super) fn append(out: &mut Vec<u8>, histogram: &Histogram) {
    // A vector always takes more bytes.
    let written = write!(out, "{{\"schema\":{}", histogram.schema);
    debug_assert!(written.is_ok());
    if let Some((name, _)) = RESET_HINTS.iter().find(|(_, hint)| *hint == histogram.reset_hint) {
        out.extend_from_slice(b",\"reset_hint\":\"");
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    }
    for (name, number) in [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("zero_threshold", histogram.zero_threshold),
        ("zero_count", histogram.zero_count),
    ] {
        if number.to_bits() != 0 {
            append_name(out, name);
            append_value(out, number);
        }
    }
    for (name, buckets) in [("positive", &histogram.positive), ("negative", &histogram.negative)] {
        if !buckets.spans.is_empty() {
            append_name(out, name);
            out.extend_from_slice(b"{\"spans\":");
            append_list(out, &buckets.spans, |out, span| {
                let written = write!(out, "[{},{}]", span.offset, span.length);
                debug_assert!(written.is_ok());
            });
            append_name(out, "counts");
            append_list(out, &buckets.counts, |out, count| append_value(out, *count));
            out.push(b'}');
        }
    }
    if !histogram.custom_values.is_empty() {
        append_name(out, "custom_values");
        append_list(out, &histogram.custom_values, |out, bound| append_value(out, *bound));
    }
    out.push(b'}');
}

fn append_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
