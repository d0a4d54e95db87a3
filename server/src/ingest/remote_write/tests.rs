//! Requests as Prometheus sends them, and as nobody should.

use proptest::prelude::*;
use prost::Message;
use prost::bytes::Bytes;
use timberline_engine::{Labels, METRIC_NAME, STALE_NAN};

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
    #[prost(bytes = "bytes", repeated, tag = "4")]
    histograms: Vec<Bytes>,
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

#[derive(Default)]
struct Recorder {
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

#[test]
fn histograms_are_refused_by_name_and_exemplars_dropped() {
    let mut mixed = series(&[("a", "1")], &[(1, 1.0)]);
    mixed.histograms = vec![Bytes::from_static(b""), Bytes::from_static(b"\x08\x01")];
    mixed.exemplars = vec![Bytes::from_static(b"x")];
    let (sink, report) = write(vec![mixed]);
    assert_eq!(sink.samples.len(), 1);
    assert_eq!((report.histograms_refused, report.exemplars_ignored), (2, 1));
    assert!(report.refusal().unwrap().contains("2 native histograms left out"));
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
        let timeseries = vec![series(&[("a", "1"), ("b", "2")], &samples); 2];
        let request = SentRequest { timeseries, metadata: vec![Bytes::from_static(b"x")] };
        let mut bytes = request.encode_to_vec();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        match (SentRequest::decode(&*bytes), write_bytes(&bytes)) {
            (Ok(request), Ok((_, report))) => {
                prop_assert_eq!(report.series, request.timeseries.len() as u64);
                prop_assert_eq!(report.metadata_ignored, request.metadata.len() as u64);
                let histograms: usize = request.timeseries.iter().map(|s| s.histograms.len()).sum();
                prop_assert_eq!(report.histograms_refused, histograms as u64);
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
