//! Lines as exporters write them, and what is said about bad ones.

use proptest::prelude::*;
use timberline_engine::Labels;

use super::*;

#[derive(Default)]
struct Recorder(Vec<(String, i64, f64)>);

impl RowSink for Recorder {
    fn row(
        &mut self,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        let labels = resolve(b"")?;
        self.0.push((labels.to_string(), row.timestamp, row.fields[0].value));
        Ok(())
    }
}

const NOW: i64 = 42;

fn write(text: impl AsRef<[u8]>) -> (Vec<(String, i64, f64)>, WriteReport) {
    write_as(Dialect::Prometheus, text)
}

fn write_as(dialect: Dialect, text: impl AsRef<[u8]>) -> (Vec<(String, i64, f64)>, WriteReport) {
    let mut sink = Recorder::default();
    let report = write_text(text.as_ref(), dialect, NOW, &Limits::DEFAULT, &mut sink).unwrap();
    (sink.0, report)
}

#[test]
fn a_page_of_an_exporter() {
    let text = concat!(
        "# HELP http_requests_total The total number of HTTP requests.\n",
        "# TYPE http_requests_total counter\n",
        "http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n",
        "\n",
        "metric_without_timestamp_and_labels 12.47\r\n",
        "msdos_file_access_time_seconds{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find:\\n\\\"x\\\"\"} 1.458255915e9\n",
        "something_weird{problem=\"division by zero\",} +Inf -3982045\n",
        "\tspaced {  a = \"b\" , } 3\n",
        "a:b:c NaN\n",
        "bucket{le=\"+Inf\"} 7 # {trace_id=\"x\"} 0.67\n",
    );
    let (samples, report) = write(text);
    assert!(report.errors.is_empty(), "{}", report.errors);
    assert_eq!((report.lines, report.samples, report.comments), (7, 7, 2));
    let of = |i: usize| (samples[i].0.as_str(), samples[i].1, samples[i].2);
    assert_eq!(
        of(0),
        (r#"http_requests_total{code="200", method="post"}"#, 1_395_066_363_000_000_000, 1027.0)
    );
    assert_eq!(of(1), ("metric_without_timestamp_and_labels", NOW, 12.47));
    assert_eq!(
        of(2).0,
        r#"msdos_file_access_time_seconds{error="Cannot find:\n\"x\"", path="C:\\DIR\\FILE.TXT"}"#
    );
    assert_eq!(of(3), (r#"something_weird{problem="division by zero"}"#, -3_982_045_000_000, f64::INFINITY));
    assert_eq!(of(4), (r#"spaced{a="b"}"#, NOW, 3.0));
    assert!(samples[5].2.is_nan());
    assert_eq!(of(6), (r#"bucket{le="+Inf"}"#, NOW, 7.0));
}

#[test]
fn quoted_names_may_be_any_text() {
    let (samples, report) =
        write("{\"my.metric\", \"a b\"=\"ü\", c=\"d\"} 1\n{\"a\"=\"b\"} 2\n{a=\"b\",\"late\"} 3");
    assert!(report.errors.is_empty(), "{}", report.errors);
    let names: Vec<_> = samples.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, [r#"my.metric{a b="ü", c="d"}"#, r#"{a="b"}"#, r#"late{a="b"}"#]);
}

#[test]
fn open_metrics_timestamps_are_seconds() {
    let (samples, report) =
        write_as(Dialect::OpenMetrics, "a 1 1520879607.789123456\na 2 -1.5\na 3 1e3\na 4 # {} 1 2\n# EOF\n");
    assert!(report.errors.is_empty(), "{}", report.errors);
    let times: Vec<_> = samples.iter().map(|(_, time, _)| *time).collect();
    assert_eq!(times, [1_520_879_607_789_123_456, -1_500_000_000, 1_000_000_000_000, NOW]);
    for word in ["", "-", ".", "x", "9223372036854775807", "1e300", "nan"] {
        assert_eq!(seconds_to_nanoseconds(word), None, "{word}");
    }
}

#[test]
fn a_timestamp_in_the_wrong_unit_is_told_with_the_one_that_fits() {
    for (dialect, word, expected) in [
        (Dialect::OpenMetrics, "1700000000000", "it looks like ms, and is read as s"),
        (Dialect::OpenMetrics, "1700000000000000000.5", "it looks like ns, and is read as s"),
        (Dialect::Prometheus, "1700000000000000", "it looks like us, and is read as ms"),
    ] {
        let (_, report) = write_as(dialect, format!("a 1 {word}"));
        assert_eq!(report.errors.first[0].reason, format!("out of range timestamp {word:?}: {expected}"));
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let (samples, report) = write("\u{feff}# TYPE a gauge\na 1 5\n");
    assert_eq!((samples.len(), report.comments, report.errors.total), (1, 1, 0));
    assert_eq!(write("\u{feff}a 1").0[0].0, "a");
}

#[test]
fn bad_lines_are_named_and_the_others_stored() {
    let (samples, report) = write(concat!(
        "ok 1\n1bad 1\na{b=\"c\" 1\na{b=\"c} 1\na{1=\"c\"} 1\na x\na 1 1.5\na 1 2 3\n",
        "{} 1\na{x=\"1\",x=\"2\"} 1\n{\"a\",\"b\"} 1\na\nok 2\n"
    ));
    assert_eq!(samples.len(), 2);
    assert_eq!(report.errors.total, 11);
    let errors: Vec<_> = report.errors.first.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "line 2, column 1: expected a metric name or '{', found '1'",
            "line 3, column 9: expected ',' or '}' after a label, found '1'",
            "line 4, column 5: missing closing quote",
            "line 5, column 3: expected a label name or '}', found '1'",
            "line 6, column 3: invalid value \"x\"",
            "line 7, column 5: invalid timestamp \"1.5\": expected whole milliseconds",
            "line 8, column 7: expected the end of the line, found '3'",
            "line 9, column 1: the series has no labels",
            "line 10, column 1: label \"x\" is given twice",
            "line 11, column 6: the metric name is given twice",
        ]
    );
    assert_eq!(write(b"ok 1\na\xff 2\n").1.errors.first[0].to_string(), "line 2, column 2: invalid UTF-8");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "[a-z\"\\\\{}=,# \n0-9.é\u{0}-]{0,60}") {
        let report = write(&text).1;
        prop_assert_eq!(report.samples + report.errors.total, report.lines);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..100)) {
        write(text);
    }

    #[test]
    fn what_is_written_is_read(name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,9}", value in "\\PC{0,9}", bits: u64, ms in -1i64<<43..1<<43) {
        let number = f64::from_bits(bits);
        prop_assume!(!number.is_nan());
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!("{name}{{l=\"{escaped}\"}} {number:e} {ms}");
        let sample = parse_line(line.as_bytes(), Dialect::Prometheus).unwrap().unwrap();
        prop_assert_eq!(sample.name.as_deref(), Some(name.as_str()));
        prop_assert_eq!(sample.labels, vec![(Cow::Borrowed("l"), Cow::Owned(value))]);
        prop_assert_eq!((sample.value.to_bits(), sample.timestamp), (bits, Some(ms * 1_000_000)));
    }
}
