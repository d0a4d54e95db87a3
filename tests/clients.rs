//! Real client libraries, unmodified: those of InfluxDB 1 and 2 write, one of Prometheus reads.
//!
//! They are Python packages, listed in `clients/requirements.txt`. `TIMBERLINE_PYTHON` names an interpreter that has them,
//! else `python3` is tried. Where they are missing the tests are skipped, unless `TIMBERLINE_REQUIRE_ALL` is set.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod support;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::Command;

use support::Server;
use support::series::{self, Cells};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_700_000_000 * SECOND;

/// An interpreter that has `package`, or `None` and a word about it.
fn python_with(package: &str) -> Option<OsString> {
    let python = std::env::var_os("TIMBERLINE_PYTHON").unwrap_or_else(|| "python3".into());
    let import = Command::new(&python).args(["-c", &format!("import {package}")]).output();
    let problem = match import {
        Ok(output) if output.status.success() => return Some(python),
        Ok(_) => format!("{} has no package {package}", python.display()),
        Err(error) => format!("cannot run {}: {error}", python.display()),
    };
    assert!(std::env::var_os("TIMBERLINE_REQUIRE_ALL").is_none(), "{problem}");
    println!("skipped: {problem}");
    None
}

/// Runs a script against a server; it asserts what the client sees.
fn run_script(python: &OsString, script: &str, server: &Server) {
    let path = format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python).args([&path, &server.url]).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{complaint}", output.status);
}

fn assert_samples(cells: &Cells, labels: &[(&str, &str)], expected: &[(i64, f64)]) {
    let samples =
        cells.get(&series::name(labels)).unwrap_or_else(|| panic!("{labels:?} is not in {:?}", cells.keys()));
    let samples: Vec<(i64, f64)> = samples.iter().map(|(t, bits)| (*t, f64::from_bits(*bits))).collect();
    assert_eq!(samples, expected, "{labels:?}");
}

#[test]
fn influxdb_v1_client_writes() {
    let Some(python) = python_with("influxdb") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    run_script(&python, "influxdb_v1.py", &server);

    let cells = server.export();
    let of =
        |name, tags: &[(&'static str, &'static str)]| [&[("__name__", name), ("db", "plant")], tags].concat();
    let seconds = [START, START + SECOND, START + 2 * SECOND];
    let idle: Vec<_> = seconds.iter().copied().zip([90.5, 91.5, 92.5]).collect();
    assert_samples(&cells, &of("cpu_idle", &[("host", "a b")]), &idle);
    assert_samples(&cells, &of("cpu_cores", &[("host", "a b")]), &seconds.map(|t| (t, 4.0)));
    assert_samples(&cells, &of("door", &[("größe", "1,5=m")]), &[(START + 123_456_000, 1.0)]);
    assert_samples(&cells, &of("batch", &[("n", "999")]), &[(START, 999.0)]);
    assert_eq!(cells.keys().filter(|name| name.contains("\"batch\"")).count(), 1_000);
    assert_samples(&cells, &of("zipped", &[("rp", "week")]), &[(START, -0.25)]);
    assert_samples(&cells, &of("good", &[]), &[(START, 1.0)]);
    assert_eq!(cells.len(), 2 + 1 + 1_000 + 1 + 1);
}

#[test]
fn influxdb_v2_client_writes() {
    let Some(python) = python_with("influxdb_client") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    run_script(&python, "influxdb_v2.py", &server);

    let cells = server.export();
    let of =
        |name, tags: &[(&'static str, &'static str)]| [&[("__name__", name), ("db", "plant")], tags].concat();
    assert_samples(&cells, &of("cpu_idle", &[("host", "a b")]), &[(START + 123_456_789, 12.25)]);
    assert_samples(&cells, &of("cpu_cores", &[("host", "a b")]), &[(START + 123_456_789, 8.0)]);
    assert_samples(&cells, &of("door", &[("side", "left")]), &[(START + SECOND / 2, 0.0)]);
    assert_samples(&cells, &of("raw", &[]), &[(START, 1e-7)]);
    assert_samples(&cells, &of("good", &[]), &[(START, 1.0)]);
    let sevens = (0..200).map(|i| 10 * i + 7).map(|n| (START + n * SECOND, n as f64));
    assert_samples(&cells, &of("batch", &[("n", "7")]), &sevens.collect::<Vec<_>>());
    assert_eq!(cells.len(), 2 + 1 + 1 + 1 + 10);
}

#[test]
fn prometheus_api_client_reads() {
    let Some(python) = python_with("prometheus_api_client") else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    let mut lines = String::new();
    for second in 0..=60 {
        for (host, rate) in [("a", 5), ("b", 10)] {
            let timestamp = START + second * SECOND;
            writeln!(lines, "requests_total,host={host} value={} {timestamp}", rate * second).unwrap();
        }
    }
    server.post("/write", lines.as_bytes());
    run_script(&python, "prometheus_api.py", &server);
}
