//! The HTTP client of the commands that talk to a server.

use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::Error;

const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The most of an error's body that is read.
const ERROR_BYTES_MAX: u64 = 1 << 20;

/// A connection to one server, kept alive between requests.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
}

/// An answer that is not a success.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The server's sentence, taken out of its JSON.
    pub(crate) message: String,
    pub(crate) headers: HeaderMap,
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::message(format!("the server answered {}: {}", refusal.status, refusal.message))
    }
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIME_MAX))
            .user_agent(concat!("timberline/", env!("CARGO_PKG_VERSION")))
            .build();
        let scheme = if url.contains("://") { "" } else { "http://" };
        Self { agent: config.into(), url: format!("{scheme}{}", url.trim_end_matches('/')) }
    }

    /// A POST of a form. The inner result is the server's, the outer one that of reaching it.
    pub(crate) fn post_form(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Result<Response<Body>, Refusal>, Error> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let response = request.send_form(parameters.iter().copied());
        self.check(response)
    }

    /// A POST of bytes; results as above.
    pub(crate) fn post(
        &self,
        path_and_query: &str,
        body: &[u8],
    ) -> Result<Result<Response<Body>, Refusal>, Error> {
        let request = self.agent.post(format!("{}{path_and_query}", self.url));
        let response = request.content_type("text/plain; charset=utf-8").send(body);
        self.check(response)
    }

    fn check(
        &self,
        response: Result<Response<Body>, ureq::Error>,
    ) -> Result<Result<Response<Body>, Refusal>, Error> {
        let mut response =
            response.map_err(|error| Error::message(format!("no answer from {}: {error}", self.url)))?;
        if response.status().is_success() {
            return Ok(Ok(response));
        }
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ERROR_BYTES_MAX).read_to_string();
        let body = body.unwrap_or_default();
        let message = serde_json::from_str::<Value>(&body)
            .ok()
            .and_then(|json| json.get("error")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| body.trim().to_owned());
        let (parts, _) = response.into_parts();
        Ok(Err(Refusal { status, message, headers: parts.headers }))
    }
}
