//! Prometheus remote write 1.0: a snappy block that holds a protobuf `WriteRequest`.
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.
//!
//! The decompressed body is walked one series at a time, so a request takes no more memory than its body, whatever it
//! says. Label names and values stay slices of it; they are checked to be UTF-8 and copied only for a series that the
//! engine does not know. A first walk checks that all of it is a `WriteRequest`, so that one that is not stores nothing.
//!
//! Exemplars and metadata are counted and dropped. Native histograms are refused, while the float samples of the same
//! request are stored: see [`WriteReport::refusal`].

mod message;
mod wire;

use std::fmt;

use timberline_engine::{Error, Field, Row};

use super::error::ErrorList;
use super::limits::{Limits, past_limit};
use super::precision::Precision;
use super::series_key::LabelSet;
use super::sink::{RowSink, is_about_one_series};
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
    /// Samples stored.
    pub samples: u64,
    /// Native histograms left out.
    pub histograms_refused: u64,
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
        let (stored, series) = (self.samples, self.errors.total);
        Some(format!(
            "partial write: {stored} samples stored, {series} series not or not in full: {}",
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

/// Writes the float samples of a decompressed request into `sink`; the caller commits, and answers with
/// [`WriteReport::refusal`] where there is one. A series with a bad label set is left out as a whole.
///
/// # Errors
/// The request is not a `WriteRequest`: nothing went to the sink. The sink takes no more: nothing should be committed.
pub fn write_request(
    request: &[u8],
    limits: &Limits,
    sink: &mut impl RowSink,
) -> Result<WriteReport, RemoteWriteError> {
    let request = WriteRequest::check(request)?;
    let mut report = WriteReport { metadata_ignored: request.metadata, ..WriteReport::default() };
    let mut labels = LabelSet::default();
    let mut key = Vec::new();
    for series in request.series() {
        let series = series?;
        report.series += 1;
        labels.clear();
        let counts = collect(&series, limits, &mut labels)?;
        report.exemplars_ignored += counts.exemplars;
        report.histograms_refused += counts.histograms;
        let written = match check_labels(&counts, limits).and_then(|()| labels.canonicalize(limits)) {
            Ok(()) => {
                labels.write_key(&mut key);
                write_samples(&key, &labels, &series, &mut report.samples, sink)?
            }
            Err(reason) => Err(reason),
        };
        if let Err(reason) = written.and_then(|()| refuse_histograms(&counts)) {
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
    histograms: u64,
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
            Part::Histogram => counts.histograms += 1,
            Part::Sample(_) | Part::Unknown => {}
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

fn refuse_histograms(counts: &Counts) -> Result<(), String> {
    match counts.histograms {
        0 => Ok(()),
        count => Err(format!("{count} native histograms left out: native histograms are not supported yet")),
    }
}

/// Writes the samples of one series. The inner error says how many are out of range, and why the series is refused.
fn write_samples(
    key: &[u8],
    labels: &LabelSet<'_>,
    series: &TimeSeries<'_>,
    stored: &mut u64,
    sink: &mut impl RowSink,
) -> Result<Result<(), String>, RemoteWriteError> {
    let mut out_of_range: Option<(u64, i64)> = None;
    for part in series.parts() {
        let Part::Sample(sample) = part? else { continue };
        let Some(timestamp) = Precision::Milliseconds.to_nanoseconds(sample.timestamp_ms) else {
            out_of_range.get_or_insert((0, sample.timestamp_ms)).0 += 1;
            continue;
        };
        let fields = [Field { name: b"", value: sample.value }];
        match sink.row(Row { key, timestamp, fields: &fields }, |_| labels.labels()) {
            Ok(()) => *stored += 1,
            Err(error) if is_about_one_series(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(out_of_range.map_or(Ok(()), |(count, first)| {
        Err(format!("{count} samples left out: out of range timestamp {first} ms"))
    }))
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
