//! `/api/v1/import` and `/api/v1/export`: series as JSON lines, in and out.

use axum::extract::{Request, State};
use axum::response::Response;
use timberline_engine::{Samples, Series};

use super::missing::{Missing, Verdict};
use super::params::{self, Known, Params};
use super::prometheus::ApiError;
use super::stream::Writer;
use super::turn::{Queue, Read};
use super::write::{self, Counts, RefusedRows, WriteError};
use super::{body, influx, open_db};
use crate::ingest::{Precision, jsonl};
use crate::metrics::Protocol;
use crate::state::SharedState;

/// A series with more samples than this is exported as several lines, so that no line is too long to be imported.
const LINE_SAMPLES_MAX: usize = 65_536;
/// A line of a series that has histograms holds fewer.
const LINE_HISTOGRAMS_MAX: usize = 512;

const IMPORT: Known = &["precision"];
const EXPORT: Known = &["match[]", "start", "end", "precision", "timeout"];

/// `POST /api/v1/import?precision=ms`
pub(super) async fn import(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let unknown = params::unknown(&parts.uri, IMPORT).map(|name| format!("unknown parameter {name:?}"));
    let precision = match unknown.map_or_else(|| precision(&Params::of_url(&parts.uri, IMPORT)), Err) {
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
            let mut text = body::decode(state, headers, received)?;
            let parsed_bytes = jsonl::parsed_bytes_max(text.as_ref());
            text.hold_parsed(parsed_bytes, state.config.write_bytes_max)?;
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

/// `GET|POST /api/v1/export?match[]=&start=&end=&precision=ms`. Its time is over once it has found its series: how long it takes to
/// read them, and its client to take them, is not bounded as long as the client takes some.
pub(super) async fn export(State(state): State<SharedState>, request: Request) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, EXPORT, Queue::Exports).await?;
    let range = read.params.time_range()?;
    let precision = precision(&read.params).map_err(|reason| ApiError::parameter("precision", reason))?;
    let verdict = Verdict::default();
    let told = verdict.clone();
    let answer = read.answer("application/stream+json; charset=utf-8", move |turn, writer| {
        let selectors = turn.params.selectors(&turn.budget)?;
        let snapshot = open_db(&turn.state)?.snapshot();
        let found = turn.watched(|watch| snapshot.select_any(&selectors.or_all_series(), range, watch))?;
        let _held = turn.budget.take(found.iter().map(Series::memory_bytes).sum())?;
        let mut missing = Missing::of(&snapshot);
        write_series(writer, found, precision, &mut missing)?;
        missing.end(writer, &told);
        Ok(())
    });
    Ok(verdict.mark(answer.await?))
}

/// Writes the series, as far as they can be read.
fn write_series(
    writer: &mut Writer,
    series: Vec<Series>,
    precision: Precision,
    missing: &mut Missing,
) -> Result<(), ApiError> {
    let mut samples = Samples::default();
    for series in series {
        missing.read(&series, &mut samples);
        let step = if samples.histograms.is_empty() { LINE_SAMPLES_MAX } else { LINE_HISTOGRAMS_MAX };
        for start in (0..samples.len()).step_by(step) {
            let positions = start..samples.len().min(start + step);
            jsonl::append_line(&mut writer.buffer, series.labels(), &samples, positions, precision);
            writer.checkpoint()?;
        }
    }
    Ok(())
}

fn precision(params: &Params) -> Result<Precision, String> {
    let text = params.get("precision").unwrap_or("ms");
    text.parse().map_err(|error| format!("{error}"))
}
