//! `timberline import`: files to a server, in batches, over its public endpoints.

mod batches;
mod convert;
mod input;
mod long_line;
mod points;
mod target;
mod units;

use std::io::{self, Read};

use indicatif::{ProgressBar, ProgressStyle};

use super::client::Client;
use super::{Error, ServerUrl};
use crate::ingest::exposition::Dialect;
use crate::ingest::{Precision, jsonl};
use batches::{BATCH_BYTES, Batch, Batches, Next, at_last_break};
use convert::convert;
use input::{Format, Input};
use long_line::{Failure, LongLine};
use points::{Context, Points};
use target::{Lines, Target, Totals, counted};
use units::Units;

/// A line of text that is longer is refused here: the server takes none of a quarter.
const TEXT_LINE_BYTES_MAX: usize = 4 * BATCH_BYTES;

/// Send files of line protocol, Prometheus text or JSON lines to a server.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files, plain or compressed with gzip; `-` is stdin
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Format of the files [default: by name: *.jsonl and *.ndjson, *.om and *.openmetrics, *.prom, which is OpenMetrics when it
    /// ends with `# EOF`; else jsonl for what begins with `{"`, and line for the rest]
    #[arg(long)]
    format: Option<Format>,
    /// Database of line protocol, where the files do not name it themselves: the label `db`
    #[arg(long, value_name = "NAME")]
    db: Option<String>,
    /// Unit of the timestamps of line protocol [default: ns] or JSON lines [default: ms]
    #[arg(long, value_name = "UNIT", value_parser = ["ns", "us", "ms", "s"])]
    precision: Option<String>,
    #[command(flatten)]
    server: ServerUrl,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    for name in &args.files {
        if let Some(format) = args.format.or_else(|| Format::of_name(name)) {
            check_options(args, name, format)?;
        }
    }
    let bar = progress_bar(&args.files);
    let client = Client::new(&args.server.url);
    let mut totals = Totals::default();
    let outcome = args.files.iter().try_for_each(|name| {
        let Input { format, text } = input::open(name, args.format, &bar)?;
        check_options(args, name, format)?;
        let target = Target { client: &client, name, bar: &bar, totals: &mut totals };
        let unit = precision(args, format)?;
        Import { target, args, unit }.file(format, text)
    });
    bar.finish_and_clear();
    super::say(format_args!("{totals}"));
    outcome?;
    match totals.refused {
        0 => Ok(()),
        refused => Err(Error::message(format!("{} refused", counted(refused, "line")))),
    }
}

/// Refuses options that would do nothing for a file.
fn check_options(args: &Args, name: &str, format: Format) -> Result<(), Error> {
    let title = format.title();
    if args.db.is_some() && format != Format::Line {
        return Err(Error::message(format!(
            "--db is for line protocol, and {name} is {title}, whose series carry all their labels: leave it out"
        )));
    }
    let own_unit = match format {
        Format::Line | Format::Jsonl => return Ok(()),
        Format::Prometheus => "milliseconds (--format openmetrics is for seconds)",
        Format::Openmetrics => "seconds (--format prometheus is for milliseconds)",
    };
    match args.precision {
        None => Ok(()),
        Some(_) => Err(Error::message(format!(
            "--precision is for line protocol and JSON lines, and {name} is {title}, which has {own_unit}: leave it out"
        ))),
    }
}

/// The unit of the timestamps that are sent.
fn precision(args: &Args, format: Format) -> Result<Precision, Error> {
    let default = match format {
        Format::Jsonl => Precision::Milliseconds,
        Format::Line | Format::Prometheus | Format::Openmetrics => Precision::Nanoseconds,
    };
    let given = args.precision.as_deref().map(str::parse).transpose();
    Ok(given
        .map_err(|error: crate::ingest::UnknownPrecision| Error::message(error.to_string()))?
        .unwrap_or(default))
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

/// The import of one file.
struct Import<'a> {
    target: Target<'a>,
    args: &'a Args,
    unit: Precision,
}

impl Import<'_> {
    fn file(&mut self, format: Format, text: Box<dyn Read>) -> Result<(), Error> {
        match format {
            Format::Line => self.points(text),
            Format::Prometheus => self.exposition(text, Dialect::Prometheus),
            Format::Openmetrics => self.exposition(text, Dialect::OpenMetrics),
            Format::Jsonl => self.json(text),
        }
    }

    /// Line protocol.
    fn points(&mut self, text: Box<dyn Read>) -> Result<(), Error> {
        let mut points = Points::new(self.args.db.as_deref(), Units::new(self.unit));
        let mut batches = Batches::new(text, TEXT_LINE_BYTES_MAX);
        while let Some(next) = self.read(batches.next(|text, line, rest| points.cut(text, line, rest)))? {
            if let (Some(line), Some(_)) = (points.context_line, &self.args.db) {
                return Err(Error::message(format!(
                    "{}:{line}: the file says itself which database its points are of: leave --db out",
                    self.target.name
                )));
            }
            self.warn(&mut points.units);
            match next {
                Next::Batch(batch) if points.points > 0 => {
                    let path = self.write_path(&points.context);
                    self.target.totals.refused +=
                        self.target.send(&path, &batch.text, Lines::From(batch.first_line))?;
                }
                Next::Batch(_) => {}
                Next::LongLine(line) => self.refuse_rest(&mut batches, line)?,
            }
        }
        self.target.totals.comments += points.comments;
        self.target.totals.statements += points.statements;
        Ok(())
    }

    fn write_path(&self, context: &Context) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("precision", self.unit.name());
        for (name, value) in [("db", &context.db), ("rp", &context.rp)] {
            query.extend_pairs(value.iter().map(|value| (name, value)));
        }
        format!("/write?{}", query.finish())
    }

    /// Prometheus text, which is sent as JSON lines in nanoseconds.
    fn exposition(&mut self, text: Box<dyn Read>, dialect: Dialect) -> Result<(), Error> {
        let mut units = Units::of_text(dialect == Dialect::OpenMetrics);
        let mut batches = Batches::new(text, TEXT_LINE_BYTES_MAX);
        while let Some(next) = self.read(batches.next(|text, _, rest| at_last_break(text, rest)))? {
            match next {
                Next::LongLine(line) => self.refuse_rest(&mut batches, line)?,
                Next::Batch(Batch { text, first_line }) => {
                    let (json, report) = convert(&text, dialect, &mut units)?;
                    self.warn(&mut units);
                    self.target.tell(&report.errors.to_string(), Lines::From(first_line));
                    self.target.totals.comments += report.comments;
                    self.target.totals.refused += report.errors.total;
                    if !json.is_empty() {
                        self.target.totals.refused +=
                            self.target.send(&self.import_path(), &json, Lines::Made)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn json(&mut self, text: Box<dyn Read>) -> Result<(), Error> {
        let mut units = Units::new(self.unit);
        let mut batches = Batches::new(text, BATCH_BYTES);
        while let Some(next) = self.read(batches.next(|text, _, rest| at_last_break(text, rest)))? {
            match next {
                Next::Batch(Batch { text, first_line }) => {
                    for (line, number) in text.split(|byte| *byte == b'\n').zip(first_line..) {
                        if units.is_decided() {
                            break;
                        }
                        if let Some(timestamp) = jsonl::first_timestamp(line) {
                            units.observe(timestamp, || Some(number));
                        }
                    }
                    self.warn(&mut units);
                    self.target.totals.refused +=
                        self.target.send(&self.import_path(), &text, Lines::From(first_line))?;
                }
                Next::LongLine(line) => self.long_line(&mut batches, line, &mut units)?,
            }
        }
        Ok(())
    }

    fn import_path(&self) -> String {
        format!("/api/v1/import?precision={}", self.unit.name())
    }

    /// Sends a line that is too long for a request in several.
    fn long_line(
        &mut self,
        batches: &mut Batches<impl Read>,
        line: u64,
        units: &mut Units,
    ) -> Result<(), Error> {
        let mut rest = batches.rest_of_line();
        let read = LongLine::read(&mut rest);
        let skipped = io::copy(&mut rest, &mut io::sink());
        self.read(skipped)?;
        let long = match read {
            Ok(long) => long,
            Err(Failure::Io(error)) => return self.read(Err(error)),
            Err(Failure::Bad(column, reason)) => {
                self.target.say(&format!("{}:{line}:{column}: {reason}", self.target.name));
                self.target.totals.refused += 1;
                return Ok(());
            }
        };
        let path = self.import_path();
        let mut refused = 0;
        long.pieces(BATCH_BYTES, |piece| {
            if let Some(timestamp) = jsonl::first_timestamp(piece) {
                units.observe(timestamp, || Some(line));
            }
            self.warn(units);
            refused += self.target.send(&path, piece, Lines::PartOf(line))?;
            Ok::<(), Error>(())
        })?;
        self.target.totals.refused += refused.min(1);
        Ok(())
    }

    /// Skips a line that is too long to be one.
    fn refuse_rest(&mut self, batches: &mut Batches<impl Read>, line: u64) -> Result<(), Error> {
        let skipped = io::copy(&mut batches.rest_of_line(), &mut io::sink());
        let bytes = self.read(skipped)?;
        let name = self.target.name;
        self.target
            .say(&format!("{name}:{line}:1: the line has {bytes} bytes, of at most {TEXT_LINE_BYTES_MAX}"));
        self.target.totals.refused += 1;
        Ok(())
    }

    fn warn(&self, units: &mut Units) {
        if let Some(warning) = units.take_warning(self.target.name) {
            self.target.say(&warning);
        }
    }

    /// What was read of the file.
    fn read<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|error| Error::message(format!("cannot read {}: {error}", self.target.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_templates_are_valid() {
        for files in [vec!["/dev/null".to_owned()], vec!["-".to_owned()]] {
            let bar = progress_bar(&files);
            bar.inc(1);
            bar.finish();
        }
    }
}
