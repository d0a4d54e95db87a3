//! `timberline serve` and `timberline demo`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

use super::Error;
use crate::config::{self, Config, SettingFlags};
use crate::demo;
use crate::server::Server;
use crate::state::blocking_threads;

/// Time that threads get to end after everything is closed.
const RUNTIME_SHUTDOWN_TIME_MAX: Duration = Duration::from_millis(200);
/// A signal that comes within this time of the first one is the same request: some tools signal a process and its
/// group.
const SECOND_REQUEST_AFTER: Duration = Duration::from_secs(1);
/// Exit code of a process that a second Ctrl-C ended.
const EXIT_CODE_INTERRUPTED: i32 = 130;

pub(super) fn serve(flags: &SettingFlags) -> Result<(), Error> {
    let config = load(Config::default(), flags)?;
    block_on(blocking_threads(&config), async {
        let shutdown = shutdown_signal()?;
        Ok(Server::bind(config).await?.run(shutdown).await?)
    })
}

pub(super) fn demo(flags: &SettingFlags) -> Result<(), Error> {
    let config = load(Config { log: "warn".to_owned(), ..Config::default() }, flags)?;
    block_on(blocking_threads(&config), async {
        let shutdown = shutdown_signal()?;
        let server = Server::bind(config).await?;
        let demo = demo::start(&server)?;
        let result = server
            .run(async {
                shutdown.await;
                demo.stop();
            })
            .await;
        demo.join();
        Ok(result?)
    })
}

fn load(defaults: Config, flags: &SettingFlags) -> Result<Config, Error> {
    let config = defaults.load(flags, |name| std::env::var(name).ok())?;
    let filter = EnvFilter::try_new(&config.log).map_err(|error| Error::message(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that cannot be written, of a full disk or a pipe without a reader, would be told to itself, by a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for sentence in config::unknown_variables(names) {
        tracing::warn!("{sentence}");
    }
    Ok(config)
}

fn block_on(blocking_threads: usize, run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime: Runtime =
        Builder::new_multi_thread().max_blocking_threads(blocking_threads).enable_all().build()?;
    let result = runtime.block_on(run);
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIME_MAX);
    result
}

/// Ready once the process is asked to end, by Ctrl-C, SIGTERM or SIGQUIT. Asked a second time, the process ends at once: what
/// was answered is in the log. Signals that ask other programs to read their settings again or to open their log anew would
/// end the process, were they not caught.
fn shutdown_signal() -> Result<impl Future<Output = ()> + Send, Error> {
    ignore("SIGHUP", SignalKind::hangup())?;
    ignore("SIGUSR1", SignalKind::user_defined1())?;
    ignore("SIGUSR2", SignalKind::user_defined2())?;
    let (asked, mut requests) = mpsc::unbounded_channel();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()] {
        let (mut signals, asked) = (signal(kind)?, asked.clone());
        tokio::spawn(async move { while signals.recv().await.is_some() && asked.send(()).is_ok() {} });
    }
    Ok(async move {
        requests.recv().await;
        let first = Instant::now();
        tokio::spawn(async move {
            while first.elapsed() < SECOND_REQUEST_AFTER {
                requests.recv().await;
            }
            std::process::exit(EXIT_CODE_INTERRUPTED);
        });
    })
}

/// Says in the log that a signal does nothing.
fn ignore(name: &'static str, kind: SignalKind) -> Result<(), Error> {
    let mut signals = signal(kind)?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            tracing::warn!(
                signal = name,
                "ignored: settings are read at the start, and the log goes to stderr"
            );
        }
    });
    Ok(())
}
