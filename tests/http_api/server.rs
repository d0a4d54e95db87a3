//! A server in this process on a free port, and what a test asks of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;
use timberline::config::Config;
use timberline::net::Limits;
use timberline::server::Server;
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::http::Response;

/// What a test waits for is there sooner, even on a busy machine.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct TestServer {
    url: String,
    pub(crate) address: SocketAddr,
    agent: Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    directory: Option<TempDir>,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(directory.path(), change);
        server.directory = Some(directory);
        server
    }

    /// With other limits for its connections.
    pub(crate) fn start_limited(
        change: impl FnOnce(&mut Config),
        limit: impl FnOnce(&mut Limits) + Send + 'static,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self::launch(directory.path(), change, limit);
        server.directory = Some(directory);
        server
    }

    pub(crate) fn start_in(directory: &Path, change: impl FnOnce(&mut Config)) -> Self {
        Self::launch(directory, change, |_| {})
    }

    fn launch(
        directory: &Path,
        change: impl FnOnce(&mut Config),
        limit: impl FnOnce(&mut Limits) + Send + 'static,
    ) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = Config { data_dir: directory.to_owned(), listen, ..Config::default() };
        change(&mut config);
        let (stop, stopped) = oneshot::channel();
        let (address_sender, address) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let mut server = Server::bind(config).await.unwrap();
                limit(server.limits_mut());
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

    /// A connection on which these bytes were sent.
    pub(crate) fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.set_read_timeout(Some(WAIT_MAX)).unwrap();
        connection.write_all(bytes).unwrap();
        connection
    }

    /// All that a connection answers to these bytes, until the server closes it.
    pub(crate) fn answer_to(&self, bytes: &[u8]) -> String {
        rest_of(&mut self.send(bytes))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::of(self.agent.get(format!("{}{path}", self.url)).call().unwrap())
    }

    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        self.post_with(path, &[], body)
    }

    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send(body).unwrap())
    }

    pub(crate) fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.url));
        Answer::of(request.send_form(fields.iter().copied()).unwrap())
    }

    /// Asks an instant query and gives `data.result`.
    pub(crate) fn query(&self, query: &str, time: &str) -> Value {
        let answer = self.form("/api/v1/query", &[("query", query), ("time", time)]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["data"]["result"].clone()
    }

    /// Waits until `/metrics` has this line.
    pub(crate) fn wait_for_metric(&self, line: &str) {
        self.wait_for_metrics(line, |other| other == line);
    }

    /// Waits until `/metrics` has a line that `is_it`.
    pub(crate) fn wait_for_metrics(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let text = self.get("/metrics").body;
            if text.lines().any(&is_it) {
                return;
            }
            assert!(started.elapsed() < WAIT_MAX, "no line {what} after {WAIT_MAX:?} in:\n{text}");
            thread::yield_now();
        }
    }

    pub(crate) fn stop(mut self) {
        self.stop_and_join();
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

/// What comes on a connection until the server closes it.
pub(crate) fn rest_of(connection: &mut TcpStream) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The JSON of an answer that was read as it came, with its status.
pub(crate) fn status_and_json(answer: &str) -> (&str, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.lines().next().unwrap().split(' ').nth(1).unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")))
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn of(mut response: Response<ureq::Body>) -> Self {
        let headers =
            response.headers().iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// Ten samples of `requests_total`, one a second from 1 s on, counting up by 2.
pub(crate) fn write_counter(server: &TestServer) {
    let lines: Vec<String> = (1..=10).map(|t| format!("requests,path=/a total={} {t}", 2 * t)).collect();
    assert_eq!(server.post("/write?precision=s", lines.join("\n").as_bytes()).status, 204);
}
