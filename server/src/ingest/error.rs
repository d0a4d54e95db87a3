//! What was wrong with a body, and where: the first few errors in full, and the count of all.

use std::collections::BTreeMap;
use std::fmt;

use super::limits::{BEYOND_RETENTION, reason_of};

/// How many errors of one body are kept in full.
pub const ERRORS_KEPT: usize = 10;

/// How much of a bad line is quoted, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// How much of a bad token is quoted in a reason, in bytes.
const QUOTE_BYTES_MAX: usize = 64;

/// One line that was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct LineError {
    /// The line, from 1. Line breaks inside quoted strings count.
    pub line: u64,
    /// The column, from 1, in bytes.
    pub column: u64,
    /// What is wrong there.
    pub reason: String,
    /// The line's text, cut after 256 bytes; what is not UTF-8 is replaced.
    pub text: String,
}

/// The first [`ERRORS_KEPT`] errors, and how many there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorList<E = LineError> {
    /// The first errors, in the order of the input.
    pub first: Vec<E>,
    /// How many there were in all.
    pub total: u64,
    /// The same by kind of reason: a limit's configuration name, or one of [`OTHER_REASONS`](super::OTHER_REASONS).
    pub reasons: BTreeMap<&'static str, Refused>,
}

/// What was refused for one kind of reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How much.
    pub count: u64,
    /// The first error in words.
    pub first: String,
}

impl<E> Default for ErrorList<E> {
    fn default() -> Self {
        Self { first: Vec::new(), total: 0, reasons: BTreeMap::new() }
    }
}

impl<E> ErrorList<E> {
    /// Whether there was no error.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// How many of them were for samples that are older than the retention.
    #[must_use]
    pub fn beyond_retention(&self) -> u64 {
        self.reasons.get(BEYOND_RETENTION).map_or(0, |refused| refused.count)
    }

    /// Counts an error that has this reason, and keeps it when it is among the first.
    pub(super) fn push(&mut self, reason: &str, error: impl FnOnce() -> E)
    where
        E: fmt::Display,
    {
        self.total += 1;
        let kind = reason_of(reason);
        let known = self.reasons.get_mut(kind).map(|refused| refused.count += 1);
        if known.is_some() && self.first.len() >= ERRORS_KEPT {
            return;
        }
        let error = error();
        if known.is_none() {
            self.reasons.insert(kind, Refused { count: 1, first: error.to_string() });
        }
        if self.first.len() < ERRORS_KEPT {
            self.first.push(error);
        }
    }
}

/// The kept errors, separated by `; `, and how many more there were.
impl<E: fmt::Display> fmt::Display for ErrorList<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.first.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        match self.total - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Something wrong at a byte offset; [`Locator`] turns it into a [`LineError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where, in bytes from the start of what was parsed.
    pub(super) offset: usize,
    /// What is wrong.
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(offset: usize, reason: impl Into<String>) -> Self {
        Self { offset, reason: reason.into() }
    }

    /// The same fault, seen from `base` bytes before the start of what was parsed.
    pub(super) fn shifted(self, base: usize) -> Self {
        Self { offset: self.offset + base, ..self }
    }
}

/// Turns byte offsets into lines and columns. Line breaks are only counted up to the errors, so that good bodies
/// do not pay for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locator<'a> {
    body: &'a [u8],
    /// Line breaks before this offset are counted.
    counted: usize,
    line: u64,
    line_start: usize,
}

impl<'a> Locator<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, counted: 0, line: 1, line_start: 0 }
    }

    /// The line error for a fault inside the statement that starts at `start`.
    pub(super) fn locate(&mut self, start: usize, fault: Fault) -> LineError {
        let offset = fault.offset.min(self.body.len());
        if offset < self.counted {
            *self = Self::new(self.body);
        }
        for newline in memchr::memchr_iter(b'\n', &self.body[self.counted..offset]) {
            self.line += 1;
            self.line_start = self.counted + newline + 1;
        }
        self.counted = offset;
        let column = (offset - self.line_start) as u64 + 1;
        LineError {
            line: self.line,
            column,
            reason: fault.reason,
            text: self.text(start.min(offset), offset),
        }
    }

    /// The text from `start` to the end of the line that `offset` is in, without the line break.
    fn text(&self, start: usize, offset: usize) -> String {
        let end = memchr::memchr(b'\n', &self.body[offset..]).map_or(self.body.len(), |n| offset + n);
        let text = &self.body[start..end.min(start + TEXT_BYTES_MAX)];
        String::from_utf8_lossy(text).trim_end_matches('\r').to_owned()
    }
}

/// Quotes input for a message: cut when long, control characters escaped.
pub(super) fn quote(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(QUOTE_BYTES_MAX)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(cut))
}

/// Names what stands at `offset`: a character, a byte that is none, or the end of the input.
pub(super) fn name_at(body: &[u8], offset: usize) -> String {
    let Some(rest) = body.get(offset..).filter(|rest| !rest.is_empty()) else {
        return "the end of the input".to_owned();
    };
    let head = &rest[..rest.len().min(4)];
    let valid = head.utf8_chunks().next().map(|chunk| chunk.valid()).unwrap_or_default();
    match valid.chars().next() {
        Some('\n') => "the end of the line".to_owned(),
        Some(c) => format!("{c:?}"),
        None => format!("byte 0x{:02x}", head[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns() {
        let body = b"ab\ncd\r\nef";
        let mut locator = Locator::new(body);
        let mut at = |start, offset| {
            let error = locator.locate(start, Fault::new(offset, "x"));
            (error.line, error.column, error.text)
        };
        assert_eq!(at(0, 1), (1, 2, "ab".to_owned()));
        assert_eq!(at(3, 3), (2, 1, "cd".to_owned()));
        assert_eq!(at(7, 9), (3, 3, "ef".to_owned()));
        assert_eq!(at(0, 0), (1, 1, "ab".to_owned()));
    }

    #[test]
    fn the_first_errors_are_kept_and_all_are_counted() {
        let mut errors = ErrorList::default();
        for i in 0..13 {
            errors.push("limit labels_max reached: 2 is more than 1", || i);
        }
        errors.push("a bad number", || 13);
        assert_eq!((errors.first.len(), errors.total), (ERRORS_KEPT, 14));
        assert!(errors.to_string().ends_with("9; and 4 more"));
        let refused = |count, first: &str| Refused { count, first: first.to_owned() };
        let expected = [("labels_max", refused(13, "0")), ("malformed", refused(1, "13"))];
        assert_eq!(errors.reasons, BTreeMap::from(expected));
    }

    #[test]
    fn quotes_are_cut_and_escaped() {
        assert_eq!(quote(b"a\x01\""), r#""a\u{1}\"""#);
        assert!(quote(&[b'x'; 100]).ends_with("\"…"));
        assert_eq!(name_at("é".as_bytes(), 0), "'é'");
        assert_eq!(name_at(b"\xff", 0), "byte 0xff");
        assert_eq!(name_at(b"", 0), "the end of the input");
    }
}
