//! One connection: its requests go to the router; what is no request is answered with a reason, and ends it.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Response, StatusCode, Version};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_service::Service;

use super::progress::{Phase, Progress};
use super::socket::{Failure, Socket};
use super::{HEAD_BYTES_MAX, HEADERS_MAX, Shared, TARGET_BYTES_MAX};
use crate::http;

/// How much of what a refused client sends is still read, and for how long. Without it the connection is closed under a client
/// that is still sending, which then may not see the answer.
const DISCARD_BYTES_MAX: u64 = 4 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a refusal may take to be sent.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(2);

/// Answers the requests of a connection until it ends.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>, progress: Arc<Progress>) {
    // Without it small answers wait for the client's acknowledgement of the last one.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    // A client that is gone already has none.
    let peer = stream.peer_addr().ok();
    let socket = Socket::new(stream, Arc::clone(&shared), Arc::clone(&progress));
    let service = {
        let (shared, progress) = (Arc::clone(&shared), Arc::clone(&progress));
        service_fn(move |mut request: Request<Incoming>| {
            peer.map(|peer| request.extensions_mut().insert(ConnectInfo(peer)));
            answer(Arc::clone(&shared), Arc::clone(&progress), request)
        })
    };
    let mut connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(socket), service);
    let ended = (&mut connection).await;
    if matches!(progress.moment().phase(), Phase::Answering | Phase::Closed) {
        return;
    }
    let parts = connection.into_parts();
    let (stream, failure) = parts.io.into_inner().into_parts();
    let refusal = match (failure, ended) {
        (Some(failure), _) => Some(Refusal::of_failure(&failure, &shared)),
        (None, Err(error)) => Refusal::of_head(&error, &parts.read_buf),
        (None, Ok(())) => None,
    };
    if let Some(refusal) = refusal {
        refuse(stream, &shared, refusal).await;
    }
}

/// Has the router answer a request.
async fn answer(
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    request: Request<Incoming>,
) -> io::Result<Response<Answer>> {
    if !progress.begin_answer(request.version() == Version::HTTP_11) {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut router: Router = shared.router.clone();
    let answered: Result<Response<Body>, Infallible> = router.call(request).await;
    let Ok(mut response) = answered;
    if shared.is_stopping() || progress.is_last() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| Answer { body, progress }))
}

/// The body of an answer. It is dropped when the last of it is handed over.
struct Answer {
    body: Body,
    progress: Arc<Progress>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.progress.set_answered();
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why no request came out of what a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    /// Seconds after which to try again, if that makes sense.
    retry_after: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, message: String) -> Self {
        Self { status, message, retry_after: None }
    }

    /// All connections are busy.
    pub(super) fn full(connections_max: usize) -> Self {
        let message = format!(
            "limit connections_max reached: all {connections_max} connections are busy, try again, or raise connections-max"
        );
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message, retry_after: Some(1) }
    }

    fn of_failure(failure: &Failure, shared: &Shared) -> Self {
        match failure {
            Failure::Slow => {
                let limit = shared.limits.head_time_max;
                let message =
                    format!("the head of the request did not arrive within {limit:?}: send it at once");
                Self::new(StatusCode::REQUEST_TIMEOUT, message)
            }
            Failure::Memory(error) => {
                let message = format!("the heads of all requests take too much memory, try again: {error}");
                Self { status: StatusCode::SERVICE_UNAVAILABLE, message, retry_after: Some(1) }
            }
        }
    }

    /// What is wrong with a head, of which `head` has what was read.
    fn of_head(error: &hyper::Error, head: &[u8]) -> Option<Self> {
        if error.is_incomplete_message() && !head.is_empty() {
            let message = "the request ended before the blank line after its headers".to_owned();
            return Some(Self::new(StatusCode::BAD_REQUEST, message));
        }
        if !error.is_parse() {
            return None;
        }
        Some(if error.is_parse_too_large() {
            Self::too_large(head)
        } else if head.starts_with(b"PRI * HTTP/2.0") {
            let message = "HTTP/2 is not spoken here: use HTTP/1.1".to_owned();
            Self::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, message)
        } else {
            Self::new(StatusCode::BAD_REQUEST, format!("this is not a request of HTTP/1.1: {error}"))
        })
    }

    fn too_large(head: &[u8]) -> Self {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if target.len() > TARGET_BYTES_MAX {
            let message = format!(
                "the target of the request has more than {TARGET_BYTES_MAX} bytes: send its parameters as the body of a POST, \
                 with Content-Type: application/x-www-form-urlencoded"
            );
            return Self::new(StatusCode::URI_TOO_LONG, message);
        }
        let message = if head.len() < HEAD_BYTES_MAX {
            format!("the request has more than {HEADERS_MAX} headers: send fewer")
        } else {
            format!(
                "the head of the request has more than {HEAD_BYTES_MAX} bytes: send fewer or shorter headers"
            )
        };
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message)
    }
}

/// Answers with a reason and ends the connection.
pub(super) async fn refuse(mut stream: TcpStream, shared: &Shared, refusal: Refusal) {
    let Refusal { status, message, retry_after } = refusal;
    let mut response = http::refused(&shared.state, status, &message);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    let bytes = encode(response).await;
    let sending = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = tokio::time::timeout(REFUSAL_TIME_MAX, sending).await {
        let (mut rest, mut nowhere) = (stream.take(DISCARD_BYTES_MAX), tokio::io::sink());
        let discarding = tokio::io::copy(&mut rest, &mut nowhere);
        // Whether it ended or time ran out, nobody waits for more.
        let _ = tokio::time::timeout(DISCARD_TIME_MAX, discarding).await;
    }
}

/// An answer as it goes over the wire.
async fn encode(response: Response<Body>) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    // It is in memory.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes
}
