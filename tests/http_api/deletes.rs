//! Deletes and snapshots over HTTP.

use std::net::SocketAddr;

use serde_json::json;
use ureq::Agent;

use super::server::{TestServer, write_counter};

const DELETE: &str = "/api/v1/admin/tsdb/delete_series";

/// Three series `m_a`, `m_b` and `m_c` with samples at 1, 2 and 3 s.
fn write_three(server: &TestServer) {
    let lines = b"m a=1,b=10,c=100 1\nm a=2,b=20,c=200 2\nm a=3,b=30,c=300 3";
    assert_eq!(server.post("/write?precision=s", lines).status, 204);
}

/// The values of a series at 1, 2 and 3 s.
fn values(server: &TestServer, series: &str) -> Vec<String> {
    let found = server.query(&format!("{series}[1h]"), "10");
    let values = found[0]["values"].as_array().cloned().unwrap_or_default();
    values.iter().map(|value| value[1].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_deleted_is_gone_everywhere_and_can_be_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(directory.path(), |_| {});
    write_three(&server);
    server.post("/api/v1/admin/tsdb/flush", b"");
    write_three(&server);
    let form = [
        ("match[]", "m_a"),
        ("match[]", "{__name__=\"m_b\"}"),
        ("start", "2"),
        ("end", "1970-01-01T00:00:02Z"),
    ];
    let answer = server.form(DELETE, &form);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(values(&server, "m_a"), ["1", "3"]);
    assert_eq!(values(&server, "m_b"), ["10", "30"]);
    assert_eq!(values(&server, "m_c"), ["100", "200", "300"]);
    let put = Agent::new_with_defaults()
        .put(format!("http://{}{DELETE}?match[]=m_a", server.address))
        .send_empty()
        .unwrap();
    assert_eq!(put.status(), 204);
    assert!(values(&server, "m_a").is_empty());
    assert_eq!(server.get("/api/v1/label/__name__/values").json()["data"], json!(["m_b", "m_c"]));
    assert_eq!(server.get("/api/v1/series?match[]=m_a").json()["data"], json!([]));
    let inside = server.get("/api/v1/series?match[]={__name__=~%22m_.%22}&start=2&end=2").json();
    assert_eq!(inside["data"], json!([{"__name__": "m_c"}]));
    assert_eq!(server.get("/api/v1/export?match[]=m_a").body, "");
    server.stop();

    let server = TestServer::start_in(directory.path(), |_| {});
    assert!(values(&server, "m_a").is_empty());
    assert_eq!(server.post("/write?precision=s", b"m a=7 2").status, 204);
    for path in ["flush", "compact", "clean_tombstones"] {
        assert_eq!(values(&server, "m_a"), ["7"], "before {path}");
        let answer = server.post(&format!("/api/v1/admin/tsdb/{path}"), b"");
        assert_eq!(answer.status, if path == "clean_tombstones" { 204 } else { 200 });
    }
    assert_eq!(values(&server, "m_a"), ["7"]);
    assert_eq!(values(&server, "m_b"), ["10", "30"]);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("\ntimberline_block_deleted_samples 0\n"), "{metrics}");
}

#[test]
fn everything_of_labels_goes_with_the_last_series() {
    let server = TestServer::start();
    write_counter(&server);
    assert_eq!(server.form(DELETE, &[("match[]", "{path=\"/a\"}")]).status, 204);
    assert_eq!(server.get("/api/v1/labels").json()["data"], json!([]));
    assert_eq!(server.get("/api/v1/label/path/values").json()["data"], json!([]));
    assert_eq!(server.query("count(requests_total)", "10"), json!([]));
}

#[test]
fn bad_deletes_are_refused_as_prometheus_refuses_them() {
    let server = TestServer::start();
    write_three(&server);
    for (form, reason) in [
        (vec![], "no match[] parameter provided"),
        (vec![("match[]", "m_a{")], "match[]"),
        (vec![("match[]", "{__name__=~\".*\"}")], "at least one non-empty matcher"),
        (vec![("match[]", "m_a"), ("start", "x")], "start"),
        (vec![("match[]", "m_a"), ("start", "2"), ("end", "1")], "end timestamp must not be before start"),
    ] {
        let answer = server.form(DELETE, &form);
        assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")), "{form:?}");
        assert!(answer.json()["error"].as_str().unwrap().contains(reason), "{}", answer.body);
    }
    assert_eq!(values(&server, "m_a"), ["1", "2", "3"], "nothing was deleted");
    assert_eq!(server.get(DELETE).status, 405);
    let open = TestServer::start_with(|config| config.listen = SocketAddr::from(([0, 0, 0, 0], 0)));
    for path in ["delete_series?match[]=m_a", "clean_tombstones", "snapshot"] {
        assert_eq!(open.post(&format!("/api/v1/admin/tsdb/{path}"), b"").status, 403, "{path}");
    }
}

#[test]
fn a_delete_that_is_not_understood_deletes_nothing() {
    let server = TestServer::start();
    write_three(&server);
    let before = server.get("/api/v1/export?match[]=%7B__name__!=%22%22%7D").body;
    let path = "/api/v1/admin/tsdb/delete_series?match[]=%7B__name__!=%22%22%7D";
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    for (parameters, headers, body, told) in [
        ("", &[("Content-Type", "application/json")][..], "{\"start\":1}", "does not call a form"),
        ("", &[("Content-Type", "text/plain")], "start=1&end=2", "does not call a form"),
        ("", &[], "start=1&end=2", "does not call a form"),
        ("&strat=1", &[], "", "\"strat\" is not known here"),
        ("&start[]=1", &[], "", "\"start[]\" is not known here"),
        ("&db=x", &[], "", "\"db\" is not known here"),
        ("&start=&end=", &[], "", "\"start\" has no value"),
        ("&start=1&start=2", &[], "", "\"start\" is given more than once"),
        ("&start=1", &form, "start=2", "\"start\" is given more than once"),
        ("", &form, "End=2", "\"End\" is not known here"),
        ("&end=1700000000000", &[], "", "numbers are seconds"),
        ("&start=1700000000000", &[], "", "numbers are seconds"),
    ] {
        let answer = server.post_with(&format!("{path}{parameters}"), headers, body.as_bytes());
        assert_eq!(answer.status, 400, "{parameters} {body}");
        assert!(
            answer.json()["error"].as_str().unwrap().contains(told),
            "{parameters} {body}: {}",
            answer.body
        );
    }
    assert_eq!(server.get("/api/v1/export?match[]=%7B__name__!=%22%22%7D").body, before);
    let all_time = "&start=-292273086-05-16T16:47:06Z&end=9999-12-31T23:59:59Z";
    assert_eq!(server.post(&format!("{path}{all_time}"), b"").status, 204);
}

#[test]
fn a_snapshot_can_be_served() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(directory.path(), |_| {});
    write_three(&server);
    let without_head = server.post("/api/v1/admin/tsdb/snapshot?skip_head=true", b"").json();
    assert_eq!(server.form(DELETE, &[("match[]", "m_a"), ("end", "1")]).status, 204);
    let answer = server.post("/api/v1/admin/tsdb/snapshot", b"").json();
    assert_eq!(answer["status"], "success");
    write_three(&server);
    assert_eq!(server.post("/api/v1/admin/tsdb/snapshot?skip_head=maybe", b"").status, 400);
    server.stop();
    let open = |answer: &serde_json::Value| {
        let name = answer["data"]["name"].as_str().unwrap();
        TestServer::start_in(&directory.path().join("snapshots").join(name), |_| {})
    };
    let copy = open(&answer);
    assert_eq!(values(&copy, "m_a"), ["2", "3"]);
    assert_eq!(values(&copy, "m_c"), ["100", "200", "300"]);
    assert_eq!(copy.post("/write?precision=s", b"m a=5 1").status, 204);
    assert_eq!(copy.post("/api/v1/admin/tsdb/clean_tombstones", b"").status, 204);
    assert_eq!(values(&copy, "m_a"), ["5", "2", "3"]);
    assert!(values(&open(&without_head), "m_c").is_empty());
    let server = TestServer::start_in(directory.path(), |_| {});
    assert_eq!(values(&server, "m_a"), ["1", "2", "3"], "the snapshot is one of its own");
}
