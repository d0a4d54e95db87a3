//! The command line.

mod backup;
mod check;
mod client;
mod export;
mod import;
mod query;
mod serve;
mod table;
mod time;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::SettingFlags;

/// Where the client commands find a server.
#[derive(Debug, clap::Args)]
struct ServerUrl {
    /// The server
    #[arg(long, env = URL_VARIABLE, default_value = "http://127.0.0.1:8086")]
    url: String,
}

/// The environment variable for it.
pub(crate) const URL_VARIABLE: &str = "TIMBERLINE_URL";

/// A time-series database in one binary: line protocol and Prometheus remote write in, PromQL out.
#[derive(Debug, Parser)]
#[command(name = "timberline", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(SettingFlags),
    /// Run the server together with a collector of this machine's CPU, memory, disk and network numbers
    Demo(SettingFlags),
    /// Ask a server a PromQL query
    Query(query::Args),
    /// Send files of line protocol, Prometheus text or JSON lines to a server
    Import(import::Args),
    /// Write series of a server to stdout, as JSON lines
    Export(export::Args),
    /// Check every file of a data directory, a snapshot or a backup; exit code 1 when something is wrong
    Verify {
        /// The directory; no server may be running on it
        #[arg(value_name = "DIR")]
        path: PathBuf,
    },
    /// Salvage what checks out of a damaged data directory into a new one
    Repair {
        /// The damaged directory, which stays as it is; no server may be running on it
        #[arg(value_name = "DIR")]
        path: PathBuf,
        /// The new directory
        #[arg(long, value_name = "NEWDIR")]
        into: PathBuf,
    },
    /// Copy a data directory, also that of a running server, and check the copy
    Backup(backup::BackupArgs),
    /// Copy a backup to a new data directory, after checking it
    Restore(backup::RestoreArgs),
    /// Say what a file of a data directory holds, and check it
    Inspect {
        /// WAL segments, blocks, index or chunk files, or folders of them
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Why a command failed; its text is shown to the user as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    #[error(transparent)]
    Server(#[from] crate::server::Error),
    #[error(transparent)]
    Engine(#[from] timberline_engine::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Message(String),
}

impl Error {
    fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// Whether stdout was closed by its reader, as `head` does: no reason to complain.
    fn is_broken_pipe(&self) -> bool {
        match self {
            Self::Io(error) | Self::Engine(timberline_engine::Error::Io { source: error, .. }) => {
                error.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }
}

/// Runs the command that the process arguments name. Failures are told on stderr: exit code 1, or 2 when the arguments
/// are wrong.
#[must_use]
pub fn run() -> ExitCode {
    if let Some(error) = unknown_query_option(std::env::args_os()) {
        error.exit();
    }
    let result = match Cli::parse().command {
        Command::Serve(flags) => serve::serve(&flags),
        Command::Demo(flags) => serve::demo(&flags),
        Command::Query(args) => query::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Verify { path } => check::verify(&path),
        Command::Repair { path, into } => check::repair(&path, &into),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Inspect { paths } => inspect(&paths),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("timberline: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says something to the person at the terminal. If there is none any more, nobody hears it, and the work goes on.
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The error about an option that `query` does not have. An expression may begin with `-`, so the parser takes such an option for
/// the expression, and complains about what follows it.
fn unknown_query_option(arguments: impl IntoIterator<Item = OsString>) -> Option<clap::Error> {
    const QUERY: &str = "query";
    let mut arguments = arguments.into_iter().skip(1);
    arguments.next().filter(|command| command == QUERY)?;
    let mut command = Cli::command();
    // So that the error shows the usage of `timberline query`.
    command.build();
    let query = command.find_subcommand_mut(QUERY)?;
    let usage = query.render_usage();
    let is_known = |name: &str| {
        name == "help" || query.get_arguments().any(|argument| argument.get_long() == Some(name))
    };
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    let unknown = arguments.take_while(|argument| argument != "--").find(|argument| {
        let option = argument.to_str().and_then(|text| text.strip_prefix("--"));
        let name = option.map(|option| option.split('=').next().unwrap_or_default());
        name.is_some_and(|name| is_name(name) && !is_known(name))
    })?;
    let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(query);
    error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
    error.insert(ContextKind::InvalidArg, ContextValue::String(unknown.to_string_lossy().into_owned()));
    Some(error)
}

fn inspect(paths: &[PathBuf]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let mut damaged = 0;
    for path in paths {
        damaged += timberline_engine::inspect::describe(path, &mut out)?;
    }
    if damaged == 0 { Ok(()) } else { Err(Error::message(format!("damaged places: {damaged}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unknown_option_of_query_is_blamed_and_not_what_follows_it() {
        let error = |line: &str| {
            let arguments = line.split(' ').map(OsString::from);
            unknown_query_option(arguments).map(|error| error.to_string())
        };
        for line in ["timberline query --nope x", "timberline query up --nope=5", "timberline query --nope"] {
            let text = error(line).unwrap();
            assert!(
                text.contains("unexpected argument '--nope") && text.contains("timberline query"),
                "{text}"
            );
        }
        for line in [
            "timberline query -up",
            "timberline query --up{a=\"b\"}",
            "timberline query --1",
            "timberline query up --start 5m --url=x --help",
            "timberline query --url x -- --up",
            "timberline export --nope x",
        ] {
            assert_eq!(error(line), None, "{line}");
        }
    }

    #[test]
    fn the_server_can_be_named_by_a_variable() {
        let mut with_url: Vec<String> = Cli::command()
            .get_subcommands()
            .filter(|command| {
                let variable = command.get_arguments().find(|argument| argument.get_id() == "url");
                variable.is_some_and(|url| url.get_env().is_some_and(|name| name == URL_VARIABLE))
            })
            .map(|command| command.get_name().to_owned())
            .collect();
        with_url.sort();
        assert_eq!(with_url, ["backup", "export", "import", "query"]);
    }

    #[test]
    fn settings_are_flags_of_serve() {
        let cli =
            Cli::try_parse_from(["timberline", "serve", "--retention", "30d", "--config", "x.toml"]).unwrap();
        let Command::Serve(flags) = cli.command else { panic!("{cli:?}") };
        assert_eq!(flags.file, Some("x.toml".into()));
        assert_eq!(flags.values.len(), 1);
        assert_eq!((flags.values[0].0.name, flags.values[0].1.as_str()), ("retention", "30d"));
        assert!(Cli::try_parse_from(["timberline", "serve", "--unknown", "1"]).is_err());
    }
}
