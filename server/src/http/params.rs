//! Request parameters: of the URL and of a form body, as one list.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, request::Parts};

use super::body::{self, BodyError};
use crate::state::SharedState;

/// Parameters in order; those of a form body come before those of the URL, so they win.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// The parameters of the URL alone.
    #[must_use]
    pub(super) fn of_url(parts: &Parts) -> Self {
        let mut params = Self::default();
        params.extend(parts.uri.query().unwrap_or_default().as_bytes());
        params
    }

    /// The first value of a parameter. Like a form's empty field, an empty value is no value.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The first parameter that is none of these.
    #[must_use]
    pub(super) fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).find(|name| !known.contains(name))
    }

    fn extend(&mut self, encoded: &[u8]) {
        self.0.extend(form_urlencoded::parse(encoded).map(|(n, v)| (n.into_owned(), v.into_owned())));
    }
}

/// Takes the parameters out of a request: the body counts when its content type says that it is a form (so an
/// empty body of another type is fine).
impl FromRequest<SharedState> for Params {
    type Rejection = BodyError;

    async fn from_request(request: Request, state: &SharedState) -> Result<Self, BodyError> {
        let (parts, body) = request.into_parts();
        let mut params = Self::default();
        if is_form(&parts.headers) {
            params.extend(read(state, &parts.headers, body).await?.as_ref());
        }
        params.extend(parts.uri.query().unwrap_or_default().as_bytes());
        Ok(params)
    }
}

async fn read(state: &SharedState, headers: &HeaderMap, body: Body) -> Result<body::Received, BodyError> {
    let received = body::receive(state, headers, body).await?;
    // Forms are short: decompressing one here keeps no other request waiting for long.
    body::decode(state, headers, received)
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
