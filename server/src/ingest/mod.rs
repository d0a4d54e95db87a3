//! What comes in: the formats that clients write, each turned into rows or series of the engine.
//!
//! | module | format | read from |
//! |---|---|---|
//! | [`line_protocol`] | InfluxDB line protocol | `/write`, `/api/v2/write`, `import` |
//! | [`remote_write`] | Prometheus remote write 1.0 | `/api/v1/write` |
//! | [`exposition`] | Prometheus text format, OpenMetrics | `import` |
//! | [`jsonl`] | JSON lines, one series each, both directions | `/api/v1/import`, `/api/v1/export` |
//!
//! All of them share one contract: what is good goes in, what is bad is named with its place and left out, and
//! the caller commits. An `Err` means that nothing of the batch should be committed.

pub mod exposition;
pub mod jsonl;
pub mod line_protocol;
pub mod remote_write;

mod error;
mod limits;
mod precision;
mod series_key;
mod sink;

pub use error::{ERRORS_KEPT, ErrorList, LineError, Refused};
pub(crate) use limits::{BEYOND_RETENTION, BEYOND_RETENTION_WORDS, MALFORMED};
pub use limits::{LIMIT_NAMES, Limits, OTHER_REASONS};
pub use precision::{Precision, UnknownPrecision};
pub use sink::{HistogramSink, RowSink, SeriesSink};

/// A text without the byte order mark that editors of other systems put in front of it.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}
