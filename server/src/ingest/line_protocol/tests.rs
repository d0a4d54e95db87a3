//! The grammar beyond the corpus, what a body with bad lines leaves behind, and that both ways through the parser agree.

use std::collections::HashMap;

use proptest::prelude::*;
use timberline_engine::Labels;

use super::*;

/// Stores what comes, and knows keys as the engine does.
#[derive(Default)]
struct Recorder {
    known: HashMap<(Vec<u8>, Vec<u8>), Labels>,
    resolved: usize,
    samples: Vec<(String, i64, f64)>,
    fatal: bool,
}

impl RowSink for Recorder {
    fn row(
        &mut self,
        row: Row<'_>,
        mut resolve: impl FnMut(&[u8]) -> Result<Labels, Error>,
    ) -> Result<(), Error> {
        if self.fatal {
            return Err(Error::Closed);
        }
        let mut samples = Vec::new();
        for field in row.fields {
            let id = (row.key.to_vec(), field.name.to_vec());
            if !self.known.contains_key(&id) {
                self.resolved += 1;
                self.known.insert(id.clone(), resolve(field.name)?);
            }
            samples.push((self.known[&id].to_string(), row.timestamp, field.value));
        }
        self.samples.extend(samples);
        Ok(())
    }
}

const NOW: i64 = 42;

fn write_as(body: &[u8], namespace: Namespace<'_>, precision: Precision) -> (Recorder, WriteReport) {
    let mut sink = Recorder::default();
    let report = write_lines(body, &namespace, precision, NOW, &Limits::DEFAULT, &mut sink).unwrap();
    (sink, report)
}

fn write(body: impl AsRef<[u8]>) -> (Recorder, WriteReport) {
    write_as(body.as_ref(), Namespace::default(), Precision::Nanoseconds)
}

fn names(body: &str, namespace: Namespace<'_>) -> Vec<String> {
    let (sink, report) = write_as(body.as_bytes(), namespace, Precision::Nanoseconds);
    assert!(report.errors.is_empty(), "{}", report.errors);
    sink.samples.into_iter().map(|(name, ..)| name).collect()
}

fn errors(body: impl AsRef<[u8]>) -> Vec<String> {
    write(body).1.errors.first.iter().map(ToString::to_string).collect()
}

#[test]
fn fields_become_series() {
    let (sink, report) = write("cpu,host=a,core=0 usage=1.5,value=2i,up=true,text=\"x\" 7\n");
    let expected = [
        (r#"cpu_usage{core="0", host="a"}"#, 1.5),
        (r#"cpu{core="0", host="a"}"#, 2.0),
        (r#"cpu_up{core="0", host="a"}"#, 1.0),
    ];
    assert_eq!(sink.samples, expected.map(|(name, value)| (name.to_owned(), 7, value)));
    assert_eq!((report.lines, report.rows, report.samples, report.strings_skipped), (1, 1, 3, 1));
}

#[test]
fn database_and_retention_policy_become_labels() {
    let namespace = Namespace { db: Some("metrics"), rp: Some("week") };
    assert_eq!(names("m value=1", namespace), [r#"m{db="metrics", rp="week"}"#]);
    assert_eq!(names("m,db=mine value=1", namespace), [r#"m{db="mine", rp="week"}"#]);
    assert_eq!(names("m value=1", Namespace { db: Some(""), rp: None }), ["m"]);
    // The same line in two databases is two series, though a row's key has no labels in it.
    assert_ne!(namespace.key_prefix(), Namespace { db: Some("metrics"), rp: None }.key_prefix());
    assert_ne!(
        Namespace { db: Some("ab"), rp: Some("") }.key_prefix(),
        Namespace { db: Some("a"), rp: Some("b") }.key_prefix()
    );
}

#[test]
fn names_are_unescaped_and_kept() {
    assert_eq!(names(r"a\ b\,c\=d,t\=k=v\ w f\=g=1", Namespace::default()), [r#"a b,c\=d_f=g{t=k="v w"}"#]);
    assert_eq!(
        names("température,ville=Zürich mesure=1", Namespace::default()),
        [r#"température_mesure{ville="Zürich"}"#]
    );
    assert_eq!(names(r"m,t=a\\ b value=1", Namespace::default()), [r#"m{t="a\\ b"}"#]);
}

#[test]
fn labels_are_asked_for_once_per_series() {
    let (sink, report) = write("m,t=1 a=1,b=2 1\nm,t=1 a=1,b=2 2\nm,t=2 a=1 3\n");
    assert_eq!((sink.resolved, report.samples), (3, 5));
}

#[test]
fn good_lines_go_in_and_bad_lines_are_named() {
    let body = "ok v=1 1\nbad v=x 2\n# comment\n\nok s=\"two\nlines\",v=3 3\n\
                dup,a=1,a=2 v=1\r\nok v=1i,v=2i 99999999999999999999\nok v=4 4";
    let (sink, report) = write(body);
    assert_eq!(sink.samples.iter().map(|s| s.2).collect::<Vec<_>>(), [1.0, 3.0, 4.0]);
    assert_eq!(report.lines, 6);
    let lines: Vec<_> = report.errors.first.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r#"line 2, column 7: cannot parse value for field key "v": a value cannot start with 'x'"#,
            r#"line 7, column 12: duplicate tag key "a""#,
            r#"line 8, column 14: out of range timestamp "99999999999999999999""#,
        ]
    );
    assert_eq!(report.errors.first[1].text, "dup,a=1,a=2 v=1");
}

#[test]
fn faults_are_named_at_their_place() {
    for (body, error) in [
        ("cpu value=", r#"line 1, column 11: cannot parse value for field key "value": missing field value"#),
        (
            "cpu v=1e999",
            r#"line 1, column 7: cannot parse value for field key "v": float value out of range"#,
        ),
        (
            "cpu v=NaN",
            r#"line 1, column 7: cannot parse value for field key "v": a value cannot start with 'N'"#,
        ),
        ("cpu v=-inf", r#"line 1, column 7: cannot parse value for field key "v": invalid float value"#),
        ("cpu", "line 1, column 4: missing fields"),
        ("cpu,host=a", "line 1, column 11: missing fields"),
        (",a=b v=1", "line 1, column 1: expected a measurement, found ','"),
        ("cpu,=b v=1", "line 1, column 5: expected a tag key, found '='"),
        ("cpu =1", "line 1, column 5: expected a field key, found '='"),
        ("cpu,a= v=1", r#"line 1, column 7: missing value of tag key "a", found ' '"#),
        (
            "cpu\x01,a=b v=1",
            r"line 1, column 4: expected a tag or a field after the measurement, found '\u{1}'",
        ),
        ("cpu v\x01=1", r#"line 1, column 6: expected '=' after field key "v", found '\u{1}'"#),
        ("cpu s=\"abc", r#"line 1, column 7: cannot parse value for field key "s": missing closing quote"#),
        ("cpu v=1 1 2", "line 1, column 11: unexpected text after the timestamp, found '2'"),
        ("cpu v=1\rx", r#"line 1, column 8: invalid timestamp """#),
        ("# a\x00b", r"line 1, column 4: invalid character '\0' in a comment"),
        ("cpu,__name__=x v=1", r#"line 1, column 1: tag "__name__" is reserved for the metric name"#),
    ] {
        assert_eq!(errors(body), [error], "{body:?}");
    }
    assert_eq!(errors(b"cp\xffu v=1"), [r#"line 1, column 1: invalid UTF-8 in "cp�u""#]);
    assert!(errors(b"cpu s=\"\xff\"")[0].contains("invalid UTF-8"));
}

#[test]
fn an_unclosed_string_takes_only_its_own_line() {
    let (sink, report) = write("a s=\"abc 1\nb v=1 1\nc v=2 2\n");
    assert_eq!(sink.samples.len(), 2);
    assert_eq!(report.errors.total, 1);
}

#[test]
fn a_refused_line_ends_where_it_ends_though_a_string_in_it_looks_like_a_line() {
    let (sink, report) = write("a,__name__=x s=\"\nb v=1 1\n\",v=1 1\nc v=2 2\n");
    assert_eq!(sink.samples, [("c_v".to_owned(), 2, 2.0)]);
    assert_eq!(report.errors.total, 1);
}

#[test]
fn lines_without_samples_are_still_checked() {
    let (sink, report) = write("m s=\"x\"\nm,a=1,a=2 s=\"x\"\nm\x01 s=\"x\"\nm s\x01=\"x\"\n");
    assert!(sink.samples.is_empty());
    assert_eq!((report.lines, report.rows, report.strings_skipped, report.errors.total), (4, 0, 1, 3));
}

#[test]
fn timestamps_have_units_and_bounds() {
    let at = |body: &str, precision| write_as(body.as_bytes(), Namespace::default(), precision).0.samples;
    assert_eq!(at("m v=1 3", Precision::Hours)[0].1, 3 * 3_600_000_000_000);
    assert_eq!(at("m v=1 -9223372036854775808", Precision::Nanoseconds)[0].1, i64::MIN);
    assert_eq!(at("m v=1", Precision::Nanoseconds)[0].1, NOW);
    assert_eq!(at("m v=1", Precision::Seconds)[0].1, 0);
    assert!(at("m v=1 9223372036854775807", Precision::Microseconds).is_empty());
}

#[test]
fn limits_are_named() {
    let long = "x".repeat(70_000);
    for (body, limit) in [
        (
            format!("m,{} v=1", (0..300).map(|i| format!("t{i}=x")).collect::<Vec<_>>().join(",")),
            "labels_max",
        ),
        (format!("m,t={long} v=1"), "series_key_bytes_max"),
        (format!("m,t={} v=1", &long[..5_000]), "label_value_bytes_max"),
        (format!("m,{}=x v=1", &long[..2_000]), "label_name_bytes_max"),
        (format!("m {long}=1"), "label_value_bytes_max"),
        (format!("m {}", vec!["f=1"; 4_097].join(",")), "fields_max"),
        (format!("m,{} v=\\x01", vec!["a=b"; 20_000].join(",")), "series_key_bytes_max"),
        (format!("m v=1,s=\"{}\"", long.repeat(20)), "line_bytes_max"),
    ] {
        let (sink, report) = write(format!("{body}\nok v=1\n"));
        assert_eq!((sink.samples.len(), report.errors.total), (1, 1), "{limit}");
        assert!(
            report.errors.first[0].reason.starts_with(&format!("limit {limit} reached")),
            "{}",
            report.errors
        );
    }
}

#[test]
fn a_line_with_too_many_fields_is_refused_at_the_first_of_them_and_to_its_end() {
    let limits = Limits { fields_max: 3, ..Limits::DEFAULT };
    let mut sink = Recorder::default();
    let body = b"m a=1,b=\"x\",c=3 1\nm a=1,b=\"x\",c=3,d=4,e=\"\nm a=7 7\n\" 2\nm a=3 3\n";
    let namespace = Namespace::default();
    let report = write_lines(body, &namespace, Precision::Nanoseconds, NOW, &limits, &mut sink).unwrap();
    let errors: Vec<_> = report.errors.first.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["line 2, column 17: limit fields_max reached: 5 is more than 3"]);
    assert_eq!(sink.samples.iter().map(|s| (s.1, s.2)).collect::<Vec<_>>(), [(1, 1.0), (1, 3.0), (3, 3.0)]);
}

#[test]
fn a_sink_that_takes_no_more_ends_the_batch() {
    let mut sink = Recorder { fatal: true, ..Recorder::default() };
    let namespace = Namespace::default();
    let written = write_lines(b"m v=1", &namespace, Precision::Nanoseconds, 0, &Limits::DEFAULT, &mut sink);
    assert!(matches!(written, Err(Error::Closed)));
}

/// What `write_lines` has to store according to the strict decoder.
fn strictly(body: &[u8]) -> (Vec<(String, i64, f64)>, usize) {
    let (mut samples, mut bad) = (Vec::new(), 0);
    for line in Decoder::new(body, Precision::Nanoseconds) {
        let Ok(line) = line else {
            bad += 1;
            continue;
        };
        let fields: Vec<_> = line.fields.iter().filter_map(|(n, v)| Some((*n, v.to_sample()?.0))).collect();
        let labels: Result<Vec<_>, _> = fields
            .iter()
            .map(|(name, _)| {
                series::KeyLabels::parse(line.key, &Namespace::default())?.of_field(name, &Limits::DEFAULT)
            })
            .collect();
        match labels {
            Ok(labels) => samples.extend(
                labels
                    .iter()
                    .zip(&fields)
                    .map(|(l, (_, v))| (l.to_string(), line.timestamp.unwrap_or(NOW), *v)),
            ),
            Err(_) => bad += 1,
        }
    }
    (samples, bad)
}

/// Compares the hot path with the strict decoder.
fn assert_same(body: &[u8]) {
    let (sink, report) = write(body);
    let (samples, bad) = strictly(body);
    let bits = |samples: &[(String, i64, f64)]| -> Vec<_> {
        samples.iter().map(|(l, t, v)| (l.clone(), *t, v.to_bits())).collect()
    };
    assert_eq!(bits(&sink.samples), bits(&samples), "{:?}", String::from_utf8_lossy(body));
    assert_eq!(report.errors.total, bad as u64, "{:?}", String::from_utf8_lossy(body));
    assert_eq!(report.samples, samples.len() as u64);
}

/// Bytes that are mostly syntax, so that most bodies get past the first token.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "m", "t", "a=b", "v=1", "v=1.5", "v=2i", "v=3u", "v=t", "v=\"x\"", "=", ",", " ", " ", "\n", "\r\n", "\\",
            "\"", "#", "\u{feff}", "-", "1", ".", "e5", "i", "m,a=b v=1 1\n", "m v=\"", "é", "__name__=x", "99999999999999999999",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn escape(text: &str, escapable: &str) -> String {
    text.chars().flat_map(|c| escapable.contains(c).then_some('\\').into_iter().chain([c])).collect()
}

proptest! {
    #[test]
    fn both_ways_agree_on_noise(body in noise()) {
        assert_same(&body);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        assert_same(&body);
    }

    #[test]
    fn what_is_encoded_is_decoded(
        measurement in "[a-zé ,=]{0,8}[a-z]",
        tags in prop::collection::btree_map("[a-zé ,=]{0,8}[a-z]", "[a-zé ,=\"]{0,8}[a-z]", 0..5),
        fields in prop::collection::vec(("[a-z ,=]{0,8}[a-z]", any::<f64>()), 1..5),
        string in "[a-z\\\\\" ,=\n\r]{0,12}",
        timestamp: i64,
    ) {
        prop_assume!(fields.iter().all(|(_, value)| value.is_finite()));
        let mut text = escape(&measurement, " ,");
        for (name, value) in &tags {
            text += &format!(",{}={}", escape(name, " ,="), escape(value, " ,="));
        }
        text += &format!(" string=\"{}\"", escape(&string, "\"\\"));
        for (name, value) in &fields {
            text += &format!(",{}={value:e}", escape(name, " ,="));
        }
        text += &format!(" {timestamp}\n");

        let line = Decoder::new(text.as_bytes(), Precision::Nanoseconds).next().unwrap().unwrap();
        prop_assert_eq!(&*unescape_measurement(line.series.measurement), measurement.as_bytes());
        let read: Vec<_> = line.series.tags.iter().map(|(n, v)| (unescape_name(n), unescape_name(v))).collect();
        prop_assert_eq!(read.len(), tags.len());
        for ((name, value), (read_name, read_value)) in tags.iter().zip(&read) {
            prop_assert_eq!((name.as_bytes(), value.as_bytes()), (&**read_name, &**read_value));
        }
        prop_assert_eq!(line.timestamp, Some(timestamp));
        let Value::String(raw) = line.fields[0].1 else { panic!("{text}") };
        prop_assert_eq!(&*unescape_string(raw), string.as_bytes());
        for ((name, value), (raw, read)) in fields.iter().zip(&line.fields[1..]) {
            prop_assert_eq!(&*unescape_name(raw), name.as_bytes());
            prop_assert_eq!(*read, Value::Float(*value));
        }
        assert_same(text.as_bytes());
    }
}

/// The fast path took `# g="..."` for a measurement called `#`, since strings may hold what comments must not.
#[test]
fn a_comment_with_a_control_character_is_no_point() {
    let (_, report) = write(b"# g=\"\0\",value=1 1\nm v=2 2\n");
    assert_eq!((report.samples, report.errors.total), (1, 1));
}
