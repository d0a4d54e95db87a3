//! The server under test: a process of its own, and what Linux says that it has used.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::Connection;

/// A running server; dropping this kills it.
pub(crate) struct ServerProcess {
    child: Child,
}

impl ServerProcess {
    /// Starts `command`, or this program as `serve`, and waits until it answers.
    pub(crate) fn start(command: Option<&str>, folder: &Path, port: u16) -> Outcome<Self> {
        let folder = folder.display().to_string();
        let mut words: Vec<String> = match command {
            Some(command) => {
                let filled = command.replace("{dir}", &folder).replace("{port}", &port.to_string());
                filled.split_whitespace().map(str::to_owned).collect()
            }
            None => {
                let program = std::env::current_exe()?.display().to_string();
                let listen = format!("127.0.0.1:{port}");
                [&program, "serve", "--data-dir", &folder, "--listen", &listen].map(str::to_owned).into()
            }
        };
        let mut command = Command::new(words.remove(0));
        let child = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child };
        server.wait_ready(port)?;
        Ok(server)
    }

    fn wait_ready(&mut self, port: u16) -> Outcome<()> {
        let start = Instant::now();
        loop {
            let ready = Connection::open(port).map_err(Into::into).and_then(|mut c| c.get("/health"));
            match ready {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > Duration::from_secs(30) => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended with {status}").into());
            }
        }
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Fields 14 and 15, in ticks of 10 ms; the second field, the name, may contain spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok()).unwrap_or_default();
        Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
    }

    /// The most memory that it has had resident.
    pub(crate) fn peak_memory_bytes(&self) -> Outcome<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
