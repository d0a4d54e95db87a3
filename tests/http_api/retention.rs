//! What is older than the retention: refused by name, counted, and no reason to refuse the rest.

use std::time::{Duration, SystemTime};

use super::remote_write::{REMOTE_WRITE, remote_write_at};
use super::server::TestServer;

const BEYOND: &str = "partial write: points beyond retention policy dropped=";

fn start() -> (TestServer, u64) {
    let server = TestServer::start_with(|config| config.retention = Some(Duration::from_secs(30 * 86_400)));
    (server, SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
}

#[test]
fn lines_that_are_too_old_are_refused_in_influxdbs_words() {
    let (server, now) = start();
    let (old, new) = (now - 31 * 86_400, now - 10);
    let body = format!("m,h=a v=1,w=2 {old}\nm,h=a v=2 {new}\nm,h=b v=3 {old}\n");
    let answer = server.post("/write?precision=s", body.as_bytes());
    assert_eq!((answer.status, answer.body), (400, format!(r#"{{"error":"{BEYOND}2"}}"#)));
    let answer = server.post("/api/v2/write?precision=s", body.as_bytes());
    let expected = format!(r#"{{"code":"invalid","line":1,"message":"{BEYOND}2"}}"#);
    assert_eq!((answer.status, answer.body), (400, expected));
    let answer = server.post("/write?precision=s", format!("{body}m v=\n").as_bytes());
    let text = answer.json()["error"].as_str().unwrap().to_owned();
    assert_eq!(answer.status, 400);
    assert!(text.starts_with("partial write: points beyond retention policy; line 1, column 1: "), "{text}");
    assert!(text.contains("line 4, column 5: ") && text.ends_with(" dropped=3"), "{text}");
    let found = server.query("{__name__=~\"m.*\"}", &now.to_string());
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    server.wait_for_metric("timberline_points_beyond_retention_total{protocol=\"line\"} 6");
}

#[test]
fn samples_that_are_too_old_are_refused_on_all_protocols() {
    let (server, now) = start();
    let (old, new) = ((now - 31 * 86_400) * 1000, (now - 10) * 1000);
    let line = |name: &str, times: &str| {
        let values = times.split(',').map(|_| "1").collect::<Vec<_>>().join(",");
        format!(r#"{{"metric":{{"__name__":"{name}"}},"values":[{values}],"timestamps":[{times}]}}"#)
    };
    let body = [line("a", &format!("{old},{},{new}", old + 1)), line("b", &new.to_string())].join("\n");
    let answer = server.post("/api/v1/import", body.as_bytes());
    assert_eq!((answer.status, answer.body), (400, format!(r#"{{"error":"{BEYOND}2"}}"#)));
    let body = remote_write_at(&[&[("__name__", "c")], &[("__name__", "d")]], &[old as i64, new as i64]);
    let answer = server.post_with("/api/v1/write", &REMOTE_WRITE, &body);
    assert_eq!(answer.status, 400);
    let text = format!(
        "{BEYOND}2; 2 samples stored, 2 series not or not in full: series 1 {{__name__=\"c\"}}: points"
    );
    assert!(answer.body.starts_with(&text), "{}", answer.body);
    let found = server.query("count({__name__=~\"[a-d]\"})", &now.to_string());
    assert_eq!(found[0]["value"][1], "4", "{found}");
    for protocol in ["json_lines", "remote_write"] {
        let line = format!("timberline_points_beyond_retention_total{{protocol=\"{protocol}\"}} 2");
        server.wait_for_metric(&line);
    }
}

#[test]
fn the_status_tells_what_time_the_retention_clock_shows() {
    let (server, now) = start();
    let clock = server.get("/api/v1/status/tsdb").json()["data"]["retentionClock"].clone();
    let shows = clock["time"].as_f64().unwrap();
    assert!((now as f64 - 1.0..now as f64 + 3600.0).contains(&shows), "{clock}");
    assert!(clock["behindSeconds"].as_f64().unwrap().abs() < 3600.0, "{clock}");
}
