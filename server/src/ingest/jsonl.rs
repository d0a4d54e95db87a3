//! JSON lines, one series each, in both directions: the shape of VictoriaMetrics' export.
//!
//! ```json
//! {"metric":{"__name__":"up","job":"node"},"values":[1,0.5],"timestamps":[1700000000000,1700000015000]}
//! ```
//!
//! Timestamps are milliseconds, or whatever [`Precision`] both sides agree on; nanoseconds lose nothing. Values come
//! back bit for bit: numbers are written with as many digits as that takes, `-0.0` keeps its sign, and what JSON has no
//! number for is written so:
//!
//! | value | JSON |
//! |---|---|
//! | the ordinary NaN (`0x7ff8000000000000`) | `null` |
//! | any other NaN, the staleness marker for one | `"NaN:7ff0000000000002"`, its bits in hexadecimal |
//! | ±infinity | `"Infinity"`, `"-Infinity"` |
//!
//! When reading, `"NaN"`, `"Inf"`, `"+Inf"` and `"-Inf"` are understood too, and so are numbers in quotes.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use timberline_engine::{Error, Labels};

use super::error::{ErrorList, Fault, Locator, quote};
use super::limits::Limits;
use super::precision::Precision;
use super::series_key::LabelSet;
use super::sink::{SeriesSink, is_about_one_series};

/// The bits of the NaN that is written as `null`.
const PLAIN_NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// One series with some of its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesLine {
    /// The labels.
    pub labels: Labels,
    /// Nanoseconds since the epoch, in the order of the line.
    pub timestamps: Vec<i64>,
    /// As many values.
    pub values: Vec<f64>,
}

/// What became of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Lines that are not blank, bad ones included.
    pub lines: u64,
    /// Samples stored.
    pub samples: u64,
    /// The lines that were left out.
    pub errors: ErrorList,
}

/// Writes the series of `text` into `sink`; the caller commits. A bad line is left out as a whole.
///
/// # Errors
/// Only when the sink takes no more: then nothing should be committed.
pub fn write_lines(
    text: &[u8],
    precision: Precision,
    limits: &Limits,
    sink: &mut impl SeriesSink,
) -> Result<WriteReport, Error> {
    let mut report = WriteReport::default();
    let mut locator = Locator::new(text);
    let mut start = 0;
    while start < text.len() {
        let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |newline| start + newline);
        let line = &text[start..end];
        if !line.trim_ascii().is_empty() {
            report.lines += 1;
            let written = match parse(line, precision, limits) {
                Ok(series) => {
                    write_series(&series, sink)?.map(|()| report.samples += series.values.len() as u64)
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = written {
                report.errors.push(&fault.reason, || locator.locate(start, fault.clone().shifted(start)));
            }
        }
        start = end + 1;
    }
    Ok(report)
}

fn write_series(series: &SeriesLine, sink: &mut impl SeriesSink) -> Result<Result<(), Fault>, Error> {
    let samples = series.timestamps.iter().copied().zip(series.values.iter().copied());
    match sink.series(&series.labels, samples) {
        Ok(()) => Ok(Ok(())),
        Err(error) if is_about_one_series(&error) => Ok(Err(Fault::new(0, error.to_string()))),
        Err(error) => Err(error),
    }
}

/// Parses one line.
///
/// # Errors
/// The column, from 1, in bytes, and what is wrong there.
pub fn parse_line(line: &[u8], precision: Precision, limits: &Limits) -> Result<SeriesLine, (usize, String)> {
    parse(line, precision, limits).map_err(|fault| (fault.offset + 1, fault.reason))
}

fn parse(line: &[u8], precision: Precision, limits: &Limits) -> Result<SeriesLine, Fault> {
    let parsed: JsonSeries<'_> = serde_json::from_slice(line).map_err(|error| {
        let reason = error.to_string();
        // The position is in the fault, counted in the whole text.
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        Fault::new(error.column().saturating_sub(1), reason)
    })?;
    let whole = |reason: String| Fault::new(0, reason);
    if parsed.values.len() != parsed.timestamps.len() {
        let (values, timestamps) = (parsed.values.len(), parsed.timestamps.len());
        return Err(whole(format!("{values} values but {timestamps} timestamps")));
    }
    let mut labels = LabelSet::default();
    for (name, value) in &parsed.metric.0 {
        labels.push(name.as_bytes(), value.as_bytes());
    }
    labels.canonicalize(limits).map_err(whole)?;
    let labels = labels.labels().map_err(|error| whole(error.to_string()))?;
    let mut timestamps = parsed.timestamps;
    for timestamp in &mut timestamps {
        *timestamp = precision
            .to_nanoseconds(*timestamp)
            .ok_or_else(|| whole(format!("out of range timestamp {timestamp}")))?;
    }
    Ok(SeriesLine { labels, timestamps, values: parsed.values.into_iter().map(|value| value.0).collect() })
}

/// A line as it stands.
#[derive(Deserialize)]
struct JsonSeries<'a> {
    #[serde(borrow)]
    metric: JsonLabels<'a>,
    values: Vec<JsonValue>,
    timestamps: Vec<i64>,
}

/// Labels as they stand: a name that is given twice is seen.
struct JsonLabels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// A string that is only copied where it has escapes.
#[derive(Deserialize)]
struct JsonText<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonLabels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = JsonLabels<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of label names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = map.next_entry::<JsonText<'de>, JsonText<'de>>()? {
                    pairs.push((name.0, value.0));
                }
                Ok(JsonLabels(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A value as the table at the top says.
struct JsonValue(f64);

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = JsonValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, null, or one of \"NaN\", \"NaN:<bits>\", \"Infinity\", \"-Infinity\"")
            }

            fn visit_f64<E>(self, value: f64) -> Result<JsonValue, E> {
                Ok(JsonValue(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<JsonValue, E> {
                Ok(JsonValue(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<JsonValue, E> {
                Ok(JsonValue(value as f64))
            }

            fn visit_unit<E>(self) -> Result<JsonValue, E> {
                Ok(JsonValue(f64::from_bits(PLAIN_NAN_BITS)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<JsonValue, E> {
                parse_text(text)
                    .map(JsonValue)
                    .ok_or_else(|| E::custom(format!("invalid value {}", quote(text.as_bytes()))))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A value in quotes.
fn parse_text(text: &str) -> Option<f64> {
    if let Some(bits) = text.strip_prefix("NaN:") {
        return u64::from_str_radix(bits, 16).ok().map(f64::from_bits).filter(|value| value.is_nan());
    }
    match text {
        "NaN" => Some(f64::from_bits(PLAIN_NAN_BITS)),
        "Inf" | "+Inf" | "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-Inf" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

/// Appends the line of one series, line break included, to `out`. Timestamps (nanoseconds) are rounded down to
/// `precision`.
pub fn append_line(
    out: &mut Vec<u8>,
    labels: &Labels,
    timestamps: &[i64],
    values: &[f64],
    precision: Precision,
) {
    out.extend_from_slice(b"{\"metric\":{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        append_string(out, name);
        out.push(b':');
        append_string(out, value);
    }
    out.extend_from_slice(b"},\"values\":[");
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        append_value(out, *value);
    }
    out.extend_from_slice(b"],\"timestamps\":[");
    for (i, timestamp) in timestamps.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        append_display(out, format_args!("{}", precision.from_nanoseconds(*timestamp)));
    }
    out.extend_from_slice(b"]}\n");
}

/// Appends a value as the table at the top says.
fn append_value(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else if value.to_bits() == PLAIN_NAN_BITS {
        out.extend_from_slice(b"null");
    } else if value.is_nan() {
        append_display(out, format_args!("\"NaN:{:016x}\"", value.to_bits()));
    } else {
        out.extend_from_slice(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

fn append_string(out: &mut Vec<u8>, text: &str) {
    // Text is always valid JSON, and a vector always takes more bytes.
    let written = serde_json::to_writer(&mut *out, text);
    debug_assert!(written.is_ok());
}

fn append_display(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // A vector always takes more bytes.
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests;
