//! What happens to every request: its id and the version headers, its count and duration, and 503 for
//! whatever needs a database that is not open yet.

use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::body;
use crate::state::SharedState;

/// The InfluxDB version whose write API this is. Clients insist on the header and read features from the number.
pub(super) const INFLUX_VERSION: &str = "1.8.10";
const INFLUX_BUILD: &str = concat!("timberline-", env!("CARGO_PKG_VERSION"));

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_INFLUXDB_VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const X_INFLUXDB_BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");

/// Counts and measures a request and puts the headers on its answer. A request's own id is kept.
pub(super) async fn observe(State(state): State<SharedState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let given = request.headers().get(X_REQUEST_ID).or_else(|| request.headers().get(REQUEST_ID)).cloned();
    let mut response = next.run(request).await;
    let path = path.as_ref().map_or("other", MatchedPath::as_str);
    state.metrics.request(path, response.status().as_u16(), started.elapsed());
    let id = given.or_else(|| HeaderValue::from_str(&state.request_id()).ok());
    let headers = response.headers_mut();
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id.clone());
        headers.insert(X_REQUEST_ID, id);
    }
    headers.insert(X_INFLUXDB_VERSION, HeaderValue::from_static(INFLUX_VERSION));
    headers.insert(X_INFLUXDB_BUILD, HeaderValue::from_static(INFLUX_BUILD));
    response
}

/// Answers 503 until the database is open, except where a request needs none.
pub(super) async fn gate_until_open(
    State(state): State<SharedState>,
    request: Request,
    next: Next,
) -> Response {
    const ALWAYS: [&str; 7] = ["/", "/metrics", "/-/healthy", "/-/ready", "/ping", "/health", "/ready"];
    if state.db().is_some() || ALWAYS.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    body::discard(&mut request.into_body()).await;
    let message = format!("{}; try again in a moment", state.opening_message());
    let mut response = all_dialects(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// 404 for a path that is not one of ours.
pub(super) async fn not_found(uri: Uri) -> Response {
    all_dialects(StatusCode::NOT_FOUND, "not_found", &format!("there is nothing at {}", uri.path()))
}

/// 405 for a method that a path does not have.
pub(super) async fn method_not_allowed(request: Request) -> Response {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    all_dialects(StatusCode::METHOD_NOT_ALLOWED, "bad_data", &message)
}

/// An error whose body clients of the Prometheus, Influx v1 and Influx v2 APIs all understand, for places
/// that know not which of them asks.
pub(super) fn all_dialects(status: StatusCode, kind: &str, message: &str) -> Response {
    let body =
        json!({"status": "error", "errorType": kind, "error": message, "code": kind, "message": message});
    (status, Json(body)).into_response()
}
