//! `status/tsdb`: which metrics, labels and pairs have the most series.

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};
use timberline_engine::{Cardinality, Count, Stats};

use super::params::to_ms;
use super::{ApiError, ErrorType};
use crate::http::params::{Known, Params};
use crate::http::turn::{Queue, Read};
use crate::http::{JSON, open_db};
use crate::state::SharedState;

const LIMIT_DEFAULT: usize = 10;
/// As in Prometheus.
const LIMIT_MAX: usize = 10_000;

const KNOWN: Known = &["limit", "blocks", "timeout"];

/// `GET /api/v1/status/tsdb?limit=10&blocks=false`
pub(in crate::http) async fn tsdb(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, KNOWN, Queue::Lists).await?;
    let top = limit(&read.params)?;
    let with_blocks = match read.params.get("blocks") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(other) => return Err(ApiError::parameter("blocks", format!("{other:?} is not true or false"))),
    };
    read.answer(JSON, move |turn, writer| {
        let db = open_db(&turn.state)?;
        let snapshot = db.snapshot();
        let found = turn.watched(|watch| snapshot.cardinality(top, with_blocks, watch))?;
        Ok(writer.write(answer(&found, &db.stats()).to_string().as_bytes())?)
    })
    .await
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let bad = |reason: &str| Err(ApiError::new(ErrorType::BadData, reason));
    match params.get("limit").map(str::parse) {
        None => Ok(LIMIT_DEFAULT),
        Some(Ok(limit @ 1..=LIMIT_MAX)) => Ok(limit),
        Some(Ok(1..)) => bad("limit must not exceed 10000"),
        Some(_) => bad("limit must be a positive number"),
    }
}

/// What Prometheus answers, and the clock by which samples expire; a warning when it is far from the machine's.
fn answer(found: &Cardinality, stats: &Stats) -> Value {
    let mut data = data(found);
    data["retentionClock"] = json!({
        "time": stats.retention_clock_ns as f64 / 1e9,
        "behindSeconds": stats.retention_clock_behind_ns as f64 / 1e9,
    });
    let mut answer = json!({"status": "success", "data": data});
    if let Some(warning) = &stats.retention_clock_warning {
        answer["warnings"] = json!([warning]);
    }
    answer
}

fn data(found: &Cardinality) -> Value {
    // Without samples, Prometheus answers the ends of time the wrong way round.
    let (start, end) =
        found.head_range.map_or((i64::MAX, i64::MIN), |range| (to_ms(range.start), to_ms(range.end)));
    json!({
        "headStats": {
            "numSeries": found.series,
            "numLabelPairs": found.label_pairs,
            "chunkCount": found.head_chunks,
            "minTime": start,
            "maxTime": end,
        },
        "seriesCountByMetricName": counts(&found.series_by_metric),
        "labelValueCountByLabelName": counts(&found.values_by_label),
        "memoryInBytesByLabelName": counts(&found.bytes_by_label),
        "seriesCountByLabelValuePair": counts(&found.series_by_pair),
    })
}

fn counts(counts: &[Count]) -> Vec<Value> {
    counts.iter().map(|count| json!({"name": count.name, "value": count.count})).collect()
}
