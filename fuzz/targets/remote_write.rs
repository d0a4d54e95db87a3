//! Any bytes as a remote write request: compressed, so that they reach the protobuf decoder, which agrees with `prost`; and
//! as they are.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use timberline::ingest::Limits;
use timberline::ingest::remote_write::{decompress, write_request};
use timberline_fuzz::Memory;

const BYTES_MAX: usize = 1 << 20;

/// The messages of Prometheus' `types.proto`, as far as they hold samples.
#[derive(Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    metadata: Vec<Vec<u8>>,
}

#[derive(Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    exemplars: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Message)]
struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    count: Option<Count>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    reset_hint: i32,
    #[prost(int64, tag = "15")]
    timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    custom_values: Vec<f64>,
}

#[derive(prost::Oneof)]
enum Count {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(prost::Oneof)]
enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Message)]
struct Label {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fuzz_target!(|body: &[u8]| {
    let mut request = Vec::new();
    let _ = decompress(body, BYTES_MAX, &mut request);
    let Ok(compressed) = snap::raw::Encoder::new().compress_vec(body) else { return };
    if decompress(&compressed, BYTES_MAX, &mut request).is_err() {
        return;
    }
    assert_eq!(request, body);

    let mut sink = Memory::default();
    let (written, expected) =
        (write_request(&request, &Limits::DEFAULT, &mut sink), WriteRequest::decode(&*request));
    let (report, expected) = match (written, expected) {
        (Ok(report), Ok(expected)) => (report, expected),
        // Groups, which protobuf has given up, are refused.
        (Err(error), Ok(_)) if error.to_string().contains("unknown wire type 3") => return,
        (Err(error), Ok(expected)) => panic!("{error}, but it is {expected:?}"),
        (_, Err(_)) => return,
    };
    assert_eq!((report.samples, report.histograms), (sink.0.len() as u64, sink.1));
    assert_eq!(report.refusal().is_some(), !report.errors.is_empty());
    assert_eq!(
        (report.series, report.metadata_ignored),
        (expected.timeseries.len() as u64, expected.metadata.len() as u64)
    );
    if report.errors.is_empty() {
        let histograms: usize = expected.timeseries.iter().map(|series| series.histograms.len()).sum();
        let samples: usize = expected.timeseries.iter().map(|series| series.samples.len()).sum();
        // A staleness marker that comes as a histogram is stored as a float.
        assert_eq!(report.samples + report.histograms, (samples + histograms) as u64);
        if histograms > 0 {
            return;
        }
        let expected = expected.timeseries.iter().flat_map(|series| &series.samples);
        let expected = expected.map(|sample| (sample.timestamp * 1_000_000, sample.value.to_bits()));
        assert!(sink.0.iter().map(|sample| (sample.timestamp, sample.bits)).eq(expected));
    }
});
