//! The real binary as a process of its own, for tests that kill it, start it again, or let other programs talk to it.
#![allow(dead_code, reason = "each test that includes this module uses a part of it")]

pub(crate) mod series;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use series::Cells;
use ureq::Agent;

/// How long a server may take to say something that it must say.
const WORD_TIME_MAX: Duration = Duration::from_secs(120);
const EXPORT_BYTES_MAX: u64 = 4 << 30;

/// The binary, built with the profile of this test. Cargo names the binaries of a test's own package only, so this asks
/// it to build the one of the server's package; mostly there is nothing left to build.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile_folder = test.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
        let target_folder = profile_folder.parent().unwrap();
        let profile = match profile_folder.file_name().and_then(OsStr::to_str).unwrap() {
            "debug" => "dev",
            name => name,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "timberline", "--bin", "timberline"]);
        build.args(["--profile", profile, "--target-dir"]).arg(target_folder);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = build.output().unwrap();
        assert!(output.status.success(), "{build:?}: {}", String::from_utf8_lossy(&output.stderr));
        profile_folder.join("timberline")
    })
}

/// The command that runs the binary. The settings of whoever runs the tests are not the server's.
pub(crate) fn command() -> Command {
    let mut command = Command::new(binary());
    remove_settings(&mut command);
    command
}

fn remove_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"TIMBERLINE_") {
            command.env_remove(name);
        }
    }
}

/// Runs the binary until it ends.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let output = command().args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "timberline {arguments:?} ended with {}: {complaint}", output.status);
    output
}

/// All files of a folder and those below it, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// Copies a folder's files, and those below it, into another one.
pub(crate) fn copy(from: &Path, into: &Path) {
    for file in files(from) {
        let to = into.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&file, &to).unwrap();
    }
}

/// A running server, `timberline serve` or `timberline demo`, on a free port. Dropping this kills it.
pub(crate) struct Server {
    child: Mutex<Child>,
    log: Log,
    agent: Agent,
    pub(crate) url: String,
}

impl Server {
    /// Starts `timberline serve` and waits until it is ready.
    pub(crate) fn serve(data_dir: &Path) -> Self {
        Self::start("serve", data_dir)
    }

    /// Starts `timberline COMMAND` and waits until it is ready.
    pub(crate) fn start(command: &str, data_dir: &Path) -> Self {
        let server = Self::start_opening(command, data_dir);
        server.log.wait_for("ready seconds=");
        server
    }

    /// Starts `timberline serve` with other settings, as variables of the environment, and waits until it is ready.
    pub(crate) fn serve_with(data_dir: &Path, variables: &[(&str, &str)]) -> Self {
        let server = Self::of(command().arg("serve").envs(variables.iter().copied()), data_dir);
        server.log.wait_for("ready seconds=");
        server
    }

    /// Starts `timberline COMMAND` and waits until it listens: its database is being opened then.
    pub(crate) fn start_opening(command: &str, data_dir: &Path) -> Self {
        Self::of(self::command().arg(command), data_dir)
    }

    /// Starts `timberline serve` with so many file descriptors and waits until it is ready.
    pub(crate) fn serve_with_descriptors(soft: u32, hard: u32, data_dir: &Path) -> Self {
        let limit = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        remove_settings(&mut shell);
        let server = Self::of(shell.args(["-c", &limit]).arg(binary()).arg("serve"), data_dir);
        server.log.wait_for("ready seconds=");
        server
    }

    fn of(command: &mut Command, data_dir: &Path) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--retention", "none", "--log", "info", "--data-dir"])
            .arg(data_dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let line = log.wait_for("address=");
        let (_, after) = line.split_once("address=").unwrap();
        let url = format!("http://{}", after.split_whitespace().next().unwrap());
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Self { child: Mutex::new(child), log, agent, url }
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// All of the log so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// `kill -9`. Waits until the process is gone.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ctrl-C. Waits until the process has ended.
    pub(crate) fn interrupt(self) -> ExitStatus {
        self.end("INT").0
    }

    /// Sends a signal that ends the process, and waits until it has; gives all that it logged, too.
    pub(crate) fn end(self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        self.log.wait_for_end();
        let status = self.child.lock().unwrap().wait().unwrap();
        (status, self.log.text())
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.lock().unwrap().id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Closes the pipe that the server logs into.
    pub(crate) fn close_log(&self) {
        self.log.is_ending.store(true, Ordering::Relaxed);
        // It logs that.
        self.signal("HUP");
        self.log.wait_for_end();
    }

    /// The next line of the log that contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.log.wait_for(text)
    }

    /// POSTs `body`; gives the status and the answer, or an error when the server is gone.
    pub(crate) fn try_post(&self, path: &str, body: &[u8]) -> Result<(u16, String), ureq::Error> {
        let mut response = self.agent.post(format!("{}{path}", self.url)).send(body)?;
        let text = response.body_mut().with_config().limit(EXPORT_BYTES_MAX).read_to_string()?;
        Ok((response.status().as_u16(), text))
    }

    /// POSTs `body`, which must succeed; gives the answer.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> String {
        let (status, text) = self.try_post(path, body).unwrap();
        assert!((200..300).contains(&status), "{path} answered {status}: {text}");
        text
    }

    /// Seals the head.
    pub(crate) fn flush(&self) {
        self.post("/api/v1/admin/tsdb/flush", b"");
    }

    /// Compacts until nothing is left to do.
    pub(crate) fn compact(&self) {
        self.post("/api/v1/admin/tsdb/compact", b"");
    }

    /// GETs; gives the status and the answer.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut response = self.agent.get(format!("{}{path}", self.url)).call().unwrap();
        let text = response.body_mut().with_config().limit(EXPORT_BYTES_MAX).read_to_string().unwrap();
        (response.status().as_u16(), text)
    }

    /// All that the database has, but for series without a name.
    pub(crate) fn export(&self) -> Cells {
        series::parse(&self.export_text(&[r#"{__name__!=""}"#]))
    }

    /// The lines of all series that one of the selectors selects, with nanoseconds.
    pub(crate) fn export_text(&self, selectors: &[&str]) -> String {
        let form = selectors.iter().map(|selector| ("match[]", *selector)).chain([("precision", "ns")]);
        let request = self.agent.post(format!("{}/api/v1/export", self.url));
        let mut response = request.send_form(form).unwrap();
        let text = response.body_mut().with_config().limit(EXPORT_BYTES_MAX).read_to_string().unwrap();
        assert_eq!(response.status().as_u16(), 200, "{text}");
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            // It may have ended before.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("the server at {} logged:\n{}", self.url, self.log.text());
        }
    }
}

/// What a server says on stderr.
struct Log {
    lines: Mutex<Receiver<String>>,
    all: Arc<Mutex<String>>,
    /// Whether the next line is the last that is read.
    is_ending: Arc<AtomicBool>,
}

impl Log {
    fn of(stderr: ChildStderr) -> Self {
        let (sender, lines) = mpsc::channel();
        let all = Arc::new(Mutex::new(String::new()));
        let is_ending = Arc::new(AtomicBool::new(false));
        let (kept, ends) = (Arc::clone(&all), Arc::clone(&is_ending));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *kept.lock().unwrap() += &format!("{line}\n");
                // Nobody may be waiting for more.
                let _ = sender.send(line);
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        Self { lines: Mutex::new(lines), all, is_ending }
    }

    fn text(&self) -> String {
        self.all.lock().unwrap().clone()
    }

    /// The next line that contains `text`.
    fn wait_for(&self, text: &str) -> String {
        loop {
            match self.lines.lock().unwrap().recv_timeout(WORD_TIME_MAX) {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(error) => panic!("no `{text}` in the log ({error}):\n{}", self.text()),
            }
        }
    }

    fn wait_for_end(&self) {
        loop {
            match self.lines.lock().unwrap().recv_timeout(WORD_TIME_MAX) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the server does not end:\n{}", self.text()),
            }
        }
    }
}
