//! What all writes share: read the body, take a place, parse into batches, commit. The answer goes out only once
//! the last batch is committed.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use timberline_engine::Error;

use super::batches::Batches;
use super::body::{self, BodyError, Received};
use super::open_db;
use crate::ingest::{BEYOND_RETENTION, BEYOND_RETENTION_WORDS, ErrorList, MALFORMED, Refused};
use crate::metrics::Protocol;
use crate::state::{AppState, SharedState};

/// Seconds after which a refused write may be tried again.
const RETRY_AFTER_BUSY: u32 = 1;
const RETRY_AFTER_REFUSED: u32 = 10;

/// Why a write is not answered with success.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The body was refused; nothing is stored.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A parameter or header is wrong; nothing is stored.
    #[error("{0}")]
    Request(String),
    /// The body's type is not one that this endpoint takes; nothing is stored.
    #[error("{0}")]
    MediaType(String),
    /// The engine did not take the first batch; nothing is stored.
    #[error(transparent)]
    Engine(#[from] Error),
    /// The engine did not take a later batch; the ones before it are stored.
    #[error("partial write: {samples} samples stored, then: {error}")]
    Interrupted {
        /// Samples stored.
        samples: u64,
        /// Why it went no further.
        error: Error,
    },
    /// Some rows were refused; the others are stored.
    #[error("{}", .0.message)]
    Rows(RefusedRows, Stored),
    /// A bug; what is stored is not known.
    #[error("internal error: the write did not end")]
    Panicked,
}

/// The rows that were left out of a batch.
#[derive(Debug)]
pub(super) struct RefusedRows {
    /// How many.
    pub(super) refused: u64,
    /// The first ones with their places, as the answer says it.
    pub(super) message: String,
    /// Line of the first one, from 1, where rows are lines.
    pub(super) line: Option<u64>,
    /// The same by kind of reason.
    pub(super) reasons: BTreeMap<&'static str, Refused>,
}

impl RefusedRows {
    /// Lines, in InfluxDB's words, which its clients look for. `None` when all lines were good. Points that are older than the
    /// retention are lines here, or samples of them.
    pub(super) fn lines(stored: u64, beyond_retention: u64, errors: &ErrorList) -> Option<Self> {
        let message = match errors.beyond_retention() {
            0 if stored > 0 => format!("partial write: {errors} dropped={}", errors.total),
            0 => format!("unable to parse: {errors} dropped={}", errors.total),
            lines if lines == errors.total => {
                format!("partial write: {BEYOND_RETENTION_WORDS} dropped={beyond_retention}")
            }
            _ => format!("partial write: {BEYOND_RETENTION_WORDS}; {errors} dropped={}", errors.total),
        };
        let line = errors.first.first()?.line;
        Some(Self { refused: errors.total, message, line: Some(line), reasons: errors.reasons.clone() })
    }
}

impl WriteError {
    /// The same error, once `samples` of the body are stored.
    fn after(self, samples: u64) -> Self {
        match self {
            Self::Engine(error) if samples > 0 => Self::Interrupted { samples, error },
            other => other,
        }
    }

    /// The status code to answer with.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Body(error) => error.status(),
            Self::Request(_) | Self::Rows(..) => StatusCode::BAD_REQUEST,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Engine(error) | Self::Interrupted { error, .. } => match error {
                Error::InvalidSeries { .. } | Error::InvalidHistogram { .. } => StatusCode::BAD_REQUEST,
                Error::Limit { .. } => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The kind of reason for which the whole body is refused, or what came after some of its batches: a limit's configuration
    /// name, or another word.
    fn reason(&self) -> &'static str {
        match self {
            Self::Body(error) => match error {
                BodyError::TooLarge { .. } | BodyError::FormTooLarge { .. } => "body_bytes_max",
                BodyError::LineTooLarge { .. } => "write_bytes_max",
                BodyError::Slow { .. } => "body_timeout",
                BodyError::Trickle => "body_rate",
                BodyError::Busy(error) => reason_of(error),
                BodyError::Encoding { .. } => "unsupported",
                BodyError::Form { .. } => MALFORMED,
                BodyError::Cut { .. } => "incomplete",
            },
            Self::MediaType(_) => "unsupported",
            Self::Request(_) | Self::Rows(..) => MALFORMED,
            Self::Engine(error) | Self::Interrupted { error, .. } => reason_of(error),
            Self::Panicked => "internal",
        }
    }

    /// What is stored all the same.
    pub(super) fn stored(&self) -> Stored {
        match self {
            Self::Rows(_, stored) => *stored,
            Self::Interrupted { samples, .. } => Stored { samples: *samples, ..Stored::default() },
            _ => Stored::default(),
        }
    }

    /// After how many seconds to try again, if that makes sense.
    pub(super) fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Body(BodyError::Busy(_)) => Some(RETRY_AFTER_BUSY),
            Self::Engine(_) | Self::Interrupted { .. }
                if self.status() == StatusCode::SERVICE_UNAVAILABLE =>
            {
                Some(RETRY_AFTER_REFUSED)
            }
            _ => None,
        }
    }
}

fn reason_of(error: &Error) -> &'static str {
    match error {
        Error::Limit { name, .. } => name,
        Error::InvalidSeries { .. } | Error::InvalidHistogram { .. } => MALFORMED,
        Error::BeyondRetention { .. } => BEYOND_RETENTION,
        Error::WritesRefused { .. } | Error::Io { .. } => "disk",
        Error::Closed => "closed",
        _ => "internal",
    }
}

/// What is stored of a body, as the headers of its answer say it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    samples: u64,
    strings_skipped: u64,
    integers_rounded: u64,
}

/// Headers of the answer to a write.
pub(crate) const SAMPLES_STORED: HeaderName = HeaderName::from_static("timberline-samples-stored");
pub(crate) const STRINGS_SKIPPED: HeaderName = HeaderName::from_static("timberline-strings-skipped");
pub(crate) const INTEGERS_ROUNDED: HeaderName = HeaderName::from_static("timberline-integers-rounded");

impl Stored {
    /// The headers.
    pub(super) fn headers(self) -> [(HeaderName, String); 3] {
        [
            (SAMPLES_STORED, self.samples.to_string()),
            (STRINGS_SKIPPED, self.strings_skipped.to_string()),
            (INTEGERS_ROUNDED, self.integers_rounded.to_string()),
        ]
    }
}

/// What a body brought, as it is counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) samples: u64,
    pub(super) strings_skipped: u64,
    pub(super) integers_rounded: u64,
    /// Points, of whatever the protocol has, that are older than the retention.
    pub(super) beyond_retention: u64,
    pub(super) refused: Option<RefusedRows>,
}

impl Counts {
    fn stored(&self) -> Stored {
        let Self { samples, strings_skipped, integers_rounded, .. } = *self;
        Stored { samples, strings_skipped, integers_rounded }
    }
}

/// Reads `body`, lets `parse` fill batches from it on a blocking thread, and commits them.
///
/// # Errors
/// [`WriteError::Rows`] after the commit of the rows that are good, [`WriteError::Interrupted`] after the commit of some;
/// all others before anything is stored.
pub(super) async fn write<P>(
    state: SharedState,
    protocol: Protocol,
    headers: HeaderMap,
    body: Body,
    parse: P,
) -> Result<Stored, WriteError>
where
    P: FnOnce(&AppState, &HeaderMap, Received, &mut Batches<'_>) -> Result<Counts, WriteError>
        + Send
        + 'static,
{
    let received = body::receive(&state, &headers, body).await.map_err(WriteError::from);
    let received = received.inspect_err(|error| count_failed(&state, protocol, error))?;
    // Its queue has no bound of its own, so it is never full; see `AppState::new`.
    let place = state.write_gate.enter().await.map_err(|_| WriteError::Panicked)?;
    let job = move || {
        let _place = place;
        let counts = append(&state, &headers, received, parse);
        let counts = counts.inspect_err(|error| count_failed(&state, protocol, error))?;
        count(&state, protocol, &counts);
        let stored = counts.stored();
        counts.refused.map_or(Ok(stored), |refused| Err(WriteError::Rows(refused, stored)))
    };
    tokio::task::spawn_blocking(job).await.unwrap_or(Err(WriteError::Panicked))
}

fn append<P>(
    state: &AppState,
    headers: &HeaderMap,
    received: Received,
    parse: P,
) -> Result<Counts, WriteError>
where
    P: FnOnce(&AppState, &HeaderMap, Received, &mut Batches<'_>) -> Result<Counts, WriteError>,
{
    let mut batches =
        Batches::new(open_db(state)?, state.config.write_bytes_max / state.config.write_concurrency_max);
    let appended = match parse(state, headers, received, &mut batches) {
        Ok(counts) => batches.commit().map(|()| counts).map_err(WriteError::Engine),
        Err(error) => Err(error),
    };
    appended.map_err(|error| error.after(batches.committed()))
}

/// Refuses a write before its body is read, which is thrown away.
pub(super) async fn refuse(
    state: &AppState,
    protocol: Protocol,
    body: &mut Body,
    error: WriteError,
) -> WriteError {
    body::discard(body).await;
    count_failed(state, protocol, &error);
    error
}

fn count_failed(state: &AppState, protocol: Protocol, error: &WriteError) {
    state.metrics.refusals.request(protocol.as_str(), error.reason(), error);
    match error {
        WriteError::Body(BodyError::Busy(_)) => state.metrics.writes_rejected.add(1),
        WriteError::Interrupted { samples, .. } => state.metrics.ingested(protocol).samples.add(*samples),
        _ => {}
    }
}

fn count(state: &AppState, protocol: Protocol, counts: &Counts) {
    let ingested = state.metrics.ingested(protocol);
    ingested.rows.add(counts.rows);
    ingested.samples.add(counts.samples);
    ingested.strings_skipped.add(counts.strings_skipped);
    ingested.integers_rounded.add(counts.integers_rounded);
    ingested.beyond_retention.add(counts.beyond_retention);
    if let Some(RefusedRows { refused, reasons, .. }) = &counts.refused {
        ingested.rows_refused.add(*refused);
        for (reason, Refused { count, first }) in reasons {
            state.metrics.refusals.rows(protocol.as_str(), reason, *count, first);
        }
    }
}
