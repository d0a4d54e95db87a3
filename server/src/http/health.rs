//! Whether the server lives, whether it is ready, what it counts, and what it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};

use crate::state::SharedState;

const INDEX: &str = concat!(
    "Timberline ",
    env!("CARGO_PKG_VERSION"),
    "\n
Write
  POST /write?db=NAME&precision=ns     Influx line protocol (v1)
  POST /api/v2/write?bucket=NAME       Influx line protocol (v2)
  POST /api/v1/write                   Prometheus remote write
  POST /api/v1/import                  JSON lines

Query (PromQL)
  GET|POST /api/v1/query?query=EXPR&time=T
  GET|POST /api/v1/query_range?query=EXPR&start=T&end=T&step=D
  GET|POST /api/v1/series?match[]=SELECTOR
  GET|POST /api/v1/labels
  GET      /api/v1/label/NAME/values
  GET|POST /api/v1/export?match[]=SELECTOR   JSON lines

Operate
  GET  /-/healthy  /-/ready  /ping  /health  /metrics
  POST /api/v1/admin/tsdb/flush  /api/v1/admin/tsdb/compact
"
);

/// `GET /`
pub(super) async fn index() -> impl IntoResponse {
    INDEX
}

/// `GET /-/healthy`: the process answers.
pub(super) async fn healthy() -> impl IntoResponse {
    "Timberline is healthy.\n"
}

/// `GET /-/ready`: the database is open, so queries are answered. That holds also while writes are refused: who balances
/// load by this must not take the queries away from a server whose disk is full.
pub(super) async fn ready(State(state): State<SharedState>) -> Response {
    let Some(db) = state.db() else {
        let headers = [(RETRY_AFTER, "1")];
        let body = format!("Not ready: {}.\n", state.opening_message());
        return (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response();
    };
    match db.writes_refused() {
        None => "Timberline is ready.\n".into_response(),
        Some(reason) => {
            format!("Timberline is ready for queries; writes are refused: {reason}\n").into_response()
        }
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<SharedState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.render_metrics())
}
