//! Times on the command line.

use jiff::civil;
use jiff::tz::TimeZone;

use super::Error;

const NANOSECONDS_PER_MILLISECOND: i64 = 1_000_000;

/// Reads a time, in nanoseconds since the epoch: what the server reads, a date (and time) in UTC, or a duration
/// before `now_ns`.
///
/// # Errors
/// What can be written instead.
pub(super) fn time_ns(text: &str, now_ns: i64) -> Result<i64, Error> {
    if let Ok(time) = crate::http::time_ns(text) {
        return Ok(time);
    }
    if let Ok(ago_ms) = timberline_query::parse_duration(text) {
        return Ok(now_ns.saturating_sub(ago_ms.saturating_mul(NANOSECONDS_PER_MILLISECOND)));
    }
    let civil = text.parse::<civil::DateTime>().ok();
    civil
        .and_then(|time| time.to_zoned(TimeZone::UTC).ok())
        .and_then(|time| i64::try_from(time.timestamp().as_nanosecond()).ok())
        .ok_or_else(|| {
            Error::message(format!(
                "{text:?} is not a time: give seconds since the epoch, RFC 3339, a date such as 2026-01-31, or a \
                 duration before now such as 5m"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_dates_or_durations_before_now() {
        const SECOND: i64 = 1_000_000_000;
        let now = 1_700_000_000 * SECOND;
        for (text, expected) in [
            ("12.5", 12_500_000_000),
            ("1h", now - 3600 * SECOND),
            ("2023-11-14T22:13:20Z", now),
            ("2023-11-14 22:13:20", now),
            ("1970-01-02", 86_400 * SECOND),
        ] {
            assert_eq!(time_ns(text, now).unwrap(), expected, "{text}");
        }
        assert!(time_ns("soon", now).unwrap_err().to_string().contains("\"soon\" is not a time"));
    }
}
