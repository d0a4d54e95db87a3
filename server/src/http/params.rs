//! Request parameters: of the URL and of a form, those that the endpoint knows.
//!
//! What is kept is charged before memory is taken for it, and what the endpoint does not know is never kept: so a form
//! of millions of pairs takes no more than its text.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use timberline_engine::{Budget, Held};

use super::body::{self, BodyError, FORM_BYTES_MAX, Received};
use crate::state::AppState;

/// A thread that reads requests decodes no longer texts than this, and looks at none.
pub(super) const SHORT_BYTES_MAX: usize = 64 << 10;

/// The names of the parameters that an endpoint knows. All values of a name that ends with `[]` count, of any other name
/// the first one.
pub(super) type Known = &'static [&'static str];

/// Parameters; those of a form come before those of the URL, so they win.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    /// The first value of each name.
    single: Vec<(&'static str, String)>,
    /// The values of the names that end with `[]`, in order.
    lists: Vec<(&'static str, String)>,
    /// The first thing that was sent and says nothing.
    stray: Option<String>,
}

/// How much of a name is told.
const NAME_CHARS_SHOWN: usize = 100;

impl Params {
    /// The parameters of the URL alone, which the HTTP library keeps below 64 KiB.
    #[must_use]
    pub(super) fn of_url(uri: &Uri, known: Known) -> Self {
        let mut params = Self::default();
        for (name, value) in pairs(uri.query().unwrap_or_default().as_bytes()) {
            if let Some((name, values)) = params.room_for(known, &name) {
                values.push((name, value.into_owned()));
            }
        }
        params
    }

    /// The first value of a parameter. Like a form's empty field, an empty value is no value.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let value = self.single.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// All values of a parameter whose name ends with `[]`.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lists.iter().filter(move |(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    /// What was sent and is not understood: most endpoints ignore it, as Prometheus does.
    #[must_use]
    pub(super) fn stray(&self) -> Option<&str> {
        self.stray.as_deref()
    }

    /// Notes what a parameter does not say.
    fn note(&mut self, known: Known, name: &str, is_empty: bool) {
        if self.stray.is_some() {
            return;
        }
        let problem = if !known.contains(&name) {
            "is not known here"
        } else if self.single.iter().any(|(n, _)| *n == name) {
            "is given more than once"
        } else if is_empty {
            "has no value"
        } else {
            return;
        };
        let name: String = name.chars().take(NAME_CHARS_SHOWN).collect();
        self.stray = Some(format!("the parameter {name:?} {problem}"));
    }

    /// The name under which a value is to be kept, and where.
    fn room_for(
        &mut self,
        known: Known,
        name: &str,
    ) -> Option<(&'static str, &mut Vec<(&'static str, String)>)> {
        let name = *known.iter().find(|known| **known == name)?;
        if name.ends_with("[]") {
            return Some((name, &mut self.lists));
        }
        self.single.iter().all(|(n, _)| *n != name).then_some((name, &mut self.single))
    }

    fn add(
        &mut self,
        known: Known,
        name: &str,
        value: Cow<'_, str>,
        held: &mut Held,
    ) -> Result<(), BodyError> {
        self.note(known, name, value.is_empty());
        if let Some((name, values)) = self.room_for(known, name) {
            // A list that grows is there twice for a moment.
            held.add(value.len() + 3 * size_of::<(&str, String)>())?;
            values.push((name, value.into_owned()));
        }
        Ok(())
    }
}

/// The first parameter of a URL that is not known.
#[must_use]
pub(super) fn unknown(uri: &Uri, known: Known) -> Option<String> {
    let mut names = pairs(uri.query().unwrap_or_default().as_bytes()).map(|(name, _)| name);
    names.find(|name| !known.contains(&&**name)).map(Cow::into_owned)
}

fn pairs(encoded: &[u8]) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(encoded)
}

/// The parameters of a request as they were sent.
#[derive(Debug)]
pub(super) struct Sent {
    parts: Parts,
    form: Option<(Form, Received)>,
}

/// How a form is written.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Urlencoded,
    Multipart { boundary: String },
}

impl Form {
    /// The form that a body is, if its content type says that it is one.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, BodyError> {
        let content_type =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(Some(Self::Urlencoded));
        }
        if !media_type.eq_ignore_ascii_case("multipart/form-data") {
            return Ok(None);
        }
        let boundary = multer::parse_boundary(content_type);
        boundary.map(|boundary| Some(Self::Multipart { boundary })).map_err(|error| form_error(&error))
    }
}

fn form_error(error: &multer::Error) -> BodyError {
    BodyError::Form { reason: error.to_string() }
}

impl Sent {
    /// Receives the form, if the body is one: any other body is left alone. It counts in `budget`.
    pub(super) async fn receive(
        state: &AppState,
        budget: &Arc<Budget>,
        parts: Parts,
        mut body: Body,
    ) -> Result<Self, BodyError> {
        let form = match Form::of(&parts.headers) {
            Ok(None) => None,
            Ok(Some(form)) => Some((form, body::receive_form(state, budget, &parts.headers, body).await?)),
            Err(error) => {
                body::discard(&mut body).await;
                return Err(error);
            }
        };
        Ok(Self { parts, form })
    }

    /// Whether they are decoded in no time.
    pub(super) fn is_short(&self) -> bool {
        let is_plain = !self.parts.headers.contains_key(CONTENT_ENCODING);
        self.form.as_ref().is_none_or(|(form, sent)| {
            is_plain && *form == Form::Urlencoded && sent.as_ref().len() <= SHORT_BYTES_MAX
        })
    }

    /// Decodes them. Takes CPU time unless they are [short](Self::is_short): call it on a blocking thread then.
    pub(super) fn decode(self, state: &AppState, known: Known, held: &mut Held) -> Result<Params, BodyError> {
        let mut params = Params::default();
        let headers = &self.parts.headers;
        let has_body = headers.contains_key(TRANSFER_ENCODING)
            || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        if (self.form.is_none() && has_body) || headers.get_all(CONTENT_TYPE).iter().count() > 1 {
            params.stray = Some("the body, which its Content-Type does not call a form,".to_owned());
        }
        if let Some((form, received)) = self.form {
            let received = body::decode(state, &self.parts.headers, received)?;
            match form {
                Form::Urlencoded => {
                    for (name, value) in pairs(received.as_ref()) {
                        params.add(known, &name, value, held)?;
                    }
                }
                Form::Multipart { boundary } => add_fields(&mut params, known, received, boundary, held)?,
            }
        }
        for (name, value) in pairs(self.parts.uri.query().unwrap_or_default().as_bytes()) {
            params.add(known, &name, value, held)?;
        }
        Ok(params)
    }
}

/// Adds the fields of `multipart/form-data`. As with Go's `FormValue`, files are none.
fn add_fields(
    params: &mut Params,
    known: Known,
    mut received: Received,
    boundary: String,
    held: &mut Held,
) -> Result<(), BodyError> {
    // The reader of the fields keeps the text once more, and a field's once again.
    let (text, whole) = received.held();
    whole.add(2 * text.len())?;
    let stream = Body::from(Bytes::copy_from_slice(text)).into_data_stream();
    let limits = multer::SizeLimit::new().whole_stream(FORM_BYTES_MAX as u64);
    let constraints = multer::Constraints::new().size_limit(limits);
    let mut fields = multer::Multipart::with_constraints(stream, boundary, constraints);
    // All of it is here, so nothing ever waits.
    tokio::runtime::Handle::current().block_on(async {
        while let Some(field) = fields.next_field().await.map_err(|error| form_error(&error))? {
            let Some(name) = field.name().map(str::to_owned) else { continue };
            if field.file_name().is_some() || params.room_for(known, &name).is_none() {
                params.note(known, &name, field.file_name().is_some());
                continue;
            }
            let value = field.bytes().await.map_err(|error| form_error(&error))?;
            params.add(known, &name, String::from_utf8_lossy(&value), held)?;
        }
        Ok(())
    })
}
