//! Who may come in, by what a route does: one table has all routes ([`super::table`]), one middleware checks each request.
//!
//! There is no authentication yet, so what protects a server is the address that it listens on. Two ways lead past it, and both
//! are closed here:
//! - A browser on this machine runs other people's pages. What such a page sends carries its `Origin`, or `Sec-Fetch-Site`. A page
//!   that gives its own name this machine's address (DNS rebinding) is of the same origin, but its name is in `Host`.
//! - A proxy on this machine hands on requests of others. Its headers say so.
//!
//! Requests of collectors and scripts have neither.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, ORIGIN, RETRY_AFTER, TRANSFER_ENCODING,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::body;
use super::observe::all_dialects;
use crate::state::{AppState, SharedState};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What proxies add, in one of these words,
const PROXY_HEADERS: [&str; 10] = [
    "forwarded",
    "via",
    "x-real-ip",
    "client-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
];
/// or beginning so.
const PROXY_PREFIXES: [&str; 2] = ["x-forwarded-", "x-envoy-"];

/// What a route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Says what the server is and whether it lives: for everybody, also while the database is being opened.
    Open,
    /// Tells what is stored, or what the server does.
    Read,
    /// InfluxQL: as its statements do; the handler looks at [`MayWrite`].
    Statements,
    /// Stores.
    Write,
    /// Deletes, or makes the server work for itself.
    Admin,
}

/// What the middleware knows.
#[derive(Clone, Debug)]
pub(super) struct Door {
    state: SharedState,
    scopes: Arc<HashMap<&'static str, Scope>>,
}

impl Door {
    pub(super) fn new(state: SharedState, scopes: impl Iterator<Item = (&'static str, Scope)>) -> Self {
        Self { state, scopes: Arc::new(scopes.collect()) }
    }
}

/// Lets a request in, or says why not. Nobody comes to a database that is not open.
pub(super) async fn enter(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let state = &door.state;
    let path = request.extensions().get::<MatchedPath>();
    let scope = path.and_then(|path| door.scopes.get(path.as_str()).copied());
    let entered = check_form(&request, scope)
        .and_then(|()| scope.map_or(Ok(()), |scope| check(state, request.headers(), scope)));
    let refused = match entered {
        Err(refusal) => {
            state.metrics.refusals.request("http", refusal.kind, &refusal.message);
            refusal.into_response()
        }
        Ok(()) if scope != Some(Scope::Open) && state.db().is_none() => unavailable(state),
        Ok(()) => {
            if scope == Some(Scope::Statements) {
                let may_write = MayWrite(check(state, request.headers(), Scope::Write));
                request.extensions_mut().insert(may_write);
            }
            return next.run(request).await;
        }
    };
    body::discard(&mut request.into_body()).await;
    refused
}

fn unavailable(state: &AppState) -> Response {
    let message = format!("{}; try again in a moment", state.opening_message());
    let mut response = all_dialects(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Why a request is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    kind: &'static str,
    pub(super) message: String,
}

impl Refusal {
    fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, kind: "forbidden", message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = all_dialects(self.status, self.kind, &self.message);
        if self.status == StatusCode::LENGTH_REQUIRED {
            // What follows may be the body, and is no request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What HTTP wants of a request (RFC 9112, 3.2 and 6.3): one `Host`; and of one that stores, to say how long its body is, which is
/// lost otherwise.
fn check_form(request: &Request, scope: Option<Scope>) -> Result<(), Refusal> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() >= Version::HTTP_11) {
        let message = format!("the request has {hosts} Host headers: HTTP/1.1 needs exactly one");
        return Err(Refusal { status: StatusCode::BAD_REQUEST, kind: "bad_data", message });
    }
    let host = text(headers.get(HOST)).unwrap_or_default();
    // A target with an authority is that of a proxy's request, and stands for `Host` (RFC 9112, 3.2.2).
    let target = request.uri().authority().map(|authority| authority.as_str().to_ascii_lowercase());
    let is_authority = host.is_empty() || Authority::try_from(host.as_str()).is_ok_and(|a| has_port(&a));
    if !is_authority || target.is_some_and(|target| target != host) {
        let message =
            format!("the Host header {host:?} is no host, or another than that of the request's target");
        return Err(Refusal { status: StatusCode::BAD_REQUEST, kind: "bad_data", message });
    }
    let has_length = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let has_body = match scope {
        Some(Scope::Write) => request.method() == Method::POST,
        Some(Scope::Admin) => headers.contains_key(CONTENT_TYPE),
        _ => false,
    };
    if has_body && !has_length {
        let message = "the request has neither Content-Length nor Transfer-Encoding, so its body is lost: send one of them";
        return Err(Refusal {
            status: StatusCode::LENGTH_REQUIRED,
            kind: "bad_data",
            message: message.to_owned(),
        });
    }
    Ok(())
}

/// Whether an authority is a host, and a port if it has a colon.
fn has_port(authority: &Authority) -> bool {
    let text = authority.as_str();
    !text.contains('@') && (authority.port_u16().is_some() || text == authority.host())
}

/// Whose name a `Host` or an `Origin` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// This machine's, or allowed by `allowed-hosts`.
    Ours,
    /// Nobody can register it: an address, or a name without a dot.
    Nobody,
    /// Whoever registered it.
    Anybody,
}

/// Whether who asks for statements may have those that write.
#[derive(Clone, Debug)]
pub(super) struct MayWrite(pub(super) Result<(), Refusal>);

/// Whether a request with these headers may do something of a scope.
fn check(state: &AppState, headers: &HeaderMap, scope: Scope) -> Result<(), Refusal> {
    match scope {
        Scope::Open => Ok(()),
        Scope::Read | Scope::Statements => check_host(state, headers, Owner::Nobody),
        Scope::Write => {
            check_host(state, headers, Owner::Ours)?;
            check_page(headers, &state.config.allowed_hosts)
        }
        Scope::Admin => {
            check_near(state, headers)?;
            check(state, headers, Scope::Write)
        }
    }
}

/// Whether the server is called by a name of its own. On other addresses than loopback its names are not ours to know.
fn check_host(state: &AppState, headers: &HeaderMap, owner_max: Owner) -> Result<(), Refusal> {
    if !state.is_loopback {
        return Ok(());
    }
    let host = text(headers.get(HOST)).unwrap_or_default();
    if owner(&host, &state.config.allowed_hosts) <= owner_max {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "the server listens on a loopback address and is not called {host}: call it localhost, or add the name to allowed-hosts"
    )))
}

/// Whether the request is of no page, or of one of this server's.
fn check_page(headers: &HeaderMap, allowed: &[String]) -> Result<(), Refusal> {
    let refusal = |what: String| {
        Refusal::forbidden(format!(
            "{what}, and pages of other sites may not write here: if the page is yours, add its host to allowed-hosts"
        ))
    };
    let mut is_allowed = false;
    for origin in headers.get_all(ORIGIN) {
        let origin = text(Some(origin)).unwrap_or_default();
        let (scheme, authority) = origin.split_once("://").unwrap_or_default();
        if allowed.iter().any(|name| *name == name_of(authority)) {
            is_allowed = true;
            continue;
        }
        let host = text(headers.get(HOST)).unwrap_or_default();
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let [page, host] = [authority, &host].map(|name| name.strip_suffix(default_port).unwrap_or(name));
        if page.is_empty() || page != host {
            return Err(refusal(format!("the request is of a page of {origin}")));
        }
    }
    if is_allowed {
        return Ok(());
    }
    // A page of a sibling domain, or of another port of this host, may be somebody else's as well.
    match text(headers.get(SEC_FETCH_SITE)) {
        Some(site) if !matches!(site.as_str(), "same-origin" | "none") => {
            Err(refusal(format!("the request is of a page of another site (Sec-Fetch-Site: {site})")))
        }
        _ => Ok(()),
    }
}

/// Whether whoever asks is on this machine, as far as one can tell.
fn check_near(state: &AppState, headers: &HeaderMap) -> Result<(), Refusal> {
    if !state.is_loopback {
        return Err(Refusal::forbidden(
            "admin endpoints answer only when the server listens on a loopback address, because anybody who can reach it could \
             call them: listen on 127.0.0.1",
        ));
    }
    let is_of_proxy = |name: &&str| {
        PROXY_HEADERS.contains(name) || PROXY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let Some(header) = headers.keys().map(HeaderName::as_str).find(is_of_proxy) else { return Ok(()) };
    Err(Refusal::forbidden(format!(
        "the request came through a proxy (it has the header {header}), and admin endpoints answer clients on this machine only: \
         ask the server itself, without the proxy"
    )))
}

fn text(value: Option<&HeaderValue>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase())
}

/// The host of `host:port`; an IPv6 address keeps its brackets.
fn name_of(authority: &str) -> &str {
    let name_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let port = authority[name_end..].find(':').map_or(authority.len(), |colon| name_end + colon);
    let name = &authority[..port];
    name.strip_suffix('.').unwrap_or(name)
}

fn owner(host: &str, allowed: &[String]) -> Owner {
    let name = name_of(host);
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if let Ok(address) = address.parse::<IpAddr>() {
        let is_allowed = allowed.iter().any(|allowed| allowed == name);
        return if address.to_canonical().is_loopback() || is_allowed { Owner::Ours } else { Owner::Nobody };
    }
    let is_localhost = name == "localhost" || name.ends_with(".localhost");
    // Only HTTP/1.0 goes without a name, which no browser speaks.
    if is_localhost || name.is_empty() || allowed.iter().any(|allowed| allowed == name) {
        Owner::Ours
    } else if name.contains('.') {
        Owner::Anybody
    } else {
        Owner::Nobody
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// What a request with these headers may, of reading, writing and administering.
    fn may(listens_on_loopback: bool, headers: &[(&'static str, &str)]) -> [bool; 3] {
        [Scope::Read, Scope::Write, Scope::Admin]
            .map(|scope| check_with(listens_on_loopback, headers, scope).is_ok())
    }

    fn check_with(
        listens_on_loopback: bool,
        headers: &[(&'static str, &str)],
        scope: Scope,
    ) -> Result<(), Refusal> {
        let config = Config { allowed_hosts: vec!["tsdb.example.org".to_owned()], ..Config::default() };
        let state = AppState::new(config, listens_on_loopback).unwrap();
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("localhost:8086"));
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            if *name == "host" {
                map.insert(*name, value);
            } else {
                map.append(*name, value);
            }
        }
        check(&state, &map, scope)
    }

    #[test]
    fn names_of_a_loopback_listener() {
        const ALL: [bool; 3] = [true; 3];
        const READ: [bool; 3] = [true, false, false];
        const NONE: [bool; 3] = [false; 3];
        for (host, expected) in [
            ("localhost", ALL),
            ("LocalHost:8086", ALL),
            ("localhost.:8086", ALL),
            ("tsdb.localhost:1", ALL),
            ("127.0.0.1:8086", ALL),
            ("127.8.9.10", ALL),
            ("[::1]:8086", ALL),
            ("[::ffff:127.0.0.1]:8086", ALL),
            ("tsdb.example.org:8086", ALL),
            ("timberline:8086", READ),
            ("10.0.0.7:8086", READ),
            ("[fe80::1]", READ),
            ("evil.example", NONE),
            ("evil.example:8086", NONE),
            ("localhost.evil.example", NONE),
            ("127.0.0.1.evil.example", NONE),
            ("xlocalhost.", READ),
            ("org", READ),
        ] {
            assert_eq!(may(true, &[("host", host)]), expected, "{host}");
            let elsewhere = may(false, &[("host", host)]);
            assert_eq!(elsewhere, [true, true, false], "not ours to know: {host}");
        }
    }

    #[test]
    fn pages_of_other_sites_read_at_most() {
        let own = [("origin", "http://localhost:8086"), ("sec-fetch-site", "same-origin")];
        for headers in [
            &own[..],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://tsdb.example.org:3000"), ("sec-fetch-site", "cross-site")],
            &[("host", "localhost"), ("origin", "http://localhost:80")],
            &[("host", "localhost:443"), ("origin", "https://localhost")],
        ] {
            assert_eq!(may(true, headers), [true; 3], "{headers:?}");
        }
        for headers in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "http://localhost:3000")],
            &[("origin", "http://localhost")],
            &[("origin", "null")],
            &[own[0], ("origin", "http://evil.example")],
            &[("origin", "https://tsdb.example.org"), ("origin", "http://evil.example")],
            &[("origin", "")],
            &[("origin", "http://tsdb.example.org.evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[own[0], ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(may(true, headers), [true, false, false], "{headers:?}");
            assert_eq!(may(false, headers), [true, false, false], "{headers:?}");
        }
    }

    #[test]
    fn who_comes_through_a_proxy_is_remote() {
        let others = ["x-forwarded-host", "x-forwarded-proto", "x-envoy-external-address"];
        for name in PROXY_HEADERS.into_iter().chain(others) {
            let headers = [(name, "127.0.0.1")];
            assert_eq!(may(true, &headers), [true, true, false], "{name}");
            let refusal = check_with(true, &headers, Scope::Admin).unwrap_err();
            assert!(refusal.message.contains(name) && refusal.message.contains("without the proxy"));
        }
    }
}
