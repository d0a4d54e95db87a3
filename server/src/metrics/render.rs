//! `/metrics`: every counter in the text exposition format.

use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use timberline_engine::{ReplayState, Stats};

use super::exposition::Exposition;
use super::histogram::Distribution;
use super::{Connections, Ingested, Metrics, Protocol, QUERY_LIMIT_NAMES, process};
use crate::ingest::{LIMIT_NAMES, OTHER_REASONS};
use crate::refusals::Unit;

/// What the rest of the server knows at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Queries being evaluated.
    pub queries_running: usize,
    /// Queries waiting for their turn.
    pub queries_waiting: usize,
    /// Bytes of answers that clients are still reading.
    pub answer_bytes_held: usize,
    /// Writes being parsed or committed.
    pub writes_running: usize,
    /// Writes waiting for their turn.
    pub writes_waiting: usize,
    /// Bytes of request bodies held in memory.
    pub write_bytes_held: usize,
    /// How long requests had to wait for their turn, by queue.
    pub(crate) queue_waits: Vec<(&'static str, Distribution)>,
    /// Bytes that are free in the file system of the data directory.
    pub disk_free_bytes: Option<u64>,
    /// The total of all memory and its shares.
    pub memory: [MemoryShare; 5],
}

/// A share of memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryShare {
    /// What it is for.
    pub name: &'static str,
    /// Bytes that it may have.
    pub max: usize,
    /// Bytes that are held of it, where that is counted.
    pub held: Option<usize>,
}

impl Metrics {
    /// The text exposition. `stats` is `None` until the database is open.
    #[must_use]
    pub fn render(&self, stats: Option<&Stats>, replay: ReplayState, gauges: &Gauges) -> String {
        let mut out = Exposition::default();
        out.family("timberline_build_info", "gauge", "Version of the server.");
        out.sample("timberline_build_info", &[("version", &env!("CARGO_PKG_VERSION"))], 1);
        out.gauge("timberline_ready", "Whether the database is open.", u8::from(stats.is_some()));
        out.gauge("timberline_uptime_seconds", "Time since start.", self.uptime().as_secs_f64());
        render_replay(&mut out, replay);
        self.render_connections(&mut out);
        self.render_http(&mut out);
        self.render_ingest(&mut out);
        self.render_refusals(&mut out);
        self.render_load(&mut out, gauges);
        render_queues(&mut out, &gauges.queue_waits);
        render_memory(&mut out, &gauges.memory);
        if let Some(stats) = stats {
            render_engine(&mut out, stats);
        }
        if let Some(free) = gauges.disk_free_bytes {
            out.gauge("timberline_disk_free_bytes", "Bytes free on the data directory's file system.", free);
        }
        self.render_process(&mut out);
        out.finish()
    }

    fn render_connections(&self, out: &mut Exposition) {
        let Connections { open, heads, accepted, displaced, refused, accept_failures } = &self.connections;
        out.gauge("timberline_connections", "Connections open.", open.load(Ordering::Relaxed));
        let help = "Bytes of requests' heads that are being received.";
        out.gauge("timberline_connection_head_bytes", help, heads.get().map_or(0, |heads| heads.held()));
        out.counter("timberline_connections_accepted_total", "Connections accepted.", accepted.get());
        let help = "Connections closed while they did nothing, for others to have their places.";
        out.counter("timberline_connections_displaced_total", help, displaced.get());
        let help = "Connections answered 503 because all others were busy.";
        out.counter("timberline_connections_refused_total", help, refused.get());
        let help = "Times that no connection could be accepted.";
        out.counter("timberline_accept_failures_total", help, accept_failures.get());
    }

    fn render_http(&self, out: &mut Exposition) {
        let routes = self.routes.read().clone();
        let name = "timberline_http_requests_total";
        out.family(name, "counter", "Answered requests by route and status code.");
        for (path, route) in &routes {
            for (code, count) in route.codes.lock().iter() {
                out.sample(name, &[("path", path), ("code", code)], count);
            }
        }
        let name = "timberline_http_request_duration_seconds";
        out.family(name, "histogram", "Time until a request was answered.");
        for (path, route) in &routes {
            out.histogram(name, &[("path", path)], &route.duration.distribution());
        }
    }

    fn render_ingest(&self, out: &mut Exposition) {
        type Read = fn(&Ingested) -> u64;
        let families: [(&str, &str, Read); 6] = [
            ("timberline_ingested_rows_total", "Lines or series stored.", |i| i.rows.get()),
            ("timberline_ingested_samples_total", "Samples stored.", |i| i.samples.get()),
            ("timberline_refused_rows_total", "Lines or series refused.", |i| i.rows_refused.get()),
            ("timberline_skipped_strings_total", "String fields left out.", |i| i.strings_skipped.get()),
            ("timberline_rounded_integers_total", "Integers stored rounded to a float.", |i| {
                i.integers_rounded.get()
            }),
            ("timberline_points_beyond_retention_total", "Lines or samples older than the retention.", |i| {
                i.beyond_retention.get()
            }),
        ];
        for (name, help, read) in families {
            out.family(name, "counter", help);
            for protocol in Protocol::ALL {
                out.sample(name, &[("protocol", &protocol.as_str())], read(self.ingested(protocol)));
            }
        }
    }

    fn render_refusals(&self, out: &mut Exposition) {
        let name = "timberline_refused_rows_by_reason_total";
        out.family(
            name,
            "counter",
            "Lines or series refused, by reason: a limit's configuration name, or another.",
        );
        let refused = self.refusals.totals(Unit::Rows);
        for protocol in Protocol::ALL.map(Protocol::as_str) {
            for reason in LIMIT_NAMES.into_iter().chain(OTHER_REASONS) {
                let count = refused.iter().find(|(of, why, _)| (*of, *why) == (protocol, reason));
                let labels: [(&str, &dyn Display); 2] = [("protocol", &protocol), ("reason", &reason)];
                out.sample(name, &labels, count.map_or(0, |(_, _, count)| *count));
            }
        }
        let name = "timberline_refused_requests_total";
        out.family(name, "counter", "Writes refused as a whole, and queries refused for a limit, by reason.");
        for (protocol, reason, count) in self.refusals.totals(Unit::Request) {
            out.sample(name, &[("protocol", &protocol), ("reason", &reason)], count);
        }
    }

    fn render_load(&self, out: &mut Exposition, gauges: &Gauges) {
        let name = "timberline_queries_total";
        out.family(name, "counter", "Queries evaluated by kind.");
        out.sample(name, &[("kind", &"instant")], self.queries.instant.get());
        out.sample(name, &[("kind", &"range")], self.queries.range.get());
        let name = "timberline_queries_failed_total";
        out.family(name, "counter", "Queries that ended with an error, by its type.");
        for (error_type, count) in self.queries.failed.lock().iter() {
            out.sample(name, &[("error_type", error_type)], count);
        }
        let name = "timberline_queries_refused_by_limit_total";
        out.family(name, "counter", "Queries that ended for a limit, by its configuration name.");
        let refused = self.queries.past_limits.lock();
        for limit in QUERY_LIMIT_NAMES {
            out.sample(name, &[("limit", &limit)], refused.get(limit).copied().unwrap_or_default());
        }
        drop(refused);
        let samples = self.queries.samples_read.get();
        out.counter("timberline_query_samples_read_total", "Samples that queries read.", samples);
        out.gauge("timberline_queries_running", "Queries being evaluated.", gauges.queries_running);
        out.gauge("timberline_queries_waiting", "Queries waiting for their turn.", gauges.queries_waiting);
        let bytes = gauges.answer_bytes_held;
        out.gauge("timberline_answer_bytes_held", "Bytes of answers that clients still read.", bytes);
        out.gauge("timberline_writes_running", "Writes being committed.", gauges.writes_running);
        out.gauge("timberline_writes_waiting", "Writes waiting for their turn.", gauges.writes_waiting);
        out.gauge("timberline_write_bytes_held", "Bytes of bodies in memory.", gauges.write_bytes_held);
        let rejected = self.writes_rejected.get();
        out.counter("timberline_writes_rejected_total", "Writes answered 503 for lack of room.", rejected);
    }
}

impl Metrics {
    fn render_process(&self, out: &mut Exposition) {
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        out.gauge("process_start_time_seconds", "When the process started, since the epoch.", started);
        let Some(usage) = process::usage() else { return };
        out.counter("process_cpu_seconds_total", "User and system CPU time.", usage.cpu_seconds);
        out.gauge("process_resident_memory_bytes", "Resident memory.", usage.resident_bytes);
        out.gauge("process_open_fds", "Open file descriptors.", usage.open_files);
        if let Some(most) = usage.open_files_max {
            out.gauge("process_max_fds", "How many file descriptors there may be.", most);
        }
    }
}

fn render_queues(out: &mut Exposition, waits: &[(&'static str, Distribution)]) {
    let name = "timberline_queue_wait_duration_seconds";
    out.family(name, "histogram", "Time that requests had to wait for their turn.");
    for (queue, times) in waits {
        out.histogram(name, &[("queue", queue)], times);
    }
}

fn render_memory(out: &mut Exposition, shares: &[MemoryShare]) {
    let name = "timberline_memory_bytes_max";
    out.family(name, "gauge", "Memory that all shares may take together, and each of them.");
    shares.iter().for_each(|share| out.sample(name, &[("share", &share.name)], share.max));
    let name = "timberline_memory_bytes_held";
    out.family(name, "gauge", "Memory that is held of a share.");
    let held = shares.iter().filter_map(|share| Some((share.name, share.held?)));
    held.for_each(|(share, bytes)| out.sample(name, &[("share", &share)], bytes));
}

fn render_replay(out: &mut Exposition, replay: ReplayState) {
    out.gauge("timberline_replay_segments", "Files of the log replayed at start.", replay.segments);
    let total = replay.segments_total;
    out.gauge("timberline_replay_segments_expected", "Files of the log to replay at start.", total);
    out.gauge("timberline_replay_bytes", "Bytes of the log replayed at start.", replay.bytes);
    out.gauge("timberline_replay_bytes_expected", "Bytes of the log to replay at start.", replay.bytes_total);
    out.gauge("timberline_replay_samples", "Samples replayed at start.", replay.samples);
    let seconds = replay.took.as_secs_f64();
    out.gauge("timberline_replay_seconds", "Time that the replay has taken so far, or took.", seconds);
}

fn render_engine(out: &mut Exposition, stats: &Stats) {
    out.gauge("timberline_head_series", "Series with samples in the head.", stats.head_series);
    let created = stats.series_created_total;
    out.counter("timberline_series_created_total", "New series, in each head that they are in.", created);
    out.gauge("timberline_head_samples", "Samples in the head.", stats.head_samples);
    out.gauge("timberline_head_bytes", "Memory of the head: its series and samples.", stats.head_bytes);
    if let Some(oldest) = stats.oldest_sample_ns {
        let name = "timberline_oldest_sample_timestamp_seconds";
        out.gauge(name, "Time of the oldest sample.", oldest as f64 / 1e9);
    }
    out.gauge("timberline_blocks", "Blocks on disk.", stats.blocks);
    let unreadable = stats.blocks_unreadable;
    out.gauge("timberline_blocks_unreadable", "Listed blocks that could not be read.", unreadable);
    out.gauge("timberline_block_series", "Series in blocks, counted once a block.", stats.block_series);
    out.gauge("timberline_block_samples", "Samples in blocks.", stats.block_samples);
    out.gauge("timberline_block_bytes", "Bytes of blocks.", stats.block_bytes);
    out.gauge("timberline_wal_bytes", "Bytes of the write-ahead log.", stats.wal_bytes);
    out.gauge("timberline_wal_segments", "Files of the write-ahead log.", stats.wal_segments);
    let written = stats.wal_written_bytes_total;
    out.counter("timberline_wal_written_bytes_total", "Bytes written to the write-ahead log.", written);
    let corruptions = stats.wal_corruptions_total;
    out.counter("timberline_wal_corruptions_total", "Damaged places that replay found.", corruptions);
    let name = "timberline_wal_sync_duration_seconds";
    out.family(name, "histogram", "How long syncs of the write-ahead log took.");
    out.histogram(name, &[], &Distribution::from(&stats.wal_syncs));
    out.counter("timberline_samples_appended_total", "Samples appended.", stats.samples_appended_total);
    let late = stats.out_of_order_samples_total;
    out.counter("timberline_out_of_order_samples_total", "Samples older than their series' newest.", late);
    out.counter("timberline_flushes_total", "Times the head was sealed into blocks.", stats.flushes_total);
    let deleted = stats.block_deleted_samples;
    out.gauge("timberline_block_deleted_samples", "Deleted samples still in blocks, estimated.", deleted);
    out.counter("timberline_deletes_total", "Deletes.", stats.deletes_total);
    render_expiry(out, stats);
    out.counter("timberline_compactions_total", "Compactions.", stats.compactions_total);
    let failures = stats.compaction_failures_total;
    out.counter("timberline_compaction_failures_total", "Compactions that failed.", failures);
    let refused = u8::from(stats.writes_refused.is_some());
    out.gauge(
        "timberline_writes_refused",
        "Whether writes are refused: the log failed, or sealing cannot keep up.",
        refused,
    );
}

fn render_expiry(out: &mut Exposition, stats: &Stats) {
    let (blocks, samples) = (stats.expired_blocks_total, stats.expired_samples_total);
    out.counter("timberline_expired_blocks_total", "Blocks dropped for their age.", blocks);
    out.counter("timberline_expired_samples_total", "Samples dropped for their age.", samples);
    let seconds = |nanoseconds: i64| nanoseconds as f64 / 1e9;
    let (shows, behind) = (seconds(stats.retention_clock_ns), seconds(stats.retention_clock_behind_ns));
    out.gauge("timberline_retention_clock_seconds", "What the clock shows by which samples expire.", shows);
    out.gauge(
        "timberline_retention_clock_behind_seconds",
        "How far the machine's clock is ahead of it.",
        behind,
    );
    let doubtful = u8::from(stats.retention_clock_warning.is_some());
    out.gauge(
        "timberline_retention_clock_doubtful",
        "Whether the two are a day apart, so that one is wrong.",
        doubtful,
    );
}
