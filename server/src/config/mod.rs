//! The server's configuration: one table of settings ([`settings::SETTINGS`]), three places they come from.
//!
//! Precedence, highest first: command-line flag, `TIMBERLINE_…` environment variable, TOML file, default.
//! The flags, the variables, the TOML keys, the checks and the table in `docs/configuration.md` all follow
//! from the one table.

mod file;
mod flags;
mod memory;
mod settings;
mod units;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use timberline_engine::{Options, WalSync};
use timberline_query::{ExecutorOptions, Limits};

use crate::ingest;

pub use flags::SettingFlags;
pub use memory::Given as MemoryGiven;
pub use settings::{SETTINGS, Setting};

/// Names the configuration file; has a flag and a variable but, being what finds the file, no TOML key.
pub const CONFIG_FILE_VARIABLE: &str = "TIMBERLINE_CONFIG";

/// What all variables begin with.
const VARIABLE_PREFIX: &str = "TIMBERLINE_";
/// The rest of those that are no settings: the configuration file's, and that of the client commands.
const OTHER_VARIABLES: [&str; 2] = ["CONFIG", "URL"];

/// A name is like another one if at most one of so many of its characters has to be changed.
const LIKENESS_PARTS: usize = 3;

/// What `serve` and `demo` run with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the database lives.
    pub data_dir: PathBuf,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Connections at a time.
    pub connections_max: usize,
    /// Names that a loopback listener may be called by, beside those of this machine.
    pub allowed_hosts: Vec<String>,
    /// Age at which data is dropped; `None` keeps everything.
    pub retention: Option<Duration>,
    /// When a write is answered.
    pub wal_sync: WalSync,
    /// Time that one unmerged block spans.
    pub block_span: Duration,
    /// All memory that the shares below have together, bytes.
    pub memory_bytes_max: usize,
    /// Where that number comes from.
    pub memory_source: String,
    /// Those of the memory settings that were given.
    pub given: MemoryGiven,
    /// Memory that series and samples may take before the head is sealed early, bytes.
    pub head_bytes_max: usize,
    /// Memory that a merge of blocks may take, bytes.
    pub merge_bytes_max: usize,
    /// Series that the newest data may have; `None` sets no bound.
    pub head_series_max: Option<u64>,
    /// New series a second; `None` sets no bound.
    pub new_series_per_second_max: Option<u64>,
    /// Largest request body, compressed or not, bytes.
    pub body_bytes_max: usize,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// Writes parsed and committed at once.
    pub write_concurrency_max: usize,
    /// Request bodies held in memory at once, bytes.
    pub write_bytes_max: usize,
    /// What one line or series may be.
    pub ingest: ingest::Limits,
    /// Queries evaluated at once.
    pub query_concurrency_max: usize,
    /// Queries that may wait for their turn.
    pub query_queue_max: usize,
    /// Longest evaluation.
    pub query_timeout: Duration,
    /// Samples one query may decode.
    pub query_samples_max: u64,
    /// Points a series of a range query may have.
    pub query_steps_max: u64,
    /// Series that one selector may select.
    pub selector_series_max: u64,
    /// Points that an answer may have.
    pub result_points_max: u64,
    /// Memory that all queries may take together, bytes.
    pub query_bytes_max: usize,
    /// Memory that one query may take, bytes.
    pub query_memory_bytes_max: u64,
    /// Memory of answers whose queries gave their places back while clients still read, bytes.
    pub answer_bytes_max: usize,
    /// How far an instant selector looks back.
    pub query_lookback: Duration,
    /// Queries that take as long are logged; `None` logs none.
    pub slow_query_log: Option<Duration>,
    /// What is logged: a `tracing` filter.
    pub log: String,
}

/// Queries that are evaluated at once by default: so many for each processor. More would only make all of them, and the requests
/// beside them, wait longer for a processor; with fewer, small queries wait for large ones to end.
const QUERIES_PER_PROCESSOR: usize = 4;

fn queries_at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get()) * QUERIES_PER_PROCESSOR
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("timberline-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 8086)),
            connections_max: 10_000,
            allowed_hosts: Vec::new(),
            retention: None,
            wal_sync: WalSync::Always,
            block_span: Duration::from_secs(2 * 3600),
            memory_bytes_max: usize::MAX,
            memory_source: "nothing bounds it".to_owned(),
            given: MemoryGiven::default(),
            head_bytes_max: 2 << 30,
            merge_bytes_max: 1 << 30,
            head_series_max: Some(10_000_000),
            new_series_per_second_max: None,
            body_bytes_max: 64 << 20,
            body_timeout: Duration::from_secs(30),
            write_concurrency_max: 32,
            write_bytes_max: 512 << 20,
            ingest: ingest::Limits::DEFAULT,
            query_concurrency_max: queries_at_once(),
            query_queue_max: 200,
            query_timeout: Duration::from_secs(120),
            query_samples_max: 50_000_000,
            query_steps_max: 11_000,
            selector_series_max: 1_000_000,
            result_points_max: 20_000_000,
            query_bytes_max: usize::MAX,
            query_memory_bytes_max: 1 << 30,
            answer_bytes_max: 512 << 20,
            query_lookback: Duration::from_secs(300),
            slow_query_log: Some(Duration::from_secs(5)),
            log: "info".to_owned(),
        }
    }
}

/// A sentence for each variable of the environment that looks like a setting and is none. Those that Kubernetes sets for a
/// service that is called `timberline` are no one's mistake.
pub fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let settings = SETTINGS.iter().map(|setting| setting.key().to_uppercase());
    let known: Vec<String> = settings.chain(OTHER_VARIABLES.map(str::to_owned)).collect();
    let sentence = |name: &String| {
        let rest = name.strip_prefix(VARIABLE_PREFIX)?;
        if known.iter().any(|known| known == rest) || is_of_service(rest) {
            return None;
        }
        let meant = nearest(rest, &known).map(|meant| format!("; is {VARIABLE_PREFIX}{meant} meant?"));
        let meant = meant.unwrap_or_default();
        Some(format!("the environment variable {name} is no setting and is ignored{meant}"))
    };
    names.into_iter().filter_map(|name| sentence(&name)).collect()
}

/// Whether Kubernetes names an address of a service so: `TIMBERLINE_SERVICE_HOST`, `TIMBERLINE_PORT_8086_TCP_ADDR`.
fn is_of_service(variable: &str) -> bool {
    let is_port = |(at, found): (usize, &str)| {
        let rest = &variable[at + found.len()..];
        let number = rest.strip_prefix('_').and_then(|rest| rest.chars().next());
        rest.is_empty() || number.is_some_and(|first| first.is_ascii_digit())
    };
    variable.ends_with("SERVICE_HOST")
        || variable.contains("SERVICE_PORT")
        || variable.match_indices("PORT").any(is_port)
}

/// The name that is most like one that is none, if one is like it at all.
fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a String> {
    let distance = |known: &String| strsim::damerau_levenshtein(known, name);
    let best = names.iter().min_by_key(|known| distance(known))?;
    (distance(best) * LIKENESS_PARTS <= best.len()).then_some(best)
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("{}:{line}: {reason}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A flag or variable has a value that does not fit.
    #[error("{origin}: {reason}")]
    Value {
        /// The flag or the variable.
        origin: String,
        /// What is wrong with its value.
        reason: String,
    },
}

impl Config {
    /// Puts `flags` over the environment over the configuration file over `self`.
    ///
    /// `environment` looks a variable up. The file is the one that `flags` name, else the one that
    /// [`CONFIG_FILE_VARIABLE`] names, else none.
    ///
    /// # Errors
    /// A file that cannot be read, a key it does not know, a value that does not fit: each says where. Shares of memory that
    /// are more than the total.
    pub fn load(
        mut self,
        flags: &SettingFlags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let file = flags.file.clone().or_else(|| environment(CONFIG_FILE_VARIABLE).map(PathBuf::from));
        if let Some(file) = file {
            self.apply_file(&file)?;
        }
        for setting in SETTINGS {
            let variable = setting.variable();
            if let Some(text) = environment(&variable) {
                setting.set(&mut self, &text).map_err(|reason| Error::Value { origin: variable, reason })?;
            }
        }
        for (setting, text) in &flags.values {
            let origin = format!("--{}", setting.name);
            setting.set(&mut self, text).map_err(|reason| Error::Value { origin, reason })?;
        }
        self.divide_memory(&memory::available(Path::new("/")))?;
        self.check_sizes()?;
        Ok(self)
    }

    /// Refuses a size that another one makes impossible.
    fn check_sizes(&self) -> Result<(), Error> {
        let body = ("body-bytes-max", self.body_bytes_max);
        let line = ("line-bytes-max", self.ingest.line_bytes_max);
        // Nobody asked for a default that is too large, and it does no harm.
        let line = (line.1 != ingest::Limits::DEFAULT.line_bytes_max).then_some((line, body));
        for ((name, size), (whole, most)) in
            line.into_iter().chain([(body, ("write-bytes-max", self.write_bytes_max))])
        {
            if size > most {
                let (size, most) = (units::size(size), units::size(most));
                let reason = format!("{size} is too much: at most {whole}, which is {most}");
                return Err(Error::Value { origin: name.to_owned(), reason });
            }
        }
        Ok(())
    }

    fn apply_file(&mut self, path: &Path) -> Result<(), Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { file: path.to_owned(), source })?;
        file::apply(self, &text).map_err(|(line, reason)| Error::File { file: path.to_owned(), line, reason })
    }

    /// How the engine is opened.
    #[must_use]
    pub fn engine_options(&self) -> Options {
        Options {
            wal_sync: self.wal_sync,
            retention: self.retention,
            block_span: self.block_span,
            head_bytes_max: self.head_bytes_max,
            merge_bytes_max: self.merge_bytes_max,
            head_series_max: self.head_series_max,
            new_series_per_second_max: self.new_series_per_second_max,
            ..Options::default()
        }
    }

    /// How queries are executed.
    #[must_use]
    pub fn executor_options(&self) -> ExecutorOptions {
        ExecutorOptions {
            lookback_delta_ms: i64::try_from(self.query_lookback.as_millis()).unwrap_or(i64::MAX),
            timeout: self.query_timeout,
            limits: Limits {
                query_samples_max: self.query_samples_max,
                selector_series_max: self.selector_series_max,
                query_steps_max: self.query_steps_max,
                result_points_max: self.result_points_max,
                query_memory_bytes_max: self.query_memory_bytes_max,
            },
            ..ExecutorOptions::default()
        }
    }
}
