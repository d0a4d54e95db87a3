//! File descriptors: connections leave the engine its share, and a server that has none left says so, serves on, and accepts
//! again once it has some.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use support::Server;

const REQUEST: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const WAIT_MAX: Duration = Duration::from_secs(60);

fn connect(server: &Server) -> TcpStream {
    let connection = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    connection.set_read_timeout(Some(WAIT_MAX)).unwrap();
    connection
}

fn rest_of(connection: &mut TcpStream) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn connections_leave_half_of_the_descriptors_to_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve_with_descriptors(40, 128, folder.path());
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["128", "128"], "raised");
    assert!(server.log().contains("connections_max=64"), "{}", server.log());

    // Each sends a part of a head, and more of them than there are descriptors.
    let silent: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = connect(&server);
            connection.write_all(&REQUEST[..20]).unwrap();
            connection
        })
        .collect();
    for second in 1..20 {
        server.post("/write", format!("m f=1 {second}000000000").as_bytes());
        server.flush();
    }
    server.compact();
    assert!(!server.log().contains("WARN timberline::net"), "{}", server.log());
    drop(silent);
}

#[test]
fn a_server_without_descriptors_says_so_once_and_accepts_again_when_it_has_some() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    assert_eq!(server.get("/-/healthy").0, 200);
    let process = Pid::from_raw(server.id().try_into().unwrap());
    // The server inherited the hard limit of this process.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current| {
        prlimit(process, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    };
    limit(Some(0));

    let mut waiting = connect(&server);
    waiting.write_all(REQUEST).unwrap();
    server.wait_for_log("cannot accept connections");
    // Connections that there are go on.
    assert_eq!(server.get("/-/healthy").0, 200);
    let failures = |server: &Server| {
        let (_, metrics) = server.get("/metrics");
        let line =
            metrics.lines().find(|line| line.starts_with("timberline_accept_failures_total ")).unwrap();
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let first = failures(&server);
    while failures(&server) < first + 3 {}

    limit(maximum);
    assert!(rest_of(&mut waiting).starts_with("HTTP/1.1 200"));
    server.wait_for_log("connections are accepted again");
    assert_eq!(server.log().matches("cannot accept connections").count(), 1, "{}", server.log());
}
