//! `timberline demo`: a collector that measures this machine and writes to the server as any other client would,
//! over HTTP, and a status line that says what the server has.

mod collector;
mod status;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::server::Server;
use crate::state::SharedState;

/// Time between two readings of the machine.
const INTERVAL: Duration = Duration::from_secs(1);

/// The demo's threads.
#[derive(Debug)]
pub struct Demo {
    stop: Mutex<Vec<Sender<()>>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the collector and the status line for a server that is about to run.
///
/// # Errors
/// When the operating system refuses a thread.
pub fn start(server: &Server) -> std::io::Result<Demo> {
    let url = format!("http://{}", reachable(server.address()));
    let state = SharedState::clone(server.state());
    status::print_introduction(&url, &state.config.data_dir);
    let (stop_collector, collector) = mpsc::channel();
    let (stop_status, status) = mpsc::channel();
    let threads = vec![
        thread::Builder::new()
            .name("demo-collector".to_owned())
            .spawn(move || collector::run(&url, &collector))?,
        thread::Builder::new().name("demo-status".to_owned()).spawn(move || status::run(&state, &status))?,
    ];
    Ok(Demo { stop: Mutex::new(vec![stop_collector, stop_status]), threads })
}

impl Demo {
    /// Asks the threads to end.
    pub fn stop(&self) {
        // Each waits on its channel and ends when the other end is gone.
        self.stop.lock().clear();
    }

    /// Waits until they have ended.
    pub fn join(self) {
        self.stop();
        for thread in self.threads {
            // A panic was told on stderr already.
            let _ = thread.join();
        }
    }
}

/// Where a client on this machine reaches a listener: one on all addresses is on loopback too.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// Waits until `deadline`; `false` when asked to stop.
fn wait_until(deadline: Instant, stop: &Receiver<()>) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    matches!(stop.recv_timeout(left), Err(RecvTimeoutError::Timeout))
}
