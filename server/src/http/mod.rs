//! HTTP: which path is answered by whom.
//!
//! | file | answers |
//! |---|---|
//! | `write.rs` | what all writes share: read the body, take a place, parse, commit, count |
//! | `batches.rs` | the engine's batches that a body is cut into |
//! | `influx.rs` | the Influx endpoints: `/write`, `/api/v2/write`, `/query`, `/ping`, `/health`, `/ready` |
//! | `remote_write.rs` | `/api/v1/write` |
//! | `import_export.rs` | `/api/v1/import`, `/api/v1/export` |
//! | `prometheus/` | the Prometheus query API |
//! | `admin.rs` | `/api/v1/admin/…` |
//! | `health.rs` | `/-/healthy`, `/-/ready`, `/metrics`, `/` |
//! | `observe.rs` | headers and metrics of every answer, and the 503 until the database is open |

mod admin;
mod batches;
pub mod body;
pub mod gate;
mod health;
mod import_export;
mod influx;
mod observe;
mod params;
mod prometheus;
mod remote_write;
mod stream;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use timberline_engine::Db;

use crate::state::{AppState, SharedState};

pub(crate) use prometheus::params::time_ns;
pub use prometheus::{json, points};
pub(crate) use write::{INTEGERS_ROUNDED, SAMPLES_STORED, STRINGS_SKIPPED};

const JSON: &str = "application/json";

/// All routes.
pub fn router(state: SharedState) -> Router {
    Router::new()
        .merge(influx_routes())
        .merge(prometheus_routes())
        .route("/", get(health::index))
        .route("/metrics", get(health::metrics))
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .merge(admin_routes())
        .fallback(observe::not_found)
        .method_not_allowed_fallback(observe::method_not_allowed)
        .layer(from_fn_with_state(SharedState::clone(&state), observe::gate_until_open))
        .layer(from_fn_with_state(SharedState::clone(&state), observe::observe))
        .with_state(state)
}

/// The database. Requests get here only once it is open; see [`observe::gate_until_open`].
fn open_db(state: &AppState) -> timberline_engine::Result<&Arc<Db>> {
    state.db().ok_or(timberline_engine::Error::Closed)
}

fn influx_routes() -> Router<SharedState> {
    Router::new()
        .route("/write", post(influx::write_v1))
        .route("/api/v2/write", post(influx::write_v2))
        .route("/query", get(influx::query).post(influx::query))
        .route("/ping", get(influx::ping))
        .route("/health", get(influx::health))
        .route("/ready", get(influx::ready))
}

fn admin_routes() -> Router<SharedState> {
    let path = |name: &str| format!("/api/v1/admin/tsdb/{name}");
    Router::new()
        .route(&path("flush"), post(admin::flush).put(admin::flush))
        .route(&path("compact"), post(admin::compact).put(admin::compact))
        .route(&path("delete_series"), post(admin::delete_series).put(admin::delete_series))
        .route(&path("clean_tombstones"), post(admin::clean_tombstones).put(admin::clean_tombstones))
        .route(&path("snapshot"), post(admin::snapshot).put(admin::snapshot))
}

fn prometheus_routes() -> Router<SharedState> {
    use prometheus::{explain, info, labels, query, status, syntax};
    Router::new()
        .route("/api/v1/write", post(remote_write::write))
        .route("/api/v1/import", post(import_export::import))
        .route("/api/v1/export", get(import_export::export).post(import_export::export))
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/explain", get(explain::explain).post(explain::explain))
        .route("/api/v1/format_query", get(syntax::format).post(syntax::format))
        .route("/api/v1/parse_query", get(syntax::parse).post(syntax::parse))
        .route("/api/v1/labels", get(labels::names).post(labels::names))
        .route("/api/v1/label/{name}/values", get(labels::values))
        .route("/api/v1/series", get(labels::series).post(labels::series))
        .route("/api/v1/query_exemplars", get(info::empty_list).post(info::empty_list))
        .route("/api/v1/alerts", get(info::alerts))
        .route("/api/v1/rules", get(info::rules))
        .route("/api/v1/metadata", get(info::metadata))
        .route("/api/v1/status/buildinfo", get(info::build))
        .route("/api/v1/status/tsdb", get(status::tsdb))
}
