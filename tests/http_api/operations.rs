//! What clients ask first, metrics, administration, restarts.

use std::net::SocketAddr;

use serde_json::json;

use super::server::{TestServer, write_counter};

#[test]
fn every_answer_has_the_influx_headers_and_a_request_id() {
    let server = TestServer::start();
    for path in ["/ping", "/", "/nowhere", "/api/v1/query?query=)"] {
        let answer = server.get(path);
        assert_eq!(answer.header("x-influxdb-version"), Some("1.8.10"), "{path}");
        assert!(answer.header("x-influxdb-build").is_some_and(|build| build.starts_with("timberline-")));
        assert!(answer.header("request-id").is_some() && answer.header("x-request-id").is_some());
    }
    let given = server.post_with("/write", &[("X-Request-Id", "mine")], b"m f=1");
    assert_eq!(given.header("request-id"), Some("mine"));
}

#[test]
fn what_influx_clients_ask_first_is_answered() {
    let server = TestServer::start();
    assert_eq!(server.get("/ping").status, 204);
    assert_eq!(server.get("/ping?verbose=true").json()["version"], "1.8.10");
    assert_eq!(server.get("/health").json()["status"], "pass");
    assert_eq!(server.get("/ready").json()["status"], "ready");
    let created = server.form("/query", &[("q", "CREATE DATABASE \"x\"")]);
    assert_eq!((created.status, created.json()), (200, json!({"results": [{"statement_id": 0}]})));
    assert_eq!(created.header("content-type"), Some("application/json"));
    server.post("/write?db=x", b"m f=1");
    let shown = server.get("/query?q=SHOW+DATABASES").json();
    assert_eq!(shown["results"][0]["series"][0]["values"], json!([["x"]]));
    let other = server.get("/query?q=SELECT+1");
    assert_eq!(other.status, 400);
    assert!(other.json()["error"].as_str().unwrap().contains("PromQL"));
    assert_eq!(server.get("/query").status, 400);
}

#[test]
fn what_grafana_asks_is_there() {
    let server = TestServer::start();
    let build = server.get("/api/v1/status/buildinfo").json();
    assert!(build["data"]["version"].as_str().unwrap().starts_with("3."));
    assert!(build["data"].get("features").is_none());
    for (path, data) in [
        ("/api/v1/query_exemplars?query=x&start=1&end=2", json!([])),
        ("/api/v1/metadata", json!({})),
        ("/api/v1/rules", json!({"groups": []})),
        ("/api/v1/alerts", json!({"alerts": []})),
    ] {
        assert_eq!(server.get(path).json(), json!({"status": "success", "data": data}), "{path}");
    }
    assert_eq!(server.form("/api/v1/query_exemplars", &[("query", "x")]).status, 200);
}

#[test]
fn metrics_count_what_happened() {
    let server = TestServer::start();
    server.post("/write", b"m f=1,s=\"x\",i=9007199254740993i 1000000000\nbad\n");
    server.query("m_f", "1");
    server.get("/api/v1/query?query=)");
    let text = server.get("/metrics").body;
    for line in [
        "timberline_ready 1",
        "timberline_ingested_rows_total{protocol=\"line\"} 1",
        "timberline_ingested_samples_total{protocol=\"line\"} 2",
        "timberline_refused_rows_total{protocol=\"line\"} 1",
        "timberline_skipped_strings_total{protocol=\"line\"} 1",
        "timberline_rounded_integers_total{protocol=\"line\"} 1",
        "timberline_http_requests_total{path=\"/write\",code=\"400\"} 1",
        "timberline_queries_total{kind=\"instant\"} 2",
        "timberline_queries_failed_total{error_type=\"bad_data\"} 1",
        "timberline_samples_appended_total 2",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line} in:\n{text}");
    }
}

#[test]
fn every_metric_says_what_it_is_and_the_page_documents_it() {
    let documented = include_str!("../../server/docs/metrics.md");
    let server = TestServer::start();
    write_counter(&server);
    server.query("requests_total", "10");
    server.post("/write", b"bad");
    server.form("/api/v1/query", &[("query", "x"), ("timeout", "0s")]);
    server.post("/api/v1/write", b"bad");
    let text = server.get("/metrics").body;
    let mut families: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!families.contains(&name), "{name} is there twice");
            assert!(help.ends_with('.'), "{help}");
            families.push(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(families.last(), Some(&name), "the type follows the help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = families.last().unwrap();
            let suffix = name.strip_prefix(family);
            assert!(
                suffix.is_some_and(|s| ["", "_bucket", "_sum", "_count"].contains(&s)),
                "{line} below {family}"
            );
        }
    }
    for family in &families {
        let row = format!("| `{family}` |");
        assert!(documented.contains(&row), "server/docs/metrics.md has no row {row}");
    }
    let rows = documented.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, families.len(), "server/docs/metrics.md has rows of metrics that are not there");
    for name in [
        "process_start_time_seconds",
        "process_max_fds",
        "timberline_disk_free_bytes",
        "timberline_oldest_sample_timestamp_seconds",
        "timberline_wal_sync_duration_seconds",
        "timberline_queue_wait_duration_seconds",
        "timberline_refused_rows_by_reason_total",
        "timberline_refused_requests_total",
    ] {
        assert!(families.contains(&name), "no {name} in:\n{text}");
    }
    assert!(text.contains("\ntimberline_oldest_sample_timestamp_seconds 1\n"), "{text}");
}

#[test]
fn admin_endpoints_answer_when_done_and_only_on_loopback() {
    let server = TestServer::start();
    write_counter(&server);
    let flushed = server.post("/api/v1/admin/tsdb/flush", b"").json();
    assert_eq!(
        (&flushed["status"], &flushed["data"]["samples"]),
        (&json!("success"), &json!(10)),
        "{flushed}"
    );
    assert_eq!(server.post("/api/v1/admin/tsdb/compact", b"").json()["status"], "success");
    assert_eq!(server.query("requests_total", "10")[0]["value"][1], "20");

    let open = TestServer::start_with(|config| config.listen = SocketAddr::from(([0, 0, 0, 0], 0)));
    let refused = open.post("/api/v1/admin/tsdb/flush", b"");
    assert_eq!(refused.status, 403);
    assert!(refused.json()["error"].as_str().unwrap().contains("loopback"));
}

#[test]
fn a_restart_keeps_what_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(directory.path(), |_| {});
    write_counter(&server);
    let keep_alive = server.get("/ping");
    assert_eq!(keep_alive.status, 204);
    server.stop();
    let server = TestServer::start_in(directory.path(), |_| {});
    assert_eq!(server.query("requests_total", "10")[0]["value"][1], "20");
}
