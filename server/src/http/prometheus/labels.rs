//! `labels`, `label/…/values` and `series`: what is there to query.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use timberline_engine::{Found, Matcher, Result as EngineResult, Snapshot, TimeRange, Watch};

use super::{ApiError, ErrorType, json};
use crate::http::params::Known;
use crate::http::stream::Writer;
use crate::http::turn::{Queue, Read, Reading, Turn};
use crate::http::{JSON, open_db};
use crate::state::SharedState;

const TRUNCATED: &str = "results truncated due to limit";

const KNOWN: Known = &["match[]", "start", "end", "limit", "timeout"];

/// `GET|POST /api/v1/labels`
pub(in crate::http) async fn names(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, KNOWN, Queue::Lists).await?;
    read.answer(JSON, |turn, writer| {
        let find = |snapshot: &Snapshot, selectors: &[&[Matcher]], range, watch: Watch<'_>| {
            snapshot.label_names(selectors, range, watch)
        };
        answer(turn, false, find, |out, name| json::write_string(out, name), writer)
    })
    .await
}

/// `GET|POST /api/v1/label/{name}/values`
pub(in crate::http) async fn values(
    State(state): State<SharedState>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, KNOWN, Queue::Lists).await?;
    let Path(name) = name.map_err(|error| ApiError::new(ErrorType::BadData, error.body_text()))?;
    let name = unescape(&name)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::new(ErrorType::BadData, format!("invalid label name: {name:?}")))?;
    read.answer(JSON, move |turn, writer| {
        let find = |snapshot: &Snapshot, selectors: &[&[Matcher]], range, watch: Watch<'_>| {
            snapshot.label_values(&name, selectors, range, watch)
        };
        answer(turn, false, find, |out, value| json::write_string(out, value), writer)
    })
    .await
}

/// `GET|POST /api/v1/series`
pub(in crate::http) async fn series(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Response, ApiError> {
    let read = Read::receive(state, request, KNOWN, Queue::Lists).await?;
    read.answer(JSON, |turn, writer| {
        let find = |snapshot: &Snapshot, selectors: &[&[Matcher]], range, watch: Watch<'_>| {
            snapshot.series_labels(selectors, range, watch)
        };
        answer(turn, true, find, json::write_labels, writer)
    })
    .await
}

/// What the three endpoints have in common: writes what `find` finds for all selectors together; without a selector, for all
/// series, unless one `is_required`.
fn answer<T: Ord>(
    turn: Turn,
    is_required: bool,
    find: impl FnOnce(&Snapshot, &[&[Matcher]], TimeRange, Watch<'_>) -> EngineResult<Found<T>>,
    write_item: impl Fn(&mut Vec<u8>, &T),
    writer: &mut Writer,
) -> Result<(), ApiError> {
    let range = turn.params.time_range()?;
    let limit = turn.params.limit()?;
    let selectors = match is_required {
        true => turn.params.required_selectors(&turn.budget)?,
        false => turn.params.selectors(&turn.budget)?,
    };
    let snapshot = open_db(&turn.state)?.snapshot();
    let found = turn.watched(|watch| find(&snapshot, &selectors.or_all_series(), range, watch))?;
    drop(selectors);
    let damage: Vec<String> = snapshot.damage().collect();
    drop(snapshot);
    let (items, pieces) = found.into_parts();
    let reading = Reading::begin(&turn.state, turn.place, pieces.into_held());
    writer.buffer.extend_from_slice(br#"{"status":"success","data":["#);
    for (i, item) in items.iter().take(limit).enumerate() {
        if i > 0 {
            writer.buffer.push(b',');
        }
        write_item(&mut writer.buffer, item);
        writer.checkpoint()?;
    }
    writer.buffer.push(b']');
    let truncated = (items.len() > limit).then(|| TRUNCATED.to_owned());
    let warnings: Vec<String> = damage.into_iter().chain(truncated).collect();
    if !warnings.is_empty() {
        writer.buffer.extend_from_slice(br#","warnings":"#);
        json::write_strings(&mut writer.buffer, warnings.iter().map(String::as_str));
    }
    writer.buffer.push(b'}');
    drop(items);
    drop(reading);
    Ok(())
}

/// A label name as Prometheus 3 escapes it in a path: `U__` in front, `__` for an underscore, and `_hex_` for a code point
/// that the old names could not have. Other names stand for themselves; `None` is a broken escape.
fn unescape(name: &str) -> Option<String> {
    let Some(mut rest) = name.strip_prefix("U__") else { return Some(name.to_owned()) };
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let (code, after) = rest[at + 1..].split_once('_')?;
        match code {
            "" => out.push('_'),
            _ if code.len() <= 6 => out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?),
            _ => return None,
        }
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read() {
        for (escaped, name) in [
            ("job", Some("job")),
            ("a__b", Some("a__b")),
            ("U__http_2e_status", Some("http.status")),
            ("U__a__b", Some("a_b")),
            ("U__la_20_bel_2603_", Some("la bel☃")),
            ("U__x_2e", None),
            ("U__x_zz_", None),
            ("U__x_1234567_", None),
            ("U__x_d800_", None),
        ] {
            assert_eq!(unescape(escaped).as_deref(), name, "{escaped}");
        }
    }
}
