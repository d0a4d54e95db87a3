//! `POST /api/v1/write`: Prometheus remote write 1.0.

use axum::extract::{Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::body::{self, BodyError};
use super::write::{self, Counts, RefusedRows, WriteError};
use crate::ingest::remote_write::{self, RemoteWriteError, WriteReport};
use crate::metrics::Protocol;
use crate::state::SharedState;

/// The only message of version 1.
const MESSAGE: &str = "prometheus.WriteRequest";

/// Answers 204, or an error as plain text, which senders log.
pub(super) async fn write(State(state): State<SharedState>, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    if let Err(error) = check_headers(&parts.headers) {
        return answer_error(&write::refuse(&state, Protocol::RemoteWrite, &mut body, error).await);
    }
    let written =
        write::write(state, Protocol::RemoteWrite, parts.headers, body, |state, _, received, batches| {
            let bytes_max = state.config.body_bytes_max;
            let bytes = remote_write::decompressed_bytes(received.as_ref(), bytes_max)?;
            let request = body::decode_with(state, received, bytes, |sent, request| {
                remote_write::decompress(sent, bytes_max, request).map_err(WriteError::from)
            })?;
            let report = remote_write::write_request(request.as_ref(), &state.config.ingest, batches)?;
            Ok(counts(&report))
        });
    match written.await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => answer_error(&error),
    }
}

/// A missing type or encoding is taken for what version 1 prescribes, as Prometheus does.
fn check_headers(headers: &HeaderMap) -> Result<(), WriteError> {
    let text = |name: HeaderName| {
        let value =
            headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
        value.unwrap_or_default()
    };
    let content_type = text(CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let message = parts.find_map(|part| part.strip_prefix("proto=")).unwrap_or_default();
    if !matches!(media_type, "" | "application/x-protobuf")
        || !(message.is_empty() || message.eq_ignore_ascii_case(MESSAGE))
    {
        return Err(WriteError::MediaType(format!(
            "Content-Type {content_type:?} is not supported: send application/x-protobuf with {MESSAGE} (remote write 1.0)"
        )));
    }
    match text(CONTENT_ENCODING).as_str() {
        "" | "snappy" => Ok(()),
        encoding => Err(BodyError::Encoding { encoding: encoding.to_owned(), supported: "snappy" }.into()),
    }
}

fn counts(report: &WriteReport) -> Counts {
    let (refused, reasons) = (report.errors.total, report.errors.reasons.clone());
    Counts {
        rows: report.series - refused.min(report.series),
        samples: report.samples + report.histograms,
        beyond_retention: report.beyond_retention,
        refused: report.refusal().map(|message| RefusedRows { refused, message, line: None, reasons }),
        ..Counts::default()
    }
}

impl From<RemoteWriteError> for WriteError {
    fn from(error: RemoteWriteError) -> Self {
        match error {
            RemoteWriteError::TooLarge { limit, .. } => BodyError::TooLarge { limit }.into(),
            RemoteWriteError::Sink(error) => error.into(),
            RemoteWriteError::Snappy(_) | RemoteWriteError::Protobuf(_) => Self::Request(error.to_string()),
        }
    }
}

fn answer_error(error: &WriteError) -> Response {
    let text = format!("{error}\n");
    match error.retry_after() {
        Some(seconds) => (error.status(), [(RETRY_AFTER, seconds.to_string())], text).into_response(),
        None => (error.status(), text).into_response(),
    }
}
