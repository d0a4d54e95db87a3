//! What reads make the server hold, and what clients that do not take their answers keep others from.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::server::{TestServer, write_counter};

/// Writes `count` series `m{host="h…"}`.
fn write_series(server: &TestServer, count: usize) {
    let lines: Vec<String> = (0..count).map(|i| format!("m,host=h{i} value=1 1000000000")).collect();
    assert_eq!(server.post("/write", lines.join("\n").as_bytes()).status, 204);
}

/// A connection whose request is sent and whose answer is not taken.
fn stalled(server: &TestServer, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(server.address).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    connection
}

#[test]
fn selectors_that_are_given_often_are_asked_once_and_give_each_series_once() {
    let server = TestServer::start();
    write_series(&server, 2000);
    let equal = vec![("match[]", "m"); 5000];
    let different: Vec<String> = (0..500).map(|i| format!("m{{host!=\"none{i}\"}}")).collect();
    let different: Vec<(&str, &str)> = different.iter().map(|text| ("match[]", text.as_str())).collect();
    for fields in [equal, different] {
        let answer = server.form("/api/v1/series", &fields);
        assert_eq!(answer.json()["data"].as_array().unwrap().len(), 2000, "{}", answer.status);
        assert_eq!(server.form("/api/v1/export", &fields).body.lines().count(), 2000);
        let values = server.form("/api/v1/label/host/values", &fields);
        assert_eq!(values.json()["data"].as_array().unwrap().len(), 2000);
    }
}

#[test]
fn every_read_has_a_memory_bound() {
    let server = TestServer::start_with(|config| config.query_memory_bytes_max = 600_000);
    write_series(&server, 20_000);
    for path in [
        "/api/v1/series?match[]=m",
        "/api/v1/labels?match[]=m&match[]=%7Bhost!=%22%22%7D",
        "/api/v1/label/host/values",
        "/api/v1/export?match[]=m",
        "/api/v1/status/tsdb",
        "/api/v1/query?query=m&time=1",
    ] {
        let answer = server.get(path);
        if path.contains("labels") {
            assert_eq!(answer.json()["data"], json!(["__name__", "host"]), "few names take little memory");
            continue;
        }
        assert_eq!((answer.status, &answer.json()["errorType"]), (422, &json!("execution")), "{path}");
        assert!(answer.body.contains("limit query_memory_bytes_max reached"), "{path}: {}", answer.body);
    }
    let counted = "timberline_queries_refused_by_limit_total{limit=\"query_memory_bytes_max\"} 5";
    let metrics = server.get("/metrics").body;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
}

#[test]
fn every_read_has_a_deadline_and_ends_when_its_client_leaves() {
    let server = TestServer::start();
    write_series(&server, 1000);
    for path in [
        "/api/v1/series?match[]=m",
        "/api/v1/labels?x=1",
        "/api/v1/label/host/values?x=1",
        "/api/v1/export?match[]=m",
        "/api/v1/status/tsdb?x=1",
        "/api/v1/explain?query=m",
        "/api/v1/parse_query?query=m",
        "/api/v1/query?query=m%7Bhost=~%22.%7B1,5%7D%22%7D",
    ] {
        let answer = server.get(&format!("{path}&timeout=0"));
        assert_eq!((answer.status, &answer.json()["errorType"]), (503, &json!("timeout")), "{path}");
    }
}

#[test]
fn labels_that_a_query_makes_count_before_they_are_made() {
    let server = TestServer::start_with(|config| config.query_memory_bytes_max = 64 << 20);
    write_series(&server, 2000);
    let long = "v".repeat(100_000);
    for query in [
        format!("count_values(\"{long}\", m)"),
        format!("label_replace(m, \"{long}\", \"x\", \"host\", \".*\")"),
        format!("label_replace(m, \"x\", \"{long}\", \"host\", \".*\")"),
        format!("label_join(m, \"{long}\", \"-\", \"host\")"),
        format!("label_join(m, \"x\", \"{long}\", \"host\", \"host\")"),
    ] {
        let answer = server.form("/api/v1/query", &[("query", &query), ("time", "1")]);
        assert_eq!((answer.status, &answer.json()["errorType"]), (422, &json!("execution")));
        assert!(answer.body.contains("limit query_memory_bytes_max reached"), "{}", answer.body);
    }
}

#[test]
fn clients_that_take_no_answer_keep_neither_writes_nor_queries_waiting() {
    let server = TestServer::start_with(|config| {
        config.query_concurrency_max = 2;
        config.query_queue_max = 4;
        config.write_concurrency_max = 1;
        config.query_steps_max = 1_000_000;
    });
    let lines: Vec<String> = (0..100_000).map(|i| format!("m,host=h{i:0100} value=1 1000000000")).collect();
    assert_eq!(server.post("/write", lines.join("\n").as_bytes()).status, 204);
    write_counter(&server);
    // Each has an answer of more than the sockets take.
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(stalled(&server, "/api/v1/series?match[]=m"));
        clients.push(stalled(&server, "/api/v1/export?match[]=m"));
        clients.push(stalled(&server, "/api/v1/query_range?query=vector(time())&start=1&end=1000000&step=1"));
    }
    // Some answers have begun.
    clients[0].read_exact(&mut [0]).unwrap();
    for _ in 0..20 {
        assert_eq!(server.post("/write", b"n value=1 1000000000").status, 204);
        assert_eq!(server.query("requests_total", "10")[0]["value"][1], "20");
    }
    drop(clients);
    server.wait_for_metric("timberline_answer_bytes_held 0");
    server.wait_for_metric("timberline_queries_running 0");
}

#[test]
fn exports_that_nobody_takes_keep_no_query_waiting() {
    let server = TestServer::start_with(|config| {
        config.query_concurrency_max = 1;
        config.query_queue_max = 0;
    });
    let lines: Vec<String> = (0..100_000).map(|i| format!("m,host=h{i:0100} value=1 1000000000")).collect();
    assert_eq!(server.post("/write", lines.join("\n").as_bytes()).status, 204);
    let mut export = stalled(&server, "/api/v1/export?match[]=m");
    export.read_exact(&mut [0]).unwrap();
    assert_eq!(server.get("/api/v1/export?match[]=m").status, 503, "it has the only place for exports");
    let series = server.get("/api/v1/series?match[]=m&limit=1");
    assert_eq!(series.json()["data"].as_array().unwrap().len(), 1, "{}", series.body);
    assert_eq!(server.get("/api/v1/query?query=count(m)&time=1&timeout=60").status, 200);
    drop(export);
    let is_free = || server.get("/api/v1/export?match[]=none").status == 200;
    let started = std::time::Instant::now();
    while !is_free() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the place of an export whose client left is taken"
        );
        std::thread::yield_now();
    }
}
