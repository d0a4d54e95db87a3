//! `explain`, statistics of queries, and their limits.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::server::{TestServer, write_counter};

#[test]
fn a_plan_is_explained_as_json_and_as_text() {
    let server = TestServer::start();
    write_counter(&server);
    let fields = [("query", "sum by (path) (rate(requests_total[4s])) > 1 + 1"), ("time", "8")];
    let data = server.form("/api/v1/explain", &fields).json()["data"].clone();
    let aggregate = &data["plan"]["inputs"][0];
    assert_eq!((&data["plan"]["kind"], &data["plan"]["operation"]), (&json!("map"), &json!(">")));
    assert_eq!(aggregate["operation"], "sum by (path)");
    assert_eq!(aggregate["pushDowns"], json!(["without_rows", "needed_labels"]));
    let rollup = &aggregate["inputs"][0];
    assert_eq!((&rollup["operation"], &rollup["pushDowns"]), (&json!("rate"), &json!(["fused"])));
    let selection = &rollup["selection"];
    assert_eq!((&selection["estimatedSeries"], &selection["window"]), (&json!(1), &json!(4.0)));
    assert_eq!(selection["matchers"][0]["matcher"], "__name__=\"requests_total\"");
    assert_eq!(
        (&selection["startNanoseconds"], &selection["endNanoseconds"]),
        (&json!(4_000_000_001_u64), &json!(8_000_000_000_u64))
    );
    assert_eq!(data["plan"]["inputs"][1]["pushDowns"], json!(["constant_folded"]));
    assert!(data["analysis"].is_null() && rollup["read"].is_null() && aggregate["measured"].is_null());

    let analyzed = server.form("/api/v1/explain", &[&fields[..], &[("analyze", "true")]].concat());
    let data = &analyzed.json()["data"];
    let aggregate = &data["plan"]["inputs"][0];
    assert_eq!(aggregate["measured"]["rows"], 1);
    assert!(aggregate["measured"]["seconds"].is_f64(), "{data}");
    let read = &aggregate["inputs"][0]["read"];
    assert_eq!((&read["series"], &read["samples"]), (&json!(1), &json!(4)));
    assert!(read["encodedBytes"].as_u64().unwrap() > 0, "{data}");
    assert_eq!(data["analysis"]["samples"], 4);

    let range = "/api/v1/explain?query=sum(requests_total%20@%205)&start=1&end=9&step=2&format=text";
    let text = server.get(range);
    assert_eq!(text.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(
        text.body.starts_with("evaluated at 5 steps of 2s from 1 to 9\ninvariant [evaluated once]\n"),
        "{}",
        text.body
    );

    for (path, part) in [
        ("/api/v1/explain?query=)", "invalid parameter \"query\": "),
        ("/api/v1/explain?query=1&format=xml", "invalid parameter \"format\": "),
        ("/api/v1/explain?query=1&analyze=x", "invalid parameter \"analyze\": "),
        ("/api/v1/explain?query=1&start=1&step=1", "invalid parameter \"end\": "),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, &answer.json()["errorType"]), (400, &json!("bad_data")), "{path}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with(part), "{path}: {}", answer.body);
    }
}

#[test]
fn statistics_are_those_of_prometheus() {
    let server = TestServer::start();
    write_counter(&server);
    let range = "/api/v1/query_range?query=sum_over_time(requests_total[2s])&start=4&end=6&step=1";
    assert!(server.get(range).json()["data"].get("stats").is_none());
    let some = server.get(&format!("{range}&stats=1")).json()["data"]["stats"].clone();
    assert_eq!(some["samples"], json!({"totalQueryableSamples": 6, "peakSamples": 3}));
    let all = server.get(&format!("{range}&stats=all")).json()["data"]["stats"].clone();
    assert_eq!(all["samples"]["totalQueryableSamplesPerStep"], json!([[4, 2], [5, 2], [6, 2]]));
    let timings: Vec<&String> = all["timings"].as_object().unwrap().keys().collect();
    let names = [
        "evalTotalTime",
        "execQueueTime",
        "execTotalTime",
        "innerEvalTime",
        "queryPreparationTime",
        "resultSortTime",
    ];
    assert_eq!(timings, names);
    assert!(all["timings"].as_object().unwrap().values().all(serde_json::Value::is_f64), "{all}");
    let instant = server.get("/api/v1/query?query=requests_total&time=4.5&stats=all").json();
    let per_step = &instant["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"];
    assert_eq!(*per_step, json!([[4.5, 1]]));
}

#[test]
fn each_limit_of_a_query_is_named_and_counted() {
    for (name, set, path) in [
        (
            "query_samples_max",
            (|config| config.query_samples_max = 5) as fn(&mut timberline::config::Config),
            "/api/v1/query?query=sum_over_time(requests_total[1m])&time=10",
        ),
        (
            "selector_series_max",
            |config| config.selector_series_max = 0,
            "/api/v1/query?query=requests_total&time=10",
        ),
        (
            "result_points_max",
            |config| config.result_points_max = 2,
            "/api/v1/query_range?query=requests_total&start=1&end=9&step=1",
        ),
        (
            "query_memory_bytes_max",
            |config| config.query_memory_bytes_max = 1000,
            "/api/v1/query_range?query=vector(1)%2Brequests_total&start=1&end=9&step=0.01",
        ),
    ] {
        let server = TestServer::start_with(set);
        write_counter(&server);
        let answer = server.get(path);
        assert_eq!(
            (answer.status, &answer.json()["errorType"]),
            (422, &json!("execution")),
            "{}",
            answer.body
        );
        assert!(answer.body.contains(&format!("limit {name} reached")), "{}", answer.body);
        server.wait_for_metric(&format!("timberline_queries_refused_by_limit_total{{limit=\"{name}\"}} 1"));
    }
    let server = TestServer::start();
    let late = server.get("/api/v1/query?query=1&timeout=0s");
    assert_eq!((late.status, late.body.contains("query_timeout")), (503, true), "{}", late.body);
    server.wait_for_metric("timberline_queries_refused_by_limit_total{limit=\"query_timeout\"} 1");
    assert_eq!(server.get("/api/v1/query_range?query=1&start=1&end=20000&step=1").status, 400);
    server.wait_for_metric("timberline_queries_refused_by_limit_total{limit=\"query_steps_max\"} 1");
}

#[test]
fn a_client_that_hangs_up_leaves_the_queue_and_ends_what_it_runs() {
    let server = TestServer::start_with(|config| {
        config.query_concurrency_max = 1;
        config.query_queue_max = 1;
        // Nothing but the client ends the queries below.
        config.query_timeout = Duration::from_secs(24 * 3600);
        config.query_steps_max = 1_000_000;
    });
    let ask = || {
        let mut connection = TcpStream::connect(server.address).unwrap();
        // Sorts 100,000 points for each of 100,000 steps of one series.
        let query = "quantile_over_time(0.5,vector(time())[100000s:1s])";
        let path = format!("/api/v1/explain?analyze=true&query={query}&start=100000&end=200000&step=1");
        write!(connection, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        connection
    };
    let running = ask();
    server.wait_for_metric("timberline_queries_running 1");
    let waiting = ask();
    server.wait_for_metric("timberline_queries_waiting 1");
    let refused = server.get("/api/v1/query?query=1&stats=all");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.body);
    assert!(refused.body.contains("limit query_queue_max reached"), "{}", refused.body);
    server.wait_for_metric("timberline_queries_refused_by_limit_total{limit=\"query_queue_max\"} 1");

    drop(waiting);
    server.wait_for_metric("timberline_queries_waiting 0");
    server.wait_for_metric("timberline_queries_running 1");
    drop(running);
    server.wait_for_metric("timberline_queries_failed_total{error_type=\"canceled\"} 1");
    server.wait_for_metric("timberline_queries_running 0");
}
