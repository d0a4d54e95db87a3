//! `timberline serve` and `timberline demo`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Error;
use crate::config::{Config, SettingFlags};
use crate::demo;
use crate::server::Server;

/// Time that threads get to end after everything is closed.
const RUNTIME_SHUTDOWN_TIME_MAX: Duration = Duration::from_millis(200);
/// A signal that comes within this time of the first one is the same request: some tools signal a process and its
/// group.
const SECOND_REQUEST_AFTER: Duration = Duration::from_secs(1);
/// Exit code of a process that a second Ctrl-C ended.
const EXIT_CODE_INTERRUPTED: i32 = 130;

pub(super) fn serve(flags: &SettingFlags) -> Result<(), Error> {
    let config = load(Config::default(), flags)?;
    block_on(async {
        let shutdown = shutdown_signal()?;
        Ok(Server::bind(config).await?.run(shutdown).await?)
    })
}

pub(super) fn demo(flags: &SettingFlags) -> Result<(), Error> {
    let config = load(Config { log: "warn".to_owned(), ..Config::default() }, flags)?;
    block_on(async {
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
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(config)
}

fn block_on(run: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime: Runtime = Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run);
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIME_MAX);
    result
}

/// Ready once the process is asked to end, by Ctrl-C or SIGTERM. Asked a second time, the process ends at once: what was
/// answered is in the log.
fn shutdown_signal() -> Result<impl Future<Output = ()> + Send, Error> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let first = Instant::now();
        tokio::spawn(async move {
            while first.elapsed() < SECOND_REQUEST_AFTER {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            std::process::exit(EXIT_CODE_INTERRUPTED);
        });
    })
}
