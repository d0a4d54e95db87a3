//! `format_query` and `parse_query`.

use serde_json::json;

use super::server::TestServer;

#[test]
fn queries_are_formatted() {
    let server = TestServer::start();
    let formatted = server.get("/api/v1/format_query?query=sum(foo)by(a)/%20on%20()%20bar%5B5m:%5D%20@0");
    assert_eq!(formatted.status, 400, "{}", formatted.body);
    let formatted = server.get("/api/v1/format_query?query=sum(foo)by(a)%2F2");
    assert_eq!(formatted.body, r#"{"status":"success","data":"sum by (a) (foo) / 2"}"#);
    assert_eq!(formatted.header("content-type"), Some("application/json"));
    let name = "a_name_that_needs_a_line_of_its_own_since_it_is_rather_long";
    let posted = server.form("/api/v1/format_query", &[("query", &format!("{name}+{name}"))]);
    assert_eq!(posted.json()["data"], format!("  {name}\n+\n  {name}"));
    for path in ["/api/v1/format_query", "/api/v1/parse_query?query=)"] {
        let refused = server.get(path);
        assert_eq!((refused.status, &refused.json()["errorType"]), (400, &json!("bad_data")));
        let error = refused.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.starts_with("invalid parameter \"query\": "), "{error}");
    }
}

#[test]
fn trees_are_those_of_prometheus() {
    let server = TestServer::start();
    let tree = |query: &str| server.form("/api/v1/parse_query", &[("query", query)]).json()["data"].clone();
    let selector = |name: &str| {
        json!({
            "type": "vectorSelector", "name": name, "offset": 0, "timestamp": null, "startOrEnd": null,
            "anchored": false, "smoothed": false,
            "matchers": [{"name": "__name__", "value": name, "type": "="}],
        })
    };
    assert_eq!(
        tree("-topk by (a) (2, foo)"),
        json!({
            "type": "unaryExpr", "op": "-",
            "expr": {
                "type": "aggregation", "op": "topk", "grouping": ["a"], "without": false,
                "param": {"type": "numberLiteral", "val": "2"}, "expr": selector("foo"),
            },
        })
    );
    assert_eq!(
        tree("(foo) == bool on (x) group_left (y) fill_right (Inf) bar"),
        json!({
            "type": "binaryExpr", "op": "==", "bool": true,
            "lhs": {"type": "parenExpr", "expr": selector("foo")}, "rhs": selector("bar"),
            "matching": {
                "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
                "fillValues": {"lhs": null, "rhs": "+Inf"},
            },
        })
    );
    assert_eq!(tree("foo * 2")["matching"], json!(null));
    let call = tree("quantile_over_time(0.5, {a=~\"b\"}[5m] anchored @ 1.5 offset -1m)");
    assert_eq!(
        call["func"],
        json!({
            "name": "quantile_over_time", "argTypes": ["scalar", "matrix"], "variadic": 0, "returnType": "vector",
        })
    );
    assert_eq!(
        call["args"][1],
        json!({
            "type": "matrixSelector", "name": "", "range": 300_000, "offset": -60_000, "timestamp": 1500,
            "startOrEnd": null, "anchored": true, "smoothed": false,
            "matchers": [{"name": "a", "value": "b", "type": "=~"}],
        })
    );
    assert_eq!(
        tree("foo[1h:step()] @ end()"),
        json!({
            "type": "subquery", "expr": selector("foo"), "range": 3_600_000, "step": 0, "stepExpr": "step()",
            "offset": 0, "timestamp": null, "startOrEnd": "end",
        })
    );
    assert_eq!(tree("\"x\""), json!({"type": "stringLiteral", "val": "x"}));
}

/// As programs write them that join what they are asked for.
#[test]
fn queries_may_be_thousands_of_operators_long_and_deep() {
    let server = TestServer::start();
    let chain = vec!["up"; 5_000].join(" or ");
    let (open, close) = ("(".repeat(3_000), ")".repeat(3_000));
    let nested = format!("-{open}{}{close}", vec!["2"; 3_000].join("^"));
    for text in [&chain, &nested] {
        let formatted = server.form("/api/v1/format_query", &[("query", text)]);
        assert_eq!(formatted.status, 200);
        let written: String = formatted.json()["data"].as_str().unwrap().split_whitespace().collect();
        assert_eq!(written, text.split_whitespace().collect::<String>());
        let parsed = server.form("/api/v1/parse_query", &[("query", text)]);
        assert_eq!(parsed.status, 200);
        let levels = parsed.body.matches(r#""type":"binaryExpr""#).count();
        assert!(levels == 4_999 || levels == 2_999, "{levels} levels");
        let answer = server.form("/api/v1/query", &[("query", text)]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let explained = server.form("/api/v1/explain", &[("query", text)]);
        assert_eq!(explained.status, 200);
    }
    let deeper = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let refused = server.form("/api/v1/query", &[("query", &deeper)]);
    assert_eq!(refused.status, 400);
    let error = refused.json()["error"].to_string();
    assert!(
        error.contains("1:10001: parse error: expression is nested too deeply, the limit is 10000 levels")
    );
}
