//! Parse errors and their positions.

use timberline_engine::PatternError;

/// Why a query is not valid, and where. Displays as Prometheus words it: `1:5: parse error: unexpected ")"`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// The byte offset in the query, from 0.
    pub offset: usize,
    /// What is wrong and what was expected.
    pub message: String,
    /// The configuration name of the limit that is the reason, if one is.
    pub limit: Option<&'static str>,
}

/// An error inside the parser, before its byte offset is turned into a line and a column.
#[derive(Debug)]
pub(super) struct Failure {
    offset: usize,
    message: String,
    limit: Option<&'static str>,
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), limit: None }
    }

    /// About the regular expression at `offset`.
    pub(super) fn pattern(offset: usize, error: &PatternError) -> Self {
        Self { limit: error.limit(), ..Self::new(offset, error.to_string()) }
    }

    pub(super) fn locate(self, source: &str) -> ParseError {
        let before = &source[..self.offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            offset: self.offset,
            message: self.message,
            limit: self.limit,
        }
    }
}
