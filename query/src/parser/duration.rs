//! Durations: `1h30m`, as Prometheus reads and writes them.

use crate::print::Quoted;

/// The units from the greatest to the least: name, milliseconds, and whether a duration is only written with this unit
/// when nothing remains (`90d` is easier to read than `12w6d`).
const UNITS: [(&str, i64, bool); 7] = [
    ("y", 365 * 24 * 3_600_000, true),
    ("w", 7 * 24 * 3_600_000, true),
    ("d", 24 * 3_600_000, false),
    ("h", 3_600_000, false),
    ("m", 60_000, false),
    ("s", 1_000, false),
    ("ms", 1, false),
];

/// The longest duration, milliseconds: 2^63 nanoseconds, about 292 years.
pub(super) const MAX_DURATION_MS: i64 = i64::MAX / 1_000_000;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no text.
    #[error("empty duration string")]
    Empty,
    /// Not a sequence of numbers with units, or the units do not go from the greatest to the least.
    #[error("not a valid duration string: {}", Quoted(.0))]
    Invalid(String),
    /// A unit other than `y`, `w`, `d`, `h`, `m`, `s` and `ms`.
    #[error("unknown unit {} in duration {}", Quoted(unit), Quoted(text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 2^63 nanoseconds.
    #[error("duration out of range")]
    OutOfRange,
}

/// Reads a duration such as `30d`, `1h30m` or `0`; the units go from the greatest to the least, each at most once.
/// The result is in milliseconds.
///
/// # Errors
/// The text is not a duration, or one of more than 292 years.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let mut units = UNITS.iter();
    let mut total_ms = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        if number.is_empty() {
            return Err(invalid());
        }
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        if !UNITS.iter().any(|(name, _, _)| *name == unit) {
            return Err(DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        }
        // What is left of the iterator are the units that may still come.
        let (_, unit_ms, _) = units.find(|(name, _, _)| *name == unit).ok_or_else(invalid)?;
        let number: i64 = number.parse().map_err(|_| DurationError::OutOfRange)?;
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| *ms <= MAX_DURATION_MS)
            .ok_or(DurationError::OutOfRange)?;
        rest = tail;
    }
    Ok(total_ms)
}

/// Writes a duration in milliseconds the way Prometheus does: `1h30m`, `90d`, `0s`, `-5m`.
#[must_use]
pub fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    if ms < 0 {
        text.push('-');
    }
    let mut rest = ms.unsigned_abs();
    for (name, unit_ms, exact) in UNITS {
        let unit_ms = unit_ms.unsigned_abs();
        if rest < unit_ms || (exact && !rest.is_multiple_of(unit_ms)) {
            continue;
        }
        text.push_str(&format!("{}{name}", rest / unit_ms));
        rest %= unit_ms;
    }
    text
}
