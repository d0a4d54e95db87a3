//! `labels`, `label/…/values` and `series`: what is there to query.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use timberline_engine::{Labels, Matcher, Snapshot, TimeRange};

use super::{ApiError, ErrorType, json};
use crate::http::params::Params;
use crate::http::stream::{self, Writer};
use crate::http::{JSON, open_db};
use crate::state::SharedState;

const TRUNCATED: &str = "results truncated due to limit";

/// `GET|POST /api/v1/labels`
pub(in crate::http) async fn names(
    State(state): State<SharedState>,
    params: Params,
) -> Result<Response, ApiError> {
    let request = Request { selectors: params.selectors()?, ..Request::new(&params)? };
    let snapshot = open_db(&state)?.snapshot();
    Ok(stream::respond(JSON, move |writer| {
        let names = request.union(|matchers| snapshot.label_names(matchers, request.range))?;
        request.write(writer, &names, snapshot.damage(), |out, name| json::write_string(out, name))
    })
    .await)
}

/// `GET /api/v1/label/{name}/values`
pub(in crate::http) async fn values(
    State(state): State<SharedState>,
    name: Result<Path<String>, PathRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    let Path(name) = name.map_err(|error| ApiError::new(ErrorType::BadData, error.body_text()))?;
    let name = unescape(&name)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ApiError::new(ErrorType::BadData, format!("invalid label name: {name:?}")))?;
    let request = Request { selectors: params.selectors()?, ..Request::new(&params)? };
    let snapshot = open_db(&state)?.snapshot();
    Ok(stream::respond(JSON, move |writer| {
        let values = request.union(|matchers| snapshot.label_values(&name, matchers, request.range))?;
        request.write(writer, &values, snapshot.damage(), |out, value| json::write_string(out, value))
    })
    .await)
}

/// `GET|POST /api/v1/series`
pub(in crate::http) async fn series(
    State(state): State<SharedState>,
    params: Params,
) -> Result<Response, ApiError> {
    let request = Request { selectors: params.required_selectors()?, ..Request::new(&params)? };
    let snapshot: Snapshot = open_db(&state)?.snapshot();
    Ok(stream::respond(JSON, move |writer| {
        let series: Vec<Labels> =
            request.union(|matchers| snapshot.series_labels(matchers, request.range))?;
        request.write(writer, &series, snapshot.damage(), json::write_labels)
    })
    .await)
}

/// What the three endpoints have in common.
struct Request {
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: usize,
}

impl Request {
    fn new(params: &Params) -> Result<Self, ApiError> {
        Ok(Self { selectors: Vec::new(), range: params.time_range()?, limit: params.limit()? })
    }

    /// What `find` answers for all selectors together, sorted and without repetitions; without a selector, for all series.
    fn union<T: Ord>(
        &self,
        find: impl Fn(&[Matcher]) -> timberline_engine::Result<Vec<T>>,
    ) -> Result<Vec<T>, ApiError> {
        let mut found = match self.selectors.as_slice() {
            [] => find(&[])?,
            [selector] => find(selector)?,
            selectors => {
                let mut all = Vec::new();
                for selector in selectors {
                    all.append(&mut find(selector)?);
                }
                all
            }
        };
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn write<T>(
        &self,
        writer: &mut Writer,
        items: &[T],
        damage: impl Iterator<Item = String>,
        write_item: impl Fn(&mut Vec<u8>, &T),
    ) -> Result<(), ApiError> {
        writer.buffer.extend_from_slice(br#"{"status":"success","data":["#);
        for (i, item) in items.iter().take(self.limit).enumerate() {
            if i > 0 {
                writer.buffer.push(b',');
            }
            write_item(&mut writer.buffer, item);
            writer.checkpoint()?;
        }
        writer.buffer.push(b']');
        let truncated = (items.len() > self.limit).then(|| TRUNCATED.to_owned());
        let warnings: Vec<String> = damage.chain(truncated).collect();
        if !warnings.is_empty() {
            writer.buffer.extend_from_slice(br#","warnings":"#);
            json::write_strings(&mut writer.buffer, warnings.iter().map(String::as_str));
        }
        writer.buffer.push(b'}');
        Ok(())
    }
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
