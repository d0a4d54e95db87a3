//! Opens what is to be imported, files and stdin, plain or compressed with gzip, and tells its format.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};

use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;

use super::super::Error;
use crate::ingest::exposition::{Dialect, DialectScan};
use crate::ingest::without_mark;

/// Bytes that tell a format: a byte order mark, and what follows it.
const START_BYTES: u64 = 16;
const PIECE_BYTES: usize = 1 << 16;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const UTF16_MARKS: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];

/// The formats of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Influx line protocol
    Line,
    /// Prometheus text format: timestamps are milliseconds
    Prometheus,
    /// OpenMetrics text: timestamps are seconds, and the last line is `# EOF`
    Openmetrics,
    /// JSON lines, as `export` writes them
    Jsonl,
}

impl Format {
    /// What it is called in messages.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Line => "line protocol",
            Self::Prometheus => "the Prometheus text format",
            Self::Openmetrics => "OpenMetrics",
            Self::Jsonl => "JSON lines",
        }
    }

    /// The format that a file's name tells.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        match name.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "prom" => Some(Self::Prometheus),
            "om" | "openmetrics" => Some(Self::Openmetrics),
            _ => None,
        }
    }
}

/// What is read, front to back: text without a byte order mark.
pub(super) struct Input {
    pub(super) format: Format,
    pub(super) text: Box<dyn Read>,
}

/// Opens a file, or stdin. When this returns it is known whether text of Prometheus is OpenMetrics, and that OpenMetrics is whole:
/// for that a file is read twice, and what cannot be read twice is copied to a temporary file.
pub(super) fn open(name: &str, expected: Option<Format>, bar: &ProgressBar) -> Result<Input, Error> {
    let cannot_read = |error: io::Error| Error::message(format!("cannot read {name}: {error}"));
    let (raw, again) = open_raw(name).map_err(|e| Error::message(format!("cannot open {name}: {e}")))?;
    let bytes_before = bar.position();
    let (start, text) = text_of(Box::new(bar.wrap_read(raw))).map_err(cannot_read)?;
    if UTF16_MARKS.iter().any(|mark| start.starts_with(mark)) {
        return Err(Error::message(format!(
            "{name} is UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
        )));
    }
    let told = expected.or_else(|| Format::of_name(name));
    let format = told.unwrap_or(if start.starts_with(b"{\"") { Format::Jsonl } else { Format::Line });
    let mut text = chain(start, text);
    let dialect = match (expected, format) {
        (_, Format::Openmetrics) => Some(Dialect::OpenMetrics),
        (None, Format::Prometheus) => None,
        _ => return Ok(Input { format, text }),
    };
    let mut scan = DialectScan::default();
    let text = match again {
        Some(mut file) => {
            scan_all(&mut scan, &mut *text, &mut io::sink()).map_err(cannot_read)?;
            bar.set_position(bytes_before);
            file.rewind().map_err(cannot_read)?;
            let (start, text) = text_of(Box::new(bar.wrap_read(file))).map_err(cannot_read)?;
            chain(start, text)
        }
        None => {
            let copied = tempfile::tempfile().and_then(|mut copy| {
                scan_all(&mut scan, &mut *text, &mut copy)?;
                copy.rewind()?;
                Ok(copy)
            });
            let copy =
                copied.map_err(|e| Error::message(format!("cannot copy {name} to a temporary file: {e}")))?;
            Box::new(BufReader::with_capacity(PIECE_BYTES, copy))
        }
    };
    let format = match scan.finish(dialect) {
        Ok(Dialect::OpenMetrics) => Format::Openmetrics,
        Ok(Dialect::Prometheus) => Format::Prometheus,
        Err(reason) => return Err(Error::message(format!("{name}: {reason}; nothing of it is imported"))),
    };
    Ok(Input { format, text })
}

/// The bytes of a file or of stdin; a file that can be read again is given twice.
fn open_raw(name: &str) -> io::Result<(Box<dyn Read>, Option<File>)> {
    if name == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(name)?;
    let again = if file.metadata()?.is_file() { Some(file.try_clone()?) } else { None };
    Ok((Box::new(file), again))
}

/// What is compressed with gzip decompressed, and everything else as it is; its first bytes apart, without a byte order mark.
fn text_of(mut raw: Box<dyn Read>) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let magic = take(&mut *raw, GZIP_MAGIC.len() as u64)?;
    let is_gzip = magic == GZIP_MAGIC;
    let mut text = chain(magic, raw);
    if is_gzip {
        text = Box::new(MultiGzDecoder::new(BufReader::with_capacity(PIECE_BYTES, text)));
    }
    let start = take(&mut *text, START_BYTES)?;
    Ok((without_mark(&start).to_vec(), text))
}

fn take(input: &mut dyn Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut taken = Vec::new();
    input.take(bytes).read_to_end(&mut taken)?;
    Ok(taken)
}

fn chain(start: Vec<u8>, rest: Box<dyn Read>) -> Box<dyn Read> {
    Box::new(io::Cursor::new(start).chain(rest))
}

/// Looks at all of `text`, and writes it to `copy`.
fn scan_all(scan: &mut DialectScan, text: &mut dyn Read, copy: &mut dyn Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match text.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                scan.feed(&piece[..len]);
                copy.write_all(&piece[..len])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// Writes a file, opens it, and gives the format and the text, or the error.
    fn opened(name: &str, content: &[u8], expected: Option<Format>) -> Result<(Format, String), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut input = open(path.to_str().unwrap(), expected, &ProgressBar::hidden())
            .map_err(|error| error.to_string())?;
        let mut text = String::new();
        input.text.read_to_string(&mut text).unwrap();
        Ok((input.format, text))
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn formats_follow_from_names_and_from_what_is_in_the_file() {
        for (name, content, format) in [
            ("a.jsonl", "", Format::Jsonl),
            ("a.ndjson.gz", "x", Format::Jsonl),
            ("a.prom", "a 1\n", Format::Prometheus),
            ("a.prom", "a 1\n# EOF\n", Format::Openmetrics),
            ("a.om", "a 1\n# EOF\n", Format::Openmetrics),
            ("a.lp", "cpu,host=a ", Format::Line),
            ("a", "{\"metric\":", Format::Jsonl),
            ("a", "\u{feff}{\"metric\":", Format::Jsonl),
            ("a", "", Format::Line),
        ] {
            let without = content.trim_start_matches('\u{feff}').to_owned();
            assert_eq!(opened(name, content.as_bytes(), None), Ok((format, without.clone())), "{name}");
            assert_eq!(opened(name, &gzip(content.as_bytes()), None), Ok((format, without)), "{name}");
        }
        let explicit = opened("a.prom", b"a 1\n# EOF\n", Some(Format::Prometheus));
        assert_eq!(explicit.unwrap().0, Format::Prometheus, "what is said counts");
    }

    #[test]
    fn open_metrics_is_told_by_its_end_however_long_it_is_and_refused_when_it_is_cut() {
        let mut text = "a{b=\"c\"} 1 1700000000\n".repeat(300_000);
        text += "# EOF\n";
        assert!(text.len() > 6 << 20);
        for content in [text.clone().into_bytes(), gzip(text.as_bytes())] {
            let (format, read) = opened("a.prom", &content, None).unwrap();
            assert!(format == Format::Openmetrics && read == text);
        }
        for (name, content, reason) in [
            ("a.om", "a 1\n", "which is missing"),
            ("a.prom", "# UNIT a s\na 1\n", "it is cut off; nothing of it is imported"),
            ("a.prom", "a 1\n# EOF\nb 1\n", "line 3 follows it"),
        ] {
            let error = opened(name, content.as_bytes(), None).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn utf_16_is_named() {
        let error = opened("a.lp", b"\xff\xfec\0p\0u\0", None).unwrap_err();
        assert!(error.contains("is UTF-16"), "{error}");
    }
}
