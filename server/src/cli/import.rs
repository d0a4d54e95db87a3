//! `timberline import`: files to a server, in batches, over its public endpoints.

mod batches;
mod convert;

use std::fs::File;
use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use super::client::{Client, Refusal};
use super::{DEFAULT_URL, Error};
use batches::{Batch, Batches};
use convert::Converter;

/// How often a server that has no room is asked again, and after which pause.
const RETRIES_MAX: u32 = 60;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Influx line protocol
    Line,
    /// Prometheus text format
    Prometheus,
    /// OpenMetrics text
    Openmetrics,
    /// JSON lines, as `export` writes them
    Jsonl,
}

/// Send files of line protocol, Prometheus text or JSON lines to a server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files, plain or compressed with gzip; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Format of the files [default: by name: *.jsonl and *.ndjson, *.prom, *.om and *.openmetrics; else jsonl for what begins with `{"`, and
    /// line for the rest]
    #[arg(long)]
    format: Option<Format>,
    /// Database of line protocol: the label `db`
    #[arg(long, value_name = "NAME")]
    db: Option<String>,
    /// Unit of the timestamps [default: ns in line protocol, ms in JSON lines]
    #[arg(long, value_name = "UNIT", value_parser = ["ns", "us", "ms", "s"])]
    precision: Option<String>,
    /// The server
    #[arg(long, default_value = DEFAULT_URL)]
    url: String,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let bar = progress_bar(&args.files);
    let client = Client::new(&args.url);
    let mut done = Lines::default();
    let outcome = args.files.iter().try_for_each(|name| {
        let mut input = open(name, &bar)?;
        let start = batches::peek(&mut input).map_err(|error| cannot_read(name, &error))?;
        let format = args.format.unwrap_or_else(|| format_of(name, &start));
        let target = Target { client: &client, path: path(args, format), name, bar: &bar };
        target.import(format, Box::new(io::Cursor::new(start).chain(input)), &mut done)
    });
    bar.finish_and_clear();
    let Lines { read, refused } = done;
    eprintln!("{} stored, {refused} refused", lines(read.saturating_sub(refused)));
    outcome?;
    match refused {
        0 => Ok(()),
        _ => Err(Error::message(format!("{} refused", lines(refused)))),
    }
}

/// How many lines there were; comments and empty ones among them.
#[derive(Clone, Copy, Debug, Default)]
struct Lines {
    /// Read and sent.
    read: u64,
    /// Refused by the server, or not in the format.
    refused: u64,
}

fn lines(count: u64) -> String {
    if count == 1 { "1 line".to_owned() } else { format!("{count} lines") }
}

fn cannot_read(name: &str, error: &io::Error) -> Error {
    Error::message(format!("cannot read {name}: {error}"))
}

fn progress_bar(files: &[String]) -> ProgressBar {
    const KNOWN: &str = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
    const UNKNOWN: &str = "{spinner} {bytes}  {bytes_per_sec}";
    let sizes: Option<Vec<u64>> =
        files.iter().map(|name| Some(std::fs::metadata(name).ok()?.len())).collect();
    let (bar, template) = match sizes {
        Some(sizes) => (ProgressBar::new(sizes.iter().sum()), KNOWN),
        None => (ProgressBar::no_length(), UNKNOWN),
    };
    // The templates are right; a test draws them.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The format that a file's name or, where that says nothing, its first bytes tell.
fn format_of(name: &str, start: &[u8]) -> Format {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    match name.rsplit_once('.') {
        Some((_, "jsonl" | "ndjson")) => Format::Jsonl,
        Some((_, "prom")) => Format::Prometheus,
        Some((_, "om" | "openmetrics")) => Format::Openmetrics,
        _ if start.starts_with(b"{\"") => Format::Jsonl,
        _ => Format::Line,
    }
}

fn path(args: &Args, format: Format) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let default = if format == Format::Line { "ns" } else { "ms" };
    match format {
        // Text formats know their unit; they are sent as JSON lines in nanoseconds.
        Format::Prometheus | Format::Openmetrics => query.append_pair("precision", "ns"),
        _ => query.append_pair("precision", args.precision.as_deref().unwrap_or(default)),
    };
    if let (Format::Line, Some(db)) = (format, &args.db) {
        query.append_pair("db", db);
    }
    let endpoint = if format == Format::Line { "/write" } else { "/api/v1/import" };
    format!("{endpoint}?{}", query.finish())
}

fn open(name: &str, bar: &ProgressBar) -> Result<Box<dyn Read>, Error> {
    let raw: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin().lock()),
        _ => Box::new(
            File::open(name).map_err(|error| Error::message(format!("cannot open {name}: {error}")))?,
        ),
    };
    batches::decompressed(bar.wrap_read(raw)).map_err(|error| cannot_read(name, &error))
}

/// Where a file goes, and how its lines are named in messages.
struct Target<'a> {
    client: &'a Client,
    path: String,
    name: &'a str,
    bar: &'a ProgressBar,
}

impl Target<'_> {
    /// Sends a whole file.
    fn import(&self, format: Format, input: Box<dyn Read>, done: &mut Lines) -> Result<(), Error> {
        let mut converter = Converter::default();
        for batch in Batches::new(input, format == Format::Line) {
            let batch = batch.map_err(|error| cannot_read(self.name, &error))?;
            let converted = match format {
                Format::Line | Format::Jsonl => None,
                Format::Prometheus | Format::Openmetrics => {
                    let (text, errors) = converter.convert(&batch.text, format == Format::Openmetrics)?;
                    done.refused += errors.total;
                    self.tell(&errors.to_string(), &batch);
                    Some(text)
                }
            };
            done.refused += self.send(&batch, converted.as_deref().unwrap_or(&batch.text))?;
            done.read += batch.lines;
        }
        Ok(())
    }

    fn send(&self, batch: &Batch, text: &[u8]) -> Result<u64, Error> {
        for _ in 0..RETRIES_MAX {
            match self.client.post(&self.path, text)? {
                Ok(_) => return Ok(0),
                Err(refusal) if refusal.status == 503 => thread::sleep(RETRY_PAUSE),
                Err(refusal) => return self.tell_refusal(refusal, batch),
            }
        }
        Err(Error::message("the server has had no room for a minute: give up"))
    }

    /// Tells which lines a server refused; an answer that is about something else is an error.
    fn tell_refusal(&self, refusal: Refusal, batch: &Batch) -> Result<u64, Error> {
        let lines = refusal
            .message
            .strip_prefix("partial write: ")
            .or_else(|| refusal.message.strip_prefix("unable to parse: "))
            .and_then(|rest| rest.rsplit_once(" dropped="));
        match lines {
            Some((reasons, dropped)) => {
                self.tell(reasons, batch);
                Ok(dropped.parse().unwrap_or(1))
            }
            None => Err(refusal.into()),
        }
    }

    fn tell(&self, reasons: &str, batch: &Batch) {
        if !reasons.is_empty() {
            let text = name_lines(reasons, self.name, batch.first_line);
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }
}

/// Turns each `line 3, column 17` of a batch into the place in the file, `name:1003:17`.
fn name_lines(reasons: &str, name: &str, first_line: u64) -> String {
    let place = |rest: &str| -> Option<(u64, u64, usize)> {
        let rest = rest.strip_prefix("line ")?;
        let (line, after) = rest.split_once(", column ")?;
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let length = "line ".len() + line.len() + ", column ".len() + digits;
        Some((line.parse().ok()?, after[..digits].parse().ok()?, length))
    };
    let reasons: Vec<String> = reasons
        .split("; ")
        .map(|reason| match place(reason) {
            Some((line, column, length)) => {
                format!("{name}:{}:{column}{}", first_line + line - 1, &reason[length..])
            }
            None => reason.to_owned(),
        })
        .collect();
    reasons.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_by_their_place_in_the_file() {
        let told = name_lines("line 3, column 17: bad; line 4, column 1: worse; and 5 more", "x.lp", 1001);
        assert_eq!(told, "x.lp:1003:17: bad\nx.lp:1004:1: worse\nand 5 more");
    }

    #[test]
    fn formats_follow_from_names() {
        for (name, format) in [
            ("a.jsonl.gz", Format::Jsonl),
            ("a.prom", Format::Prometheus),
            ("a.om", Format::Openmetrics),
            ("a.lp", Format::Line),
            ("-", Format::Line),
        ] {
            assert_eq!(format_of(name, b"cpu,host=a "), format, "{name}");
        }
        assert_eq!(format_of("-", b"{\"metric\":"), Format::Jsonl);
    }

    #[test]
    fn progress_templates_are_valid() {
        for files in [vec!["/dev/null".to_owned()], vec!["-".to_owned()]] {
            let bar = progress_bar(&files);
            bar.inc(1);
            bar.finish();
        }
    }
}
