//! Endpoints that Grafana asks whatever the server is: what it is, and that it has no rules, exemplars or metadata.

use axum::Json;
use axum::response::IntoResponse;
use serde_json::{Value, json};

/// The Prometheus version whose query API this is. Grafana turns features on by it.
const PROMETHEUS_VERSION: &str = "3.5.0";

fn success(data: &Value) -> Json<Value> {
    Json(json!({"status": "success", "data": data}))
}

/// `query_exemplars`: none.
pub(in crate::http) async fn empty_list() -> impl IntoResponse {
    success(&json!([]))
}

/// `alerts`: none.
pub(in crate::http) async fn alerts() -> impl IntoResponse {
    success(&json!({"alerts": []}))
}

/// `rules`: none.
pub(in crate::http) async fn rules() -> impl IntoResponse {
    success(&json!({"groups": []}))
}

/// `metadata`: none.
pub(in crate::http) async fn metadata() -> impl IntoResponse {
    success(&json!({}))
}

/// `status/buildinfo`
pub(in crate::http) async fn build() -> impl IntoResponse {
    success(&json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("timberline-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}
