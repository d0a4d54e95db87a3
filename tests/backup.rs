//! `timberline verify`, `repair`, `backup` and `restore`: the real binary on real files, whole and damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::series::Cells;
use support::{Server, command, copy, files};
use tempfile::TempDir;
use timberline_engine::directory::RealDirectory;
use timberline_engine::manifest::Manifest;

mod support;

/// A data directory with a file of each kind: two blocks, tombstones for one, and writes in the log; and all that it holds.
fn database() -> (TempDir, Cells) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    let lines = |host: &str, seconds: std::ops::Range<u64>| -> Vec<u8> {
        let line = |t: u64| format!("cpu,host={host} user={},idle={} {t}\n", t % 7, t * 3);
        seconds.map(line).collect::<String>().into_bytes()
    };
    server.post("/write?precision=s", &lines("a", 1000..1500));
    server.post("/write?precision=s", &lines("b", 1000..1500));
    server.flush();
    server.post("/write?precision=s", &lines("a", 900_000..900_300));
    server.flush();
    server.post("/api/v1/admin/tsdb/delete_series?match[]=cpu_user&start=1100&end=1110", b"");
    server.post("/write?precision=s", &lines("c", 900_100..900_200));
    // Behind it the write before is known to have been whole.
    server.post("/write?precision=s", &lines("c", 900_200..900_201));
    let cells = server.export();
    server.kill();
    (folder, cells)
}

fn timberline(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    command().args(arguments.iter().map(|argument| argument.as_ref())).output().unwrap()
}

/// Exit code, and all that was printed.
fn outcome(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> (i32, String) {
    let output = timberline(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[track_caller]
fn succeeds(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let (code, text) = outcome(arguments);
    assert_eq!(code, 0, "{text}");
    text
}

#[track_caller]
fn fails(arguments: &[&dyn AsRef<std::ffi::OsStr>], reason: &str) -> String {
    let (code, text) = outcome(arguments);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains(reason), "no {reason:?} in {text}");
    text
}

fn served(folder: &Path) -> Cells {
    let server = Server::serve(folder);
    let cells = server.export();
    server.kill();
    cells
}

#[test]
fn a_flipped_bit_in_each_kind_of_file_is_named_and_the_rest_is_saved() {
    let (folder, written) = database();
    let text = succeeds(&[&"verify", &folder.path()]);
    assert!(text.contains("2 blocks with 6 series") && text.contains("everything checks out"), "{text}");
    let middles = ["MANIFEST", "index", "chunks", "wal/", "tombstones/"].map(|kind| (kind, None));
    // No checksum covers the versions of a block.
    for (kind, at) in middles.into_iter().chain([("index", Some(8)), ("chunks", Some(8))]) {
        let is_kind =
            |file: &PathBuf| file.strip_prefix(folder.path()).unwrap().to_str().unwrap().contains(kind);
        // The largest, which holds something.
        let file = files(folder.path())
            .into_iter()
            .filter(is_kind)
            .max_by_key(|file| file.metadata().unwrap().len());
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        let file = damaged.path().join(file.unwrap().strip_prefix(folder.path()).unwrap());
        let mut bytes = fs::read(&file).unwrap();
        let at = at.unwrap_or(bytes.len() / 2);
        bytes[at] ^= 0x10;
        fs::write(&file, bytes).unwrap();

        let name = file.file_name().unwrap().to_str().unwrap();
        let text = fails(&[&"verify", &damaged.path()], "is corrupt at byte ");
        assert!(text.contains(name), "{kind}: {text}");
        let saved = damaged.path().join("saved");
        let text = fails(&[&"repair", &damaged.path(), &"--into", &saved], "lost ");
        assert!(text.contains(name), "{kind}: {text}");
        assert!(succeeds(&[&"verify", &saved]).contains("everything checks out"));
        fails(&[&"repair", &damaged.path(), &"--into", &saved], "not empty");
        check_saved(kind, &served(&saved), &written);
    }
}

/// Only what the damage hit is missing, and only lost tombstones bring something back.
fn check_saved(kind: &str, saved: &Cells, written: &Cells) {
    let count = |cells: &Cells| cells.values().map(|samples| samples.len()).sum::<usize>();
    let (found, all) = (count(saved), count(written));
    for (labels, samples) in saved {
        for (timestamp, value) in samples {
            let right = written.get(labels).and_then(|samples| samples.get(timestamp));
            assert!(right == Some(value) || kind == "tombstones/", "{kind}: {labels:?} at {timestamp}");
        }
    }
    match kind {
        "MANIFEST" => assert_eq!(found, all),
        "tombstones/" => assert_eq!(found, all + 22),
        // The columns have checksums of their own, whatever the version.
        "chunks" => assert!(all - 2200 <= found && found <= all, "{found} of {all}"),
        _ => assert!(0 < found && found < all, "{kind}: {found} of {all}"),
    }
}

#[test]
fn repair_of_a_whole_database_loses_nothing() {
    let (folder, written) = database();
    let saved = folder.path().join("saved");
    assert!(succeeds(&[&"repair", &folder.path(), &"--into", &saved]).contains("nothing is lost"));
    assert_eq!(served(&saved), written);
    assert_eq!(served(folder.path()), written, "the source is as it was");
}

#[test]
fn a_stopped_database_is_backed_up_and_restored() {
    let (folder, written) = database();
    let root = tempfile::tempdir().unwrap();
    let (backup, restored) = (root.path().join("backup"), root.path().join("restored"));
    let text = succeeds(&[&"backup", &"--from", &folder.path(), &backup]);
    assert!(text.contains("everything checks out"), "{text}");
    fails(&[&"backup", &"--from", &folder.path(), &backup], "not empty");
    fails(&[&"restore", &backup, &folder.path()], "not empty");
    fails(&[&"restore", &root.path(), &restored], "no MANIFEST");
    fails(&[&"verify", &root.path().join("nowhere")], "no directory");
    succeeds(&[&"restore", &backup, &restored]);
    assert_eq!(served(&restored), written);
    // The next one links what has not changed.
    let next = root.path().join("next");
    let text = succeeds(&[&"backup", &"--from", &folder.path(), &"--base", &backup, &next]);
    assert!(text.contains("linked 4"), "two files of two blocks: {text}");
    let chunks = files(&backup).into_iter().rfind(|file| file.ends_with("chunks")).unwrap();
    let mut bytes = fs::read(&chunks).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(&chunks).unwrap();
    fs::write(&chunks, bytes).unwrap();
    fails(&[&"restore", &backup, &root.path().join("other")], "is corrupt at byte ");
    assert!(!root.path().join("other").exists());
    assert_eq!(served(&next), written);
}

#[test]
fn a_running_server_is_backed_up_through_a_snapshot() {
    let (folder, written) = database();
    let root = tempfile::tempdir().unwrap();
    let server = Server::serve(folder.path());
    let backup = root.path().join("backup");
    fails(&[&"verify", &folder.path()], "a server is running on it");
    fails(&[&"repair", &folder.path(), &"--into", &root.path().join("x")], "a server is running on it");
    succeeds(&[&"backup", &"--from", &folder.path(), &"--url", &server.url, &backup]);
    server.post("/write?precision=s", b"later f=1 900000");
    assert_eq!(fs::read_dir(folder.path().join("snapshots")).unwrap().count(), 0, "the snapshot is gone");
    let other = Server::serve(&root.path().join("other"));
    let arguments: [&dyn AsRef<std::ffi::OsStr>; 6] =
        [&"backup", &"--from", &folder.path(), &"--url", &other.url, &root.path().join("y")];
    fails(&arguments, "give the --url of the server");
    other.kill();
    server.kill();
    assert_eq!(served(&backup), written);
    let directory = RealDirectory::open(&backup).unwrap();
    assert!(Manifest::load(&directory).unwrap().unwrap().blocks.len() >= 2);
}
