//! Admin endpoints. Until there is authentication they answer only when the server listens on a loopback address.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use timberline_engine::{Db, Result};

use super::open_db;
use super::prometheus::ApiError;
use crate::state::SharedState;

/// `POST|PUT /api/v1/admin/tsdb/flush`: seals the head into blocks.
pub(super) async fn flush(State(state): State<SharedState>) -> Response {
    run(state, |db| db.flush().map(|report| json!({"blocks": report.blocks, "samples": report.samples})))
        .await
}

/// `POST|PUT /api/v1/admin/tsdb/compact`: compacts until nothing is left to do.
pub(super) async fn compact(State(state): State<SharedState>) -> Response {
    run(state, |db| {
        db.compact().map(
            |report| json!({"merged": report.merged, "created": report.created, "expired": report.expired}),
        )
    })
    .await
}

/// Answers once `work` is done.
async fn run(state: SharedState, work: impl FnOnce(&Db) -> Result<Value> + Send + 'static) -> Response {
    if !state.is_loopback {
        let message = "admin endpoints answer only when the server listens on a loopback address, because anybody \
                       who can reach it could call them: listen on 127.0.0.1";
        let body = json!({"status": "error", "errorType": "forbidden", "error": message});
        return (StatusCode::FORBIDDEN, Json(body)).into_response();
    }
    let done = tokio::task::spawn_blocking(move || open_db(&state).and_then(|db| work(db))).await;
    match done {
        Ok(Ok(data)) => Json(json!({"status": "success", "data": data})).into_response(),
        Ok(Err(error)) => ApiError::from(error).into_response(),
        // The thread panicked; the panic's text is on stderr.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
