//! The Influx endpoints: line protocol in versions 1 and 2 of the API, and what their clients ask besides.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use timberline_engine::TimeRange;

use super::door::MayWrite;
use super::observe::INFLUX_VERSION;
use super::params::Params;
use super::write::{self, Counts, RefusedRows, Stored, WriteError};
use super::{body, open_db};
use crate::ingest::Precision;
use crate::ingest::line_protocol::{self, Namespace};
use crate::metrics::Protocol;
use crate::state::{SharedState, now_ns};

/// `POST /write?db=&rp=&precision=`. A missing `db` is accepted: the series then have no such label.
pub(super) async fn write_v1(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = Params::of_url(&parts);
    let namespace = ["db", "rp"].map(|name| params.get(name).map(str::to_owned));
    match write_lines(state, parts.headers, body, namespace, &params).await {
        Ok(stored) => written(stored),
        Err(error) => error_v1(&error),
    }
}

/// `POST /api/v2/write?org=&bucket=&precision=`. The bucket is the database; there are no organisations.
pub(super) async fn write_v2(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = Params::of_url(&parts);
    let namespace = [params.get("bucket").map(str::to_owned), None];
    match write_lines(state, parts.headers, body, namespace, &params).await {
        Ok(stored) => written(stored),
        Err(error) => error_v2(&error),
    }
}

async fn write_lines(
    state: SharedState,
    headers: HeaderMap,
    mut body: Body,
    namespace: [Option<String>; 2],
    params: &Params,
) -> Result<Stored, WriteError> {
    let precision: Precision = match params.get("precision").map_or(Ok(Precision::default()), str::parse) {
        Ok(precision) => precision,
        Err(error) => {
            let error = WriteError::Request(error.to_string());
            return Err(write::refuse(&state, Protocol::Line, &mut body, error).await);
        }
    };
    write::write(state, Protocol::Line, headers, body, move |state, headers, received, batches| {
        let [db, rp] = &namespace;
        let namespace = Namespace { db: db.as_deref(), rp: rp.as_deref() };
        let body = body::decode(state, headers, received)?;
        let limits = &state.config.ingest;
        let report =
            line_protocol::write_lines(body.as_ref(), &namespace, precision, now_ns(), limits, batches)?;
        Ok(Counts {
            rows: report.rows,
            samples: report.samples,
            strings_skipped: report.strings_skipped,
            integers_rounded: report.integers_rounded,
            beyond_retention: report.errors.beyond_retention(),
            refused: RefusedRows::lines(report.rows, report.errors.beyond_retention(), &report.errors),
        })
    })
    .await
}

/// The answer to a write that is stored as a whole.
pub(super) fn written(stored: Stored) -> Response {
    (StatusCode::NO_CONTENT, AppendHeaders(stored.headers())).into_response()
}

/// An error as version 1 of the API has it; also for endpoints that have no form of their own.
pub(super) fn error_v1(error: &WriteError) -> Response {
    with_retry_after(error, Json(json!({"error": error.to_string()})))
}

fn error_v2(error: &WriteError) -> Response {
    let status = error.status();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported media type",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::INTERNAL_SERVER_ERROR => "internal error",
        StatusCode::UNPROCESSABLE_ENTITY => "unprocessable entity",
        _ => "invalid",
    };
    let mut body = json!({"code": code, "message": error.to_string()});
    match error {
        WriteError::Rows(RefusedRows { line: Some(line), .. }, _) => body["line"] = json!(line),
        WriteError::Body(body::BodyError::TooLarge { limit }) => body["maxLength"] = json!(limit),
        _ => {}
    }
    with_retry_after(error, Json(body))
}

fn with_retry_after(error: &WriteError, body: Json<Value>) -> Response {
    let stored = AppendHeaders(error.stored().headers());
    match error.retry_after() {
        Some(seconds) => (error.status(), [(RETRY_AFTER, seconds.to_string())], stored, body).into_response(),
        None => (error.status(), stored, body).into_response(),
    }
}

/// `GET|POST /query`: the two InfluxQL statements that clients send before their first write.
pub(super) async fn query(
    State(state): State<SharedState>,
    Extension(may_write): Extension<MayWrite>,
    params: Params,
) -> Response {
    let Some(text) = params.get("q") else {
        return error_v1(&WriteError::Request("missing required parameter \"q\"".to_owned()));
    };
    let mut results = Vec::new();
    for (id, statement) in
        text.split(';').map(str::trim).filter(|statement| !statement.is_empty()).enumerate()
    {
        match answer_statement(&state, &may_write, statement) {
            Ok(Some(series)) => results.push(json!({"statement_id": id, "series": [series]})),
            Ok(None) => results.push(json!({"statement_id": id})),
            Err(error) => return error_v1(&error),
        }
    }
    Json(json!({"results": results})).into_response()
}

/// The series that a statement answers, if any.
fn answer_statement(
    state: &SharedState,
    may_write: &MayWrite,
    statement: &str,
) -> Result<Option<Value>, WriteError> {
    let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
    match (words.next().as_deref(), words.next().as_deref(), words.next()) {
        // A database is a label; it is there with its first write.
        (Some("CREATE"), Some("DATABASE"), Some(_)) => {
            may_write.0.clone().map(|()| None).map_err(|refusal| WriteError::Forbidden(refusal.message))
        }
        (Some("SHOW"), Some("DATABASES"), None) => {
            let values: Vec<[String; 1]> = databases(state)?.into_iter().map(|name| [name]).collect();
            Ok(Some(json!({"name": "databases", "columns": ["name"], "values": values})))
        }
        _ => Err(WriteError::Request(format!(
            "InfluxQL is not spoken here, except CREATE DATABASE and SHOW DATABASES: ask in PromQL at /api/v1/query \
             (statement: {statement})"
        ))),
    }
}

fn databases(state: &SharedState) -> timberline_engine::Result<Vec<String>> {
    open_db(state)?.snapshot().label_values("db", &[], TimeRange::ALL)
}

/// `GET|HEAD /ping`
pub(super) async fn ping(params: Params) -> Response {
    match params.get("verbose") {
        None | Some("false" | "0") => StatusCode::NO_CONTENT.into_response(),
        Some(_) => Json(json!({"version": INFLUX_VERSION})).into_response(),
    }
}

/// `GET /health`
pub(super) async fn health(State(state): State<SharedState>) -> Response {
    let (code, status, message) = match state.db().map(|db| db.writes_refused()) {
        Some(None) => (StatusCode::OK, "pass", "ready for queries and writes".to_owned()),
        Some(Some(reason)) => {
            (StatusCode::OK, "pass", format!("ready for queries; writes are refused: {reason}"))
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "fail", state.opening_message()),
    };
    let body = json!({
        "name": "influxdb", "message": message, "status": status, "checks": [], "version": INFLUX_VERSION,
    });
    (code, Json(body)).into_response()
}

/// `GET /ready`
pub(super) async fn ready(State(state): State<SharedState>) -> Response {
    let code = if state.db().is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let status = if code == StatusCode::OK { "ready" } else { "starting" };
    let up = format!("{:.3}s", state.metrics.uptime().as_secs_f64());
    (code, Json(json!({"status": status, "up": up}))).into_response()
}
