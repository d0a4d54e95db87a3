//! Line protocol and the bounds on bodies.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::json;

use super::remote_write::REMOTE_WRITE;
use super::server::{GZIP, TestServer, gzip};

#[test]
fn line_protocol_is_stored_under_its_names_and_database() {
    let server = TestServer::start();
    let answer = server.post(
        "/write?db=plant&rp=raw&precision=s&u=x&p=y",
        b"room,name=attic temperature=21.5,value=3i 100\n",
    );
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let found = server.query("{__name__=~\"room.*\"}", "100");
    let labels = |name| json!({"__name__": name, "db": "plant", "name": "attic", "rp": "raw"});
    assert_eq!(
        found,
        json!([
            {"metric": labels("room"), "value": [100, "3"]},
            {"metric": labels("room_temperature"), "value": [100, "21.5"]},
        ])
    );

    let answer = server.post("/api/v2/write?org=o&bucket=b&precision=ms", b"m f=1 200000");
    assert_eq!(answer.status, 204);
    assert_eq!(server.query("m_f", "200")[0]["metric"], json!({"__name__": "m_f", "db": "b"}));

    let answer = server.post_with("/write", &[GZIP], &gzip(b"m f=2 300000000000"));
    assert_eq!(answer.status, 204);
    assert_eq!(server.query("m_f{db=\"\"}", "300")[0]["value"], json!([300, "2"]));
}

#[test]
fn bad_lines_are_named_and_good_ones_stored() {
    let server = TestServer::start();
    let body = b"m f=1 1000000000\nm f= 2\nm f=3 3000000000\nm,a f=4\n";
    let answer = server.post("/write", body);
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("partial write: line 2, column 5: "), "{error}");
    assert!(error.contains("; line 4, column ") && error.ends_with(" dropped=2"), "{error}");
    assert_eq!(server.query("count_over_time(m_f[1m])", "10")[0]["value"][1], "2");

    let answer = server.post("/api/v2/write?bucket=b", body);
    assert_eq!(answer.status, 400);
    let answer = answer.json();
    assert_eq!((&answer["code"], &answer["line"]), (&json!("invalid"), &json!(2)));

    let nothing = server.post("/write", b"m\n").json();
    assert!(nothing["error"].as_str().unwrap().starts_with("unable to parse: line 1, column "), "{nothing}");

    let many = server.post("/write", "bad\n".repeat(50).as_bytes()).json();
    let error = many["error"].as_str().unwrap();
    assert_eq!(error.matches("line ").count(), 10, "{error}");
    assert!(error.ends_with("; and 40 more dropped=50"), "{error}");

    let precision = server.post("/write?precision=d", b"m f=1");
    assert_eq!(precision.status, 400);
    assert!(precision.json()["error"].as_str().unwrap().contains("unknown precision"));
}

#[test]
fn bodies_are_bounded_as_sent_and_as_decompressed() {
    let server = TestServer::start_with(|config| config.body_bytes_max = 4 << 20);
    let bomb = gzip(&vec![b'\n'; 200 << 20]);
    assert!(bomb.len() < 4 << 20, "the bomb is small: {}", bomb.len());
    let answer = server.post_with("/write", &[GZIP], &bomb);
    assert_eq!(answer.status, 413);
    assert!(answer.json()["error"].as_str().unwrap().contains("body-bytes-max"), "{}", answer.body);

    let large = vec![b'\n'; 12 << 20];
    assert_eq!(server.post("/write", &large).status, 413);
    let v2 = server.post("/api/v2/write", &large).json();
    assert_eq!((&v2["code"], &v2["maxLength"]), (&json!("request too large"), &json!(4 << 20)));
    assert_eq!(server.post("/write", b"m f=1").status, 204, "the server goes on");

    let answer = server.post_with("/write", &[("Content-Encoding", "br")], b"m f=1");
    assert_eq!(answer.status, 415);
    assert!(answer.json()["error"].as_str().unwrap().contains("\"br\""));
}

#[test]
fn a_body_that_is_cut_off_stores_nothing() {
    let server = TestServer::start();
    let lines = "m f=1 1000000000\n".repeat(1000);
    let whole = gzip(lines.as_bytes());
    let answer = server.post_with("/write", &[GZIP], &whole[..whole.len() - 5]);
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["error"].as_str().unwrap().contains("cannot be read to its end"),
        "{}",
        answer.body
    );

    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut connection = TcpStream::connect(server.address).unwrap();
        write!(connection, "POST /write HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n").unwrap();
        let part =
            if head.starts_with("Transfer") { "11\r\nm f=1 1000000000\n\r\n" } else { "m f=1 1000000000\n" };
        connection.write_all(part.as_bytes()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(server.query("m_f", "10"), json!([]));
}

#[test]
fn a_chunked_body_is_one_batch() {
    let server = TestServer::start();
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection
        .write_all(
            b"POST /write HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
    for part in ["m f=1 100", "0000000\nm f=2 2000000000", "\n"] {
        write!(connection, "{:x}\r\n{part}\r\n", part.len()).unwrap();
    }
    connection.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(server.query("count_over_time(m_f[1m])", "10")[0]["value"][1], "2");
}

#[test]
fn too_many_bytes_in_flight_get_503_and_a_time_to_retry() {
    let server = TestServer::start_with(|config| config.write_bytes_max = 100);
    let answer = server.post("/write", "m f=1\n".repeat(100).as_bytes());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.json()["error"].as_str().unwrap().contains("write_bytes_max"));
    assert_eq!(server.post("/write", b"m f=1\n").status, 204);
}

#[test]
fn what_lines_take_once_they_are_parsed_is_bounded_too() {
    let server = TestServer::start_with(|config| config.write_bytes_max = 1 << 20);
    let line = |numbers: usize| {
        let list = vec!["1"; numbers].join(",");
        format!("{{\"metric\":{{\"__name__\":\"n\"}},\"values\":[{list}],\"timestamps\":[{list}]}}\n")
    };
    let answer = server.post_with("/api/v1/import", &[GZIP], &gzip(line(100_000).as_bytes()));
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(answer.body.contains("write-bytes-max = 1048576"), "{}", answer.body);
    assert_eq!(server.post("/api/v1/import", line(1000).repeat(50).as_bytes()).status, 204);
    server.wait_for_metric("timberline_write_bytes_held 0");
}

#[test]
fn decompressed_bytes_count_as_bytes_in_flight() {
    let server = TestServer::start_with(|config| config.write_bytes_max = 1 << 20);
    let lines = gzip("m f=1 1\n".repeat(200_000).as_bytes());
    let series = snap::raw::Encoder::new().compress_vec(&b"\x0a\0".repeat(1 << 20)).unwrap();
    assert!(lines.len().max(series.len()) < 1 << 18, "{} {}", lines.len(), series.len());
    for (path, headers, body) in
        [("/write", &[GZIP][..], &lines), ("/api/v1/write", &REMOTE_WRITE[..], &series)]
    {
        let answer = server.post_with(path, headers, body);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.body);
        assert!(answer.body.contains("write_bytes_max"), "{}", answer.body);
    }
    assert_eq!(server.query("m_f", "1"), json!([]), "nothing is stored");
    server.wait_for_metric("timberline_write_bytes_held 0");
    server.wait_for_metric("timberline_writes_rejected_total 2");
}

#[test]
fn a_large_body_is_answered_when_all_of_it_is_stored() {
    let server = TestServer::start();
    let fields: Vec<String> = (0..100).map(|i| format!("f{i}=1")).collect();
    let (fields, rows) = (fields.join(","), 12_000);
    let mut body: String = (1..=rows).map(|t| format!("m {fields} {t}\n")).collect();
    body += "bad\n";
    let answer = server.post("/write?precision=ms", body.as_bytes());
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(
        error.starts_with("partial write: line 12001, column ") && error.ends_with(" dropped=1"),
        "{error}"
    );
    let counted = server.query("sum(count_over_time({__name__=~\"m_f.*\"}[1m]))", "12");
    assert_eq!(counted[0]["value"][1], json!((100 * rows).to_string()));
    server.wait_for_metric(&format!("timberline_ingested_samples_total{{protocol=\"line\"}} {}", 100 * rows));
}
