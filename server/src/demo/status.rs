//! What the demo shows: commands to try, and a status line.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use timberline_engine::Stats;

use super::{INTERVAL, wait_until};
use crate::state::AppState;

/// Time between two status lines where they cannot replace each other.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// From this many points on, the bytes of each are worth telling.
const POINTS_MIN: u64 = 2_000;

/// Prints what to try.
pub(super) fn print_introduction(url: &str, data_dir: &Path) {
    let program = std::env::current_exe().unwrap_or_else(|_| "timberline".into());
    let text = format!(
        r#"Timberline demo: this machine's CPU, memory, disk, network and load, once a second.
Data directory: {data_dir}. Stop with Ctrl-C; started again, the history is there.

Write a point, and read it: measurement and field are the metric's name, tags are its labels.
  curl -i '{url}/write' --data-binary 'room,name=attic temperature=21.5'
  curl -s '{url}/api/v1/query' --data-urlencode 'query=room_temperature{{name="attic"}}'
Ask for the newest values:
  curl -s '{url}/api/v1/query' --data-urlencode 'query=sort_desc(cpu_usage_percent)'
Ask for the last five minutes, a point every 15 seconds:
  curl -s '{url}/api/v1/query_range' --data-urlencode 'query=sum by (interface) (rate(net_received_bytes_total[1m]))' \
    -d "start=$(($(date +%s) - 300))" -d "end=$(date +%s)" -d step=15
Poll a threshold; what is over it is in the answer:
  while sleep 5; do curl -s '{url}/api/v1/query' --data-urlencode 'query=avg_over_time(cpu_usage_percent[30s]) > 80'; echo; done
See it in another terminal:
  {program} query 'cpu_usage_percent' --start 5m --url {url}

"#,
        data_dir = data_dir.display(),
        program = program.display(),
    );
    // Nobody reading is no reason to stop measuring.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Shows the status until asked to stop: in place on a terminal, else a line now and then.
pub(super) fn run(state: &AppState, stop: &Receiver<()>) {
    let in_place = io::stdout().is_terminal();
    let interval = if in_place { INTERVAL } else { LOG_INTERVAL };
    let mut next = Instant::now() + INTERVAL;
    while wait_until(next, stop) {
        next = Instant::now() + interval;
        let text = state.db().map_or_else(
            || "opening the database …".to_owned(),
            |db| describe(&db.stats(), state.metrics.queries.total()),
        );
        // As above.
        let _ = show(&text, in_place);
    }
    if in_place {
        let _ = writeln!(io::stdout());
    }
}

fn show(text: &str, in_place: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if in_place {
        // Back to the line's start, and clear it.
        write!(out, "\r\x1b[K{text}")?;
    } else {
        writeln!(out, "{text}")?;
    }
    out.flush()
}

fn describe(stats: &Stats, queries: u64) -> String {
    let points = stats.head_samples + stats.block_samples;
    let size = match (stats.block_samples, stats.head_samples) {
        // What series cost before they have samples says nothing.
        (0, 0..POINTS_MIN) => String::new(),
        (0, samples) => format!(" | {:.2} bytes a point in memory", stats.head_bytes as f64 / samples as f64),
        (samples, _) => {
            format!(" | {:.2} bytes a point in blocks", stats.block_bytes as f64 / samples as f64)
        }
    };
    let series = stats.head_series;
    let refused = if stats.writes_refused.is_some() { " | WRITES REFUSED, see the log" } else { "" };
    format!(
        "{} points stored | {} active series{size} | {} queries{refused}",
        grouped(points),
        grouped(series),
        grouped(queries),
    )
}

/// A number with a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_names_what_is_stored() {
        let mut stats = Stats { head_samples: 5_000, head_bytes: 7_500, head_series: 64, ..Stats::default() };
        let memory = "5,000 points stored | 64 active series | 1.50 bytes a point in memory | 7 queries";
        assert_eq!(describe(&stats, 7), memory);
        (stats.block_samples, stats.block_bytes) = (200_000, 100_000);
        let disk = "205,000 points stored | 64 active series | 0.50 bytes a point in blocks | 7 queries";
        assert_eq!(describe(&stats, 7), disk);
        let few = Stats { head_samples: 43, head_bytes: 20_000, head_series: 43, ..Stats::default() };
        assert_eq!(describe(&few, 0), "43 points stored | 43 active series | 0 queries");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }
}
