//! HTTP: which path is answered by whom.
//!
//! | file | answers |
//! |---|---|
//! | `write.rs` | what all writes share: read the body, take a place, parse, commit, count |
//! | `batches.rs` | the engine's batches that a body is cut into |
//! | `influx.rs` | the Influx endpoints: `/write`, `/api/v2/write`, `/query`, `/ping`, `/health`, `/ready` |
//! | `remote_write.rs` | `/api/v1/write` |
//! | `import_export.rs` | `/api/v1/import`, `/api/v1/export` |
//! | `missing.rs` | how an export says what it could not read |
//! | `prometheus/` | the Prometheus query API |
//! | `admin.rs` | `/api/v1/admin/…` |
//! | `health.rs` | `/-/healthy`, `/-/ready`, `/metrics`, `/` |
//! | `turn.rs` | what all reads share: parameters, a place, a budget, a deadline, an answer |
//! | `door.rs` | who may come in, by what a route does; the 503 until the database is open |
//! | `observe.rs` | headers and metrics of every answer |
//! | `slow.rs` | which queries were slow, in the log |

mod admin;
mod batches;
pub mod body;
mod door;
pub mod gate;
mod health;
mod import_export;
mod influx;
mod missing;
mod observe;
mod params;
mod prometheus;
mod remote_write;
mod slow;
mod stream;
mod turn;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use timberline_engine::Db;

use crate::state::{AppState, SharedState};

use door::{Door, Scope};

pub(crate) use observe::refused;
pub(crate) use prometheus::params::time_ns;
pub use prometheus::{json, points};
pub(crate) use write::{INTEGERS_ROUNDED, SAMPLES_STORED, STRINGS_SKIPPED};

const JSON: &str = "application/json";

/// All routes.
pub fn router(state: SharedState) -> Router {
    let scopes = table().into_iter().map(|(path, scope, _)| (path, scope));
    let door = Door::new(SharedState::clone(&state), scopes);
    let add = |router: Router<SharedState>, (path, _, handlers)| router.route(path, handlers);
    table()
        .into_iter()
        .fold(Router::new(), add)
        .fallback(observe::not_found)
        .method_not_allowed_fallback(observe::method_not_allowed)
        .layer(from_fn_with_state(door, door::enter))
        .layer(from_fn_with_state(SharedState::clone(&state), observe::observe))
        .with_state(state)
}

/// The database. Requests get here only once it is open; see [`door::enter`].
fn open_db(state: &AppState) -> timberline_engine::Result<&Arc<Db>> {
    state.db().ok_or(timberline_engine::Error::Closed)
}

/// A path, what is done there, and by whom.
type Route = (&'static str, Scope, MethodRouter<SharedState>);

/// Every path, and what is done there. What is not here is not there.
fn table() -> Vec<Route> {
    [influx_routes(), prometheus_routes(), admin_routes(), health_routes()].concat()
}

fn influx_routes() -> Vec<Route> {
    vec![
        ("/write", Scope::Write, post(influx::write_v1)),
        ("/api/v2/write", Scope::Write, post(influx::write_v2)),
        ("/query", Scope::Statements, get(influx::query).post(influx::query)),
        ("/ping", Scope::Open, get(influx::ping)),
        ("/health", Scope::Open, get(influx::health)),
        ("/ready", Scope::Open, get(influx::ready)),
    ]
}

fn health_routes() -> Vec<Route> {
    vec![
        ("/", Scope::Open, get(health::index)),
        ("/metrics", Scope::Open, get(health::metrics)),
        ("/-/healthy", Scope::Open, get(health::healthy)),
        ("/-/ready", Scope::Open, get(health::ready)),
    ]
}

fn admin_routes() -> Vec<Route> {
    vec![
        ("/api/v1/admin/tsdb/flush", Scope::Admin, post(admin::flush).put(admin::flush)),
        ("/api/v1/admin/tsdb/compact", Scope::Admin, post(admin::compact).put(admin::compact)),
        (
            "/api/v1/admin/tsdb/delete_series",
            Scope::Admin,
            post(admin::delete_series).put(admin::delete_series),
        ),
        (
            "/api/v1/admin/tsdb/clean_tombstones",
            Scope::Admin,
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        ),
        ("/api/v1/admin/tsdb/snapshot", Scope::Admin, post(admin::snapshot).put(admin::snapshot)),
    ]
}

fn prometheus_routes() -> Vec<Route> {
    use prometheus::{explain, info, labels, query, status, syntax};
    vec![
        ("/api/v1/write", Scope::Write, post(remote_write::write)),
        ("/api/v1/import", Scope::Write, post(import_export::import)),
        ("/api/v1/export", Scope::Read, get(import_export::export).post(import_export::export)),
        ("/api/v1/query", Scope::Read, get(query::instant).post(query::instant)),
        ("/api/v1/query_range", Scope::Read, get(query::range).post(query::range)),
        ("/api/v1/explain", Scope::Read, get(explain::explain).post(explain::explain)),
        ("/api/v1/format_query", Scope::Read, get(syntax::format).post(syntax::format)),
        ("/api/v1/parse_query", Scope::Read, get(syntax::parse).post(syntax::parse)),
        ("/api/v1/labels", Scope::Read, get(labels::names).post(labels::names)),
        ("/api/v1/label/{name}/values", Scope::Read, get(labels::values).post(labels::values)),
        ("/api/v1/series", Scope::Read, get(labels::series).post(labels::series)),
        ("/api/v1/query_exemplars", Scope::Read, get(info::empty_list).post(info::empty_list)),
        ("/api/v1/alerts", Scope::Read, get(info::alerts)),
        ("/api/v1/rules", Scope::Read, get(info::rules)),
        ("/api/v1/metadata", Scope::Read, get(info::metadata)),
        ("/api/v1/status/buildinfo", Scope::Read, get(info::build)),
        ("/api/v1/status/tsdb", Scope::Read, get(status::tsdb)),
    ]
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower_service::Service;

    use super::*;
    use crate::config::Config;

    async fn status(router: &Router, path: &str, header: (&str, &str)) -> StatusCode {
        let mut request = Request::post(path).header("content-length", "0");
        request = request.header(header.0, header.1);
        if header.0 != "host" {
            request = request.header("host", "localhost");
        }
        let request = request.body(Body::empty()).unwrap();
        router.clone().call(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn every_route_is_guarded_as_its_scope_says() {
        let state = Arc::new(AppState::new(Config::default(), true).unwrap());
        let router = router(state);
        for (path, scope, _) in table() {
            let path = path.replace("{name}", "job");
            let is_refused = |header| {
                let (router, path) = (&router, &path);
                async move { status(router, path, header).await == StatusCode::FORBIDDEN }
            };
            let writes = matches!(scope, Scope::Write | Scope::Admin);
            assert!(!is_refused(("accept", "*/*")).await, "{path}");
            assert_eq!(is_refused(("host", "evil.example")).await, scope != Scope::Open, "{path}");
            assert_eq!(is_refused(("host", "timberline")).await, writes, "{path}");
            assert_eq!(is_refused(("origin", "http://evil.example")).await, writes, "{path}");
            assert_eq!(is_refused(("sec-fetch-site", "cross-site")).await, writes, "{path}");
            assert_eq!(is_refused(("x-forwarded-for", "::1")).await, scope == Scope::Admin, "{path}");
            let is_admin = path.contains("/admin/");
            assert_eq!(scope == Scope::Admin, is_admin, "{path} is where its scope is expected");
        }
    }
}
