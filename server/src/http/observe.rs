//! What happens to every request: its id and the version headers, its count and duration.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::HeaderName;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::slow::Caller;
use crate::state::{AppState, SharedState};

/// The InfluxDB version whose write API this is. Clients insist on the header and read features from the number.
pub(super) const INFLUX_VERSION: &str = "1.8.10";
const INFLUX_BUILD: &str = concat!("timberline-", env!("CARGO_PKG_VERSION"));

/// The path in metrics of what is none of our paths.
const OTHER: &str = "other";

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_INFLUXDB_VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const X_INFLUXDB_BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");

/// Counts and measures a request and puts the headers on its answer. A request's own id is kept.
pub(super) async fn observe(State(state): State<SharedState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let given = request.headers().get(X_REQUEST_ID).or_else(|| request.headers().get(REQUEST_ID)).cloned();
    let id = given.unwrap_or_else(|| state.request_id());
    let caller = Caller::of(&request, id.clone());
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    let path = path.as_ref().map_or(OTHER, MatchedPath::as_str);
    state.metrics.request(path, response.status().as_u16(), started.elapsed());
    sign(id, &mut response);
    response
}

/// Puts the headers of every answer on one.
fn sign(id: HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(X_REQUEST_ID, id);
    headers.insert(X_INFLUXDB_VERSION, HeaderValue::from_static(INFLUX_VERSION));
    headers.insert(X_INFLUXDB_BUILD, HeaderValue::from_static(INFLUX_BUILD));
}

/// The answer to what is no request, and so never came to the router.
pub(crate) fn refused(state: &AppState, status: StatusCode, message: &str) -> Response {
    let kind = match status {
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        _ => "bad_data",
    };
    let mut response = all_dialects(status, kind, message);
    state.metrics.refusals.request("http", kind, &message);
    state.metrics.request(OTHER, status.as_u16(), Duration::ZERO);
    sign(state.request_id(), &mut response);
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
