//! Damage on disk: what it hits is named in each answer, and everything else still answers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::server::TestServer;

/// A closed database with one block, of the series `m_a` and `m_b` with a sample each at 1 s; and the block's folder.
fn database() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(directory.path(), |_| {});
    assert_eq!(server.post("/write?precision=s", b"m a=1.5,b=2.5 1").status, 204);
    assert_eq!(server.post("/api/v1/admin/tsdb/flush", b"").status, 200);
    server.stop();
    let block = fs::read_dir(directory.path().join("blocks")).unwrap().next().unwrap().unwrap().path();
    (directory, block)
}

fn flip_last_byte(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_damaged_chunk_is_named_and_the_other_series_answer() {
    let (directory, block) = database();
    flip_last_byte(&block.join("chunks"));
    let server = TestServer::start_in(directory.path(), |_| {});
    let answer = server.get("/api/v1/query?query={__name__=~%22m_.%22}&time=1").json();
    assert_eq!(answer["data"]["result"], json!([{"metric": {"__name__": "m_a"}, "value": [1, "1.5"]}]));
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(warning.contains("chunks is corrupt at byte ") && warning.contains("m_b"), "{warning}");
}

#[test]
fn a_damaged_block_is_named_in_each_answer() {
    let (directory, block) = database();
    flip_last_byte(&block.join("index"));
    let server = TestServer::start_in(directory.path(), |_| {});
    server.post("/write?precision=s", b"m c=3.5 1");
    let id = block.file_name().unwrap().to_str().unwrap();
    for (path, data) in [
        (
            "query?query=sum(m_c)&time=1",
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [1, "3.5"]}]}),
        ),
        ("label/__name__/values", json!(["m_c"])),
        ("series?match[]=m_c", json!([{"__name__": "m_c"}])),
    ] {
        let answer = server.get(&format!("/api/v1/{path}")).json();
        assert_eq!(answer["data"], data, "{answer}");
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.contains(id), "{warning}");
    }
}

/// The lines of an export, and its last one apart.
fn lines(export: &str) -> (Vec<&str>, serde_json::Value) {
    let mut lines: Vec<&str> = export.lines().collect();
    let last = lines.pop().unwrap();
    (lines, serde_json::from_str(last).unwrap())
}

#[test]
fn an_export_says_which_column_it_could_not_read() {
    let (directory, block) = database();
    flip_last_byte(&block.join("chunks"));
    let server = TestServer::start_in(directory.path(), |_| {});
    let answer = server.get("/api/v1/export?match[]={__name__=~%22m_.%22}");
    assert_eq!(answer.status, 200);
    let (series, last) = lines(&answer.body);
    assert_eq!(series, [r#"{"metric":{"__name__":"m_a"},"values":[1.5],"timestamps":[1000]}"#]);
    let error = last["error"].as_str().unwrap();
    assert!(
        error.starts_with("m_b from 1000000000 to 1000000000 ns: ") && error.contains("chunks is corrupt"),
        "{error}"
    );
    let header = answer.header("timberline-export-error");
    assert_eq!(header, Some("1 part of the data cannot be read: see the last line"));
    let whole = server.get("/api/v1/export?match[]=m_a");
    assert_eq!((whole.body.lines().count(), whole.header("timberline-export-error")), (1, None));
    // What is imported from it says so, too.
    let other = TestServer::start();
    let imported = other.post("/api/v1/import", answer.body.as_bytes());
    assert_eq!((imported.status, imported.header("timberline-samples-stored")), (400, Some("1")));
    assert!(
        imported.body.contains("line 2, column 1: the export that wrote this is not whole"),
        "{}",
        imported.body
    );
}

#[test]
fn a_long_export_says_in_a_trailer_that_a_block_is_missing() {
    let (directory, block) = database();
    flip_last_byte(&block.join("index"));
    let server = TestServer::start_in(directory.path(), |_| {});
    let values = vec!["1.5"; 50_000].join(",");
    let timestamps: Vec<String> = (0..50_000).map(|t| (t * 1000).to_string()).collect();
    let line = format!(
        r#"{{"metric":{{"__name__":"long"}},"values":[{values}],"timestamps":[{}]}}"#,
        timestamps.join(",")
    );
    assert_eq!(server.post("/api/v1/import", line.as_bytes()).status, 204);
    let export = |te: &str| {
        let mut connection = TcpStream::connect(server.address).unwrap();
        let request =
            format!("GET /api/v1/export HTTP/1.1\r\nHost: localhost\r\n{te}Connection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = export("TE: trailers\r\n");
    let id = block.file_name().unwrap().to_str().unwrap();
    assert!(answer.contains("trailer: timberline-export-error\r\n") && answer.starts_with("HTTP/1.1 200"));
    let end =
        format!("{{\"error\":\"block {id} is damaged: the samples that it holds are missing here\"}}\n");
    let trailer =
        "0\r\ntimberline-export-error: 1 part of the data cannot be read: see the last line\r\n\r\n";
    assert!(answer.contains(&end) && answer.ends_with(trailer), "{}", &answer[answer.len() - 500..]);
    let answer = export("");
    assert!(answer.contains(&end) && answer.ends_with("0\r\n\r\n"), "{}", &answer[answer.len() - 500..]);
}
