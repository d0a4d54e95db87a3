//! `query` and `query_range`: PromQL evaluated, and its value as Prometheus writes it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use timberline_engine::histogram::cell;
use timberline_engine::{Budget, Held, Histogram, Labels};
use timberline_query::ast::Expr;
use timberline_query::{ErrorKind, MatrixSeries, Outcome, Query, QueryError, Value};

use super::params::{PARSED_BYTES, to_ms};
use super::points::PointWriter;
use super::{ApiError, ErrorType, json};
use crate::http::params::{Known, Params};
use crate::http::slow::{self, Caller};
use crate::http::stream::{self, Gone, Writer};
use crate::http::turn::{Queue, Read, Reading, Turn};
use crate::http::{JSON, open_db};
use crate::state::{SharedState, now_ns};

const INSTANT: Known = &["query", "time", "timeout", "limit", "lookback_delta", "stats"];
const RANGE: Known = &["query", "start", "end", "step", "timeout", "limit", "lookback_delta", "stats"];

/// `GET|POST /api/v1/query`
pub(in crate::http) async fn instant(
    State(state): State<SharedState>,
    Extension(caller): Extension<Caller>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    state.metrics.queries.instant.add(1);
    evaluate(Read::receive(state, request, INSTANT, Queue::Queries).await?, caller, instant_request).await
}

/// `GET|POST /api/v1/query_range`
pub(in crate::http) async fn range(
    State(state): State<SharedState>,
    Extension(caller): Extension<Caller>,
    request: axum::extract::Request,
) -> Result<Response, ApiError> {
    state.metrics.queries.range.add(1);
    evaluate(Read::receive(state, request, RANGE, Queue::Queries).await?, caller, range_request).await
}

/// A query, and how to answer it.
pub(super) struct Request {
    pub(super) query: Query,
    limit: usize,
    stats: Stats,
    /// The memory of the query.
    _held: Held,
}

/// What of an evaluation's statistics is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stats {
    None,
    Totals,
    PerStep,
}

impl Stats {
    /// Any value asks for totals, as in Prometheus.
    fn of(params: &Params) -> Self {
        match params.get("stats") {
            None => Self::None,
            Some("all") => Self::PerStep,
            Some(_) => Self::Totals,
        }
    }
}

/// Reads an instant query. Takes CPU time unless its text [is cheap to parse](timberline_query::is_cheap_to_parse): call it on a
/// blocking thread then.
pub(super) fn instant_request(params: &Params, budget: &Arc<Budget>) -> Result<Request, ApiError> {
    let limit = params.limit()?;
    let time_ms = to_ms(params.time("time", now_ns())?);
    let (text, expr, held) = expression(params, budget)?;
    finish_request(
        Query { budget: Arc::clone(budget), ..Query::instant(text, expr, time_ms) },
        held,
        limit,
        params,
    )
}

/// As [`instant_request`], for a range query.
pub(super) fn range_request(params: &Params, budget: &Arc<Budget>) -> Result<Request, ApiError> {
    let limit = params.limit()?;
    let start_ms = to_ms(params.required_time("start")?);
    let end_ms = to_ms(params.required_time("end")?);
    if end_ms < start_ms {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = params.get("step").unwrap_or_default();
    let step_ms = super::params::duration_ms(step).map_err(|e| ApiError::parameter("step", e))?;
    if step_ms <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", reason));
    }
    let (text, expr, held) = expression(params, budget)?;
    let query = Query::range(text, expr, start_ms, end_ms, step_ms);
    finish_request(Query { budget: Arc::clone(budget), ..query }, held, limit, params)
}

fn finish_request(mut query: Query, held: Held, limit: usize, params: &Params) -> Result<Request, ApiError> {
    query.lookback_delta_ms = params.duration("lookback_delta")?.filter(|delta| *delta > 0);
    let stats = Stats::of(params);
    query.count_samples = stats != Stats::None;
    Ok(Request { query, limit, stats, _held: held })
}

/// The query's text and its tree, and the memory that these take.
pub(super) fn expression<'p>(
    params: &'p Params,
    budget: &Arc<Budget>,
) -> Result<(&'p str, Expr, Held), ApiError> {
    let text = params.get("query").unwrap_or_default();
    let held = budget.take(text.len().saturating_mul(PARSED_BYTES))?;
    let expr = timberline_query::parse_within(text, budget)
        .map_err(|error| ApiError::not_parsed("query", &error))?;
    Ok((text, expr, held))
}

async fn evaluate(
    read: Read,
    caller: Caller,
    parse: fn(&Params, &Arc<Budget>) -> Result<Request, ApiError>,
) -> Result<Response, ApiError> {
    let mut parsed = None;
    if timberline_query::is_cheap_to_parse(read.params.get("query").unwrap_or_default()) {
        let count = |error: &ApiError| error.count(&read.state);
        let request = parse(&read.params, &read.budget).inspect_err(count)?;
        if let Some(response) = answer_if_short(&read, &caller, &request).inspect_err(count)? {
            return Ok(response);
        }
        parsed = Some(request);
    }
    read.answer(JSON, move |turn, writer| {
        let request = match parsed {
            Some(request) => request,
            None => parse(&turn.params, &turn.budget)?,
        };
        execute(turn, &caller, &request, writer)
    })
    .await
}

/// Evaluates the query in this thread, which reads requests, unless that takes long. It needs no place: these are for queries that
/// keep a thread and much memory.
fn answer_if_short(read: &Read, caller: &Caller, request: &Request) -> Result<Option<Response>, ApiError> {
    let Read { state, cancel, .. } = read;
    if request.stats != Stats::None {
        return Ok(None);
    }
    let snapshot = open_db(state)?.snapshot();
    let started = Instant::now();
    let answer = || {
        let Some(outcome) = state.executor.execute_if_short(&snapshot, &request.query, cancel)? else {
            return Ok(None);
        };
        slow::note(state, caller, &request.query, started.elapsed(), Ok(&outcome));
        let write = |writer: &mut Writer| {
            Ok::<(), ApiError>(write_answer(writer, &outcome, request, Duration::ZERO)?)
        };
        let answer = stream::respond_at_once(JSON, state.answer_budget.hold(), write);
        let Ok(response) = answer else { return Ok(None) };
        state.metrics.queries.samples_read.add(outcome.stats.samples);
        Ok(Some(response))
    };
    // A panic would take the connection with it. It comes again on the other thread, and is answered there.
    std::panic::catch_unwind(AssertUnwindSafe(answer)).unwrap_or(Ok(None))
}

fn execute(turn: Turn, caller: &Caller, request: &Request, writer: &mut Writer) -> Result<(), ApiError> {
    let Turn { state, cancel, queued, place, budget, .. } = turn;
    let snapshot = open_db(&state)?.snapshot();
    let started = Instant::now();
    let evaluated = state.executor.execute(&snapshot, &request.query, &cancel);
    slow::note(&state, caller, &request.query, queued + started.elapsed(), evaluated.as_ref());
    let outcome = evaluated?;
    drop(snapshot);
    state.metrics.queries.samples_read.add(outcome.stats.samples);
    let reading = Reading::begin(&state, place, budget.take(outcome.value.memory_bytes())?);
    let written = write_answer(writer, &outcome, request, queued);
    drop(outcome);
    drop(reading);
    Ok(written?)
}

fn write_answer(
    writer: &mut Writer,
    outcome: &Outcome,
    request: &Request,
    queued: Duration,
) -> Result<(), Gone> {
    writer.buffer.extend_from_slice(br#"{"status":"success","data":{"resultType":""#);
    let cut = write_value(writer, &outcome.value, request.limit)?;
    let out = &mut writer.buffer;
    if request.stats != Stats::None {
        write_stats(out, outcome, request, queued);
    }
    out.push(b'}');
    let truncated = cut.then_some("results truncated due to limit");
    let warnings: Vec<&str> = outcome.warnings.iter().map(String::as_str).chain(truncated).collect();
    let infos: Vec<&str> = outcome.infos.iter().map(String::as_str).collect();
    for (name, annotations) in [("warnings", warnings), ("infos", infos)] {
        if !annotations.is_empty() {
            out.push(b',');
            json::write_string(out, name);
            out.push(b':');
            json::write_strings(out, annotations);
        }
    }
    out.push(b'}');
    Ok(())
}

/// Writes what follows `"resultType":"`; tells whether `limit` left something out.
fn write_value(writer: &mut Writer, value: &Value, limit: usize) -> Result<bool, Gone> {
    match value {
        Value::Scalar { timestamp_ms, value } => {
            writer.buffer.extend_from_slice(br#"scalar","result":"#);
            write_point(&mut writer.buffer, *timestamp_ms, *value);
            Ok(false)
        }
        Value::String { timestamp_ms, value } => {
            let out = &mut writer.buffer;
            out.extend_from_slice(br#"string","result":["#);
            json::write_seconds(out, *timestamp_ms);
            out.push(b',');
            json::write_string(out, value);
            out.push(b']');
            Ok(false)
        }
        Value::Vector(samples) => {
            writer.buffer.extend_from_slice(br#"vector","result":["#);
            for (i, sample) in samples.iter().take(limit).enumerate() {
                write_metric(&mut writer.buffer, i, &sample.labels);
                let out = &mut writer.buffer;
                if let Some(histogram) = &sample.histogram {
                    out.extend_from_slice(br#","histogram":"#);
                    write_histogram_point(out, sample.timestamp_ms, histogram);
                } else {
                    out.extend_from_slice(br#","value":"#);
                    write_point(out, sample.timestamp_ms, sample.value);
                }
                out.push(b'}');
                writer.checkpoint()?;
            }
            writer.buffer.push(b']');
            Ok(samples.len() > limit)
        }
        Value::Matrix(all) => {
            writer.buffer.extend_from_slice(br#"matrix","result":["#);
            let mut points = PointWriter::default();
            for (i, series) in all.iter().take(limit).enumerate() {
                write_metric(&mut writer.buffer, i, &series.labels);
                if series.histograms.is_empty() {
                    write_points(writer, &mut points, &series.timestamps_ms, &series.values)?;
                } else {
                    write_mixed_points(writer, &mut points, series)?;
                }
                writer.buffer.push(b'}');
                writer.checkpoint()?;
            }
            writer.buffer.push(b']');
            Ok(all.len() > limit)
        }
    }
}

fn write_points(
    writer: &mut Writer,
    points: &mut PointWriter,
    timestamps_ms: &[i64],
    values: &[f64],
) -> Result<(), Gone> {
    /// Points are short: one look at the length of what was written, every few hundred of them, is often enough.
    const BLOCK: usize = 512;
    writer.buffer.extend_from_slice(br#","values":["#);
    points.begin(timestamps_ms);
    for (block, values) in values.chunks(BLOCK).enumerate() {
        let first = block * BLOCK;
        points.write(&mut writer.buffer, first, &timestamps_ms[first..], values);
        writer.checkpoint()?;
    }
    writer.buffer.push(b']');
    Ok(())
}

/// The points of a series that has native histograms: those apart, and the floats if there are any.
fn write_mixed_points(
    writer: &mut Writer,
    point_writer: &mut PointWriter,
    series: &MatrixSeries,
) -> Result<(), Gone> {
    let points = || series.timestamps_ms.iter().copied().zip(series.values.iter().copied());
    let (timestamps_ms, values): (Vec<i64>, Vec<f64>) =
        points().filter(|(_, value)| !cell::is_histogram(*value)).unzip();
    if !values.is_empty() {
        write_points(writer, point_writer, &timestamps_ms, &values)?;
    }
    let histograms = points().filter_map(|(timestamp, value)| {
        let place = cell::histogram_place(value)?;
        Some((timestamp, series.histograms.get(place as usize)?))
    });
    writer.buffer.extend_from_slice(br#","histograms":["#);
    for (i, (timestamp, histogram)) in histograms.enumerate() {
        if i > 0 {
            writer.buffer.push(b',');
        }
        write_histogram_point(&mut writer.buffer, timestamp, histogram);
        writer.checkpoint()?;
    }
    writer.buffer.push(b']');
    Ok(())
}

fn write_metric(out: &mut Vec<u8>, index: usize, labels: &Labels) {
    if index > 0 {
        out.push(b',');
    }
    out.extend_from_slice(br#"{"metric":"#);
    json::write_labels(out, labels);
}

fn write_point(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    json::write_seconds(out, timestamp_ms);
    out.extend_from_slice(b",\"");
    json::write_float(out, value);
    out.extend_from_slice(b"\"]");
}

fn write_histogram_point(out: &mut Vec<u8>, timestamp_ms: i64, histogram: &Histogram) {
    out.push(b'[');
    json::write_seconds(out, timestamp_ms);
    out.push(b',');
    json::write_histogram(out, histogram);
    out.push(b']');
}

/// Prometheus's statistics. Times are seconds.
fn write_stats(out: &mut Vec<u8>, outcome: &Outcome, request: &Request, queued: Duration) {
    let timings = &outcome.timings;
    let seconds = |time: Duration| time.as_secs_f64();
    let counts = outcome.step_samples.as_deref().unwrap_or_default();
    let mut samples = serde_json::json!({
        "totalQueryableSamples": counts.iter().sum::<u64>(),
        "peakSamples": outcome.stats.points_peak,
    });
    if request.stats == Stats::PerStep {
        let time = |step: usize| request.query.start_ms + request.query.step_ms * step as i64;
        let per_step = counts.iter().enumerate().map(|(step, count)| {
            let (time_ms, count) = (time(step), *count);
            if time_ms % 1000 == 0 {
                serde_json::json!([time_ms / 1000, count])
            } else {
                serde_json::json!([time_ms as f64 / 1000.0, count])
            }
        });
        samples["totalQueryableSamplesPerStep"] = per_step.collect();
    }
    let stats = serde_json::json!({
        "timings": {
            "evalTotalTime": seconds(timings.total()),
            "resultSortTime": seconds(timings.result),
            "queryPreparationTime": seconds(timings.preparation),
            "innerEvalTime": seconds(timings.evaluation),
            "execQueueTime": seconds(queued),
            "execTotalTime": seconds(queued + timings.total()),
        },
        "samples": samples,
    });
    out.extend_from_slice(br#","stats":"#);
    out.extend_from_slice(stats.to_string().as_bytes());
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Query(_) => return Self::parameter("query", error),
            QueryError::Limit { name, .. } => return Self::past_limit(name, error.to_string()),
            _ => {}
        }
        let kind = match error.kind() {
            ErrorKind::BadData => ErrorType::BadData,
            ErrorKind::Execution => ErrorType::Execution,
            ErrorKind::Canceled => ErrorType::Canceled,
            ErrorKind::Timeout => ErrorType::Timeout,
            ErrorKind::Internal => ErrorType::Internal,
        };
        Self { limit: error.limit(), ..Self::new(kind, error.to_string()) }
    }
}
