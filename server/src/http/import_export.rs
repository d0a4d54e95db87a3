//! `/api/v1/import` and `/api/v1/export`: series as JSON lines, in and out.

use std::collections::HashSet;

use axum::extract::{Request, State};
use axum::response::Response;
use timberline_engine::{Labels, Matcher, Samples, Snapshot, TimeRange};

use super::missing::{Missing, Verdict};
use super::params::Params;
use super::prometheus::{ApiError, ErrorType};
use super::stream::{self, Writer};
use super::write::{self, Counts, RefusedRows, WriteError};
use super::{body, influx, open_db};
use crate::ingest::{Precision, jsonl};
use crate::metrics::Protocol;
use crate::state::SharedState;

/// A series with more samples than this is exported as several lines, so that no line is too long to be imported.
const LINE_SAMPLES_MAX: usize = 65_536;
/// A line of a series that has histograms holds fewer.
const LINE_HISTOGRAMS_MAX: usize = 512;

/// `POST /api/v1/import?precision=ms`
pub(super) async fn import(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let params = Params::of_url(&parts);
    let unknown = params.unknown(&["precision"]).map(|name| format!("unknown parameter {name:?}"));
    let precision = match unknown.map_or_else(|| precision(&params), Err) {
        Ok(precision) => precision,
        Err(reason) => {
            let error = WriteError::Request(reason);
            return influx::error_v1(&write::refuse(&state, Protocol::JsonLines, &mut body, error).await);
        }
    };
    let written = write::write(
        state,
        Protocol::JsonLines,
        parts.headers,
        body,
        move |state, headers, received, batches| {
            let text = body::decode(state, headers, received)?;
            let report = jsonl::write_lines(text.as_ref(), precision, &state.config.ingest, batches)?;
            let rows = report.lines - report.errors.total;
            Ok(Counts {
                rows,
                samples: report.samples,
                beyond_retention: report.beyond_retention,
                refused: RefusedRows::lines(rows, report.beyond_retention, &report.errors),
                ..Counts::default()
            })
        },
    );
    match written.await {
        Ok(stored) => influx::written(stored),
        Err(error) => influx::error_v1(&error),
    }
}

/// `GET|POST /api/v1/export?match[]=&start=&end=&precision=ms`
pub(super) async fn export(State(state): State<SharedState>, params: Params) -> Result<Response, ApiError> {
    let mut selectors = params.selectors()?;
    if selectors.is_empty() {
        // All series.
        selectors.push(Vec::new());
    }
    let range = params.time_range()?;
    let precision = precision(&params).map_err(|reason| ApiError::parameter("precision", reason))?;
    let place = state.query_gate.enter().await.map_err(|_| {
        ApiError::new(
            ErrorType::Unavailable,
            "limit query_queue_max reached: too many queries are waiting, try again",
        )
    })?;
    let snapshot = open_db(&state)?.snapshot();
    let verdict = Verdict::default();
    let told = verdict.clone();
    let answer = stream::respond("application/stream+json; charset=utf-8", move |writer| {
        let _place = place;
        let mut missing = Missing::of(&snapshot);
        write_series(writer, &snapshot, &selectors, range, precision, &mut missing)?;
        missing.end(writer, &told);
        Ok::<(), ApiError>(())
    });
    Ok(verdict.mark(answer.await))
}

/// Writes the series that satisfy any of the selectors, each once, as far as they can be read.
fn write_series(
    writer: &mut Writer,
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    precision: Precision,
    missing: &mut Missing,
) -> Result<(), ApiError> {
    let mut written: HashSet<Labels> = HashSet::new();
    let mut samples = Samples::default();
    for selector in selectors {
        for series in snapshot.select(selector, range)? {
            if selectors.len() > 1 && !written.insert(series.labels().clone()) {
                continue;
            }
            missing.read(&series, &mut samples);
            let step = if samples.histograms.is_empty() { LINE_SAMPLES_MAX } else { LINE_HISTOGRAMS_MAX };
            for start in (0..samples.len()).step_by(step) {
                let positions = start..samples.len().min(start + step);
                jsonl::append_line(&mut writer.buffer, series.labels(), &samples, positions, precision);
                writer.checkpoint()?;
            }
        }
    }
    Ok(())
}

fn precision(params: &Params) -> Result<Precision, String> {
    let text = params.get("precision").unwrap_or("ms");
    text.parse().map_err(|error| format!("{error}"))
}
