//! Limits on series, and which labels have the most of them.

use serde_json::json;

use super::server::TestServer;

#[test]
fn each_limit_is_named_counted_and_keeps_good_lines_in() {
    let server = TestServer::start_with(|config| {
        config.head_series_max = Some(3);
        config.ingest.labels_max = 3;
        config.ingest.label_name_bytes_max = 8;
        config.ingest.label_value_bytes_max = 20;
    });
    let long_name = "m,averylongname=1 f=1";
    let long_value = "m,a=averylongvalueindeedmorethan20 f=1";
    let body =
        ["m,a=1 f=1,g=2", "m,a=1,b=1,c=1 f=1", long_name, long_value, "m,a=2 f=1", "m,a=3 f=1", "m,a=1 g=3"];
    let answer = server.post("/write", body.join("\n").as_bytes());
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    for part in [
        "partial write: line 2, column 1: limit labels_max reached: 4 is more than 3",
        "line 3, column 1: limit label_name_bytes_max reached: 13 is more than 8",
        "line 4, column 1: limit label_value_bytes_max reached: 30 is more than 20",
        "line 6, column 1: limit head_series_max reached: 4 is more than 3",
        " dropped=4",
    ] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    let metrics = server.get("/metrics").body;
    for limit in ["labels_max", "label_name_bytes_max", "label_value_bytes_max", "head_series_max"] {
        let line =
            format!("timberline_refused_rows_by_reason_total{{protocol=\"line\",reason=\"{limit}\"}} 1");
        assert!(metrics.lines().any(|l| l == line), "no line {line} in:\n{metrics}");
    }
    for line in ["timberline_head_series 3", "timberline_series_created_total 3"] {
        assert!(metrics.lines().any(|l| l == line), "no line {line} in:\n{metrics}");
    }
    let imported =
        server.post("/api/v1/import", br#"{"metric":{"__name__":"n"},"values":[1],"timestamps":[1]}"#);
    assert_eq!(imported.status, 400);
    let error = imported.json()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("unable to parse: line 1, column 1: limit head_series_max reached"), "{error}");
}

#[test]
fn series_for_which_there_is_no_memory_are_refused_with_the_limits_name() {
    let server = TestServer::start_with(|config| config.head_bytes_max = 200_000);
    let lines: String = (0..3_000).map(|host| format!("m,host={host} f=1 1\n")).collect();
    let answer = server.post("/write", lines.as_bytes());
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains(": limit head_bytes_max reached: "), "{error}");
    assert!(error.contains(" is more than 350000"), "{error}");
    assert_eq!(server.post("/api/v1/admin/tsdb/flush", b"").status, 200);
    assert_eq!(server.post("/write", b"m,host=new f=2 2").status, 204, "blocks take no memory");
    let (_, dropped) = error.rsplit_once("dropped=").unwrap();
    let line = format!(
        "timberline_refused_rows_by_reason_total{{protocol=\"line\",reason=\"head_bytes_max\"}} {dropped}"
    );
    server.wait_for_metric(&line);
    assert_eq!(server.get("/-/healthy").status, 200);
}

#[test]
fn the_labels_with_the_most_series_are_listed_as_prometheus_does() {
    let server = TestServer::start();
    let body = "cpu,host=a u=1,s=2 1000000000\ncpu,host=b u=1,s=2 2000000000\nmem,host=a free=1 3000000000\n";
    assert_eq!(server.post("/write", body.as_bytes()).status, 204);
    let expected = json!({
        "headStats":
            {"numSeries": 5, "numLabelPairs": 5, "chunkCount": 5, "minTime": 1000, "maxTime": 3000},
        "seriesCountByMetricName": [{"name": "cpu_s", "value": 2}, {"name": "cpu_u", "value": 2}],
        "labelValueCountByLabelName": [{"name": "__name__", "value": 3}, {"name": "host", "value": 2}],
        "memoryInBytesByLabelName": [{"name": "__name__", "value": 28}, {"name": "host", "value": 5}],
        "seriesCountByLabelValuePair": [{"name": "host=a", "value": 3}, {"name": "__name__=cpu_s", "value": 2}],
    });
    let mut answer = server.get("/api/v1/status/tsdb?limit=2").json();
    assert!(answer["data"].as_object_mut().unwrap().remove("retentionClock").is_some());
    assert_eq!(answer, json!({"status": "success", "data": expected}));
    let all = server.get("/api/v1/status/tsdb").json();
    assert_eq!(all["data"]["seriesCountByLabelValuePair"].as_array().unwrap().len(), 5);

    assert_eq!(server.post("/api/v1/admin/tsdb/flush", b"").status, 200);
    let head = server.get("/api/v1/status/tsdb").json();
    assert_eq!(
        (&head["data"]["headStats"]["numSeries"], &head["data"]["seriesCountByMetricName"]),
        (&json!(0), &json!([]))
    );
    let blocks = server.get("/api/v1/status/tsdb?limit=2&blocks=true").json();
    for list in ["seriesCountByMetricName", "labelValueCountByLabelName", "memoryInBytesByLabelName"] {
        assert_eq!(blocks["data"][list], expected[list], "{list}");
    }
    for (query, error) in [
        ("limit=0", "limit must be a positive number"),
        ("limit=x", "limit must be a positive number"),
        ("limit=10001", "limit must not exceed 10000"),
        ("blocks=perhaps", "\"perhaps\" is not true or false"),
    ] {
        let answer = server.get(&format!("/api/v1/status/tsdb?{query}"));
        assert_eq!(
            (answer.status, answer.json()["errorType"].as_str().unwrap()),
            (400, "bad_data"),
            "{query}"
        );
        assert!(answer.json()["error"].as_str().unwrap().contains(error), "{query}: {}", answer.body);
    }
}
