//! Admin endpoints. Until there is authentication they answer clients on this machine only, which [`door`](super::door) sees to.
//! What they did is in the log.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use timberline_engine::{CompactionReport, Db, DeleteReport};

use super::params::Params;
use super::prometheus::{ApiError, ErrorType};
use super::turn::{Queue, Read};
use super::{open_db, stream};
use crate::state::{SharedState, now_ns};

/// How many selectors of a delete are logged, and how much of each.
const LOGGED_SELECTORS_MAX: usize = 10;
const LOGGED_SELECTOR_CHARS_MAX: usize = 1_000;

/// `POST|PUT /api/v1/admin/tsdb/flush`: seals the head into blocks.
pub(super) async fn flush(State(state): State<SharedState>) -> Response {
    run(state, |db| {
        let report = db.flush()?;
        tracing::info!(blocks = report.blocks, samples = report.samples, "flush asked for");
        Ok(json!({"blocks": report.blocks, "samples": report.samples}))
    })
    .await
}

/// `POST|PUT /api/v1/admin/tsdb/compact`: compacts until nothing is left to do.
pub(super) async fn compact(State(state): State<SharedState>) -> Response {
    run(state, |db| {
        let CompactionReport { merged, created, expired, .. } = db.compact()?;
        tracing::info!(merged, created, expired, "compaction asked for");
        Ok(json!({"merged": merged, "created": created, "expired": expired}))
    })
    .await
}

/// `POST|PUT /api/v1/admin/tsdb/delete_series?match[]=&start=&end=`: deletes samples; 204 when they are gone for good.
pub(super) async fn delete_series(State(state): State<SharedState>, request: Request) -> Response {
    let known = &["match[]", "start", "end"];
    let read = match Read::receive(SharedState::clone(&state), request, known, Queue::Queries).await {
        Ok(read) => read,
        Err(error) => return error.into_response(),
    };
    let deleted = run(state, move |db| {
        all_understood(&read.params)?;
        let selectors = read.params.required_selectors(&read.budget)?;
        let range = read.params.time_range()?;
        for (name, time_ns) in [("start", range.start), ("end", range.end)] {
            let is_number = read.params.get(name).is_some_and(|text| text.parse::<f64>().is_ok());
            if is_number && (time_ns == i64::MIN || time_ns == i64::MAX) {
                let reason =
                    "it is before 1677 or after 2262: numbers are seconds; leave it out for all time";
                return Err(ApiError::parameter(name, reason));
            }
        }
        let matched: Vec<String> =
            read.params.all("match[]").take(LOGGED_SELECTORS_MAX).map(shortened).collect();
        let count = selectors.as_ref().len();
        let (start_ns, end_ns) = (range.start, range.end);
        // Said before as well: should the process end meanwhile, somebody may ask what was going on.
        tracing::info!(?matched, selectors = count, start_ns, end_ns, "delete asked for");
        let DeleteReport { blocks, series, samples } = db.delete(selectors.as_ref(), range)?;
        tracing::info!(?matched, selectors = count, start_ns, end_ns, blocks, series, samples, "deleted");
        Ok(Value::Null)
    });
    no_content(deleted.await)
}

/// Whether all that was sent is understood. A range of a delete that is not would be one of all time.
fn all_understood(params: &Params) -> Result<(), ApiError> {
    let Some(stray) = params.stray() else { return Ok(()) };
    let message = format!("{stray}: nothing was done, send each parameter once, in the URL or a form");
    Err(ApiError::new(ErrorType::BadData, message))
}

/// `POST|PUT /api/v1/admin/tsdb/clean_tombstones`: frees the space of what is deleted; 204 when done.
pub(super) async fn clean_tombstones(State(state): State<SharedState>) -> Response {
    let cleaned = run(state, |db| {
        let report = db.clean_tombstones()?;
        tracing::info!(?report, "cleaning of tombstones asked for");
        Ok(Value::Null)
    });
    no_content(cleaned.await)
}

/// `POST|PUT /api/v1/admin/tsdb/snapshot?skip_head=`: makes a copy below `snapshots/` of the data directory.
pub(super) async fn snapshot(State(state): State<SharedState>, request: Request) -> Response {
    let read = match Read::receive(SharedState::clone(&state), request, &["skip_head"], Queue::Queries).await
    {
        Ok(read) => read,
        Err(error) => return error.into_response(),
    };
    if let Err(error) = all_understood(&read.params) {
        return error.into_response();
    }
    let skip_head = match read.params.get("skip_head").map(str::parse::<bool>) {
        None => false,
        Some(Ok(skip_head)) => skip_head,
        Some(Err(_)) => {
            let reason = "unable to parse boolean skip_head argument: it is `true` or `false`";
            return ApiError::new(ErrorType::BadData, reason).into_response();
        }
    };
    let name = snapshot_name(now_ns(), std::process::id(), state.request_number());
    run(state, move |db| {
        db.create_snapshot(&name, skip_head)?;
        tracing::info!(name, skip_head, "snapshot made");
        Ok(json!({"name": name}))
    })
    .await
}

/// The text of a selector for the log.
fn shortened(selector: &str) -> String {
    match selector.char_indices().nth(LOGGED_SELECTOR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &selector[..end]),
        None => selector.to_owned(),
    }
}

/// As Prometheus names them: the time, and a number that makes it unique.
fn snapshot_name(now_ns: i64, process: u32, number: u64) -> String {
    let now = jiff::Timestamp::from_nanosecond(now_ns.into()).unwrap_or_default();
    format!("{}-{process:08x}{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), number & u64::from(u32::MAX))
}

/// A success without a body.
fn no_content(response: Response) -> Response {
    if response.status() == StatusCode::OK { StatusCode::NO_CONTENT.into_response() } else { response }
}

/// Answers once `work` is done.
async fn run(
    state: SharedState,
    work: impl FnOnce(&Db) -> Result<Value, ApiError> + Send + 'static,
) -> Response {
    let done = tokio::task::spawn_blocking(move || work(open_db(&state)?)).await;
    match done {
        Ok(Ok(data)) => Json(json!({"status": "success", "data": data})).into_response(),
        Ok(Err(error)) => error.into_response(),
        // The thread panicked; the panic's text is on stderr.
        Err(_) => stream::panicked(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_are_named_as_prometheus_names_them() {
        assert_eq!(snapshot_name(1_512_940_344_123_456_789, 0xab, 3), "20171210T211224Z-000000ab00000003");
    }
}
