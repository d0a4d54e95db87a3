//! Requests as Prometheus sends them, and as nobody should.

use proptest::prelude::*;
use timberline_engine::{Labels, METRIC_NAME, STALE_NAN};

use super::*;

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

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    TimeSeries {
        labels: labels.iter().map(|(name, value)| Label { name: bytes(name), value: bytes(value) }).collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
        ..TimeSeries::default()
    }
}

fn write(timeseries: Vec<TimeSeries>) -> (Recorder, WriteReport) {
    let request = WriteRequest { timeseries, metadata: vec![Bytes::from_static(b"x")] };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let decoded = decode(&body, 1 << 20).unwrap();
    let mut sink = Recorder::default();
    let report = write_request(&decoded, &Limits::DEFAULT, &mut sink).unwrap();
    (sink, report)
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
        series(&[("late", "1")], &[(1, 1.0), (i64::MAX, 1.0)]),
        series(&[], &[(1, 1.0)]),
        series(&[("good", "1")], &[(1, 1.0)]),
    ]);
    assert_eq!(sink.samples.len(), 2);
    let reasons: Vec<_> = report.errors.first.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            r#"series 1 {a="1", a="2"}: label "a" is given twice"#,
            r#"series 2 {="1"}: a label has an empty name"#,
            r#"series 3 {late="1"}: out of range timestamp 9223372036854775807 ms"#,
            "series 4 {}: the series has no labels",
        ]
    );
    assert!(report.refusal().unwrap().starts_with("partial write: 2 samples stored, 4 series"));
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
    let body = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
    assert!(matches!(decode(&body, 1 << 19), Err(RemoteWriteError::TooLarge { got: 1_048_576, .. })));
    assert!(matches!(decode(b"\xff\xff\xff\xff\x0f", 1 << 20), Err(RemoteWriteError::TooLarge { .. })));
    assert!(matches!(decode(b"not snappy", 1 << 20), Err(RemoteWriteError::Snappy(_))));
    let body = snap::raw::Encoder::new().compress_vec(b"\x0a\xff").unwrap();
    assert!(matches!(decode(&body, 1 << 20), Err(RemoteWriteError::Protobuf(_))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&body, 1 << 16);
        let body = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        if let Ok(request) = decode(&body, 1 << 16) {
            write_request(&request, &Limits::DEFAULT, &mut Recorder::default()).unwrap();
        }
    }
}
