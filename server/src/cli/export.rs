//! `timberline export`: series to stdout.

use std::io::{self, Read, Write};

use super::client::Client;
use super::time::time_ns;
use super::{Error, ServerUrl};
use crate::ingest::jsonl;
use crate::state::now_ns;

const NANOS: u64 = 1_000_000_000;
const PIECE_BYTES: usize = 1 << 16;
/// So many bytes of the last line are kept: one that says what is missing is shorter.
const LAST_LINE_BYTES_MAX: usize = 1 << 16;

/// Write series of a server to stdout, as JSON lines.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which series, such as '{__name__=~"cpu_.*"}'; may be given several times [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
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
    #[command(flatten)]
    server: ServerUrl,
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
    let response = Client::new(&args.server.url).post_form("/api/v1/export", &parameters)??;
    let mut out = io::stdout().lock();
    let missing = copy(&mut response.into_body().into_reader(), &mut out)?;
    match missing {
        None => Ok(()),
        Some(missing) => Err(Error::message(format!("the export is not whole: {missing}"))),
    }
}

/// Copies an answer; gives what its last line says is missing.
fn copy(answer: &mut dyn Read, out: &mut dyn Write) -> io::Result<Option<String>> {
    let mut piece = vec![0; PIECE_BYTES];
    // The start of the last line.
    let mut last = Vec::new();
    loop {
        let len = match answer.read(&mut piece) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if len == 0 {
            out.flush()?;
            return Ok(jsonl::error_of(&last));
        }
        let text = &piece[..len];
        out.write_all(text)?;
        // The break at the end of the last line begins no other one.
        if let Some(newline) = memchr::memrchr(b'\n', &text[..len - 1]) {
            last.clear();
            last.extend_from_slice(&text[newline + 1..]);
        } else {
            if last.ends_with(b"\n") {
                last.clear();
            }
            last.extend_from_slice(text);
        }
        last.truncate(LAST_LINE_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_last_line_says_is_missing_is_told() {
        struct Bytewise<'a>(&'a [u8]);
        impl Read for Bytewise<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                self.0.read(&mut out[..1])
            }
        }
        let series = "{\"metric\":{},\"values\":[],\"timestamps\":[]}\n";
        for (text, expected) in [
            (String::new(), None),
            (series.to_owned(), None),
            (format!("{series}{{\"error\":\"a block\"}}\n"), Some("a block")),
            ("{\"error\":\"a block\"}".to_owned(), Some("a block")),
            (format!("{{\"error\":\"early\"}}\n{series}"), None),
        ] {
            let (mut whole, mut bytewise) = (Vec::new(), Vec::new());
            assert_eq!(copy(&mut text.as_bytes(), &mut whole).unwrap().as_deref(), expected, "{text}");
            assert_eq!(copy(&mut Bytewise(text.as_bytes()), &mut bytewise).unwrap().as_deref(), expected);
            assert!(whole == text.as_bytes() && bytewise == whole);
        }
    }
}
