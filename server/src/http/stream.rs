//! Answers that a blocking thread writes while the client already reads; and those that are so short that no other thread is asked.
//!
//! A short answer goes out whole, with its length. A long one goes out in chunks, at most [`CHUNKS_AHEAD`] of them ahead
//! of the client, so its memory is bounded: by [`TEXT_BYTES`], which whoever answers holds, and which is given back with the last
//! chunk.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use timberline_engine::{Error, Held};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::observe::all_dialects;

/// A chunk goes out when it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNKS_AHEAD: usize = 4;
/// An answer with more than this is not given at once.
const AT_ONCE_BYTES_MAX: usize = 512 << 10;
/// What the text of an answer takes at a time.
pub(super) const TEXT_BYTES: usize = (CHUNKS_AHEAD + 2) * CHUNK_BYTES;
/// A client that takes no chunk for so long has lost interest.
const STALL_MAX: Duration = Duration::from_secs(60);
/// One that takes none for so long is cut off if others wait for what it keeps.
const STALL_WHILE_OTHERS_WAIT: Duration = Duration::from_secs(5);
/// How often is looked whether others wait.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(100);

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
    patience: Patience,
    /// The memory of the text.
    held: Arc<Held>,
    runtime: Handle,
}

/// How long a client may take nothing.
pub(super) struct Patience {
    at_most: Duration,
    while_others_wait: Duration,
    /// Whether others wait for what an answer keeps while its client takes nothing.
    do_others_wait: Box<dyn Fn() -> bool + Send>,
}

impl Patience {
    pub(super) fn new(do_others_wait: impl Fn() -> bool + Send + 'static) -> Self {
        let do_others_wait = Box::new(do_others_wait);
        Self { at_most: STALL_MAX, while_others_wait: STALL_WHILE_OTHERS_WAIT, do_others_wait }
    }
}

impl fmt::Debug for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patience({:?}, {:?} while others wait)", self.at_most, self.while_others_wait)
    }
}

/// Text, and the memory that it is charged to: given back once the text is sent.
struct Charged {
    text: Vec<u8>,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

fn charged(text: Vec<u8>, held: &Arc<Held>) -> Bytes {
    if text.is_empty() { Bytes::new() } else { Bytes::from_owner(Charged { text, _held: Arc::clone(held) }) }
}

#[derive(Debug)]
enum Head {
    Whole(Bytes),
    Start(Chunks),
    Failed(Response),
}

/// Runs `work` on a blocking thread and answers with what it writes, for which [`TEXT_BYTES`] are `held`. An error is the answer as
/// long as nothing was sent, else it cuts the body off, which the client sees.
pub(super) async fn respond<E: IntoResponse>(
    content_type: &'static str,
    held: Held,
    patience: Patience,
    work: impl FnOnce(&mut Writer) -> Result<(), E> + Send + 'static,
) -> Response {
    let (sender, head) = oneshot::channel();
    let client = Client {
        head: Some(sender),
        chunks: None,
        is_cut: Arc::default(),
        patience,
        held: Arc::new(held),
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
        Err(_) => panicked(),
    }
}

/// The answer to a request whose work panicked.
pub(super) fn panicked() -> Response {
    all_dialects(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error: see the server's log")
}

/// Answers with what `work` writes, all of it at once; it is `held` until it is sent.
///
/// # Errors
/// That of `work`, which gets [`Gone`] when it writes more than an answer at once may have.
pub(super) fn respond_at_once<E: From<Error>>(
    content_type: &'static str,
    mut held: Held,
    work: impl FnOnce(&mut Writer) -> Result<(), E>,
) -> Result<Response, E> {
    let mut writer = Writer::default();
    work(&mut writer)?;
    held.grow(writer.buffer.capacity())?;
    let text = charged(writer.buffer, &Arc::new(held));
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response())
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
        client.send(chunk)
    }

    /// Appends text that may be long.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub(super) fn write(&mut self, text: &[u8]) -> Result<(), Gone> {
        text.chunks(CHUNK_BYTES).try_for_each(|piece| {
            self.buffer.extend_from_slice(piece);
            self.checkpoint()
        })
    }

    fn finish<E: IntoResponse>(self, result: Result<(), E>) {
        let Some(mut client) = self.client else { return };
        let rest = self.buffer;
        // When a send fails, the client is gone and nobody is left to tell.
        let _ = match (client.head.take(), result) {
            (Some(head), Ok(())) => head.send(Head::Whole(charged(rest, &client.held))).map_err(|_| Gone),
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
    fn send(&mut self, text: Vec<u8>) -> Result<(), Gone> {
        if let Some(head) = self.head.take() {
            let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
            let chunks = Chunks { receiver, is_cut: Arc::clone(&self.is_cut) };
            head.send(Head::Start(chunks)).map_err(|_| Gone)?;
            self.chunks = Some(sender);
        }
        let chunks = self.chunks.as_ref().ok_or(Gone)?;
        match chunks.try_send(charged(text, &self.held)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
            Err(mpsc::error::TrySendError::Full(chunk)) => {
                self.runtime.block_on(self.patience.wait_for(chunks)).map(|room| room.send(chunk))
            }
        }
    }
}

impl Patience {
    /// Waits until the client takes a chunk.
    async fn wait_for<'a>(&self, chunks: &'a mpsc::Sender<Bytes>) -> Result<mpsc::Permit<'a, Bytes>, Gone> {
        let room = chunks.reserve();
        tokio::pin!(room);
        let since = Instant::now();
        let mut wait = self.while_others_wait.min(self.at_most);
        loop {
            if let Ok(room) = tokio::time::timeout(wait, &mut room).await {
                return room.map_err(|_| Gone);
            }
            if since.elapsed() >= self.at_most || (self.do_others_wait)() {
                return Err(Gone);
            }
            wait = LOOK_FOR_OTHERS;
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

    fn held() -> Held {
        timberline_engine::Budget::unlimited().hold()
    }

    fn patient() -> Patience {
        Patience::new(|| false)
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
        let short = respond("text/plain", held(), patient(), |writer| write_parts(writer, 1)).await;
        assert_eq!(short.body().size_hint().exact(), Some(10_000));
        let long = respond("text/plain", held(), patient(), |writer| write_parts(writer, 1_000)).await;
        assert_eq!(long.body().size_hint().exact(), None);
        assert_eq!(read(long).await.unwrap().len(), 10_000_000);
    }

    #[tokio::test]
    async fn what_is_answered_at_once_has_a_length() {
        let write = |writer: &mut Writer, parts| write_parts(writer, parts).map_err(|_| Error::Closed);
        let budget = timberline_engine::Budget::new("answer_bytes_max", 200_000);
        let response = respond_at_once("text/plain", budget.hold(), |writer| write(writer, 10)).unwrap();
        assert_eq!(response.body().size_hint().exact(), Some(100_000));
        assert!(budget.held() >= 100_000, "{}", budget.held());
        let other = respond_at_once("text/plain", budget.hold(), |writer| write(writer, 10));
        assert!(matches!(other, Err(Error::Limit { name: "answer_bytes_max", .. })));
        drop(response);
        assert_eq!(budget.held(), 0);
        assert!(respond_at_once("text/plain", held(), |writer| write(writer, usize::MAX)).is_err());
    }

    #[tokio::test]
    async fn an_error_is_the_answer_first_and_a_cut_body_later() {
        let early = respond("text/plain", held(), patient(), |_| Err(StatusCode::NOT_FOUND)).await;
        assert_eq!(early.status(), StatusCode::NOT_FOUND);
        let late = respond("text/plain", held(), patient(), |writer| {
            write_parts(writer, 100)?;
            Err(StatusCode::NOT_FOUND)
        });
        let late = late.await;
        assert_eq!(late.status(), StatusCode::OK);
        assert!(read(late).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_ends_the_work_and_its_answer_is_cut() {
        let after_all = || Patience { at_most: Duration::ZERO, ..Patience::new(|| false) };
        let for_others = || Patience { while_others_wait: Duration::ZERO, ..Patience::new(|| true) };
        for patience in [after_all(), for_others()] {
            let (sender, receiver) = oneshot::channel();
            let stalled = respond("text/plain", held(), patience, move |writer| {
                let result = write_parts(writer, usize::MAX);
                sender.send(()).ok();
                result
            });
            let stalled = stalled.await;
            receiver.await.unwrap();
            assert!(read(stalled).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_work() {
        let (sender, receiver) = oneshot::channel();
        let response = respond("text/plain", held(), patient(), move |writer| {
            let result = write_parts(writer, usize::MAX);
            sender.send(()).ok();
            result
        });
        drop(response.await);
        receiver.await.unwrap();
    }
}
