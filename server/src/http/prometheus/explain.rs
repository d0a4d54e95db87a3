//! `explain`: how a query is evaluated, and with `analyze` how it went.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use timberline_query::explain::{Analysis, Explanation, Node, Selection, Steps};

use super::ApiError;
use super::query::{instant_request, range_request};
use super::syntax::DESCRIBED_BYTES;
use super::tree::Children::{List, One};
use super::tree::write_node;
use crate::http::params::Known;
use crate::http::stream::Writer;
use crate::http::turn::{Queue, Read, Turn};
use crate::http::{JSON, open_db};
use crate::state::SharedState;

const TEXT: &str = "text/plain; charset=utf-8";

const KNOWN: Known =
    &["query", "time", "start", "end", "step", "timeout", "limit", "lookback_delta", "format", "analyze"];

/// `GET|POST /api/v1/explain`: the parameters of `query`, or with `start` those of `query_range`.
pub(in crate::http) async fn explain(
    State(state): State<SharedState>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, KNOWN, Queue::Queries).await?;
    let as_text = match read.params.get("format") {
        None | Some("json") => false,
        Some("text") => true,
        Some(_) => return Err(ApiError::parameter("format", "it is neither json nor text")),
    };
    let analyze = match read.params.get("analyze") {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(ApiError::parameter("analyze", "it is neither true nor false")),
    };
    let content_type = if as_text { TEXT } else { JSON };
    read.answer(content_type, move |turn, writer| answer(&turn, analyze, as_text, writer)).await
}

fn answer(turn: &Turn, analyze: bool, as_text: bool, writer: &mut Writer) -> Result<(), ApiError> {
    let Turn { state, params, budget, .. } = turn;
    let parse = if params.get("start").is_some() { range_request } else { instant_request };
    let request = parse(params, budget)?;
    let snapshot = open_db(state)?.snapshot();
    let explanation = state.executor.explain(&snapshot, &request.query, &turn.cancel, analyze)?;
    if let Some(analysis) = &explanation.analysis {
        state.metrics.queries.samples_read.add(analysis.stats.samples);
    }
    let _described = budget.take(request.query.text.len().saturating_mul(DESCRIBED_BYTES))?;
    let text = if as_text { explanation.to_string() } else { json_text(&explanation) };
    Ok(writer.write(text.as_bytes())?)
}

fn json_text(explanation: &Explanation) -> String {
    let mut data = Map::new();
    data.insert("steps".to_owned(), steps(&explanation.grid));
    if let Some(analysis) = &explanation.analysis {
        data.insert("analysis".to_owned(), analysis_object(analysis));
    }
    let mut text = String::from(r#"{"status":"success","data":"#);
    write_node(&mut text, &data.into(), &[("plan", One(&explanation.root))], write_plan);
    text.push('}');
    text
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn steps(steps: &Steps) -> Value {
    let Steps { start_ms, end_ms, step_ms, count } = *steps;
    json!({"start": seconds(start_ms), "end": seconds(end_ms), "step": seconds(step_ms), "count": count})
}

fn analysis_object(analysis: &Analysis) -> Value {
    let Analysis { timings, stats, warnings, infos } = analysis;
    json!({
        "preparationSeconds": timings.preparation.as_secs_f64(),
        "evaluationSeconds": timings.evaluation.as_secs_f64(),
        "resultSeconds": timings.result.as_secs_f64(),
        "series": stats.series,
        "samples": stats.samples,
        "peakPoints": stats.points_peak,
        "peakMemoryBytes": stats.memory_bytes_peak,
        "warnings": warnings,
        "infos": infos,
    })
}

fn write_plan(text: &mut String, plan: &Node) {
    let mut object = Map::new();
    let mut insert = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    insert("kind", plan.kind.into());
    insert("operation", plan.operation.as_str().into());
    insert("pushDowns", plan.push_downs.iter().map(|push_down| push_down.as_str()).collect());
    if let Some(selected) = &plan.selection {
        insert("selection", selection(selected));
    }
    if let Some(grid) = &plan.grid {
        insert("steps", steps(grid));
    }
    if let Some(measured) = &plan.measured {
        let seconds = measured.time.as_secs_f64();
        insert("measured", json!({"runs": measured.runs, "seconds": seconds, "rows": measured.rows}));
    }
    if let Some(reads) = &plan.reads {
        let (series, samples) = (reads.series, reads.samples);
        let (bytes, chunks) = (reads.encoded_bytes, reads.condensed_chunks);
        let read = json!({
            "series": series, "samples": samples, "encodedBytes": bytes, "condensedChunks": chunks,
        });
        insert("read", read);
    }
    write_node(text, &object.into(), &[("inputs", List(&plan.inputs))], write_plan);
}

fn selection(selection: &Selection) -> Value {
    let matchers: Value = selection
        .matchers
        .iter()
        .map(|each| json!({"matcher": each.matcher, "estimatedSeries": each.series_estimated}))
        .collect();
    let (start_ns, end_ns) = selection.range_ns;
    json!({
        "matchers": matchers,
        "estimatedSeries": selection.series_estimated,
        "estimatedSeriesMax": selection.series_estimated_max,
        "startNanoseconds": start_ns,
        "endNanoseconds": end_ns,
        "window": seconds(selection.window_ms),
        "offset": seconds(selection.offset_ms),
        "at": selection.at_ms.map(seconds),
    })
}
