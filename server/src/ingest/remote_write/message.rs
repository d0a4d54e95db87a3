//! The messages of remote write, as views of their bytes: `prometheus.WriteRequest`, `TimeSeries`, `Label`, `Sample`. That of a
//! [`histogram`](super::histogram) is read into memory.
//! Source: <https://github.com/prometheus/prometheus/blob/main/prompb/types.proto>.
//!
//! As protobuf has it, a scalar field that stands twice has its last value, and unknown fields are skipped.

use super::histogram::Message;
use super::wire::{Fields, Value, WireError};

/// A request that was checked as a whole.
#[derive(Debug)]
pub(super) struct WriteRequest<'a> {
    bytes: &'a [u8],
    /// Entries of metadata.
    pub(super) metadata: u64,
}

impl<'a> WriteRequest<'a> {
    const TIMESERIES: u32 = 1;
    const METADATA: u32 = 3;

    /// Checks that `bytes` are a request.
    pub(super) fn check(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut request = Self { bytes, metadata: 0 };
        let mut histogram = Message::default();
        for field in Fields::new(bytes) {
            let field = field?;
            match field.number {
                Self::TIMESERIES => {
                    for part in TimeSeries::new(field.value)?.parts() {
                        if let Part::Histogram(message) = part? {
                            histogram.read(message)?;
                        }
                    }
                }
                Self::METADATA => {
                    field.value.bytes("WriteRequest.metadata")?;
                    request.metadata += 1;
                }
                _ => {}
            }
        }
        Ok(request)
    }

    /// Its series, in order.
    pub(super) fn series(&self) -> impl Iterator<Item = Result<TimeSeries<'a>, WireError>> + use<'a> {
        Fields::new(self.bytes).filter_map(|field| match field {
            Ok(field) if field.number == Self::TIMESERIES => Some(TimeSeries::new(field.value)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

/// One series with its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeSeries<'a>(&'a [u8]);

/// One part of a series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Label(Label<'a>),
    Sample(Sample),
    Exemplar,
    /// A histogram's message, which the check of the request has read once.
    Histogram(&'a [u8]),
    Unknown,
}

impl<'a> TimeSeries<'a> {
    fn new(value: Value<'a>) -> Result<Self, WireError> {
        value.bytes("WriteRequest.timeseries").map(Self)
    }

    /// Its labels, samples and the rest, in the order of the wire.
    #[inline]
    pub(super) fn parts(&self) -> impl Iterator<Item = Result<Part<'a>, WireError>> + use<'a> {
        Fields::new(self.0).map(|field| {
            let field = field?;
            Ok(match field.number {
                1 => Part::Label(Label::decode(field.value.bytes("TimeSeries.labels")?)?),
                2 => Part::Sample(Sample::decode(field.value.bytes("TimeSeries.samples")?)?),
                3 => {
                    field.value.bytes("TimeSeries.exemplars")?;
                    Part::Exemplar
                }
                4 => Part::Histogram(field.value.bytes("TimeSeries.histograms")?),
                _ => Part::Unknown,
            })
        })
    }
}

/// A label; the bytes are not checked to be UTF-8.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Label<'a> {
    pub(super) name: &'a [u8],
    /// Empty is the absence of the label.
    pub(super) value: &'a [u8],
}

impl<'a> Label<'a> {
    fn decode(message: &'a [u8]) -> Result<Self, WireError> {
        let mut label = Self::default();
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => label.name = field.value.bytes("Label.name")?,
                2 => label.value = field.value.bytes("Label.value")?,
                _ => {}
            }
        }
        Ok(label)
    }
}

/// A float sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Any bit pattern.
    pub(super) value: f64,
    /// Milliseconds since the epoch.
    pub(super) timestamp_ms: i64,
}

impl Sample {
    fn decode(message: &[u8]) -> Result<Self, WireError> {
        let mut sample = Self::default();
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                1 => sample.value = field.value.double("Sample.value")?,
                2 => sample.timestamp_ms = field.value.int64("Sample.timestamp")?,
                _ => {}
            }
        }
        Ok(sample)
    }
}
