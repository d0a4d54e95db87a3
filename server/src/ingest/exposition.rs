//! The Prometheus text format and OpenMetrics: `http_requests_total{code="200"} 1027 1395066363000`.
//!
//! Comments (`# HELP`, `# TYPE`, `# UNIT`, `# EOF`, any other) and exemplars are skipped. Names in quotes may be any
//! UTF-8 (`{"my.metric", "a b"="c"}`). The two formats differ in the unit of their timestamps: see [`Dialect`].

mod dialect;

use std::borrow::Cow;

use timberline_engine::{Error, Field, METRIC_NAME, Row};

use super::error::{ErrorList, Fault, Locator, name_at, quote};
use super::limits::{Limits, past_limit};
use super::precision::Precision;
use super::series_key::LabelSet;
use super::sink::{RowSink, is_about_one_series};
use super::without_mark;
pub use dialect::{Dialect, DialectScan};

/// One sample as it stands in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The metric name, when there is one.
    pub name: Option<Cow<'a, str>>,
    /// The labels in the order of the line.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The value.
    pub value: f64,
    /// Nanoseconds since the epoch, when the line says so.
    pub timestamp: Option<i64>,
}

/// What became of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Lines with a sample, bad ones included.
    pub lines: u64,
    /// Samples stored.
    pub samples: u64,
    /// Comments, `# HELP` and its like among them.
    pub comments: u64,
    /// The lines that were left out.
    pub errors: ErrorList,
}

/// Writes the samples of `text` into `sink`; the caller commits. A sample without timestamp gets `default_time_ns`. A byte order
/// mark in front of them is skipped.
///
/// # Errors
/// Only when the sink takes no more: then nothing should be committed.
pub fn write_text(
    text: &[u8],
    dialect: Dialect,
    default_time_ns: i64,
    limits: &Limits,
    sink: &mut impl RowSink,
) -> Result<WriteReport, Error> {
    let text = without_mark(text);
    let mut report = WriteReport::default();
    let mut locator = Locator::new(text);
    let mut key = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |newline| start + newline);
        let line = &text[start..end];
        let written = match parse_checked(line, dialect, limits) {
            Ok(None) => {
                report.comments += u64::from(line.trim_ascii_start().starts_with(b"#"));
                Ok(())
            }
            Ok(Some(sample)) => {
                report.lines += 1;
                write_sample(&sample, default_time_ns, limits, &mut key, sink)?.map(|()| report.samples += 1)
            }
            Err(fault) => {
                report.lines += 1;
                Err(fault)
            }
        };
        if let Err(fault) = written {
            report.errors.push(&fault.reason, || locator.locate(start, fault.clone().shifted(start)));
        }
        start = end + 1;
    }
    Ok(report)
}

fn parse_checked<'a>(line: &'a [u8], dialect: Dialect, limits: &Limits) -> Result<Option<Sample<'a>>, Fault> {
    if line.len() > limits.line_bytes_max {
        return Err(Fault::new(0, past_limit("line_bytes_max", limits.line_bytes_max, line.len())));
    }
    parse(line, dialect)
}

/// Writes one sample; the inner error is about this line only.
fn write_sample(
    sample: &Sample<'_>,
    default_time_ns: i64,
    limits: &Limits,
    key: &mut Vec<u8>,
    sink: &mut impl RowSink,
) -> Result<Result<(), Fault>, Error> {
    let mut labels = LabelSet::default();
    if let Some(name) = &sample.name {
        labels.push(METRIC_NAME.as_bytes(), name.as_bytes());
    }
    for (name, value) in &sample.labels {
        labels.push(name.as_bytes(), value.as_bytes());
    }
    if let Err(reason) = labels.canonicalize(limits) {
        return Ok(Err(Fault::new(0, reason)));
    }
    labels.write_key(key);
    let fields = [Field { name: b"", value: sample.value }];
    let row = Row { key, timestamp: sample.timestamp.unwrap_or(default_time_ns), fields: &fields };
    match sink.row(row, |_| labels.labels()) {
        Ok(()) => Ok(Ok(())),
        Err(error) if is_about_one_series(&error) => Ok(Err(Fault::new(0, error.to_string()))),
        Err(error) => Err(error),
    }
}

/// Parses one line without its line break; `None` for a blank line or a comment.
///
/// # Errors
/// The column, from 1, in bytes, and what is wrong there.
pub fn parse_line(line: &[u8], dialect: Dialect) -> Result<Option<Sample<'_>>, (usize, String)> {
    parse(line, dialect).map_err(|fault| (fault.offset + 1, fault.reason))
}

fn parse(line: &[u8], dialect: Dialect) -> Result<Option<Sample<'_>>, Fault> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return Err(Fault::new(error.valid_up_to(), "invalid UTF-8")),
    };
    let mut cursor = Cursor { text: text.trim_end_matches(['\r', ' ', '\t']), at: 0 };
    cursor.skip_blanks();
    match cursor.peek() {
        None | Some(b'#') => Ok(None),
        Some(_) => cursor.sample(dialect).map(Some),
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        self.take_while(|b| b == b' ' || b == b'\t');
    }

    /// Takes bytes; `wanted` must not split a character.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn unexpected<T>(&self, expectation: &str) -> Result<T, Fault> {
        let found = name_at(self.text.as_bytes(), self.at);
        Err(Fault::new(self.at, format!("expected {expectation}, found {found}")))
    }

    fn sample(&mut self, dialect: Dialect) -> Result<Sample<'a>, Fault> {
        let name = self.name(true);
        let mut sample =
            Sample { name: name.map(Cow::Borrowed), labels: Vec::new(), value: 0.0, timestamp: None };
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.labels(&mut sample)?;
            }
            _ if sample.name.is_none() => return self.unexpected("a metric name or '{'"),
            _ => {}
        }
        self.skip_blanks();
        sample.value = self.value()?;
        self.skip_blanks();
        if self.peek().is_some_and(|b| b != b'#') {
            sample.timestamp = Some(self.timestamp(dialect)?);
            self.skip_blanks();
        }
        // What follows a `#` is an exemplar.
        match self.peek() {
            None | Some(b'#') => Ok(sample),
            Some(_) => self.unexpected("the end of the line"),
        }
    }

    /// Takes a name that needs no quotes; only metric names may have colons.
    fn name(&mut self, colons: bool) -> Option<&'a str> {
        let is_start = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colons && b == b':');
        if !self.peek().is_some_and(is_start) {
            return None;
        }
        Some(self.take_while(|b| is_start(b) || b.is_ascii_digit()))
    }

    /// Takes what stands between the braces, and the closing one.
    fn labels(&mut self, sample: &mut Sample<'a>) -> Result<(), Fault> {
        loop {
            self.skip_blanks();
            if self.peek() == Some(b'}') {
                break;
            }
            let start = self.at;
            let quoted = self.peek() == Some(b'"');
            let name = match self.name(false) {
                Some(name) => Cow::Borrowed(name),
                None if quoted => self.quoted()?,
                None => return self.unexpected("a label name or '}'"),
            };
            self.skip_blanks();
            if self.peek() == Some(b'=') {
                self.at += 1;
                self.skip_blanks();
                sample.labels.push((name, self.quoted()?));
            } else if quoted && sample.name.is_none() {
                sample.name = Some(name);
            } else if quoted {
                return Err(Fault::new(start, "the metric name is given twice"));
            } else {
                return self.unexpected("'=' after a label name");
            }
            self.skip_blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return self.unexpected("',' or '}' after a label"),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a string in double quotes. `\\`, `\"` and `\n` are escapes; any other backslash stands for itself.
    fn quoted(&mut self) -> Result<Cow<'a, str>, Fault> {
        if self.peek() != Some(b'"') {
            return self.unexpected("'\"'");
        }
        let open = self.at;
        let start = open + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        let mut escaped = false;
        loop {
            match (bytes.get(at), bytes.get(at + 1)) {
                (None, _) => return Err(Fault::new(open, "missing closing quote")),
                (Some(b'"'), _) => break,
                (Some(b'\\'), Some(b'\\' | b'"' | b'n')) => {
                    escaped = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.at = at + 1;
        let raw = &self.text[start..at];
        Ok(if escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) })
    }

    /// Takes a word: a value or timestamp.
    fn word(&mut self) -> (usize, &'a str) {
        let start = self.at;
        (start, self.take_while(|b| b != b' ' && b != b'\t'))
    }

    fn value(&mut self) -> Result<f64, Fault> {
        let (start, word) = self.word();
        if word.is_empty() {
            return self.unexpected("a value");
        }
        // Rust reads `NaN`, `Inf` and `Infinity` in any case and with a sign, as Prometheus does.
        word.parse().map_err(|_| Fault::new(start, format!("invalid value {}", quote(word.as_bytes()))))
    }

    fn timestamp(&mut self, dialect: Dialect) -> Result<i64, Fault> {
        let (start, word) = self.word();
        let (unit, expected) = match dialect {
            Dialect::Prometheus => (Precision::Milliseconds, "whole milliseconds"),
            Dialect::OpenMetrics => (Precision::Seconds, "seconds"),
        };
        let nanoseconds = match dialect {
            Dialect::Prometheus => word.parse().ok().and_then(|ms| unit.to_nanoseconds(ms)),
            Dialect::OpenMetrics => seconds_to_nanoseconds(word),
        };
        nanoseconds.ok_or_else(|| {
            let word_shown = quote(word.as_bytes());
            let whole: Option<i64> = word.split('.').next().and_then(|whole| whole.parse().ok());
            match whole.filter(|whole| unit.to_nanoseconds(*whole).is_none()) {
                Some(whole) => Fault::new(start, unit.out_of_range(whole, &word_shown)),
                None => Fault::new(start, format!("invalid timestamp {word_shown}: expected {expected}")),
            }
        })
    }
}

fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let mut ahead = chars.clone();
        let unescaped = match (c, ahead.next()) {
            ('\\', Some('n')) => '\n',
            ('\\', Some(next @ ('\\' | '"'))) => next,
            _ => {
                text.push(c);
                continue;
            }
        };
        text.push(unescaped);
        chars = ahead;
    }
    text
}

/// Decimal seconds, without going through a float where there is no exponent. Digits past the nanosecond are cut.
fn seconds_to_nanoseconds(word: &str) -> Option<i64> {
    const NANOSECONDS: i128 = 1_000_000_000;
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_decimal = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !is_decimal(whole) || !is_decimal(fraction) {
        let seconds: f64 = word.parse().ok()?;
        let nanoseconds = seconds * 1e9;
        let fits = nanoseconds >= i64::MIN as f64 && nanoseconds < i64::MAX as f64;
        return fits.then_some(nanoseconds as i64);
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
    let fraction: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let magnitude = whole * NANOSECONDS + fraction;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests;
