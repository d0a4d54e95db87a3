//! Queries, labels and series, export.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{GZIP, TestServer, gzip, write_counter};

#[test]
fn queries_answer_as_prometheus_does() {
    let server = TestServer::start();
    write_counter(&server);
    let instant = server.get("/api/v1/query?query=requests_total&time=1970-01-01T00:00:10.5Z");
    assert_eq!(instant.header("content-type"), Some("application/json"));
    assert_eq!(
        instant.body,
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"requests_total","path":"/a"},"value":[10.500,"20"]}]}}"#
    );
    let range = server.form(
        "/api/v1/query_range",
        &[("query", "rate(requests_total[4s])"), ("start", "6"), ("end", "8"), ("step", "1s")],
    );
    assert_eq!(
        range.json()["data"],
        json!({"resultType": "matrix", "result": [
            {"metric": {"path": "/a"}, "values": [[6, "2"], [7, "2"], [8, "2"]]},
        ]})
    );
    assert_eq!(server.get("/api/v1/query?query=1%2B1&time=4").json()["data"]["result"], json!([4, "2"]));
    assert_eq!(server.get("/api/v1/query?query=1e21&time=4").json()["data"]["result"], json!([4, "1e+21"]));
    let string = server.get("/api/v1/query?query=%22x%22&time=4").json();
    assert_eq!(string["data"], json!({"resultType": "string", "result": [4, "x"]}));
    // As vmalert asks: parameters in the URL of a POST, an empty body that says it is JSON.
    let vmalert = server.post_with(
        "/api/v1/query?query=requests_total&time=1970-01-01T00:00:10Z&step=15s",
        &[("Content-Type", "application/json")],
        b"",
    );
    assert_eq!((vmalert.status, &vmalert.json()["data"]["result"][0]["value"]), (200, &json!([10, "20"])));
    let with_stats = server.get("/api/v1/query?query=requests_total&time=10&stats=all").json();
    assert!(with_stats["data"]["stats"]["samples"]["totalQueryableSamples"].is_u64(), "{with_stats}");
}

#[test]
fn query_errors_have_prometheus_codes_and_words() {
    let server = TestServer::start_with(|config| config.query_samples_max = 5);
    write_counter(&server);
    for (path, status, error_type, part) in [
        ("/api/v1/query?query=)", 400, "bad_data", "invalid parameter \"query\": 1:1: parse error: "),
        (
            "/api/v1/query?query=sum_over_time(up%5Bstep()%5D)",
            400,
            "bad_data",
            "invalid parameter \"query\": 17:23: duration must be greater than 0",
        ),
        (
            "/api/v1/query_range?query=up%5B5m%5D&start=1&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query",
        ),
        ("/api/v1/query", 400, "bad_data", "invalid parameter \"query\": "),
        (
            "/api/v1/query?query=1&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp",
        ),
        (
            "/api/v1/query?query=1&timeout=x",
            400,
            "bad_data",
            "invalid parameter \"timeout\": cannot parse \"x\" to a valid duration",
        ),
        (
            "/api/v1/query?query=1&limit=-1",
            400,
            "bad_data",
            "invalid parameter \"limit\": limit must be non-negative",
        ),
        (
            "/api/v1/query_range?query=1&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
        ),
        (
            "/api/v1/query_range?query=1&start=2&end=1&step=1",
            400,
            "bad_data",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        (
            "/api/v1/query_range?query=1&start=1&end=2&step=0",
            400,
            "bad_data",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "/api/v1/query_range?query=1&start=1&end=20000&step=1",
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "/api/v1/query?query=sum_over_time(requests_total[1m])&time=10",
            422,
            "execution",
            "limit query_samples_max reached",
        ),
        ("/api/v1/query?query=requests_total&time=10&timeout=0s", 503, "timeout", "query timed out"),
        ("/api/v1/series", 400, "bad_data", "no match[] parameter provided"),
        ("/api/v1/series?match[]=%7B%7D", 400, "bad_data", "invalid parameter \"match[]\": "),
        ("/api/v1/status/flags", 404, "not_found", ""),
        ("/nowhere", 404, "not_found", ""),
    ] {
        let answer = server.get(path);
        let json = answer.json();
        assert_eq!(
            (answer.status, &json["status"], &json["errorType"]),
            (status, &json!("error"), &json!(error_type)),
            "{path}: {json}"
        );
        assert!(json["error"].as_str().unwrap().starts_with(part), "{path}: {json}");
    }
    assert_eq!(server.post("/api/v1/alerts", b"").status, 405);
}

#[test]
fn labels_values_and_series_are_listed() {
    let server = TestServer::start();
    server
        .post("/write", b"a,host=x f=1 1000000000\na,host=y f=1 1000000000\nb,\xc3\xa4.b=1 f=1 1000000000\n");
    assert_eq!(
        server.get("/api/v1/labels").json(),
        json!({"status": "success", "data": ["__name__", "host", "ä.b"]})
    );
    assert_eq!(server.get("/api/v1/labels?match[]=a_f").json()["data"], json!(["__name__", "host"]));
    assert_eq!(server.get("/api/v1/label/__name__/values").json()["data"], json!(["a_f", "b_f"]));
    assert_eq!(server.get("/api/v1/label/U___e4__2e_b/values").json()["data"], json!(["1"]));
    let broken = server.get("/api/v1/label/%ff/values");
    assert_eq!((broken.status, &broken.json()["errorType"]), (400, &json!("bad_data")));
    let limited = server.get("/api/v1/label/host/values?limit=1").json();
    assert_eq!((&limited["data"], limited["warnings"][0].is_string()), (&json!(["x"]), true));
    assert_eq!(server.get("/api/v1/label/host/values?limit=0").json()["data"], json!(["x", "y"]));
    assert_eq!(server.get("/api/v1/label/host/values?start=100").json()["data"], json!([]));
    let series = server
        .form("/api/v1/series", &[("match[]", "a_f{host=\"y\"}"), ("match[]", "b_f"), ("match[]", "b_f")]);
    assert_eq!(
        series.json()["data"],
        json!([{"__name__": "a_f", "host": "y"}, {"__name__": "b_f", "ä.b": "1"}])
    );
}

#[test]
fn json_lines_go_out_as_they_came_in() {
    let server = TestServer::start();
    let lines = concat!(
        r#"{"metric":{"__name__":"a","x":"1"},"values":[1.0,-0.0,"NaN","Infinity",null,0.1],"timestamps":[1000,2000,3000,4000,5000,6001]}"#,
        "\n",
        r#"{"metric":{"__name__":"b"},"values":[5e-324],"timestamps":[-1]}"#,
        "\n"
    );
    assert_eq!(server.post_with("/api/v1/import", &[GZIP], &gzip(lines.as_bytes())).status, 204);
    let all = "/api/v1/export?match[]=a&match[]=b&match[]=%7Bx=%221%22%7D";
    assert_eq!(server.get(all).body, lines);
    assert_eq!(
        server.get("/api/v1/export?match[]=b&precision=ns").body,
        lines.lines().nth(1).unwrap().replace("-1]", "-1000000]") + "\n"
    );
    assert!(server.get("/api/v1/export?match[]=a&start=6").body.ends_with("[6001]}\n"));
    assert_eq!(server.get("/api/v1/export").body, lines, "all series, when none are named");

    let bad = server
        .post("/api/v1/import", b"{\"metric\":{\"__name__\":\"c\"},\"values\":[1],\"timestamps\":[1]}\n{\n");
    assert_eq!(bad.status, 400);
    assert!(
        bad.json()["error"].as_str().unwrap().starts_with("partial write: line 2, column "),
        "{}",
        bad.body
    );
}

#[test]
fn a_long_answer_is_streamed_whole() {
    let server = TestServer::start();
    let lines: Vec<String> = (0..200_000).map(|t| format!("m f={t} {t}")).collect();
    assert_eq!(server.post("/write?precision=s", lines.join("\n").as_bytes()).status, 204);
    let answer = server.get("/api/v1/export?match[]=m_f");
    assert_eq!(answer.header("content-length"), None);
    let values: usize = answer
        .body
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["values"].as_array().unwrap().len())
        .sum();
    assert_eq!((values, answer.body.lines().count()), (200_000, 4));
    let range = server.get("/api/v1/query_range?query=m_f&start=0&end=10000&step=1").json();
    assert_eq!(range["data"]["result"][0]["values"].as_array().unwrap().len(), 10_001);
}

#[test]
fn a_query_ends_when_its_client_hangs_up_and_the_queue_for_queries_is_bounded() {
    let server = TestServer::start_with(|config| {
        config.query_concurrency_max = 1;
        config.query_queue_max = 0;
        // Nothing but the client ends the query below.
        config.query_timeout = Duration::from_secs(24 * 3600);
        config.query_steps_max = 1_000_000;
        config.query_memory_bytes_max = u64::MAX;
    });
    write_counter(&server);
    let mut connection = TcpStream::connect(server.address).unwrap();
    // Sorts 100,000 points for each of 100,000 steps.
    let query = "quantile_over_time(0.5,vector(time())[100000s:1s])";
    write!(
        connection,
        "GET /api/v1/query_range?query={query}&start=100000&end=200000&step=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    .unwrap();
    server.wait_for_metric("timberline_queries_running 1");

    // Only what is short needs no place.
    assert_eq!(server.get("/api/v1/query?query=1").status, 200);
    let refused = server.get("/api/v1/query?query=1&stats=all");
    assert_eq!(
        (refused.status, &refused.json()["errorType"]),
        (503, &json!("unavailable")),
        "{}",
        refused.body
    );
    assert!(refused.body.contains("query_queue_max"), "{}", refused.body);

    drop(connection);
    server.wait_for_metric("timberline_queries_failed_total{error_type=\"canceled\"} 1");
    server.wait_for_metric("timberline_queries_running 0");
    assert_eq!(server.query("requests_total", "10")[0]["value"][1], "20");
}

#[test]
fn a_client_that_does_not_read_its_answer_keeps_no_other_waiting_while_there_is_memory() {
    for (answer_bytes_max, while_it_is_read) in [(100 << 20, 200), (1 << 20, 503)] {
        let server = TestServer::start_with(|config| {
            config.query_concurrency_max = 1;
            config.query_queue_max = 0;
            config.query_steps_max = 1_000_000;
            config.answer_bytes_max = answer_bytes_max;
        });
        let mut connection = TcpStream::connect(server.address).unwrap();
        // 30 MB of text, more than the sockets take, of 16 MB of points.
        let path = "/api/v1/query_range?query=vector(time())&start=1&end=1000000&step=1";
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // The answer begins once the query is evaluated.
        connection.read_exact(&mut [0]).unwrap();
        assert_eq!(server.get("/api/v1/query?query=1&stats=all").status, while_it_is_read);
        let metrics = server.get("/metrics").body;
        let is_held = !metrics.contains("timberline_answer_bytes_held 0\n");
        assert_eq!(is_held, while_it_is_read == 200, "{metrics}");

        drop(connection);
        server.wait_for_metric("timberline_answer_bytes_held 0");
        server.wait_for_metric("timberline_queries_running 0");
    }
}
