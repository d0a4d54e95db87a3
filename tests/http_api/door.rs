//! Other people's pages, and proxies, on a server that listens on a loopback address.

use crate::server::{TestServer, write_counter};

const FOREIGN: [(&str, &str); 4] = [
    ("Origin", "http://evil.example"),
    ("Origin", "null"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Host", "evil.example"),
];

#[test]
fn a_page_of_another_site_deletes_and_stores_nothing() {
    let server = TestServer::start();
    write_counter(&server);
    for header in FOREIGN {
        for path in ["/api/v1/admin/tsdb/delete_series?match[]=requests_total", "/write", "/api/v1/import"] {
            let answer =
                server.post_with(path, &[header, ("Content-Type", "text/plain")], b"m f=1 1000000000");
            assert_eq!(answer.status, 403, "{header:?} {path}: {}", answer.body);
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains("allowed-hosts"), "it says what to do: {error}");
        }
    }
    assert_eq!(server.query("count_over_time(requests_total[1m])", "10")[0]["value"][1], "10");
    assert_eq!(server.query("m_f", "10"), serde_json::json!([]));
    server.wait_for_metric("timberline_http_requests_total{path=\"/write\",code=\"403\"} 4");
    // A client that is no page has no origin.
    assert_eq!(server.post("/write", b"m f=1 1000000000").status, 204);
}

#[test]
fn statements_of_influxql_count_as_what_they_do() {
    let server = TestServer::start();
    let ask = |statement: &str, headers: &[(&str, &str)]| {
        server.post_with(&format!("/query?q={statement}"), headers, b"").status
    };
    let origin = [("Origin", "http://evil.example")];
    assert_eq!(ask("SHOW+DATABASES", &origin), 200);
    assert_eq!(ask("CREATE+DATABASE+x", &origin), 403);
    assert_eq!(ask("SHOW+DATABASES;CREATE+DATABASE+x", &origin), 403);
    assert_eq!(ask("CREATE+DATABASE+x", &[]), 200);
    assert_eq!(ask("SHOW+DATABASES", &[("Host", "evil.example")]), 403);
}

#[test]
fn a_name_that_is_allowed_may_do_all_that_localhost_may() {
    let server = TestServer::start_with(|config| config.allowed_hosts = vec!["tsdb.example.org".to_owned()]);
    let headers = [("Host", "tsdb.example.org"), ("Origin", "https://tsdb.example.org")];
    assert_eq!(server.post_with("/write", &headers, b"m f=1 1000000000").status, 204);
    assert_eq!(server.post_with("/api/v1/admin/tsdb/flush", &headers, b"").status, 200);
    let proxied = [headers[0], ("X-Forwarded-For", "192.0.2.1")];
    let answer = server.post_with("/api/v1/admin/tsdb/flush", &proxied, b"");
    assert_eq!(answer.status, 403);
    assert!(
        answer.body.contains("x-forwarded-for") && answer.body.contains("without the proxy"),
        "{}",
        answer.body
    );
    assert_eq!(server.post_with("/write", &proxied, b"m f=2 2000000000").status, 204);
}
