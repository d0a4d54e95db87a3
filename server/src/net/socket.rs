//! A connection's socket as the HTTP library sees it.
//!
//! - Reading ends after a time without a request, or with a head that takes too long or too much memory.
//! - The library keeps a connection's buffer for as long as the connection lives. All of them share a bound: a connection for
//!   whose buffer there is no room ends with its answer.
//! - What the library writes while no request is being answered is its own refusal of a head, which has a status and no reason.
//!   It goes nowhere: [`connection`](super::connection) answers instead.
//! - A client may end its side after its request and still gets its answer. One that has gone looks the same until something is
//!   sent to it, so it is sent `100 Continue`, which says nothing and may come before any answer (RFC 9110, 15.2): a
//!   client that is there skips it, and the system of one that has gone refuses it. The request then ends.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use timberline_engine::{Error, Held};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Shared;
use super::progress::{Phase, Progress};

/// Asks a client whether it is still there.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The library's buffer has this size at least, and when it reads more at a time, up to twice that.
const BUFFER_BYTES_MIN: usize = 16 << 10;
/// It is asked this often at least,
const ASK_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// and the time between is doubled so often at most.
const DOUBLINGS_MAX: u32 = 10;

/// Why reading a head ended before its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// It took too long.
    Slow,
    /// All heads together take too much memory.
    Memory(Error),
}

/// See the module.
pub(super) struct Socket {
    stream: TcpStream,
    shared: Arc<Shared>,
    progress: Arc<Progress>,
    /// What was read for the present request before its head was complete.
    head: Held,
    /// Room that the library's buffer has beyond what each connection has.
    buffer: Held,
    reading: Timer,
    writing: Timer,
    stalled_since: Option<Instant>,
    /// Whether something of the present answer was sent.
    has_sent: bool,
    is_half_closed: bool,
    /// When to ask a client next whether it is still there, and how often that was done.
    ask_at: Option<(Instant, u32)>,
    failure: Option<Failure>,
    /// Whether a refusal comes, for which the socket stays open.
    is_refusing: bool,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            head: shared.header_budget.hold(),
            buffer: shared.buffer_budget.hold(),
            shared,
            progress,
            reading: Timer::default(),
            writing: Timer::default(),
            stalled_since: None,
            has_sent: false,
            is_half_closed: false,
            ask_at: None,
            failure: None,
            is_refusing: false,
        }
    }

    /// The socket itself, and why reading a head ended.
    pub(super) fn into_parts(self) -> (TcpStream, Option<Failure>) {
        (self.stream, self.failure)
    }

    fn phase(&self) -> Phase {
        self.progress.moment().phase()
    }

    fn fail(&mut self, failure: Failure, kind: io::ErrorKind) -> io::Error {
        (self.failure, self.is_refusing) = (Some(failure), true);
        kind.into()
    }

    /// Bytes have come, or the client has ended its side.
    fn take(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.grow((2 * bytes).saturating_sub(BUFFER_BYTES_MIN)).is_err() {
            self.progress.set_last();
        }
        let phase = self.phase();
        if bytes == 0 || phase == Phase::Answering {
            return Ok(());
        }
        if let Err(error) = self.head.add(bytes) {
            return Err(self.fail(Failure::Memory(error), io::ErrorKind::OutOfMemory));
        }
        if phase == Phase::Head || self.progress.begin(Phase::Head) {
            Ok(())
        } else {
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }

    /// Nothing has come: how long may that be?
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limits = &self.shared.limits;
        let phase = self.phase();
        let time_max = match phase {
            Phase::New | Phase::Head => limits.head_time_max,
            Phase::Idle => limits.idle_time_max,
            // How long a body may take is not the socket's to know.
            Phase::Answering | Phase::Closed => return Poll::Pending,
        };
        if !self.reading.has_passed(context, self.progress.since() + time_max) {
            return Poll::Pending;
        }
        if phase == Phase::Head {
            return Poll::Ready(Err(self.fail(Failure::Slow, io::ErrorKind::TimedOut)));
        }
        Poll::Ready(Ok(()))
    }

    /// What became of an attempt to write.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.has_sent = true;
        if result.is_ready() {
            self.stalled_since = None;
            return result;
        }
        let since = *self.stalled_since.get_or_insert_with(Instant::now);
        if self.writing.has_passed(context, since + self.shared.limits.stall_time_max) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    /// Looks whether the client is still there while its request is being answered.
    fn watch(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.is_half_closed {
            let mut byte = [0];
            match self.stream.poll_peek(context, &mut ReadBuf::new(&mut byte)) {
                Poll::Ready(Ok(0)) => self.is_half_closed = true,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(_)) | Poll::Pending => return Ok(()),
            }
        }
        if self.has_sent || !self.progress.takes_interim() {
            return Ok(());
        }
        let interval = self.shared.limits.ask_interval;
        let (mut ask_at, mut asked) = *self.ask_at.get_or_insert_with(|| (Instant::now() + interval, 0));
        while self.reading.has_passed(context, ask_at) {
            match Pin::new(&mut self.stream).poll_write(context, INTERIM) {
                Poll::Ready(Ok(written)) if written == INTERIM.len() => {}
                Poll::Ready(Err(error)) => return Err(error),
                // There is room for so little, unless the client takes nothing at all.
                Poll::Ready(Ok(_)) | Poll::Pending => return Err(io::ErrorKind::WriteZero.into()),
            }
            // The system of a client that has gone has refused the first by the second.
            ask_at = Instant::now() + (interval * (1 << asked.min(DOUBLINGS_MAX))).min(ASK_INTERVAL_MAX);
            asked += 1;
            self.ask_at = Some((ask_at, asked));
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.shared.is_stopping() && matches!(this.phase(), Phase::New | Phase::Idle) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(this.take(buffer.filled().len() - before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.wait(context),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.phase() != Phase::Answering {
            this.is_refusing = true;
            return Poll::Ready(Ok(buffer.len()));
        }
        let result = Pin::new(&mut this.stream).poll_write(context, buffer);
        this.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.phase() != Phase::Answering {
            this.is_refusing = true;
            return Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()));
        }
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, buffers);
        this.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// All that was written is with the system.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        if this.phase() != Phase::Answering {
            return Poll::Ready(Ok(()));
        }
        if !this.progress.is_answered() {
            return Poll::Ready(this.watch(context));
        }
        this.head.shrink(0);
        (this.has_sent, this.ask_at) = (false, None);
        // That the listener closes a connection whose request is being answered does not happen.
        this.progress.begin(Phase::Idle);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_refusing {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A deadline that may move: it costs little to ask whether it has passed.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether it is `deadline`. If not, the task is woken up then, or earlier.
    fn has_passed(&mut self, context: &mut Context<'_>, deadline: Instant) -> bool {
        if Instant::now() >= deadline {
            return true;
        }
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            // It was set for an earlier deadline.
            if Instant::now() >= deadline {
                return true;
            }
            sleep.as_mut().reset(deadline);
        }
        false
    }
}
