//! `timberline export`: series to stdout.

use std::io::{self, Write};

use super::client::Client;
use super::{DEFAULT_URL, Error};

/// Write series of a server to stdout, as JSON lines.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which series, such as '{__name__=~"cpu_.*"}'; may be given several times
    #[arg(long = "match", value_name = "SELECTOR", required = true)]
    selectors: Vec<String>,
    /// First time: seconds since the epoch, or RFC 3339
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
    for (name, value) in [("start", &args.start), ("end", &args.end)] {
        parameters.extend(value.as_deref().map(|value| (name, value)));
    }
    let response = Client::new(&args.url).post_form("/api/v1/export", &parameters)??;
    let mut out = io::stdout().lock();
    io::copy(&mut response.into_body().into_reader(), &mut out)?;
    out.flush()?;
    Ok(())
}
