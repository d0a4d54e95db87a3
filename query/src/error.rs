//! What can go wrong with a query, worded as Prometheus words it where it has the same error.

/// The result type of planning and execution.
pub type Result<T, E = QueryError> = std::result::Result<T, E>;

/// What can go wrong with a query after it was parsed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The request makes no sense: an end before the start.
    #[error("{0}")]
    BadData(String),
    /// The query itself makes no sense at these times: a computed range that is not positive, a range query of a range vector.
    #[error("{0}")]
    Query(String),
    /// The query cannot be evaluated over the data it selects.
    #[error("{0}")]
    Execution(String),
    /// The query needs more than a configured bound allows.
    #[error("limit {name} reached: the query needs at least {got}, the limit is {limit}")]
    Limit {
        /// The limit's configuration name.
        name: &'static str,
        /// Its value.
        limit: u64,
        /// What the query had asked for when it was stopped.
        got: u64,
    },
    /// A range query has more steps than [`Limits::query_steps_max`](crate::Limits::query_steps_max).
    #[error(
        "exceeded maximum resolution of {} points per timeseries. Try decreasing the query resolution (?step=XX)",
        with_thousands(*.limit)
    )]
    Resolution {
        /// The limit `query_steps_max`.
        limit: u64,
        /// The steps of the query.
        got: u64,
    },
    /// The caller canceled the query.
    #[error("query was canceled in expression evaluation")]
    Canceled,
    /// The query's deadline passed.
    #[error("query timed out in expression evaluation: past query_timeout or the timeout of the request")]
    Timeout,
    /// A query that should only run if it is short is not. [`Executor`](crate::Executor) keeps this to itself.
    #[error("the query is not short")]
    NotShort,
    /// The storage engine failed to answer.
    #[error(transparent)]
    Storage(timberline_engine::Error),
    /// The executor could not be set up.
    #[error("cannot start the query threads: {0}")]
    Threads(String),
}

/// The class of a [`QueryError`], which an API maps to its status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong (HTTP 400, `bad_data`).
    BadData,
    /// The query cannot be evaluated or is too large (HTTP 422, `execution`).
    Execution,
    /// The caller gave up (HTTP 499, `canceled`).
    Canceled,
    /// It took too long (HTTP 503, `timeout`).
    Timeout,
    /// The server failed (HTTP 500, `internal`).
    Internal,
}

impl QueryError {
    /// The class of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadData(_) | Self::Query(_) | Self::Resolution { .. } => ErrorKind::BadData,
            Self::Execution(_) | Self::Limit { .. } => ErrorKind::Execution,
            Self::Canceled => ErrorKind::Canceled,
            Self::Timeout => ErrorKind::Timeout,
            Self::NotShort | Self::Storage(_) | Self::Threads(_) => ErrorKind::Internal,
        }
    }

    /// The configuration name of the limit that is the reason, if one is.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit { name, .. } => Some(name),
            Self::Resolution { .. } => Some("query_steps_max"),
            Self::Timeout => Some("query_timeout"),
            _ => None,
        }
    }

    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }

    /// Two series of one result have the same labels at the same time.
    pub(crate) fn same_labelset() -> Self {
        Self::execution("vector cannot contain metrics with the same labelset")
    }
}

impl From<timberline_engine::Error> for QueryError {
    fn from(error: timberline_engine::Error) -> Self {
        match error {
            timberline_engine::Error::Limit { name, limit, got } => Self::Limit { name, limit, got },
            other => Self::Storage(other),
        }
    }
}

fn with_thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution_error_reads_as_in_prometheus() {
        let error = QueryError::Resolution { limit: 11_000, got: 12_000 };
        assert_eq!(
            error.to_string(),
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
        );
        assert_eq!(error.kind(), ErrorKind::BadData);
        assert_eq!(with_thousands(999), "999");
        assert_eq!(with_thousands(1_234_567), "1,234,567");
    }
}
