//! Request bodies: read within limits, decompressed within limits.
//!
//! A body is collected before any of it is parsed, so one that is cut off in the middle stores nothing. Three bounds
//! keep a client from taking the memory: the size of one body as sent, its size once decompressed, and
//! the bytes of all bodies held at once, as sent and as decompressed; forms count among what queries hold. What counts is what
//! has arrived: who announces much and sends nothing takes nothing. Two bounds keep it from holding what it took: a time for the
//! whole body, and a rate.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use parking_lot::Mutex;
use timberline_engine::{Budget, Error, Held};
use tokio::time::Instant;

use crate::state::AppState;

/// A smaller buffer is not kept for the next body.
const KEPT_BYTES_MIN: usize = 64 << 10;
/// Decompressed in steps of this.
const INFLATE_STEP_BYTES: usize = 64 << 10;
/// A body must bring so many bytes in each window of so long: 1 KiB a second, half of what the slowest mobile networks carry.
const RATE_WINDOW: Duration = Duration::from_secs(10);
const RATE_WINDOW_BYTES_MIN: usize = 10 << 10;
/// A body whose length was announced gets room for so many times what has arrived of it. What was announced alone counts nothing.
const ROOM_TIMES: usize = 16;
/// How much of a refused body is still read, and for how long.
const DISCARD_BYTES_MAX: usize = 64 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);
/// The largest form, as sent and as decompressed: as in Go's `http.Request.ParseForm`.
pub(super) const FORM_BYTES_MAX: usize = 10 << 20;

/// Why a body was refused.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// 413.
    #[error("the body is larger than body-bytes-max = {limit} bytes: send smaller batches")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// 413.
    #[error("the form is larger than {limit} bytes, as sent or as decompressed")]
    FormTooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// 413.
    #[error(
        "a line of the body takes up to {got} bytes once it is parsed, more than write-bytes-max = {limit}: send shorter lines"
    )]
    LineTooLarge {
        /// The limit, bytes.
        limit: usize,
        /// What the whole body and the parsed line take.
        got: usize,
    },
    /// 400.
    #[error("the form cannot be read: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// 415.
    #[error("Content-Encoding {encoding:?} is not supported: send {supported}")]
    Encoding {
        /// What the client sent.
        encoding: String,
        /// What this endpoint takes.
        supported: &'static str,
    },
    /// 400: nothing of it is stored.
    #[error("the body cannot be read to its end, nothing of it was stored: {reason}")]
    Cut {
        /// What the connection or the decompression said.
        reason: String,
    },
    /// 408.
    #[error("the body did not arrive within body-timeout = {limit:?}")]
    Slow {
        /// The limit.
        limit: Duration,
    },
    /// 408.
    #[error(
        "the body came slower than {RATE_WINDOW_BYTES_MIN} bytes in {RATE_WINDOW:?}: send smaller bodies, or compressed ones"
    )]
    Trickle,
    /// 503.
    #[error("too many requests are waiting, try again: {0}")]
    Busy(#[from] Error),
}

impl BodyError {
    /// The status code to answer with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } | Self::FormTooLarge { .. } | Self::LineTooLarge { .. } => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Cut { .. } | Self::Form { .. } => StatusCode::BAD_REQUEST,
            Self::Slow { .. } | Self::Trickle => StatusCode::REQUEST_TIMEOUT,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        super::observe::all_dialects(self.status(), "bad_data", &self.to_string())
    }
}

/// The encodings of line protocol and JSON bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

/// What a body is for, which says how large it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Write,
    Form,
}

impl Purpose {
    fn bytes_max(self, state: &AppState) -> usize {
        match self {
            Self::Write => state.config.body_bytes_max,
            Self::Form => FORM_BYTES_MAX,
        }
    }

    fn too_large(self, limit: usize) -> BodyError {
        match self {
            Self::Write => BodyError::TooLarge { limit },
            Self::Form => BodyError::FormTooLarge { limit },
        }
    }
}

/// A body in memory.
#[derive(Debug)]
pub struct Received {
    bytes: Buffer,
    held: Held,
    purpose: Purpose,
}

impl AsRef<[u8]> for Received {
    fn as_ref(&self) -> &[u8] {
        &self.bytes.0
    }
}

impl Received {
    /// What it holds; more may be held for what is made of it.
    pub(super) fn held(&mut self) -> (&[u8], &mut Held) {
        (&self.bytes.0, &mut self.held)
    }

    /// Holds memory for what is made of the body at a time, before it is made.
    ///
    /// # Errors
    /// [`BodyError::LineTooLarge`] when that could never be had, [`BodyError::Busy`] when it cannot be had now.
    pub(super) fn hold_parsed(&mut self, parsed_bytes: usize, limit: usize) -> Result<(), BodyError> {
        let got = self.bytes.0.capacity().saturating_add(parsed_bytes);
        if got > limit {
            return Err(BodyError::LineTooLarge { limit, got });
        }
        Ok(self.held.grow(got)?)
    }

    fn replaced_by(self, decoded: Buffer) -> Self {
        let Self { bytes: sent, mut held, purpose } = self;
        drop(sent);
        held.shrink(decoded.0.capacity());
        Self { bytes: decoded, held, purpose }
    }
}

/// Reads a body that is to be written, as it was sent, whatever its encoding.
///
/// # Errors
/// All but [`BodyError::Encoding`] and those of forms.
pub async fn receive(state: &AppState, headers: &HeaderMap, body: Body) -> Result<Received, BodyError> {
    receive_for(Purpose::Write, state.write_budget.hold(), state, headers, body).await
}

/// Reads a form as it was sent, which counts in `budget`.
///
/// # Errors
/// All but [`BodyError::Encoding`] and [`BodyError::TooLarge`].
pub async fn receive_form(
    state: &AppState,
    budget: &Arc<Budget>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, BodyError> {
    receive_for(Purpose::Form, budget.hold(), state, headers, body).await
}

async fn receive_for(
    purpose: Purpose,
    held: Held,
    state: &AppState,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Received, BodyError> {
    let timeout = state.config.body_timeout;
    let received = tokio::time::timeout(timeout, collect(purpose, held, state, headers, &mut body)).await;
    let received = received.unwrap_or(Err(BodyError::Slow { limit: timeout }));
    if let Err(BodyError::TooLarge { .. } | BodyError::FormTooLarge { .. } | BodyError::Busy(_)) = received {
        discard(&mut body).await;
    }
    received
}

async fn collect(
    purpose: Purpose,
    mut held: Held,
    state: &AppState,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Received, BodyError> {
    let limit = purpose.bytes_max(state);
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(purpose.too_large(limit));
    }
    let mut bytes = Buffer::empty(&state.buffers);
    let mut rate = Rate::new();
    while let Some(part) = rate.watch(next(body)).await? {
        let part = part.map_err(|error| BodyError::Cut { reason: error.to_string() })?;
        let total = bytes.0.len() + part.len();
        if total > limit {
            return Err(purpose.too_large(limit));
        }
        let room = total.saturating_mul(ROOM_TIMES).min(length.unwrap_or(total * 2)).max(total);
        bytes.make_room(total, room, |room| Ok(held.grow(room)?))?;
        rate.add(part.len());
        bytes.0.extend_from_slice(&part);
    }
    Ok(Received { bytes, held, purpose })
}

/// Whether a body comes fast enough.
struct Rate {
    window_end: Instant,
    window_bytes: usize,
}

impl Rate {
    fn new() -> Self {
        Self { window_end: Instant::now() + RATE_WINDOW, window_bytes: 0 }
    }

    fn add(&mut self, bytes: usize) {
        self.window_bytes += bytes;
    }

    /// Waits for the next part, unless too few have come in a window.
    async fn watch<T>(&mut self, part: impl Future<Output = T>) -> Result<T, BodyError> {
        let mut part = std::pin::pin!(part);
        loop {
            if let Ok(part) = tokio::time::timeout_at(self.window_end, &mut part).await {
                return Ok(part);
            }
            if std::mem::take(&mut self.window_bytes) < RATE_WINDOW_BYTES_MIN {
                return Err(BodyError::Trickle);
            }
            self.window_end = Instant::now() + RATE_WINDOW;
        }
    }
}

async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        let frame =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers carry nothing for us.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Reads what is left of a body that was refused and throws it away, within limits. Without it the connection is closed
/// under a client that is still sending, which then may not see the answer.
pub async fn discard(body: &mut Body) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(part)) = next(body).await {
            discarded += part.len();
            if discarded > DISCARD_BYTES_MAX {
                return;
            }
        }
    };
    // Whether it ended or time ran out, the answer goes out now.
    let _ = tokio::time::timeout(DISCARD_TIME_MAX, reading).await;
}

/// What a plain or gzip body holds once decompressed. Takes CPU time: call it on a blocking thread.
///
/// # Errors
/// All but [`BodyError::Slow`].
pub fn decode(state: &AppState, headers: &HeaderMap, mut received: Received) -> Result<Received, BodyError> {
    if encoding(headers)? == Encoding::Identity {
        return Ok(received);
    }
    let mut decoded = Buffer::empty(&state.buffers);
    let Received { bytes: sent, held, purpose } = &mut received;
    let limit = purpose.bytes_max(state);
    let hold = |room| Ok(held.grow(sent.0.capacity() + room)?);
    if !inflate(&sent.0, &mut decoded, limit, hold)? {
        return Err(purpose.too_large(limit));
    }
    Ok(received.replaced_by(decoded))
}

/// What `decompress` makes of a body: `bytes` bytes. Takes CPU time: call it on a blocking thread.
///
/// # Errors
/// Those of `decompress`, and [`BodyError::Busy`] before it is called.
pub fn decode_with<E: From<BodyError>>(
    state: &AppState,
    mut received: Received,
    bytes: usize,
    decompress: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(), E>,
) -> Result<Received, E> {
    let Received { bytes: sent, held, .. } = &mut received;
    let mut decoded = Buffer::empty(&state.buffers);
    decoded.make_room(bytes, bytes, |room| Ok(held.grow(sent.0.capacity() + room)?))?;
    decompress(&sent.0, &mut decoded.0)?;
    Ok(received.replaced_by(decoded))
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, BodyError> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Encoding::Identity) };
    let text = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
    match text.as_str() {
        "" | "identity" => Ok(Encoding::Identity),
        "gzip" | "x-gzip" => Ok(Encoding::Gzip),
        _ => Err(BodyError::Encoding { encoding: text, supported: "gzip or identity" }),
    }
}

/// Decompresses into `buffer`, which is empty, unless that gives more than `limit` bytes: tells whether it did. `hold` is told
/// what the buffer will have room for before it grows.
fn inflate(
    compressed: &[u8],
    buffer: &mut Buffer,
    limit: usize,
    mut hold: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<bool, BodyError> {
    let mut decoder = MultiGzDecoder::new(compressed);
    loop {
        let filled = buffer.0.len();
        let step = INFLATE_STEP_BYTES.min(limit + 1 - filled);
        let room = (2 * filled).min(limit + 1);
        buffer.make_room(filled + step, room, &mut hold)?;
        let out = &mut buffer.0;
        out.resize(filled + step, 0);
        let read = decoder.read(&mut out[filled..]);
        let read = read.map_err(|error| BodyError::Cut {
            reason: format!("it is not, or not all of it, gzip as its Content-Encoding says: {error}"),
        })?;
        out.truncate(filled + read);
        if out.len() > limit {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Buffers that requests take and give back, so that large bodies do not fault in fresh pages each time.
#[derive(Debug)]
pub struct Buffers {
    idle: Mutex<Idle>,
    idle_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Idle {
    buffers: Vec<Vec<u8>>,
    /// What they have room for.
    bytes: usize,
}

impl Buffers {
    /// Keeps buffers that have room for up to `idle_bytes_max` bytes in all.
    #[must_use]
    pub fn new(idle_bytes_max: usize) -> Self {
        Self { idle: Mutex::default(), idle_bytes_max }
    }

    /// A kept buffer with room for so many bytes, and not for many more.
    fn take(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut idle = self.idle.lock();
        let fits = |buffer: &Vec<u8>| (bytes..=bytes.saturating_mul(2)).contains(&buffer.capacity());
        let at = idle.buffers.iter().position(fits)?;
        let buffer = idle.buffers.swap_remove(at);
        idle.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn keep(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut idle = self.idle.lock();
        if buffer.capacity() >= KEPT_BYTES_MIN && buffer.capacity() <= self.idle_bytes_max - idle.bytes {
            idle.bytes += buffer.capacity();
            idle.buffers.push(buffer);
        }
    }
}

/// A buffer that comes from the kept ones and goes back to them.
#[derive(Debug)]
struct Buffer(Vec<u8>, Arc<Buffers>);

impl Buffer {
    /// Without room for anything.
    fn empty(buffers: &Arc<Buffers>) -> Self {
        Self(Vec::new(), Arc::clone(buffers))
    }

    /// Makes room for `bytes` bytes in all, or for `room` if that is more. `hold` is told how much it will be before it is taken.
    fn make_room(
        &mut self,
        bytes: usize,
        room: usize,
        hold: impl FnOnce(usize) -> Result<(), BodyError>,
    ) -> Result<(), BodyError> {
        if bytes <= self.0.capacity() {
            return Ok(());
        }
        let room = room.max(bytes);
        let mut larger = self.1.take(room).unwrap_or_default();
        hold(room.max(larger.capacity()))?;
        larger.reserve_exact(room);
        larger.extend_from_slice(&self.0);
        self.1.keep(std::mem::replace(&mut self.0, larger));
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.1.keep(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn buffer() -> Buffer {
        Buffer::empty(&Arc::new(Buffers::new(0)))
    }

    #[test]
    fn buffers_are_given_to_what_fills_them_and_count_as_what_they_have_room_for() {
        let buffers = Arc::new(Buffers::new(3 << 20));
        let room_of = |bytes: usize, room: usize| {
            let (mut buffer, mut held) = (Buffer::empty(&buffers), 0);
            buffer
                .make_room(bytes, room, |room| {
                    held = room;
                    Ok(())
                })
                .unwrap();
            assert!(buffer.0.capacity() <= held && held >= bytes.max(room));
            (buffer, held)
        };
        let kept = |expected: usize| assert_eq!(buffers.idle.lock().bytes, expected);
        drop((room_of(1 << 20, 0), room_of(2 << 20, 0), room_of(1 << 20, 0)));
        kept(3 << 20);
        let (small, held) = room_of(1, 100_000);
        assert_eq!(held, 100_000, "a large one is not taken for little");
        drop(small);
        kept(3 << 20);
        let (one, held) = room_of(600_000, 0);
        assert_eq!(held, 1 << 20);
        kept(2 << 20);
        let refused = Buffer::empty(&buffers).make_room(2 << 20, 0, |_| Err(BodyError::Trickle));
        assert!(refused.is_err());
        drop(one);
    }

    #[test]
    fn inflates_up_to_the_limit_and_no_further() {
        let text = b"x".repeat(200_000);
        let compressed = gzip(&text);
        let mut out = buffer();
        assert!(inflate(&compressed, &mut out, text.len(), |_| Ok(())).unwrap());
        assert_eq!(out.0, text);
        let mut out = buffer();
        assert!(!inflate(&compressed, &mut out, text.len() - 1, |_| Ok(())).unwrap());
        assert!(out.0.len() <= text.len(), "stops right behind the limit");
    }

    #[test]
    fn inflates_all_members_and_notices_a_cut() {
        let two = [gzip(b"a 1\n"), gzip(b"b 2\n")].concat();
        let mut out = buffer();
        assert!(inflate(&two, &mut out, 100, |_| Ok(())).unwrap());
        assert_eq!(out.0, b"a 1\nb 2\n");
        for cut in 1..two.len() {
            let result = inflate(&two[..cut], &mut buffer(), 100, |_| Ok(()));
            let whole_first_member = cut == two.len() / 2;
            assert_eq!(result.is_ok(), whole_first_member, "cut at {cut}");
        }
    }

    #[test]
    fn inflates_no_further_than_it_may_hold() {
        let compressed = gzip(&b"x".repeat(1 << 20));
        let budget = timberline_engine::Budget::new("write_bytes_max", 200_000);
        let mut held = budget.hold();
        let mut out = buffer();
        let error = inflate(&compressed, &mut out, 2 << 20, |bytes| Ok(held.grow(bytes)?)).unwrap_err();
        assert!(matches!(error, BodyError::Busy(Error::Limit { limit: 200_000, .. })));
        assert!(out.0.len() <= 200_000, "{}", out.0.len());
    }

    /// A body that brings so many bytes every so often, and never ends.
    struct Drip(std::pin::Pin<Box<tokio::time::Sleep>>, Duration, usize);

    impl Drip {
        fn body(bytes: usize, every: Duration) -> Body {
            Body::new(Self(Box::pin(tokio::time::sleep(every)), every, bytes))
        }
    }

    impl HttpBody for Drip {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            let Self(sleep, every, bytes) = &mut *self;
            std::task::ready!(sleep.as_mut().poll(context));
            sleep.as_mut().reset(Instant::now() + *every);
            std::task::Poll::Ready(Some(Ok(http_body::Frame::data(vec![b'x'; *bytes].into()))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_below_the_rate_is_cut_and_one_above_it_has_until_the_timeout() {
        let config = crate::config::Config { body_timeout: Duration::from_secs(60), ..Default::default() };
        let state = AppState::new(config, true).unwrap();
        let started = Instant::now();
        let second = Duration::from_secs(1);
        let error = receive(&state, &HeaderMap::new(), Drip::body(1_000, second)).await.unwrap_err();
        assert!(matches!(error, BodyError::Trickle), "{error}");
        assert_eq!((error.status(), started.elapsed()), (StatusCode::REQUEST_TIMEOUT, RATE_WINDOW));
        let started = Instant::now();
        let silent = receive(&state, &HeaderMap::new(), Drip::body(1, second * 3600)).await.unwrap_err();
        assert!(matches!(silent, BodyError::Trickle) && started.elapsed() == RATE_WINDOW, "{silent}");
        let started = Instant::now();
        let error = receive(&state, &HeaderMap::new(), Drip::body(1_200, second)).await.unwrap_err();
        assert!(matches!(error, BodyError::Slow { .. }), "{error}");
        assert_eq!(started.elapsed(), Duration::from_secs(60));
        assert_eq!(state.write_budget.held(), 0);
    }

    #[tokio::test]
    async fn what_is_announced_is_not_held_until_it_comes() {
        let state = AppState::new(crate::config::Config::default(), true).unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, (64 << 20).into())]);
        let body = Drip::body(1, Duration::from_secs(3600));
        let mut receiving = std::pin::pin!(receive(&state, &headers, body));
        assert!(
            std::future::poll_fn(|context| std::task::Poll::Ready(
                receiving.as_mut().poll(context).is_pending()
            ))
            .await
        );
        assert_eq!(state.write_budget.held(), 0);
    }
}
