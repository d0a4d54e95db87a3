//! Prometheus remote write 1.0: a snappy block that holds a protobuf `WriteRequest`.
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.
//!
//! Label names and values stay slices of the decompressed body; they are checked to be UTF-8 and copied only for a series
//! that the engine does not know. Exemplars and metadata are counted and dropped. Native histograms are refused, while
//! the float samples of the same request are stored: see [`WriteReport::refusal`].

use std::fmt;

use bytes::Bytes;
use prost::Message;
use timberline_engine::{Error, Field, Row};

use super::error::ErrorList;
use super::limits::Limits;
use super::precision::Precision;
use super::series_key::LabelSet;
use super::sink::{RowSink, is_about_one_series};

/// `prometheus.WriteRequest`, the parts that matter. Strings are declared as bytes, which look the same on the wire;
/// messages that are only counted stay encoded.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    /// Metric metadata, encoded.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub metadata: Vec<Bytes>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// The labels; the specification wants them sorted, any order is taken.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The float samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Exemplars, encoded.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub exemplars: Vec<Bytes>,
    /// Native histograms, encoded.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub histograms: Vec<Bytes>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// The name.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Bytes,
    /// The value; empty is the absence of the label.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value, any bit pattern.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// Why a request was not written at all.
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
    Protobuf(#[from] prost::DecodeError),
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

/// Decompresses and decodes a request body.
///
/// # Errors
/// The body is not a request, or larger than `decompressed_bytes_max` when decompressed (then nothing is allocated).
pub fn decode(body: &[u8], decompressed_bytes_max: usize) -> Result<WriteRequest, RemoteWriteError> {
    let got = snap::raw::decompress_len(body)?;
    if got > decompressed_bytes_max {
        return Err(RemoteWriteError::TooLarge { limit: decompressed_bytes_max, got });
    }
    let request = snap::raw::Decoder::new().decompress_vec(body)?;
    Ok(WriteRequest::decode(Bytes::from(request))?)
}

/// Writes the float samples of a request into `sink`; the caller commits, and answers with
/// [`WriteReport::refusal`] where there is one. A series with a bad label set is left out as a whole.
///
/// # Errors
/// Only when the sink takes no more: then nothing should be committed.
pub fn write_request(
    request: &WriteRequest,
    limits: &Limits,
    sink: &mut impl RowSink,
) -> Result<WriteReport, RemoteWriteError> {
    let mut report =
        WriteReport { metadata_ignored: request.metadata.len() as u64, ..WriteReport::default() };
    let mut labels = LabelSet::default();
    let mut key = Vec::new();
    for series in &request.timeseries {
        report.series += 1;
        report.exemplars_ignored += series.exemplars.len() as u64;
        labels.clear();
        for label in &series.labels {
            labels.push(&label.name, &label.value);
        }
        let written = match labels.canonicalize(limits) {
            Ok(()) => {
                labels.write_key(&mut key);
                write_samples(&key, &labels, &series.samples, &mut report.samples, sink)?
            }
            Err(reason) => Err(reason),
        };
        report.histograms_refused += series.histograms.len() as u64;
        if let Err(reason) = written.and_then(|()| refuse_histograms(series)) {
            let index = report.series;
            report.errors.push(|| SeriesError { index, labels: describe(&series.labels), reason });
        }
    }
    Ok(report)
}

fn refuse_histograms(series: &TimeSeries) -> Result<(), String> {
    match series.histograms.len() {
        0 => Ok(()),
        count => Err(format!("{count} native histograms left out: native histograms are not supported yet")),
    }
}

/// Writes the samples of one series. The inner error says which sample is bad; the ones before it are in.
fn write_samples(
    key: &[u8],
    labels: &LabelSet<'_>,
    samples: &[Sample],
    stored: &mut u64,
    sink: &mut impl RowSink,
) -> Result<Result<(), String>, Error> {
    for sample in samples {
        let Some(timestamp) = Precision::Milliseconds.to_nanoseconds(sample.timestamp) else {
            return Ok(Err(format!("out of range timestamp {} ms", sample.timestamp)));
        };
        let fields = [Field { name: b"", value: sample.value }];
        match sink.row(Row { key, timestamp, fields: &fields }, |_| labels.labels()) {
            Ok(()) => *stored += 1,
            Err(error) if is_about_one_series(&error) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(Ok(()))
}

/// Labels as they came, for a message.
fn describe(labels: &[Label]) -> String {
    struct Labels<'a>(&'a [Label]);
    impl fmt::Display for Labels<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("{")?;
            for (i, label) in self.0.iter().enumerate() {
                let comma = if i == 0 { "" } else { ", " };
                write!(
                    f,
                    "{comma}{}={:?}",
                    String::from_utf8_lossy(&label.name),
                    String::from_utf8_lossy(&label.value)
                )?;
            }
            f.write_str("}")
        }
    }
    const CHARS_MAX: usize = 256;
    let mut text = Labels(&labels[..labels.len().min(32)]).to_string();
    if let Some((cut, _)) = text.char_indices().nth(CHARS_MAX) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
