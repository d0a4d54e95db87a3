//! The queries of dashboards and alerts over what was loaded: how long each takes, and what the server spends on it.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::Connection;
use crate::cpu_only::START_NS;
use crate::process::ServerProcess;

/// Each query is asked for so long, and so often at least.
const TIME_EACH: Duration = Duration::from_millis(1500);
const RUNS_MIN: u32 = 5;

const HOUR_S: u64 = 3600;

/// When a query is evaluated.
pub(crate) enum At {
    /// At the end of the first hour.
    Instant,
    /// Through the first hour, with this step in seconds; a step of an hour gives its end alone.
    Range(u64),
}

/// Where several metrics are aggregated by name, Prometheus and we keep the names only behind a `label_replace`.
const QUERIES: [(At, &str); 11] = [
    (At::Range(60), "max(max_over_time(cpu_usage_user{hostname='host_17'}[1m])) by (__name__)"),
    (
        At::Range(60),
        "label_replace(max(max_over_time({__name__=~'cpu_usage_(user|system|idle|nice|iowait)',\
         hostname=~'host_(1|22|33|44|55|66|77|88)'}[1m])) by (__name__), '__name__', '$1', '__name__', '(.+)')",
    ),
    (At::Range(HOUR_S), "avg(avg_over_time(cpu_usage_user[1h])) by (__name__, hostname)"),
    (
        At::Range(HOUR_S),
        "label_replace(avg(avg_over_time({__name__=~'cpu_.*'}[1h])) by (__name__, hostname), \
         '__name__', '$1', '__name__', '(.+)')",
    ),
    (At::Instant, "last_over_time(cpu_usage_user[10m])"),
    (At::Range(60), "max_over_time(cpu_usage_user[1m]) > 90"),
    (At::Range(60), "avg by (region) (cpu_usage_user)"),
    (At::Range(15), "sum by (datacenter) (rate(cpu_usage_user[5m]))"),
    (At::Range(60), "quantile by (region) (0.95, cpu_usage_system)"),
    (At::Instant, "topk(10, avg_over_time(cpu_usage_user[1h]))"),
    (At::Instant, "avg by (hostname) (avg_over_time(cpu_usage_user[5m])) > 70"),
];

/// Asks each query again and again over one connection, and prints the median time and the server's CPU time of one.
pub(crate) fn run(server: &ServerProcess, port: u16) -> Outcome<()> {
    let mut connection = Connection::open(port)?;
    println!("{:>9} {:>9} {:>6}", "p50 ms", "CPU ms", "runs");
    for (at, query) in &QUERIES {
        let path = path(at, query);
        connection.get(&path)?;
        let (before, start) = (server.cpu()?, Instant::now());
        let mut times = Vec::new();
        while start.elapsed() < TIME_EACH || times.len() < RUNS_MIN as usize {
            let asked = Instant::now();
            connection.get(&path)?;
            times.push(asked.elapsed());
        }
        let cpu = (server.cpu()? - before) / times.len() as u32;
        times.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{:9.2} {:9.2} {:6} {query}", millis(times[times.len() / 2]), millis(cpu), times.len());
    }
    Ok(())
}

/// The path that asks for `query`.
pub(crate) fn path(at: &At, query: &str) -> String {
    let (start, end) = (START_NS / 1_000_000_000, START_NS / 1_000_000_000 + HOUR_S);
    let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    // Without its cache VictoriaMetrics evaluates each query anew, as we do.
    match at {
        At::Instant => format!("/api/v1/query?query={query}&time={end}&nocache=1"),
        At::Range(step) => {
            let start = if *step == HOUR_S { end } else { start + step };
            format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}&nocache=1")
        }
    }
}
