//! Answers of the Prometheus API: the envelope, and errors with their codes.

use std::fmt::{self, Display, Write};

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::body::BodyError;
use crate::http::stream::Gone;
use crate::state::{AppState, QUERIES_BYTES_MAX};

/// The most bytes of an error's message, which may quote what a request sent: a client that does not take it makes the server
/// hold it.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// The beginning of a message.
fn brief(message: &impl Display) -> String {
    struct Brief(String);

    impl Write for Brief {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let left = MESSAGE_BYTES_MAX.saturating_sub(self.0.len());
            if text.len() <= left {
                self.0.push_str(text);
                return Ok(());
            }
            self.0.push_str(&text[..text.floor_char_boundary(left)]);
            self.0.push('…');
            Err(fmt::Error)
        }
    }

    let mut text = Brief(String::new());
    // An error says that there is more than is wanted.
    let _ = write!(text, "{message}");
    text.0
}

/// The types of error that clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum ErrorType {
    /// 400: the request is wrong.
    BadData,
    /// 422: the query cannot be evaluated.
    Execution,
    /// 499: the client went away.
    Canceled,
    /// 503: the query took too long.
    Timeout,
    /// 503: there is no room now.
    Unavailable,
    /// 500: the storage failed.
    Internal,
}

impl ErrorType {
    /// As `errorType` and metrics have it.
    pub(in crate::http) fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error of the Prometheus API.
#[derive(Debug)]
pub(in crate::http) struct ApiError {
    pub(in crate::http) kind: ErrorType,
    pub(in crate::http) message: String,
    /// The configuration name of the limit that is the reason.
    pub(in crate::http) limit: Option<&'static str>,
    pub(super) status: StatusCode,
}

impl ApiError {
    pub(in crate::http) fn new(kind: ErrorType, message: impl Display) -> Self {
        Self { kind, message: brief(&message), limit: None, status: kind.status() }
    }

    /// The same error, for the limit of that configuration name.
    pub(in crate::http) fn for_limit(self, limit: &'static str) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Counts it among the queries that failed; one that is refused for a limit is logged.
    pub(in crate::http) fn count(&self, state: &AppState) {
        state.metrics.queries.fail(self.kind.as_str(), self.limit);
        if let Some(limit) = self.limit {
            state.metrics.refusals.request("query", limit, &self.message);
        }
    }

    /// For a text that is not parsed: it is wrong, or past a limit.
    pub(in crate::http) fn not_parsed(name: &str, error: &timberline_query::ParseError) -> Self {
        match error.limit {
            None => Self::parameter(name, error),
            Some(limit) => Self::past_limit(limit, format_args!("invalid parameter {name:?}: {error}")),
        }
    }

    /// For a limit: that of the request, or of all reads together, which may be less full in a moment.
    pub(in crate::http) fn past_limit(limit: &'static str, message: impl Display) -> Self {
        let kind = if limit == QUERIES_BYTES_MAX { ErrorType::Unavailable } else { ErrorType::Execution };
        Self::new(kind, message).for_limit(limit)
    }

    /// 403.
    pub(in crate::http) fn forbidden(message: impl Display) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..Self::new(ErrorType::BadData, message) }
    }

    /// 400 for a parameter, in Prometheus's words.
    pub(in crate::http) fn parameter(name: &str, reason: impl Display) -> Self {
        Self::new(ErrorType::BadData, format_args!("invalid parameter {name:?}: {reason}"))
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        if let BodyError::Busy(error) = error {
            return error.into();
        }
        Self { kind: ErrorType::BadData, message: brief(&error), limit: None, status: error.status() }
    }
}

impl From<Gone> for ApiError {
    fn from(_: Gone) -> Self {
        Self::new(ErrorType::Canceled, "the client went away")
    }
}

impl From<timberline_engine::Error> for ApiError {
    fn from(error: timberline_engine::Error) -> Self {
        use timberline_engine::Error;
        let kind = match error {
            Error::Limit { name, .. } => return Self::past_limit(name, error.to_string()),
            Error::Closed | Error::WritesRefused { .. } => ErrorType::Unavailable,
            _ => ErrorType::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({"status": "error", "errorType": self.kind.as_str(), "error": self.message});
        let mut response = (self.status, Json(body)).into_response();
        if self.kind == ErrorType::Unavailable {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
