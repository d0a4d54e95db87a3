//! What is exported is imported bit for bit, and bad lines are named.

use proptest::prelude::*;
use timberline_engine::{BucketSpan, Buckets, ResetHint, STALE_NAN_BITS};

use super::*;

#[derive(Default)]
struct Recorder(Vec<(String, i64, u64)>, Vec<(i64, Arc<Histogram>)>);

impl SeriesSink for Recorder {
    fn histograms(
        &mut self,
        _: &Labels,
        samples: impl IntoIterator<Item = (i64, Arc<Histogram>)>,
    ) -> Result<u64, Error> {
        self.1.extend(samples);
        Ok(0)
    }

    fn series(
        &mut self,
        labels: &Labels,
        samples: impl IntoIterator<Item = (i64, f64)>,
    ) -> Result<u64, Error> {
        self.0.extend(samples.into_iter().map(|(time, value)| (labels.to_string(), time, value.to_bits())));
        Ok(0)
    }
}

fn write(text: impl AsRef<[u8]>) -> (Vec<(String, i64, u64)>, WriteReport) {
    let mut sink = Recorder::default();
    let report = write_lines(text.as_ref(), Precision::Milliseconds, &Limits::DEFAULT, &mut sink).unwrap();
    (sink.0, report)
}

fn round_trip(timestamps: &[i64], values: &[f64], precision: Precision) -> Samples {
    let labels = Labels::from_pairs([("__name__", "up"), ("a\"b", "c\\\n\u{1}ü")]).unwrap();
    let mut line = Vec::new();
    let samples = Samples::floats(timestamps.to_vec(), values.to_vec());
    append_line(&mut line, &labels, &samples, 0..samples.len(), precision);
    let series = parse_line(&line, precision, &Limits::DEFAULT).unwrap();
    assert_eq!(series.labels, labels);
    series.samples
}

#[test]
fn the_shape_is_victoria_metrics() {
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]).unwrap();
    let values =
        [1.0, -0.0, 2.2129e-5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(STALE_NAN_BITS)];
    let mut line = Vec::new();
    let timestamps = vec![0, 1_999_999, 2_000_000, 3, 4, 5, 6, -1, 0];
    let samples = Samples::floats(timestamps, [&[0.5], &values[..], &[0.5]].concat());
    append_line(&mut line, &labels, &samples, 1..8, Precision::Milliseconds);
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "{\"metric\":{\"__name__\":\"up\",\"job\":\"node\"},\
         \"values\":[1.0,-0.0,0.000022129,\"NaN\",\"Infinity\",\"-Infinity\",null],\
         \"timestamps\":[1,2,0,0,0,0,-1]}\n"
    );
}

#[test]
fn histograms_are_objects_among_the_values() {
    let span = |offset, length| BucketSpan { offset, length };
    let histogram = Histogram {
        schema: 3,
        reset_hint: ResetHint::Gauge,
        count: 7.0,
        sum: f64::from_bits(STALE_NAN_BITS),
        zero_threshold: 0.001,
        zero_count: -0.0,
        positive: Buckets { spans: vec![span(-2, 2), span(1, 1)], counts: vec![1.0, 0.5, 0.0] },
        negative: Buckets::default(),
        custom_values: [0.5, f64::INFINITY].into(),
    };
    let labels = Labels::from_pairs([("a", "1")]).unwrap();
    let mut samples = Samples::default();
    samples.push_histogram(1, histogram.into());
    samples.push(2, 5.0);
    samples.push_histogram(3, Arc::default());
    let mut line = Vec::new();
    append_line(&mut line, &labels, &samples, 0..3, Precision::Nanoseconds);
    let text = "{\"metric\":{\"a\":\"1\"},\"values\":[{\"schema\":3,\"reset_hint\":\"gauge\",\"count\":7.0,\
                \"sum\":null,\"zero_threshold\":0.001,\"zero_count\":-0.0,\
                \"positive\":{\"spans\":[[-2,2],[1,1]],\"counts\":[1.0,0.5,0.0]},\
                \"custom_values\":[0.5,\"Infinity\"]},5.0,{\"schema\":0}],\"timestamps\":[1,2,3]}\n";
    assert_eq!(String::from_utf8_lossy(&line), text);
    let mut sink = Recorder::default();
    let report = write_lines(&line, Precision::Nanoseconds, &Limits::DEFAULT, &mut sink).unwrap();
    assert_eq!((report.samples, sink.0.len(), sink.1.len()), (3, 1, 2));
    let read: Vec<_> = sink.1.iter().map(|(timestamp, h)| (*timestamp, format!("{h:?}"))).collect();
    let expected = |at: usize| format!("{:?}", samples.histogram(at).unwrap());
    assert_eq!(read, [(1, expected(0)), (3, expected(2))]);
    assert_eq!(sink.1[0].1.sum.to_bits(), STALE_NAN_BITS);
}

#[test]
fn bad_histograms_are_named() {
    let reason = |value: &str| {
        let line = format!(r#"{{"metric":{{"a":"1"}},"values":[{value}],"timestamps":[1]}}"#);
        write(line).1.errors.first[0].reason.clone()
    };
    let cases = [
        (
            r#"{"positive":{"spans":[[0,2]],"counts":[1]}}"#,
            "spans need 2 buckets, have 1 on the positive side",
        ),
        (r#"{"reset_hint":"no"}"#, "reset_hint is reset, not_reset or gauge"),
        (r#"{"sum":{}}"#, "a histogram within a histogram"),
        (r#"{"total":1}"#, "unknown field `total`"),
        (r#"{"negative":{"spans":[[0,-1]]}}"#, "invalid value: integer `-1`, expected u32"),
    ];
    for (value, expected) in cases {
        let reason = reason(value);
        assert!(reason.contains(expected), "{value}: {reason}");
    }
}

#[test]
fn bits_that_stand_for_histograms_are_an_ordinary_nan() {
    let (samples, _) = write(r#"{"metric":{"a":"1"},"values":["NaN:fffc746900000000"],"timestamps":[1]}"#);
    assert_eq!(samples[0].2, PLAIN_NAN_BITS);
}

#[test]
fn what_a_line_takes_once_it_is_parsed_is_known_before() {
    assert_eq!(parsed_bytes_max(b""), 0);
    let line = |numbers: usize| {
        let list = vec!["1"; numbers].join(",");
        format!("{{\"metric\":{{\"__name__\":\"n\"}},\"values\":[{list}],\"timestamps\":[{list}]}}\n")
    };
    // Vectors that grew to twice their length: a value of 16 bytes, a timestamp of 8, a sample of 16.
    let numbers = 10_000;
    let (short, long) = (parsed_bytes_max(line(1).as_bytes()), parsed_bytes_max(line(numbers).as_bytes()));
    assert!(long > numbers * 2 * (16 + 8 + 16), "{long}");
    assert_eq!(
        parsed_bytes_max((line(numbers) + &line(1) + &line(numbers)).as_bytes()),
        long,
        "one after the other"
    );
    assert!(parsed_bytes_max(b"{},{},{}") > short, "what is no number as well");
}

#[test]
fn good_lines_go_in_and_bad_lines_are_named() {
    let (samples, report) = write(concat!(
        "{\"metric\":{\"__name__\":\"a\"},\"values\":[1,\"2.5\",18446744073709551616],\"timestamps\":[1,2,3]}\n",
        "\n{\"metric\":{\"__name__\":\"a\"},\"values\":[1,x],\"timestamps\":[1,2]}\r\n",
        "{\"metric\":{\"__name__\":\"a\"},\"values\":[1],\"timestamps\":[1,2]}\n",
        "{\"metric\":{\"a\":\"1\",\"a\":\"2\"},\"values\":[],\"timestamps\":[]}\n",
        "{\"metric\":{},\"values\":[],\"timestamps\":[]}\n",
        "{\"metric\":{\"a\":\"1\"},\"values\":[\"NaN:0\"],\"timestamps\":[1]}\n",
        "{\"metric\":{\"a\":\"1\"},\"values\":[1],\"timestamps\":[9223372036854775807]}\n",
        "{\"metric\":{\"a\":\"1\"},\"values\":[1]}\n",
        "{\"metric\":{\"__name__\":\"b\"},\"values\":[1],\"timestamps\":[1]}",
    ));
    assert_eq!((samples.len(), report.samples, report.lines), (4, 4, 9));
    assert_eq!(samples[2].2, 18_446_744_073_709_551_616.0_f64.to_bits());
    let errors: Vec<_> = report.errors.first.iter().map(ToString::to_string).collect();
    assert_eq!(errors[0], "line 3, column 40: expected value");
    assert_eq!(errors[1], "line 4, column 1: 1 values but 2 timestamps");
    assert_eq!(errors[2], "line 5, column 1: label \"a\" is given twice");
    assert_eq!(errors[3], "line 6, column 1: the series has no labels");
    assert!(errors[4].starts_with("line 7, column 37: invalid value \"NaN:0\""), "{}", errors[4]);
    assert_eq!(errors[5], "line 8, column 1: out of range timestamp 9223372036854775807");
    assert!(errors[6].contains("missing field `timestamps`"), "{}", errors[6]);
    assert_eq!(errors.len(), 7);
}

#[test]
fn null_is_a_staleness_marker_and_words_are_read_in_any_case() {
    let (samples, report) = write(concat!(
        "\u{feff}{\"metric\":{\"a\":\"1\"},\"values\":[null,\"NaN:7ff0000000000002\",\"nan\",\"NaN\",\"-NaN\",\"inf\",\"+Inf\",",
        "\"-inf\",\"Infinity\",\"infinity\",\"-INFINITY\",\"1e3\"],\"timestamps\":[1,2,3,4,5,6,7,8,9,10,11,12]}\n",
    ));
    assert!(report.errors.is_empty(), "{}", report.errors);
    let (plus, minus) = (f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits());
    let nan = PLAIN_NAN_BITS;
    let expected = [
        STALE_NAN_BITS,
        STALE_NAN_BITS,
        nan,
        nan,
        nan,
        plus,
        plus,
        minus,
        plus,
        plus,
        minus,
        1e3_f64.to_bits(),
    ];
    assert_eq!(samples.iter().map(|(_, _, bits)| *bits).collect::<Vec<_>>(), expected);
    for bad in ["1e999", "-1e999", "nano", ""] {
        let line = format!(r#"{{"metric":{{"a":"1"}},"values":["{bad}"],"timestamps":[1]}}"#);
        assert_eq!(write(line).1.errors.total, 1, "{bad}");
    }
}

#[test]
fn the_error_that_ends_an_export_is_a_bad_line() {
    let mut text = b"{\"metric\":{\"a\":\"1\"},\"values\":[1],\"timestamps\":[1]}\n".to_vec();
    append_error(&mut text, "a \"block\"\nis damaged");
    let (samples, report) = write(&text);
    assert_eq!((samples.len(), report.errors.total), (1, 1));
    let error = report.errors.first[0].to_string();
    assert_eq!(error, "line 2, column 1: the export that wrote this is not whole: a \"block\"\nis damaged");
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(error_of).collect();
    assert_eq!(lines, [None, Some("a \"block\"\nis damaged".to_owned()), None]);
}

#[test]
fn a_timestamp_in_the_wrong_unit_is_told_with_the_one_that_fits() {
    let (_, report) = write(r#"{"metric":{"a":"1"},"values":[1],"timestamps":[1700000000000000000]}"#);
    let expected = "out of range timestamp 1700000000000000000: it looks like ns, and is read as ms";
    assert_eq!(report.errors.first[0].reason, expected);
}

#[test]
fn unknown_members_are_ignored_and_escapes_undone() {
    let (samples, report) =
        write(r#"{"x":{"y":[1]},"timestamps":[1],"metric":{"a\u0062":"\"\\"},"values":["NaN"]}"#);
    assert!(report.errors.is_empty(), "{}", report.errors);
    assert_eq!(samples, [(r#"{ab="\"\\"}"#.to_owned(), 1_000_000, PLAIN_NAN_BITS)]);
}

proptest! {
    #[test]
    fn every_value_and_time_comes_back(samples in prop::collection::vec((any::<i64>(), any::<u64>()), 0..20)) {
        let (timestamps, values): (Vec<_>, Vec<_>) =
            samples.iter().map(|&(time, bits)| (time, cell::float(f64::from_bits(bits)))).unzip();
        let series = round_trip(&timestamps, &values, Precision::Nanoseconds);
        prop_assert_eq!(series.timestamps, timestamps);
        let bits: Vec<_> = series.values.iter().map(|value| value.to_bits()).collect();
        prop_assert_eq!(bits, values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    }

    #[test]
    fn every_nan_comes_back(payload in 1_u64..1 << 52, negative: bool) {
        let value = f64::from_bits(0x7ff << 52 | payload | u64::from(negative) << 63);
        let value = cell::float(value);
        prop_assert_eq!(round_trip(&[0], &[value], Precision::Nanoseconds).values[0].to_bits(), value.to_bits());
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..100)) {
        write(text);
    }
}
