//! `timberline export`: series to stdout.

use std::io::{self, Write};

use super::client::Client;
use super::time::time_ns;
use super::{DEFAULT_URL, Error};
use crate::state::now_ns;

const NANOS: u64 = 1_000_000_000;

/// Write series of a server to stdout, as JSON lines.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which series, such as '{__name__=~"cpu_.*"}'; may be given several times
    #[arg(long = "match", value_name = "SELECTOR", required = true)]
    selectors: Vec<String>,
    /// First time: seconds since the epoch, RFC 3339, a date, or a duration before now such as 5m
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// Last time
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Unit of the timestamps; finer ones are rounded down
    #[arg(long, value_name = "UNIT", default_value = "ms", value_parser = ["ns", "us", "ms", "s"])]
    precision: String,
    /// The server
    #[arg(long, default_value = DEFAULT_URL)]
    url: String,
}

pub(super) fn run(args: &Args) -> Result<(), Error> {
    let mut parameters = vec![("precision", args.precision.as_str())];
    parameters.extend(args.selectors.iter().map(|selector| ("match[]", selector.as_str())));
    let now_ns = now_ns();
    let time = |text: &Option<String>| text.as_deref().map(|text| time_ns(text, now_ns)).transpose();
    let seconds = |time: i64| {
        let (sign, time) = (if time < 0 { "-" } else { "" }, time.unsigned_abs());
        format!("{sign}{}.{:09}", time / NANOS, time % NANOS)
    };
    let (start, end) = (time(&args.start)?.map(seconds), time(&args.end)?.map(seconds));
    for (name, value) in [("start", &start), ("end", &end)] {
        parameters.extend(value.as_deref().map(|value| (name, value)));
    }
    let response = Client::new(&args.url).post_form("/api/v1/export", &parameters)??;
    let mut out = io::stdout().lock();
    io::copy(&mut response.into_body().into_reader(), &mut out)?;
    out.flush()?;
    Ok(())
}
