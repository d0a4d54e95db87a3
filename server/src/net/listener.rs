//! Accepts connections, up to a bound.
//!
//! When there are too many, those that do nothing make room: at first those that never sent a request, then those that are idle between
//! two requests, each the longest first. A client that keeps a connection and uses it is not locked out by others that
//! only hold theirs. When every connection has a request that is being answered, a new one gets 503 with a reason and
//! `Retry-After`: left in the system's queue, it could not be told from a server that hangs.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::Instant;

use super::connection::{self, Refusal};
use super::progress::{Moment, Phase, Progress};
use super::{Limits, Shared};
use crate::metrics;
use crate::state::SharedState;

/// Connections that are being refused at a time, as a part of those there may be, and at most; beyond that they are closed without
/// a word.
const REFUSING_SHARE: usize = 8;
const REFUSING_MAX: usize = 64;
/// When places are needed, one of so many connections is looked for at once, because to look takes time in all of them.
const VICTIMS_SHARE: usize = 64;
/// How long nothing is looked for after nothing was found.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long nothing is accepted after that has failed, unless a connection ends.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log says that nothing can be accepted.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Serves connections until `stop` is ready, then ends those that are idle and waits for the requests of the others. Dropping
/// the future ends them all.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    state: SharedState,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let mut connections = Connections::new(Arc::new(Shared::new(router, state, limits)));
    let mut stop = std::pin::pin!(stop);
    loop {
        let paused_until = connections.paused_until;
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.tasks.join_next_with_id() => {
                connections.forget(ended.map_or_else(|error| error.id(), |(id, ())| id));
            }
            Some(_) = connections.refusing.join_next() => {}
            accepted = listener.accept(), if connections.may_accept() => connections.accepted(accepted),
            () = tokio::time::sleep_until(paused_until.unwrap_or(connections.shared.epoch)), if paused_until.is_some() => {
                connections.paused_until = None;
            }
        }
    }
    drop(listener);
    connections.drain().await;
}

/// A connection as the listener knows it.
struct Entry {
    progress: Arc<Progress>,
    task: AbortHandle,
}

/// All connections.
struct Connections {
    shared: Arc<Shared>,
    open: HashMap<Id, Entry>,
    tasks: JoinSet<()>,
    refusing: JoinSet<()>,
    /// Those that may make room next, as they were seen.
    victims: VecDeque<(Id, Moment)>,
    look_after: Instant,
    paused_until: Option<Instant>,
    /// Whether the last attempt to accept has failed.
    is_failing: bool,
    warn_after: Instant,
}

impl Connections {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            open: HashMap::new(),
            tasks: JoinSet::new(),
            refusing: JoinSet::new(),
            victims: VecDeque::new(),
            look_after: shared.epoch,
            paused_until: None,
            is_failing: false,
            warn_after: shared.epoch,
            shared,
        }
    }

    fn counters(&self) -> &metrics::Connections {
        &self.shared.state.metrics.connections
    }

    /// Whether there is a descriptor for one more. A connection that made room has its own until its task has ended.
    fn may_accept(&self) -> bool {
        self.paused_until.is_none() && self.tasks.len() <= self.shared.limits.connections_max
    }

    fn accepted(&mut self, accepted: io::Result<(TcpStream, std::net::SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("connections are accepted again");
                }
                self.admit(stream);
            }
            // The client was faster.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => self.pause(&error),
        }
    }

    /// Most likely there are no descriptors: to try again at once would only take time from those who could give some back.
    fn pause(&mut self, error: &io::Error) {
        let now = Instant::now();
        self.counters().accept_failures.add(1);
        self.paused_until = Some(now + PAUSE);
        if !self.is_failing && now >= self.warn_after {
            tracing::warn!(%error, open = self.open.len(), "cannot accept connections, trying on");
            self.warn_after = now + WARN_INTERVAL;
            self.is_failing = true;
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        if self.open.len() >= self.shared.limits.connections_max && !self.make_room() {
            return self.refuse(stream);
        }
        let progress = Arc::new(Progress::new(self.shared.epoch));
        let serving = connection::serve(stream, Arc::clone(&self.shared), Arc::clone(&progress));
        let task = self.tasks.spawn(serving);
        self.open.insert(task.id(), Entry { progress, task });
        self.counters().accepted.add(1);
        self.counters().set_open(self.open.len());
    }

    fn forget(&mut self, id: Id) {
        self.open.remove(&id);
        self.counters().set_open(self.open.len());
        self.paused_until = None;
    }

    /// Closes a connection that does nothing, if there is one.
    fn make_room(&mut self) -> bool {
        loop {
            if self.victims.is_empty() {
                self.look_for_victims();
            }
            let Some((id, seen)) = self.victims.pop_front() else { return false };
            if let Some(entry) = self.open.get(&id)
                && entry.progress.close(seen)
            {
                entry.task.abort();
                self.forget(id);
                self.counters().displaced.add(1);
                return true;
            }
        }
    }

    fn look_for_victims(&mut self) {
        let now = Instant::now();
        if now < self.look_after {
            return;
        }
        let is_idle = |moment: Moment| match moment.phase() {
            Phase::New | Phase::Head => Some(false),
            Phase::Idle => Some(true),
            Phase::Answering | Phase::Closed => None,
        };
        let mut found: Vec<_> = self
            .open
            .iter()
            .filter_map(|(id, entry)| {
                let moment = entry.progress.moment();
                Some(((is_idle(moment)?, moment.since_ms()), *id, moment))
            })
            .collect();
        if found.is_empty() {
            self.look_after = now + LOOK_INTERVAL;
        }
        found.sort_unstable_by_key(|(rank, ..)| *rank);
        let wanted = self.open.len().div_ceil(VICTIMS_SHARE);
        self.victims.extend(found.into_iter().take(wanted).map(|(_, id, moment)| (id, moment)));
    }

    fn refuse(&mut self, stream: TcpStream) {
        self.counters().refused.add(1);
        let refusing_max = (self.shared.limits.connections_max / REFUSING_SHARE).clamp(1, REFUSING_MAX);
        if self.refusing.len() < refusing_max {
            let shared = Arc::clone(&self.shared);
            self.refusing.spawn(async move {
                let refusal = Refusal::full(shared.limits.connections_max);
                connection::refuse(stream, &shared, refusal).await;
            });
        }
    }

    /// Ends what is idle and waits for the rest, whose last answers say that they are.
    async fn drain(mut self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        for entry in self.open.values() {
            let seen = entry.progress.moment();
            if matches!(seen.phase(), Phase::New | Phase::Idle) && entry.progress.close(seen) {
                entry.task.abort();
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }
}
