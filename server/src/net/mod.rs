//! Connections: who gets one, how long it may do nothing, and what is answered to what is no request.
//!
//! | file | has |
//! |---|---|
//! | `listener.rs` | accepts connections, makes room when there are too many, waits when there are no descriptors, ends them |
//! | `connection.rs` | one connection: requests go to the router, what is no request gets a reason |
//! | `socket.rs` | its socket as the HTTP library sees it: time limits, memory of heads, clients that have gone |
//! | `progress.rs` | what it is doing, for the listener |
//! | `descriptors.rs` | the process's limit of file descriptors |
//!
//! HTTP/1 itself is hyper's. It is asked for no time limits of its own, because it has only one for heads, in which the idle
//! time between two requests counts.

mod connection;
mod descriptors;
mod listener;
mod progress;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use timberline_engine::Budget;
use tokio::time::Instant;

use crate::state::SharedState;

pub(crate) use descriptors::{connections as connections_within, raise_limit as raise_descriptor_limit};
pub(crate) use listener::serve;

/// Largest head of a request: its first line and its headers.
pub const HEAD_BYTES_MAX: usize = 128 << 10;
/// Longest target of a request, as the HTTP library can hold it.
pub const TARGET_BYTES_MAX: usize = 65_534;
/// Headers that a request may have: the HTTP library's number, which costs it no memory of its own.
pub const HEADERS_MAX: usize = 100;

/// Memory of all heads: at most so much, and at most this part of all memory.
const HEADER_BYTES_MAX: usize = 64 << 20;
const HEADER_MEMORY_SHARE: usize = 32;
/// Memory of the buffers of all connections: enough for a thousand that send large bodies, and at most this part of all memory.
const BUFFER_BYTES_MAX: usize = 256 << 20;
const BUFFER_MEMORY_SHARE: usize = 16;

/// What connections may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// How long the head of a request may take, from the first byte; and the first byte of a connection.
    pub head_time_max: Duration,
    /// How long a connection may wait for its next request.
    pub idle_time_max: Duration,
    /// How long a client may take nothing of its answer.
    pub stall_time_max: Duration,
    /// How soon a client that has ended its side while its request is answered is asked whether it is still there, and how soon
    /// again. If it is, the next times are further apart, up to a second.
    pub ask_interval: Duration,
    /// Heads of requests in memory at a time, bytes.
    pub header_bytes_max: usize,
    /// What buffers of connections may have beyond what each has, bytes.
    pub buffer_bytes_max: usize,
}

impl Limits {
    /// The limits of a server that may have so many connections and so much memory in all.
    #[must_use]
    pub fn new(connections_max: usize, memory_bytes_max: usize) -> Self {
        Self {
            connections_max,
            head_time_max: Duration::from_secs(10),
            idle_time_max: Duration::from_secs(120),
            stall_time_max: Duration::from_secs(60),
            ask_interval: Duration::from_millis(10),
            header_bytes_max: HEADER_BYTES_MAX.min(memory_bytes_max / HEADER_MEMORY_SHARE),
            buffer_bytes_max: BUFFER_BYTES_MAX.min(memory_bytes_max / BUFFER_MEMORY_SHARE),
        }
    }
}

/// What all connections of a listener share.
struct Shared {
    router: Router,
    state: SharedState,
    limits: Limits,
    header_budget: Arc<Budget>,
    buffer_budget: Arc<Budget>,
    /// Set once no more requests are taken.
    is_stopping: AtomicBool,
    /// When the listener started.
    epoch: Instant,
}

impl Shared {
    fn new(router: Router, state: SharedState, limits: Limits) -> Self {
        let header_budget = Budget::new("header_bytes_max", limits.header_bytes_max);
        let buffer_budget = Budget::new("buffer_bytes_max", limits.buffer_bytes_max);
        state.metrics.connections.set_heads(&header_budget);
        Self {
            router,
            state,
            limits,
            header_budget,
            buffer_budget,
            is_stopping: AtomicBool::new(false),
            epoch: Instant::now(),
        }
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}
