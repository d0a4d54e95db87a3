//! What an operator sees of the real binary: its log, signals, and settings that it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use support::Server;

mod support;

#[test]
fn signals_that_other_programs_reload_at_do_not_end_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    for signal in ["HUP", "USR1", "USR2", "PIPE"] {
        server.signal(signal);
        if signal != "PIPE" {
            server.wait_for_log(&format!(
                "ignored: settings are read at the start, and the log goes to stderr signal=\"SIG{signal}\""
            ));
        }
        server.post("/write", b"m f=1");
    }
    for signal in ["QUIT", "TERM"] {
        let (status, log) = Server::serve(&folder.path().join(signal)).end(signal);
        assert!(status.success() && log.contains("the database is closed"), "{signal}: {status}\n{log}");
    }
    assert!(server.interrupt().success());
}

#[test]
fn the_log_tells_what_was_refused_the_first_at_once_and_the_rest_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve_with(folder.path(), &[("TIMBERLINE_BODY_BYTES_MAX", "1KiB")]);
    assert_eq!(server.try_post("/write", b"m f=1\nm f=\nm f=\n").unwrap().0, 400);
    let line = server.wait_for_log("rows were refused");
    for part in ["protocol=\"line\"", "reason=\"malformed\"", "rows=2", "first=\"line 2, column 5"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(server.try_post("/write", b"m f=\n").unwrap().0, 400);
    assert_eq!(server.try_post("/api/v1/import", &[b'x'; 2000]).unwrap().0, 413);
    let line = server.wait_for_log("requests were refused");
    assert!(line.contains("protocol=\"json_lines\" reason=\"body_bytes_max\" requests=1"), "{line}");
    assert_eq!(server.try_post("/api/v1/write", b"not snappy").unwrap().0, 400);
    let line = server.wait_for_log("requests were refused");
    assert!(line.contains("protocol=\"remote_write\" reason=\"malformed\" requests=1"), "{line}");
    let (_, log) = server.end("TERM");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("were refused")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[3].contains("rows=1 first=\"line 1, column 5"), "{}", lines[3]);
}

#[test]
fn slow_queries_are_logged_with_what_they_read_and_who_asked() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve_with(folder.path(), &[("TIMBERLINE_SLOW_QUERY_LOG", "1ms")]);
    let lines: String = (0..500).map(|host| format!("m,host={host} value=1 1000\n")).collect();
    server.post("/write?precision=s", lines.as_bytes());
    let query = "query=sum(m%20%2B%20on(host)%20m)&start=1000&end=11000&step=1";
    let (status, _) = server.get(&format!("/api/v1/query_range?{query}"));
    assert_eq!(status, 200);
    let line = server.wait_for_log("slow query");
    for part in [
        "query=\"sum(m + on(host) m)\"",
        "start=1000.0 end=11000.0 step=1.0 seconds=",
        "series=500 ",
        "samples=",
        "client=127.0.0.1:",
        "request_id=",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    server.kill();
    let server = Server::serve_with(&folder.path().join("quiet"), &[("TIMBERLINE_SLOW_QUERY_LOG", "none")]);
    server.get(&format!("/api/v1/query_range?{query}"));
    let (_, log) = server.end("TERM");
    assert!(!log.contains("slow query"), "{log}");
}

#[test]
fn what_an_administrator_asks_for_is_logged_with_what_it_matched() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    server.post("/write?precision=s", b"m,host=a x=1,y=2 1000\nm,host=b x=1 1000");
    for (action, parts) in [
        ("flush", &["flush asked for blocks=1 samples=3"][..]),
        ("compact", &["compaction asked for merged=0 created=0 expired=0"]),
        ("snapshot", &["snapshot made name=\"", "skip_head=false"]),
        (
            "delete_series?match[]=%7Bhost%3D%22a%22%7D&match[]=m_z&start=10",
            &["delete asked for matched=[\"{host=\\\"a\\\"}\", \"m_z\"] selectors=2 start_ns=10000000000"],
        ),
        (
            "clean_tombstones",
            &["deleted matched=[\"{host=\\\"a\\\"}\", \"m_z\"]", "blocks=1 series=2 samples=2"],
        ),
    ] {
        server.post(&format!("/api/v1/admin/tsdb/{action}"), b"");
        let line = server.wait_for_log(parts[0]);
        assert!(parts.iter().all(|part| line.contains(part)), "{action}: {line}");
    }
    server.wait_for_log("cleaning of tombstones asked for");
}

#[test]
fn an_address_that_somebody_has_is_told_with_the_option_that_changes_it() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut command = support::command();
    let output =
        command.args(["serve", "--listen", &address, "--data-dir"]).arg(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("cannot listen on {address}: Address already in use")), "{text}");
    assert!(text.contains("choose another address with --listen"), "{text}");
}

#[test]
fn a_log_that_nobody_reads_any_more_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    server.close_log();
    for _ in 0..2 {
        assert_eq!(server.try_post("/write", b"m f=1 1\nm f=").unwrap().0, 400);
        assert_eq!(server.try_post("/api/v1/write", b"not snappy").unwrap().0, 400);
        assert_eq!(server.post("/api/v1/admin/tsdb/delete_series?match[]=m_f", b""), "");
    }
    server.flush();
    assert!(server.interrupt().success());
}

#[test]
fn misspelt_variables_are_named_and_those_of_kubernetes_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [("TIMBERLINE_RETENTOIN", "1d"), ("TIMBERLINE_PORT", "tcp://10.0.0.1:8086")];
    let (_, log) = Server::serve_with(folder.path(), &variables).end("TERM");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("environment variable")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let told = "TIMBERLINE_RETENTOIN is no setting and is ignored; is TIMBERLINE_RETENTION meant?";
    assert!(lines[0].contains(told), "{}", lines[0]);
}

#[test]
fn a_setting_that_cannot_work_is_refused_before_anything_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = support::command();
    command.args(["serve", "--listen", "127.0.0.1:0", "--head-bytes-max", "10", "--data-dir"]).arg(&data);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("--head-bytes-max: 10 bytes is too little: at least 1MiB"), "{text}");
    assert!(!data.exists());
}
