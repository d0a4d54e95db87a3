//! Reads this machine's numbers once a second and sends them as line protocol.

use std::fmt::{self, Display, Write as _};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use sysinfo::{Disks, MINIMUM_CPU_UPDATE_INTERVAL, Networks, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{INTERVAL, wait_until};
use crate::state::now_ns;

const REQUEST_TIME_MAX: Duration = Duration::from_secs(2);

/// Measures and writes until asked to stop. A batch that is not accepted is dropped, as the next one is a second away.
pub(super) fn run(url: &str, stop: &Receiver<()>) {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST_TIME_MAX))
        .http_status_as_error(false)
        .build();
    let agent = ureq::Agent::from(config);
    let target = format!("{url}/write?precision=ms");
    let mut machine = match Machine::new() {
        Ok(machine) => machine,
        Err(error) => {
            tracing::error!(%error, "cannot read this machine's numbers");
            return;
        }
    };
    // CPU usage is the difference of two readings.
    let mut next = Instant::now() + MINIMUM_CPU_UPDATE_INTERVAL;
    let mut was_accepted = true;
    while wait_until(next, stop) {
        next = (next + INTERVAL).max(Instant::now());
        let lines = machine.measure();
        let answer = agent.post(&target).content_type("text/plain; charset=utf-8").send(lines.as_str());
        let problem = match answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let (Some(problem), true) = (&problem, was_accepted) {
            tracing::info!(problem, "a batch was not accepted");
        }
        was_accepted = problem.is_none();
    }
}

/// What is measured.
struct Machine {
    host: String,
    system: System,
    disks: Disks,
    networks: Networks,
}

impl Machine {
    fn new() -> Result<Self, sysinfo::Error> {
        let host = System::host_name().unwrap_or_else(|_| "localhost".to_owned());
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        Ok(Self {
            host,
            system,
            disks: Disks::new_with_refreshed_list()?,
            networks: Networks::new_with_refreshed_list()?,
        })
    }

    /// Reads everything anew and gives it as line protocol with timestamps in milliseconds.
    fn measure(&mut self) -> String {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing());
        self.disks.refresh(true);
        self.networks.refresh(true);
        let mut lines = Lines { text: String::new(), timestamp_ms: now_ns() / 1_000_000, host: &self.host };
        for (core, cpu) in self.system.cpus().iter().enumerate() {
            lines.line("cpu", &[("core", &core.to_string())], &[("usage_percent", &cpu.usage())]);
        }
        self.measure_memory(&mut lines);
        self.measure_devices(&mut lines);
        self.measure_load(&mut lines);
        lines.text
    }

    fn measure_memory(&self, lines: &mut Lines<'_>) {
        let system = &self.system;
        let total = system.total_memory();
        let available_percent = system.available_memory() as f64 / total.max(1) as f64 * 100.0;
        lines.line(
            "mem",
            &[],
            &[
                ("total_bytes", &total),
                ("used_bytes", &system.used_memory()),
                ("free_bytes", &system.free_memory()),
                ("available_bytes", &system.available_memory()),
                ("available_percent", &available_percent),
                ("swap_total_bytes", &system.total_swap()),
                ("swap_used_bytes", &system.used_swap()),
            ],
        );
    }

    fn measure_devices(&self, lines: &mut Lines<'_>) {
        for disk in &self.disks {
            let usage = disk.usage();
            lines.line(
                "disk",
                &[
                    ("device", &disk.name().to_string_lossy()),
                    ("mount", &disk.mount_point().to_string_lossy()),
                ],
                &[
                    ("total_bytes", &disk.total_space()),
                    ("available_bytes", &disk.available_space()),
                    ("read_bytes_total", &usage.total_read_bytes),
                    ("written_bytes_total", &usage.total_written_bytes),
                ],
            );
        }
        for (interface, network) in &self.networks {
            lines.line(
                "net",
                &[("interface", &interface.to_string_lossy())],
                &[
                    ("received_bytes_total", &network.total_received()),
                    ("transmitted_bytes_total", &network.total_transmitted()),
                    ("received_packets_total", &network.total_packets_received()),
                    ("transmitted_packets_total", &network.total_packets_transmitted()),
                    ("received_errors_total", &network.total_errors_on_received()),
                    ("transmitted_errors_total", &network.total_errors_on_transmitted()),
                ],
            );
        }
    }

    fn measure_load(&self, lines: &mut Lines<'_>) {
        lines.line("system", &[], &[("processes", &self.system.processes().len())]);
        if let Ok(load) = System::load_average() {
            lines.line(
                "system",
                &[],
                &[("load1", &load.one), ("load5", &load.five), ("load15", &load.fifteen)],
            );
        }
        if let Ok(uptime) = System::uptime() {
            lines.line("system", &[], &[("uptime_seconds", &uptime)]);
        }
    }
}

/// Line protocol under construction; every line has the tag `host` and the same timestamp.
struct Lines<'a> {
    text: String,
    timestamp_ms: i64,
    host: &'a str,
}

impl Lines<'_> {
    fn line(&mut self, measurement: &str, tags: &[(&str, &str)], fields: &[(&str, &dyn Display)]) {
        // Writing into a string cannot fail.
        let _ = self.try_line(measurement, tags, fields);
    }

    fn try_line(
        &mut self,
        measurement: &str,
        tags: &[(&str, &str)],
        fields: &[(&str, &dyn Display)],
    ) -> fmt::Result {
        write!(self.text, "{measurement},host={}", Escaped(self.host))?;
        for (name, value) in tags.iter().filter(|(_, value)| !value.is_empty()) {
            write!(self.text, ",{name}={}", Escaped(value))?;
        }
        for (i, (name, value)) in fields.iter().enumerate() {
            let separator = if i == 0 { ' ' } else { ',' };
            write!(self.text, "{separator}{name}={value}")?;
        }
        writeln!(self.text, " {}", self.timestamp_ms)
    }
}

/// A tag value, escaped. A line break has no escape and becomes a space.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.trim_end_matches('\\').chars() {
            match c {
                ',' | '=' | ' ' => write!(f, "\\{c}")?,
                '\n' | '\r' => f.write_str("\\ ")?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_escaped() {
        let mut lines = Lines { text: String::new(), timestamp_ms: 7, host: "a b" };
        lines.line("disk", &[("mount", "/x,y=z\\"), ("device", "")], &[("a", &1.5), ("b", &2)]);
        assert_eq!(lines.text, "disk,host=a\\ b,mount=/x\\,y\\=z a=1.5,b=2 7\n");
    }

    #[test]
    fn this_machine_can_be_measured() {
        let lines = Machine::new().unwrap().measure();
        for measurement in ["cpu,host=", "mem,host=", "system,host="] {
            assert!(lines.contains(measurement), "no {measurement} in\n{lines}");
        }
    }
}
