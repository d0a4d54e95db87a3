//! Connections: how long they may do nothing, how many there may be, what is answered to what is no request, and to clients that
//! end their side or go away.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::server::{TestServer, rest_of, status_and_json, write_counter};

const SHORT: Duration = Duration::from_millis(50);
/// Goes on until its client leaves.
const ENDLESS: &str = "quantile_over_time(0.5,vector(time())[100000s:1s])&start=100000&end=200000&step=1";

/// A request for a path.
fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// The status line of the next answer on a connection that stays open; the answer has a `Content-Length`.
fn next_answer(connection: &TcpStream) -> String {
    let mut reader = BufReader::with_capacity(1, connection);
    let (mut status, mut length) = (String::new(), 0);
    reader.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
    status
}

/// A write whose body the server waits for.
fn begin_write(server: &TestServer, length: usize) -> TcpStream {
    let head = format!(
        "POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    let connection = server.send(head.as_bytes());
    let mut answer = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    (&connection).read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"HTTP/1.1 100 Continue\r\n\r\n");
    connection
}

#[test]
fn what_is_no_request_is_told_why_and_what_to_do() {
    let server = TestServer::start();
    let path = "/api/v1/query?query=";
    let long_target = |bytes: usize| get(&format!("{path}{}", "1".repeat(bytes - path.len())));
    let headers = |count: usize, bytes: usize| {
        let header = format!("x: {}\r\n", "1".repeat(bytes));
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", header.repeat(count)).into_bytes()
    };
    let cases: [(Vec<u8>, &str, &str); 11] = [
        (long_target(65_535), "414", "body of a POST"),
        (long_target(200_000), "414", "body of a POST"),
        (headers(200, 1), "431", "more than 100 headers"),
        (headers(50, 10_000), "431", "more than 131072 bytes"),
        (b"HELO\r\n\r\n".to_vec(), "400", "method"),
        (b"G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "400", "method"),
        (b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "400", "URI"),
        (b"GET / HTTP/3.1\r\nHost: localhost\r\n\r\n".to_vec(), "400", "version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), "505", "HTTP/2"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n".to_vec(), "400", "header"),
        (
            b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
                .to_vec(),
            "400",
            "content-length",
        ),
    ];
    for (bytes, status, reason) in cases {
        // The first request on a connection, and one after another.
        for before in [&b""[..], b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"] {
            let mut connection = server.send(before);
            if !before.is_empty() {
                assert!(next_answer(&connection).starts_with("HTTP/1.1 200"));
            }
            // Of a head that is too long not all is read.
            let _ = connection.write_all(&bytes);
            let answer = rest_of(&mut connection);
            let (got, json) = status_and_json(&answer);
            assert_eq!(got, status, "{answer}");
            assert!(json["error"].as_str().unwrap().contains(reason), "{answer}");
            assert_eq!((&json["status"], &json["message"]), (&Value::from("error"), &json["error"]));
            assert!(answer.contains("x-influxdb-version"), "{answer}");
        }
    }
    let longest = server.send(&long_target(65_534));
    assert!(next_answer(&longest).starts_with("HTTP/1.1 400"), "of the query, not of the target");

    let mut cut = server.send(b"GET / HTTP/1.1\r\nHost: local");
    cut.shutdown(Shutdown::Write).unwrap();
    let answer = rest_of(&mut cut);
    assert!(status_and_json(&answer).1["error"].as_str().unwrap().contains("blank line"), "{answer}");
    server.wait_for_metric("timberline_http_requests_total{path=\"other\",code=\"414\"} 4");
}

#[test]
fn a_request_of_http_1_1_has_one_host() {
    let server = TestServer::start();
    for (head, status) in [
        ("GET /-/healthy HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", "400"),
        ("GET /-/healthy HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n", "400"),
        ("GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "200"),
        ("GET /-/healthy HTTP/1.0\r\n\r\n", "200"),
    ] {
        let answer = server.answer_to(head.as_bytes());
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}{answer}");
        assert!(status != "400" || answer.contains("needs exactly one"), "{answer}");
    }
    for (target, host, status) in [
        ("/-/healthy", "", "200"),
        ("/-/healthy", "[::1]:80", "200"),
        ("http://LOCALHOST:80/-/healthy", "localhost:80", "200"),
        ("http://evil.example/-/healthy", "localhost", "400"),
        ("/-/healthy", "localhost:80@evil.example", "400"),
        ("/-/healthy", "localhost:http", "400"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = server.answer_to(head.as_bytes());
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}{answer}");
        assert!(status != "400" || answer.contains("is no host, or another"), "{answer}");
    }
}

#[test]
fn a_write_that_does_not_say_how_long_its_body_is_gets_411_and_others_need_no_length() {
    let server = TestServer::start();
    for path in ["/write", "/api/v2/write?bucket=b", "/api/v1/write", "/api/v1/import"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\nm f=1 1000000000\n");
        let answer = server.answer_to(head.as_bytes());
        let (status, json) = status_and_json(&answer);
        assert_eq!(status, "411", "{answer}");
        assert!(json["error"].as_str().unwrap().contains("Content-Length"), "{answer}");
    }
    for (path, status) in [
        ("/api/v1/query?query=1", "200"),
        ("/api/v1/admin/tsdb/flush", "200"),
        ("/query?q=CREATE+DATABASE+x", "200"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(server.answer_to(head.as_bytes()).split(' ').nth(1), Some(status), "{path}");
    }
    assert_eq!(server.post("/write", b"").status, 204);
}

#[test]
fn a_head_that_is_slow_and_a_connection_that_is_silent_or_idle_are_ended() {
    let server = TestServer::start_limited(
        |_| {},
        |limits| (limits.head_time_max, limits.idle_time_max) = (SHORT, SHORT),
    );
    let answer = server.answer_to(b"GET /-/healthy HTTP/1.1\r\nHost: local");
    let (status, json) = status_and_json(&answer);
    assert_eq!(status, "408", "{answer}");
    assert!(json["error"].as_str().unwrap().contains("head of the request"), "{answer}");
    assert_eq!(server.answer_to(b""), "", "nothing was asked");

    let mut idle = server.send(&get("/-/healthy"));
    assert!(next_answer(&idle).starts_with("HTTP/1.1 200"));
    assert_eq!(rest_of(&mut idle), "");
    // What is being answered has time: its body alone is waited for.
    let mut slow = begin_write(&server, 17);
    assert_eq!(server.answer_to(b""), "", "longer than the others had");
    slow.write_all(b"m f=1 1000000000\n").unwrap();
    assert!(next_answer(&slow).starts_with("HTTP/1.1 204"));
}

#[test]
fn heads_share_a_bound_of_memory() {
    let server = TestServer::start_limited(|_| {}, |limits| limits.header_bytes_max = 3_000);
    let head =
        |bytes: usize| format!("GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nx: {}", "1".repeat(bytes));
    let text = head(1_600);
    let mut first = server.send(text.as_bytes());
    // The head of the request that asks counts as well.
    server.wait_for_metrics("timberline_connection_head_bytes", |line| {
        let bytes =
            line.strip_prefix("timberline_connection_head_bytes ").and_then(|bytes| bytes.parse().ok());
        bytes.is_some_and(|bytes: usize| bytes >= text.len())
    });
    let answer = rest_of(&mut server.send(head(1_600).as_bytes()));
    let (status, json) = status_and_json(&answer);
    assert_eq!(status, "503", "{answer}");
    assert!(json["error"].as_str().unwrap().contains("header_bytes_max"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");

    first.write_all(b"\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest_of(&mut first).starts_with("HTTP/1.1 200"));
    let mut third = server.send(head(1_600).as_bytes());
    third.write_all(b"\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest_of(&mut third).starts_with("HTTP/1.1 200"), "given back");
}

#[test]
fn a_connection_for_whose_buffer_there_is_no_room_ends_with_its_answer() {
    let server = TestServer::start_limited(|_| {}, |limits| limits.buffer_bytes_max = 1);
    let body = "# comment\n".repeat(100_000);
    let write = |len: usize| {
        let head = format!("POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n");
        [head.as_bytes(), &body.as_bytes()[..len]].concat()
    };
    let mut connection = server.send(&write(1_000));
    assert!(next_answer(&connection).starts_with("HTTP/1.1 204"));
    connection.write_all(&write(body.len())).unwrap();
    let answer = rest_of(&mut connection);
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("connection: close\r\n"), "{answer}");
}

#[test]
fn connections_that_do_nothing_make_room_and_those_that_are_used_stay() {
    let server = TestServer::start_limited(|_| {}, |limits| limits.connections_max = 3);
    // The server's own client holds one as well.
    let used = server.send(&get("/-/healthy"));
    assert!(next_answer(&used).starts_with("HTTP/1.1 200"));
    for _ in 0..10 {
        let mut silent = server.send(b"");
        let more = server.send(&get("/-/healthy"));
        assert!(next_answer(&more).starts_with("HTTP/1.1 200"));
        assert_eq!(rest_of(&mut silent), "", "one that never asked goes first");
        drop(more.shutdown(Shutdown::Both));
        server.wait_for_metric("timberline_connections 2");
    }
    (&used).write_all(&get("/-/healthy")).unwrap();
    assert!(next_answer(&used).starts_with("HTTP/1.1 200"));
    server.wait_for_metric("timberline_connections_displaced_total 10");
}

#[test]
fn a_connection_beyond_those_that_are_busy_gets_503_and_a_time_to_retry() {
    let server = TestServer::start_limited(|_| {}, |limits| limits.connections_max = 2);
    let busy = [begin_write(&server, 17), begin_write(&server, 17)];
    let answer = server.answer_to(&get("/-/healthy"));
    let (status, json) = status_and_json(&answer);
    assert_eq!(status, "503", "{answer}");
    assert!(json["error"].as_str().unwrap().contains("connections_max"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    for mut connection in busy {
        connection.write_all(b"m f=1 1000000000\n").unwrap();
        assert!(next_answer(&connection).starts_with("HTTP/1.1 204"));
    }
    server.wait_for_metric("timberline_connections_refused_total 1");
}

#[test]
fn bodies_that_are_announced_and_do_not_come_keep_no_other_out() {
    let server = TestServer::start_with(|config| {
        config.body_bytes_max = 64 << 20;
        config.write_bytes_max = 1 << 20;
    });
    let announced: Vec<_> = (0..8).map(|_| begin_write(&server, 64 << 20)).collect();
    assert_eq!(server.post("/write", b"m f=1 1000000000").status, 204);
    server.wait_for_metric("timberline_write_bytes_held 0");
    drop(announced);
}

#[test]
fn a_client_that_ends_its_side_gets_its_answer_also_to_a_long_request() {
    let server = TestServer::start_limited(
        |config| {
            config.query_concurrency_max = 1;
            config.query_timeout = Duration::from_secs(24 * 3600);
            config.query_steps_max = 1_000_000;
        },
        |limits| limits.ask_interval = SHORT,
    );
    write_counter(&server);
    let write = "POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\nm f=1 1000000000\n";
    let query = String::from_utf8(get("/api/v1/query?query=m_f&time=1")).unwrap();
    let old_query = query.replace("1.1", "1.0");
    let half_closed = |request: &str| {
        let connection = server.send(request.as_bytes());
        connection.shutdown(Shutdown::Write).unwrap();
        connection
    };
    assert!(rest_of(&mut half_closed(write)).starts_with("HTTP/1.1 204"));
    assert!(rest_of(&mut half_closed(&query)).starts_with("HTTP/1.1 200"));
    assert!(rest_of(&mut half_closed(&old_query)).starts_with("HTTP/1.0 200"));

    let running = server.send(&get(&format!("/api/v1/explain?analyze=true&query={ENDLESS}")));
    server.wait_for_metric("timberline_queries_running 1");
    // Statistics are what no short query has: those need no place.
    let query = query.replace("time=1", "time=1&stats=all");
    let old_query = query.replace("1.1", "1.0");
    let (mut waiting, mut old_waiting) = (half_closed(&query), half_closed(&old_query));
    server.wait_for_metric("timberline_queries_waiting 2");
    // It is asked whether it is still there, in a way that says nothing.
    const INTERIM: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    for _ in 0..3 {
        let mut asked = [0; INTERIM.len()];
        waiting.read_exact(&mut asked).unwrap();
        assert_eq!(asked, *INTERIM.as_bytes());
    }
    server.wait_for_metric("timberline_queries_waiting 2");
    // One that has gone, and does not answer, ends its query.
    drop(running);
    server.wait_for_metric("timberline_queries_failed_total{error_type=\"canceled\"} 1");
    let answer = rest_of(&mut waiting).replace(INTERIM, "");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("[1,\"1\"]"), "{answer}");
    let answer = rest_of(&mut old_waiting);
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let server = TestServer::start_limited(
        |config| config.query_steps_max = 1_000_000,
        |limits| limits.stall_time_max = SHORT,
    );
    let path = "/api/v1/query_range?query=vector(time())&start=1&end=1000000&step=1";
    let mut stalled = server.send(&get(path));
    stalled.read_exact(&mut [0]).unwrap();
    server.wait_for_metric("timberline_connections 1");
    server.wait_for_metric("timberline_answer_bytes_held 0");
}

#[test]
fn a_request_that_runs_when_the_server_is_stopped_is_answered_and_told_that_the_connection_ends() {
    let server = TestServer::start();
    let mut running = begin_write(&server, 17);
    let mut idle = server.send(&get("/-/healthy"));
    assert!(next_answer(&idle).starts_with("HTTP/1.1 200"));
    let address = server.address;
    std::thread::scope(|scope| {
        scope.spawn(|| server.stop());
        assert_eq!(rest_of(&mut idle), "");
        while TcpStream::connect(address).is_ok() {}
        running.write_all(b"m f=1 1000000000\n").unwrap();
        let answer = rest_of(&mut running);
        assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("connection: close"), "{answer}");
    });
}
