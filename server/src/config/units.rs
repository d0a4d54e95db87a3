//! How the text of a setting becomes its value. Errors say what would be right.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::time::Duration;

use timberline_engine::WalSync;
use tracing_subscriber::EnvFilter;

/// Milliseconds, as the bounds of durations are written.
pub(super) const MILLISECOND: u64 = 1;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const YEAR: u64 = 365 * DAY;

/// Bytes.
pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
pub(super) const GIB: usize = 1 << 30;

/// Longest time between two syncs of the log.
const SYNC_INTERVAL_MAX: u64 = 10 * MINUTE;

/// The value, if the setting can have it.
fn within<T: PartialOrd>(
    value: T,
    possible: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, String> {
    let (least, most) = (possible.start(), possible.end());
    if value < *least {
        return Err(format!("{} is too little: at least {}", show(&value), show(least)));
    }
    if value > *most {
        return Err(format!("{} is too much: at most {}", show(&value), show(most)));
    }
    Ok(value)
}

/// `100ms`, `2m`, `1h30m`, `30d`; `possible` are milliseconds.
pub(super) fn duration(text: &str, possible: RangeInclusive<u64>) -> Result<Duration, String> {
    let milliseconds = timberline_query::parse_duration(text).ok().filter(|milliseconds| *milliseconds >= 0);
    let milliseconds = milliseconds
        .ok_or_else(|| format!("{text:?} is not a duration such as 100ms, 30s, 2h or 30d"))?
        .unsigned_abs();
    let show = |milliseconds: &u64| {
        timberline_query::format_duration(i64::try_from(*milliseconds).unwrap_or(i64::MAX))
    };
    within(milliseconds, &possible, show).map(Duration::from_millis)
}

/// A duration, or `none`.
pub(super) fn optional_duration(
    text: &str,
    possible: RangeInclusive<u64>,
) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    duration(text, possible).map(Some).map_err(|reason| format!("{reason}, or `none`"))
}

/// `always`, `off` or `interval:DURATION`.
pub(super) fn wal_sync(text: &str) -> Result<WalSync, String> {
    match (text, text.strip_prefix("interval:")) {
        ("always", _) => Ok(WalSync::Always),
        ("off", _) => Ok(WalSync::Off),
        (_, Some(interval)) => duration(interval, MILLISECOND..=SYNC_INTERVAL_MAX).map(WalSync::Interval),
        _ => Err(format!("{text:?} is none of `always`, `interval:100ms`, `off`")),
    }
}

/// Names of hosts without ports, separated by commas, in lower case; or `none`.
pub(super) fn host_names(text: &str) -> Result<Vec<String>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.[:]".contains(&byte))
    };
    let has_port = |name: &str| !name.starts_with('[') && name.contains(':');
    text.split(',')
        .map(|name| match name.trim().to_ascii_lowercase() {
            name if is_name(&name) && !has_port(&name) => Ok(name),
            name => Err(format!(
                "{name:?} is not the name of a host, such as tsdb.example.org, without scheme and port; several are separated by commas"
            )),
        })
        .collect()
}

/// A size: a number of bytes, or a number with KiB, MiB, GiB (or KB, MB, GB).
pub(super) fn bytes(text: &str, possible: RangeInclusive<usize>) -> Result<usize, String> {
    const UNITS: [(&str, usize); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    let number = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    let bytes = number.ok_or_else(|| format!("{text:?} is not a size such as 65536, 64MiB or 1GiB"))?;
    within(bytes, &possible, |bytes| size(*bytes))
}

/// A number of bytes as a person would write it.
pub(super) fn size(bytes: usize) -> String {
    let units = [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    let unit = units.into_iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes} bytes"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// A size, `least` bytes at least, or `auto` for what follows from the total.
pub(super) fn share(text: &str, least: usize) -> Result<Option<usize>, String> {
    if text == "auto" {
        return Ok(None);
    }
    bytes(text, least..=usize::MAX).map(Some).map_err(|reason| format!("{reason}, or `auto`"))
}

/// A whole number above zero, or `none`.
pub(super) fn optional_count(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    count(text, 1..=usize::MAX)
        .map(|value| Some(value as u64))
        .map_err(|reason| format!("{reason}, or `none`"))
}

/// A whole number.
pub(super) fn count(text: &str, possible: RangeInclusive<usize>) -> Result<usize, String> {
    let count = text.replace('_', "").parse().ok().filter(|count| *count > 0);
    let count = count.ok_or_else(|| format!("{text:?} is not a whole number above 0"))?;
    within(count, &possible, usize::to_string)
}

/// `127.0.0.1:8086`, `[::1]:8086`, `localhost:8086`, or `:8086` for all interfaces.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let addresses = full.to_socket_addrs();
    addresses
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(|| format!("{text:?} is not an address and port such as 127.0.0.1:8086"))
}

/// A `tracing` filter, checked. A bare word is a level: as the name of a module, which it might be, it would silence all others.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_word && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text)) {
        return Err(format!(
            "{text:?} is no log level: give one of {}, or a filter such as info,timberline_engine=debug",
            LEVELS.join(", ")
        ));
    }
    EnvFilter::try_new(text).map_err(|error| format!("{text:?} is not a log filter: {error}"))?;
    Ok(text.to_owned())
}
