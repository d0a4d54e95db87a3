//! What an export lacks because it cannot be read: it says so in a last line, and in a header or, where the answer is long, in a
//! trailer.

use std::sync::{Arc, OnceLock};

use axum::body::{Body, HttpBody};
use axum::http::header::TRAILER;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use http_body_util::BodyExt;
use timberline_engine::{Samples, Series, Snapshot};

use super::stream::Writer;
use crate::ingest::{ERRORS_KEPT, jsonl};

/// The header and the trailer.
const EXPORT_ERROR: HeaderName = HeaderName::from_static("timberline-export-error");

/// Collects what is missing.
#[derive(Debug, Default)]
pub(super) struct Missing {
    first: Vec<String>,
    total: u64,
}

/// Carries the sum of it to the answer's end.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdict(Arc<OnceLock<HeaderValue>>);

impl Missing {
    /// What a view lacks from the outset.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut missing = Self::default();
        snapshot.damage().for_each(|block| missing.push(|| block));
        missing
    }

    fn push(&mut self, what: impl FnOnce() -> String) {
        if self.first.len() < ERRORS_KEPT {
            self.first.push(what());
        }
        self.total += 1;
    }

    /// Reads what can be read of a series.
    pub(super) fn read(&mut self, series: &Series, samples: &mut Samples) {
        series.read_sound(samples, |range, error| {
            self.push(|| format!("{} from {} to {} ns: {error}", series.labels(), range.start, range.end));
        });
    }

    /// Ends an export: adds the line, if something is missing.
    pub(super) fn end(self, writer: &mut Writer, verdict: &Verdict) {
        let Self { first, total } = self;
        if total == 0 {
            return;
        }
        let more = match total - first.len() as u64 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        jsonl::append_error(&mut writer.buffer, &format!("{}{more}", first.join("; ")));
        let count = if total == 1 { "1 part".to_owned() } else { format!("{total} parts") };
        // Digits and letters are a header's value.
        if let Ok(value) =
            HeaderValue::try_from(format!("{count} of the data cannot be read: see the last line"))
        {
            let _ = verdict.0.set(value);
        }
    }
}

impl Verdict {
    /// The answer with its header, or its trailer, which HTTP sends to those who ask for it (`TE: trailers`).
    pub(super) fn mark(self, mut response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            // It has ended.
            if let Some(value) = self.0.get() {
                response.headers_mut().insert(EXPORT_ERROR, value.clone());
            }
            return response;
        }
        response.headers_mut().insert(TRAILER, HeaderValue::from_name(EXPORT_ERROR));
        response.map(|body| {
            Body::new(body.with_trailers(async move {
                let value = self.0.get()?.clone();
                Some(Ok(HeaderMap::from_iter([(EXPORT_ERROR, value)])))
            }))
        })
    }
}
