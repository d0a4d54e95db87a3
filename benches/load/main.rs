//! The whole-server load generator: starts a server in a process of its own, sends it TSBS's cpu-only data over HTTP as
//! fast as it takes it, and prints what the server spent.
//!
//! ```text
//! cargo bench -p timberline-workspace --bench load            4,000 hosts × 10 fields × 1 h at 10 s
//! cargo bench -p timberline-workspace --bench load -- --hosts 100 --hours 12
//! cargo bench -p timberline-workspace --bench load -- --replay --hours 2    and kill -9, restart: 28.8 million samples to replay
//! cargo bench -p timberline-workspace --bench load -- --queries    and ask queries afterwards
//! cargo bench -p timberline-workspace --bench load -- --contention    and ask short queries while full scans run
//! cargo bench -p timberline-workspace --bench load -- --attacks    and what attacks of a few kilobytes do to other clients
//! cargo bench -p timberline-workspace --bench load -- \
//!     --server 'victoria-metrics -storageDataPath={dir} -httpListenAddr=127.0.0.1:{port}'
//! ```
//! All requests are made before the first is sent (25 bytes of memory a point), so that the server has the processor
//! nearly for itself. CPU seconds are the server process's own. Compare servers in one sitting.

mod attacks;
mod client;
mod contention;
mod cpu_only;
mod process;
mod queries;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::client::{Connection, free_port};
use crate::cpu_only::{FIELDS, Generator};
use crate::process::ServerProcess;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Loads a server with TSBS cpu-only data and prints what it spent.
#[derive(Debug, Parser)]
struct Arguments {
    /// Hosts; each has 10 series.
    #[arg(long, default_value_t = 4000)]
    hosts: usize,
    /// Hours of data.
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Seconds between two samples of a series.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// The share of lines, 0 to 1, whose time is an hour before the others'.
    #[arg(long, default_value_t = 0.0)]
    late: f64,
    /// Connections.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Bytes of a request's body.
    #[arg(long, default_value_t = 1 << 20)]
    body_bytes: usize,
    /// Kills the server once it has everything, starts it again, and prints how long its log took to replay.
    #[arg(long)]
    replay: bool,
    /// Asks queries once everything is there, and prints what each takes.
    #[arg(long)]
    queries: bool,
    /// Measures short queries while full scans run, and how soon a query ends whose client hangs up.
    #[arg(long)]
    contention: bool,
    /// Sends requests that are meant to do harm, and measures what they do to other clients.
    #[arg(long)]
    attacks: bool,
    /// The server's command, with {dir} and {port}; this repository's server when it is missing.
    #[arg(long)]
    server: Option<String>,
    /// What `cargo bench` passes on.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // The server under test is this same program, so that both are built the same way.
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return timberline::cli::run();
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn run(arguments: &Arguments) -> Outcome<()> {
    let rows_each = (arguments.hours * 3600.0) as usize / arguments.interval as usize;
    let points = arguments.hosts * FIELDS.len() * rows_each;
    let bodies = bodies(arguments, rows_each)?;
    let folder = tempfile::tempdir_in(".")?;
    let port = free_port()?;
    let mut server = ServerProcess::start(arguments.server.as_deref(), folder.path(), port)?;

    let before = server.cpu()?;
    let start = Instant::now();
    let mut latencies = send_all(&bodies, port)?;
    let wall = start.elapsed();
    let ingest = server.cpu()? - before;
    println!("{} hosts × {} fields × {rows_each} rows = {points} points", arguments.hosts, FIELDS.len());
    println!(
        "ingest:  {:.2} s wall, {:.2} million points a second; {:.2} CPU s = {:.0} ns a point",
        wall.as_secs_f64(),
        points as f64 / wall.as_secs_f64() / 1e6,
        ingest.as_secs_f64(),
        ingest.as_nanos() as f64 / points as f64
    );
    latencies.sort_unstable();
    let at = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
    println!(
        "answer:  p50 {:?}, p99 {:?}, max {:?} for {} requests",
        at(0.5),
        at(0.99),
        at(1.0),
        latencies.len()
    );
    println!("memory:  {} MB at most while it took them", server.peak_memory_bytes()? >> 20);
    if arguments.replay {
        drop(server);
        server = replay(arguments, folder.path(), port, points)?;
    }
    if arguments.server.is_none() {
        settle(&server, port, points)?;
    }
    if arguments.queries {
        queries::run(&server, port)?;
    }
    if arguments.contention {
        contention::run(port)?;
    }
    if arguments.attacks {
        attacks::run(&server, port)?;
    }
    println!("memory:  {} MB at most", server.peak_memory_bytes()? >> 20);
    let disk = folder_bytes(folder.path())?;
    println!("disk:    {disk} bytes = {:.3} bytes a point", disk as f64 / points as f64);
    Ok(())
}

/// Starts the server on the directory of one that was killed.
fn replay(arguments: &Arguments, folder: &Path, port: u16, points: usize) -> Outcome<ServerProcess> {
    let start = Instant::now();
    let server = ServerProcess::start(arguments.server.as_deref(), folder, port)?;
    let (wall, cpu) = (start.elapsed(), server.cpu()?);
    println!(
        "replay:  {:.2} s wall until ready; {:.2} CPU s = {:.0} ns a point; {} MB of memory at most",
        wall.as_secs_f64(),
        cpu.as_secs_f64(),
        cpu.as_nanos() as f64 / points as f64,
        server.peak_memory_bytes()? >> 20
    );
    Ok(server)
}

/// Seals the head and compacts, so that everything a point costs has been spent.
fn settle(server: &ServerProcess, port: u16, points: usize) -> Outcome<()> {
    let before = server.cpu()?;
    let start = Instant::now();
    let mut connection = Connection::open(port)?;
    for step in ["flush", "compact"] {
        connection.post(&format!("/api/v1/admin/tsdb/{step}"), b"")?;
    }
    let cpu = server.cpu()? - before;
    println!(
        "seal:    {:.2} s wall; {:.2} CPU s = {:.0} ns a point",
        start.elapsed().as_secs_f64(),
        cpu.as_secs_f64(),
        cpu.as_nanos() as f64 / points as f64
    );
    Ok(())
}

/// The bodies that each connection sends: those of its share of the hosts.
fn bodies(arguments: &Arguments, rows_each: usize) -> Outcome<Vec<Vec<Vec<u8>>>> {
    let share = arguments.hosts.div_ceil(arguments.connections);
    std::thread::scope(|scope| {
        let starts = (0..arguments.hosts).step_by(share);
        let generators: Vec<_> = starts
            .map(|start| {
                let hosts = start..(start + share).min(arguments.hosts);
                let mut generator = Generator::new(hosts, rows_each, arguments.interval, arguments.late);
                scope.spawn(move || {
                    std::iter::from_fn(|| generator.body(arguments.body_bytes)).collect::<Vec<_>>()
                })
            })
            .collect();
        let join = |generator: std::thread::ScopedJoinHandle<'_, _>| {
            generator.join().map_err(|_| "a generator panicked".into())
        };
        generators.into_iter().map(join).collect()
    })
}

/// Sends what each connection has to send; returns how long each request took.
fn send_all(bodies: &[Vec<Vec<u8>>], port: u16) -> Outcome<Vec<Duration>> {
    std::thread::scope(|scope| {
        let senders: Vec<_> = bodies.iter().map(|bodies| scope.spawn(move || send(bodies, port))).collect();
        let mut latencies = Vec::new();
        for sender in senders {
            latencies.extend(sender.join().map_err(|_| "a sender panicked")??);
        }
        Ok(latencies)
    })
}

fn send(bodies: &[Vec<u8>], port: u16) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(port)?;
    let mut latencies = Vec::with_capacity(bodies.len());
    for body in bodies {
        let start = Instant::now();
        connection.post("/write", body)?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}

fn folder_bytes(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
