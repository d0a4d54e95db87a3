//! Data directories that earlier versions made (`data_directories/README.md` says how) answer what they did then.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};

use support::Server;

mod support;

const STATES: [&str; 4] = ["killed", "closed", "snapshot", "backup"];
/// All series: a selector needs a matcher that the empty text does not fit.
const ALL: [&str; 2] = [r#"{__name__!=""}"#, r#"{without!=""}"#];

/// The folders of all versions.
fn versions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data_directories");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    assert!(!found.is_empty());
    found
}

fn check(version: &Path, state: &str, copy: &Path) {
    let what = format!("{}/{state}", version.file_name().unwrap().display());
    let text = |arguments: &[&str]| String::from_utf8(support::run(arguments).stdout).unwrap();
    let path = copy.to_str().unwrap();
    assert!(text(&["verify", path]).contains("everything checks out"), "{what}");
    assert!(text(&["inspect", path]).contains("manifest, checksum holds"), "{what}");
    let expected = fs::read_to_string(version.join("export.jsonl")).unwrap();
    let server = Server::serve(copy);
    assert_exports(&server, &expected, &format!("{what} as it was made"));
    for line in fs::read_to_string(version.join("answers.txt")).unwrap().lines() {
        let (request, answer) = line.split_once('\t').unwrap();
        assert_eq!(server.get(request), (200, answer.to_owned()), "{what}: {request}");
    }
    // What this version makes of it holds the same.
    server.flush();
    server.compact();
    server.post("/api/v1/admin/tsdb/clean_tombstones", b"");
    assert_exports(&server, &expected, &format!("{what} after compaction"));
    assert!(server.interrupt().success());
    assert_exports(&Server::serve(copy), &expected, &format!("{what} after a restart"));
}

#[track_caller]
fn assert_exports(server: &Server, expected: &str, when: &str) {
    let text = server.export_text(&ALL);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    for (at, (found, expected)) in lines.iter().zip(expected.lines()).enumerate() {
        assert!(*found == expected, "{when}, line {}:\n{found}\ninstead of\n{expected}", at + 1);
    }
    assert_eq!(lines.len(), expected.lines().count(), "{when}: lines");
}

#[test]
fn directories_of_earlier_versions_are_read_as_they_were_written() {
    for version in versions() {
        for state in STATES {
            let copy = tempfile::tempdir().unwrap();
            support::copy(&version.join(state), copy.path());
            check(&version, state, copy.path());
        }
        let restored = tempfile::tempdir().unwrap();
        support::run(&[
            "restore",
            version.join("backup").to_str().unwrap(),
            restored.path().to_str().unwrap(),
        ]);
        check(&version, "backup", restored.path());
    }
}

/// Gives a file the next version of its format, and the checksum that goes with it.
fn raise_version(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[8] += 1;
    let framed = match &bytes[..8] {
        b"TMBRMAN\0" | b"TMBRTMB\0" => bytes.len() - 4,
        b"TMBRWAL\0" => 36,
        // The version is in no checksum.
        _ => 0,
    };
    if framed > 0 {
        let crc = crc32c::crc32c(&bytes[..framed]);
        bytes[framed..framed + 4].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_directory_of_a_newer_version_is_refused_and_says_which_version_it_needs() {
    let newest = versions().pop().unwrap();
    for kind in ["MANIFEST", "index", "chunks", "tombstones/", "wal/"] {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        support::copy(&newest.join("killed"), &data);
        let is_kind = |file: &PathBuf| file.strip_prefix(&data).unwrap().to_str().unwrap().contains(kind);
        let file = support::files(&data).into_iter().find(is_kind).unwrap();
        raise_version(&file);
        let version = fs::read(&file).unwrap()[8];
        let (path, other) = (data.to_str().unwrap(), root.path().join("other"));
        let other = other.to_str().unwrap();
        for arguments in [
            &["serve", "--listen", "127.0.0.1:0", "--data-dir", path][..],
            &["verify", path],
            &["inspect", path],
            &["restore", path, other],
            &["repair", path, "--into", other],
        ] {
            let output = support::command().args(arguments).output().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(1), "{kind} {arguments:?}: {text}");
            let told = format!(
                "has format version {version}, and this Timberline, {}, reads up to {}",
                env!("CARGO_PKG_VERSION"),
                version - 1
            );
            assert!(text.contains(&told), "{kind} {arguments:?}: {text}");
        }
        assert!(!Path::new(other).join("MANIFEST").exists(), "{kind}");
        assert!(file.exists(), "nothing is removed");
    }
}
