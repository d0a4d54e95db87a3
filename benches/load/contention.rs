//! Short queries while full scans run: each should take less than three times what it takes on an idle server. And how long a
//! query goes on when its client has hung up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::Outcome;
use crate::client::Connection;
use crate::queries::{At, path};

/// How often a short query is asked, and the pause between two: dashboards and alerts do not ask all the time.
const RUNS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(5);
const SCANS_AT_ONCE: [usize; 3] = [1, 2, 4];
const HANG_UPS: usize = 20;

/// What a panel and an alert ask for.
const SHORT: [(At, &str); 3] = [
    (At::Instant, "cpu_usage_user{hostname='host_17'}"),
    (At::Range(60), "max(max_over_time(cpu_usage_user{hostname='host_17'}[1m])) by (__name__)"),
    (At::Range(15), "sum by (region) (rate(cpu_usage_user{hostname=~'host_1.'}[5m]))"),
];

/// All series, by rows and by groups.
const SCANS: [(At, &str); 2] = [
    (At::Range(15), "quantile_over_time(0.9, {__name__=~'cpu_.*'}[10m]) < 0"),
    (At::Range(15), "sum by (datacenter) (rate({__name__=~'cpu_.*'}[5m]))"),
];

pub(crate) fn run(port: u16) -> Outcome<()> {
    println!("{:>6} {:>9} {:>9} {:>9}", "scans", "p50 ms", "p99 ms", "max ms");
    let mut idle = Vec::new();
    for (at, query) in &SHORT {
        idle.push(measure(port, 0, &path(at, query), query)?);
    }
    for scans in SCANS_AT_ONCE {
        let (stop, answers) = (&AtomicBool::new(false), &AtomicU64::new(0));
        let connections: Vec<_> = (0..scans).map(|_| Connection::open(port)).collect::<Result<_, _>>()?;
        let hang_ups: Vec<_> = connections.iter().map(Connection::hang_up).collect::<Result<_, _>>()?;
        thread::scope(|scope| {
            let spawn = |(first, connection)| scope.spawn(move || scan(connection, first, stop, answers));
            let scanners: Vec<_> = connections.into_iter().enumerate().map(spawn).collect();
            let measured: Outcome<()> = SHORT.iter().zip(&idle).try_for_each(|((at, query), idle)| {
                let p99 = measure(port, scans, &path(at, query), query)?;
                println!(
                    "{:>6} {:.1} times p99 of the idle server",
                    "",
                    p99.as_secs_f64() / idle.as_secs_f64()
                );
                Ok(())
            });
            stop.store(true, Relaxed);
            hang_ups.iter().for_each(|hang_up| hang_up());
            for scanner in scanners {
                scanner.join().map_err(|_| "a scanner panicked")??;
            }
            println!("{scans:>6} scans at once: {} were answered meanwhile", answers.load(Relaxed));
            measured
        })?;
    }
    SCANS.iter().try_for_each(|(at, query)| hang_up(port, &path(at, query), query))
}

/// Asks for all series again and again, until it is told to stop and the connection ends.
fn scan(mut connection: Connection, first: usize, stop: &AtomicBool, answers: &AtomicU64) -> Outcome<()> {
    for (at, query) in SCANS.iter().cycle().skip(first) {
        match connection.get(&path(at, query)) {
            Ok(_) => answers.fetch_add(1, Relaxed),
            Err(_) if stop.load(Relaxed) => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// Prints how long a query takes; gives the 99th percentile.
fn measure(port: u16, scans: usize, path: &str, query: &str) -> Outcome<Duration> {
    let mut times = thread::scope(|scope| {
        let client = scope.spawn(|| {
            stand_for_another_machine();
            ask(port, path)
        });
        client.join().map_err(|_| "the client panicked")?
    })?;
    times.sort_unstable();
    let at = |q: f64| times[((RUNS - 1) as f64 * q) as usize];
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    println!("{scans:>6} {:9.2} {:9.2} {:9.2} {query}", millis(p50), millis(p99), millis(max));
    Ok(p99)
}

/// Clients do not wait for the processors of their server, so this thread should not either.
fn stand_for_another_machine() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let lowest = ThreadPriorityValue::try_from(1).map(ThreadPriority::Crossplatform);
    let set = lowest.map(|lowest| set_thread_priority_and_policy(thread_native_id(), lowest, policy));
    if !matches!(set, Ok(Ok(()))) {
        println!("may not take a real-time priority: times contain the client's own waits for a processor");
    }
}

fn ask(port: u16, path: &str) -> Outcome<Vec<Duration>> {
    let mut connection = Connection::open(port)?;
    connection.get(path)?;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        thread::sleep(PAUSE);
        let asked = Instant::now();
        connection.get(path)?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// Hangs up a while after a query has begun, each time a little later; prints the longest time until none is running.
fn hang_up(port: u16, path: &str, query: &str) -> Outcome<()> {
    let mut watcher = Connection::open(port)?;
    let mut running = || -> Outcome<bool> {
        let text = String::from_utf8(watcher.get("/metrics")?)?;
        Ok(!text.lines().any(|line| line == "timberline_queries_running 0"))
    };
    let mut times = Vec::new();
    for run in 0..HANG_UPS as u32 {
        while running()? {}
        let mut connection = Connection::open(port)?;
        connection.send("GET", path, b"")?;
        while !running()? {}
        thread::sleep(Duration::from_millis(7) * run);
        let was_running = running()?;
        drop(connection);
        let gone = Instant::now();
        while running()? {}
        if was_running {
            times.push(gone.elapsed());
        }
    }
    times.sort_unstable();
    let millis = |time: Option<&Duration>| time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let (median, longest) = (millis(times.get(times.len() / 2)), millis(times.last()));
    println!(
        "hung up: ended after {median:.1} ms, {longest:.1} ms at most of {} times: {query}",
        times.len()
    );
    Ok(())
}
