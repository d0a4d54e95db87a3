//! Answers that a blocking thread writes while the client already reads; and those that are so short that no other thread is asked.
//!
//! A short answer goes out whole, with its length. A long one goes out in chunks, at most [`CHUNKS_AHEAD`] of them ahead
//! of the client, so its memory is bounded.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// A chunk goes out when it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_AHEAD: usize = 4;
/// An answer with more than this is not given at once.
const AT_ONCE_BYTES_MAX: usize = 512 << 10;
/// A client that takes no chunk for so long has lost interest.
const STALL_MAX: Duration = Duration::from_secs(60);

/// The client went away or stopped reading.
#[derive(Debug)]
pub(super) struct Gone;

/// Where the body is written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What was written and not sent yet; append to it.
    pub(super) buffer: Vec<u8>,
    /// Without one, all stays in the buffer, up to [`AT_ONCE_BYTES_MAX`].
    client: Option<Client>,
}

/// Who reads what a blocking thread writes.
#[derive(Debug)]
struct Client {
    head: Option<oneshot::Sender<Head>>,
    chunks: Option<mpsc::Sender<Bytes>>,
    is_cut: Arc<AtomicBool>,
    stall_max: Duration,
    runtime: Handle,
}

#[derive(Debug)]
enum Head {
    Whole(Bytes),
    Start(Chunks),
    Failed(Response),
}

/// Runs `work` on a blocking thread and answers with what it writes. An error is the answer as long as nothing was sent,
/// else it cuts the body off, which the client sees.
pub(super) async fn respond<E: IntoResponse>(
    content_type: &'static str,
    work: impl FnOnce(&mut Writer) -> Result<(), E> + Send + 'static,
) -> Response {
    respond_within(STALL_MAX, content_type, work).await
}

async fn respond_within<E: IntoResponse>(
    stall_max: Duration,
    content_type: &'static str,
    work: impl FnOnce(&mut Writer) -> Result<(), E> + Send + 'static,
) -> Response {
    let (sender, head) = oneshot::channel();
    let client = Client {
        head: Some(sender),
        chunks: None,
        is_cut: Arc::default(),
        stall_max,
        runtime: Handle::current(),
    };
    let mut writer = Writer { buffer: Vec::new(), client: Some(client) };
    tokio::task::spawn_blocking(move || {
        let result = work(&mut writer);
        writer.finish(result);
    });
    let content_type = [(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    match head.await {
        Ok(Head::Whole(bytes)) => (content_type, bytes).into_response(),
        Ok(Head::Start(chunks)) => (content_type, Body::new(chunks)).into_response(),
        Ok(Head::Failed(response)) => response,
        // The thread panicked; the panic's text is on stderr.
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
    }
}

/// Answers with what `work` writes, all of it at once.
///
/// # Errors
/// That of `work`, which gets [`Gone`] when it writes more than an answer at once may have.
pub(super) fn respond_at_once<E>(
    content_type: &'static str,
    work: impl FnOnce(&mut Writer) -> Result<(), E>,
) -> Result<Response, E> {
    let mut writer = Writer::default();
    work(&mut writer)?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(content_type))], writer.buffer).into_response())
}

impl Writer {
    /// Sends what was written if that is enough for a chunk; call it often.
    ///
    /// # Errors
    /// [`Gone`] when nobody reads any more, or it is too much to be answered at once.
    pub(super) fn checkpoint(&mut self) -> Result<(), Gone> {
        let Some(client) = &mut self.client else {
            return if self.buffer.len() < AT_ONCE_BYTES_MAX { Ok(()) } else { Err(Gone) };
        };
        if self.buffer.len() < CHUNK_BYTES {
            let is_gone = client.head.as_ref().is_some_and(oneshot::Sender::is_closed);
            return if is_gone { Err(Gone) } else { Ok(()) };
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4));
        client.send(chunk.into())
    }

    fn finish<E: IntoResponse>(self, result: Result<(), E>) {
        let Some(mut client) = self.client else { return };
        let rest = Bytes::from(self.buffer);
        // When a send fails, the client is gone and nobody is left to tell.
        let _ = match (client.head.take(), result) {
            (Some(head), Ok(())) => head.send(Head::Whole(rest)).map_err(|_| Gone),
            (Some(head), Err(error)) => head.send(Head::Failed(error.into_response())).map_err(|_| Gone),
            (None, Ok(())) => {
                client.send(rest).inspect_err(|Gone| client.is_cut.store(true, Ordering::Release))
            }
            (None, Err(_)) => {
                client.is_cut.store(true, Ordering::Release);
                Ok(())
            }
        };
    }
}

impl Client {
    fn send(&mut self, chunk: Bytes) -> Result<(), Gone> {
        if let Some(head) = self.head.take() {
            let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
            let chunks = Chunks { receiver, is_cut: Arc::clone(&self.is_cut) };
            head.send(Head::Start(chunks)).map_err(|_| Gone)?;
            self.chunks = Some(sender);
        }
        let chunks = self.chunks.as_ref().ok_or(Gone)?;
        match chunks.try_send(chunk) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
            Err(mpsc::error::TrySendError::Full(chunk)) => {
                self.runtime.block_on(chunks.send_timeout(chunk, self.stall_max)).map_err(|_| Gone)
            }
        }
    }
}

/// The chunks as a body.
#[derive(Debug)]
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    /// Set before the sender goes away behind anything but the last chunk.
    is_cut: Arc<AtomicBool>,
}

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.receiver.poll_recv(context).map(|chunk| match chunk {
            Some(chunk) => Some(Ok(Frame::data(chunk))),
            None if self.is_cut.swap(false, Ordering::Acquire) => {
                Some(Err(io::Error::other("the answer could not be completed")))
            }
            None => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(response: Response) -> Result<Vec<u8>, axum::Error> {
        axum::body::to_bytes(response.into_body(), usize::MAX).await.map(|bytes| bytes.to_vec())
    }

    fn write_parts(writer: &mut Writer, parts: usize) -> Result<(), StatusCode> {
        for _ in 0..parts {
            writer.buffer.extend_from_slice(&[b'x'; 10_000]);
            writer.checkpoint().map_err(|Gone| StatusCode::GONE)?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn short_answers_have_a_length_and_long_ones_are_chunked() {
        let short = respond("text/plain", |writer| write_parts(writer, 1)).await;
        assert_eq!(short.body().size_hint().exact(), Some(10_000));
        let long = respond("text/plain", |writer| write_parts(writer, 1_000)).await;
        assert_eq!(long.body().size_hint().exact(), None);
        assert_eq!(read(long).await.unwrap().len(), 10_000_000);
    }

    #[tokio::test]
    async fn what_is_answered_at_once_has_a_length() {
        let response = respond_at_once("text/plain", |writer| write_parts(writer, 10)).unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(100_000));
        assert!(respond_at_once("text/plain", |_| Err(StatusCode::NOT_FOUND)).is_err());
        assert!(respond_at_once("text/plain", |writer| write_parts(writer, usize::MAX)).is_err());
    }

    #[tokio::test]
    async fn an_error_is_the_answer_first_and_a_cut_body_later() {
        let early = respond("text/plain", |_| Err(StatusCode::NOT_FOUND)).await;
        assert_eq!(early.status(), StatusCode::NOT_FOUND);
        let late = respond("text/plain", |writer| {
            write_parts(writer, 100)?;
            Err(StatusCode::NOT_FOUND)
        });
        let late = late.await;
        assert_eq!(late.status(), StatusCode::OK);
        assert!(read(late).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_ends_the_work_and_its_answer_is_cut() {
        let (sender, receiver) = oneshot::channel();
        let stalled = respond_within(Duration::ZERO, "text/plain", move |writer| {
            let result = write_parts(writer, usize::MAX);
            sender.send(()).ok();
            result
        });
        let stalled = stalled.await;
        receiver.await.unwrap();
        assert!(read(stalled).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_work() {
        let (sender, receiver) = oneshot::channel();
        let response = respond("text/plain", move |writer| {
            let result = write_parts(writer, usize::MAX);
            sender.send(()).ok();
            result
        });
        drop(response.await);
        receiver.await.unwrap();
    }
}
