//! Whether the server lives, whether it is ready, what it counts, and what it is.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

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

/// `GET /-/ready`: the database is open.
pub(super) async fn ready(State(state): State<SharedState>) -> impl IntoResponse {
    match state.db() {
        Some(_) => (StatusCode::OK, "Timberline is ready.\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "The database is being opened.\n"),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(state): State<SharedState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.render_metrics())
}
