//! The Influx endpoints: line protocol in versions 1 and 2 of the API, and what their clients ask besides.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use timberline_engine::{Found, TimeRange};

use super::door::MayWrite;
use super::observe::INFLUX_VERSION;
use super::params::Params;
use super::prometheus::{ApiError, ErrorType, json};
use super::stream::Writer;
use super::turn::{Queue, Read};
use super::write::{self, Counts, RefusedRows, Stored, WriteError};
use super::{JSON, body, open_db};
use crate::ingest::Precision;
use crate::ingest::line_protocol::{self, Namespace};
use crate::metrics::Protocol;
use crate::state::{SharedState, now_ns};

/// Of a statement that is refused, the answer shows so much.
const STATEMENT_CHARS_SHOWN: usize = 200;

/// `POST /write?db=&rp=&precision=`. A missing `db` is accepted: the series then have no such label.
pub(super) async fn write_v1(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = Params::of_url(&parts.uri, &["db", "rp", "precision"]);
    let namespace = ["db", "rp"].map(|name| params.get(name).map(str::to_owned));
    match write_lines(state, parts.headers, body, namespace, &params).await {
        Ok(stored) => written(stored),
        Err(error) => error_v1(&error),
    }
}

/// `POST /api/v2/write?org=&bucket=&precision=`. The bucket is the database; there are no organisations.
pub(super) async fn write_v2(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let params = Params::of_url(&parts.uri, &["bucket", "precision"]);
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

/// The InfluxQL statements that clients send before their first write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statement {
    /// A database is a label; it is there with its first write.
    CreateDatabase,
    ShowDatabases,
}

impl Statement {
    fn of(text: &str) -> Result<Self, ApiError> {
        let mut words = text.split_whitespace();
        let mut next_is = |word: &str| words.next().is_some_and(|next| next.eq_ignore_ascii_case(word));
        if next_is("CREATE") {
            if next_is("DATABASE") && words.next().is_some() {
                return Ok(Self::CreateDatabase);
            }
        } else if text.split_whitespace().map(str::to_ascii_uppercase).eq(["SHOW", "DATABASES"]) {
            return Ok(Self::ShowDatabases);
        }
        let begin: String = text.chars().take(STATEMENT_CHARS_SHOWN).collect();
        Err(ApiError::new(
            ErrorType::BadData,
            format!(
                "InfluxQL is not spoken here, except CREATE DATABASE and SHOW DATABASES: ask in PromQL at /api/v1/query \
                 (statement: {begin})"
            ),
        ))
    }
}

/// `GET|POST /query`: the two InfluxQL statements that clients send before their first write.
pub(super) async fn query(
    State(state): State<SharedState>,
    Extension(MayWrite(may_write)): Extension<MayWrite>,
    request: Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, &["q"], Queue::Queries).await?;
    read.answer(JSON, move |turn, writer| {
        let Some(text) = turn.params.get("q") else {
            return Err(ApiError::new(ErrorType::BadData, "missing required parameter \"q\""));
        };
        let statements = || text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
        for statement in statements() {
            match (Statement::of(statement)?, &may_write) {
                (Statement::CreateDatabase, Err(refusal)) => {
                    return Err(ApiError::forbidden(refusal.message.clone()));
                }
                (Statement::CreateDatabase, Ok(())) | (Statement::ShowDatabases, _) => {}
            }
        }
        let snapshot = open_db(&turn.state)?.snapshot();
        let mut databases = None;
        writer.buffer.extend_from_slice(br#"{"results":["#);
        for (id, statement) in statements().enumerate() {
            turn.cancel.check()?;
            writer.buffer.extend_from_slice(if id > 0 { b"," } else { b"" });
            writer.buffer.extend_from_slice(format!(r#"{{"statement_id":{id}"#).as_bytes());
            if Statement::of(statement)? == Statement::ShowDatabases {
                let databases = match &mut databases {
                    Some(databases) => databases,
                    none => none.insert(
                        turn.watched(|watch| snapshot.label_values("db", &[&[]], TimeRange::ALL, watch))?,
                    ),
                };
                write_databases(writer, databases)?;
            }
            writer.buffer.push(b'}');
            writer.checkpoint()?;
        }
        Ok(writer.write(b"]}")?)
    })
    .await
}

fn write_databases(writer: &mut Writer, databases: &Found<String>) -> Result<(), ApiError> {
    writer.buffer.extend_from_slice(br#","series":[{"name":"databases","columns":["name"],"values":["#);
    for (i, name) in databases.iter().enumerate() {
        writer.buffer.extend_from_slice(if i > 0 { b",[" } else { b"[" });
        json::write_string(&mut writer.buffer, name);
        writer.buffer.push(b']');
        writer.checkpoint()?;
    }
    Ok(writer.write(b"]}]")?)
}

/// `GET|HEAD /ping`
pub(super) async fn ping(uri: Uri) -> Response {
    match Params::of_url(&uri, &["verbose"]).get("verbose") {
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
