//! Real data through the whole server: import, flush, compaction, restart, export. Values and timestamps are the same,
//! bit for bit. And files as people have them: what an import makes of them, and what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;
mod support;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::Stdio;

use common::Random;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use support::Server;
use support::series::{self, Cells, assert_same};

/// An hour and more of a real node_exporter, beside the checkout of those who have it.
const REAL_DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/node_exporter_1s.jsonl.gz");

/// Imports a file into an empty server with the commands that a user has, and gives what comes out at the end.
fn round_trip(file: &Path, folder: &Path) -> Cells {
    let server = Server::serve(folder);
    support::run(&["import", "--format", "jsonl", "--url", &server.url, file.to_str().unwrap()]);
    server.flush();
    server.compact();
    assert!(server.interrupt().success());

    let server = Server::serve(folder);
    let output = support::run(&["export", "--match", r#"{__name__!=""}"#, "--url", &server.url]);
    series::parse(&String::from_utf8(output.stdout).unwrap())
}

fn text_of(file: &Path) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn each_json_line_is_looked_at_for_timestamps_in_another_unit() {
    let importer = Importer::start_with(&[]);
    let line = |stamps: &str| {
        format!("{{\"metric\":{{\"__name__\":\"j\"}},\"values\":[1,2],\"timestamps\":[{stamps}]}}\n")
    };
    let text =
        [line("1764500000000,1764500000001"), line("0,1764500000"), line("1764500000,1764500001")].concat();
    assert_says(
        &importer.import(&[], "a.jsonl", text),
        0,
        &["a.jsonl:2: warning: timestamps look like s, and are read as ms"],
    );
}

#[test]
fn what_is_too_large_for_the_server_goes_in_parts() {
    let importer = Importer::start_with(&[("TIMBERLINE_BODY_BYTES_MAX", "100KiB")]);
    let lines: String = (0..20_000).map(|i| format!("m,host={} f={i} {}\n", i % 7, i + 1)).collect();
    assert_says(&importer.import(&["--precision", "s"], "a.lp", &lines), 0, &["20000 samples"]);
    let values: Vec<String> = (0..30_000).map(|i| i.to_string()).collect();
    let stamps: Vec<String> = (0..30_000).map(|i| (1_700_000_000_000_i64 + i).to_string()).collect();
    let (values, stamps) = (values.join(","), stamps.join(","));
    let json =
        format!("{{\"metric\":{{\"__name__\":\"j\"}},\"values\":[{values}],\"timestamps\":[{stamps}]}}\n");
    assert_says(&importer.import(&[], "b.jsonl", &json), 0, &["30000 samples"]);
    assert_eq!(importer.samples(&[("__name__", "j")]).0, 30_000);
    let text: String =
        (0..20_000).map(|i| format!("prom_{} 1 {}\n", i % 9, 1_700_000_000_000_i64 + i)).collect();
    assert_says(&importer.import(&[], "c.prom", &text), 0, &["20000 samples"]);
    let label = "x".repeat(200_000);
    let long = format!(
        "{{\"metric\":{{\"__name__\":\"k\",\"l\":\"{label}\"}},\"values\":[1,2],\"timestamps\":[1,2]}}\n"
    );
    assert_says(&importer.import(&[], "d.jsonl", &long), 1, &["body-bytes-max"]);
}

#[test]
fn real_data_comes_back_bit_for_bit() {
    let file = Path::new(REAL_DATA);
    if !file.exists() {
        println!("skipped: there is no {REAL_DATA}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    assert_same(&round_trip(file, folder.path()), &series::parse(&text_of(file)), "after the round trip");
}

#[test]
fn odd_values_and_names_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.jsonl.gz");
    let mut encoder = GzEncoder::new(File::create(&file).unwrap(), Compression::fast());
    encoder.write_all(odd_lines().as_bytes()).unwrap();
    encoder.finish().unwrap();
    let expected = series::parse(&text_of(&file));
    assert!(expected.values().map(|samples| samples.len()).sum::<usize>() > 10_000);
    assert_same(&round_trip(&file, &folder.path().join("data")), &expected, "after the round trip");
}

/// Series whose values no decimal encoding fits, with timestamps of all signs.
fn odd_lines() -> String {
    const SPECIAL: [&str; 13] = [
        "null",
        r#""NaN""#,
        r#""NaN:7ff0000000000002""#,
        r#""NaN:fff8000000001234""#,
        r#""Infinity""#,
        r#""-Infinity""#,
        "-0.0",
        "5e-324",
        "1.7976931348623157e308",
        "0.1",
        r#"{"schema":3,"count":7.0,"sum":1.25,"zero_count":-0.0,"positive":{"spans":[[-2,2],[1,1]],"counts":[1.0,2.0,4.0]}}"#,
        r#"{"schema":3,"count":8.0,"sum":null,"positive":{"spans":[[-2,2],[1,1]],"counts":[1.0,2.0,5.0]}}"#,
        r#"{"schema":-53,"reset_hint":"gauge","count":0.5,"negative":{"spans":[[0,1]],"counts":[0.5]},"custom_values":[0.25]}"#,
    ];
    let mut random = Random(1);
    let mut text = String::new();
    for (i, name) in ["plain", "größe 1", "quo\\\"te", "back\\\\slash", "\\u0001", "日本"].iter().enumerate()
    {
        let mut timestamp = -5_000 + i as i64;
        let (mut values, mut timestamps) = (Vec::new(), Vec::new());
        for _ in 0..2_500 {
            timestamp += 1 + random.below(100_000) as i64;
            timestamps.push(timestamp.to_string());
            let bits = f64::from_bits(random.next());
            values.push(match random.below(4) {
                0 => random.pick(&SPECIAL).to_owned(),
                1 => format!("{}", random.below(1_000) as f64 / 8.0),
                _ if bits.is_finite() => format!("{bits:e}"),
                _ => "1".to_owned(),
            });
        }
        let (values, timestamps) = (values.join(","), timestamps.join(","));
        writeln!(
            text,
            r#"{{"metric":{{"__name__":"odd","name":"{name}"}},"values":[{values}],"timestamps":[{timestamps}]}}"#
        )
        .unwrap();
    }
    text
}

/// A server, and a folder for files to import.
struct Importer {
    server: Server,
    folder: tempfile::TempDir,
}

/// The exit code, and what was said on stderr.
type Outcome = (i32, String);

impl Importer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: Server::serve(&folder.path().join("data")), folder }
    }

    /// With other settings of the server.
    fn start_with(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: Server::serve_with(&folder.path().join("data"), variables), folder }
    }

    /// Imports a file of that name and content.
    fn import(&self, options: &[&str], name: &str, content: impl AsRef<[u8]>) -> Outcome {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        self.run(&[options, &[path.to_str().unwrap()]].concat(), b"")
    }

    /// Runs `timberline import`, the server named by the variable.
    fn run(&self, arguments: &[&str], stdin: &[u8]) -> Outcome {
        let mut child = support::command()
            .arg("import")
            .args(arguments)
            .env("TIMBERLINE_URL", &self.server.url)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// How many samples a series has, and the first timestamp, nanoseconds.
    fn samples(&self, labels: &[(&str, &str)]) -> (usize, i64) {
        let cells = self.server.export();
        let samples = cells.get(&series::name(labels));
        samples.map_or((0, 0), |samples| (samples.len(), *samples.first_key_value().unwrap().0))
    }
}

#[track_caller]
fn assert_says(outcome: &Outcome, code: i32, texts: &[&str]) {
    assert_eq!(outcome.0, code, "{}", outcome.1);
    for text in texts {
        assert!(outcome.1.contains(text), "no {text:?} in {}", outcome.1);
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn two_databases_of_one_export_stay_apart() {
    let importer = Importer::start();
    let text = "# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z\n# DDL\n\
                CREATE DATABASE a WITH NAME autogen\nCREATE DATABASE b WITH NAME month\n# DML\n\
                # CONTEXT-DATABASE:a\n# CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\n\
                m f=1,s=\"x\\n# CONTEXT-DATABASE:c\" 1700000000000000001\nm f=2 1700000000000000002\n\
                # CONTEXT-DATABASE:b\n# CONTEXT-RETENTION-POLICY:month\nm f=3 1700000000000000001\nm f=\n";
    let outcome = importer.import(&[], "export.lp.gz", gzip(text));
    let said = [
        "3 samples stored, 1 line refused, 1 string field skipped, 8 comments skipped, 2 statements skipped",
    ];
    assert_says(&outcome, 1, &[&said[..], &["export.lp.gz:14:5: "]].concat());
    // As a client writes it that names no policy.
    importer.server.post("/write?db=a", b"m f=9 1700000000000000003");
    assert_eq!(importer.samples(&[("__name__", "m_f"), ("db", "a")]).0, 3);
    assert_eq!(importer.samples(&[("__name__", "m_f"), ("db", "b"), ("rp", "month")]).0, 1);
    let outcome = importer.import(&["--db", "z"], "again.lp", text);
    assert_says(&outcome, 1, &["again.lp:6: the file says itself which database"]);
}

#[test]
fn open_metrics_is_told_by_the_end_of_any_file_and_a_cut_one_is_refused_as_a_whole() {
    let importer = Importer::start();
    let rack = "a rack with a long name, ".repeat(40);
    let lines: String =
        (0..5_000).map(|n| format!("load{{host=\"{n}\",rack=\"{rack}\"}} 1 1700000000\n")).collect();
    let text = format!("# TYPE load gauge\n{lines}# EOF\n");
    assert!(text.len() > 5_000_000);
    let labels = [("__name__", "load"), ("host", "2"), ("rack", &rack)];
    for content in [text.clone().into_bytes(), gzip(&text)] {
        let outcome = importer.import(&[], "large.prom", content);
        assert_says(&outcome, 0, &["5000 samples stored, 0 lines refused, 2 comments skipped"]);
        assert_eq!(importer.samples(&labels), (1, 1_700_000_000_000_000_000));
    }
    for (options, text, reason) in [
        (&["--format", "openmetrics"][..], "cut 1 1700000000\n", "`# EOF`, which is missing"),
        (&["--format", "openmetrics"], "cut 1 1700000000\n# EOF\ncut 2 1700000001\n", "line 3 follows it"),
    ] {
        let outcome = importer.import(options, "cut.prom", text);
        assert_says(&outcome, 1, &[reason, "nothing of it is imported", "0 samples stored"]);
        let outcome = importer.run(&[options, &["-"]].concat(), text.as_bytes());
        assert_says(&outcome, 1, &["-: ", reason, "0 samples stored"]);
    }
    let outcome = importer.import(&[], "cut.prom", "# UNIT cut_seconds seconds\ncut_seconds 1 1700000000\n");
    assert_says(&outcome, 1, &["line 1, `# UNIT …`"]);
    assert_eq!(importer.server.export().len(), 5_000);
    assert_says(&importer.run(&["--format", "openmetrics", "-"], b"a 1 5\n# EOF\n"), 0, &["1 sample stored"]);
    assert_eq!(importer.samples(&[("__name__", "a")]), (1, 5_000_000_000));
}

#[test]
fn a_line_longer_than_a_body_is_cut_and_a_broken_one_is_named() {
    const SAMPLES: usize = 250_000;
    let importer = Importer::start();
    let values: Vec<String> = (0..SAMPLES).map(|n| format!("{}.25", n % 1000)).collect();
    let timestamps: Vec<String> = (0..SAMPLES).map(|n| (1_700_000_000_000 + n).to_string()).collect();
    let (values, timestamps) = (values.join(","), timestamps.join(","));
    let long = |metric: &str, end: &str| {
        format!(r#"{{"metric":{{"__name__":"{metric}"}},"values":[{values}],"timestamps":[{timestamps}{end}"#)
    };
    let short = r#"{"metric":{"__name__":"short"},"values":[1],"timestamps":[1700000000000]}"#;
    let bad = r#"{"metric":{"__name__":"bad"},"values":["x"],"timestamps":[1]}"#;
    let text = [&long("long", "]}"), short, &long("odd", ",1]}"), bad, ""].join("\n");
    assert!(text.find('\n').unwrap() > 5_000_000);
    let outcome = importer.import(&[], "long.jsonl", &text);
    let texts = [
        "250001 samples stored, 2 lines refused",
        "long.jsonl:3:1: 250000 values but 250001 timestamps",
        "long.jsonl:4:42: invalid value \"x\"",
    ];
    assert_says(&outcome, 1, &texts);
    assert_eq!(importer.samples(&[("__name__", "long")]), (SAMPLES, 1_700_000_000_000_000_000));
    assert_eq!(importer.server.export().len(), 2);
}

#[test]
fn options_and_parameters_that_would_do_nothing_are_errors() {
    let importer = Importer::start();
    for (options, name, text, reason) in [
        (
            &["--precision", "s"][..],
            "a.prom",
            "a 1 1700000000\n",
            "--precision is for line protocol and JSON lines",
        ),
        (&["--precision", "s"], "a.om", "a 1 1700000000\n# EOF\n", "is OpenMetrics, which has seconds"),
        (&["--db", "x"], "a.prom", "a 1 1700000000000\n", "--db is for line protocol"),
        (
            &["--db", "x"],
            "a",
            "{\"metric\":{\"a\":\"b\"},\"values\":[1],\"timestamps\":[1]}\n",
            "is JSON lines",
        ),
    ] {
        assert_says(&importer.import(options, name, text), 1, &[name, reason]);
    }
    // Nothing of the first file goes in when an option is wrong for the second.
    let (first, second) = (importer.folder.path().join("b.lp"), importer.folder.path().join("b.prom"));
    std::fs::write(&first, "b f=1 1\n").unwrap();
    std::fs::write(&second, "b 1\n").unwrap();
    let outcome = importer.run(&["--db", "x", first.to_str().unwrap(), second.to_str().unwrap()], b"");
    assert_says(&outcome, 1, &["b.prom is the Prometheus text format"]);
    let line = br#"{"metric":{"a":"b"},"values":[1],"timestamps":[1]}"#;
    let (status, text) = importer.server.try_post("/api/v1/import?precision=ms&db=x", line).unwrap();
    assert_eq!((status, text.contains("unknown parameter \\\"db\\\"")), (400, true), "{text}");
    assert!(importer.server.export().is_empty());
}

#[test]
fn a_byte_order_mark_is_skipped_in_files_and_bodies() {
    let importer = Importer::start();
    let json = |name: &str| {
        format!("\u{feff}{{\"metric\":{{\"__name__\":\"{name}\"}},\"values\":[1],\"timestamps\":[1]}}\n")
    };
    for (name, text) in [
        ("a.lp", "\u{feff}l f=1 1\n".to_owned()),
        ("b.lp", "\u{feff}# a comment\r\nl f=1 2\r\n".to_owned()),
        ("c", json("j")),
        ("d.prom", "\u{feff}# TYPE p gauge\np 1 1\n".to_owned()),
        ("e.om", "\u{feff}o 1 1\n# EOF\n".to_owned()),
    ] {
        assert_says(&importer.import(&[], name, &text), 0, &["1 sample stored, 0 lines refused"]);
        assert_says(&importer.import(&[], &format!("{name}.gz"), gzip(&text)), 0, &["1 sample stored"]);
    }
    importer.server.post("/write", "\u{feff}l f=1 3\n".as_bytes());
    importer.server.post("/api/v1/import", json("k").as_bytes());
    let count = |name| importer.samples(&[("__name__", name)]).0;
    assert_eq!(["l_f", "j", "p", "o", "k"].map(count), [3, 1, 1, 1, 1]);
}

#[test]
fn timestamps_in_the_wrong_unit_are_warned_about_once_with_the_one_that_fits() {
    let importer = Importer::start();
    let seconds = "m f=1 1700000000\nm f=2 1700000001\n".repeat(2);
    let outcome = importer.import(&[], "s.lp", &seconds);
    assert_says(
        &outcome,
        0,
        &["s.lp:1: warning: timestamps look like s, and are read as ns", "--precision s"],
    );
    assert_eq!(outcome.1.matches("warning").count(), 1, "{}", outcome.1);
    let outcome = importer.import(&["--precision", "s"], "ns.lp", "m f=1 1700000000000000000\n");
    let texts = ["look like ns, and are read as s", "past all times", "ns.lp:1:7: out of range timestamp"];
    assert_says(&outcome, 1, &texts);
    let line = r#"{"metric":{"a":"b"},"values":[1],"timestamps":[1700000000]}"#;
    assert_says(
        &importer.import(&[], "s.jsonl", line),
        0,
        &["look like s, and are read as ms", "1970-01-20"],
    );
    let outcome = importer.import(&[], "s.prom", "a 1 1700000000\n");
    assert_says(&outcome, 0, &["look like s, and are read as ms", "--format openmetrics"]);
    let outcome = importer.import(&["--precision", "s"], "right.lp", &seconds);
    assert!(outcome.0 == 0 && !outcome.1.contains("warning"), "{}", outcome.1);
}

#[test]
fn an_export_without_a_selector_is_all() {
    let importer = Importer::start();
    importer.server.post("/write", b"m f=1 1700000000000000000");
    importer
        .server
        .post("/api/v1/import", br#"{"metric":{"nameless":"1"},"values":[null],"timestamps":[1]}"#);
    let output = support::run(&["export", "--url", &importer.server.url]);
    assert_eq!(series::parse(&String::from_utf8(output.stdout).unwrap()).len(), 2);
}

#[test]
fn an_export_that_is_not_whole_and_its_import_end_with_an_error() {
    let importer = Importer::start();
    let data = importer.folder.path().join("data");
    importer.server.post("/write?precision=s", b"m a=1.5,b=2.5 1000");
    importer.server.flush();
    importer.server.kill();
    let block = std::fs::read_dir(data.join("blocks")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(block.join("chunks")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(block.join("chunks"), bytes).unwrap();

    let server = Server::serve(&data);
    let output = support::command().args(["export", "--url", &server.url]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_says(
        &(output.status.code().unwrap(), said),
        1,
        &["the export is not whole: m_b from ", "is corrupt at byte"],
    );
    let other = Importer::start();
    let outcome = other.import(&[], "export.jsonl", &output.stdout);
    assert_says(
        &outcome,
        1,
        &["1 sample stored, 1 line refused", "export.jsonl:2:1: the export that wrote this"],
    );
    assert_eq!(other.samples(&[("__name__", "m_a")]).0, 1);
}
