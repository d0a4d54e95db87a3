//! Which queries were slow: a line of the log for each, with what it read and who asked.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderValue;
use timberline_query::{Outcome, Query, QueryError};

use crate::state::AppState;

/// How much of a query's text is logged, bytes.
const TEXT_BYTES_MAX: usize = 2048;

/// Who sent a request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    address: Option<SocketAddr>,
    id: HeaderValue,
}

impl Caller {
    /// The caller of a request with this id.
    pub(super) fn of(request: &Request, id: HeaderValue) -> Self {
        let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self { address: address.map(|ConnectInfo(address)| *address), id }
    }
}

/// Logs a query that took as long as `slow-query-log` says, also when it failed.
pub(super) fn note(
    state: &AppState,
    caller: &Caller,
    query: &Query,
    took: Duration,
    evaluated: Result<&Outcome, &QueryError>,
) {
    if state.config.slow_query_log.is_none_or(|slow| took < slow) {
        return;
    }
    let text = &query.text[..query.text.floor_char_boundary(TEXT_BYTES_MAX)];
    let stats = evaluated.map_or_else(|_| Default::default(), |outcome| outcome.stats);
    let seconds = |milliseconds: i64| milliseconds as f64 / 1e3;
    tracing::warn!(
        query = text,
        query_bytes = query.text.len(),
        start = seconds(query.start_ms),
        end = seconds(query.end_ms),
        step = seconds(query.step_ms),
        seconds = took.as_secs_f64(),
        series = stats.series,
        samples = stats.samples,
        error = evaluated.err().map(tracing::field::display),
        client = caller.address.map(tracing::field::display),
        request_id = %String::from_utf8_lossy(caller.id.as_bytes()).escape_debug(),
        "slow query"
    );
}
