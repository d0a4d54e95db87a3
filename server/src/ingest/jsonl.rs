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
//! | the staleness marker (`0x7ff0000000000002`), as VictoriaMetrics writes it | `null` |
//! | the ordinary NaN (`0x7ff8000000000000`) | `"NaN"` |
//! | any other NaN | `"NaN:7ff8000000000001"`, its bits in hexadecimal |
//! | ±infinity | `"Infinity"`, `"-Infinity"` |
//!
//! When reading, `"nan"`, `"inf"` and `"infinity"` are understood with or without a sign and in any case, and so are numbers in
//! quotes.
//!
//! An export that could not read all it was asked for ends with a line `{"error":"…"}` that says what is missing. When such a
//! file is read, this is a bad line.
//!
//! A native histogram is an object among the values. Members that are zero or empty are left out; spans are pairs of offset and
//! length, counts are those of single buckets, and `reset_hint` is `reset`, `not_reset` or `gauge`:
//!
//! ```json
//! {"schema":3,"reset_hint":"gauge","count":7.0,"sum":1.25,"zero_threshold":0.001,"zero_count":1.0,
//!  "positive":{"spans":[[-2,2],[1,1]],"counts":[1.0,2.0,0.0]},"negative":{"spans":[[0,1]],"counts":[3.0]},
//!  "custom_values":[]}
//! ```

mod histogram;

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use timberline_engine::histogram::cell;
use timberline_engine::{Error, Histogram, Labels, STALE_NAN, Samples, is_stale};

use super::error::{ErrorList, Fault, Locator, quote};
use super::limits::{BEYOND_RETENTION_WORDS, Limits};
use super::precision::Precision;
use super::series_key::LabelSet;
use super::sink::{SeriesSink, is_about_one_series};
use super::without_mark;

/// The bits of the NaN that is written as `"NaN"`.
const PLAIN_NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// One series with some of its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesLine {
    /// The labels.
    pub labels: Labels,
    /// In the order of the line; nanoseconds.
    pub samples: Samples,
}

/// What became of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Lines that are not blank, bad ones included.
    pub lines: u64,
    /// Samples stored.
    pub samples: u64,
    /// Samples left out because they are older than the retention.
    pub beyond_retention: u64,
    /// The lines that were left out, wholly or in part.
    pub errors: ErrorList,
}

/// The most memory that a number takes while its line is parsed: in the list that it stands in, which may have grown to twice
/// its length, and among the samples.
const NUMBER_BYTES: usize = 48;
/// The same of a label, and of a histogram.
const PAIR_BYTES: usize = 96;
const OBJECT_BYTES: usize = 512;

/// The most memory that a line of `text` takes while it is parsed, bytes: lines are parsed one after the other.
#[must_use]
pub fn parsed_bytes_max(text: &[u8]) -> usize {
    let bytes = |byte: &u8| match byte {
        b',' => NUMBER_BYTES,
        b':' => PAIR_BYTES,
        b'{' => OBJECT_BYTES,
        _ => 0,
    };
    text.split(|byte| *byte == b'\n').map(|line| line.iter().map(bytes).sum()).max().unwrap_or_default()
}

/// Writes the series of `text` into `sink`; the caller commits. A bad line is left out as a whole. A byte order mark in front
/// of them is skipped.
///
/// # Errors
/// Only when the sink takes no more: then nothing should be committed.
pub fn write_lines(
    text: &[u8],
    precision: Precision,
    limits: &Limits,
    sink: &mut impl SeriesSink,
) -> Result<WriteReport, Error> {
    let text = without_mark(text);
    let mut report = WriteReport::default();
    let mut locator = Locator::new(text);
    let mut start = 0;
    while start < text.len() {
        let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |newline| start + newline);
        let line = &text[start..end];
        if !line.trim_ascii().is_empty() {
            report.lines += 1;
            let written = match parse(line, precision, limits) {
                Ok(series) => write_series(&series, &mut report, sink)?,
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

/// Writes the samples of one line. The inner error says what was left out of it, and why.
fn write_series(
    series: &SeriesLine,
    report: &mut WriteReport,
    sink: &mut impl SeriesSink,
) -> Result<Result<(), Fault>, Error> {
    let SeriesLine { labels, samples } = series;
    let (mut start, mut beyond) = (0, 0);
    for run in samples.values.chunk_by(|a, b| cell::is_histogram(*a) == cell::is_histogram(*b)) {
        let positions = start..start + run.len();
        start = positions.end;
        let timestamps = samples.timestamps[positions.clone()].iter().copied();
        let written = if samples.histogram(positions.start).is_none() {
            sink.series(labels, timestamps.zip(run.iter().copied()))
        } else {
            let histograms = positions.filter_map(|at| samples.histogram(at)).map(Arc::clone);
            sink.histograms(labels, timestamps.zip(histograms))
        };
        match written {
            Ok(left_out) => {
                beyond += left_out;
                report.beyond_retention += left_out;
                report.samples += run.len() as u64 - left_out;
            }
            Err(error) if is_about_one_series(&error) => {
                return Ok(Err(Fault::new(0, error.to_string())));
            }
            Err(error) => return Err(error),
        }
    }
    if beyond == 0 {
        return Ok(Ok(()));
    }
    let all = samples.len();
    Ok(Err(Fault::new(0, format!("{BEYOND_RETENTION_WORDS}: {beyond} of {all} samples are older"))))
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
        if let Ok(JsonError { error }) = serde_json::from_slice(line) {
            return Fault::new(0, format!("the export that wrote this is not whole: {error}"));
        }
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
    let mut samples = Samples::default();
    for (timestamp, value) in parsed.timestamps.into_iter().zip(parsed.values) {
        let timestamp = precision
            .to_nanoseconds(timestamp)
            .ok_or_else(|| whole(precision.out_of_range(timestamp, &timestamp)))?;
        match value {
            JsonValue::Float(value) => samples.push(timestamp, value),
            JsonValue::Histogram(histogram) => samples.push_histogram(timestamp, histogram),
        }
    }
    Ok(SeriesLine { labels, samples })
}

/// A line as it stands.
#[derive(Deserialize)]
struct JsonSeries<'a> {
    #[serde(borrow)]
    metric: JsonLabels<'a>,
    values: Vec<JsonValue>,
    timestamps: Vec<i64>,
}

/// What an export ends with that could not read everything.
#[derive(Deserialize)]
struct JsonError<'a> {
    #[serde(borrow)]
    error: Cow<'a, str>,
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

/// A value as the top of this file says.
enum JsonValue {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = JsonValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a number, null (a staleness marker), a histogram, or one of \"NaN\", \"NaN:<bits>\", \"Infinity\", \
                     \"-Infinity\"",
                )
            }

            fn visit_f64<E>(self, value: f64) -> Result<JsonValue, E> {
                Ok(JsonValue::Float(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<JsonValue, E> {
                Ok(JsonValue::Float(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<JsonValue, E> {
                Ok(JsonValue::Float(value as f64))
            }

            fn visit_unit<E>(self) -> Result<JsonValue, E> {
                Ok(JsonValue::Float(STALE_NAN))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<JsonValue, E> {
                // Bits that the engine has for histograms are no float's.
                parse_text(text)
                    .map(|value| JsonValue::Float(cell::float(value)))
                    .ok_or_else(|| E::custom(format!("invalid value {}", quote(text.as_bytes()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JsonValue, A::Error> {
                let histogram = histogram::read(MapAccessDeserializer::new(map))?;
                Ok(JsonValue::Histogram(Arc::new(histogram)))
            }
        }
        deserializer.deserialize_any(Value)
    }
}

/// A number of a histogram: a value that is a float.
#[derive(Clone, Copy, Default)]
struct JsonNumber(f64);

impl<'de> Deserialize<'de> for JsonNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match JsonValue::deserialize(deserializer)? {
            JsonValue::Float(value) => Ok(Self(value)),
            JsonValue::Histogram(_) => Err(serde::de::Error::custom("a histogram within a histogram")),
        }
    }
}

/// A value in quotes.
fn parse_text(text: &str) -> Option<f64> {
    if let Some(bits) = text.strip_prefix("NaN:") {
        return u64::from_str_radix(bits, 16).ok().map(f64::from_bits).filter(|value| value.is_nan());
    }
    let value: f64 = text.parse().ok()?;
    let is_word = !text.bytes().any(|byte| byte.is_ascii_digit());
    match value {
        _ if value.is_nan() => Some(f64::from_bits(PLAIN_NAN_BITS)),
        // A number that is too large is no infinity.
        _ if value.is_infinite() && !is_word => None,
        _ => Some(value),
    }
}

/// Appends the line of one series with the samples at some positions, line break included, to `out`. Timestamps
/// (nanoseconds) are rounded down to `precision`.
pub fn append_line(
    out: &mut Vec<u8>,
    labels: &Labels,
    samples: &Samples,
    positions: Range<usize>,
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
    out.extend_from_slice(b"},\"values\":");
    let mut at = positions.start;
    append_list(out, &samples.values[positions.clone()], |out, value| {
        match samples.histogram(at) {
            Some(histogram) => histogram::append(out, histogram),
            None => append_value(out, *value),
        }
        at += 1;
    });
    out.extend_from_slice(b",\"timestamps\":");
    append_list(out, &samples.timestamps[positions], |out, timestamp| {
        append_display(out, format_args!("{}", precision.from_nanoseconds(*timestamp)));
    });
    out.extend_from_slice(b"}\n");
}

/// The first timestamp of a line that is not 0, in its unit.
#[must_use]
pub fn first_timestamp(line: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Timestamps {
        timestamps: Vec<i64>,
    }
    let Timestamps { timestamps } = serde_json::from_slice(without_mark(line)).ok()?;
    timestamps.into_iter().find(|timestamp| *timestamp != 0)
}

/// Appends the line that ends an export which could not read everything.
pub fn append_error(out: &mut Vec<u8>, what: &str) {
    out.extend_from_slice(b"{\"error\":");
    append_string(out, what);
    out.extend_from_slice(b"}\n");
}

/// What a line says that ends such an export; `None` for every other line.
#[must_use]
pub fn error_of(line: &[u8]) -> Option<String> {
    serde_json::from_slice(line).ok().map(|JsonError { error }| error.into_owned())
}

/// Appends an array.
fn append_list<T>(out: &mut Vec<u8>, items: &[T], mut append: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        append(out, item);
    }
    out.push(b']');
}

/// Appends a value as the table at the top says.
fn append_value(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if is_stale(value) {
        out.extend_from_slice(b"null");
    } else if value.to_bits() == PLAIN_NAN_BITS {
        out.extend_from_slice(b"\"NaN\"");
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
