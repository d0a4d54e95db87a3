//! Requests as Prometheus sends them, and as nobody should.

use proptest::prelude::*;
use prost::Message;
use prost::bytes::Bytes;
use timberline_engine::{BucketSpan, Buckets, Histogram, Labels, METRIC_NAME, ResetHint, STALE_NAN};

use super::super::sink::RowSink;
use super::*;

/// `prometheus.WriteRequest` as senders encode it; strings are declared as bytes, which look the same on the wire.
#[derive(Clone, PartialEq, Message)]
struct SentRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<SentSeries>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    metadata: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct SentSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<SentLabel>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SentSample>,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    exemplars: Vec<Bytes>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<SentHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct SentLabel {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct SentSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SentHistogram {
    #[prost(oneof = "SentCount", tags = "1, 2")]
    count: Option<SentCount>,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(oneof = "SentZeroCount", tags = "6, 7")]
    zero_count: Option<SentZeroCount>,
    #[prost(message, repeated, tag = "8")]
    negative_spans: Vec<SentSpan>,
    #[prost(sint64, repeated, tag = "9")]
    negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<SentSpan>,
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

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum SentCount {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum SentZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct SentSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Default)]
struct Recorder {
    histograms: Vec<(i64, Arc<Histogram>)>,
    samples: Vec<(String, i64, u64)>,
    keys: Vec<Vec<u8>>,
}

impl RowSink for Recorder {
    fn row(
        &mut self,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        let labels = resolve(row.fields[0].name)?;
        self.keys.push(row.key.to_vec());
        self.samples.push((labels.to_string(), row.timestamp, row.fields[0].value.to_bits()));
        Ok(())
    }
}

impl HistogramSink for Recorder {
    fn histogram(
        &mut self,
        row: HistogramRow<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        resolve(row.name)?;
        row.histogram.check().map_err(|reason| Error::InvalidHistogram { reason })?;
        self.histograms.push((row.timestamp, row.histogram));
        Ok(())
    }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> SentSeries {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let label = |(name, value): &(&str, &str)| SentLabel { name: bytes(name), value: bytes(value) };
    SentSeries {
        labels: labels.iter().map(label).collect(),
        samples: samples.iter().map(|&(timestamp, value)| SentSample { value, timestamp }).collect(),
        ..SentSeries::default()
    }
}

fn snappy(request: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(request).unwrap()
}

fn decompressed(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, RemoteWriteError> {
    let mut request = b"of another request".to_vec();
    decompress(body, bytes_max, &mut request)?;
    Ok(request)
}

fn write_bytes(request: &[u8]) -> Result<(Recorder, WriteReport), RemoteWriteError> {
    let mut sink = Recorder::default();
    let report = write_request(request, &Limits::DEFAULT, &mut sink)?;
    Ok((sink, report))
}

fn write(timeseries: Vec<SentSeries>) -> (Recorder, WriteReport) {
    let request = SentRequest { timeseries, metadata: vec![Bytes::from_static(b"x")] };
    let body = snappy(&request.encode_to_vec());
    write_bytes(&decompressed(&body, 1 << 20).unwrap()).unwrap()
}

#[test]
fn samples_are_stored_bit_for_bit() {
    let (sink, report) = write(vec![
        series(&[(METRIC_NAME, "up"), ("job", "a")], &[(1, 1.5), (-2, STALE_NAN)]),
        series(&[("job", "a"), ("no.metric", "ü")], &[(3, -1.0)]),
    ]);
    let expected = [
        (r#"up{job="a"}"#, 1_000_000, 1.5),
        (r#"up{job="a"}"#, -2_000_000, STALE_NAN),
        (r#"{job="a", no.metric="ü"}"#, 3_000_000, -1.0),
    ];
    assert_eq!(sink.samples, expected.map(|(l, t, v)| (l.to_owned(), t, v.to_bits())));
    assert_eq!((report.series, report.samples, report.metadata_ignored), (2, 3, 1));
    assert_eq!(report.refusal(), None);
}

#[test]
fn the_order_of_labels_does_not_matter() {
    let (sink, _) = write(vec![
        series(&[("b", "2"), ("a", "1"), ("empty", "")], &[(1, 1.0)]),
        series(&[("a", "1"), ("b", "2")], &[(1, 1.0)]),
    ]);
    assert_eq!(sink.keys[0], sink.keys[1]);
}

#[test]
fn bad_series_are_named_and_the_others_stored() {
    let (sink, report) = write(vec![
        series(&[("a", "1"), ("a", "2")], &[(1, 1.0)]),
        series(&[("", "1")], &[(1, 1.0)]),
        series(&[("late", "1")], &[(1, 1.0), (i64::MAX, 1.0), (2, 1.0)]),
        series(&[], &[(1, 1.0)]),
        series(&[("good", "1")], &[(1, 1.0)]),
    ]);
    assert_eq!(sink.samples.len(), 3);
    let reasons: Vec<_> = report.errors.first.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            r#"series 1 {a="1", a="2"}: label "a" is given twice"#,
            r#"series 2 {="1"}: a label has an empty name"#,
            r#"series 3 {late="1"}: 1 samples left out: out of range timestamp 9223372036854775807 ms"#,
            "series 4 {}: the series has no labels",
        ]
    );
    assert!(report.refusal().unwrap().starts_with("partial write: 3 samples stored, 4 series"));
}

fn span(offset: i32, length: u32) -> SentSpan {
    SentSpan { offset, length }
}

/// Buckets of 3, 1 and 2 above, 4 below, and 5 in the zero bucket.
fn integers() -> SentHistogram {
    SentHistogram {
        count: Some(SentCount::Integer(15)),
        sum: 18.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: Some(SentZeroCount::Integer(5)),
        negative_spans: vec![span(3, 1)],
        negative_deltas: vec![4],
        positive_spans: vec![span(-2, 2), span(1, 1)],
        positive_deltas: vec![3, -2, 1],
        reset_hint: 2,
        timestamp: 7,
        ..SentHistogram::default()
    }
}

fn custom() -> SentHistogram {
    SentHistogram {
        count: Some(SentCount::Float(2.5)),
        sum: f64::NAN,
        schema: -53,
        positive_spans: vec![span(0, 1), span(1, 1)],
        positive_counts: vec![1.5, 1.0],
        custom_values: vec![0.5, 10.0],
        timestamp: 8,
        ..SentHistogram::default()
    }
}

fn write_histograms(histograms: Vec<SentHistogram>) -> (Recorder, WriteReport) {
    write(vec![SentSeries { histograms, ..series(&[("a", "1")], &[(1, 1.0)]) }])
}

#[test]
fn histograms_are_stored_beside_floats_and_exemplars_dropped() {
    let mut mixed = series(&[("a", "1")], &[(1, 1.0)]);
    let stale = SentHistogram { sum: STALE_NAN, timestamp: 9, schema: 99, ..SentHistogram::default() };
    mixed.histograms = vec![integers(), custom(), stale];
    mixed.exemplars = vec![Bytes::from_static(b"x")];
    let (sink, report) = write(vec![mixed]);
    assert_eq!((report.samples, report.histograms, report.exemplars_ignored), (2, 2, 1));
    assert_eq!(report.refusal(), None);
    let marker = (r#"{a="1"}"#.to_owned(), 9_000_000, STALE_NAN.to_bits());
    assert_eq!(sink.samples[1], marker, "a marker is a float");
    let [(7_000_000, first), (8_000_000, second)] = &sink.histograms[..] else {
        panic!("{:?}", sink.histograms)
    };
    let engine_span = |offset, length| BucketSpan { offset, length };
    let expected = Histogram {
        schema: 1,
        reset_hint: ResetHint::NotReset,
        count: 15.0,
        sum: 18.5,
        zero_threshold: 0.001,
        zero_count: 5.0,
        positive: Buckets { spans: vec![engine_span(-2, 2), engine_span(1, 1)], counts: vec![3.0, 1.0, 2.0] },
        negative: Buckets { spans: vec![engine_span(3, 1)], counts: vec![4.0] },
        custom_values: Arc::default(),
    };
    assert_eq!(**first, expected);
    assert!(second.sum.is_nan() && second.has_custom_buckets());
    assert_eq!((second.count, &second.positive.counts[..]), (2.5, &[1.5, 1.0][..]));
    assert_eq!(*second.custom_values, [0.5, 10.0]);
}

#[test]
fn bad_histograms_are_named_and_good_samples_beside_them_stored() {
    let integer = |count| Some(SentCount::Integer(count));
    let cases = [
        (SentHistogram { schema: 53, ..integers() }, "invalid histogram schema 53"),
        (SentHistogram { schema: -5, ..integers() }, "invalid histogram schema -5"),
        (
            SentHistogram { custom_values: vec![1.0], ..integers() },
            "histogram with exponential schema must not have custom bounds",
        ),
        (
            SentHistogram { positive_deltas: vec![1], ..integers() },
            "positive side: spans need 3 buckets, have 1 buckets: histogram spans specify different number of buckets than provided",
        ),
        (
            SentHistogram { negative_spans: vec![span(0, 0), span(-1, 1)], ..integers() },
            "negative side: span number 2 with offset -1: histogram has a span whose offset is negative",
        ),
        (
            SentHistogram { positive_deltas: vec![3, -4, 1], ..integers() },
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket whose observation count is negative",
        ),
        (
            SentHistogram { positive_deltas: vec![3, i64::MAX, 1], ..integers() },
            "positive side: the count of a bucket is out of range",
        ),
        (
            SentHistogram { count: integer(16), ..integers() },
            "15 observations found in buckets, but the Count field is 16: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)",
        ),
        (
            SentHistogram { count: integer(14), sum: f64::NAN, ..integers() },
            "15 observations found in buckets, but the Count field is 14: histogram's observation count should be at least the number of observations found in the buckets",
        ),
        (
            SentHistogram { positive_spans: vec![span(i32::MAX, 3)], ..integers() },
            "positive side: the index 2147483650 of a bucket is out of range",
        ),
        (
            SentHistogram { positive_counts: vec![1.0, -0.5], ..custom() },
            "positive side: bucket number 2 has observation count of -0.5: histogram has a bucket whose observation count is negative",
        ),
        (
            SentHistogram { custom_values: vec![1.0, 1.0], ..custom() },
            "custom buckets: previous bound is 1 and current is 1: histogram custom bounds must be in strictly increasing order",
        ),
        (
            SentHistogram { custom_values: vec![1.0, f64::INFINITY], ..custom() },
            "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite",
        ),
        (
            SentHistogram { custom_values: vec![1.0], ..custom() },
            "custom buckets: only 1 custom bounds defined which is insufficient to cover total span length of 3: histogram custom bounds are too few",
        ),
        (
            SentHistogram { zero_count: Some(SentZeroCount::Float(1.0)), ..custom() },
            "custom buckets: must have zero count of 0",
        ),
        (SentHistogram { zero_threshold: 1.0, ..custom() }, "custom buckets: must have zero threshold of 0"),
        (
            SentHistogram { negative_spans: vec![span(0, 1)], ..custom() },
            "custom buckets: must not have negative spans",
        ),
        (
            SentHistogram { negative_counts: vec![1.0], ..custom() },
            "custom buckets: must not have negative buckets",
        ),
    ];
    for (bad, reason) in cases {
        let at = bad.timestamp;
        let (sink, report) = write_histograms(vec![bad.clone(), integers(), bad]);
        assert_eq!((sink.samples.len(), sink.histograms.len()), (1, 1), "{reason}");
        let expected = format!("series 1 {{a=\"1\"}}: 2 histograms left out: at {at} ms: {reason}");
        assert_eq!(report.errors.first[0].to_string(), expected);
        assert!(report.refusal().unwrap().starts_with("partial write: 2 samples stored"));
    }
    let late = SentHistogram { timestamp: i64::MAX, ..integers() };
    let reason = write_histograms(vec![late]).1.errors.first[0].reason.clone();
    assert_eq!(reason, "1 samples left out: out of range timestamp 9223372036854775807 ms");
    let more = SentHistogram { count: integer(20), sum: f64::NAN, ..integers() };
    assert_eq!(write_histograms(vec![more]).1.histograms, 1, "five observations were NaN");
}

#[test]
fn finer_schemas_are_reduced_to_the_finest_that_is_stored() {
    // Schema 10 to 8: four neighbours become one. Buckets 1 to 4 are 1, 5 to 8 are 2, and so on; below 1 likewise.
    let fine = SentHistogram {
        count: Some(SentCount::Float(0.0)),
        schema: 10,
        zero_count: None,
        positive_spans: vec![span(-3, 2), span(3, 3), span(5, 2)],
        positive_counts: vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0],
        negative_spans: vec![],
        negative_deltas: vec![],
        ..integers()
    };
    let (sink, report) = write_histograms(vec![fine]);
    assert!(report.errors.is_empty(), "{}", report.errors);
    let (_, stored) = &sink.histograms[0];
    assert_eq!(stored.schema, 8);
    // -3, -2 | 2, 3, 4 | 10, 11
    assert_eq!(stored.positive.counts, [3.0, 28.0, 96.0]);
    let spans: Vec<_> = stored.positive.spans.iter().map(|span| (span.offset, span.length)).collect();
    assert_eq!(spans, [(0, 2), (1, 1)]);
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let mut bad = series(&[("a", "1")], &[(1, 1.0)]);
    bad.labels[0].value = Bytes::from_static(b"\xff");
    let (sink, report) = write(vec![bad]);
    assert!(sink.samples.is_empty());
    assert!(report.errors.first[0].reason.contains("is not UTF-8"));
}

#[test]
fn a_body_that_lies_about_its_size_is_refused_unread() {
    let body = snappy(&vec![0; 1 << 20]);
    assert!(matches!(decompressed(&body, 1 << 19), Err(RemoteWriteError::TooLarge { got: 1_048_576, .. })));
    let huge = decompressed(b"\xff\xff\xff\xff\x0f", 1 << 20);
    assert!(matches!(huge, Err(RemoteWriteError::TooLarge { .. })));
    assert!(matches!(decompressed(b"not snappy", 1 << 20), Err(RemoteWriteError::Snappy(_))));
    assert!(matches!(write_bytes(b"\x0a\xff"), Err(RemoteWriteError::Protobuf(WireError::Truncated))));
}

#[test]
fn a_request_that_is_broken_at_its_end_stores_nothing() {
    let request = SentRequest { timeseries: vec![series(&[("a", "1")], &[(1, 1.0)])], metadata: Vec::new() };
    let good = request.encode_to_vec();
    assert_eq!(write_bytes(&good).unwrap().1.samples, 1);
    // A sample whose value is an integer, a label that ends within its name, a series that is a number.
    for broken in [&b"\x0a\x04\x12\x02\x08\x01"[..], b"\x0a\x04\x0a\x02\x0a\x05", b"\x08\x01"] {
        let mut sink = Recorder::default();
        let written = write_request(&[&good, broken].concat(), &Limits::DEFAULT, &mut sink);
        assert!(matches!(written, Err(RemoteWriteError::Protobuf(_))), "{broken:?}");
        assert!(sink.samples.is_empty(), "{broken:?}");
    }
}

#[test]
fn many_tiny_parts_are_counted_and_refused() {
    let (_, report) = write_bytes(&b"\x0a\0".repeat(1 << 16)).unwrap();
    assert_eq!((report.series, report.errors.total, report.errors.first.len()), (1 << 16, 1 << 16, 10));

    let labels = vec![SentLabel::default(); 100_000];
    let many = SentSeries { labels, ..series(&[], &[(1, 1.0)]) };
    let (sink, report) = write(vec![many]);
    assert!(sink.samples.is_empty());
    let error = report.errors.first[0].to_string();
    assert!(error.ends_with(": limit labels_max reached: 100000 is more than 256"), "{error}");
}

#[test]
fn labels_behind_the_samples_and_unknown_fields_are_taken() {
    // A sample at 1 ms with a fixed32 field 9, then the label a="1", then a varint field 15.
    let sample = b"\x12\x10\x09\0\0\0\0\0\0\xf8\x3f\x10\x01\x4d\0\0\0\0";
    let series = [&sample[..], b"\x0a\x06\x0a\x01a\x12\x011", b"\x78\x07"].concat();
    let request = [&[0x0a, series.len() as u8][..], &series].concat();
    let (sink, report) = write_bytes(&request).unwrap();
    assert_eq!(sink.samples, [(r#"{a="1"}"#.to_owned(), 1_000_000, 1.5_f64.to_bits())]);
    assert!(report.errors.is_empty());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = decompressed(&body, 1 << 16);
        let _ = write_bytes(&body);
    }

    #[test]
    fn damaged_requests_are_read_as_protobuf_reads_them(
        position: prop::sample::Index,
        byte: u8,
        samples in prop::collection::vec((-1_000_000_i64..1_000_000, any::<f64>()), 0..4),
    ) {
        let one = series(&[("a", "1"), ("b", "2")], &samples);
        let timeseries = vec![SentSeries { histograms: vec![integers(), custom()], ..one }; 2];
        let request = SentRequest { timeseries, metadata: vec![Bytes::from_static(b"x")] };
        let mut bytes = request.encode_to_vec();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        match (SentRequest::decode(&*bytes), write_bytes(&bytes)) {
            (Ok(request), Ok((_, report))) => {
                prop_assert_eq!(report.series, request.timeseries.len() as u64);
                prop_assert_eq!(report.metadata_ignored, request.metadata.len() as u64);
                let sent: usize = request.timeseries.iter().map(|s| s.samples.len() + s.histograms.len()).sum();
                let stored = report.samples + report.histograms;
                prop_assert!(stored == sent as u64 || !report.errors.is_empty());
            }
            (Err(_), Err(_)) => {}
            // Groups, which proto3 does not have, and nothing else are refused only here.
            (Ok(_), Err(error)) => {
                let is_group = matches!(error, RemoteWriteError::Protobuf(WireError::WireType { wire_type: 3 | 4, .. }));
                prop_assert!(is_group, "{error}");
            }
            (Err(error), Ok(_)) => prop_assert!(false, "{error}"),
        }
    }
}
