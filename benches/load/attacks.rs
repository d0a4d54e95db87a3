//! What a few requests may do to all others: while each of these attacks runs, one client asks for the server's health, one asks a short query, one
//! stores a sample. Each should get its answers as if nothing were the matter, and the server's memory should stay within its budgets.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::Outcome;
use crate::client::Connection;
use crate::process::ServerProcess;

/// Series that the attacks select, each with a label value of its own.
const SERIES: usize = 20_000;
/// Clients that an attack uses at once, unless it says otherwise.
const CLIENTS: usize = 4;
/// Longest wait of an attacker for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long stalled clients hold their connections.
const STALL: Duration = Duration::from_secs(10);
/// Pause between two requests of an ordinary client.
const PAUSE: Duration = Duration::from_millis(10);

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const GZIP_FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n";

/// One attack: its name, and the requests that are sent at once.
struct Attack {
    name: &'static str,
    requests: Vec<Request>,
    /// Whether the clients take their answers.
    reads: bool,
}

struct Request {
    path: &'static str,
    headers: &'static str,
    body: Vec<u8>,
    /// Sent instead of a whole request.
    raw: Option<Vec<u8>>,
}

impl Request {
    fn form(path: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { path, headers: FORM, body: body.into(), raw: None }
    }

    fn raw(bytes: &[u8]) -> Self {
        Self { path: "", headers: "", body: Vec::new(), raw: Some(bytes.to_vec()) }
    }
}

pub(crate) fn run(server: &ServerProcess, port: u16) -> Outcome<()> {
    fill(port)?;
    println!("{:>28} {:>16} {:>16} {:>16} {:>10}", "worst, ms", "health", "query", "write", "memory MB");
    measure(server, port, &Attack { name: "nothing", requests: Vec::new(), reads: true })?;
    for attack in attacks()? {
        measure(server, port, &attack)?;
    }
    Ok(())
}

fn fill(port: u16) -> Outcome<()> {
    let mut connection = Connection::open(port)?;
    let mut body = String::new();
    for i in 0..SERIES {
        writeln!(body, "attacked,host=host-{i:05}.example.net value={i} 1700000000000000000")?;
    }
    connection.post("/write", body.as_bytes())
}

fn attacks() -> Outcome<Vec<Attack>> {
    let several = |request: &dyn Fn() -> Request, clients: usize| (0..clients).map(|_| request()).collect();
    let attack = |name, requests| Attack { name, requests, reads: true };
    let stalled = |name, requests| Attack { name, requests, reads: false };

    let bomb = gzip(&b"a&".repeat(32 << 20))?;
    let bomb = || Request { headers: GZIP_FORM, ..Request::form("/api/v1/query", bomb.clone()) };
    let patterns = selector(60, "\\\\pL{1,200}");
    let patterns = || Request::form("/api/v1/query", format!("query={}", escape(&patterns)));
    let repeated = ["match[]=attacked"].repeat(5000).join("&");
    let repeated = || Request::form("/api/v1/series", repeated.clone());
    let label = format!("query=count_values(\"{}\", attacked)", "v".repeat(4_000_000));
    let label = || Request::form("/api/v1/query", label.clone());
    let names: Vec<String> = (0..4000).map(|i| format!("host-{:05}\\\\.example\\\\.net", i * 4)).collect();
    let list = format!("query={}", escape(&format!("count(attacked{{host=~\"{}|x.*\"}})", names.join("|"))));
    let list = || Request::form("/api/v1/query", list.clone());
    let scan = format!("query={}", escape("count(attacked{host=~\".*(1|2|3).*9.*net\"})"));
    let scan = || Request::form("/api/v1/query", scan.clone());
    let nested = format!("query={}1{}", "(".repeat(500_000), ")".repeat(500_000));
    let nested = || Request::form("/api/v1/parse_query", nested.clone());
    let chain = format!("query={}", escape(&vec!["attacked"; 5000].join(" or ")));
    let chain = || Request::form("/api/v1/query", chain.clone());
    let numbers = ["1"; 4_000_000].join(",");
    let numbers =
        format!("{{\"metric\":{{\"__name__\":\"n\"}},\"values\":[{numbers}],\"timestamps\":[{numbers}]}}\n");
    let numbers = gzip(numbers.as_bytes())?;
    let numbers = || Request {
        headers: "Content-Encoding: gzip\r\n",
        ..Request::form("/api/v1/import", numbers.clone())
    };
    let all = "match[]=attacked";
    let announced =
        || Request::raw(b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 67108864\r\n\r\n");
    let heads = || Request::raw(b"GET /api/v1/query?query=1 HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
    Ok(vec![
        attack("gzip forms of empty pairs", several(&bomb, CLIENTS)),
        attack("matchers with large classes", several(&patterns, CLIENTS)),
        attack("5,000 times one match[]", several(&repeated, CLIENTS)),
        attack("a label name of 4 MB", several(&label, CLIENTS)),
        attack("a list and a wildcard", several(&list, CLIENTS)),
        attack("an expression over values", several(&scan, 16)),
        attack("500,000 parentheses", several(&nested, CLIENTS)),
        attack("a chain of 5,000", several(&chain, CLIENTS)),
        attack("lines of tiny numbers", several(&numbers, 8)),
        stalled("bodies that never come", several(&announced, 64)),
        stalled("heads that never end", several(&heads, 600)),
        stalled("600 stalled at /series", several(&|| Request::form("/api/v1/series", all), 600)),
        stalled("21 stalled at /export", several(&|| Request::form("/api/v1/export", all), 21)),
        stalled(
            "200 stalled at /query",
            several(&|| Request::form("/api/v1/query", "query=attacked&time=1700000000"), 200),
        ),
    ])
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn selector(matchers: usize, pattern: &str) -> String {
    let matchers: Vec<String> = (0..matchers).map(|i| format!("a{i}=~\"{pattern}\"")).collect();
    format!("attacked{{{}}}", matchers.join(","))
}

/// A form's value.
fn escape(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len() * 2), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(byte as char);
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// What an ordinary client met: the longest time until an answer, and the requests that failed.
#[derive(Default)]
struct Met {
    worst: Duration,
    failed: u32,
}

/// Runs the attack and prints what ordinary clients met meanwhile, and the server's memory.
fn measure(server: &ServerProcess, port: u16, attack: &Attack) -> Outcome<()> {
    let over = &AtomicBool::new(false);
    let query = "/api/v1/query?query=attacked%7Bhost=%22host-00017.example.net%22%7D&time=1700000000";
    let met = thread::scope(|scope| -> Outcome<[Met; 3]> {
        let health = scope.spawn(|| watch(over, port, |c| c.get("/-/healthy").map(drop)));
        let query = scope.spawn(|| watch(over, port, |c| c.get(query).map(drop)));
        let write = scope.spawn(|| watch(over, port, |c| c.post("/write", b"beside value=1")));
        let attackers: Vec<_> =
            attack.requests.iter().map(|r| scope.spawn(|| send(port, r, attack.reads))).collect();
        if attackers.is_empty() {
            thread::sleep(STALL);
        }
        for attacker in attackers {
            // What becomes of an attacker does not matter.
            let _ = attacker.join();
        }
        over.store(true, Relaxed);
        let join =
            |watcher: thread::ScopedJoinHandle<'_, Met>| watcher.join().map_err(|_| "a client panicked");
        Ok([join(health)?, join(query)?, join(write)?])
    })?;
    let memory =
        server.peak_memory_bytes().map_err(|_| format!("the server did not survive {}", attack.name))?;
    let [health, query, write] = met.map(|met| match met.failed {
        0 => format!("{:.0}", met.worst.as_secs_f64() * 1e3),
        failed => format!("{:.0}, {failed} failed", met.worst.as_secs_f64() * 1e3),
    });
    println!("{:>28} {health:>16} {query:>16} {write:>16} {:>10}", attack.name, memory >> 20);
    Ok(())
}

/// Asks again and again until the attack is over.
fn watch(over: &AtomicBool, port: u16, ask: impl Fn(&mut Connection) -> Outcome<()>) -> Met {
    let mut met = Met::default();
    let mut connection = None;
    while !over.load(Relaxed) {
        let asked = Instant::now();
        let answer = connection.take().map_or_else(|| Connection::open(port).map_err(Into::into), Ok);
        let answer: Outcome<Connection> = answer.and_then(|mut open: Connection| {
            open.set_patience(PATIENCE)?;
            ask(&mut open)?;
            Ok(open)
        });
        met.worst = met.worst.max(asked.elapsed());
        met.failed += u32::from(answer.is_err());
        connection = answer.ok();
        thread::sleep(PAUSE);
    }
    met
}

fn send(port: u16, request: &Request, reads: bool) -> Outcome<()> {
    let mut connection = Connection::open(port)?;
    connection.set_patience(PATIENCE)?;
    match &request.raw {
        Some(bytes) => connection.send_raw(bytes)?,
        None => connection.send_with("POST", request.path, request.headers, &request.body)?,
    }
    if reads {
        connection.answer().map(drop)
    } else {
        thread::sleep(STALL);
        Ok(())
    }
}
