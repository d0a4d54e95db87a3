//! Forms: what of them is read, and that they make the server hold no more than they are.

use serde_json::json;

use super::server::{GZIP, TestServer, gzip, write_counter};

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const MULTIPART: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=----x");

/// The body of a form as browsers and `curl -F` send it; a value that begins with `@` is a file.
fn multipart(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in fields {
        let file = if value.starts_with('@') { "; filename=\"f\"" } else { "" };
        body +=
            &format!("------x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n");
    }
    (body + "------x--\r\n").into_bytes()
}

#[test]
fn a_form_is_bounded_as_sent_and_as_decompressed() {
    let server = TestServer::start();
    let bomb = gzip(&b"a&".repeat(16 << 20));
    let large = b"query=1&".repeat(2 << 20);
    for (headers, body) in [(vec![FORM, GZIP], &bomb), (vec![FORM], &large), (vec![MULTIPART, GZIP], &bomb)] {
        for path in ["/api/v1/query", "/api/v1/series", "/api/v1/export", "/query", "/api/v1/parse_query"] {
            let answer = server.post_with(path, &headers, body);
            assert_eq!(answer.status, 413, "{path}: {}", answer.body);
            assert!(answer.json()["error"].as_str().unwrap().contains("10485760 bytes"), "{}", answer.body);
        }
    }
    // As many pairs as a form can have, none of which the endpoint knows; then one that it does.
    let pairs = [b"a&".repeat(5 << 20).as_slice(), b"query=1"].concat();
    assert_eq!(server.post_with("/api/v1/query", &[FORM], &pairs[8..]).status, 200);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains("timberline_queries_running 0\n"), "{metrics}");
}

#[test]
fn what_a_form_holds_counts_among_what_its_query_may_hold() {
    let server = TestServer::start_with(|config| config.query_memory_bytes_max = 1 << 20);
    let selectors: String = (0..50_000).map(|i| format!("match[]=m{i}&")).collect();
    let answer = server.post_with("/api/v1/series", &[FORM], selectors.as_bytes());
    assert_eq!((answer.status, &answer.json()["errorType"]), (422, &json!("execution")), "{}", answer.body);
    assert!(answer.body.contains("limit query_memory_bytes_max reached"), "{}", answer.body);
    // Of a parameter that is one value the first counts, and the others are not kept.
    let repeated = [b"query=1".as_slice(), &b"&query=2".repeat(50_000)].concat();
    let answer = server.post_with("/api/v1/query", &[FORM], &repeated);
    assert_eq!((answer.status, &answer.json()["data"]["result"][1]), (200, &json!("1")), "{}", answer.body);
    let large = format!("query={}1", "1%2B".repeat(100_000));
    for path in ["/api/v1/query", "/api/v1/parse_query", "/api/v1/format_query", "/api/v1/explain"] {
        let answer = server.post_with(path, &[FORM], large.as_bytes());
        assert_eq!(answer.status, 422, "{path}: {}", answer.body);
        assert!(answer.body.contains("limit query_memory_bytes_max reached"), "{path}: {}", answer.body);
    }
}

#[test]
fn an_error_quotes_the_beginning_of_what_was_sent() {
    let server = TestServer::start();
    let long = "a".repeat(5_000_000);
    for (path, name) in [
        ("/api/v1/query", "time"),
        ("/api/v1/query_range", "step"),
        ("/api/v1/series", "match[]"),
        ("/api/v1/labels", "limit"),
        ("/query", "q"),
        ("/api/v1/format_query", "query"),
    ] {
        let text = if path.ends_with("format_query") { format!("\"{long}") } else { format!("{long})") };
        let mut fields = vec![("query", "up"), ("start", "1"), ("end", "2"), (name, &text)];
        fields.retain(|(other, value)| *other != name || *value == text);
        let answer = server.form(path, &fields);
        assert_eq!(answer.status, 400, "{path} {name}");
        assert!((50..20_000).contains(&answer.body.len()), "{path} {name}: {} bytes", answer.body.len());
    }
}

#[test]
fn multipart_forms_are_read_and_their_files_are_not() {
    let server = TestServer::start();
    write_counter(&server);
    let post = |path: &str, fields: &[(&str, &str)]| {
        let answer = server.post_with(path, &[MULTIPART], &multipart(fields));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()["data"].clone()
    };
    assert_eq!(post("/api/v1/query", &[("query", "1+1")])["result"][1], "2");
    let range = [("query", "requests_total"), ("start", "1"), ("end", "5"), ("step", "1")];
    assert_eq!(post("/api/v1/query_range", &range)["result"][0]["values"].as_array().unwrap().len(), 5);
    let selector = [("match[]", "none"), ("match[]", "requests_total"), ("start", "0"), ("end", "100")];
    assert_eq!(post("/api/v1/series", &selector), json!([{"__name__": "requests_total", "path": "/a"}]));
    assert_eq!(post("/api/v1/labels", &selector), json!(["__name__", "path"]));
    assert_eq!(post("/api/v1/query", &[("query", "@2"), ("x", "3"), ("query", "4")])["result"][1], "4");
    let zipped = server.post_with("/api/v1/query", &[MULTIPART, GZIP], &gzip(&multipart(&[("query", "5")])));
    assert_eq!(zipped.json()["data"]["result"][1], "5", "{}", zipped.body);

    for (content_type, body) in
        [("multipart/form-data", multipart(&[])), (MULTIPART.1, b"------x\r\nContent-".to_vec())]
    {
        let answer = server.post_with("/api/v1/query", &[("Content-Type", content_type)], &body);
        assert_eq!(
            (answer.status, &answer.json()["errorType"]),
            (400, &json!("bad_data")),
            "{}",
            answer.body
        );
        assert!(answer.body.contains("the form cannot be read"), "{}", answer.body);
    }
}

#[test]
fn label_values_are_asked_for_by_post_too() {
    let server = TestServer::start();
    write_counter(&server);
    let answer = server.form("/api/v1/label/path/values", &[("match[]", "requests_total")]);
    assert_eq!((answer.status, answer.json()["data"].clone()), (200, json!(["/a"])));
    let none = server.form("/api/v1/label/path/values", &[("match[]", "none")]);
    assert_eq!(none.json()["data"], json!([]));
}
