//! Prometheus remote write 1.0: a snappy block that holds a protobuf `WriteRequest`.
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.
//!
//! The decompressed body is walked one series at a time, so a request takes no more memory than its body, whatever it
//! says. Label names and values stay slices of it; they are checked to be UTF-8 and copied only for a series that the
//! engine does not know. A first walk checks that all of it is a `WriteRequest`, so that one that is not stores nothing.
//!
//! Exemplars and metadata are counted and dropped. What is bad of a series is left out, while the rest of the
//! request is stored: see [`WriteReport::refusal`].

mod histogram;
mod message;
mod wire;

use std::fmt;

use std::sync::Arc;

use timberline_engine::{Error, Field, HistogramRow, Row, is_stale};

use super::error::ErrorList;
use super::limits::{BEYOND_RETENTION_WORDS, Limits, past_limit};
use super::precision::Precision;
use super::series_key::LabelSet;
use super::sink::{HistogramSink, is_about_one_series};
use histogram::Message;
use message::{Part, TimeSeries, WriteRequest};

pub use wire::WireError;

/// Why a request was not written.
#[derive(Debug, thiserror::Error)]
pub enum RemoteWriteError {
    /// The body says that it is larger than allowed; it was not decompressed.
    #[error("limit body_bytes_max reached: the decompressed request has {got} bytes, the limit is {limit}")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// What the body's header says, in bytes.
        got: usize,
    },
    /// The body is not a snappy block.
    #[error("cannot decompress the request as a snappy block: {0}")]
    Snappy(#[from] snap::Error),
    /// What was compressed is not a `WriteRequest`.
    #[error("cannot decode the request as a prometheus.WriteRequest: {0}")]
    Protobuf(#[from] WireError),
    /// The sink takes no more: nothing should be committed.
    #[error(transparent)]
    Sink(#[from] Error),
}

/// One series of which something was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("series {index} {labels}: {reason}")]
pub struct SeriesError {
    /// Which series of the request, from 1.
    pub index: u64,
    /// Its labels as they came, cut when they are many.
    pub labels: String,
    /// What was left out, and why.
    pub reason: String,
}

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Series in the request.
    pub series: u64,
    /// Float samples stored.
    pub samples: u64,
    /// Native histograms stored.
    pub histograms: u64,
    /// Samples and histograms left out because they are older than the retention.
    pub beyond_retention: u64,
    /// Exemplars dropped.
    pub exemplars_ignored: u64,
    /// Metadata entries dropped.
    pub metadata_ignored: u64,
    /// The series of which something was left out.
    pub errors: ErrorList<SeriesError>,
}

impl WriteReport {
    /// What to answer with a status 400, once the rest is committed; `None` when all of the request was stored.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        if self.errors.is_empty() {
            return None;
        }
        let (stored, series) = (self.samples + self.histograms, self.errors.total);
        let beyond = match self.beyond_retention {
            0 => String::new(),
            samples => format!("{BEYOND_RETENTION_WORDS} dropped={samples}; "),
        };
        Some(format!(
            "partial write: {beyond}{stored} samples stored, {series} series not or not in full: {}",
            self.errors
        ))
    }
}

/// How many bytes a request body has when decompressed, as its header says.
///
/// # Errors
/// The body is not a snappy block, or larger than `bytes_max` when decompressed.
pub fn decompressed_bytes(body: &[u8], bytes_max: usize) -> Result<usize, RemoteWriteError> {
    let got = snap::raw::decompress_len(body)?;
    if got > bytes_max {
        return Err(RemoteWriteError::TooLarge { limit: bytes_max, got });
    }
    Ok(got)
}

/// Decompresses a request body into `request`, which it replaces.
///
/// # Errors
/// As [`decompressed_bytes`]; then nothing is allocated. The body does not hold what its header says.
pub fn decompress(body: &[u8], bytes_max: usize, request: &mut Vec<u8>) -> Result<(), RemoteWriteError> {
    let bytes = decompressed_bytes(body, bytes_max)?;
    request.clear();
    request.resize(bytes, 0);
    let written = snap::raw::Decoder::new().decompress(body, request)?;
    request.truncate(written);
    Ok(())
}

/// Writes the samples of a decompressed request into `sink`; the caller commits, and answers with
/// [`WriteReport::refusal`] where there is one. A series with a bad label set is left out as a whole.
///
/// # Errors
/// The request is not a `WriteRequest`: nothing went to the sink. The sink takes no more: nothing should be committed.
pub fn write_request(
    request: &[u8],
    limits: &Limits,
    sink: &mut impl HistogramSink,
) -> Result<WriteReport, RemoteWriteError> {
    let request = WriteRequest::check(request)?;
    let mut report = WriteReport { metadata_ignored: request.metadata, ..WriteReport::default() };
    let mut labels = LabelSet::default();
    let mut writer = SeriesWriter { key: Vec::new(), message: Message::default(), sink };
    for series in request.series() {
        let series = series?;
        report.series += 1;
        labels.clear();
        let counts = collect(&series, limits, &mut labels)?;
        report.exemplars_ignored += counts.exemplars;
        let written = match check_labels(&counts, limits).and_then(|()| labels.canonicalize(limits)) {
            Ok(()) => writer.write(&labels, &series, &mut report)?,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = written {
            let index = report.series;
            let error = || SeriesError { index, labels: describe(&series), reason: reason.clone() };
            report.errors.push(&reason, error);
        }
    }
    Ok(report)
}

/// How many parts a series has, besides its samples.
#[derive(Debug, Default)]
struct Counts {
    labels: usize,
    exemplars: u64,
}

/// Collects the labels of a series, no more of them than a series may have, and counts its other parts.
fn collect<'a>(
    series: &TimeSeries<'a>,
    limits: &Limits,
    labels: &mut LabelSet<'a>,
) -> Result<Counts, WireError> {
    let mut counts = Counts::default();
    for part in series.parts() {
        match part? {
            Part::Label(label) => {
                counts.labels += 1;
                if counts.labels <= limits.labels_max {
                    labels.push(label.name, label.value);
                }
            }
            Part::Exemplar => counts.exemplars += 1,
            Part::Sample(_) | Part::Histogram(_) | Part::Unknown => {}
        }
    }
    Ok(counts)
}

fn check_labels(counts: &Counts, limits: &Limits) -> Result<(), String> {
    if counts.labels > limits.labels_max {
        return Err(past_limit("labels_max", limits.labels_max, counts.labels));
    }
    Ok(())
}

/// Writes one series after the other.
struct SeriesWriter<'s, S> {
    key: Vec<u8>,
    message: Message,
    sink: &'s mut S,
}

/// What was left out of a series: how many, and the first.
#[derive(Debug, Default)]
struct LeftOut {
    out_of_range: Option<(u64, i64)>,
    beyond_retention: Option<(u64, String)>,
    histograms: Option<(u64, String)>,
}

impl LeftOut {
    fn out_of_range(&mut self, timestamp_ms: i64) {
        self.out_of_range.get_or_insert((0, timestamp_ms)).0 += 1;
    }

    fn beyond_retention(&mut self, error: &Error) {
        self.beyond_retention.get_or_insert_with(|| (0, error.to_string())).0 += 1;
    }

    fn histogram(&mut self, timestamp_ms: i64, reason: &str) {
        let first = || (0, format!("at {timestamp_ms} ms: {reason}"));
        self.histograms.get_or_insert_with(first).0 += 1;
    }

    fn reason(&self) -> Result<(), String> {
        let out_of_range = self
            .out_of_range
            .as_ref()
            .map(|(count, first)| format!("{count} samples left out: out of range timestamp {first} ms"));
        let histograms =
            self.histograms.as_ref().map(|(count, first)| format!("{count} histograms left out: {first}"));
        let beyond = self
            .beyond_retention
            .as_ref()
            .map(|(count, first)| format!("{first} ({count} samples left out)"));
        // First, since a reason is counted by how it begins.
        let reasons: Vec<String> = beyond.into_iter().chain(out_of_range).chain(histograms).collect();
        if reasons.is_empty() { Ok(()) } else { Err(reasons.join("; ")) }
    }
}

impl<S: HistogramSink> SeriesWriter<'_, S> {
    /// Writes the samples of one series. The inner error says which were left out, or why the series is refused.
    fn write(
        &mut self,
        labels: &LabelSet<'_>,
        series: &TimeSeries<'_>,
        report: &mut WriteReport,
    ) -> Result<Result<(), String>, RemoteWriteError> {
        labels.write_key(&mut self.key);
        let mut left_out = LeftOut::default();
        for part in series.parts() {
            let written = match part? {
                Part::Sample(sample) => {
                    self.float(labels, sample.timestamp_ms, sample.value, report, &mut left_out)
                }
                Part::Histogram(message) => {
                    self.message.read(message)?;
                    self.histogram(labels, report, &mut left_out)
                }
                Part::Label(_) | Part::Exemplar | Part::Unknown => Ok(()),
            };
            match written {
                Ok(()) => {}
                Err(error) if is_about_one_series(&error) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(left_out.reason())
    }

    fn float(
        &mut self,
        labels: &LabelSet<'_>,
        timestamp_ms: i64,
        value: f64,
        report: &mut WriteReport,
        left_out: &mut LeftOut,
    ) -> Result<(), Error> {
        let Some(timestamp) = Precision::Milliseconds.to_nanoseconds(timestamp_ms) else {
            left_out.out_of_range(timestamp_ms);
            return Ok(());
        };
        let fields = [Field { name: b"", value }];
        match self.sink.row(Row { key: &self.key, timestamp, fields: &fields }, |_| labels.labels()) {
            Ok(()) => report.samples += 1,
            Err(error @ Error::BeyondRetention { .. }) => {
                report.beyond_retention += 1;
                left_out.beyond_retention(&error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes the histogram of the message.
    fn histogram(
        &mut self,
        labels: &LabelSet<'_>,
        report: &mut WriteReport,
        left_out: &mut LeftOut,
    ) -> Result<(), Error> {
        let timestamp_ms = self.message.timestamp_ms;
        if is_stale(self.message.sum()) {
            // The series ends here, whatever it is of.
            return self.float(labels, timestamp_ms, self.message.sum(), report, left_out);
        }
        let Some(timestamp) = Precision::Milliseconds.to_nanoseconds(timestamp_ms) else {
            left_out.out_of_range(timestamp_ms);
            return Ok(());
        };
        let histogram = match self.message.histogram() {
            Ok(histogram) => Arc::new(histogram),
            Err(reason) => {
                left_out.histogram(timestamp_ms, &reason);
                return Ok(());
            }
        };
        let row = HistogramRow { key: &self.key, name: b"", timestamp, histogram };
        match self.sink.histogram(row, |_| labels.labels()) {
            Ok(()) => report.histograms += 1,
            Err(Error::InvalidHistogram { reason }) => left_out.histogram(timestamp_ms, &reason),
            Err(error @ Error::BeyondRetention { .. }) => {
                report.beyond_retention += 1;
                left_out.beyond_retention(&error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The first labels of a series as they came, for a message.
fn describe(series: &TimeSeries<'_>) -> String {
    struct Labels<'a>(&'a TimeSeries<'a>);
    impl fmt::Display for Labels<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("{")?;
            let labels = self.0.parts().filter_map(|part| match part {
                Ok(Part::Label(label)) => Some(label),
                _ => None,
            });
            for (i, label) in labels.take(LABELS_MAX).enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                let (name, value) =
                    (String::from_utf8_lossy(label.name), String::from_utf8_lossy(label.value));
                write!(f, "{comma}{name}={value:?}")?;
            }
            f.write_str("}")
        }
    }
    const LABELS_MAX: usize = 32;
    const CHARS_MAX: usize = 256;
    let mut text = Labels(series).to_string();
    if let Some((cut, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
