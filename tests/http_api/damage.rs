//! Damage on disk: what it hits is named in each answer, and everything else still answers.

use std::fs;
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
