//! How the text of a setting becomes its value. Errors say what would be right.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use timberline_engine::WalSync;
use tracing_subscriber::EnvFilter;

/// `100ms`, `2m`, `1h30m`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match timberline_query::parse_duration(text) {
        Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds.unsigned_abs())),
        _ => Err(format!("{text:?} is not a duration such as 100ms, 30s, 2h or 30d")),
    }
}

/// A duration, or `none`.
pub(super) fn optional_duration(text: &str) -> Result<Option<Duration>, String> {
    if text == "none" {
        return Ok(None);
    }
    duration(text).map(Some).map_err(|reason| format!("{reason}, and not `none`"))
}

/// `always`, `off` or `interval:DURATION`.
pub(super) fn wal_sync(text: &str) -> Result<WalSync, String> {
    match (text, text.strip_prefix("interval:")) {
        ("always", _) => Ok(WalSync::Always),
        ("off", _) => Ok(WalSync::Off),
        (_, Some(interval)) => duration(interval).map(WalSync::Interval),
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

/// A size: a number of bytes, or a number with KiB, MiB, GiB (or KB, MB, GB), not zero.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
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
    number
        .trim()
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is not a size such as 65536, 64MiB or 1GiB"))
}

/// A size, or `auto` for what follows from the total.
pub(super) fn share(text: &str) -> Result<Option<usize>, String> {
    if text == "auto" {
        return Ok(None);
    }
    bytes(text).map(Some).map_err(|reason| format!("{reason}, and not `auto`"))
}

/// A whole number above zero, or `none`.
pub(super) fn optional_count(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    count(text).map(|value| Some(value as u64)).map_err(|reason| format!("{reason}, and not `none`"))
}

/// A whole number above zero.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.replace('_', "").parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{text:?} is not a whole number above 0")),
    }
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
