//! The server's life: listen, open the database, serve, stop.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timberline_engine::Db;
use timberline_engine::directory::RealDirectory;
use timberline_query::QueryError;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::http;
use crate::net::{self, Limits};
use crate::state::{AppState, SharedState};

/// How often the log tells what was refused since.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(60);
/// How long requests may go on after the server was asked to stop.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not free, or not ours.
    #[error("cannot listen on {address}: {source}{}", listen_advice(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("cannot open the database in {}: {source}", directory.display())]
    Open {
        /// The data directory.
        directory: PathBuf,
        /// The engine's reason.
        source: timberline_engine::Error,
    },
    /// The database could not be closed; what was answered is in its log.
    #[error("cannot close the database: {0}")]
    Close(timberline_engine::Error),
    /// Threads for queries could not be started.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A thread of the server panicked.
    #[error("a thread of the server ended unexpectedly")]
    Panicked,
}

/// A server that has its address and nothing else yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: SharedState,
    limits: Limits,
}

/// What to do about an address that cannot be listened on.
fn listen_advice(source: &std::io::Error) -> &'static str {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another process, maybe another Timberline, has it: stop that one, or choose another address with --listen"
        }
        std::io::ErrorKind::AddrNotAvailable => "; choose an address of this machine with --listen",
        std::io::ErrorKind::PermissionDenied => "; choose a port from 1024 on with --listen",
        _ => "",
    }
}

impl Server {
    /// Takes the configured address. Connections wait until [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Listen`] and [`Error::Query`].
    pub async fn bind(config: Config) -> Result<Self, Error> {
        let address = config.listen;
        let refused = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let limits = Limits::new(connections_max(config.connections_max), config.memory_bytes_max);
        let state = Arc::new(AppState::new(config, address.ip().is_loopback())?);
        Ok(Self { listener, address, state, limits })
    }

    /// The address, with the port that was taken when port 0 was configured.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What requests share; the database in it is there once it is open.
    #[must_use]
    pub fn state(&self) -> &SharedState {
        &self.state
    }

    /// What connections may take.
    pub fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Serves until `shutdown` is ready, then finishes the requests that run (for 2 seconds at most) and closes the
    /// database. While the database is being opened, requests that need it get 503.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Close`], [`Error::Panicked`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { listener, address, state, limits } = self;
        tracing::info!(%address, data_dir = %state.config.data_dir.display(), "listening, opening the database");
        tracing::info!("{}", state.config.memory_line());
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "whoever reaches this address can write and read: there is no authentication yet");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            // An error means that `stop` was dropped: stop as well.
            let _ = stopped.await;
        };
        let router = http::router(SharedState::clone(&state));
        let serving = net::serve(listener, router, SharedState::clone(&state), limits, stopped);
        let mut serving = tokio::spawn(serving);

        let telling = tokio::spawn(tell_refusals(SharedState::clone(&state)));

        let result = match open(&state).await {
            Ok(db) => {
                shutdown.await;
                tracing::info!("stopping: finishing requests, closing the database");
                Ok(db)
            }
            Err(error) => Err(error),
        };
        drop(stop);
        if tokio::time::timeout(DRAIN_TIME_MAX, &mut serving).await.is_err() {
            tracing::warn!("some requests did not finish within {DRAIN_TIME_MAX:?}");
            serving.abort();
        }
        telling.abort();
        state.metrics.refusals.tell();
        close(result?).await
    }
}

async fn tell_refusals(state: SharedState) {
    loop {
        tokio::time::sleep(REFUSALS_INTERVAL).await;
        state.metrics.refusals.tell();
    }
}

/// How many connections there may be when `wanted` are, so that the engine keeps its share of file descriptors.
fn connections_max(wanted: usize) -> usize {
    let limit = net::raise_descriptor_limit();
    let connections_max = net::connections_within(wanted, limit);
    if let Some(limit) = limit
        && connections_max < wanted
    {
        tracing::warn!(
            connections_max,
            wanted,
            file_descriptors = limit,
            "fewer connections than connections-max: the engine needs the other file descriptors (ulimit -n)"
        );
    }
    connections_max
}

/// Opens the database on a thread of its own and hands it to the requests. It cannot be interrupted: a replay that was
/// begun is finished.
async fn open(state: &SharedState) -> Result<Arc<Db>, Error> {
    let directory = state.config.data_dir.clone();
    let options = state.config.engine_options();
    let started = Instant::now();
    let opened = tokio::task::spawn_blocking({
        let directory = directory.clone();
        let progress = Arc::clone(&state.replay);
        move || {
            let opened = RealDirectory::open(&directory);
            let real = opened.map_err(|source| timberline_engine::Error::io("open", &directory, source))?;
            Db::open_observed(Arc::new(real), options, &progress)
        }
    });
    let db = opened.await.map_err(|_| Error::Panicked)?;
    let db = Arc::new(db.map_err(|source| Error::Open { directory, source })?);
    state.set_db(Arc::clone(&db));
    let replay = state.replay.state();
    tracing::info!(
        seconds = started.elapsed().as_secs_f64(),
        replayed_segments = replay.segments,
        replayed_bytes = replay.bytes,
        replayed_samples = replay.samples,
        replay_seconds = replay.took.as_secs_f64(),
        "ready"
    );
    Ok(db)
}

async fn close(db: Arc<Db>) -> Result<(), Error> {
    let closed = tokio::task::spawn_blocking(move || db.close()).await;
    closed.map_err(|_| Error::Panicked)?.map_err(Error::Close)?;
    tracing::info!("the database is closed");
    Ok(())
}
