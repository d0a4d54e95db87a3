//! The server's own metrics: what it counts, and how `/metrics` shows it.

mod exposition;
mod histogram;
mod process;
mod render;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use timberline_engine::Budget;

pub use render::{Gauges, MemoryShare};

pub(crate) use histogram::Histogram;
pub(crate) use process::free_bytes;

use crate::refusals::Refusals;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How samples come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Influx line protocol.
    Line,
    /// Prometheus remote write.
    RemoteWrite,
    /// JSON lines.
    JsonLines,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Line, Self::RemoteWrite, Self::JsonLines];

    /// The value of the label `protocol`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::RemoteWrite => "remote_write",
            Self::JsonLines => "json_lines",
        }
    }
}

/// What came in through one protocol.
#[derive(Debug, Default)]
pub struct Ingested {
    /// Lines, time series or JSON lines stored.
    pub rows: Counter,
    /// Samples stored.
    pub samples: Counter,
    /// Rows refused because they were not well-formed or over a limit.
    pub rows_refused: Counter,
    /// String fields left out.
    pub strings_skipped: Counter,
    /// Integers stored rounded, because a float cannot hold them.
    pub integers_rounded: Counter,
    /// Lines or samples refused because they are older than the retention.
    pub beyond_retention: Counter,
}

/// What is counted for queries.
#[derive(Debug, Default)]
pub struct Queries {
    /// Instant queries evaluated.
    pub instant: Counter,
    /// Range queries evaluated.
    pub range: Counter,
    /// Samples that evaluations read.
    pub samples_read: Counter,
    /// Queries that ended with an error, by its type.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    /// Those that ended for a limit, by its configuration name.
    past_limits: Mutex<BTreeMap<&'static str, u64>>,
}

/// The limits that end a query, by their configuration names.
const QUERY_LIMIT_NAMES: [&str; 7] = [
    "query_queue_max",
    "query_timeout",
    "query_steps_max",
    "query_samples_max",
    "selector_series_max",
    "result_points_max",
    "query_memory_bytes_max",
];

impl Queries {
    /// Counts a query that ended with an error, and the limit that was the reason.
    pub fn fail(&self, error_type: &'static str, limit: Option<&'static str>) {
        *self.failed.lock().entry(error_type).or_default() += 1;
        if let Some(limit) = limit {
            *self.past_limits.lock().entry(limit).or_default() += 1;
        }
    }

    /// Queries answered or failed so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.instant.get() + self.range.get()
    }
}

/// What is counted of connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicU64,
    heads: OnceLock<Arc<Budget>>,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed while they did nothing, because others needed their places.
    pub displaced: Counter,
    /// Connections refused because all others were busy.
    pub refused: Counter,
    /// Times that no connection could be accepted, most likely for want of descriptors.
    pub accept_failures: Counter,
}

impl Connections {
    /// Says how many are open now.
    pub fn set_open(&self, open: usize) {
        self.open.store(open as u64, Ordering::Relaxed);
    }

    /// Says what heads that are being received are counted in.
    pub fn set_heads(&self, budget: &Arc<Budget>) {
        // A server has one listener.
        let _ = self.heads.set(Arc::clone(budget));
    }
}

/// What is counted for one route.
#[derive(Debug, Default)]
struct Route {
    codes: Mutex<BTreeMap<u16, u64>>,
    duration: Histogram,
}

/// Everything the server counts.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    started_at: SystemTime,
    routes: RwLock<BTreeMap<String, Arc<Route>>>,
    ingested: [Ingested; Protocol::ALL.len()],
    /// What was refused, and why.
    pub refusals: Refusals,
    /// Connections.
    pub connections: Connections,
    /// Queries.
    pub queries: Queries,
    /// Writes answered with 503 because too many bodies were waiting.
    pub writes_rejected: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            routes: RwLock::default(),
            ingested: Default::default(),
            refusals: Refusals::default(),
            connections: Connections::default(),
            queries: Queries::default(),
            writes_rejected: Counter::default(),
        }
    }
}

impl Metrics {
    /// What came in through `protocol`.
    #[must_use]
    pub fn ingested(&self, protocol: Protocol) -> &Ingested {
        &self.ingested[protocol as usize]
    }

    /// Counts an answered request. `path` is the route's pattern, so that there are only so many.
    pub fn request(&self, path: &str, code: u16, duration: Duration) {
        let known = self.routes.read().get(path).cloned();
        let route =
            known.unwrap_or_else(|| Arc::clone(self.routes.write().entry(path.to_owned()).or_default()));
        *route.codes.lock().entry(code).or_default() += 1;
        route.duration.observe(duration);
    }

    /// Time since the server started.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use timberline_engine::SyncTimes;

    use super::*;

    #[test]
    fn renders_requests_ingest_and_engine_numbers() {
        let metrics = Metrics::default();
        metrics.request("/write", 204, Duration::from_millis(3));
        metrics.request("/write", 400, Duration::from_secs(40));
        metrics.ingested(Protocol::Line).samples.add(10);
        metrics.ingested(Protocol::JsonLines).beyond_retention.add(3);
        metrics.queries.fail("bad_data", None);
        metrics.queries.fail("execution", Some("query_samples_max"));
        metrics.refusals.rows("line", "labels_max", 4, &"");
        metrics.refusals.request("remote_write", "body_bytes_max", &"");
        let replay = timberline_engine::ReplayState { bytes: 7, bytes_total: 9, ..Default::default() };
        let stats = timberline_engine::Stats {
            head_series: 5,
            expired_samples_total: 6,
            retention_clock_ns: 7_500_000_000,
            retention_clock_warning: Some("it is behind".to_owned()),
            oldest_sample_ns: Some(1_500_000_000),
            wal_syncs: SyncTimes { counts: [2; 13], total: Duration::from_secs(3) },
            ..Default::default()
        };
        let waits = Histogram::default();
        waits.observe(Duration::from_millis(20));
        let queue_waits = vec![("query", waits.distribution())];
        let gauges =
            Gauges { queries_running: 2, disk_free_bytes: Some(8), queue_waits, ..Gauges::default() };
        let text = metrics.render(Some(&stats), replay, &gauges);
        for line in [
            "timberline_http_requests_total{path=\"/write\",code=\"204\"} 1",
            "timberline_http_request_duration_seconds_bucket{path=\"/write\",le=\"0.005\"} 1",
            "timberline_http_request_duration_seconds_bucket{path=\"/write\",le=\"+Inf\"} 2",
            "timberline_http_request_duration_seconds_count{path=\"/write\"} 2",
            "timberline_ingested_samples_total{protocol=\"line\"} 10",
            "timberline_queries_failed_total{error_type=\"bad_data\"} 1",
            "timberline_queries_refused_by_limit_total{limit=\"query_samples_max\"} 1",
            "timberline_queries_refused_by_limit_total{limit=\"query_timeout\"} 0",
            "timberline_refused_rows_by_reason_total{protocol=\"line\",reason=\"labels_max\"} 4",
            "timberline_refused_rows_by_reason_total{protocol=\"json_lines\",reason=\"head_series_max\"} 0",
            "timberline_refused_requests_total{protocol=\"remote_write\",reason=\"body_bytes_max\"} 1",
            "timberline_queries_running 2",
            "timberline_head_series 5",
            "timberline_points_beyond_retention_total{protocol=\"json_lines\"} 3",
            "timberline_expired_samples_total 6",
            "timberline_retention_clock_seconds 7.5",
            "timberline_retention_clock_doubtful 1",
            "timberline_oldest_sample_timestamp_seconds 1.5",
            "timberline_disk_free_bytes 8",
            "timberline_queue_wait_duration_seconds_bucket{queue=\"query\",le=\"0.01\"} 0",
            "timberline_queue_wait_duration_seconds_bucket{queue=\"query\",le=\"0.025\"} 1",
            "timberline_wal_sync_duration_seconds_bucket{le=\"0.00025\"} 4",
            "timberline_wal_sync_duration_seconds_bucket{le=\"+Inf\"} 26",
            "timberline_wal_sync_duration_seconds_sum 3",
            "timberline_wal_sync_duration_seconds_count 26",
            "timberline_ready 1",
            "timberline_replay_bytes 7",
            "timberline_replay_bytes_expected 9",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in:\n{text}");
        }
        assert!(metrics.render(None, replay, &Gauges::default()).contains("\ntimberline_ready 0\n"));
    }
}
