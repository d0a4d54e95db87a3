//! The HTTP API from a client's side: a server in this process on a free port, asked over real connections.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;
use serde_json::{Value, json};
use tempfile::TempDir;
use timberline::config::Config;
use timberline::server::Server;
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::http::Response;

/// What a test waits for is there sooner, even on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A running server.
struct TestServer {
    url: String,
    address: SocketAddr,
    agent: Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    directory: Option<TempDir>,
}

impl TestServer {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(directory.path(), change);
        server.directory = Some(directory);
        server
    }

    fn start_in(directory: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { data_dir: directory.to_owned(), listen, ..Config::default() };
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let (address_sender, address) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind(config).await.unwrap();
                address_sender.send(server.address()).unwrap();
                let stopped = async { drop(stopped.await) };
                server.run(stopped).await.unwrap();
            });
        });
        let address: SocketAddr = address.recv().unwrap();
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://{address}");
        let server = Self { url, address, agent, stop: Some(stop), thread: Some(thread), directory: None };
        while server.get("/-/ready").status != 200 {
            thread::yield_now();
        }
        server
    }

    fn get(&self, path: &str) -> Answer {
        Answer::of(self.agent.get(format!("{}{path}", self.url)).call().unwrap())
    }

    fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.post_with(path, &[], body)
    }

    fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send(body).unwrap())
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.url));
        Answer::of(request.send_form(fields.iter().copied()).unwrap())
    }

    /// Asks an instant query and gives `data.result`.
    fn query(&self, query: &str, time: &str) -> Value {
        let answer = self.form("/api/v1/query", &[("query", query), ("time", time)]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["data"]["result"].clone()
    }

    /// Waits until `/metrics` has this line.
    fn wait_for_metric(&self, line: &str) {
        let started = Instant::now();
        loop {
            let text = self.get("/metrics").body;
            if text.lines().any(|l| l == line) {
                return;
            }
            assert!(started.elapsed() < WAIT_MAX, "no line {line} after {WAIT_MAX:?} in:\n{text}");
            thread::yield_now();
        }
    }

    fn stop(mut self) -> Duration {
        let started = Instant::now();
        self.stop_and_join();
        started.elapsed()
    }

    fn stop_and_join(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop_and_join();
        }
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn of(mut response: Response<ureq::Body>) -> Self {
        let headers =
            response.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
        Self { status, headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

#[test]
fn line_protocol_is_stored_under_its_names_and_database() {
    let server = TestServer::start();
    let answer = server.post(
        "/write?db=plant&rp=raw&precision=s&u=x&p=y",
        b"room,name=attic temperature=21.5,value=3i 100\n",
    );
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let found = server.query("{__name__=~\"room.*\"}", "100");
    let labels = |name| json!({"__name__": name, "db": "plant", "name": "attic", "rp": "raw"});
    assert_eq!(
        found,
        json!([
            {"metric": labels("room"), "value": [100, "3"]},
            {"metric": labels("room_temperature"), "value": [100, "21.5"]},
        ])
    );

    let answer = server.post("/api/v2/write?org=o&bucket=b&precision=ms", b"m f=1 200000");
    assert_eq!(answer.status, 204);
    assert_eq!(server.query("m_f", "200")[0]["metric"], json!({"__name__": "m_f", "db": "b"}));

    let answer = server.post_with("/write", &[GZIP], &gzip(b"m f=2 300000000000"));
    assert_eq!(answer.status, 204);
    assert_eq!(server.query("m_f{db=\"\"}", "300")[0]["value"], json!([300, "2"]));
}

#[test]
fn every_answer_has_the_influx_headers_and_a_request_id() {
    let server = TestServer::start();
    for path in ["/ping", "/", "/nowhere", "/api/v1/query?query=)"] {
        let answer = server.get(path);
        assert_eq!(answer.header("x-influxdb-version"), Some("1.8.10"), "{path}");
        assert!(answer.header("x-influxdb-build").is_some_and(|build| build.starts_with("timberline-")));
        assert!(answer.header("request-id").is_some() && answer.header("x-request-id").is_some());
    }
    let given = server.post_with("/write", &[("X-Request-Id", "mine")], b"m f=1");
    assert_eq!(given.header("request-id"), Some("mine"));
}

#[test]
fn bad_lines_are_named_and_good_ones_stored() {
    let server = TestServer::start();
    let body = b"m f=1 1000000000\nm f= 2\nm f=3 3000000000\nm,a f=4\n";
    let answer = server.post("/write", body);
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("partial write: line 2, column 5: "), "{error}");
    assert!(error.contains("; line 4, column ") && error.ends_with(" dropped=2"), "{error}");
    assert_eq!(server.query("count_over_time(m_f[1m])", "10")[0]["value"][1], "2");

    let answer = server.post("/api/v2/write?bucket=b", body);
    assert_eq!(answer.status, 400);
    let answer = answer.json();
    assert_eq!((&answer["code"], &answer["line"]), (&json!("invalid"), &json!(2)));

    let nothing = server.post("/write", b"m\n").json();
    assert!(nothing["error"].as_str().unwrap().starts_with("unable to parse: line 1, column "), "{nothing}");

    let many = server.post("/write", "bad\n".repeat(50).as_bytes()).json();
    let error = many["error"].as_str().unwrap();
    assert_eq!(error.matches("line ").count(), 10, "{error}");
    assert!(error.ends_with("; and 40 more dropped=50"), "{error}");

    let precision = server.post("/write?precision=d", b"m f=1");
    assert_eq!(precision.status, 400);
    assert!(precision.json()["error"].as_str().unwrap().contains("unknown precision"));
}

#[test]
fn bodies_are_bounded_as_sent_and_as_decompressed() {
    let server = TestServer::start_with(|config| config.body_bytes_max = 4 << 20);
    let bomb = gzip(&vec![b'\n'; 200 << 20]);
    assert!(bomb.len() < 4 << 20, "the bomb is small: {}", bomb.len());
    let answer = server.post_with("/write", &[GZIP], &bomb);
    assert_eq!(answer.status, 413);
    assert!(answer.json()["error"].as_str().unwrap().contains("body-bytes-max"), "{}", answer.body);

    let large = vec![b'\n'; 12 << 20];
    assert_eq!(server.post("/write", &large).status, 413);
    let v2 = server.post("/api/v2/write", &large).json();
    assert_eq!((&v2["code"], &v2["maxLength"]), (&json!("request too large"), &json!(4 << 20)));
    assert_eq!(server.post("/write", b"m f=1").status, 204, "the server goes on");

    let answer = server.post_with("/write", &[("Content-Encoding", "br")], b"m f=1");
    assert_eq!(answer.status, 415);
    assert!(answer.json()["error"].as_str().unwrap().contains("\"br\""));
}

#[test]
fn a_body_that_is_cut_off_stores_nothing() {
    let server = TestServer::start();
    let lines = "m f=1 1000000000\n".repeat(1000);
    let whole = gzip(lines.as_bytes());
    let answer = server.post_with("/write", &[GZIP], &whole[..whole.len() - 5]);
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"].as_str().unwrap().contains("not complete"), "{}", answer.body);

    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut connection = TcpStream::connect(server.address).unwrap();
        write!(connection, "POST /write HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n").unwrap();
        let part =
            if head.starts_with("Transfer") { "11\r\nm f=1 1000000000\n\r\n" } else { "m f=1 1000000000\n" };
        connection.write_all(part.as_bytes()).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(server.query("m_f", "10"), json!([]));
}

#[test]
fn a_chunked_body_is_one_batch() {
    let server = TestServer::start();
    let mut connection = TcpStream::connect(server.address).unwrap();
    connection
        .write_all(
            b"POST /write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .unwrap();
    for part in ["m f=1 100", "0000000\nm f=2 2000000000", "\n"] {
        write!(connection, "{:x}\r\n{part}\r\n", part.len()).unwrap();
    }
    connection.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(server.query("count_over_time(m_f[1m])", "10")[0]["value"][1], "2");
}

#[test]
fn what_influx_clients_ask_first_is_answered() {
    let server = TestServer::start();
    assert_eq!(server.get("/ping").status, 204);
    assert_eq!(server.get("/ping?verbose=true").json()["version"], "1.8.10");
    assert_eq!(server.get("/health").json()["status"], "pass");
    assert_eq!(server.get("/ready").json()["status"], "ready");
    let created = server.form("/query", &[("q", "CREATE DATABASE \"x\"")]);
    assert_eq!((created.status, created.json()), (200, json!({"results": [{"statement_id": 0}]})));
    assert_eq!(created.header("content-type"), Some("application/json"));
    server.post("/write?db=x", b"m f=1");
    let shown = server.get("/query?q=SHOW+DATABASES").json();
    assert_eq!(shown["results"][0]["series"][0]["values"], json!([["x"]]));
    let other = server.get("/query?q=SELECT+1");
    assert_eq!(other.status, 400);
    assert!(other.json()["error"].as_str().unwrap().contains("PromQL"));
    assert_eq!(server.get("/query").status, 400);
}

/// Ten samples of `requests_total`, one a second from 1 s on, counting up by 2.
fn write_counter(server: &TestServer) {
    let lines: Vec<String> = (1..=10).map(|t| format!("requests,path=/a total={} {t}", 2 * t)).collect();
    assert_eq!(server.post("/write?precision=s", lines.join("\n").as_bytes()).status, 204);
}

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
    assert_eq!(server.post("/api/v1/label/x/values", b"").status, 405);
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
fn what_grafana_asks_is_there() {
    let server = TestServer::start();
    let build = server.get("/api/v1/status/buildinfo").json();
    assert!(build["data"]["version"].as_str().unwrap().starts_with("3."));
    assert!(build["data"].get("features").is_none());
    for (path, data) in [
        ("/api/v1/query_exemplars?query=x&start=1&end=2", json!([])),
        ("/api/v1/metadata", json!({})),
        ("/api/v1/rules", json!({"groups": []})),
        ("/api/v1/alerts", json!({"alerts": []})),
    ] {
        assert_eq!(server.get(path).json(), json!({"status": "success", "data": data}), "{path}");
    }
    assert_eq!(server.form("/api/v1/query_exemplars", &[("query", "x")]).status, 200);
}

#[test]
fn json_lines_go_out_as_they_came_in() {
    let server = TestServer::start();
    let lines = concat!(
        r#"{"metric":{"__name__":"a","x":"1"},"values":[1.0,-0.0,null,"Infinity","NaN:7ff0000000000002",0.1],"timestamps":[1000,2000,3000,4000,5000,6001]}"#,
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
    assert_eq!(server.get("/api/v1/export").status, 400);

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

const REMOTE_WRITE: [(&str, &str); 2] =
    [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];

/// A body with one sample, 1.5 at 1 s, for each label set.
fn remote_write(label_sets: &[&[(&str, &str)]]) -> Vec<u8> {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).to_owned(), value: (*value).to_owned() };
    let series = |labels: &&[(&str, &str)]| TimeSeries {
        labels: labels.iter().map(label).collect(),
        samples: vec![Sample { value: 1.5, timestamp: 1000 }],
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
fn metrics_count_what_happened() {
    let server = TestServer::start();
    server.post("/write", b"m f=1,s=\"x\",i=9007199254740993i 1000000000\nbad\n");
    server.query("m_f", "1");
    server.get("/api/v1/query?query=)");
    let text = server.get("/metrics").body;
    for line in [
        "timberline_ready 1",
        "timberline_ingested_rows_total{protocol=\"line\"} 1",
        "timberline_ingested_samples_total{protocol=\"line\"} 2",
        "timberline_refused_rows_total{protocol=\"line\"} 1",
        "timberline_skipped_strings_total{protocol=\"line\"} 1",
        "timberline_rounded_integers_total{protocol=\"line\"} 1",
        "timberline_http_requests_total{path=\"/write\",code=\"400\"} 1",
        "timberline_queries_total{kind=\"instant\"} 2",
        "timberline_queries_failed_total{error_type=\"bad_data\"} 1",
        "timberline_samples_appended_total 2",
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line} in:\n{text}");
    }
}

#[test]
fn admin_endpoints_answer_when_done_and_only_on_loopback() {
    let server = TestServer::start();
    write_counter(&server);
    let flushed = server.post("/api/v1/admin/tsdb/flush", b"").json();
    assert_eq!(
        (&flushed["status"], &flushed["data"]["samples"]),
        (&json!("success"), &json!(10)),
        "{flushed}"
    );
    assert_eq!(server.post("/api/v1/admin/tsdb/compact", b"").json()["status"], "success");
    assert_eq!(server.query("requests_total", "10")[0]["value"][1], "20");

    let open = TestServer::start_with(|config| config.listen = SocketAddr::from(([0, 0, 0, 0], 0)));
    let refused = open.post("/api/v1/admin/tsdb/flush", b"");
    assert_eq!(refused.status, 403);
    assert!(refused.json()["error"].as_str().unwrap().contains("loopback"));
}

#[test]
fn a_restart_keeps_what_was_answered() {
    let directory = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(directory.path(), |_| {});
    write_counter(&server);
    let keep_alive = server.get("/ping");
    assert_eq!(keep_alive.status, 204);
    let took = server.stop();
    assert!(took < Duration::from_secs(2), "stopping took {took:?}");
    let server = TestServer::start_in(directory.path(), |_| {});
    assert_eq!(server.query("requests_total", "10")[0]["value"][1], "20");
}

#[test]
fn too_many_bytes_in_flight_get_503_and_a_time_to_retry() {
    let server = TestServer::start_with(|config| config.write_bytes_max = 100);
    let answer = server.post("/write", "m f=1\n".repeat(100).as_bytes());
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.json()["error"].as_str().unwrap().contains("write-bytes-max"));
    assert_eq!(server.post("/write", b"m f=1\n").status, 204);
}

#[test]
fn decompressed_bytes_count_as_bytes_in_flight() {
    let server = TestServer::start_with(|config| config.write_bytes_max = 1 << 20);
    let lines = gzip("m f=1 1\n".repeat(200_000).as_bytes());
    let series = snap::raw::Encoder::new().compress_vec(&b"\x0a\0".repeat(1 << 20)).unwrap();
    assert!(lines.len().max(series.len()) < 1 << 18, "{} {}", lines.len(), series.len());
    for (path, headers, body) in
        [("/write", &[GZIP][..], &lines), ("/api/v1/write", &REMOTE_WRITE[..], &series)]
    {
        let answer = server.post_with(path, headers, body);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.body);
        assert!(answer.body.contains("write-bytes-max"), "{}", answer.body);
    }
    assert_eq!(server.query("m_f", "1"), json!([]), "nothing is stored");
    server.wait_for_metric("timberline_write_bytes_held 0");
    server.wait_for_metric("timberline_writes_rejected_total 2");
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

#[test]
fn a_large_body_is_answered_when_all_of_it_is_stored() {
    let server = TestServer::start();
    let fields: Vec<String> = (0..100).map(|i| format!("f{i}=1")).collect();
    let (fields, rows) = (fields.join(","), 12_000);
    let mut body: String = (1..=rows).map(|t| format!("m {fields} {t}\n")).collect();
    body += "bad\n";
    let answer = server.post("/write?precision=ms", body.as_bytes());
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(
        error.starts_with("partial write: line 12001, column ") && error.ends_with(" dropped=1"),
        "{error}"
    );
    let counted = server.query("sum(count_over_time({__name__=~\"m_f.*\"}[1m]))", "12");
    assert_eq!(counted[0]["value"][1], json!((100 * rows).to_string()));
    server.wait_for_metric(&format!("timberline_ingested_samples_total{{protocol=\"line\"}} {}", 100 * rows));
}

#[test]
fn a_query_ends_when_its_client_hangs_up_and_the_queue_for_queries_is_bounded() {
    let server = TestServer::start_with(|config| {
        config.query_concurrency_max = 1;
        config.query_queue_max = 0;
        // Nothing but the client ends the query below.
        config.query_timeout = Duration::from_secs(24 * 3600);
        config.query_steps_max = 1_000_000;
        config.query_points_max = u64::MAX;
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

    let refused = server.get("/api/v1/query?query=1");
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
