//! Real data through the whole server: import, flush, compaction, restart, export. Values and timestamps are the same,
//! bit for bit.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;
mod support;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;

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
        r#"{"schema":3,"count":8.0,"sum":"NaN:7ff0000000000002","positive":{"spans":[[-2,2],[1,1]],"counts":[1.0,2.0,5.0]}}"#,
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
