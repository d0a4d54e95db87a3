//! From measurement, tags and field key to the labels of a series. This runs once per series, not per line.
//!
//! The metric name is measurement and field key with an underscore between them; a field called `value` leaves the
//! measurement alone. Tags are labels. Database and retention policy, where the request names them, are the labels
//! `db` and `rp`, unless the line has a tag of that name: what the line says wins. A tag `__name__` is refused,
//! because it would replace the metric name.

use std::borrow::Cow;

use timberline_engine::{Labels, METRIC_NAME};

use super::super::limits::Limits;
use super::super::series_key::{LINE_PROTOCOL, check_limits};
use super::syntax::{check_field_key, parse_series_key};

/// The field that does not show in the metric name.
const VALUE_FIELD: &str = "value";

/// Where the points of a request go, besides what their lines say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespace<'a> {
    /// The database (version 2 of the API: the bucket); becomes the label `db`. Empty is the same as none.
    pub db: Option<&'a str>,
    /// The retention policy; becomes the label `rp`. Empty is the same as none.
    pub rp: Option<&'a str>,
}

impl Namespace<'_> {
    /// The start of the key of every row of this namespace. 0xff ends the parts: no UTF-8 text holds it.
    pub(super) fn key_prefix(&self) -> Vec<u8> {
        let mut prefix = vec![LINE_PROTOCOL];
        for part in [self.db, self.rp] {
            prefix.extend_from_slice(part.unwrap_or_default().as_bytes());
            prefix.push(0xff);
        }
        prefix
    }
}

/// What the series of a line have in common: all but the metric name.
pub(super) struct KeyLabels<'a> {
    measurement: Cow<'a, str>,
    /// The first one is the metric name, which each field sets anew.
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> KeyLabels<'a> {
    /// From a raw key.
    ///
    /// # Errors
    /// The reason why this is not the key of a series.
    pub(super) fn parse(key: &'a [u8], namespace: &Namespace<'a>) -> Result<Self, String> {
        let series = parse_series_key(key).map_err(|fault| fault.reason)?;
        let measurement = text(unescape_measurement(series.measurement))?;
        let mut pairs = Vec::with_capacity(series.tags.len() + 3);
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed("")));
        for (name, value) in series.tags {
            let name = text(unescape_name(name))?;
            if name == METRIC_NAME {
                return Err(format!("tag {METRIC_NAME:?} is reserved for the metric name"));
            }
            pairs.push((name, text(unescape_name(value))?));
        }
        for (name, value) in [("db", namespace.db), ("rp", namespace.rp)] {
            if let Some(value) = value
                && !pairs.iter().any(|(tag, _)| tag == name)
            {
                pairs.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
        Ok(Self { measurement, pairs })
    }

    /// The labels for a raw field key.
    ///
    /// # Errors
    /// The reason why these are not the names of a series.
    pub(super) fn of_field(&mut self, field: &[u8], limits: &Limits) -> Result<Labels, String> {
        check_field_key(field).map_err(|fault| fault.reason)?;
        let field = text(unescape_name(field))?;
        self.pairs[0].1 = Cow::Owned(match &*field {
            VALUE_FIELD => self.measurement.clone().into_owned(),
            field => format!("{}_{field}", self.measurement),
        });
        let pairs = || self.pairs.iter().map(|(name, value)| (&**name, &**value));
        check_limits(pairs().map(|(name, value)| (name.as_bytes(), value.as_bytes())), limits)?;
        Labels::from_pairs(pairs()).map_err(|error| error.to_string())
    }
}

/// The text of a raw measurement.
#[must_use]
pub fn unescape_measurement(raw: &[u8]) -> Cow<'_, [u8]> {
    unescape(raw, b" ,")
}

/// The text of a raw tag key, tag value or field key.
#[must_use]
pub fn unescape_name(raw: &[u8]) -> Cow<'_, [u8]> {
    unescape(raw, b" ,=")
}

/// The text of a raw string value.
#[must_use]
pub fn unescape_string(raw: &[u8]) -> Cow<'_, [u8]> {
    unescape(raw, b"\"\\")
}

/// Drops each backslash that stands before one of `escapable`.
fn unescape<'a>(raw: &'a [u8], escapable: &[u8]) -> Cow<'a, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        rest = match tail {
            [escaped, tail @ ..] if *first == b'\\' && escapable.contains(escaped) => {
                text.push(*escaped);
                tail
            }
            _ => {
                text.push(*first);
                tail
            }
        };
    }
    Cow::Owned(text)
}

/// The grammar has checked that names are UTF-8, and unescaping keeps them so.
fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, String> {
    let invalid = |_| "invalid UTF-8 in a name".to_owned();
    Ok(match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(invalid)?),
        Cow::Owned(bytes) => {
            Cow::Owned(String::from_utf8(bytes).map_err(|error| invalid(error.utf8_error()))?)
        }
    })
}
