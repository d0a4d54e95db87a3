//! Prometheus remote write.

use prost::Message;
use serde_json::json;

use super::server::TestServer;

/// `prometheus.WriteRequest` as far as the tests need it.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

pub(crate) const REMOTE_WRITE: [(&str, &str); 2] =
    [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];

/// A body with one sample, 1.5 at 1 s, for each label set.
fn remote_write(label_sets: &[&[(&str, &str)]]) -> Vec<u8> {
    remote_write_at(label_sets, &[1000])
}

/// A body with the sample 1.5 at each of the times, in milliseconds, for each label set.
pub(crate) fn remote_write_at(label_sets: &[&[(&str, &str)]], times: &[i64]) -> Vec<u8> {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    let series = |labels: &&[(&str, &str)]| TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: times.iter().map(|timestamp| Sample { value: 1.5, timestamp: *timestamp }).collect(),
        histograms: Vec::new(),
    };
    let request = WriteRequest { timeseries: label_sets.iter().map(series).collect() };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

#[test]
fn remote_write_is_stored_or_refused_by_type() {
    let server = TestServer::start();
    let good = remote_write(&[&[("__name__", "up"), ("job", "x")]]);
    let headers = REMOTE_WRITE;
    let answer = server.post_with("/api/v1/write", &headers, &good);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(server.query("up", "2")[0]["value"], json!([2, "1.5"]));

    let zstd = [headers[0], ("Content-Encoding", "zstd")];
    assert_eq!(server.post_with("/api/v1/write", &zstd, &good).status, 415);
    let v2 = [("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"), headers[1]];
    assert_eq!(server.post_with("/api/v1/write", &v2, &good).status, 415);
    assert_eq!(server.post_with("/api/v1/write", &[("Content-Type", "text/plain")], &good).status, 415);
    assert_eq!(server.post_with("/api/v1/write", &headers, b"garbage").status, 400);

    let partial = remote_write(&[&[("a", "1"), ("a", "2")], &[("__name__", "ok")]]);
    let answer = server.post_with("/api/v1/write", &headers, &partial);
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("series 1 ") && answer.body.contains("given twice"), "{}", answer.body);
    assert_eq!(server.query("ok", "2")[0]["value"][1], "1.5");
}

#[test]
fn histograms_are_stored_and_bad_ones_named() {
    let server = TestServer::start();
    let histogram = |timestamp, count| Histogram {
        count,
        sum: 2.5,
        schema: 1,
        positive_spans: vec![Span { offset: -1, length: 2 }],
        positive_deltas: vec![3, -1],
        timestamp,
    };
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let write = |histograms| {
        let labels = vec![label("__name__", "latency"), label("job", "x")];
        let samples = vec![Sample { value: 1.5, timestamp: 1000 }];
        let request = WriteRequest { timeseries: vec![TimeSeries { labels, samples, histograms }] };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        server.post_with("/api/v1/write", &REMOTE_WRITE, &body)
    };
    assert_eq!(write(vec![histogram(2000, 5), histogram(3000, 5)]).status, 204);
    let answer = write(vec![histogram(4000, 6), histogram(5000, 5)]);
    assert_eq!(answer.status, 400);
    let reason = "partial write: 2 samples stored, 1 series not or not in full: series 1 {__name__=\"latency\", \
                  job=\"x\"}: 1 histograms left out: at 4000 ms: 5 observations found in buckets";
    assert!(answer.body.starts_with(reason), "{}", answer.body);
    let one = r#"{"schema":1,"count":5.0,"sum":2.5,"positive":{"spans":[[-1,2]],"counts":[3.0,2.0]}}"#;
    let expected = format!(
        "{{\"metric\":{{\"__name__\":\"latency\",\"job\":\"x\"}},\"values\":[1.5,{one},{one},{one}],\"timestamps\":[1000,2000,3000,5000]}}\n"
    );
    assert_eq!(server.get("/api/v1/export?match[]=latency").body, expected);

    let shown = json!({"count": "5", "sum": "2.5",
        "buckets": [[0, "0.5", "0.7071067811865476", "3"], [0, "0.7071067811865476", "1", "2"]]});
    let instant = server.query("latency", "3");
    assert_eq!(instant[0]["histogram"], json!([3, shown]));
    assert!(instant[0].get("value").is_none());
    for query in ["query?query=latency[5s]&time=5", "query_range?query=latency&start=1&end=3&step=1"] {
        let series = server.get(&format!("/api/v1/{query}")).json()["data"]["result"][0].clone();
        assert_eq!(series["values"], json!([[1, "1.5"]]), "{query}");
        assert_eq!(series["histograms"][1], json!([3, shown]), "{query}");
    }
    let range = server.get("/api/v1/query_range?query=latency&start=2&end=3&step=1").json();
    assert!(range["data"]["result"][0].get("values").is_none());
}

#[test]
fn a_remote_write_of_many_empty_series_is_answered() {
    let server = TestServer::start();
    let bomb = snap::raw::Encoder::new().compress_vec(&b"\x0a\0".repeat(2 << 20)).unwrap();
    let answer = server.post_with("/api/v1/write", &REMOTE_WRITE, &bomb);
    assert_eq!(answer.status, 400);
    assert!(
        answer
            .body
            .starts_with("partial write: 0 samples stored, 2097152 series not or not in full: series 1 {}: "),
        "{}",
        answer.body
    );
}
