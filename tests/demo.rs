//! The demo: it measures this machine within seconds, survives `kill -9`, and ends cleanly on Ctrl-C.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod support;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use support::Server;
use support::series::{self, Cells, assert_includes};

const DATA_TIME_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Exports until each series of the CPU has more than `count` samples.
fn wait_for_samples(demo: &Server, count: usize) -> Cells {
    let deadline = Instant::now() + DATA_TIME_MAX;
    loop {
        let cells = demo.export();
        let mut cpu = cells.iter().filter(|(name, _)| name.contains("cpu_usage_percent")).peekable();
        if cpu.peek().is_some() && cpu.all(|(_, samples)| samples.len() > count) {
            return cells;
        }
        assert!(Instant::now() < deadline, "the demo measures nothing: {} series", cells.len());
        thread::park_timeout(PAUSE);
    }
}

fn start(folder: &Path) -> Server {
    Server::start("demo", folder)
}

#[test]
fn the_demo_keeps_its_history_through_kills_and_ends_on_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let demo = start(folder.path());
    demo.post("/write", b"room,name=attic temperature=21.5 1700000000000000000");
    let before = wait_for_samples(&demo, 1);
    let attic = series::name(&[("__name__", "room_temperature"), ("name", "attic")]);
    assert_eq!(before[&attic][&1_700_000_000_000_000_000], 21.5_f64.to_bits());
    for measurement in ["mem_used_bytes", "load", "net_received_bytes_total"] {
        assert!(before.keys().any(|name| name.contains(measurement)), "{measurement} is not measured");
    }
    let count = before.iter().find(|(name, _)| name.contains("cpu_usage_percent")).unwrap().1.len();
    demo.kill();

    let demo = start(folder.path());
    let after = wait_for_samples(&demo, count);
    assert_includes(&after, &before, "after kill -9");
    assert!(demo.interrupt().success());

    let demo = start(folder.path());
    assert_includes(&demo.export(), &after, "after Ctrl-C");
    assert!(demo.interrupt().success());
}
