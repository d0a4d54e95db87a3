//! What all requests share: configuration, metrics, limits, and the database once it is open.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderValue;
use timberline_engine::{Budget, Db, ReplayProgress, ReplayState};
use timberline_query::{Executor, QueryError};

use crate::config::Config;
use crate::http::body::Buffers;
use crate::http::gate::Gate;
use crate::metrics::{Gauges, MemoryShare, Metrics, free_bytes};

/// Answers that may be read by clients whose queries gave their places back. Each takes a thread for blocking work.
const ANSWERS_MAX: usize = 128;

/// The name of the limit on the memory of all reads together.
pub const QUERIES_BYTES_MAX: &str = "query_bytes_max";

/// Buffers of bodies that are kept for the next ones have room for this part of the writes' share of memory, besides it.
const IDLE_BUFFER_PARTS: usize = 4;

/// Threads for blocking work that are left when reads and writes have all that they may have: for flushes, merges that
/// somebody asks for, and snapshots.
const OTHER_THREADS: usize = 64;

/// Exports that run at once, besides the queries; and lists of series, labels and values.
fn others_max(config: &Config) -> usize {
    (config.query_concurrency_max / 4).max(1)
}

/// How many threads for blocking work the runtime needs, so that neither reads nor clients that do not take their answers can
/// keep writes from one.
#[must_use]
pub fn blocking_threads(config: &Config) -> usize {
    let reads = config.query_concurrency_max.saturating_add(2 * others_max(config)) + ANSWERS_MAX;
    reads.saturating_add(config.write_concurrency_max) + OTHER_THREADS
}

/// A reference to it, as handlers take it.
pub type SharedState = Arc<AppState>;

/// What all requests share.
#[derive(Debug)]
pub struct AppState {
    /// The settings.
    pub config: Config,
    /// The server's own metrics.
    pub metrics: Metrics,
    /// Whether the listener can be reached from this machine only.
    pub is_loopback: bool,
    /// Writes take a place here while they are parsed and committed.
    pub write_gate: Gate,
    /// Queries take a place here while they are evaluated.
    pub query_gate: Gate,
    /// Lists of series, labels and values have places of their own: dashboards ask for many at once, and alerts should not wait for them.
    pub list_gate: Gate,
    /// Exports have places of their own, since they hold them for as long as their clients read.
    pub export_gate: Gate,
    /// Memory of all reads together.
    pub query_budget: Arc<Budget>,
    /// Memory of request bodies.
    pub write_budget: Arc<Budget>,
    /// Answers whose queries gave their places back.
    pub answer_gate: Gate,
    /// Memory of these answers.
    pub answer_budget: Arc<Budget>,
    /// Buffers for request bodies, used again.
    pub buffers: Arc<Buffers>,
    /// Evaluates queries, on threads that all of them share.
    pub executor: Executor,
    /// How far the replay of the log is, while the database is being opened.
    pub replay: Arc<ReplayProgress>,
    db: OnceLock<Arc<Db>>,
    start_nanoseconds: u64,
    requests: AtomicU64,
}

impl AppState {
    /// A server that has no database yet.
    ///
    /// # Errors
    /// When the threads for queries cannot be started.
    pub fn new(config: Config, is_loopback: bool) -> Result<Self, QueryError> {
        Ok(Self {
            executor: Executor::new(config.executor_options())?,
            // Bodies that wait are bounded by their bytes, so their number needs no bound.
            write_gate: Gate::new(config.write_concurrency_max, usize::MAX),
            query_gate: Gate::new(config.query_concurrency_max, config.query_queue_max),
            list_gate: Gate::new(others_max(&config), config.query_queue_max),
            export_gate: Gate::new(others_max(&config), config.query_queue_max),
            query_budget: Budget::new(QUERIES_BYTES_MAX, config.query_bytes_max),
            write_budget: Budget::new("write_bytes_max", config.write_bytes_max),
            answer_gate: Gate::new(ANSWERS_MAX, 0),
            answer_budget: Budget::new("answer_bytes_max", config.answer_bytes_max),
            buffers: Arc::new(Buffers::new(config.write_bytes_max / IDLE_BUFFER_PARTS)),
            metrics: Metrics::default(),
            replay: Arc::default(),
            is_loopback,
            config,
            db: OnceLock::new(),
            start_nanoseconds: now_ns().unsigned_abs(),
            requests: AtomicU64::new(0),
        })
    }

    /// The database, `None` until it is open.
    #[must_use]
    pub fn db(&self) -> Option<&Arc<Db>> {
        self.db.get()
    }

    /// Makes the database available to requests.
    pub fn set_db(&self, db: Arc<Db>) {
        // A second call would find the first database still in place; there is only one caller.
        let _ = self.db.set(db);
    }

    /// A new request's id: unlike that of any other request, also of earlier runs.
    #[must_use]
    pub fn request_id(&self) -> HeaderValue {
        let id = format!("{:016x}-{:08x}", self.start_nanoseconds, self.request_number());
        // Hexadecimal digits always are a header's value.
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""))
    }

    /// A number that nothing else in this process gets.
    #[must_use]
    pub fn request_number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let stats = self.db().map(|db| db.stats());
        let gauges = Gauges {
            queries_running: self.query_gate.running(),
            queries_waiting: self.query_gate.waiting(),
            answer_bytes_held: self.answer_budget.held(),
            writes_running: self.write_gate.running(),
            writes_waiting: self.write_gate.waiting(),
            write_bytes_held: self.write_budget.held(),
            queue_waits: vec![
                ("query", self.query_gate.waits().distribution()),
                ("list", self.list_gate.waits().distribution()),
                ("export", self.export_gate.waits().distribution()),
                ("write", self.write_gate.waits().distribution()),
            ],
            disk_free_bytes: free_bytes(&self.config.data_dir),
            memory: self.memory_shares(stats.as_ref().map_or(0, |stats| stats.head_bytes as usize)),
        };
        self.metrics.render(stats.as_ref(), self.replay.state(), &gauges)
    }

    /// The shares of memory, when the heads hold `head_bytes` of theirs.
    fn memory_shares(&self, head_bytes: usize) -> [MemoryShare; 5] {
        let config = &self.config;
        let share = |name, max, held| MemoryShare { name, max, held };
        [
            share("total", config.memory_bytes_max, None),
            share("heads", config.head_bytes_max.saturating_mul(2), Some(head_bytes)),
            share("queries", config.query_bytes_max, Some(self.query_budget.held())),
            share("writes", config.write_bytes_max, Some(self.write_budget.held())),
            share("answers", config.answer_bytes_max, Some(self.answer_budget.held())),
        ]
    }

    /// What a client is told while the database is being opened.
    #[must_use]
    pub fn opening_message(&self) -> String {
        let ReplayState { segments, segments_total, bytes, bytes_total, .. } = self.replay.state();
        if bytes_total == 0 {
            return "the database is being opened".to_owned();
        }
        format!(
            "the database is being opened: {} of {} MB of the write-ahead log are replayed, {segments} of {segments_total} \
             segments",
            bytes >> 20,
            bytes_total >> 20,
        )
    }
}

/// Nanoseconds since the epoch, now.
#[must_use]
pub fn now_ns() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
