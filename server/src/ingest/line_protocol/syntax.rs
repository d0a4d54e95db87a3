//! The strict grammar: InfluxData's line protocol, as version 2 of their decoder has it.
//!
//! ```text
//! line        = measurement { "," tag-key "=" tag-value } spaces field { "," field } [ spaces timestamp ] [ spaces ]
//! field       = field-key "=" ( float | integer "i" | unsigned "u" | boolean | '"' string '"' )
//! ```
//!
//! - A backslash escapes a space or comma in a measurement, also `=` in a tag key, tag value and field key, and `"`
//!   or `\` in a string. Anywhere else it stands for itself.
//! - A line ends with `\n`, `\r\n` or the input. A string may hold line breaks.
//! - Control characters are refused in measurements, tag keys, field keys and comments, not in tag values and
//!   strings. All text is UTF-8.
//! - Empty lines and lines that start with `#` are skipped, spaces at the start of a line too.

use super::super::error::{Fault, LineError, Locator, name_at, quote};
use super::super::limits::{Limits, past_limit};
use super::super::precision::Precision;
use super::super::without_mark;
use super::number::{Value, parse_decimal, parse_value};

const MEASUREMENT: u8 = 1;
const NAME: u8 = 2;
const TAG_VALUE: u8 = 4;
const FIELD_VALUE: u8 = 8;
const COMMENT: u8 = 16;

/// What [`Decoder`] allows.
const UNLIMITED: Limits =
    Limits { series_key_bytes_max: usize::MAX, fields_max: usize::MAX, ..Limits::DEFAULT };

/// For each byte, the parts of a line that it ends.
const ENDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if byte < 0x20 || byte == 0x7f {
            table[byte] = MEASUREMENT | NAME | COMMENT;
        }
        byte += 1;
    }
    table[b' ' as usize] = MEASUREMENT | NAME | TAG_VALUE | FIELD_VALUE;
    table[b',' as usize] = MEASUREMENT | NAME | TAG_VALUE | FIELD_VALUE;
    table[b'=' as usize] = NAME | TAG_VALUE;
    table[b'\r' as usize] |= TAG_VALUE | FIELD_VALUE;
    table[b'\n' as usize] |= TAG_VALUE | FIELD_VALUE;
    table
};

/// Whether a byte may stand in a field value that is not a string.
pub(super) fn is_value_byte(byte: u8) -> bool {
    ENDS[usize::from(byte)] & FIELD_VALUE == 0
}

/// Whether a backslash escapes `byte` in the part `part`.
fn is_escapable(byte: u8, part: u8) -> bool {
    matches!(byte, b' ' | b',') || (byte == b'=' && part != MEASUREMENT)
}

/// Measurement and tags, escapes not undone.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesKey<'a> {
    /// The raw measurement.
    pub measurement: &'a [u8],
    /// Raw names and values, in the order of the line; no name twice.
    pub tags: Vec<(&'a [u8], &'a [u8])>,
}

/// One line, escapes not undone: see [`unescape_measurement`](super::unescape_measurement),
/// [`unescape_name`](super::unescape_name), [`unescape_string`](super::unescape_string).
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// The raw bytes of measurement and tags.
    pub key: &'a [u8],
    /// The same, taken apart.
    pub series: SeriesKey<'a>,
    /// Raw names and values, in the order of the line; a name may stand twice.
    pub fields: Vec<(&'a [u8], Value<'a>)>,
    /// The timestamp in nanoseconds, when there is one.
    pub timestamp: Option<i64>,
}

/// A line that is left out.
pub(super) struct Refused {
    pub(super) fault: Fault,
    /// Where the next line starts.
    pub(super) next: usize,
}

/// Decodes a body line by line, by the strict grammar alone: lines may be as large as they are. Behind a bad line it
/// goes on at the next line.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    body: &'a [u8],
    at: usize,
    precision: Precision,
    locator: Locator<'a>,
}

impl<'a> Decoder<'a> {
    /// A decoder for `body`, whose timestamps are in units of `precision`.
    #[must_use]
    pub fn new(body: &'a [u8], precision: Precision) -> Self {
        let body = without_mark(body);
        Self { body, at: 0, precision, locator: Locator::new(body) }
    }
}

impl<'a> Iterator for Decoder<'a> {
    type Item = Result<Line<'a>, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = skip_blank(self.body, self.at);
        if start == self.body.len() {
            return None;
        }
        Some(match decode_line(self.body, start, self.precision, &UNLIMITED) {
            Ok((line, end)) => {
                self.at = end;
                Ok(line)
            }
            Err(Refused { fault, next }) => {
                self.at = next;
                Err(self.locator.locate(start, fault))
            }
        })
    }
}

/// The offset behind the line break that ends the line of `offset`.
pub(super) fn next_line(body: &[u8], offset: usize) -> usize {
    let rest = &body[offset.min(body.len())..];
    memchr::memchr(b'\n', rest).map_or(body.len(), |newline| offset + newline + 1)
}

/// Skips empty lines and comments. A comment with a control character is not skipped, so that it is seen as a bad line.
pub(super) fn skip_blank(body: &[u8], mut at: usize) -> usize {
    loop {
        match body.get(at) {
            Some(b' ' | b'\n') => at += 1,
            Some(b'\r') if matches!(body.get(at + 1), Some(b'\n') | None) => at += 1,
            Some(b'#') => match comment(body, at) {
                Ok(end) => at = end,
                Err(_) => return at,
            },
            _ => return at,
        }
    }
}

/// The end of the comment at `start`.
fn comment(body: &[u8], start: usize) -> Result<usize, Fault> {
    let length = body[start..].iter().position(|&b| ENDS[usize::from(b)] & COMMENT != 0);
    let end = length.map_or(body.len(), |length| start + length);
    match end_of_line(body, end) {
        Some(_) => Ok(end),
        None => Err(Fault::new(end, format!("invalid character {} in a comment", name_at(body, end)))),
    }
}

/// The start of the next line, when a line ends at `at`.
#[inline]
pub(super) fn end_of_line(body: &[u8], at: usize) -> Option<usize> {
    match body.get(at) {
        None => Some(at),
        Some(b'\n') => Some(at + 1),
        Some(b'\r') => match body.get(at + 1) {
            None => Some(at + 1),
            Some(b'\n') => Some(at + 2),
            Some(_) => None,
        },
        Some(_) => None,
    }
}

/// Decodes the line at `start`; also gives the start of the next line. Of the limits, those that bound the memory
/// for a line are kept.
pub(super) fn decode_line<'a>(
    body: &'a [u8],
    start: usize,
    precision: Precision,
    limits: &Limits,
) -> Result<(Line<'a>, usize), Refused> {
    let mut cursor = Cursor { body, at: start };
    match cursor.line(precision, limits) {
        Ok((line, None)) => Ok((line, cursor.at)),
        Ok((_, Some(fault))) => Err(Refused { fault, next: cursor.at }),
        Err(fault) => Err(Refused { next: next_line(body, fault.offset), fault }),
    }
}

/// Takes a raw key apart; offsets of faults are from its start.
pub(super) fn parse_series_key(key: &[u8]) -> Result<SeriesKey<'_>, Fault> {
    let mut cursor = Cursor { body: key, at: 0 };
    let series = cursor.series_key(usize::MAX)?;
    if cursor.at < key.len() {
        return Err(cursor.unexpected("expected a tag or a field"));
    }
    Ok(series)
}

/// Checks a raw field key; the offset of a fault is from its start.
pub(super) fn check_field_key(name: &[u8]) -> Result<(), Fault> {
    let mut cursor = Cursor { body: name, at: 0 };
    cursor.field_key()?;
    if cursor.at < name.len() {
        return Err(cursor.unexpected("expected '=' after a field key"));
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// A fault at the current offset that names what stands there.
    fn unexpected(&self, expectation: &str) -> Fault {
        Fault::new(self.at, format!("{expectation}, found {}", name_at(self.body, self.at)))
    }

    /// Takes bytes up to the first one that ends `part` and is not escaped.
    fn token(&mut self, part: u8) -> Result<&'a [u8], Fault> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if byte == b'\\' && self.body.get(self.at + 1).is_some_and(|&next| is_escapable(next, part)) {
                self.at += 2;
            } else if ENDS[usize::from(byte)] & part == 0 {
                self.at += 1;
            } else {
                break;
            }
        }
        self.utf8(start, self.at)
    }

    fn utf8(&self, start: usize, end: usize) -> Result<&'a [u8], Fault> {
        let token = &self.body[start..end];
        match std::str::from_utf8(token) {
            Ok(_) => Ok(token),
            Err(_) => Err(Fault::new(start, format!("invalid UTF-8 in {}", quote(token)))),
        }
    }

    /// Takes a line. Where it has too many fields, the first of them is the inner fault: such a line is read to its end
    /// all the same, because a string in it may look like another line.
    fn line(&mut self, precision: Precision, limits: &Limits) -> Result<(Line<'a>, Option<Fault>), Fault> {
        let start = self.at;
        let series = self.series_key(limits.series_key_bytes_max)?;
        let key = &self.body[start..self.at];
        self.end_of_key(&series)?;
        let (mut fields, mut count, mut excess_at) = (Vec::new(), 0, self.at);
        loop {
            if count == limits.fields_max {
                excess_at = self.at;
            }
            let field = self.field()?;
            count += 1;
            if count <= limits.fields_max {
                fields.push(field);
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b' ' | b'\r' | b'\n') | None => break,
                Some(_) => {
                    return Err(
                        self.unexpected("expected a comma, a space or the end of the line after a field")
                    );
                }
            }
        }
        let timestamp = self.timestamp(precision)?;
        self.at = end_of_line(self.body, self.at)
            .ok_or_else(|| self.unexpected("unexpected text after the timestamp"))?;
        let excess = (count > limits.fields_max)
            .then(|| Fault::new(excess_at, past_limit("fields_max", limits.fields_max, count)));
        Ok((Line { key, series, fields, timestamp }, excess))
    }

    /// Takes measurement and tags, of up to about `bytes_max` bytes.
    fn series_key(&mut self, bytes_max: usize) -> Result<SeriesKey<'a>, Fault> {
        let start = self.at;
        if self.peek() == Some(b'#') {
            // Only comments that are not well formed come here: see `skip_blank`.
            comment(self.body, self.at)?;
        }
        let measurement = self.token(MEASUREMENT)?;
        if measurement.is_empty() {
            return Err(self.unexpected("expected a measurement"));
        }
        let mut tags = Vec::new();
        while self.tag_comma()? {
            tags.push(self.tag()?);
            if self.at - start > bytes_max {
                return Err(Fault::new(
                    start,
                    past_limit("series_key_bytes_max", bytes_max, self.at - start),
                ));
            }
        }
        self.check_unique(&tags)?;
        Ok(SeriesKey { measurement, tags })
    }

    /// Takes the comma before a tag, if there is one.
    fn tag_comma(&mut self) -> Result<bool, Fault> {
        if self.peek() != Some(b',') {
            return Ok(false);
        }
        self.at += 1;
        match self.peek() {
            None | Some(b' ' | b'\r' | b'\n') => Err(self.unexpected("expected a tag key after a comma")),
            Some(_) => Ok(true),
        }
    }

    fn tag(&mut self) -> Result<(&'a [u8], &'a [u8]), Fault> {
        let start = self.at;
        let name = self.token(NAME)?;
        if name.is_empty() {
            return Err(self.unexpected("expected a tag key"));
        }
        if self.peek() != Some(b'=') {
            let found = name_at(self.body, self.at);
            return Err(Fault::new(
                start,
                format!("expected '=' after tag key {}, found {found}", quote(name)),
            ));
        }
        self.at += 1;
        let value = self.token(TAG_VALUE)?;
        if value.is_empty() {
            return Err(self.unexpected(&format!("missing value of tag key {}", quote(name))));
        }
        Ok((name, value))
    }

    /// Raw names are compared: unescaping keeps different names different.
    fn check_unique(&self, tags: &[(&'a [u8], &'a [u8])]) -> Result<(), Fault> {
        let mut names: Vec<&[u8]> = tags.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(Fault::new(self.at, format!("duplicate tag key {}", quote(twice[0])))),
            None => Ok(()),
        }
    }

    /// Takes the spaces between key and fields.
    fn end_of_key(&mut self, series: &SeriesKey<'_>) -> Result<(), Fault> {
        match self.peek() {
            Some(b' ') => {
                self.skip_spaces();
                Ok(())
            }
            None | Some(b'\r' | b'\n') => Err(Fault::new(self.at, "missing fields")),
            Some(_) if series.tags.is_empty() => {
                Err(self.unexpected("expected a tag or a field after the measurement"))
            }
            Some(_) => Err(self.unexpected("expected a tag or a field after a tag")),
        }
    }

    fn field_key(&mut self) -> Result<&'a [u8], Fault> {
        let name = self.token(NAME)?;
        if name.is_empty() {
            return Err(self.unexpected("expected a field key"));
        }
        Ok(name)
    }

    fn field(&mut self) -> Result<(&'a [u8], Value<'a>), Fault> {
        let name = self.field_key()?;
        if self.peek() != Some(b'=') {
            return Err(self.unexpected(&format!("expected '=' after field key {}", quote(name))));
        }
        self.at += 1;
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => self.string(),
            Some(b't' | b'T' | b'f' | b'F' | b'0'..=b'9' | b'-' | b'.') => {
                while self.peek().is_some_and(is_value_byte) {
                    self.at += 1;
                }
                parse_value(&self.body[start..self.at])
            }
            None | Some(b',' | b' ' | b'\r' | b'\n') => Err("missing field value".to_owned()),
            Some(_) => Err(format!("a value cannot start with {}", name_at(self.body, start))),
        };
        match value {
            Ok(value) => Ok((name, value)),
            Err(reason) => {
                Err(Fault::new(start, format!("cannot parse value for field key {}: {reason}", quote(name))))
            }
        }
    }

    /// Takes a string with its quotes.
    fn string(&mut self) -> Result<Value<'a>, String> {
        let start = self.at + 1;
        let end = end_of_string(self.body, start).ok_or("missing closing quote")?;
        let text = self.utf8(start, end).map_err(|fault| fault.reason)?;
        self.at = end + 1;
        Ok(Value::String(text))
    }

    fn timestamp(&mut self, precision: Precision) -> Result<Option<i64>, Fault> {
        self.skip_spaces();
        if end_of_line(self.body, self.at).is_some() {
            return Ok(None);
        }
        let start = self.at;
        let is_end = |b: &u8| matches!(b, b' ' | b'\r' | b'\n');
        let length = self.body[start..].iter().position(is_end).unwrap_or(self.body.len() - start);
        let token = &self.body[start..start + length];
        let timestamp = parse_decimal(token)
            .map_err(|reason| Fault::new(start, format!("{reason} timestamp {}", quote(token))))?;
        let nanoseconds = precision
            .to_nanoseconds(timestamp)
            .ok_or_else(|| Fault::new(start, precision.out_of_range(timestamp, &quote(token))))?;
        self.at += length;
        self.skip_spaces();
        Ok(Some(nanoseconds))
    }
}

/// The offset of the quote that closes the string whose text starts at `start`.
#[inline]
pub(super) fn end_of_string(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at);
        }
        at += if matches!(body.get(at + 1), Some(b'"' | b'\\')) { 2 } else { 1 };
    }
}
