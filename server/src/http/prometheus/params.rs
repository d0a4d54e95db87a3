//! Parameters of the Prometheus API: times, durations, limits, matchers, read and refused as Prometheus does.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::DateTime;
use timberline_engine::{Budget, Held, Matcher, TimeRange};

use super::{ApiError, ErrorType};
use crate::http::params::Params;

/// What client libraries send for "since ever" and "for ever": the ends of Go's time.
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "+292277025-08-18T07:12:54.999999999Z";

/// A time in nanoseconds since the epoch: seconds as a float (to the millisecond, as Prometheus rounds), or RFC 3339.
/// What is outside of 64 bits becomes their end.
///
/// # Errors
/// Prometheus's sentence.
pub(crate) fn time_ns(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>()
        && !seconds.is_nan()
    {
        let whole = seconds.trunc();
        let milliseconds = ((seconds - whole) * 1000.0).round();
        // The cast saturates.
        return Ok((whole as i64)
            .saturating_mul(1_000_000_000)
            .saturating_add(milliseconds as i64 * 1_000_000));
    }
    match text {
        MIN_TIME => return Ok(i64::MIN),
        MAX_TIME => return Ok(i64::MAX),
        _ => {}
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(saturate(timestamp.as_nanosecond()));
    }
    // The last hours of the year 9999 are past what `Timestamp` holds, and mean "for ever" to many.
    match text.strip_suffix('Z').and_then(|text| text.parse::<DateTime>().ok()) {
        Some(_) => Ok(if text.starts_with('-') { i64::MIN } else { i64::MAX }),
        None => Err(format!("cannot parse {text:?} to a valid timestamp")),
    }
}

fn saturate(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

/// A duration in milliseconds: seconds as a float, or as PromQL writes it.
///
/// # Errors
/// Prometheus's sentence.
pub(in crate::http) fn duration_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let milliseconds = seconds * 1000.0;
        if milliseconds.is_nan() || milliseconds.abs() > i64::MAX as f64 / 1e6 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(milliseconds as i64);
    }
    timberline_query::parse_duration(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

/// Nanoseconds as milliseconds, rounded down.
pub(in crate::http) fn to_ms(nanoseconds: i64) -> i64 {
    nanoseconds.div_euclid(1_000_000)
}

impl Params {
    /// A time that may be missing, nanoseconds.
    pub(in crate::http) fn time(&self, name: &str, default: i64) -> Result<i64, ApiError> {
        self.get(name).map_or(Ok(default), |text| time_ns(text).map_err(|e| ApiError::parameter(name, e)))
    }

    /// A time that must be there, nanoseconds.
    pub(in crate::http) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        time_ns(self.get(name).unwrap_or_default()).map_err(|e| ApiError::parameter(name, e))
    }

    /// A duration that may be missing, milliseconds.
    pub(in crate::http) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name).map(|text| duration_ms(text).map_err(|e| ApiError::parameter(name, e))).transpose()
    }

    /// `start` and `end`, both optional.
    pub(in crate::http) fn time_range(&self) -> Result<TimeRange, ApiError> {
        let range = TimeRange::new(self.time("start", i64::MIN)?, self.time("end", i64::MAX)?);
        if range.is_empty() {
            return Err(ApiError::parameter("end", "end timestamp must not be before start timestamp"));
        }
        Ok(range)
    }

    /// `limit`: the most items of an answer; missing or 0 is no limit.
    pub(in crate::http) fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        match text.parse::<i64>() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) if limit < 0 => Err(ApiError::parameter("limit", "limit must be non-negative")),
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(_) => Err(ApiError::parameter("limit", format!("cannot parse {text:?} to a valid limit"))),
        }
    }

    /// Each `match[]`, parsed, for which memory of `budget` is taken. Takes CPU time: call it on a blocking thread.
    pub(in crate::http) fn selectors(&self, budget: &Arc<Budget>) -> Result<Selectors, ApiError> {
        let mut held = budget.hold();
        let mut seen = HashSet::new();
        let mut parsed = Vec::new();
        for text in self.all("match[]") {
            // A list that grows is there twice for a moment.
            held.add(3 * size_of::<&str>() + 2 * size_of::<Vec<Matcher>>())?;
            // The same text again would find the same series again.
            if seen.insert(text) {
                held.add(text.len().saturating_mul(PARSED_BYTES))?;
                parsed.push(selector(text, budget)?);
            }
        }
        Ok(Selectors { parsed, _held: held })
    }

    /// Each `match[]`, of which there must be one.
    pub(in crate::http) fn required_selectors(&self, budget: &Arc<Budget>) -> Result<Selectors, ApiError> {
        let selectors = self.selectors(budget)?;
        if selectors.parsed.is_empty() {
            return Err(ApiError::new(ErrorType::BadData, "no match[] parameter provided"));
        }
        Ok(selectors)
    }
}

/// What a byte of a text takes once it is parsed, at most.
pub(super) const PARSED_BYTES: usize = 64;

/// Parsed selectors, each once, and the memory that they take.
pub(in crate::http) struct Selectors {
    parsed: Vec<Vec<Matcher>>,
    _held: Held,
}

impl Selectors {
    /// Them as the engine takes them; when there is none, one that all series satisfy.
    pub(in crate::http) fn or_all_series(&self) -> Vec<&[Matcher]> {
        if self.parsed.is_empty() { vec![&[]] } else { self.parsed.iter().map(Vec::as_slice).collect() }
    }
}

impl AsRef<[Vec<Matcher>]> for Selectors {
    fn as_ref(&self) -> &[Vec<Matcher>] {
        &self.parsed
    }
}

fn selector(text: &str, budget: &Arc<Budget>) -> Result<Vec<Matcher>, ApiError> {
    let matchers = timberline_query::parse_selector_within(text, budget)
        .map_err(|error| ApiError::not_parsed("match[]", &error))?;
    if matchers.iter().all(Matcher::matches_empty) {
        let reason = "match[] must contain at least one non-empty matcher";
        return Err(ApiError::parameter("match[]", reason));
    }
    Ok(matchers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_float_seconds_or_rfc_3339() {
        for (text, expected) in [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781_000_000),
            ("1e3", 1_000_000_000_000),
            ("-1.5", -1_500_000_000),
            ("1.0004", 1_000_000_000),
            ("1e300", i64::MAX),
            ("-Inf", i64::MIN),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781_000_000),
            ("2015-07-01T22:10:51.000000001+02:00", 1_435_781_451_000_000_001),
            ("2300-01-01T00:00:00Z", i64::MAX),
            ("9999-12-31T23:59:59Z", i64::MAX),
            (MIN_TIME, i64::MIN),
            (MAX_TIME, i64::MAX),
        ] {
            assert_eq!(time_ns(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "NaN", "2015-13-01T00:00:00Z"] {
            assert_eq!(time_ns(text), Err(format!("cannot parse {text:?} to a valid timestamp")));
        }
    }

    #[test]
    fn durations_are_float_seconds_or_promql() {
        for (text, expected) in
            [("15", 15_000), ("0.5", 500), ("15s", 15_000), ("1h30m", 5_400_000), ("-1", -1000)]
        {
            assert_eq!(duration_ms(text), Ok(expected), "{text}");
        }
        assert_eq!(duration_ms("x"), Err("cannot parse \"x\" to a valid duration".to_owned()));
        assert!(duration_ms("1e300").unwrap_err().ends_with("It overflows int64"));
    }
}
