//! What a new series costs: CPU, and memory while it is active and after it has stopped. The engine and the line protocol parser
//! without HTTP, TSBS's cpu-only data, each head with other hosts than the one before.
//!
//! ```text
//! cargo bench --bench cardinality                                    100,000 hosts × 10 fields, 6 rows, 3 heads
//! cargo bench --bench cardinality -- --hosts 1000000 --rows 10 --interval 60 --heads 1
//! ```
//! CPU is the time that the one writing thread was running. Memory is what the Rust allocator has handed out; bitmaps of
//! postings come from the C allocator and show in the resident memory only.

#[path = "load/cpu_only.rs"]
mod cpu_only;

use std::alloc::{GlobalAlloc, Layout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use timberline::ingest::line_protocol::{Namespace, write_lines};
use timberline::ingest::{Limits, Precision};
use timberline_engine::{Db, Options};

use crate::cpu_only::{FIELDS, Generator};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The server's allocator, with a count of what is handed out.
struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; each call is passed on as it came")]
// SAFETY: all calls go to mimalloc with the same arguments; counting does not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { mimalloc::MiMalloc.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_add(size, Ordering::Relaxed);
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { mimalloc::MiMalloc.realloc(at, layout, size) }
    }
}

/// Measures what new series cost.
#[derive(Debug, Parser)]
struct Arguments {
    /// Hosts of each head; each has 10 series.
    #[arg(long, default_value_t = 100_000)]
    hosts: usize,
    /// Samples of a series.
    #[arg(long, default_value_t = 6)]
    rows: usize,
    /// Seconds between two samples of a series.
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// How many times all hosts are replaced by others.
    #[arg(long, default_value_t = 3)]
    heads: usize,
    /// What `cargo bench` passes on.
    #[arg(long, hide = true)]
    bench: bool,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let folder = tempfile::tempdir_in(".")?;
    let options = Options { background: false, head_bytes_max: 1 << 40, ..Options::default() };
    let db = Db::open(folder.path(), options)?;
    let series = arguments.hosts * FIELDS.len();
    for head in 0..arguments.heads {
        let hosts = head * arguments.hosts..(head + 1) * arguments.hosts;
        let mut generator = Generator::new(hosts, arguments.rows, arguments.interval, 0.0);
        let before = Usage::now()?;
        let mut writer = Writer { db: &db, cpu: Duration::ZERO };
        writer.write(&mut generator, arguments.hosts)?;
        let (first, first_cpu) = (Usage::now()?, writer.cpu);
        while writer.write(&mut generator, arguments.hosts)? > 0 {}
        let all = Usage::now()?;
        let later = series * (arguments.rows - 1);
        println!("head {head}: {series} new series, {} samples each", arguments.rows);
        println!("  a new series and its first sample: {} CPU ns", first_cpu.as_nanos() / series as u128);
        println!(
            "  a later sample:    {} CPU ns",
            (writer.cpu - first_cpu).as_nanos() / later.max(1) as u128
        );
        println!("  memory a series:   {}", first.since(&before, series));
        println!("  with all samples:  {}", all.since(&before, series));
        drop(generator);
        db.flush()?;
        let after = Usage::now()?;
        println!("  after the seal:    {after}; most {} MB resident", status_bytes("VmHWM:")? >> 20);
    }
    Ok(())
}

struct Writer<'a> {
    db: &'a Db,
    cpu: Duration,
}

impl Writer<'_> {
    /// Writes up to `lines` lines in batches as a server makes them; returns how many there were.
    fn write(&mut self, generator: &mut Generator, lines: usize) -> Outcome<usize> {
        let mut written = 0;
        while written < lines
            && let Some(body) = generator.body(1 << 20)
        {
            let before = thread_cpu()?;
            let mut batch = self.db.appender()?;
            let (namespace, precision) = (Namespace::default(), Precision::Nanoseconds);
            let report = write_lines(&body, &namespace, precision, 0, &Limits::DEFAULT, &mut batch)?;
            batch.commit()?;
            self.cpu += thread_cpu()? - before;
            written += report.rows as usize;
        }
        Ok(written)
    }
}

/// Memory at one moment.
#[derive(Clone, Copy, Debug)]
struct Usage {
    live: usize,
    resident: u64,
}

impl Usage {
    fn now() -> Outcome<Self> {
        Ok(Self { live: LIVE_BYTES.load(Ordering::Relaxed), resident: status_bytes("VmRSS:")? })
    }

    fn since(&self, before: &Self, series: usize) -> String {
        let live = self.live.saturating_sub(before.live) / series;
        let resident = self.resident.saturating_sub(before.resident) / series as u64;
        format!("{live} bytes allocated, {resident} bytes resident")
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB allocated, {} MB resident", self.live >> 20, self.resident >> 20)
    }
}

fn status_bytes(name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// How long this thread has been running.
fn thread_cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let running = stat.split(' ').next().ok_or("an empty schedstat")?;
    Ok(Duration::from_nanos(running.parse()?))
}
