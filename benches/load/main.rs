//! The whole-server load generator: starts a server in a process of its own, sends it TSBS's cpu-only data over HTTP as
//! fast as it takes it, and prints what the server spent.
//!
//! ```text
//! cargo bench -p timberline-workspace --bench load            4,000 hosts × 10 fields × 1 h at 10 s
//! cargo bench -p timberline-workspace --bench load -- --hosts 100 --hours 12
//! cargo bench -p timberline-workspace --bench load -- --replay --hours 2    and kill -9, restart: 28.8 million samples to replay
//! cargo bench -p timberline-workspace --bench load -- \
//!     --server 'victoria-metrics -storageDataPath={dir} -httpListenAddr=127.0.0.1:{port}'
//! ```
//! CPU seconds are the server process's own, so what the generator takes does not count, but it takes cores away:
//! compare servers in one sitting.

mod client;
mod cpu_only;
mod process;

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
    let folder = tempfile::tempdir_in(".")?;
    let port = free_port()?;
    let mut server = ServerProcess::start(arguments.server.as_deref(), folder.path(), port)?;
    let rows_each = (arguments.hours * 3600.0) as usize / arguments.interval as usize;
    let points = arguments.hosts * FIELDS.len() * rows_each;

    let before = server.cpu()?;
    let start = Instant::now();
    let mut latencies = send_all(arguments, port, rows_each)?;
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

/// Each connection sends its share of the hosts; returns how long each request took.
fn send_all(arguments: &Arguments, port: u16, rows_each: usize) -> Outcome<Vec<Duration>> {
    let share = arguments.hosts.div_ceil(arguments.connections);
    std::thread::scope(|scope| {
        let hosts: Vec<usize> = (0..arguments.hosts).collect();
        let senders: Vec<_> = hosts
            .chunks(share)
            .map(|hosts| {
                let generator = Generator::new(
                    hosts[0]..hosts[0] + hosts.len(),
                    rows_each,
                    arguments.interval,
                    arguments.late,
                );
                scope.spawn(move || send(generator, port, arguments.body_bytes))
            })
            .collect();
        let mut latencies = Vec::new();
        for sender in senders {
            latencies.extend(sender.join().map_err(|_| "a sender panicked")??);
        }
        Ok(latencies)
    })
}

fn send(mut generator: Generator, port: u16, body_bytes: usize) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(port)?;
    let mut latencies = Vec::new();
    let mut body = Vec::with_capacity(body_bytes + 1024);
    while generator.fill(&mut body, body_bytes) {
        let start = Instant::now();
        connection.post("/write", &body)?;
        latencies.push(start.elapsed());
        body.clear();
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
